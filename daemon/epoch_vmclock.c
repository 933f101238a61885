/*
 * Owns: a mapping of one page, and the descriptor its detector holds. May touch: both, reading.
 * Never does: write, or map what could shrink under it by another user's hand.
 *
 * The page's generation counter moves before a clone runs: one load sees it, no notice has to
 * arrive. The disruption marker moves then too, and at a live migration.
 */
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/epoch.h"
#include "host/vmclock.h"

static void remember(struct epoch_detector *detector, const struct vmclock_reading *reading)
{
	/* The marker first: alone it is all there is to compare. */
	size_t bytes = sizeof(reading->disruption);

	detector->own.vmclock.counter = reading->counter;
	detector->own.vmclock.disruption = reading->disruption;
	detector->own.vmclock.has_counter = reading->has_counter;
	memcpy(detector->value, &reading->disruption, sizeof(reading->disruption));
	if (reading->has_counter) {
		memcpy(detector->value + bytes, &reading->counter, sizeof(reading->counter));
		bytes += sizeof(reading->counter);
	}
	detector->value_bytes = bytes;
	epoch_save(detector, detector->value, bytes);
}

/* NULL: it may be mapped and read at any time. Else why not. */
static const char *refuse_file(int fd, size_t page_bytes)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return strerror(errno);
	if (S_ISCHR(st.st_mode))
		return NULL;
	if (!S_ISREG(st.st_mode))
		return "neither a device nor a regular file";
	/* A load beyond the end of a file kills. Now it is long enough; these keep it so. */
	if (st.st_size < (off_t)page_bytes)
		return "shorter than a page";
	if ((st.st_uid != 0 && st.st_uid != geteuid()) || (st.st_mode & (S_IWGRP | S_IWOTH)))
		return "a file that others may change";
	return NULL;
}

/*
 * The device stays readable until it was read at the present sequence number. By pread(): a plain
 * read() moves the position, and at the end of the page it takes note of nothing any more. One
 * that times out in an update leaves it readable, and the next wake tries again.
 */
static void drain_wake(const struct epoch_detector *detector)
{
	uint8_t start[VMCLOCK_MIN_BYTES];

	(void)!pread(detector->fd, start, sizeof(start), 0);
}

/*
 * Does this descriptor wake? Older drivers have no poll(), whatever the hypervisor's flag says: the
 * kernel then calls it readable and writable, always, and epoll refuses it.
 */
static bool can_wake(const struct epoch_detector *detector, uint64_t flags)
{
	struct pollfd wake = {.fd = detector->fd, .events = POLLIN | POLLOUT};
	struct stat st;

	if (!(flags & VMCLOCK_FLAG_NOTIFICATION) || fstat(detector->fd, &st) < 0 ||
	    !S_ISCHR(st.st_mode))
		return false;
	return poll(&wake, 1, 0) >= 0 && !(wake.revents & (POLLOUT | POLLHUP | POLLERR | POLLNVAL));
}

static void vmclock_stop(struct epoch_detector *detector)
{
	const void *page = detector->own.vmclock.page;

	if (page)
		munmap((void *)(uintptr_t)page, detector->own.vmclock.page_bytes);
	detector->own.vmclock.page = NULL;
}

static void give_up(struct epoch_detector *detector, const char *path, const char *why)
{
	epoch_absent(detector, "%s: %s", path, why);
	vmclock_stop(detector);
	if (detector->fd >= 0)
		close(detector->fd);
	detector->fd = -1;
}

static void vmclock_start(struct epoch_detector *detector, int fd, const char *path)
{
	size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
	struct vmclock_reading reading;
	const char *why;
	void *page;

	detector->fd = fd < 0 ? -1 : fd;
	detector->own.vmclock.page = NULL;
	why = fd < 0 ? strerror(-fd) : refuse_file(fd, page_bytes);
	if (why) {
		give_up(detector, path, why);
		return;
	}
	/* The driver maps exactly this and nothing else. */
	page = mmap(NULL, page_bytes, PROT_READ, MAP_SHARED, fd, 0);
	if (page == MAP_FAILED) {
		give_up(detector, path, strerror(errno));
		return;
	}
	detector->own.vmclock.page = page;
	detector->own.vmclock.page_bytes = page_bytes;
	why = vmclock_refuse(page, page_bytes);
	if (why) {
		give_up(detector, path, why);
		return;
	}
	reading = vmclock_read(page);
	remember(detector, &reading);
	detector->own.vmclock.unsettled = !reading.settled;
	detector->notifier =
	    reading.has_counter ? EPOCH_PAGE_VMCLOCK : EPOCH_PAGE_VMCLOCK_DISRUPTION;
	detector->watch = can_wake(detector, reading.flags);
	detector->state = EPOCH_ACTIVE;
}

/* What a reading means against the one before. */
static enum epoch_change compare(struct epoch_detector *detector,
				 const struct vmclock_reading *reading)
{
	bool marker_moved = reading->disruption != detector->own.vmclock.disruption;

	detector->notifier =
	    reading->has_counter ? EPOCH_PAGE_VMCLOCK : EPOCH_PAGE_VMCLOCK_DISRUPTION;
	/* With the counter gone, or there for the first time, there is nothing to compare. */
	if (reading->has_counter != detector->own.vmclock.has_counter)
		return EPOCH_CLONED;
	if (!reading->has_counter)
		return marker_moved ? EPOCH_CLONED : EPOCH_SAME;
	if (reading->counter != detector->own.vmclock.counter)
		return EPOCH_CLONED;
	return marker_moved ? EPOCH_AGED : EPOCH_SAME; /* possibly a live migration */
}

static enum epoch_change vmclock_look(struct epoch_detector *detector, enum epoch_depth depth)
{
	struct vmclock_reading reading;
	enum epoch_change change;

	/* Before the page is read: what is written after this wakes again. */
	if (depth == EPOCH_ALL && detector->watch)
		drain_wake(detector);
	reading = vmclock_read(detector->own.vmclock.page);
	/* Without notifications the device hangs up, for ever. */
	if (!(reading.flags & VMCLOCK_FLAG_NOTIFICATION))
		detector->watch = false;
	change = compare(detector, &reading);
	if (change != EPOCH_SAME)
		remember(detector, &reading);
	/* In the midst of an update: in doubt, reseed; but once, also if it never ends. */
	if (change == EPOCH_SAME && !reading.settled && !detector->own.vmclock.unsettled)
		change = EPOCH_AGED;
	detector->own.vmclock.unsettled = !reading.settled;
	return change;
}

static enum epoch_recall vmclock_recall(struct epoch_detector *detector,
					const struct epoch_page_saved *saved)
{
	bool has_counter = detector->own.vmclock.has_counter;
	uint64_t disruption, counter;
	bool same;

	/* As long as the value now: the same fields were there then. */
	if (saved->bytes != detector->value_bytes)
		return EPOCH_RECALL_UNKNOWN;
	memcpy(&disruption, saved->value, sizeof(disruption));
	memcpy(&counter, saved->value + sizeof(disruption), sizeof(counter));
	same = has_counter ? counter == detector->own.vmclock.counter
			   : disruption == detector->own.vmclock.disruption;
	return same ? EPOCH_RECALL_SAME : EPOCH_RECALL_CLONED;
}

const struct epoch_ops epoch_vmclock_ops = {
    .name = "vmclock",
    .notifier = EPOCH_PAGE_VMCLOCK,
    .says_cloned = true,
    .cheap = true,
    .poll_ms = 1000,
    .start = vmclock_start,
    .look = vmclock_look,
    .recall = vmclock_recall,
    .stop = vmclock_stop,
};

_Static_assert(2 * sizeof(uint64_t) <= EPOCH_VALUE_BYTES, "value");
_Static_assert(EPOCH_VALUE_BYTES <= EPOCH_PAGE_SAVED_BYTES, "saved");
