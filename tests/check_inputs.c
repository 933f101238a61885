/*
 * Every input is what it should be, or is not there and says why; opening never waits; what is
 * handed over arrives in place of what was there before.
 */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/inputs.h"

/* On a tmpfs, where an epoch page must be. */
static char dir[] = "/dev/shm/rngd-check.XXXXXX";
static char epoch[64], file[64], fifo[64], missing[64], link_name[64], notify[64];

static const char *paths[INPUTS_ROWS];
static int passed[INPUTS_ROWS];
static struct inputs inputs;
static size_t fds_before;

static size_t count_fds(void)
{
	DIR *self = opendir("/proc/self/fd");
	size_t count = 0;

	ck_assert_ptr_nonnull(self);
	while (readdir(self))
		count++;
	closedir(self);
	return count;
}

static void name_file(char out[64], const char *name)
{
	snprintf(out, 64, "%s/%s", dir, name);
}

static void setup(void)
{
	ck_assert_ptr_nonnull(mkdtemp(dir));
	name_file(epoch, "epoch");
	name_file(file, "file");
	name_file(fifo, "fifo");
	name_file(missing, "missing");
	name_file(link_name, "link");
	name_file(notify, "notify");
	close(open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	ck_assert_int_eq(mkfifo(fifo, 0600), 0);
	ck_assert_int_eq(symlink(file, link_name), 0);
	/* Nothing of this machine's own is opened unless a test says so. */
	for (int row = 0; row < INPUTS_ROWS; row++) {
		paths[row] = missing;
		passed[row] = -1;
	}
	paths[INPUTS_EPOCH_PAGE] = epoch;
	unsetenv("NOTIFY_SOCKET");
	fds_before = count_fds();
}

static void teardown(void)
{
	DIR *made = opendir(dir);
	struct dirent *entry;

	while ((entry = readdir(made)))
		unlinkat(dirfd(made), entry->d_name, 0);
	closedir(made);
	rmdir(dir);
}

/* Closes, and sees that nothing else was left open. */
static void close_all(void)
{
	inputs_close(&inputs);
	ck_assert_uint_eq(count_fds(), fds_before);
}

/* Lines on stderr while fn runs. */
static int lines_of(void (*fn)(void))
{
	int log_fd = memfd_create("log", MFD_CLOEXEC), saved = dup(STDERR_FILENO), lines = 0;
	char byte;

	ck_assert_int_ge(dup2(log_fd, STDERR_FILENO), 0);
	fn();
	dup2(saved, STDERR_FILENO);
	close(saved);
	lseek(log_fd, 0, SEEK_SET);
	while (read(log_fd, &byte, 1) == 1)
		lines += byte == '\n';
	close(log_fd);
	return lines;
}

static void open_all(void)
{
	inputs_open(&inputs, paths, passed);
}

/* Opens with the row at this path; its descriptor is closed. */
static int result_at(enum inputs_row row, const char *path)
{
	int fd;

	paths[row] = path;
	open_all();
	fd = inputs.fds[row];
	close_all();
	paths[row] = missing;
	return fd;
}

START_TEST(page_is_made)
{
	struct stat st;

	open_all();
	for (int row = INPUTS_EPOCH_PAGE; row <= INPUTS_EPOCH_LOCK; row++) {
		ck_assert_int_ge(inputs.fds[row], 0);
		ck_assert_int_eq(fcntl(inputs.fds[row], F_GETFD), FD_CLOEXEC);
	}
	ck_assert_str_eq(inputs.paths[INPUTS_EPOCH_PAGE], epoch);
	ck_assert_int_eq(stat(epoch, &st), 0);
	ck_assert_int_eq(st.st_size, 4096);
	close_all();
}
END_TEST

START_TEST(page_cannot_be_made)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/nowhere/epoch", dir);
	paths[INPUTS_EPOCH_PAGE] = path;
	open_all();
	ck_assert_int_eq(inputs.fds[INPUTS_EPOCH_PAGE], -ENOENT);
	ck_assert_int_eq(inputs.fds[INPUTS_EPOCH_LOCK], -ENOENT);
	close_all();
}
END_TEST

/* Absent where it was looked for by default: no line. Absent where it was said to be: one each. */
START_TEST(absent)
{
	ck_assert_int_eq(lines_of(open_all), 4);
	for (int row = INPUTS_KMSG; row < INPUTS_ROWS; row++)
		ck_assert_int_eq(inputs.fds[row], -ENOENT);
	close_all();
	paths[INPUTS_KMSG] = paths[INPUTS_VMGENID] = paths[INPUTS_VMCLOCK] = NULL;
	paths[INPUTS_EPOCH_SOURCE] = NULL;
	ck_assert_int_eq(lines_of(open_all), 0);
	ck_assert_int_eq(inputs.fds[INPUTS_EPOCH_SOURCE], -ENOENT);
	ck_assert_ptr_null(inputs.paths[INPUTS_EPOCH_SOURCE]);
	ck_assert_str_eq(inputs.paths[INPUTS_KMSG], "/dev/kmsg");
	ck_assert_str_eq(inputs.paths[INPUTS_VMCLOCK], "/dev/vmclock0");
	close_all();
}
END_TEST

/* The default path of the log: the kernel's own or nothing. */
START_TEST(kernel_log)
{
	struct stat st;
	int fd;

	paths[INPUTS_KMSG] = NULL;
	open_all();
	fd = inputs.fds[INPUTS_KMSG];
	if (fd >= 0) {
		ck_assert_int_eq(fstat(fd, &st), 0);
		ck_assert_uint_eq(st.st_rdev, makedev(1, 11));
		ck_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
		ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	} else {
		printf("no kernel log here: %s\n", strerror(-fd));
	}
	close_all();
}
END_TEST

/* Nothing here waits for a writer: the test's own time limit says so. */
START_TEST(kinds_at_a_path)
{
	ck_assert_int_eq(result_at(INPUTS_KMSG, dir), -EINVAL);
	ck_assert_int_eq(result_at(INPUTS_KMSG, "/dev/null"), -EINVAL);
	ck_assert_int_ge(result_at(INPUTS_KMSG, fifo), 0);
	ck_assert_int_ge(result_at(INPUTS_KMSG, file), 0);
	ck_assert_int_eq(result_at(INPUTS_VMGENID, fifo), -EINVAL);
	ck_assert_int_eq(result_at(INPUTS_VMGENID, "/dev/zero"), -EINVAL);
	ck_assert_int_eq(result_at(INPUTS_VMGENID, dir), -EINVAL);
	ck_assert_int_ge(result_at(INPUTS_VMGENID, file), 0);
	ck_assert_int_ge(result_at(INPUTS_VMGENID, link_name), 0);
	ck_assert_int_eq(result_at(INPUTS_VMCLOCK, fifo), -EINVAL);
	ck_assert_int_ge(result_at(INPUTS_VMCLOCK, "/dev/zero"), 0);
	ck_assert_int_ge(result_at(INPUTS_VMCLOCK, file), 0);
	ck_assert_int_eq(result_at(INPUTS_EPOCH_SOURCE, fifo), -EINVAL);
	ck_assert_int_eq(result_at(INPUTS_EPOCH_SOURCE, dir), -EINVAL);
	ck_assert_int_ge(result_at(INPUTS_EPOCH_SOURCE, file), 0);
	ck_assert_int_eq(result_at(INPUTS_EPOCH_SOURCE, ""), -ENOENT);
}
END_TEST

/* Opens with fd, which counts as open before, passed for the row. */
static int result_passed(enum inputs_row row, int fd, const char *path)
{
	int got;

	ck_assert_int_ge(fd, 0);
	passed[row] = fd;
	paths[row] = path;
	open_all();
	got = inputs.fds[row];
	if (got >= 0) {
		ck_assert_int_eq(got, fd);
		ck_assert(fcntl(got, F_GETFL) & O_NONBLOCK);
		ck_assert(fcntl(got, F_GETFD) & FD_CLOEXEC);
	}
	close_all(); /* whatever came of it */
	passed[row] = -1;
	paths[row] = missing;
	return got;
}

START_TEST(kinds_that_were_passed)
{
	int kmsg = open("/dev/kmsg", O_RDONLY);
	struct stat st;

	/* Without our own flags, as a service manager may have opened it. */
	if (kmsg >= 0 && fstat(kmsg, &st) == 0 && st.st_rdev == makedev(1, 11))
		ck_assert_int_ge(result_passed(INPUTS_KMSG, kmsg, NULL), 0);
	else if (kmsg >= 0)
		close(kmsg);
	ck_assert_int_eq(result_passed(INPUTS_KMSG, open(file, O_RDONLY), NULL), -EINVAL);
	ck_assert_int_eq(result_passed(INPUTS_KMSG, open("/dev/zero", O_RDONLY), NULL), -EINVAL);
	ck_assert_int_ge(result_passed(INPUTS_KMSG, open(file, O_RDONLY), file), 0);
	ck_assert_int_ge(result_passed(INPUTS_KMSG, open(fifo, O_RDWR), fifo), 0);
	ck_assert_int_eq(result_passed(INPUTS_VMGENID, open(file, O_PATH), NULL), -EINVAL);
	ck_assert_int_eq(result_passed(INPUTS_VMGENID, open(file, O_WRONLY), NULL), -EINVAL);
	ck_assert_int_eq(result_passed(INPUTS_VMGENID, open("/dev/zero", O_RDONLY), NULL), -EINVAL);
	ck_assert_int_ge(result_passed(INPUTS_VMGENID, open(file, O_RDONLY), NULL), 0);
	ck_assert_int_ge(result_passed(INPUTS_VMCLOCK, open("/dev/zero", O_RDONLY), NULL), 0);
	ck_assert_int_eq(result_passed(INPUTS_VMCLOCK, open(file, O_RDONLY), NULL), -EINVAL);
	ck_assert_int_eq(result_passed(INPUTS_EPOCH_SOURCE, socket(AF_UNIX, SOCK_STREAM, 0), NULL),
			 -EINVAL);
}
END_TEST

/* One line says that it was refused, and it is not looked for by path instead. */
START_TEST(refused_is_said)
{
	passed[INPUTS_VMGENID] = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	paths[INPUTS_VMGENID] = file;
	paths[INPUTS_KMSG] = paths[INPUTS_VMCLOCK] = paths[INPUTS_EPOCH_SOURCE] = NULL;
	ck_assert_int_eq(lines_of(open_all), 1);
	ck_assert_int_eq(inputs.fds[INPUTS_VMGENID], -EINVAL);
	close_all();
}
END_TEST

START_TEST(page_and_lock_are_a_pair)
{
	int fd;

	ck_assert_int_eq(result_passed(INPUTS_EPOCH_PAGE, open(file, O_RDWR), epoch), -EINVAL);
	ck_assert_int_eq(result_passed(INPUTS_EPOCH_LOCK, open(file, O_RDWR), NULL), -EINVAL);
	paths[INPUTS_EPOCH_PAGE] = epoch;
	/* Neither half was made up for by path. */
	ck_assert_int_eq(access(epoch, F_OK), -1);
	/* The other half is let go of, too. */
	passed[INPUTS_EPOCH_PAGE] = open(file, O_RDONLY | O_CLOEXEC);
	passed[INPUTS_EPOCH_LOCK] = open(file, O_RDWR | O_CLOEXEC);
	open_all();
	ck_assert_int_eq(inputs.fds[INPUTS_EPOCH_PAGE], -EINVAL);
	ck_assert_int_eq(inputs.fds[INPUTS_EPOCH_LOCK], -EINVAL);
	close_all();
	passed[INPUTS_EPOCH_PAGE] = fd = open(file, O_RDWR | O_CLOEXEC);
	passed[INPUTS_EPOCH_LOCK] = open(file, O_RDWR | O_CLOEXEC);
	open_all();
	ck_assert_int_eq(inputs.fds[INPUTS_EPOCH_PAGE], fd);
	ck_assert_int_ge(inputs.fds[INPUTS_EPOCH_LOCK], 0);
	close_all();
}
END_TEST

START_TEST(taken_is_not_closed)
{
	int fd;

	paths[INPUTS_VMGENID] = file;
	open_all();
	fd = inputs_take(&inputs, INPUTS_VMGENID);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(inputs_take(&inputs, INPUTS_VMCLOCK), -ENOENT);
	inputs_close(&inputs);
	ck_assert_int_ge(fcntl(fd, F_GETFD), 0);
	close(fd);
	inputs_close(&inputs); /* once more does no harm */
	ck_assert_uint_eq(count_fds(), fds_before);
}
END_TEST

/* A daemon that fails before it gets so far: descriptor 0 is not its own. */
START_TEST(zeroed_may_be_closed)
{
	struct inputs zeroed = {0};

	inputs_close(&zeroed);
	ck_assert_uint_eq(count_fds(), fds_before);
}
END_TEST

static int make_manager(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", notify);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	setenv("NOTIFY_SOCKET", notify, 1);
	return fd;
}

static int receive(int manager, char *got, size_t size)
{
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {got, size - 1};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.bytes,
			     .msg_controllen = sizeof(control.bytes)};
	struct pollfd ready = {.fd = manager, .events = POLLIN};
	ssize_t n;
	int fd = -1;

	ck_assert_int_eq(poll(&ready, 1, 10000), 1);
	n = recvmsg(manager, &msg, MSG_CMSG_CLOEXEC);
	ck_assert_int_gt(n, 0);
	got[n] = '\0';
	if (CMSG_FIRSTHDR(&msg))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
	return fd;
}

static ino_t inode_of(int fd)
{
	struct stat st;

	ck_assert_int_eq(fstat(fd, &st), 0);
	return st.st_ino;
}

/* While an earlier daemon's lock is still held, nothing is stored; afterwards all of it is. */
START_TEST(handed_over)
{
	char got[256], want[256];
	struct pollfd more = {.events = POLLIN};
	int manager = make_manager(), old_lock, fd, status;
	pid_t child;

	paths[INPUTS_VMGENID] = file;
	open_all();
	snprintf(want, sizeof(want), "%s.lock", epoch);
	old_lock = open(want, O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(flock(old_lock, LOCK_EX | LOCK_NB), 0);
	child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0) {
		close(old_lock);
		_exit(inputs_hand_over(&inputs) == 0 ? 0 : 1);
	}
	for (int row = 0; row < INPUTS_ROWS; row++) {
		ck_assert_int_eq(receive(manager, got, sizeof(got)), -1);
		snprintf(want, sizeof(want), "FDSTOREREMOVE=1\nFDNAME=%s", inputs_names[row]);
		ck_assert_str_eq(got, want);
	}
	/* Sockets that a daemon could have slipped in for its successor. */
	ck_assert_int_eq(receive(manager, got, sizeof(got)), -1);
	ck_assert_str_eq(got, "FDSTOREREMOVE=1\nFDNAME=control");
	ck_assert_int_eq(receive(manager, got, sizeof(got)), -1);
	ck_assert_str_eq(got, "FDSTOREREMOVE=1\nFDNAME=public");
	more.fd = manager;
	ck_assert_int_eq(poll(&more, 1, 200), 0);
	close(old_lock); /* the manager has let go of it */
	for (int row = 0; row < INPUTS_ROWS; row++) {
		if (inputs.fds[row] < 0)
			continue;
		fd = receive(manager, got, sizeof(got));
		snprintf(want, sizeof(want), "FDSTORE=1\nFDPOLL=0\nFDNAME=%s", inputs_names[row]);
		ck_assert_str_eq(got, want);
		ck_assert_uint_eq(inode_of(fd), inode_of(inputs.fds[row]));
		close(fd);
	}
	fd = receive(manager, got, sizeof(got));
	ck_assert_str_eq(got, "BARRIER=1");
	close(fd);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	close(manager);
	close_all();
}
END_TEST

START_TEST(handed_to_nobody)
{
	open_all();
	ck_assert_int_eq(inputs_hand_over(&inputs), -ENOTCONN);
	close_all();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("inputs");
	TCase *tcase = tcase_create("inputs");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tcase);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 30);
	tcase_add_test(tcase, page_is_made);
	tcase_add_test(tcase, page_cannot_be_made);
	tcase_add_test(tcase, absent);
	tcase_add_test(tcase, kernel_log);
	tcase_add_test(tcase, kinds_at_a_path);
	tcase_add_test(tcase, kinds_that_were_passed);
	tcase_add_test(tcase, refused_is_said);
	tcase_add_test(tcase, page_and_lock_are_a_pair);
	tcase_add_test(tcase, taken_is_not_closed);
	tcase_add_test(tcase, zeroed_may_be_closed);
	tcase_add_test(tcase, handed_over);
	tcase_add_test(tcase, handed_to_nobody);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed > 0;
}
