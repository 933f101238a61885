/*
 * Owns: the mapping of a page, and on old kernels that of a counter. May touch: both. Never does:
 * leave a secret where it can be written to a swap file, or share the page with a child.
 */
#include "client/statepage.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 0x08 /* Linux 6.11, include/uapi/linux/mman.h */
#endif
#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

/* MAP_DROPPABLE is a type of mapping, as MAP_PRIVATE is: who does not know it says EINVAL. */
static void *map_droppable(size_t bytes)
{
#ifdef RNGD_TEST_FALLBACK
	(void)bytes;
	return MAP_FAILED;
#else
	return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_DROPPABLE | MAP_ANONYMOUS, -1, 0);
#endif
}

/* Does a child find the page zeroed? */
static bool wipe_on_fork(void *data, size_t bytes)
{
#ifdef RNGD_TEST_FALLBACK
	(void)data;
	(void)bytes;
	return false;
#else
	return madvise(data, bytes, MADV_WIPEONFORK) == 0;
#endif
}

static void drop_counter(struct statepage *page)
{
	if (page->shared)
		munmap(page->shared, page->map_bytes);
	page->shared = NULL;
}

/* A child still has the one before, so the two never count together again. */
static int new_counter(struct statepage *page)
{
	void *map =
	    mmap(NULL, page->map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (map == MAP_FAILED)
		return -ENOMEM;
	drop_counter(page);
	page->shared = map;
	page->counted = 0;
	return 0;
}

static int map_locked(struct statepage *page)
{
	page->data =
	    mmap(NULL, page->map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page->data == MAP_FAILED)
		return -ENOMEM;
	page->locked = true;
	if (mlock(page->data, page->map_bytes) < 0 ||
	    madvise(page->data, page->map_bytes, MADV_DONTDUMP) < 0)
		return -errno;
	return wipe_on_fork(page->data, page->map_bytes) ? 0 : new_counter(page);
}

int statepage_init(struct statepage *page, size_t bytes)
{
	size_t unit = (size_t)sysconf(_SC_PAGESIZE);
	int err = 0;

	*page = (struct statepage){.map_bytes = (bytes + unit - 1) / unit * unit};
	page->data = map_droppable(page->map_bytes);
	if (page->data == MAP_FAILED)
		err = map_locked(page);
	if (err)
		statepage_deinit(page);
	return err;
}

int statepage_renew(struct statepage *page)
{
	/* A child inherits no lock. */
	if (page->locked && mlock(page->data, page->map_bytes) < 0)
		return -errno;
	return page->shared ? new_counter(page) : 0;
}

void statepage_deinit(struct statepage *page)
{
	if (page->data && page->data != MAP_FAILED) {
		explicit_bzero(page->data, page->map_bytes);
		munmap(page->data, page->map_bytes);
	}
	drop_counter(page);
	*page = (struct statepage){0};
}
