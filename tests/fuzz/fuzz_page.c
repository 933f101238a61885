/*
 * fuzz_page - the epoch page: what its readers make of any bytes, and what the daemon does with a
 * page that it finds: refused and left as it is, or taken, and from then on no word of it goes
 * back. Input: 3 bytes (what file it is), the words of the page's first 192 bytes, places to
 * change, then what the daemon does.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "daemon/epoch_file.h"
#include "daemon/lockfile.h"
#include "daemon/log.h"
#include "daemon/pagefile.h"
#include "tests/fuzz/fuzz.h"

#define PATH       "/fuzz/epoch"
#define LOCK_FD    (FUZZ_FD + 1)
#define READER_FD  (FUZZ_FD + 2)
#define HEAD_BYTES 192u
#define OWNER      4242u /* neither root nor us */

static struct {
	struct epoch_page *page;
	struct stat st;
	long fs_type;
	int lock_err;
	bool replaced; /* the path leads to another file by now */
	bool no_lock, no_map, no_reader;
	int opens, closes, lock_closes, maps, unmaps;
} file;

/* ---------------------------------------------------------------- in place of the rest of the
 * daemon */

void log_event(enum log_event event, enum log_level level, const char *format, ...)
{
	char line[LOG_LINE_BYTES];
	va_list args;

	(void)event;
	(void)level;
	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
}

int lockfile_open(const char *path)
{
	FUZZ_CHECK(strcmp(path, PATH) == 0);
	return file.no_lock ? -EPERM : LOCK_FD;
}

int lockfile_take(int fd)
{
	FUZZ_CHECK(fd == LOCK_FD);
	return file.lock_err;
}

/* ---------------------------------------------------------------- in place of the kernel */

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __real_close(int fd);
int __wrap_close(int fd);
int __real_fstat(int fd, struct stat *st);
int __wrap_fstat(int fd, struct stat *st);
int __real_fstatfs(int fd, struct statfs *fs);
int __wrap_fstatfs(int fd, struct statfs *fs);
void *__real_mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset);
int __real_munmap(void *at, size_t bytes);
int __wrap_munmap(void *at, size_t bytes);
ssize_t __real_pread(int fd, void *to, size_t size, off_t offset);
ssize_t __wrap_pread(int fd, void *to, size_t size, off_t offset);
ssize_t __real_pwrite(int fd, const void *from, size_t size, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *from, size_t size, off_t offset);

int __wrap_open(const char *path, int flags, ...)
{
	if (strcmp(path, PATH) != 0)
		return __real_open(path, flags, 0);
	FUZZ_CHECK((flags & O_NOFOLLOW) && (flags & O_CLOEXEC) && !(flags & (O_CREAT | O_TRUNC)));
	if (file.no_reader && (flags & O_ACCMODE) == O_RDONLY) {
		errno = EMFILE;
		return -1;
	}
	file.opens++;
	return (flags & O_ACCMODE) == O_RDONLY ? READER_FD : FUZZ_FD;
}

int __wrap_close(int fd)
{
	if (fd < FUZZ_FD)
		return __real_close(fd);
	if (fd == LOCK_FD)
		file.lock_closes++;
	else
		file.closes++;
	return 0;
}

int __wrap_fstat(int fd, struct stat *st)
{
	if (fd < FUZZ_FD)
		return __real_fstat(fd, st);
	*st = file.st;
	st->st_ino = fd == READER_FD && file.replaced ? 2 : 1;
	return 0;
}

int __wrap_fstatfs(int fd, struct statfs *fs)
{
	if (fd < FUZZ_FD)
		return __real_fstatfs(fd, fs);
	memset(fs, 0, sizeof(*fs));
	fs->f_type = file.fs_type;
	return 0;
}

void *__wrap_mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset)
{
	if (fd < FUZZ_FD)
		return __real_mmap(at, bytes, prot, flags, fd, offset);
	FUZZ_CHECK(fd == FUZZ_FD && bytes == EPOCH_PAGE_BYTES && offset == 0);
	FUZZ_CHECK(file.st.st_size >= (off_t)bytes);
	if (file.no_map) {
		errno = ENOMEM;
		return MAP_FAILED;
	}
	file.maps++;
	return file.page;
}

int __wrap_munmap(void *at, size_t bytes)
{
	if (at != file.page)
		return __real_munmap(at, bytes);
	file.unmaps++;
	return 0;
}

ssize_t __wrap_pread(int fd, void *to, size_t size, off_t offset)
{
	if (fd < FUZZ_FD)
		return __real_pread(fd, to, size, offset);
	FUZZ_CHECK(offset == 0 && size <= EPOCH_PAGE_BYTES);
	memcpy(to, file.page, size);
	return (ssize_t)size;
}

ssize_t __wrap_pwrite(int fd, const void *from, size_t size, off_t offset)
{
	if (fd < FUZZ_FD)
		return __real_pwrite(fd, from, size, offset);
	FUZZ_CHECK(fd == FUZZ_FD && size == 1 && offset == EPOCH_PAGE_POKE_OFFSET);
	memcpy((uint8_t *)file.page + offset, from, size);
	return 1;
}

/* ---------------------------------------------------------------- any bytes, to a reader */

static void read_page(const struct epoch_page *page)
{
	const struct epoch_page_event *slot = &page->events[page->generation % 2];
	struct epoch_page_event event;
	bool found;

	FUZZ_CHECK(epoch_page_valid(page) ==
		   (memcmp((const char *)page + 4, "\1\0\0\0RNGDPAGE", 12) == 0));
	FUZZ_CHECK(epoch_page_epoch(page) == page->epoch);
	FUZZ_CHECK(epoch_page_generation(page) == page->generation);
	FUZZ_CHECK(epoch_page_look_again(page) == page->look_again);
	FUZZ_CHECK(epoch_page_lease_ns(page) == page->lease_ns);
	FUZZ_CHECK(epoch_page_state(page) == page->state);
	memset(&event, 0xff, sizeof(event));
	found = epoch_page_last_event(page, &event);
	FUZZ_CHECK(found == (page->generation > 1 && slot->generation == page->generation));
	FUZZ_CHECK(event.generation == (found ? page->generation : 0));
	FUZZ_CHECK(memcmp(event.id, found ? slot->id : (const uint8_t[16]){0}, 16) == 0);
	FUZZ_CHECK(event.notifier == (found ? slot->notifier : 0));
	FUZZ_CHECK(strlen(epoch_page_notifier_name(event.notifier)) > 2);
	FUZZ_CHECK(
	    epoch_page_word(page->state & 0xff, page->counter_base, page->generation) ==
	    (page->state << 24 | ((page->counter_base + (uint32_t)page->generation) & 0xffffff)));
}

/* ---------------------------------------------------------------- the daemon */

static bool is_coherent(const struct epoch_page *page)
{
	return epoch_page_valid(page) && page->generation >= 1 && page->generation <= INT64_MAX &&
	       page->look_again >= 1 && page->look_again <= INT64_MAX &&
	       (page->generation == 1 ||
		page->events[page->generation % 2].generation == page->generation);
}

static bool is_good_file(bool with_owner)
{
	bool owned = (file.st.st_uid == 0 || file.st.st_uid == geteuid()) &&
		     !(file.st.st_mode & 022) && file.st.st_nlink == 1;

	return S_ISREG(file.st.st_mode) && file.st.st_size == EPOCH_PAGE_BYTES &&
	       (file.fs_type == TMPFS_MAGIC || file.fs_type == RAMFS_MAGIC) &&
	       (owned || !with_owner);
}

static void save(struct epoch_file *epoch_file, struct fuzz_input *input)
{
	struct epoch_page_saved saved = {.bytes = fuzz_u8(input) % 40};
	uint32_t notifier = fuzz_u8(input) % 20;
	const struct epoch_page_saved *kept;

	memset(saved.value, fuzz_u8(input), sizeof(saved.value));
	epoch_file_save(epoch_file, &saved, notifier);
	kept = epoch_file_saved(epoch_file, notifier);
	if (notifier < EPOCH_PAGE_SAVED_ROWS && saved.bytes <= EPOCH_PAGE_SAVED_BYTES) {
		FUZZ_CHECK(kept->bytes == saved.bytes);
		FUZZ_CHECK(memcmp(kept->value, saved.value, saved.bytes) == 0);
	}
	FUZZ_CHECK(kept->bytes <= EPOCH_PAGE_SAVED_BYTES);
}

static void cloned(struct epoch_file *epoch_file, struct fuzz_input *input)
{
	struct epoch_page before = *file.page;
	uint32_t notifier = 1 + fuzz_u8(input) % 7u;
	struct epoch_page_event event;
	uint8_t id[EPOCH_PAGE_ID_BYTES];

	memset(id, fuzz_u8(input), sizeof(id));
	epoch_file_cloned(epoch_file, notifier, id);
	FUZZ_CHECK(file.page->generation == before.generation + 1);
	FUZZ_CHECK(file.page->look_again == before.look_again + 1);
	FUZZ_CHECK(file.page->epoch >> 24 == notifier);
	FUZZ_CHECK(((file.page->epoch - before.epoch) & 0xffffff) == 1);
	FUZZ_CHECK(epoch_page_last_event(file.page, &event) && event.notifier == notifier &&
		   memcmp(event.id, id, sizeof(id)) == 0);
	FUZZ_CHECK(memcmp(&file.page->events[before.generation % 2],
			  &before.events[before.generation % 2], sizeof(event)) == 0);
}

static void act(struct epoch_file *epoch_file, struct fuzz_input *input)
{
	uint64_t look_again = file.page->look_again;

	switch (fuzz_u8(input) % 5) {
	case 0:
		cloned(epoch_file, input);
		break;
	case 1:
		epoch_file_aged(epoch_file);
		FUZZ_CHECK(file.page->look_again == look_again + 1);
		break;
	case 2:
		epoch_file_lease(epoch_file, (int64_t)fuzz_u64(input));
		break;
	case 3:
		epoch_file_state(epoch_file, (enum epoch_page_state)(fuzz_u8(input) % 3));
		break;
	default:
		save(epoch_file, input);
		break;
	}
	read_page(file.page);
	/* What was found may have stood at the last number that is taken for good. */
	FUZZ_CHECK(is_coherent(file.page) || file.page->generation > INT64_MAX ||
		   file.page->look_again > INT64_MAX);
}

static void open_and_act(struct fuzz_input *input)
{
	struct epoch_page before = *file.page;
	bool good = file.lock_err == 0 && is_good_file(false) && is_coherent(&before) &&
		    !file.replaced && !file.no_map && !file.no_reader;
	struct epoch_file epoch_file;
	int err = epoch_file_open(&epoch_file, PATH, FUZZ_FD, LOCK_FD);

	FUZZ_CHECK((err == 0) == good);
	if (err) {
		FUZZ_CHECK(memcmp(file.page, &before, sizeof(before)) == 0);
		FUZZ_CHECK(epoch_file.page == NULL && epoch_file.fd == -1);
	} else {
		FUZZ_CHECK(file.page->generation == before.generation);
		FUZZ_CHECK(file.page->look_again == before.look_again + 1);
		FUZZ_CHECK(file.page->lease_ns == 0 && file.page->state == EPOCH_PAGE_STOPPED);
		for (uint32_t i = 0; i < EPOCH_PAGE_SAVED_ROWS; i++)
			FUZZ_CHECK(epoch_file_saved(&epoch_file, i)->bytes <= 32);
		for (int i = 0; i < 32 && input->left > 0; i++)
			act(&epoch_file, input);
		epoch_file_close(&epoch_file);
		FUZZ_CHECK(file.page->lease_ns == 0 && file.page->state == EPOCH_PAGE_STOPPED);
	}
	FUZZ_CHECK(file.maps == file.unmaps && file.lock_closes == 1);
	FUZZ_CHECK(file.closes == 1 + file.opens);
}

/* Before privileges are dropped. What never changes of a page is judged here already. */
static void prepare(void)
{
	struct epoch_page before = *file.page;
	int page_fd, lock_fd, err;

	err = epoch_file_prepare(PATH, &page_fd, &lock_fd);
	FUZZ_CHECK((err == 0) ==
		   (is_good_file(true) && epoch_page_valid(&before) && !file.no_lock));
	FUZZ_CHECK(page_fd == (err ? -1 : FUZZ_FD) && lock_fd == (err ? -1 : LOCK_FD));
	FUZZ_CHECK(memcmp(file.page, &before, sizeof(before)) == 0);
	FUZZ_CHECK(file.closes == (err && !file.no_lock) && file.lock_closes == file.closes);
	file.closes = file.lock_closes = file.opens = 0;
}

static void make_file(struct fuzz_input *input)
{
	uint8_t kind = fuzz_u8(input), rights = fuzz_u8(input), place = fuzz_u8(input);

	memset(&file, 0, sizeof(file));
	file.st.st_mode = (kind & 7) == 7 ? S_IFCHR : S_IFREG;
	file.st.st_mode |= 0644 | (rights & 022);
	file.st.st_size = (kind & 0x38) == 0x38 ? fuzz_u16(input) : (off_t)EPOCH_PAGE_BYTES;
	file.st.st_uid = (rights & 0x0c) == 0x0c ? OWNER : 0;
	file.st.st_nlink = (rights & 0xc0) == 0xc0 ? 2 : 1;
	file.fs_type = (place & 3) == 3 ? EXT4_SUPER_MAGIC : TMPFS_MAGIC;
	file.lock_err = (place & 12) == 12 ? (kind & 0x40 ? -EADDRINUSE : -ENOLCK) : 0;
	file.replaced = (place & 0x70) == 0x70;
	file.no_lock = place == 0x80;
	file.no_map = place == 0x90;
	file.no_reader = place == 0xa0;
}

static void make_page(struct fuzz_input *input, bool ours)
{
	static void *page; /* on the heap, so that what goes beyond it is seen */
	const uint8_t *bytes;
	size_t len;

	if (!page)
		FUZZ_CHECK(posix_memalign(&page, 4096, EPOCH_PAGE_BYTES) == 0);
	file.page = page;
	pagefile_fill(file.page, ours ? fuzz_u32(input) : 0);
	if (!ours) {
		len = fuzz_take(input, HEAD_BYTES, &bytes);
		if (len)
			memcpy(file.page, bytes, len);
	}
	for (int n = fuzz_u8(input) % 8; n > 0; n--)
		((uint8_t *)file.page)[fuzz_u16(input) % EPOCH_PAGE_BYTES] = fuzz_u8(input);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};

	make_file(&input);
	make_page(&input, fuzz_u8(&input) & 1);
	read_page(file.page);
	prepare();
	open_and_act(&input);
	return 0;
}
