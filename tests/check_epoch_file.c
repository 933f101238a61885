/*
 * check_epoch_file - the published epoch page: its file, its lock, its writer. Owns: a directory in
 * /dev/shm, another on a disk, processes that write and are killed. May touch: those; a mount
 * namespace of its own. Never does: touch the default path.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "daemon/epoch_file.h"
#include "tests/support.h"

/* An event with an id that no other has. No assertion: also for children that are killed at any
 * point. */
static void cloned(struct epoch_file *publisher, uint32_t notifier)
{
	uint8_t id[EPOCH_PAGE_ID_BYTES];

	if (getrandom(id, sizeof(id), 0) != (ssize_t)sizeof(id))
		abort();
	epoch_file_cloned(publisher, notifier, id);
}

#define OTHER_ID    65534u
#define KILLS       200
#define PREPARERS   20
#define ROUNDS      20
#define STORM_MS    400
#define STORM_MOVES 100

static char dir[64], path[96], lock[104];
static size_t fds_before;

static bool is_tmpfs(const char *at)
{
	struct statfs fs;

	return statfs(at, &fs) == 0 && fs.f_type == TMPFS_MAGIC;
}

static void setup(void)
{
	strcpy(dir, "/dev/shm/rngd-epoch.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/epoch", dir);
	snprintf(lock, sizeof(lock), "%s.lock", path);
	fds_before = support_fd_count(getpid());
}

static void teardown(void)
{
	unlink(path);
	unlink(lock);
	ck_assert_int_eq(rmdir(dir), 0);
}

/* What is logged goes to a file in memory: one line, or the test fails. */
struct log_trap {
	int saved, fd;
};

static void trap_log(struct log_trap *trap)
{
	trap->saved = dup(STDERR_FILENO);
	trap->fd = memfd_create("log", MFD_CLOEXEC);
	ck_assert(trap->saved >= 0 && trap->fd >= 0);
	dup2(trap->fd, STDERR_FILENO);
}

static void expect_line(struct log_trap *trap, const char *part)
{
	char text[1024] = "";

	dup2(trap->saved, STDERR_FILENO);
	ck_assert_int_gt(pread(trap->fd, text, sizeof(text) - 1, 0), 0);
	close(trap->fd);
	close(trap->saved);
	ck_assert_msg(strstr(text, part) != NULL, "no \"%s\" in: %s", part, text);
	ck_assert_ptr_eq(strchr(text, '\n') + 1, text + strlen(text));
}

static void refuse_prepare(const char *at, int err, const char *line)
{
	int page_fd = 77, lock_fd = 77;
	size_t fds = support_fd_count(getpid());
	struct log_trap trap;

	trap_log(&trap);
	ck_assert_int_eq(epoch_file_prepare(at, &page_fd, &lock_fd), err);
	expect_line(&trap, line);
	ck_assert_int_eq(page_fd, -1);
	ck_assert_int_eq(lock_fd, -1);
	ck_assert_uint_eq(support_fd_count(getpid()), fds);
}

static void refuse_open(const char *at, int page_fd, int lock_fd, int err, const char *line)
{
	struct epoch_file file;
	size_t fds = support_fd_count(getpid());
	struct log_trap trap;

	trap_log(&trap);
	ck_assert_int_eq(epoch_file_open(&file, at, page_fd, lock_fd), err);
	expect_line(&trap, line);
	ck_assert_ptr_null(file.page);
	ck_assert(file.fd == -1 && file.lock_fd == -1 && file.reader_fd == -1);
	ck_assert_uint_eq(support_fd_count(getpid()), fds - 2); /* it owned both */
}

static int open_at(struct epoch_file *file, const char *at)
{
	int page_fd, lock_fd, err = epoch_file_prepare(at, &page_fd, &lock_fd);

	return err ? err : epoch_file_open(file, at, page_fd, lock_fd);
}

static void open_ok(struct epoch_file *file)
{
	ck_assert_int_eq(open_at(file, path), 0);
}

/* As any process would map it. */
static const struct epoch_page *map_reader(const char *at)
{
	int fd = open(at, O_RDONLY | O_CLOEXEC);
	const struct epoch_page *page;

	ck_assert_int_ge(fd, 0);
	page = mmap(NULL, EPOCH_PAGE_BYTES, PROT_READ, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(page, MAP_FAILED);
	close(fd);
	return page;
}

static void unmap_reader(const struct epoch_page *page)
{
	munmap((void *)(uintptr_t)page, EPOCH_PAGE_BYTES);
}

static void make_file(const char *at, const void *data, size_t bytes)
{
	int fd = open(at, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fchmod(fd, 0644), 0);
	ck_assert_int_eq(write(fd, data, bytes), (ssize_t)bytes);
	close(fd);
}

static void read_file(const char *at, struct epoch_page *page)
{
	int fd = open(at, O_RDONLY | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(read(fd, page, sizeof(*page)), (ssize_t)sizeof(*page));
	close(fd);
}

static void good_page(struct epoch_page *page)
{
	memset(page, 0, sizeof(*page));
	memcpy(page->magic, EPOCH_PAGE_MAGIC, sizeof(page->magic));
	page->version = EPOCH_PAGE_VERSION;
	page->counter_base = 0x123456;
	page->generation = 1;
	page->look_again = 1;
	page->epoch = epoch_page_word(EPOCH_PAGE_NOBODY, page->counter_base, 1);
}

START_TEST(is_made_complete)
{
	static const mode_t masks[] = {0, 022, 077, 0777};
	static const struct epoch_page_event none;
	struct epoch_page_event event;
	struct epoch_page page;
	int page_fd, lock_fd;
	struct stat st;

	for (size_t i = 0; i < sizeof(masks) / sizeof(masks[0]); i++) {
		umask(masks[i]);
		ck_assert_int_eq(epoch_file_prepare(path, &page_fd, &lock_fd), 0);
		ck_assert_uint_eq(umask(022), masks[i]);
		ck_assert(fcntl(page_fd, F_GETFD) & FD_CLOEXEC);
		ck_assert(fcntl(lock_fd, F_GETFD) & FD_CLOEXEC);
		ck_assert_int_eq(lstat(path, &st), 0);
		ck_assert_uint_eq(st.st_mode, S_IFREG | 0644);
		ck_assert_uint_eq(st.st_uid, geteuid());
		ck_assert_uint_eq(st.st_nlink, 1);
		ck_assert_int_eq(st.st_size, EPOCH_PAGE_BYTES);
		ck_assert_int_eq(st.st_blocks, EPOCH_PAGE_BYTES / 512); /* no hole */
		ck_assert_int_eq(lstat(lock, &st), 0);
		ck_assert_uint_eq(st.st_mode & ~(mode_t)0600, S_IFREG);

		read_file(path, &page);
		ck_assert(epoch_page_valid(&page));
		ck_assert_uint_eq(page.generation, 1);
		ck_assert_uint_eq(page.look_again, 1);
		ck_assert_uint_eq(page.lease_ns, 0);
		ck_assert_uint_eq(page.state, EPOCH_PAGE_STOPPED);
		ck_assert_uint_eq(page.counter_base & ~EPOCH_PAGE_COUNTER_MASK, 0);
		ck_assert_uint_eq(page.epoch, (page.counter_base + 1) & EPOCH_PAGE_COUNTER_MASK);
		ck_assert(!epoch_page_last_event(&page, &event));
		ck_assert_mem_eq(&event, &none, sizeof(event));
		close(page_fd);
		close(lock_fd);
		ck_assert_int_eq(unlink(path), 0);
		ck_assert_int_eq(unlink(lock), 0);
	}
	ck_assert_uint_eq(support_fd_count(getpid()), fds_before);
}
END_TEST

/* Of 8 pages hardly two begin at the same count. */
START_TEST(base_is_random)
{
	struct epoch_page page;
	uint32_t bases[8];
	int page_fd, lock_fd;

	for (size_t i = 0; i < 8; i++) {
		ck_assert_int_eq(epoch_file_prepare(path, &page_fd, &lock_fd), 0);
		read_file(path, &page);
		bases[i] = page.counter_base;
		for (size_t j = 0; j < i; j++)
			ck_assert_uint_ne(bases[i], bases[j]);
		close(page_fd);
		close(lock_fd);
		ck_assert_int_eq(unlink(path), 0);
	}
}
END_TEST

START_TEST(same_file_after_a_restart)
{
	struct epoch_file file;
	struct stat before, after;
	uint64_t look_again;
	uint32_t word;

	open_ok(&file);
	ck_assert(file.fresh);
	ck_assert_uint_eq(file.page->look_again, 2);
	ck_assert(fcntl(file.reader_fd, F_GETFD) & FD_CLOEXEC);
	ck_assert_int_eq(fcntl(file.reader_fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	ck_assert_int_eq(fstat(file.reader_fd, &before), 0);
	cloned(&file, EPOCH_PAGE_VMGENID);
	word = file.page->epoch;
	look_again = file.page->look_again;
	epoch_file_close(&file);
	epoch_file_close(&file); /* twice does no harm */
	ck_assert_uint_eq(support_fd_count(getpid()), fds_before);

	open_ok(&file);
	ck_assert(!file.fresh);
	ck_assert_int_eq(stat(path, &after), 0);
	ck_assert(after.st_ino == before.st_ino && after.st_size == before.st_size);
	ck_assert_uint_eq(file.page->generation, 2);
	ck_assert_uint_eq(file.page->epoch, word);
	ck_assert_uint_eq(file.page->look_again, look_again + 1);
	epoch_file_close(&file);
}
END_TEST

START_TEST(second_writer_is_refused)
{
	struct epoch_page before, after;
	struct epoch_file file;
	int page_fd, lock_fd;

	open_ok(&file);
	epoch_file_state(&file, EPOCH_PAGE_SERVING);
	read_file(path, &before);
	ck_assert_int_eq(epoch_file_prepare(path, &page_fd, &lock_fd), 0);
	refuse_open(path, page_fd, lock_fd, -EADDRINUSE, "another rngd publishes");
	read_file(path, &after);
	ck_assert_mem_eq(&before, &after, sizeof(before));
	epoch_file_close(&file);
	open_ok(&file);
	epoch_file_close(&file);
}
END_TEST

START_TEST(locked_by_a_process_that_died)
{
	struct epoch_file file;
	pid_t pid = fork();
	int status;

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		if (open_at(&file, path) == 0)
			raise(SIGKILL);
		_exit(1);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status));
	open_ok(&file);
	ck_assert(!file.fresh);
	epoch_file_close(&file);
}
END_TEST

START_TEST(link_is_refused)
{
	struct epoch_page page, after;
	char target[96];

	snprintf(target, sizeof(target), "%s/other", dir);
	ck_assert_int_eq(symlink(target, path), 0);
	refuse_prepare(path, -ELOOP, "cannot open");
	ck_assert_int_eq(access(target, F_OK), -1); /* nothing was made behind it */
	good_page(&page);
	make_file(target, &page, sizeof(page));
	refuse_prepare(path, -ELOOP, "cannot open");
	read_file(target, &after);
	ck_assert_mem_eq(&page, &after, sizeof(page));
	ck_assert_int_eq(unlink(target), 0);
}
END_TEST

START_TEST(lock_link_is_refused)
{
	char target[96];

	snprintf(target, sizeof(target), "%s/other", dir);
	ck_assert_int_eq(symlink(target, lock), 0);
	refuse_prepare(path, -ELOOP, "cannot open");
	ck_assert_int_eq(access(target, F_OK), -1);
	ck_assert_int_eq(access(path, F_OK), -1);
}
END_TEST

START_TEST(other_kinds_are_refused)
{
	ck_assert_int_eq(mkfifo(path, 0644), 0);
	refuse_prepare(path, -EINVAL, "not a regular file"); /* and does not wait for a peer */
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(mkdir(path, 0755), 0);
	refuse_prepare(path, -EISDIR, "cannot open");
	ck_assert_int_eq(rmdir(path), 0);
}
END_TEST

START_TEST(wrong_size_is_refused)
{
	static const off_t sizes[] = {0, 4, EPOCH_PAGE_BYTES - 1, EPOCH_PAGE_BYTES + 1,
				      2 * EPOCH_PAGE_BYTES};
	struct epoch_page page;
	struct stat st;

	good_page(&page);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		make_file(path, &page, sizeof(page));
		ck_assert_int_eq(truncate(path, sizes[i]), 0);
		refuse_prepare(path, -EINVAL, "size");
		ck_assert_int_eq(stat(path, &st), 0);
		ck_assert_int_eq(st.st_size, sizes[i]);
		ck_assert_int_eq(unlink(path), 0);
	}
}
END_TEST

/* Every way of not being a page; refused before anything is stored. */
START_TEST(wrong_content_is_refused)
{
	struct epoch_page page, after;

	memset(&page, 0, sizeof(page)); /* a hole, as "truncate -s 4096" makes */
	make_file(path, "", 0);
	ck_assert_int_eq(truncate(path, EPOCH_PAGE_BYTES), 0);
	refuse_prepare(path, -EINVAL, "no epoch page");
	ck_assert_int_eq(unlink(path), 0);
	for (int i = 0; i < 2; i++) {
		good_page(&page);
		if (i == 0)
			page.magic[7] ^= 1;
		else
			page.version++;
		make_file(path, &page, sizeof(page));
		refuse_prepare(path, -EINVAL, "no epoch page");
		read_file(path, &after);
		ck_assert_mem_eq(&page, &after, sizeof(page));
		ck_assert_int_eq(unlink(path), 0);
	}
}
END_TEST

/* What no writer of ours can have left is seen when the page is locked, and left as it is. */
START_TEST(damage_is_refused)
{
	struct epoch_page page, after;
	int page_fd, lock_fd;

	for (int i = 0; i < 6; i++) {
		good_page(&page);
		switch (i) {
		case 0:
			page.generation = 0;
			break;
		case 1:
			page.generation = UINT64_MAX;
			break;
		case 2:
			page.look_again = 0;
			break;
		case 3:
			page.look_again = UINT64_MAX;
			break;
		case 4:
			page.generation = 2;
			break; /* whose event is missing */
		case 5:
			page.generation = 4;
			page.events[0].generation = 2; /* its predecessor's */
			break;
		}
		make_file(path, &page, sizeof(page));
		ck_assert_int_eq(epoch_file_prepare(path, &page_fd, &lock_fd), 0);
		refuse_open(path, page_fd, lock_fd, -EINVAL, "damaged");
		read_file(path, &after);
		ck_assert_mem_eq(&page, &after, sizeof(page));
		ck_assert_int_eq(unlink(path), 0);
	}
}
END_TEST

START_TEST(wrong_access_is_refused)
{
	static const mode_t modes[] = {0664, 0646, 0666};
	struct epoch_page page;
	struct stat st;
	char second[96];

	good_page(&page);
	make_file(path, &page, sizeof(page));
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		ck_assert_int_eq(chmod(path, modes[i]), 0);
		refuse_prepare(path, -EPERM, "can be written by others");
		ck_assert_int_eq(stat(path, &st), 0);
		ck_assert_uint_eq(st.st_mode & 07777, modes[i]);
	}
	ck_assert_int_eq(chmod(path, 0644), 0);
	snprintf(second, sizeof(second), "%s/second", dir);
	ck_assert_int_eq(link(path, second), 0);
	refuse_prepare(path, -EPERM, "second name");
	ck_assert_int_eq(unlink(second), 0);
	if (geteuid() != 0) {
		printf("SKIP: only root can make another user's page\n");
		return;
	}
	ck_assert_int_eq(chown(path, OTHER_ID, OTHER_ID), 0);
	refuse_prepare(path, -EPERM, "another user");
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_uid, OTHER_ID);
}
END_TEST

/* Made by a user without privileges, in a directory of its own. */
START_TEST(needs_no_privilege)
{
	struct epoch_file file;
	int status;
	pid_t pid;

	if (geteuid() != 0) {
		printf("SKIP: this test already runs without privileges\n");
		return;
	}
	ck_assert_int_eq(chown(dir, OTHER_ID, OTHER_ID), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		umask(077);
		if (setresgid(OTHER_ID, OTHER_ID, OTHER_ID) < 0 ||
		    setresuid(OTHER_ID, OTHER_ID, OTHER_ID) < 0)
			_exit(2);
		for (int i = 0; i < 2; i++) {
			if (open_at(&file, path))
				_exit(3 + i);
			cloned(&file, EPOCH_PAGE_HOST);
			epoch_file_close(&file);
		}
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 0);
}
END_TEST

/* Prepared by root, published by a user who could not have opened it; clients cannot write. */
START_TEST(opens_after_privileges_are_gone)
{
	int page_fd, lock_fd, status;
	struct epoch_file file;
	char self[40];
	pid_t pid;

	if (geteuid() != 0) {
		printf("SKIP: only root can give privileges up\n");
		return;
	}
	ck_assert_int_eq(chmod(dir, 0755), 0);
	ck_assert_int_eq(epoch_file_prepare(path, &page_fd, &lock_fd), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		if (setresgid(OTHER_ID, OTHER_ID, OTHER_ID) < 0 ||
		    setresuid(OTHER_ID, OTHER_ID, OTHER_ID) < 0)
			_exit(2);
		if (epoch_file_open(&file, path, page_fd, lock_fd))
			_exit(3);
		cloned(&file, EPOCH_PAGE_HOST);
		snprintf(self, sizeof(self), "/proc/self/fd/%d", file.reader_fd);
		if (open(self, O_RDWR | O_CLOEXEC) >= 0 || errno != EACCES)
			_exit(4);
		epoch_file_close(&file);
		_exit(0);
	}
	close(page_fd);
	close(lock_fd);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 0);
}
END_TEST

START_TEST(disk_is_refused)
{
	static const char *const places[] = {"/tmp", "/var/tmp", "."};
	char there[64] = "", at[96], its_lock[104];
	struct epoch_page page, after;

	for (size_t i = 0; i < 3 && there[0] == '\0'; i++) {
		snprintf(there, sizeof(there), "%s/rngd-epoch.XXXXXX", places[i]);
		if (is_tmpfs(places[i]) || mkdtemp(there) == NULL)
			there[0] = '\0';
	}
	if (there[0] == '\0') {
		printf("SKIP: no directory that is not on a tmpfs\n");
		return;
	}
	snprintf(at, sizeof(at), "%s/epoch", there);
	snprintf(its_lock, sizeof(its_lock), "%s.lock", at);
	refuse_prepare(at, -EOPNOTSUPP, "not on a tmpfs");
	ck_assert_int_eq(access(at, F_OK), -1);
	good_page(&page);
	make_file(at, &page, sizeof(page));
	refuse_prepare(at, -EOPNOTSUPP, "not on a tmpfs");
	read_file(at, &after);
	ck_assert_mem_eq(&page, &after, sizeof(page));
	ck_assert_int_eq(unlink(at), 0);
	ck_assert_int_eq(unlink(its_lock), 0);
	ck_assert_int_eq(rmdir(there), 0);
}
END_TEST

START_TEST(paths)
{
	char at[5000];

	refuse_prepare("", -EINVAL, "needs a path");
	refuse_prepare("/dev/shm/rngd-none/epoch", -ENOENT, "cannot open");
	memset(at, 'x', sizeof(at));
	at[0] = '/';
	at[sizeof(at) - 1] = '\0';
	refuse_prepare(at, -ENAMETOOLONG, "too long");
	/* A name without a directory is one in the working directory. */
	ck_assert_int_eq(chdir(dir), 0);
	for (int i = 0; i < 2; i++) {
		struct epoch_file file;

		ck_assert_int_eq(open_at(&file, "epoch"), 0);
		epoch_file_close(&file);
	}
	ck_assert_int_eq(access(path, F_OK), 0);
}
END_TEST

/* What happened to the file between the two steps is seen; nobody dies of SIGBUS. */
START_TEST(change_before_open_is_refused)
{
	static const off_t sizes[] = {0, EPOCH_PAGE_BYTES / 2, 2 * EPOCH_PAGE_BYTES};
	int page_fd, lock_fd, other_fd, other_lock;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		ck_assert_int_eq(epoch_file_prepare(path, &page_fd, &lock_fd), 0);
		ck_assert_int_eq(truncate(path, sizes[i]), 0);
		refuse_open(path, page_fd, lock_fd, -EINVAL, "size");
		ck_assert_int_eq(unlink(path), 0);
	}
	/* A hole after all: mapped it reads as zeros. */
	ck_assert_int_eq(epoch_file_prepare(path, &page_fd, &lock_fd), 0);
	ck_assert_int_eq(truncate(path, 0), 0);
	ck_assert_int_eq(truncate(path, EPOCH_PAGE_BYTES), 0);
	refuse_open(path, page_fd, lock_fd, -EINVAL, "no epoch page");
	ck_assert_int_eq(unlink(path), 0);
	/* Another page in its place. */
	ck_assert_int_eq(epoch_file_prepare(path, &page_fd, &lock_fd), 0);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(epoch_file_prepare(path, &other_fd, &other_lock), 0);
	refuse_open(path, page_fd, lock_fd, -ESTALE, "replaced");
	close(other_fd);
	close(other_lock);
	/* None in its place. */
	ck_assert_int_eq(epoch_file_prepare(path, &page_fd, &lock_fd), 0);
	ck_assert_int_eq(unlink(path), 0);
	refuse_open(path, page_fd, lock_fd, -ENOENT, "cannot map");
	/* A descriptor that cannot be written through. */
	ck_assert_int_eq(epoch_file_prepare(path, &page_fd, &lock_fd), 0);
	close(page_fd);
	page_fd = open(path, O_RDONLY | O_CLOEXEC);
	refuse_open(path, page_fd, lock_fd, -EACCES, "cannot map");
	page_fd = memfd_create("empty", MFD_CLOEXEC);
	lock_fd = open(lock, O_RDWR | O_CLOEXEC);
	refuse_open(path, page_fd, lock_fd, -EINVAL, "size");
	ck_assert_uint_eq(support_fd_count(getpid()), fds_before);
}
END_TEST

START_TEST(one_event)
{
	const struct epoch_page *reader;
	struct epoch_page_event first, second;
	struct epoch_file file;
	struct timespec now;
	uint64_t look_again;
	static const uint8_t zero[EPOCH_PAGE_ID_BYTES];

	open_ok(&file);
	reader = map_reader(path);
	look_again = epoch_page_look_again(reader);
	cloned(&file, EPOCH_PAGE_VMGENID);
	ck_assert_uint_eq(epoch_page_generation(reader), 2);
	ck_assert_uint_eq(epoch_page_look_again(reader), look_again + 1);
	ck_assert_uint_eq(epoch_page_epoch(reader),
			  epoch_page_word(EPOCH_PAGE_VMGENID, reader->counter_base, 2));
	ck_assert(epoch_page_last_event(reader, &first));
	ck_assert_uint_eq(first.generation, 2);
	ck_assert_uint_eq(first.notifier, EPOCH_PAGE_VMGENID);
	clock_gettime(CLOCK_REALTIME, &now);
	ck_assert_int_le((int64_t)now.tv_sec - (int64_t)(first.realtime_ns / 1000000000u), 20);
	clock_gettime(CLOCK_BOOTTIME, &now);
	ck_assert_int_le((int64_t)now.tv_sec - (int64_t)(first.boottime_ns / 1000000000u), 20);
	ck_assert_mem_ne(first.id, zero, sizeof(zero));

	cloned(&file, EPOCH_PAGE_HOST);
	ck_assert_uint_eq(epoch_page_generation(reader), 3);
	ck_assert_uint_eq(epoch_page_epoch(reader),
			  epoch_page_word(EPOCH_PAGE_HOST, reader->counter_base, 3));
	ck_assert(epoch_page_last_event(reader, &second));
	ck_assert_uint_eq(second.notifier, EPOCH_PAGE_HOST);
	ck_assert_mem_ne(first.id, second.id, sizeof(first.id));
	ck_assert_uint_ge(second.boottime_ns, first.boottime_ns);
	/* The one before stays where it was. */
	ck_assert_mem_eq(&reader->events[0], &first, sizeof(first));
	epoch_file_close(&file);
	unmap_reader(reader);
}
END_TEST

/* A program that maps 4 bytes, as AWS-LC does: they move when the machine was cloned, and then. */
START_TEST(word_of_four_bytes)
{
	struct epoch_page_saved saved = {.bytes = 32};
	struct epoch_file file;
	const volatile uint32_t *word;
	uint32_t before;
	int fd;

	open_ok(&file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	word = mmap(NULL, 4, PROT_READ, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne((const void *)(uintptr_t)word, MAP_FAILED);
	close(fd);
	before = *word;
	epoch_file_aged(&file);
	epoch_file_lease(&file, 9);
	epoch_file_state(&file, EPOCH_PAGE_REFUSING);
	memset(saved.value, 0xff, sizeof(saved.value));
	epoch_file_save(&file, &saved, EPOCH_PAGE_VMGENID);
	epoch_file_close(&file);
	open_ok(&file);
	ck_assert_uint_eq(*word, before);
	cloned(&file, EPOCH_PAGE_KMSG);
	ck_assert_uint_ne(*word, before);
	before = *word;
	cloned(&file, EPOCH_PAGE_KMSG);
	ck_assert_uint_ne(*word, before);
	epoch_file_close(&file);
	munmap((void *)(uintptr_t)word, 4);
}
END_TEST

START_TEST(counter_comes_round)
{
	struct epoch_page page;
	struct epoch_file file;

	good_page(&page);
	page.counter_base = EPOCH_PAGE_COUNTER_MASK - 3;
	page.epoch = EPOCH_PAGE_COUNTER_MASK - 2;
	make_file(path, &page, sizeof(page));
	open_ok(&file);
	for (uint32_t i = 0; i < 6; i++) {
		ck_assert_uint_eq(file.page->generation, 1 + i);
		ck_assert_uint_eq(file.page->epoch & EPOCH_PAGE_COUNTER_MASK,
				  (EPOCH_PAGE_COUNTER_MASK - 2 + i) & EPOCH_PAGE_COUNTER_MASK);
		ck_assert_uint_eq(file.page->epoch >> 24, i == 0 ? 0 : EPOCH_PAGE_SOURCE);
		cloned(&file, EPOCH_PAGE_SOURCE);
	}
	epoch_file_close(&file);
	/* And a generation of more than 24, or 32, bits. */
	page.generation = 0x123fffffffull;
	page.events[1].generation = page.generation;
	page.events[1].notifier = EPOCH_PAGE_HOST;
	ck_assert_int_eq(unlink(path), 0);
	make_file(path, &page, sizeof(page));
	open_ok(&file);
	ck_assert_uint_eq(file.page->epoch, (uint32_t)EPOCH_PAGE_HOST << 24 | 0xfffffbu);
	cloned(&file, EPOCH_PAGE_HOST);
	ck_assert_uint_eq(file.page->generation, 0x1240000000ull);
	epoch_file_close(&file);
}
END_TEST

START_TEST(lease_and_state)
{
	struct epoch_file file;
	const struct epoch_page *reader;
	struct timespec now;
	uint64_t now_ns;

	open_ok(&file);
	reader = map_reader(path);
	ck_assert_uint_eq(epoch_page_lease_ns(reader), 0);
	ck_assert_uint_eq(epoch_page_state(reader), EPOCH_PAGE_STOPPED);
	clock_gettime(CLOCK_BOOTTIME, &now);
	now_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	epoch_file_lease(&file, 5);
	ck_assert_uint_ge(epoch_page_lease_ns(reader), now_ns + 5000000000u);
	ck_assert_uint_le(epoch_page_lease_ns(reader), now_ns + 25000000000u);
	epoch_file_lease(&file, INT64_MAX); /* far away, and not in the past */
	ck_assert_uint_gt(epoch_page_lease_ns(reader), now_ns + 5000000000u);
	epoch_file_lease(&file, -1);
	ck_assert_uint_eq(epoch_page_lease_ns(reader), 0);
	epoch_file_lease(&file, 5);
	epoch_file_state(&file, EPOCH_PAGE_SERVING);
	ck_assert_uint_eq(epoch_page_state(reader), EPOCH_PAGE_SERVING);
	epoch_file_close(&file);
	ck_assert_uint_eq(epoch_page_lease_ns(reader), 0);
	ck_assert_uint_eq(epoch_page_state(reader), EPOCH_PAGE_STOPPED);
	unmap_reader(reader);
}
END_TEST

/* A killed writer's lease and state are not believed of the next one. */
START_TEST(nobody_watches_at_first)
{
	struct epoch_page page;
	struct epoch_file file;

	good_page(&page);
	page.state = EPOCH_PAGE_SERVING;
	page.lease_ns = UINT64_MAX;
	make_file(path, &page, sizeof(page));
	open_ok(&file);
	ck_assert_uint_eq(file.page->lease_ns, 0);
	ck_assert_uint_eq(file.page->state, EPOCH_PAGE_STOPPED);
	epoch_file_close(&file);
}
END_TEST

/* State is stored only when it differs: a page that is read-only can then be "stored" to. */
START_TEST(same_state_is_not_stored)
{
	struct epoch_file file;

	open_ok(&file);
	epoch_file_state(&file, EPOCH_PAGE_SERVING);
	ck_assert_int_eq(mprotect(file.page, EPOCH_PAGE_BYTES, PROT_READ), 0);
	epoch_file_state(&file, EPOCH_PAGE_SERVING);
	ck_assert_int_eq(mprotect(file.page, EPOCH_PAGE_BYTES, PROT_READ | PROT_WRITE), 0);
	epoch_file_close(&file);
}
END_TEST

START_TEST(saved_values)
{
	struct epoch_page_saved saved = {.bytes = 3, .value = "abcd"};
	struct epoch_page before;
	struct epoch_file file;

	open_ok(&file);
	ck_assert_uint_eq(epoch_file_saved(&file, EPOCH_PAGE_KMSG)->bytes, 0);
	epoch_file_save(&file, &saved, EPOCH_PAGE_KMSG);
	saved.bytes = EPOCH_PAGE_SAVED_BYTES;
	epoch_file_save(&file, &saved, EPOCH_PAGE_SAVED_ROWS - 1);
	epoch_file_close(&file);
	open_ok(&file);
	ck_assert_uint_eq(epoch_file_saved(&file, EPOCH_PAGE_KMSG)->bytes, 3);
	ck_assert_mem_eq(epoch_file_saved(&file, EPOCH_PAGE_KMSG)->value, "abc\0", 4);
	ck_assert_uint_eq(epoch_file_saved(&file, EPOCH_PAGE_SAVED_ROWS - 1)->bytes, 32);
	ck_assert_uint_eq(epoch_file_saved(&file, EPOCH_PAGE_VMGENID)->bytes, 0);
	/* A row or a length that does not exist changes nothing; one in the file is not believed.
	 */
	read_file(path, &before);
	epoch_file_save(&file, &saved, EPOCH_PAGE_SAVED_ROWS);
	epoch_file_save(&file, &saved, UINT32_MAX);
	saved.bytes = EPOCH_PAGE_SAVED_BYTES + 1;
	epoch_file_save(&file, &saved, EPOCH_PAGE_KMSG);
	ck_assert_mem_eq(file.page, &before, sizeof(before));
	ck_assert_uint_eq(epoch_file_saved(&file, EPOCH_PAGE_SAVED_ROWS)->bytes, 0);
	file.page->saved[EPOCH_PAGE_HOST].bytes = EPOCH_PAGE_SAVED_BYTES + 1;
	ck_assert_uint_eq(epoch_file_saved(&file, EPOCH_PAGE_HOST)->bytes, 0);
	epoch_file_close(&file);
}
END_TEST

START_TEST(private_page)
{
	struct epoch_file file;
	struct epoch_page_event last;
	uint64_t first;

	ck_assert_int_eq(epoch_file_open_private(&file), 0);
	ck_assert(file.fresh && file.fd == -1 && file.lock_fd == -1 && file.reader_fd == -1);
	ck_assert(epoch_page_valid(file.page));
	/* Frames name it, and nothing remembers what an earlier daemon's said: it must not come
	 * again. */
	first = file.page->generation;
	ck_assert_uint_gt(first, 1000000000ull * 1000000000);
	ck_assert_uint_eq(epoch_page_epoch(file.page), first & EPOCH_PAGE_COUNTER_MASK);
	cloned(&file, EPOCH_PAGE_HOST);
	epoch_file_aged(&file);
	epoch_file_lease(&file, 1);
	epoch_file_state(&file, EPOCH_PAGE_SERVING);
	ck_assert_uint_eq(file.page->generation, first + 1);
	ck_assert_uint_eq(file.page->look_again, 4);
	ck_assert(epoch_page_last_event(file.page, &last));
	ck_assert_uint_eq(support_fd_count(getpid()), fds_before);
	epoch_file_close(&file);
	ck_assert_ptr_null(file.page);
}
END_TEST

/* Did the watch fire since the last look? */
static bool fired(int watch)
{
	char buffer[4096];
	bool any = false;

	while (read(watch, buffer, sizeof(buffer)) > 0)
		any = true;
	ck_assert_int_eq(errno, EAGAIN);
	return any;
}

static int watch_path(const char *at)
{
	int watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);

	ck_assert_int_ge(watch, 0);
	ck_assert_int_ge(inotify_add_watch(watch, at, IN_MODIFY), 0);
	return watch;
}

START_TEST(each_event_wakes)
{
	struct epoch_page_saved saved = {.bytes = 4};
	struct epoch_file file;
	int watch;

	open_ok(&file);
	watch = watch_path(path);
	for (int i = 0; i < 3; i++) {
		cloned(&file, EPOCH_PAGE_VMGENID);
		ck_assert(fired(watch));
		epoch_file_aged(&file);
		ck_assert(fired(watch));
	}
	epoch_file_lease(&file, 5);
	epoch_file_state(&file, EPOCH_PAGE_SERVING);
	epoch_file_save(&file, &saved, EPOCH_PAGE_VMGENID);
	ck_assert(!fired(watch));
	epoch_file_close(&file);
	ck_assert(fired(watch));
	open_ok(&file); /* and a start, which advances look_again */
	ck_assert(fired(watch));
	epoch_file_close(&file);
	close(watch);
}
END_TEST

/* 0: all was well; -1: no tmpfs to be had; else the line that was not. Runs in a namespace of its
 * own. */
static int on_a_full_tmpfs(void)
{
	static const char junk[4096];
	struct epoch_file file;
	char filler[96], event[4096];
	int fd, watch, err;
	struct stat st;

	if (mount("none", dir, "tmpfs", 0, "size=64k") < 0)
		return -1;
	if (open_at(&file, path))
		return __LINE__;
	snprintf(filler, sizeof(filler), "%s/filler", dir);
	fd = open(filler, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	while (write(fd, junk, sizeof(junk)) > 0)
		;
	if (errno != ENOSPC)
		return __LINE__;
	watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (inotify_add_watch(watch, path, IN_MODIFY) < 0)
		return __LINE__;
	cloned(&file, EPOCH_PAGE_HOST);
	if (read(watch, event, sizeof(event)) <= 0 || file.page->generation != 2)
		return __LINE__;
	/* No room for another: an error, and nothing half made. */
	epoch_file_close(&file);
	unlink(path);
	if (write(fd, junk, sizeof(junk)) != sizeof(junk))
		return __LINE__;
	close(STDERR_FILENO);
	err = open_at(&file, path);
	if (err != -ENOSPC || lstat(path, &st) == 0)
		return __LINE__;
	return 0;
}

START_TEST(full_tmpfs)
{
	pid_t pid = fork();
	int status;

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		if (unshare(CLONE_NEWNS) < 0 ||
		    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
			_exit(1);
		switch (on_a_full_tmpfs()) {
		case 0:
			_exit(0);
		case -1:
			_exit(1);
		default:
			_exit(2);
		}
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	if (WEXITSTATUS(status) == 1)
		printf("SKIP: a tmpfs cannot be mounted here\n");
	else
		ck_assert_int_eq(WEXITSTATUS(status), 0);
}
END_TEST

/* A page that cannot be written whole gets no name. */
START_TEST(file_size_limit)
{
	struct rlimit limit;
	int page_fd, lock_fd, null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
	signal(SIGXFSZ, SIG_IGN);
	limit.rlim_cur = EPOCH_PAGE_BYTES / 2;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	refuse_prepare(path, -ENOSPC, "cannot make");
	limit.rlim_cur = 0;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	dup2(null, STDERR_FILENO);
	ck_assert_int_eq(epoch_file_prepare(path, &page_fd, &lock_fd), -EFBIG);
	limit.rlim_cur = limit.rlim_max;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0); /* check writes its results */
	ck_assert_int_eq(access(path, F_OK), -1);
	close(null);
}
END_TEST

/* Whoever sees a file at the path sees a whole page. 0, or what was wrong. */
static int watch_for_short(const int *stop)
{
	struct epoch_page page;
	ssize_t got;
	int fd;

	while (!__atomic_load_n(stop, __ATOMIC_ACQUIRE)) {
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		got = read(fd, &page, sizeof(page));
		close(fd);
		if (got != (ssize_t)sizeof(page))
			return 1;
		if (!epoch_page_valid(&page) || page.generation != 1)
			return 2;
	}
	return 0;
}

START_TEST(many_at_once_make_one)
{
	int *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int *go = shared, *stop = shared + 1, page_fd, lock_fd, status;
	ino_t *inodes = (ino_t *)(void *)(shared + 16);
	pid_t watcher, pids[PREPARERS];
	struct stat st;

	watcher = fork();
	if (watcher == 0)
		_exit(watch_for_short(stop));
	for (int round = 1; round <= ROUNDS; round++) {
		for (int i = 0; i < PREPARERS; i++) {
			pids[i] = fork();
			if (pids[i] != 0)
				continue;
			while (__atomic_load_n(go, __ATOMIC_ACQUIRE) < round)
				sched_yield();
			if (epoch_file_prepare(path, &page_fd, &lock_fd))
				_exit(1);
			fstat(page_fd, &st);
			inodes[i] = st.st_ino;
			_exit(st.st_size != EPOCH_PAGE_BYTES);
		}
		__atomic_store_n(go, round, __ATOMIC_RELEASE);
		for (int i = 0; i < PREPARERS; i++) {
			ck_assert_int_eq(waitpid(pids[i], &status, 0), pids[i]);
			ck_assert(WIFEXITED(status));
			ck_assert_int_eq(WEXITSTATUS(status), 0);
			ck_assert_uint_eq(inodes[i], inodes[0]);
		}
		ck_assert_int_eq(unlink(path), 0);
	}
	__atomic_store_n(stop, 1, __ATOMIC_RELEASE);
	ck_assert_int_eq(waitpid(watcher, &status, 0), watcher);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 0);
}
END_TEST

/* ---- A writer that is killed. Its events tell their notifier by their generation. */

static uint32_t notifier_of(uint64_t generation)
{
	return generation == 1 ? 0 : EPOCH_PAGE_VMGENID + (uint32_t)(generation % 6);
}

static void clone_once(struct epoch_file *file)
{
	struct epoch_page_saved saved = {.bytes = EPOCH_PAGE_SAVED_BYTES};

	cloned(file, notifier_of(file->page->generation + 1));
	memset(saved.value, (int)(file->page->generation & 0x7f) + 1, sizeof(saved.value));
	epoch_file_save(file, &saved, EPOCH_PAGE_HOST);
}

static void write_forever(int ready)
{
	struct epoch_file file;

	if (open_at(&file, path))
		_exit(1);
	if (write(ready, "", 1) != 1)
		_exit(2);
	for (;;) {
		clone_once(&file);
		epoch_file_aged(&file);
	}
}

/* What a reader saw last. */
struct seen {
	uint64_t generation;
	uint64_t look_again;
	uint64_t word_generation; /* that the epoch word stands for */
	uint64_t reads;
	uint64_t moves;
};

/* One look; 0, or the number of what was wrong. */
static int look_once(const struct epoch_page *page, struct seen *seen)
{
	static const uint8_t zero[EPOCH_PAGE_ID_BYTES];
	uint64_t look_again = epoch_page_look_again(page);
	uint32_t word = epoch_page_epoch(page);
	uint64_t generation, ahead;
	struct epoch_page_event last;

	if (look_again < seen->look_again)
		return 1;
	/* 24 bits of it: no more than that many events lie between two looks. */
	ahead = ((word & EPOCH_PAGE_COUNTER_MASK) -
		 ((page->counter_base + seen->word_generation) & EPOCH_PAGE_COUNTER_MASK)) &
		EPOCH_PAGE_COUNTER_MASK;
	if (ahead > EPOCH_PAGE_COUNTER_MASK / 2)
		return 2; /* it went back */
	seen->word_generation += ahead;
	if (word >> 24 != notifier_of(seen->word_generation))
		return 3;
	generation = epoch_page_generation(page);
	if (generation < seen->generation)
		return 4;
	if (generation < seen->word_generation)
		return 5; /* a word of what is not published */
	if (seen->word_generation + 1 < seen->generation)
		return 6; /* more than one store behind */
	if (epoch_page_last_event(page, &last)) {
		if (last.generation < generation || last.notifier != notifier_of(last.generation))
			return 7;
		if (memcmp(last.id, zero, sizeof(zero)) == 0 || last.realtime_ns == 0 ||
		    last.boottime_ns == 0 || last.reserved != 0)
			return 8;
		if (epoch_page_generation(page) < last.generation)
			return 9;
	}
	seen->moves += generation != seen->generation;
	seen->generation = generation;
	seen->look_again = look_again;
	seen->reads++;
	return 0;
}

static int read_until(const int *stop, struct seen *seen)
{
	const struct epoch_page *page = map_reader(path);
	int wrong = 0;

	seen->word_generation = 1;
	while (!wrong && !__atomic_load_n(stop, __ATOMIC_ACQUIRE))
		wrong = look_once(page, seen);
	return wrong;
}

/* Starts a writer, kills it somewhere, and looks at what it left. */
static void kill_one(struct seen *mine)
{
	int ready[2], status;
	struct epoch_page page;
	const struct epoch_page_saved *saved;
	struct epoch_file file;
	struct timespec delay = {.tv_nsec = random() % 1500000};
	char byte;
	pid_t pid;

	ck_assert_int_eq(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		write_forever(ready[1]);
	close(ready[1]);
	ck_assert_int_eq(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	nanosleep(&delay, NULL); /* where it is killed shall be random */
	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);

	read_file(path, &page);
	ck_assert_int_eq(look_once(&page, mine), 0);
	open_ok(&file);
	ck_assert_uint_eq(file.page->generation, page.generation);
	ck_assert_uint_eq(file.page->look_again, page.look_again + 1);
	ck_assert_uint_eq(file.page->epoch, epoch_page_word(notifier_of(page.generation),
							    page.counter_base, page.generation));
	saved = epoch_file_saved(&file, EPOCH_PAGE_HOST);
	for (uint32_t i = 1; i < saved->bytes; i++)
		ck_assert_uint_eq(saved->value[i], saved->value[0]);
	ck_assert_int_eq(look_once(file.page, mine), 0);
	clone_once(&file);
	ck_assert_int_eq(look_once(file.page, mine), 0);
	epoch_file_close(&file);
}

START_TEST(killed_at_random)
{
	struct seen *seen =
	    mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int *stop = (int *)(void *)(seen + 2), status;
	struct seen mine = {.word_generation = 1};
	struct epoch_file file;
	pid_t reader;

	srandom((unsigned)getpid());
	open_ok(&file);
	epoch_file_close(&file);
	reader = fork();
	ck_assert_int_ge(reader, 0);
	if (reader == 0)
		_exit(read_until(stop, seen));
	for (int i = 0; i < KILLS; i++)
		kill_one(&mine);
	__atomic_store_n(stop, 1, __ATOMIC_RELEASE);
	ck_assert_int_eq(waitpid(reader, &status, 0), reader);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 0);
	ck_assert_uint_gt(seen->moves, 10);
	printf("killed %d writers; %llu events; a reader looked %llu times, saw %llu move\n", KILLS,
	       (unsigned long long)mine.generation - 1, (unsigned long long)seen->reads,
	       (unsigned long long)seen->moves);
}
END_TEST

/* ---- A writer that is stopped after every instruction, as if it had been killed there. */

/* Is all well with a page that the writer left so, now and after the next start? */
static void check_left(const struct epoch_page *left, const char *copy, struct seen *seen)
{
	const struct epoch_page_saved *saved;
	struct epoch_page_event last;
	struct epoch_file file;
	struct seen then;

	ck_assert_int_eq(look_once(left, seen), 0);
	ck_assert_int_eq(epoch_page_last_event(left, &last), left->generation > 1);
	then = *seen;
	make_file(copy, left, sizeof(*left));
	ck_assert_int_eq(open_at(&file, copy), 0);
	ck_assert_uint_eq(file.page->generation, left->generation);
	ck_assert_uint_eq(file.page->look_again, left->look_again + 1);
	ck_assert_uint_eq(file.page->epoch, epoch_page_word(notifier_of(left->generation),
							    left->counter_base, left->generation));
	saved = epoch_file_saved(&file, EPOCH_PAGE_HOST);
	ck_assert(saved->bytes == 0 || saved->bytes == EPOCH_PAGE_SAVED_BYTES);
	for (uint32_t i = 1; i < saved->bytes; i++)
		ck_assert_uint_eq(saved->value[i], saved->value[0]);
	ck_assert_int_eq(look_once(file.page, &then), 0);
	clone_once(&file);
	ck_assert_int_eq(look_once(file.page, &then), 0);
	epoch_file_close(&file);
	ck_assert_int_eq(unlink(copy), 0);
}

static void traced_writer(void)
{
	struct epoch_file file;

	if (open_at(&file, path))
		_exit(1);
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
		_exit(77);
	raise(SIGSTOP);
	for (int i = 0; i < 3; i++)
		clone_once(&file);
	epoch_file_aged(&file);
	_exit(0);
}

START_TEST(killed_anywhere)
{
	struct seen seen = {.word_generation = 1};
	const struct epoch_page *page;
	struct epoch_page last;
	struct epoch_file file;
	int status, states = 0;
	unsigned steps = 0;
	char copy[96], copy_lock[104];
	pid_t pid;

	snprintf(copy, sizeof(copy), "%s/copy", dir);
	snprintf(copy_lock, sizeof(copy_lock), "%s.lock", copy);
	open_ok(&file);
	epoch_file_close(&file);
	page = map_reader(path);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		traced_writer();
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
		printf("SKIP: processes cannot be traced here\n");
		return;
	}
	memset(&last, 0, sizeof(last));
	while (WIFSTOPPED(status)) {
		if (memcmp(&last, page, sizeof(last)) != 0) {
			last = *page;
			check_left(&last, copy, &seen);
			states++;
		}
		if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) < 0) {
			printf("SKIP: processes cannot be stepped here: %s\n", strerror(errno));
			kill(pid, SIGKILL);
			waitpid(pid, &status, 0);
			break;
		}
		steps++;
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	}
	printf("a writer was stopped after each of %u instructions: %d states of the page\n", steps,
	       states);
	if (WIFEXITED(status)) {
		ck_assert_int_eq(WEXITSTATUS(status), 0);
		ck_assert_uint_eq(page->generation, 4);
		ck_assert_int_gt(states, 3 * 9);
	}
	unmap_reader(page);
	unlink(copy_lock);
}
END_TEST

/* A reader that looks while another processor writes as fast as it can. */
START_TEST(storm)
{
	int *stop = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct seen seen = {.word_generation = 1};
	int64_t start_ms = support_now_ms(), spent_ms = 0;
	int wrong = 0, status;
	struct epoch_file file;
	const struct epoch_page *page;
	pid_t pid;

	open_ok(&file);
	page = map_reader(path);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		while (!__atomic_load_n(stop, __ATOMIC_ACQUIRE))
			clone_once(&file);
		_exit(0);
	}
	/* On one processor the two take turns, and a turn shows one move. */
	while (!wrong && (spent_ms < STORM_MS || seen.moves < STORM_MOVES) &&
	       spent_ms < SUPPORT_TIMEOUT_S * 1000) {
		for (int i = 0; i < 1000 && !wrong; i++)
			wrong = look_once(page, &seen);
		spent_ms = support_now_ms() - start_ms;
	}
	__atomic_store_n(stop, 1, __ATOMIC_RELEASE);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(wrong, 0);
	ck_assert_uint_ge(seen.moves, STORM_MOVES);
	printf("%llu events, %llu looks\n", (unsigned long long)seen.generation - 1,
	       (unsigned long long)seen.reads);
	epoch_file_close(&file);
	unmap_reader(page);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("epoch_file");
	TCase *tcase = tcase_create("epoch_file");
	SRunner *sr = srunner_create(suite);
	int failed;

	if (!is_tmpfs("/dev/shm")) {
		printf("SKIP: /dev/shm is not a tmpfs\n");
		srunner_free(sr);
		return 0;
	}
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, is_made_complete);
	tcase_add_test(tcase, base_is_random);
	tcase_add_test(tcase, same_file_after_a_restart);
	tcase_add_test(tcase, second_writer_is_refused);
	tcase_add_test(tcase, locked_by_a_process_that_died);
	tcase_add_test(tcase, link_is_refused);
	tcase_add_test(tcase, lock_link_is_refused);
	tcase_add_test(tcase, other_kinds_are_refused);
	tcase_add_test(tcase, wrong_size_is_refused);
	tcase_add_test(tcase, wrong_content_is_refused);
	tcase_add_test(tcase, damage_is_refused);
	tcase_add_test(tcase, wrong_access_is_refused);
	tcase_add_test(tcase, needs_no_privilege);
	tcase_add_test(tcase, opens_after_privileges_are_gone);
	tcase_add_test(tcase, disk_is_refused);
	tcase_add_test(tcase, paths);
	tcase_add_test(tcase, change_before_open_is_refused);
	tcase_add_test(tcase, one_event);
	tcase_add_test(tcase, word_of_four_bytes);
	tcase_add_test(tcase, counter_comes_round);
	tcase_add_test(tcase, lease_and_state);
	tcase_add_test(tcase, nobody_watches_at_first);
	tcase_add_test(tcase, same_state_is_not_stored);
	tcase_add_test(tcase, saved_values);
	tcase_add_test(tcase, private_page);
	tcase_add_test(tcase, each_event_wakes);
	tcase_add_test(tcase, full_tmpfs);
	tcase_add_test(tcase, file_size_limit);
	tcase_add_test(tcase, many_at_once_make_one);
	tcase_add_test(tcase, killed_at_random);
	tcase_add_test(tcase, killed_anywhere);
	tcase_add_test(tcase, storm);
	suite_add_tcase(suite, tcase);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? 0 : 1;
}
