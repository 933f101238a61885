/*
 * check_listener - the listening socket and its lock. Owns: a directory in /tmp. May touch: it, and
 * /proc/self/fd. Never does: touch the default path.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/listener.h"
#include "tests/support.h"

#define PATH_MAX_BYTES (sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1)
#define OTHER_ID       65534u

static char dir[64], path[96], lock[104];
static size_t fds_before;

static void setup(void)
{
	strcpy(dir, "/tmp/rngd-listener.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/sock", dir);
	snprintf(lock, sizeof(lock), "%s.lock", path);
	fds_before = support_fd_count(getpid());
}

static void teardown(void)
{
	unlink(path);
	unlink(lock);
	ck_assert_int_eq(rmdir(dir), 0);
}

static void address(struct sockaddr_un *addr, const char *at)
{
	memset(addr, 0, sizeof(*addr));
	addr->sun_family = AF_UNIX;
	ck_assert_uint_le(strlen(at), PATH_MAX_BYTES);
	strcpy(addr->sun_path, at);
}

/* A connected socket, or -errno. */
static int connect_to(const char *at)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), err;
	struct sockaddr_un addr;

	address(&addr, at);
	if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0)
		return fd;
	err = -errno;
	close(fd);
	return err;
}

static bool answers(void)
{
	int fd = connect_to(path);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* A listening socket made by somebody else. */
static int listen_at(const char *at, int type)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	struct sockaddr_un addr;

	address(&addr, at);
	ck_assert_int_eq(bind(fd, (const struct sockaddr *)&addr, sizeof(addr)), 0);
	if (type == SOCK_STREAM)
		ck_assert_int_eq(listen(fd, 1), 0);
	return fd;
}

static void make_file(const char *at, const char *text)
{
	int fd = open(at, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

static ino_t inode_of(const char *at)
{
	struct stat st;

	ck_assert_int_eq(lstat(at, &st), 0);
	return st.st_ino;
}

/* Refused with this error, and nothing stays open. What is said goes to /dev/null. */
static void refuse(const char *at, int err)
{
	struct listener listener = {.fd = 77, .lock_fd = 77};
	int saved = dup(STDERR_FILENO), null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	size_t fds = support_fd_count(getpid());

	dup2(null, STDERR_FILENO);
	ck_assert_int_eq(listener_open(&listener, at, 0666), err);
	dup2(saved, STDERR_FILENO);
	ck_assert_uint_eq(support_fd_count(getpid()), fds);
	ck_assert_int_eq(listener.fd, -1);
	ck_assert_int_lt(listener.lock_fd, 0);
	close(null);
	close(saved);
}

START_TEST(serves)
{
	struct listener listener;
	int peer, fd;

	ck_assert_int_eq(listener_open(&listener, path, 0666), 0);
	ck_assert_int_eq(accept(listener.fd, NULL, NULL), -1);
	ck_assert_int_eq(errno, EAGAIN); /* it does not block */
	ck_assert(fcntl(listener.fd, F_GETFD) & FD_CLOEXEC);
	ck_assert(fcntl(listener.lock_fd, F_GETFD) & FD_CLOEXEC);

	peer = connect_to(path);
	ck_assert_int_ge(peer, 0);
	fd = accept(listener.fd, NULL, NULL);
	ck_assert_int_ge(fd, 0);
	close(fd);
	close(peer);
	listener_close(&listener);
	ck_assert_uint_eq(support_fd_count(getpid()), fds_before);
	listener_close(&listener); /* twice does no harm */
	ck_assert_int_eq(connect_to(path), -ECONNREFUSED);
}
END_TEST

/* Exactly the mode asked for, from the first moment on, whatever the umask; and that stays. */
START_TEST(mode_is_exact)
{
	static const mode_t modes[] = {0666, 0600, 0660, 0777, 0, 0222};
	static const mode_t masks[] = {0, 022, 077, 0777};
	struct listener listener;
	struct stat st;

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		for (size_t j = 0; j < sizeof(masks) / sizeof(masks[0]); j++) {
			umask(masks[j]);
			unlink(lock); /* a mask of 0777 makes one that only root can open */
			ck_assert_int_eq(listener_open(&listener, path, modes[i]), 0);
			ck_assert_uint_eq(umask(022), masks[j]);
			ck_assert_int_eq(lstat(path, &st), 0);
			ck_assert_uint_eq(st.st_mode & 07777, modes[i]);
			ck_assert_int_eq(lstat(lock, &st), 0);
			ck_assert_uint_eq(st.st_mode & 077, 0);
			listener_close(&listener);
			ck_assert_int_eq(unlink(path), 0);
		}
	}
}
END_TEST

/* What a daemon that was killed leaves behind is no obstacle. */
START_TEST(stale_socket_is_replaced)
{
	struct listener listener;
	pid_t pid = fork();
	int status;

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		if (listener_open(&listener, path, 0666) == 0)
			raise(SIGKILL);
		_exit(1);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	ck_assert_int_eq(connect_to(path), -ECONNREFUSED);
	ck_assert_int_eq(listener_open(&listener, path, 0666), 0);
	ck_assert(answers());
	listener_close(&listener);
}
END_TEST

START_TEST(live_rngd_is_left_alone)
{
	struct listener listener;
	ino_t inode;

	ck_assert_int_eq(listener_open(&listener, path, 0666), 0);
	inode = inode_of(path);
	refuse(path, -EADDRINUSE);
	ck_assert_uint_eq(inode_of(path), inode);
	ck_assert(answers());
	/* Even when its socket file is gone it holds the path. */
	ck_assert_int_eq(unlink(path), 0);
	refuse(path, -EADDRINUSE);
	ck_assert_int_eq(access(path, F_OK), -1);
	listener_close(&listener);
}
END_TEST

/* A server that knows nothing of the lock; its backlog full, its socket of another type. */
START_TEST(live_stranger_is_left_alone)
{
	int fd = listen_at(path, SOCK_STREAM), peers[3] = {-1, -1, -1};
	ino_t inode = inode_of(path);
	struct sockaddr_un addr;

	refuse(path, -EADDRINUSE);
	address(&addr, path);
	for (size_t i = 0; i < 3; i++) {
		peers[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (connect(peers[i], (const struct sockaddr *)&addr, sizeof(addr)) < 0)
			ck_assert_int_eq(errno, EAGAIN);
	}
	refuse(path, -EADDRINUSE);
	ck_assert_uint_eq(inode_of(path), inode);
	for (size_t i = 0; i < 3; i++)
		close(peers[i]);
	close(fd);
	ck_assert_int_eq(unlink(path), 0);

	fd = listen_at(path, SOCK_DGRAM);
	inode = inode_of(path);
	refuse(path, -EADDRINUSE);
	ck_assert_uint_eq(inode_of(path), inode);
	close(fd);
}
END_TEST

START_TEST(file_is_left_alone)
{
	char text[8] = "";
	int fd;

	make_file(path, "mine");
	refuse(path, -EEXIST);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(read(fd, text, sizeof(text) - 1), 4);
	ck_assert_str_eq(text, "mine");
	close(fd);
}
END_TEST

/* A link is what it is, not what it leads to: even if that is a dead socket. */
START_TEST(link_is_left_alone)
{
	char target[PATH_MAX_BYTES];

	snprintf(target, sizeof(target), "%s/other", dir);
	close(listen_at(target, SOCK_STREAM));
	ck_assert_int_eq(symlink(target, path), 0);
	refuse(path, -EEXIST);
	ck_assert_int_eq(access(target, F_OK), 0);
	ck_assert_int_eq(unlink(target), 0);
	refuse(path, -EEXIST); /* dangling */
}
END_TEST

/* A lock that is a link would lock, or make, a file of another's choice. */
START_TEST(lock_link_is_refused)
{
	char target[PATH_MAX_BYTES];

	snprintf(target, sizeof(target), "%s/other", dir);
	ck_assert_int_eq(symlink(target, lock), 0);
	refuse(path, -ELOOP);
	ck_assert_int_eq(access(target, F_OK), -1);
	make_file(target, "");
	refuse(path, -ELOOP);
	ck_assert_int_eq(unlink(target), 0);
	ck_assert_int_eq(access(path, F_OK), -1);
}
END_TEST

START_TEST(lock_of_another_kind_is_refused)
{
	ck_assert_int_eq(mkfifo(lock, 0600), 0);
	refuse(path, -EPERM); /* and does not wait for a writer */
	ck_assert_int_eq(unlink(lock), 0);
	ck_assert_int_eq(mkdir(lock, 0700), 0);
	refuse(path, -EISDIR);
	ck_assert_int_eq(rmdir(lock), 0);
	ck_assert_int_eq(access(path, F_OK), -1);
}
END_TEST

START_TEST(lock_of_another_user_is_refused)
{
	if (geteuid() != 0) {
		printf("SKIP: only root can make another user's lock\n");
		return;
	}
	make_file(lock, "");
	ck_assert_int_eq(chown(lock, OTHER_ID, OTHER_ID), 0);
	refuse(path, -EPERM);
	ck_assert_int_eq(access(path, F_OK), -1);
}
END_TEST

START_TEST(path_bounds)
{
	char longest[PATH_MAX_BYTES + 2], its_lock[sizeof(longest) + sizeof(".lock")];
	struct listener listener;
	size_t len = strlen(dir);

	memset(longest, 'x', sizeof(longest));
	memcpy(longest, dir, len);
	longest[len] = '/';
	longest[PATH_MAX_BYTES + 1] = '\0';
	refuse(longest, -ENAMETOOLONG);

	longest[PATH_MAX_BYTES] = '\0';
	snprintf(its_lock, sizeof(its_lock), "%s.lock", longest);
	ck_assert_int_eq(listener_open(&listener, longest, 0666), 0);
	listener_close(&listener);
	ck_assert_int_eq(unlink(longest), 0);
	ck_assert_int_eq(unlink(its_lock), 0);
	refuse("/proc/none/sock", -ENOENT);
}
END_TEST

/* Does a descriptor sent to this listener's connection stay with its sender? */
static bool refuses_passed_fd(int listen_fd)
{
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec iov = {.iov_base = (char[]){"x"}, .iov_len = 1};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	int peer = connect_to(path), fd = accept(listen_fd, NULL, NULL);
	bool refused;

	ck_assert(peer >= 0 && fd >= 0);
	control.head = (struct cmsghdr){
	    .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
	memcpy(CMSG_DATA(&control.head), &peer, sizeof(peer));
	refused = sendmsg(peer, &msg, MSG_NOSIGNAL) < 0 && errno == EPERM;
	close(peer);
	close(fd);
	return refused;
}

/* The answer is what the kernel does; of our own listener from the very first connection on. */
START_TEST(passed_descriptors)
{
	struct listener listener;
	bool refuses;

	ck_assert_int_eq(listener_open(&listener, path, 0666), 0);
	refuses = listener_refuses_fds(listener.fd);
	ck_assert_int_eq(refuses_passed_fd(listener.fd), refuses);
	if (!refuses)
		printf("SKIP: this kernel cannot refuse passed descriptors\n");
	ck_assert(!listener_refuses_fds(-1));
	listener_close(&listener);
}
END_TEST

/* A listener made by others: connections may be waiting on it already, so the answer is no. */
START_TEST(passed_descriptors_of_a_stranger)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), early;

	strcpy(addr.sun_path, path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	ck_assert_int_eq(listen(fd, 8), 0);
	early = connect_to(path);
	ck_assert_int_ge(early, 0);
	ck_assert(!listener_refuses_fds(fd));
	close(accept(fd, NULL, NULL));
	close(early);
	/* Connections that come later are refused where the kernel can. */
	ck_assert_int_eq(refuses_passed_fd(fd), listener_refuses_fds(fd));
	close(fd);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("listener");
	TCase *tcase = tcase_create("listener");
	SRunner *sr = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, serves);
	tcase_add_test(tcase, mode_is_exact);
	tcase_add_test(tcase, stale_socket_is_replaced);
	tcase_add_test(tcase, live_rngd_is_left_alone);
	tcase_add_test(tcase, live_stranger_is_left_alone);
	tcase_add_test(tcase, file_is_left_alone);
	tcase_add_test(tcase, link_is_left_alone);
	tcase_add_test(tcase, lock_link_is_refused);
	tcase_add_test(tcase, lock_of_another_kind_is_refused);
	tcase_add_test(tcase, lock_of_another_user_is_refused);
	tcase_add_test(tcase, path_bounds);
	tcase_add_test(tcase, passed_descriptors);
	tcase_add_test(tcase, passed_descriptors_of_a_stranger);
	suite_add_tcase(suite, tcase);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
