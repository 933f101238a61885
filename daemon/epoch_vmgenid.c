/*
 * Owns: nothing but the descriptor its detector holds. May touch: the file behind it, by pread().
 * Never does: keep or show the generation ID itself: a hash of it is compared, saved and mixed in.
 *
 * With qemu_fw_cfg the ID is new from the first instruction a clone runs: no notice has to arrive.
 */
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "daemon/epoch.h"
#include "daemon/hash.h"
#include "host/secmem.h"

/* QEMU's blob: the GUID behind 40 bytes of padding, then padding to a page. */
#define VMGENID_FW_CFG_PATH  "/sys/firmware/qemu_fw_cfg/by_name/etc/vmgenid_guid/raw"
#define VMGENID_GUID_OFFSET  40u
#define VMGENID_GUID_BYTES   16u
#define VMGENID_FW_CFG_BYTES (VMGENID_GUID_OFFSET + VMGENID_GUID_BYTES)

/* Any other file: what counts of it. */
#define VMGENID_FILE_BYTES 4096u

/*
 * Before a fill an older reading than this is renewed. After it the ID is always read: a clone that
 * resumes in between finds the clock where it stood, and the reading as fresh as it was.
 */
#define VMGENID_FRESH_NS 1000000

static int64_t monotonic_ns(void)
{
	struct timespec now;

	if (clock_gettime(CLOCK_MONOTONIC, &now) < 0)
		return -1;
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static bool is_fresh(const struct epoch_detector *detector)
{
	int64_t now_ns = monotonic_ns();

	/* A clock that fails, or that is behind the reading, makes no reading fresh. */
	return now_ns >= 0 && now_ns >= detector->own.vmgenid.read_ns &&
	       now_ns - detector->own.vmgenid.read_ns < VMGENID_FRESH_NS;
}

/* Bytes read, at least one and for fw_cfg the whole ID; or a negative errno. */
static ssize_t read_contents(struct epoch_detector *detector, uint8_t contents[VMGENID_FILE_BYTES])
{
	size_t wanted = detector->own.vmgenid.read_bytes;
	ssize_t n;

	do
		n = pread(detector->fd, contents, wanted, 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (n == 0 || (wanted == VMGENID_FW_CFG_BYTES && (size_t)n < wanted))
		return -ENODATA;
	detector->own.vmgenid.read_ns = monotonic_ns();
	return n;
}

static const char *explain(ssize_t err)
{
	return err == -ENODATA ? "empty or cut short" : strerror((int)-err);
}

static void give_up(struct epoch_detector *detector, const char *path, const char *why)
{
	epoch_absent(detector, "%s: %s", path, why);
	if (detector->fd >= 0)
		close(detector->fd);
	detector->fd = -1;
}

static bool is_zero(const uint8_t *bytes, size_t len)
{
	uint8_t any = 0;

	for (size_t i = 0; i < len; i++)
		any |= bytes[i];
	return any == 0;
}

static void remember(struct epoch_detector *detector, const uint8_t digest[HASH_BYTES])
{
	memcpy(detector->value, digest, HASH_BYTES);
	detector->value_bytes = HASH_BYTES;
	epoch_save(detector, digest, HASH_BYTES);
}

static void vmgenid_start(struct epoch_detector *detector, int fd, const char *path)
{
	bool fw_cfg = strcmp(path, VMGENID_FW_CFG_PATH) == 0;
	uint8_t contents[VMGENID_FILE_BYTES], digest[HASH_BYTES];
	struct stat st;
	ssize_t n;
	int err;

	detector->fd = fd < 0 ? -1 : fd;
	detector->own.vmgenid.read_bytes = fw_cfg ? VMGENID_FW_CFG_BYTES : VMGENID_FILE_BYTES;
	if (fd < 0) {
		give_up(detector, path, strerror(-fd));
		return;
	}
	/* A terminal or a device might block, or answer differently each time. */
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		give_up(detector, path, "not a regular file");
		return;
	}
	n = read_contents(detector, contents);
	if (n < 0) {
		give_up(detector, path, explain(n));
		return;
	}
	if (fw_cfg && is_zero(contents + VMGENID_GUID_OFFSET, VMGENID_GUID_BYTES)) {
		epoch_absent(detector, "the hypervisor gives none");
		close(fd);
		detector->fd = -1;
		return;
	}
	err = hash_256(digest, NULL, 0, contents, (size_t)n);
	if (err) {
		give_up(detector, path, strerror(-err));
		return;
	}
	remember(detector, digest);
	detector->state = EPOCH_ACTIVE;
}

static enum epoch_change compare(struct epoch_detector *detector)
{
	uint8_t contents[VMGENID_FILE_BYTES], digest[HASH_BYTES];
	ssize_t n;
	int err;

	n = read_contents(detector, contents);
	err = n < 0 ? (int)n : hash_256(digest, NULL, 0, contents, (size_t)n);
	wipe(contents, sizeof(contents));
	if (err) {
		bool known = detector->state == EPOCH_FAILED;

		/* Perhaps it is being rewritten. What it said meanwhile is lost: said once. */
		epoch_failed(detector, "cannot be read any more: %s", explain(err));
		detector->retry = true;
		return known ? EPOCH_SAME : EPOCH_CLONED;
	}
	if (detector->state == EPOCH_FAILED) {
		detector->state = EPOCH_ACTIVE;
		detector->retry = false;
		remember(detector, digest);
		return EPOCH_CLONED;
	}
	if (memcmp(digest, detector->value, HASH_BYTES) == 0)
		return EPOCH_SAME;
	remember(detector, digest);
	return EPOCH_CLONED;
}

static enum epoch_change vmgenid_look(struct epoch_detector *detector, enum epoch_depth depth)
{
	if (depth == EPOCH_BEFORE && is_fresh(detector)) /* the look after the fill will tell */
		return EPOCH_SAME;
	return compare(detector);
}

static enum epoch_recall vmgenid_recall(struct epoch_detector *detector,
					const struct epoch_page_saved *saved)
{
	if (saved->bytes != HASH_BYTES)
		return EPOCH_RECALL_UNKNOWN;
	return memcmp(saved->value, detector->value, HASH_BYTES) == 0 ? EPOCH_RECALL_SAME
								      : EPOCH_RECALL_CLONED;
}

const struct epoch_ops epoch_vmgenid_ops = {
    .name = "vmgenid",
    .notifier = EPOCH_PAGE_VMGENID,
    .says_cloned = true,
    .cheap = true,
    .poll_ms = 100,
    .start = vmgenid_start,
    .look = vmgenid_look,
    .recall = vmgenid_recall,
};

_Static_assert(HASH_BYTES <= EPOCH_VALUE_BYTES, "value");
_Static_assert(HASH_BYTES <= EPOCH_PAGE_SAVED_BYTES, "saved");
