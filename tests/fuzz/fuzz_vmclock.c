/*
 * fuzz_vmclock - the detector of the hypervisor's clock page, with any page that changes in any way
 * between two looks (not within one: its tests have a thread for that).
 * Input: 2 bytes (what file it is), the first 112 bytes of the page, then changes.
 */
#include <errno.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/fuzz/fuzz_detector.h"

#define PAGE_BYTES   4096u
#define ABI_BYTES    112u
#define ODD_READS    2 /* of a page in the midst of an update, in a run: each takes 1000 tries */
#define SEQUENCE_AT  12
#define FLAG_COUNTER (UINT64_C(1) << 8)
#define FLAG_NOTIFY  (UINT64_C(1) << 9)

static struct {
	uint8_t *page; /* on the heap, so that a load beyond it is seen */
	struct stat st;
	short revents;
	int maps, unmaps, closes;
	int odd_reads;
	bool no_map, no_stat;
} host;

int __real_close(int fd);
int __wrap_close(int fd);
int __real_fstat(int fd, struct stat *st);
int __wrap_fstat(int fd, struct stat *st);
void *__real_mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset);
int __real_munmap(void *at, size_t bytes);
int __wrap_munmap(void *at, size_t bytes);
ssize_t __real_pread(int fd, void *to, size_t size, off_t offset);
ssize_t __wrap_pread(int fd, void *to, size_t size, off_t offset);
int __real_poll(struct pollfd *fds, nfds_t count, int timeout_ms);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout_ms);

int __wrap_close(int fd)
{
	if (fd != FUZZ_FD)
		return __real_close(fd);
	host.closes++;
	return 0;
}

int __wrap_fstat(int fd, struct stat *st)
{
	if (fd != FUZZ_FD)
		return __real_fstat(fd, st);
	if (host.no_stat) {
		errno = EIO;
		return -1;
	}
	*st = host.st;
	return 0;
}

void *__wrap_mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset)
{
	if (fd != FUZZ_FD)
		return __real_mmap(at, bytes, prot, flags, fd, offset);
	FUZZ_CHECK(bytes == PAGE_BYTES && prot == PROT_READ && offset == 0);
	if (host.no_map) {
		errno = ENODEV;
		return MAP_FAILED;
	}
	host.maps++;
	return host.page;
}

int __wrap_munmap(void *at, size_t bytes)
{
	if (at != host.page)
		return __real_munmap(at, bytes);
	FUZZ_CHECK(bytes == PAGE_BYTES);
	host.unmaps++;
	return 0;
}

ssize_t __wrap_pread(int fd, void *to, size_t size, off_t offset)
{
	if (fd != FUZZ_FD)
		return __real_pread(fd, to, size, offset);
	FUZZ_CHECK(offset == 0 && size <= PAGE_BYTES);
	memcpy(to, host.page, size);
	return (ssize_t)size;
}

int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
	if (count != 1 || fds->fd != FUZZ_FD)
		return __real_poll(fds, count, timeout_ms);
	FUZZ_CHECK(timeout_ms == 0);
	fds->revents = host.revents;
	return fds->revents != 0;
}

/* The writer is done: what is read now is settled. */
static void limit_odd_reads(void)
{
	if ((host.page[SEQUENCE_AT] & 1) && host.odd_reads++ >= ODD_READS)
		host.page[SEQUENCE_AT] ^= 1;
}

/* ---------------------------------------------------------------- what the page says, once more */

struct view {
	uint64_t disruption, counter;
	bool has_counter, notifies, settled;
};

static uint64_t little(size_t at, size_t bytes)
{
	uint64_t sum = 0;

	while (bytes-- > 0)
		sum = sum << 8 | host.page[at + bytes];
	return sum;
}

static struct view view_page(void)
{
	uint64_t flags = little(24, 8);

	return (struct view){
	    .disruption = little(16, 8),
	    .counter = little(104, 8),
	    .has_counter = (flags & FLAG_COUNTER) && little(4, 4) >= ABI_BYTES,
	    .notifies = flags & FLAG_NOTIFY,
	    .settled = little(SEQUENCE_AT, 4) % 2 == 0,
	};
}

static bool is_good_file(void)
{
	if (S_ISCHR(host.st.st_mode))
		return true;
	return S_ISREG(host.st.st_mode) && host.st.st_size >= (off_t)PAGE_BYTES &&
	       (host.st.st_uid == 0 || host.st.st_uid == geteuid()) && !(host.st.st_mode & 022);
}

static bool is_good_page(void)
{
	return little(0, 4) == 0x4b4c4356 && little(8, 2) == 1 && little(4, 4) >= 32;
}

static void look(struct epoch_detector *detector, struct view *last, enum epoch_depth depth)
{
	enum epoch_change want = EPOCH_SAME, got;
	struct view now;

	limit_odd_reads();
	now = view_page();
	if (now.has_counter != last->has_counter ||
	    (now.has_counter ? now.counter != last->counter : now.disruption != last->disruption))
		want = EPOCH_CLONED;
	else if (now.disruption != last->disruption || (!now.settled && last->settled))
		want = EPOCH_AGED;
	got = detector->ops->look(detector, depth);
	check_detector(detector);
	FUZZ_CHECK(got == want);
	FUZZ_CHECK(detector->notifier ==
		   (now.has_counter ? EPOCH_PAGE_VMCLOCK : EPOCH_PAGE_VMCLOCK_DISRUPTION));
	FUZZ_CHECK(now.notifies || !detector->watch);
	*last = now;
}

/* What is there now is recalled as the same; another counter is not. */
static void recall(struct epoch_detector *detector)
{
	struct epoch_page_saved saved = detector->saved;

	FUZZ_CHECK(saved.bytes == (detector->own.vmclock.has_counter ? 16 : 8));
	FUZZ_CHECK(detector->ops->recall(detector, &saved) == EPOCH_RECALL_SAME);
	saved.value[saved.bytes - 1] ^= 0x80;
	FUZZ_CHECK(detector->ops->recall(detector, &saved) == EPOCH_RECALL_CLONED);
	saved.bytes ^= 8 | 16;
	FUZZ_CHECK(detector->ops->recall(detector, &saved) == EPOCH_RECALL_UNKNOWN);
}

static void change_page(struct fuzz_input *input)
{
	static const uint8_t places[] = {12, 16, 24, 25, 104, 4};
	uint8_t which = fuzz_u8(input);
	size_t at = which < 0x80 ? places[which % sizeof(places)] : fuzz_u16(input) % PAGE_BYTES;

	host.page[at] ^= fuzz_u8(input);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const mode_t modes[] = {S_IFREG | 0644, S_IFCHR | 0666, S_IFREG | 0666, S_IFIFO};
	struct fuzz_input input = {data, size};
	struct epoch_detector detector = {.ops = &epoch_vmclock_ops, .fd = -1};
	uint8_t choice = fuzz_u8(&input), sizes = fuzz_u8(&input);
	static void *page;
	const uint8_t *bytes;
	struct view last;
	size_t len;

	if (!page)
		FUZZ_CHECK(posix_memalign(&page, PAGE_BYTES, PAGE_BYTES) == 0);
	memset(&host, 0, sizeof(host));
	memset(page, 0, PAGE_BYTES);
	host.page = page;
	host.no_stat = choice >> 5 == 7;
	host.no_map = choice >> 5 == 6;
	host.st.st_mode = modes[choice & 3];
	host.st.st_uid = choice & 4 ? 1 : choice & 8 ? geteuid() : 0;
	host.st.st_size = sizes & 0x80 ? sizes & 0x7f : (off_t)PAGE_BYTES + sizes;
	host.revents = choice & 16 ? POLLIN : choice & 32 ? POLLIN | POLLOUT : 0;
	len = fuzz_take(&input, ABI_BYTES, &bytes);
	if (len)
		memcpy(host.page, bytes, len);
	limit_odd_reads();
	last = view_page();
	detector.ops->start(&detector, FUZZ_FD, "the page");
	check_detector(&detector);
	FUZZ_CHECK((detector.state == EPOCH_ACTIVE) ==
		   (!host.no_map && !host.no_stat && is_good_file() && is_good_page()));
	for (int i = 0; detector.state == EPOCH_ACTIVE && input.left > 0 && i < 64; i++) {
		for (int n = fuzz_u8(&input) % 4; n > 0; n--)
			change_page(&input);
		look(&detector, &last, fuzz_u8(&input) & 1 ? EPOCH_ALL : EPOCH_BEFORE);
	}
	if (detector.state == EPOCH_ACTIVE)
		recall(&detector);
	detector.ops->stop(&detector);
	FUZZ_CHECK(host.maps == host.unmaps && host.closes == (detector.state == EPOCH_ABSENT));
	return 0;
}
