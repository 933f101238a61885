/*
 * fuzz_vmgenid - the detector of the generation ID, with a file of any contents that is cut short,
 * fails and changes: a change of what counts is a clone, anything else is none. The hash is
 * replaced: nine tenths of the time would go there. Input: one byte (which file), then steps.
 */
#include <errno.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "daemon/hash.h"
#include "tests/fuzz/fuzz_detector.h"

#define FW_CFG_PATH  "/sys/firmware/qemu_fw_cfg/by_name/etc/vmgenid_guid/raw"
#define FW_CFG_BYTES 56u
#define FILE_BYTES   4096u
#define FRESH_NS     1000000

static struct {
	uint8_t contents[FILE_BYTES];
	size_t bytes;
	int error;      /* of the next read, once */
	size_t at_most; /* the next read is cut here, once */
	mode_t mode;
	int64_t now_ns;
	bool no_hash; /* the next hash fails, once */
	bool hash_failed;
	int closes;
	int reads;
	/* What the last good read gave. */
	uint8_t seen[FILE_BYTES];
	size_t seen_bytes;
} file;

ssize_t __real_pread(int fd, void *to, size_t size, off_t offset);
ssize_t __wrap_pread(int fd, void *to, size_t size, off_t offset);
int __real_close(int fd);
int __wrap_close(int fd);
int __real_fstat(int fd, struct stat *st);
int __wrap_fstat(int fd, struct stat *st);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);

ssize_t __wrap_pread(int fd, void *to, size_t size, off_t offset)
{
	size_t len = file.bytes;

	if (fd != FUZZ_FD)
		return __real_pread(fd, to, size, offset);
	FUZZ_CHECK(offset == 0 && size > 0);
	file.reads++;
	if (file.error) {
		errno = file.error;
		file.error = 0;
		return -1;
	}
	len = len < size ? len : size;
	len = len < file.at_most ? len : file.at_most;
	file.at_most = FILE_BYTES;
	memcpy(to, file.contents, len);
	memcpy(file.seen, file.contents, len);
	file.seen_bytes = len;
	return (ssize_t)len;
}

int __wrap_close(int fd)
{
	if (fd != FUZZ_FD)
		return __real_close(fd);
	file.closes++;
	return 0;
}

int __wrap_fstat(int fd, struct stat *st)
{
	if (fd != FUZZ_FD)
		return __real_fstat(fd, st);
	memset(st, 0, sizeof(*st));
	st->st_mode = file.mode;
	st->st_size = (off_t)file.bytes;
	return 0;
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
	(void)clock;
	if (file.now_ns < 0) {
		errno = EINVAL;
		return -1;
	}
	now->tv_sec = file.now_ns / 1000000000;
	now->tv_nsec = file.now_ns % 1000000000;
	return 0;
}

static uint64_t stir(uint64_t sum, uint64_t word)
{
	sum = (sum ^ word) * UINT64_C(0x9e3779b97f4a7c15);
	return sum ^ sum >> 29;
}

/*
 * In place of BLAKE2b: another value for other contents, where nobody makes two of one value. It
 * reads what pread() was given room for and has filled, so it can do without checks of its own.
 */
__attribute__((no_sanitize("address", "coverage"))) int hash_256(uint8_t out[HASH_BYTES],
								 const void *key, size_t key_bytes,
								 const void *data, size_t bytes)
{
	/* Stirred, or two bytes could make up for a length of one more. */
	uint64_t sum[HASH_BYTES / sizeof(uint64_t)] = {stir(~UINT64_C(0), bytes), 1, 2, 3};
	const uint8_t *at = data;
	uint64_t word;

	FUZZ_CHECK(!key && key_bytes == 0 && bytes == file.seen_bytes);
	file.hash_failed = file.no_hash;
	file.no_hash = false;
	if (file.hash_failed)
		return -EIO;
	for (; bytes >= sizeof(word); at += sizeof(word), bytes -= sizeof(word)) {
		memcpy(&word, at, sizeof(word));
		sum[bytes / sizeof(word) % 4] = stir(sum[bytes / sizeof(word) % 4], word);
	}
	for (; bytes > 0; at++, bytes--)
		sum[0] = stir(sum[0], *at);
	memcpy(out, sum, HASH_BYTES);
	return 0;
}

/* Changes something about the file, or nothing. */
static void step(struct fuzz_input *input)
{
	static const int errors[] = {EINTR, EIO, EBADF, ENODEV};
	const uint8_t *bytes;
	size_t at, len;

	switch (fuzz_u8(input) % 6) {
	case 0: /* other bytes somewhere */
		at = fuzz_u16(input) % FILE_BYTES;
		len = fuzz_take(input, fuzz_u8(input), &bytes);
		len = len < FILE_BYTES - at ? len : FILE_BYTES - at;
		memcpy(file.contents + at, bytes, len);
		break;
	case 1:
		file.bytes = fuzz_u16(input) % (FILE_BYTES + 1);
		break;
	case 2:
		file.error = errors[fuzz_u8(input) % 4];
		break;
	case 3:
		file.at_most = fuzz_u16(input) % (FILE_BYTES + 1);
		break;
	case 4:
		file.now_ns = (int64_t)fuzz_u32(input) * 100;
		break;
	default:
		at = fuzz_u8(input);
		if (at == 0xff)
			file.now_ns = -1;
		else if (at == 0xfe)
			file.no_hash = true;
		break;
	}
}

/* The last reading is compared with, also when one failed in between: that is a clone by itself. */
static void look(struct epoch_detector *detector, bool fw_cfg, enum epoch_depth depth)
{
	uint8_t before[FILE_BYTES];
	size_t bytes_before = file.seen_bytes;
	int reads_before = file.reads;
	bool had_failed = detector->state == EPOCH_FAILED;
	bool hard_error = file.error && file.error != EINTR;
	enum epoch_change change;

	memcpy(before, file.seen, bytes_before);
	file.seen_bytes = 0;
	file.hash_failed = false;
	change = detector->ops->look(detector, depth);
	check_detector(detector);
	if (file.reads == reads_before) { /* it may rest on a reading of the same millisecond */
		FUZZ_CHECK(depth == EPOCH_BEFORE && change == EPOCH_SAME && file.now_ns >= 0);
		file.seen_bytes = bytes_before;
		return;
	}
	if (hard_error || file.hash_failed || file.seen_bytes == 0 ||
	    (fw_cfg && file.seen_bytes < FW_CFG_BYTES)) {
		FUZZ_CHECK(change == (had_failed ? EPOCH_SAME : EPOCH_CLONED));
		FUZZ_CHECK(detector->state == EPOCH_FAILED);
		return;
	}
	FUZZ_CHECK(detector->state == EPOCH_ACTIVE && !detector->retry);
	if (!had_failed && file.seen_bytes == bytes_before &&
	    memcmp(before, file.seen, bytes_before) == 0)
		FUZZ_CHECK(change == EPOCH_SAME);
	else
		FUZZ_CHECK(change == EPOCH_CLONED);
}

static void recall(struct epoch_detector *detector)
{
	struct epoch_page_saved saved = detector->saved;

	FUZZ_CHECK(detector->value_bytes == 32 && saved.bytes == 32);
	FUZZ_CHECK(detector->ops->recall(detector, &saved) == EPOCH_RECALL_SAME);
	saved.value[31] ^= 1;
	FUZZ_CHECK(detector->ops->recall(detector, &saved) == EPOCH_RECALL_CLONED);
	saved.bytes--;
	FUZZ_CHECK(detector->ops->recall(detector, &saved) == EPOCH_RECALL_UNKNOWN);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t zero[16];
	struct fuzz_input input = {data, size};
	struct epoch_detector detector = {.ops = &epoch_vmgenid_ops, .fd = -1};
	uint8_t choice = fuzz_u8(&input);
	bool fw_cfg = choice & 1;
	bool is_good, has_fd;

	memset(&file, 0, sizeof(file));
	file.at_most = FILE_BYTES;
	file.bytes = choice & 8 ? FILE_BYTES : FW_CFG_BYTES;
	file.mode = (choice & 6) == 6 ? S_IFCHR : S_IFREG;
	for (int i = 0; i < 4; i++)
		step(&input);
	has_fd = (choice & 0xf0) != 0xf0;
	detector.ops->start(&detector, has_fd ? FUZZ_FD : -ENOENT,
			    fw_cfg ? FW_CFG_PATH : "the file");
	check_detector(&detector);
	is_good = has_fd && file.mode == S_IFREG && file.seen_bytes > 0 && !file.hash_failed &&
		  (!fw_cfg || (file.seen_bytes == FW_CFG_BYTES &&
			       memcmp(file.seen + 40, zero, sizeof(zero)) != 0));
	FUZZ_CHECK(is_good == (detector.state == EPOCH_ACTIVE));
	while ((detector.state == EPOCH_ACTIVE || detector.retry) && input.left > 0) {
		step(&input);
		look(&detector, fw_cfg, (enum epoch_depth)(fuzz_u8(&input) % (EPOCH_ALL + 1)));
	}
	if (detector.state == EPOCH_ACTIVE)
		recall(&detector);
	FUZZ_CHECK(file.closes == (has_fd && detector.state == EPOCH_ABSENT));
	return 0;
}
