/*
 * Owns: the mapped page and its descriptors. May touch: the page's file and its directory.
 * Never does: truncate, replace or remove a page, or store anything but a whole word in one.
 */
#include "daemon/epoch_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "daemon/lockfile.h"
#include "daemon/log.h"
#include "daemon/pagefile.h"

#define EPOCH_FILE_EVENT_WORDS (sizeof(struct epoch_page_event) / sizeof(uint64_t))

_Static_assert(EPOCH_FILE_EVENT_WORDS * sizeof(uint64_t) == sizeof(struct epoch_page_event),
	       "whole words");

static const struct epoch_page_saved nothing_saved;

static uint64_t now_ns(clockid_t clock)
{
	struct timespec ts = {0};

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int epoch_file_prepare(const char *path, int *page_fd, int *lock_fd)
{
	int err;

	*page_fd = -1;
	*lock_fd = -1;
	if (*path == '\0') {
		log_error("the epoch page needs a path");
		return -EINVAL;
	}
	*lock_fd = lockfile_open(path);
	if (*lock_fd < 0) {
		err = *lock_fd;
		*lock_fd = -1;
		return err;
	}
	*page_fd = pagefile_open(path);
	if (*page_fd < 0) {
		err = *page_fd;
		*page_fd = -1;
		close(*lock_fd);
		*lock_fd = -1;
		return err;
	}
	return 0;
}

static void poke(const struct epoch_file *file)
{
	static const uint8_t any = 0;

	/* Cannot fail for want of space: the page is there. What is lost is a wake-up at most. */
	if (file->fd >= 0 && pwrite(file->fd, &any, 1, EPOCH_PAGE_POKE_OFFSET) < 0)
		return;
}

/* There is one writer, so what it reads is what it stored. */
static void advance(uint64_t *word)
{
	__atomic_store_n(word, *word + 1, __ATOMIC_RELEASE);
}

static struct epoch_page_event *slot_of(struct epoch_page *page, uint64_t generation)
{
	return &page->events[generation % 2];
}

/* From its generation and that one's event, both of which were stored before it. */
static void store_epoch(struct epoch_page *page)
{
	uint32_t notifier = EPOCH_PAGE_NOBODY;

	if (page->generation > 1)
		notifier = slot_of(page, page->generation)->notifier;
	__atomic_store_n(&page->epoch,
			 epoch_page_word(notifier, page->counter_base, page->generation),
			 __ATOMIC_RELEASE);
}

/* Could one of ours have left this? Under the lock, so nobody is writing. */
static bool is_coherent(struct epoch_page *page)
{
	uint64_t generation = page->generation;

	if (!epoch_page_valid(page) || generation == 0 || generation > INT64_MAX ||
	    page->look_again == 0 || page->look_again > INT64_MAX)
		return false;
	return generation == 1 || slot_of(page, generation)->generation == generation;
}

static int map_page(struct epoch_file *file, const char *path)
{
	struct stat st, reader_st;
	void *page;
	int err = pagefile_check(path, file->fd, &st);

	if (err)
		return err;
	page = mmap(NULL, EPOCH_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file->fd, 0);
	if (page == MAP_FAILED)
		goto fail;
	file->page = page;
	if (!is_coherent(file->page))
		return pagefile_refuse(path, -EINVAL, "is no epoch page, or a damaged one");
	file->reader_fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	if (file->reader_fd < 0 || fstat(file->reader_fd, &reader_st) < 0)
		goto fail;
	if (reader_st.st_dev != st.st_dev || reader_st.st_ino != st.st_ino) {
		log_error("%s was replaced while rngd started; start it again", path);
		return -ESTALE;
	}
	return 0;

fail:
	err = -errno;
	log_error("cannot map %s: %s", path, strerror(-err));
	return err;
}

/* Nothing of what a failed open has mapped was stored to. */
static void release(struct epoch_file *file)
{
	if (file->page)
		munmap(file->page, EPOCH_PAGE_BYTES);
	if (file->reader_fd >= 0)
		close(file->reader_fd);
	if (file->fd >= 0)
		close(file->fd);
	if (file->lock_fd >= 0)
		close(file->lock_fd); /* last: the next writer may come now */
	*file = (struct epoch_file){.fd = -1, .lock_fd = -1, .reader_fd = -1};
}

int epoch_file_open(struct epoch_file *file, const char *path, int page_fd, int lock_fd)
{
	int err;

	*file = (struct epoch_file){.fd = page_fd, .lock_fd = lock_fd, .reader_fd = -1};
	err = lockfile_take(lock_fd);
	if (err == -EADDRINUSE)
		log_error("another rngd publishes %s; stop it or choose another --epoch", path);
	else if (err)
		log_error("cannot lock %s.lock: %s", path, strerror(-err));
	if (!err)
		err = map_page(file, path);
	if (err) {
		release(file);
		return err;
	}
	file->fresh = file->page->look_again == 1;
	epoch_file_lease(file, 0);
	epoch_file_state(file, EPOCH_PAGE_STOPPED);
	/* A writer killed between two stores published a generation but not its word. */
	store_epoch(file->page);
	epoch_file_aged(file);
	return 0;
}

int epoch_file_open_private(struct epoch_file *file)
{
	void *page;

	*file = (struct epoch_file){.fd = -1, .lock_fd = -1, .reader_fd = -1, .fresh = true};
	page = mmap(NULL, EPOCH_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		    0);
	if (page == MAP_FAILED)
		return -errno;
	file->page = page;
	pagefile_fill(file->page, 0); /* a random start is for those who map it */
	/*
	 * No file remembers where the last daemon stopped counting. Frames name the generation, and
	 * a number must not come back: this time has not been before.
	 */
	file->page->generation = now_ns(CLOCK_REALTIME);
	store_epoch(file->page);
	advance(&file->page->look_again); /* as epoch_file_open() does */
	return 0;
}

void epoch_file_cloned(struct epoch_file *file, uint32_t notifier,
		       const uint8_t id[EPOCH_PAGE_ID_BYTES])
{
	struct epoch_page *page = file->page;
	uint64_t *slot, generation = page->generation + 1;
	uint64_t words[EPOCH_FILE_EVENT_WORDS];
	struct epoch_page_event event = {.generation = generation,
					 .realtime_ns = now_ns(CLOCK_REALTIME),
					 .boottime_ns = now_ns(CLOCK_BOOTTIME),
					 .notifier = notifier};

	memcpy(event.id, id, sizeof(event.id));
	memcpy(words, &event, sizeof(words));
	slot = (void *)slot_of(page, generation);
	/* Who sees a word of this in the slot must see that the generation has left the slot. */
	__atomic_thread_fence(__ATOMIC_RELEASE);
	for (size_t i = 0; i < EPOCH_FILE_EVENT_WORDS; i++)
		__atomic_store_n(&slot[i], words[i], __ATOMIC_RELAXED);
	advance(&page->generation); /* publishes the slot */
	advance(&page->look_again);
	store_epoch(page);
	poke(file);
}

void epoch_file_aged(struct epoch_file *file)
{
	advance(&file->page->look_again);
	poke(file);
}

void epoch_file_lease(struct epoch_file *file, int64_t seconds)
{
	uint64_t until_ns = 0;

	if (seconds > INT32_MAX)
		seconds = INT32_MAX;
	if (seconds > 0)
		until_ns = now_ns(CLOCK_BOOTTIME) + (uint64_t)seconds * 1000000000u;
	__atomic_store_n(&file->page->lease_ns, until_ns, __ATOMIC_RELEASE);
}

void epoch_file_state(struct epoch_file *file, enum epoch_page_state state)
{
	if (file->page->state != (uint32_t)state)
		__atomic_store_n(&file->page->state, (uint32_t)state, __ATOMIC_RELEASE);
}

void epoch_file_save(struct epoch_file *file, const struct epoch_page_saved *saved,
		     uint32_t notifier)
{
	uint8_t value[EPOCH_PAGE_SAVED_BYTES] = {0};
	struct epoch_page_saved *row;

	if (notifier >= EPOCH_PAGE_SAVED_ROWS || saved->bytes > sizeof(value))
		return;
	row = &file->page->saved[notifier];
	memcpy(value, saved->value, saved->bytes);
	if (row->bytes == saved->bytes && memcmp(row->value, value, sizeof(value)) == 0)
		return;
	__atomic_store_n(&row->bytes, 0, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE); /* no byte of the value before that */
	memcpy(row->value, value, sizeof(value));
	__atomic_store_n(&row->bytes, saved->bytes, __ATOMIC_RELEASE);
}

const struct epoch_page_saved *epoch_file_saved(const struct epoch_file *file, uint32_t notifier)
{
	const struct epoch_page_saved *row;

	if (notifier >= EPOCH_PAGE_SAVED_ROWS)
		return &nothing_saved;
	row = &file->page->saved[notifier];
	return row->bytes <= EPOCH_PAGE_SAVED_BYTES ? row : &nothing_saved;
}

void epoch_file_stop(struct epoch_file *file)
{
	if (!file->page)
		return;
	epoch_file_lease(file, 0);
	epoch_file_state(file, EPOCH_PAGE_STOPPED);
	poke(file);
}

void epoch_file_close(struct epoch_file *file)
{
	epoch_file_stop(file);
	release(file);
}
