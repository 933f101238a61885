/*
 * Owns: one mapping, and for a moment the descriptor it is made of. May touch: a connection of its
 * own, the page file. Never does: write to the page, keep a descriptor, or map what it has not
 * found to be a regular file of a page's size.
 */
#include "client/page.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "client/reply.h"
#include "client/transport.h"

#define NS_PER_MS 1000000
#define NS_PER_S  1000000000

/* Of the only question on its connection; any value does. */
#define PAGE_TAG 1u

/* struct rngclient_epoch as its first version had it, and more than any version will have. */
#define PAGE_INFO_MIN_BYTES (offsetof(struct rngclient_epoch, event_id) + EPOCH_PAGE_ID_BYTES)
#define PAGE_INFO_MAX_BYTES 4096u

_Static_assert((int)RNGCLIENT_EPOCH_STOPPED == (int)EPOCH_PAGE_STOPPED &&
		   (int)RNGCLIENT_EPOCH_SERVING == (int)EPOCH_PAGE_SERVING &&
		   (int)RNGCLIENT_EPOCH_REFUSING == (int)EPOCH_PAGE_REFUSING,
	       "one set of numbers");

void page_drop(struct page *page)
{
	/* Forgotten first: a child forked in between must not unmap what it may have put there
	 * since. */
	const struct epoch_page *map = __atomic_exchange_n(&page->map, NULL, __ATOMIC_SEQ_CST);

	if (map && !page->shelved)
		munmap((void *)(uintptr_t)map, EPOCH_PAGE_BYTES);
}

/*
 * A peer may pass anything: a file of a FUSE mount of its own, whose every call it could hold, or
 * one of huge pages, which cannot be mapped by the small one. F_GET_SEALS asks no file system, and
 * only those that live in memory know it; of these the daemon uses tmpfs alone.
 */
static int check_tmpfs(int fd)
{
	struct statfs fs;

	if (fcntl(fd, F_GET_SEALS) < 0 || fstatfs(fd, &fs) < 0)
		return errno == EINVAL ? -EPROTO : -errno;
	return fs.f_type == TMPFS_MAGIC ? 0 : -EPROTO;
}

/* fd stays open. -EPROTO: no page. */
static int map_fd(struct page *page, int fd)
{
	struct stat st;
	void *map;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size < (off_t)EPOCH_PAGE_BYTES)
		return -EPROTO;
	map = mmap(NULL, EPOCH_PAGE_BYTES, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED) /* EACCES: not open for reading, ENODEV: not to be mapped */
		return errno == EACCES || errno == ENODEV ? -EPROTO : -errno;
	*page = (struct page){.map = map, .dev = st.st_dev, .ino = st.st_ino};
	if (epoch_page_valid(page->map))
		return 0;
	page_drop(page);
	return -EPROTO;
}

/* The one frame that answers: 0 when it is OK and empty. */
static int ask(struct transport *link, const struct page_question *question)
{
	struct reply reply = {
	    .transport = link,
	    .deadline_ns = question->deadline_ns,
	    .tag = PAGE_TAG,
	    .opcode = RNGD_PROTO_OP_PAGE,
	    .version = question->version,
	};
	int err = reply_ask(&reply, NULL, 0);

	return err ? err : reply_empty(&reply);
}

/* What came with the answer becomes the page, or err stays; either way nothing of it stays open. */
static int take(struct page *page, const struct transport_passed *passed, int err)
{
	if (!err && passed->fd < 0 && passed->cut_off)
		err = -EMFILE; /* one came, and there was no room for it */
	if (!err && passed->count != 1)
		err = -EPROTO;
	if (!err)
		err = check_tmpfs(passed->fd);
	if (!err)
		err = map_fd(page, passed->fd);
	if (passed->fd >= 0)
		transport_close_passed(passed->fd);
	return err == -ENODATA || err == -EOPNOTSUPP ? 0 : err;
}

int page_ask(struct page *page, const struct page_question *question)
{
	struct transport_passed passed = {.fd = -1};
	struct transport link;
	int err;

	page_drop(page);
	err = transport_connect(&link, question->path, question->turn, question->timeout_ms,
				question->deadline_ns);
	if (err)
		return err;
	err = transport_take_fds(&link, &passed);
	if (!err)
		err = ask(&link, question);
	transport_drop(&link); /* more may come to light */
	return take(page, &passed, err);
}

int page_ask_on(struct page *page, struct transport *link, const struct page_question *question)
{
	struct transport_passed passed = {.fd = -1};
	int err, end_err;

	page_drop(page);
	err = transport_take_fds(link, &passed);
	if (!err)
		err = ask(link, question);
	end_err = transport_take_fds(link, NULL);
	if (end_err && !err)
		err = end_err == -ESTALE ? end_err : -EPROTO;
	return take(page, &passed, err);
}

int page_open(struct page *page, const char *path)
{
	/* O_NONBLOCK: should it be a FIFO. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	int err;

	*page = (struct page){0};
	if (fd < 0)
		return -errno;
	err = map_fd(page, fd);
	close(fd);
	return err;
}

uint64_t page_lease_left_ns(const struct page *page)
{
	const uint64_t lease_ns = epoch_page_lease_ns(page->map);
	struct timespec now;
	uint64_t now_ns;

	clock_gettime(CLOCK_BOOTTIME, &now);
	now_ns = (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
	return lease_ns > now_ns ? lease_ns - now_ns : 0;
}

void page_read(const struct page *page, struct rngclient_epoch *info)
{
	struct epoch_page_event event;

	*info = (struct rngclient_epoch){
	    .size = sizeof(*info),
	    .look_again = epoch_page_look_again(page->map),
	    .generation = epoch_page_generation(page->map),
	    .epoch = epoch_page_epoch(page->map),
	    .state = epoch_page_state(page->map),
	    .lease_ms = (int64_t)(page_lease_left_ns(page) / NS_PER_MS),
	};
	if (!epoch_page_last_event(page->map, &event))
		return;
	info->event_generation = event.generation;
	info->event_realtime_ns = event.realtime_ns;
	info->event_boottime_ns = event.boottime_ns;
	info->event_notifier = event.notifier;
	strncpy(info->event_notifier_name, epoch_page_notifier_name(event.notifier),
		sizeof(info->event_notifier_name) - 1);
	memcpy(info->event_id, event.id, sizeof(info->event_id));
}

bool page_fits(const struct rngclient_epoch *epoch)
{
	return epoch->size >= PAGE_INFO_MIN_BYTES && epoch->size <= PAGE_INFO_MAX_BYTES;
}

int page_give(struct rngclient_epoch *epoch, const struct rngclient_epoch *known, int err)
{
	const size_t size = epoch->size;

	memset(epoch, 0, size);
	if (!err)
		memcpy(epoch, known, size < sizeof(*known) ? size : sizeof(*known));
	epoch->size = size;
	return err;
}
