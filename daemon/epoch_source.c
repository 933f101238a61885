/*
 * Owns: the mapping of a word, where it is mapped. May touch: the file it was given, and
 * /dev/urandom for kernels to come. Never does: write, or load from a file that can be cut short.
 */
#include "daemon/epoch.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SOURCE_POLL_MS 100
#define SOURCE_AT      0

/* The "RNG epoch" RFC of 2023: /dev/urandom gives a descriptor to map. No kernel has it yet. */
#define SOURCE_RNDEPOCH _IO('R', 0x08)

static void keep_word(struct epoch_detector *detector, uint32_t word)
{
	detector->own.source.last = word;
	memcpy(detector->value, &word, sizeof(word));
	detector->value_bytes = sizeof(word);
	epoch_save(detector, &word, sizeof(word));
}

/* 0, or a negative errno: -ENODATA when the file is shorter than its word. */
static int pread_word(int fd, uint32_t *word)
{
	ssize_t n;

	do
		n = pread(fd, word, sizeof(*word), SOURCE_AT);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return n == sizeof(*word) ? 0 : -ENODATA;
}

static int read_word(const struct epoch_detector *detector, uint32_t *word)
{
	if (!detector->own.source.word)
		return pread_word(detector->fd, word);
	*word = __atomic_load_n(detector->own.source.word, __ATOMIC_ACQUIRE);
	return 0;
}

static int map_word(struct epoch_detector *detector)
{
	size_t bytes = (size_t)sysconf(_SC_PAGESIZE);
	void *page = mmap(NULL, bytes, PROT_READ, MAP_SHARED, detector->fd, SOURCE_AT);

	if (page == MAP_FAILED)
		return -errno;
	detector->own.source.word = page;
	detector->own.source.map_bytes = bytes;
	return 0;
}

/*
 * A regular file is read, since a load from one that was truncated meanwhile ends the process
 * (SIGBUS); a device, or a file of /sys that only maps, is mapped.
 */
static int open_word(struct epoch_detector *detector, uint32_t *word)
{
	struct stat st;
	int err;

	if (fstat(detector->fd, &st) < 0)
		return -errno;
	if (S_ISREG(st.st_mode)) {
		if (st.st_size < (off_t)sizeof(*word))
			return -ENODATA;
		err = pread_word(detector->fd, word);
		if (err != -EIO && err != -EINVAL)
			return err;
	}
	err = map_word(detector);
	return err ? err : read_word(detector, word);
}

/* A descriptor, or a negative errno: -ENOTTY where the kernel knows nothing of it. */
static int open_rndepoch(void)
{
	int urandom = open("/dev/urandom", O_RDONLY | O_CLOEXEC), fd, err = 0;

	if (urandom < 0)
		return -errno;
	fd = ioctl(urandom, SOURCE_RNDEPOCH);
	if (fd < 0)
		err = -errno;
	else if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		err = -EPROTO; /* whatever the answer means, it is no descriptor */
	close(urandom);
	return err ? err : fd;
}

static void start(struct epoch_detector *detector, int fd, const char *path)
{
	bool named = path || fd != -ENOENT;
	uint32_t word = 0;
	int err;

	if (!named)
		fd = open_rndepoch();
	detector->fd = fd < 0 ? -1 : fd;
	detector->watch = false;
	detector->notifier = EPOCH_PAGE_SOURCE;
	if (!named && (fd == -ENOTTY || fd == -EINVAL)) {
		epoch_absent(detector, "this kernel has no RNDEPOCH");
		return;
	}
	if (fd < 0) {
		epoch_absent(detector, "%s: %s", named ? "open" : "RNDEPOCH", strerror(-fd));
		return;
	}
	err = open_word(detector, &word);
	if (err == -ENODATA) {
		epoch_absent(detector, "the file is shorter than its 4 bytes");
	} else if (err) {
		epoch_absent(detector, "neither read nor map: %s", strerror(-err));
	} else {
		keep_word(detector, word);
		detector->state = EPOCH_ACTIVE;
	}
}

static enum epoch_change look(struct epoch_detector *detector, enum epoch_depth depth)
{
	uint32_t word = 0;
	int err = read_word(detector, &word);

	(void)depth;
	if (err == -ENODATA) {
		epoch_failed(detector, "the file was cut short");
		return EPOCH_CLONED; /* in doubt */
	}
	if (err) {
		epoch_failed(detector, "read: %s", strerror(-err));
		return EPOCH_CLONED;
	}
	if (word == detector->own.source.last)
		return EPOCH_SAME;
	keep_word(detector, word);
	return EPOCH_CLONED;
}

static enum epoch_recall recall(struct epoch_detector *detector,
				const struct epoch_page_saved *saved)
{
	uint32_t word = detector->own.source.last;

	if (saved->bytes != sizeof(word))
		return EPOCH_RECALL_UNKNOWN;
	return memcmp(saved->value, &word, sizeof(word)) == 0 ? EPOCH_RECALL_SAME
							      : EPOCH_RECALL_CLONED;
}

static void stop(struct epoch_detector *detector)
{
	void *page;

	if (!detector->own.source.word)
		return;
	memcpy(&page, &detector->own.source.word, sizeof(page));
	munmap(page, detector->own.source.map_bytes);
	detector->own.source.word = NULL;
}

const struct epoch_ops epoch_source_ops = {
    .name = "epoch_source",
    .notifier = EPOCH_PAGE_SOURCE,
    .says_cloned = true,
    .cheap = true,
    .poll_ms = SOURCE_POLL_MS,
    .start = start,
    .look = look,
    .recall = recall,
    .stop = stop,
};
