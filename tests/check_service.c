/*
 * What the daemon says to a service manager arrives, even if the manager's queue is full at first;
 * what a manager passes goes where its name says, or nowhere.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "daemon/service.h"

#define FIRST_PASSED_FD 3 /* SD_LISTEN_FDS_START */

static const char *const kept_names[] = {"kmsg", "vmgenid"};
#define KEPT_COUNT (sizeof(kept_names) / sizeof(kept_names[0]))

static struct sockaddr_un manager_addr = {.sun_family = AF_UNIX};
static char dir[] = "/tmp/rngd-check.XXXXXX";
static int manager;

static void setup(void)
{
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(manager_addr.sun_path, sizeof(manager_addr.sun_path), "%s/notify", dir);
	manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ck_assert_int_eq(bind(manager, (struct sockaddr *)&manager_addr, sizeof(manager_addr)), 0);
	setenv("NOTIFY_SOCKET", manager_addr.sun_path, 1);
}

static void teardown(void)
{
	close(manager);
	unlink(manager_addr.sun_path);
	rmdir(dir);
}

/* Anybody may write to a manager's socket; one sender's own limit ends before the queue's. */
static void fill_queue(void)
{
	int sent, senders = 0;

	do {
		int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

		ck_assert_int_eq(
		    connect(fd, (struct sockaddr *)&manager_addr, sizeof(manager_addr)), 0);
		for (sent = 0; send(fd, "x", 1, MSG_NOSIGNAL) == 1; sent++)
			;
		ck_assert_int_eq(errno, EAGAIN);
		close(fd);
		ck_assert_int_lt(senders++, 1000);
	} while (sent > 0);
}

static void drain(void)
{
	char byte[16];

	while (recv(manager, byte, sizeof(byte), 0) >= 0)
		;
}

static void expect(const char *want)
{
	char got[SERVICE_STATUS_BYTES + 64] = {0};

	ck_assert_int_gt(recv(manager, got, sizeof(got) - 1, 0), 0);
	ck_assert_str_eq(got, want);
}

START_TEST(message_arrives)
{
	struct service service;

	service_init(&service);
	service_notify(&service, "READY=1");
	expect("READY=1");
	ck_assert_ptr_null(service.pending);
	service_retry(&service); /* said once is enough */
	ck_assert_int_eq(recv(manager, &(char){0}, 1, 0), -1);
	service_deinit(&service);
}
END_TEST

START_TEST(message_survives_a_full_queue)
{
	struct service service;

	fill_queue();
	service_init(&service);
	service_notify(&service, "READY=1");
	service_retry(&service);
	ck_assert_ptr_nonnull(service.pending);
	drain();
	service_retry(&service);
	expect("READY=1");
	service_retry(&service);
	ck_assert_int_eq(recv(manager, &(char){0}, 1, 0), -1);
	service_deinit(&service);
}
END_TEST

static void expect_nothing(void)
{
	ck_assert_int_eq(recv(manager, &(char){0}, 1, 0), -1);
	ck_assert_int_eq(errno, EAGAIN);
}

START_TEST(watchdog_hears_each_tick)
{
	struct service service;

	setenv("WATCHDOG_USEC", "20000000", 1);
	service_init(&service);
	expect_nothing(); /* the loop does not turn yet */
	for (int i = 0; i < 3; i++) {
		service_tick(&service, "");
		expect("WATCHDOG=1");
		expect_nothing();
	}
	service_deinit(&service);
}
END_TEST

/* No watchdog, one for another process, or one that nobody hears. */
START_TEST(watchdog_of_others)
{
	static const char *const rows[][2] = {
	    {NULL, NULL}, {"20000000", "1"}, {"0", NULL}, {"x", NULL}, {"-1", NULL}};
	struct service service;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		unsetenv("WATCHDOG_USEC");
		unsetenv("WATCHDOG_PID");
		if (rows[i][0])
			setenv("WATCHDOG_USEC", rows[i][0], 1);
		if (rows[i][1])
			setenv("WATCHDOG_PID", rows[i][1], 1);
		service_init(&service);
		service_tick(&service, "");
		expect_nothing();
		service_deinit(&service);
	}
	unsetenv("NOTIFY_SOCKET");
	setenv("WATCHDOG_USEC", "20000000", 1);
	service_init(&service);
	service_tick(&service, "a");
	service_reloading(&service);
	expect_nothing();
}
END_TEST

/* Only if it changed, and not before the time has come. */
START_TEST(status_is_bounded)
{
	struct service service;

	service_init(&service);
	service_tick(&service, "a");
	expect("STATUS=a");
	service_tick(&service, "b");
	expect_nothing();
	service.status_at_ms -= SERVICE_STATUS_MS;
	service_tick(&service, "a");
	expect_nothing();
	service_tick(&service, "b");
	expect("STATUS=b");
	service_deinit(&service);
}
END_TEST

START_TEST(long_status_is_cut)
{
	char text[4 * SERVICE_STATUS_BYTES], want[sizeof("STATUS=") + SERVICE_STATUS_BYTES];
	struct service service;

	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	snprintf(want, sizeof(want), "STATUS=%.*s", (int)SERVICE_STATUS_BYTES - 1, text);
	service_init(&service);
	service_tick(&service, text);
	expect(want);
	service.status_at_ms -= SERVICE_STATUS_MS;
	service_tick(&service, text); /* the same, as far as it goes */
	expect_nothing();
	service_deinit(&service);
}
END_TEST

/* Anybody may keep the queue full: the watchdog's word is owed until there is room, and then once.
 */
START_TEST(watchdog_is_said_as_soon_as_there_is_room)
{
	struct service service;

	setenv("WATCHDOG_USEC", "20000000", 1);
	fill_queue();
	service_init(&service);
	ck_assert(service_tick(&service, "a"));
	ck_assert(service_retry(&service));
	drain();
	ck_assert(!service_retry(&service));
	expect("WATCHDOG=1");
	ck_assert(!service_retry(&service));
	expect_nothing();
	service_deinit(&service);
}
END_TEST

/* A full queue takes nothing and holds nobody up; what is lost is said again. */
START_TEST(tick_survives_a_full_queue)
{
	struct service service;

	setenv("WATCHDOG_USEC", "20000000", 1);
	fill_queue();
	service_init(&service);
	service_notify(&service, "READY=1");
	service_tick(&service, "a");
	service_reloading(&service);
	drain();
	service_tick(&service, "a");
	expect("READY=1");
	expect("WATCHDOG=1");
	expect("STATUS=a");
	expect_nothing();
	service_deinit(&service);
}
END_TEST

START_TEST(reloading_says_when)
{
	struct service service;
	unsigned long long us, now_us;
	char got[64] = {0};
	struct timespec now;

	service_init(&service);
	service_reloading(&service);
	ck_assert_int_gt(recv(manager, got, sizeof(got) - 1, 0), 0);
	clock_gettime(CLOCK_MONOTONIC, &now);
	now_us = (unsigned long long)now.tv_sec * 1000000 + (unsigned long long)now.tv_nsec / 1000;
	ck_assert_int_eq(sscanf(got, "RELOADING=1\nMONOTONIC_USEC=%llu", &us), 1);
	ck_assert_uint_le(us, now_us);
	ck_assert_uint_gt(us + 10000000, now_us);
	service_deinit(&service);
}
END_TEST

/* A manager that is gone is not asked for ever. */
START_TEST(manager_goes)
{
	struct service service;

	service_init(&service);
	close(manager);
	service_notify(&service, "READY=1");
	ck_assert_ptr_null(service.pending);
	service_deinit(&service);
	manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
}
END_TEST

START_TEST(without_a_manager)
{
	struct service_sockets sockets;
	struct service service;
	int kept[KEPT_COUNT];

	unsetenv("NOTIFY_SOCKET");
	service_init(&service);
	ck_assert_int_eq(service.notify_fd, -1);
	service_notify(&service, "READY=1");
	service_retry(&service);
	service_deinit(&service);
	unsetenv("LISTEN_FDS");
	ck_assert_int_eq(service_passed_fds(), 0);
	ck_assert_int_eq(service_listen_fds(&sockets, kept_names, kept, KEPT_COUNT), 0);
	ck_assert_uint_eq(sockets.public_count + sockets.control_count, 0);
	ck_assert_int_eq(kept[0], -1);
	ck_assert_int_eq(kept[1], -1);
	ck_assert_int_eq(service_forget_fd("kmsg"), -ENOTCONN);
	ck_assert_int_eq(service_store_fd("kmsg", 0), -ENOTCONN);
	ck_assert_int_eq(service_stored(), -ENOTCONN);
}
END_TEST

/* What was passed and is not there: an error, and no wild descriptors. */
START_TEST(passed_but_closed)
{
	struct service_sockets sockets;
	int kept[KEPT_COUNT];
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", getpid());
	setenv("LISTEN_PID", pid, 1);
	setenv("LISTEN_FDS", "600", 1);
	ck_assert_int_eq(service_passed_fds(), 0);
	ck_assert_int_eq(service_listen_fds(&sockets, kept_names, kept, KEPT_COUNT), -EINVAL);
}
END_TEST

/* What a letter stands for: a socket that is fit, two that are not, a file. */
static int make_fd(char kind)
{
	int fd;

	if (kind == 'f')
		return open("/dev/null", O_RDONLY);
	fd = socket(AF_UNIX, kind == 'd' ? SOCK_DGRAM : SOCK_STREAM, 0);
	/* Bound to a name of the kernel's choice. */
	if (bind(fd, (struct sockaddr *)&(struct sockaddr_un){.sun_family = AF_UNIX},
		 sizeof(sa_family_t)) < 0 ||
	    (kind == 's' && listen(fd, 1) < 0))
		return -1;
	return fd;
}

/* What came of it, in the process to which they were passed. */
struct outcome {
	int result;
	int passed;
	struct service_sockets sockets;
	int kept[KEPT_COUNT];
	int fd_flags[8];
	int flags[8];
};

/*
 * Passes what the letters of kinds say, under these names (NULL: none are given). In a process of
 * its own: its descriptors from 3 on are not check's.
 */
static struct outcome pass(const char *kinds, const char *names)
{
	struct outcome outcome = {0};
	char text[24];
	int pipes[2], fd, status;
	pid_t child;

	ck_assert_int_eq(pipe(pipes), 0);
	child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0) {
		dup2(pipes[1], 100);
		closefrom(101);
		for (fd = FIRST_PASSED_FD; fd < 100; fd++)
			close(fd);
		for (const char *kind = kinds; *kind; kind++)
			if (make_fd(*kind) != FIRST_PASSED_FD + (int)(kind - kinds))
				_exit(1);
		snprintf(text, sizeof(text), "%d", getpid());
		setenv("LISTEN_PID", text, 1);
		snprintf(text, sizeof(text), "%zu", strlen(kinds));
		setenv("LISTEN_FDS", text, 1);
		unsetenv("LISTEN_FDNAMES");
		if (names)
			setenv("LISTEN_FDNAMES", names, 1);
		outcome.passed = service_passed_fds();
		outcome.result =
		    service_listen_fds(&outcome.sockets, kept_names, outcome.kept, KEPT_COUNT);
		for (int i = 0; i < 8; i++) {
			outcome.fd_flags[i] = fcntl(FIRST_PASSED_FD + i, F_GETFD);
			outcome.flags[i] = fcntl(FIRST_PASSED_FD + i, F_GETFL);
		}
		if (getenv("LISTEN_FDS"))
			_exit(2); /* not for a child of ours */
		_exit(write(100, &outcome, sizeof(outcome)) == sizeof(outcome) ? 0 : 3);
	}
	close(pipes[1]);
	ck_assert_int_eq(read(pipes[0], &outcome, sizeof(outcome)), sizeof(outcome));
	close(pipes[0]);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	return outcome;
}

START_TEST(sorted_by_name)
{
	struct outcome got = pass("sfsfs", "public:vmgenid:control:kmsg:rngd.socket");

	ck_assert_int_eq(got.passed, 5);
	ck_assert_int_eq(got.result, 3);
	ck_assert_uint_eq(got.sockets.public_count, 2);
	ck_assert_int_eq(got.sockets.public_fds[0], 3);
	ck_assert_int_eq(got.sockets.public_fds[1], 7);
	ck_assert_uint_eq(got.sockets.control_count, 1);
	ck_assert_int_eq(got.sockets.control_fds[0], 5);
	ck_assert_int_eq(got.kept[0], 6);
	ck_assert_int_eq(got.kept[1], 4);
	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(got.fd_flags[i], FD_CLOEXEC);
	ck_assert(got.flags[0] & O_NONBLOCK);
	ck_assert(got.flags[2] & O_NONBLOCK);
}
END_TEST

/* Without a name, or with a part of one, nobody gets the control socket's rights. */
START_TEST(other_names_are_public)
{
	static const char *const names[] = {NULL, ":", "control2:contro", "Control:unknown"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct outcome got = pass("ss", names[i]);

		ck_assert_int_eq(got.result, 2);
		ck_assert_uint_eq(got.sockets.public_count, 2);
		ck_assert_uint_eq(got.sockets.control_count, 0);
	}
}
END_TEST

/* Kept files alone: no socket was passed, so the daemon makes its own. */
START_TEST(kept_alone)
{
	struct outcome got = pass("f", "kmsg");

	ck_assert_int_eq(got.result, 0);
	ck_assert_int_eq(got.kept[0], 3);
	ck_assert_int_eq(got.kept[1], -1);
}
END_TEST

START_TEST(unfit_is_refused)
{
	static const struct {
		const char *kinds, *names;
	} rows[] = {
	    {"f", NULL},          /* no name */
	    {"f", "kmsg2"},       /* not a name of ours */
	    {"sf", "public:kms"}, /* nor that */
	    {"f", "control"},     /* a name for sockets */
	    {"d", "public"},      /* another type of socket */
	    {"u", "public"},      /* not listening */
	    {"ff", "kmsg:kmsg"},  /* twice */
	    {"sf", "public"},     /* fewer names than descriptors */
	    {"s", "public:kmsg"}, /* more */
	    {"sssssssss", NULL},  /* too many */
	    {"ssssssssfs", "a:b:control:d:e:f:g:h:kmsg:control"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		ck_assert_int_eq(pass(rows[i].kinds, rows[i].names).result, -EINVAL);
	ck_assert_int_eq(pass("ssssssssf", "a:b:control:d:e:f:g:h:kmsg").result, 8);
}
END_TEST

/* The message that has come, and the descriptor with it, or -1. */
static int expect_with_fd(const char *want)
{
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	char got[400] = {0};
	struct iovec iov = {got, sizeof(got) - 1};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.bytes,
			     .msg_controllen = sizeof(control.bytes)};
	struct pollfd ready = {.fd = manager, .events = POLLIN};
	struct cmsghdr *cmsg;
	int fd = -1;

	ck_assert_int_eq(poll(&ready, 1, 10000), 1);
	ck_assert_int_gt(recvmsg(manager, &msg, MSG_CMSG_CLOEXEC), 0);
	ck_assert_str_eq(got, want);
	cmsg = CMSG_FIRSTHDR(&msg);
	if (cmsg && cmsg->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(cmsg), sizeof(fd));
	return fd;
}

START_TEST(fds_are_stored)
{
	struct stat sent, got;
	char name[400];
	int fd;

	ck_assert_int_eq(service_forget_fd("kmsg"), 0);
	ck_assert_int_eq(service_store_fd("kmsg", manager), 0);
	ck_assert_int_eq(expect_with_fd("FDSTOREREMOVE=1\nFDNAME=kmsg"), -1);
	fd = expect_with_fd("FDSTORE=1\nFDPOLL=0\nFDNAME=kmsg");
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fstat(manager, &sent), 0);
	ck_assert_int_eq(fstat(fd, &got), 0);
	ck_assert_uint_eq(sent.st_ino, got.st_ino);
	close(fd);
	memset(name, 'x', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	ck_assert_int_eq(service_forget_fd(name), -ENAMETOOLONG);
}
END_TEST

/* It is waited for until the manager lets go of what came with the barrier. */
START_TEST(stored_is_waited_for)
{
	int fd, status;
	pid_t child = fork();

	ck_assert_int_ge(child, 0);
	if (child == 0)
		_exit(service_stored() == 0 ? 0 : 1);
	fd = expect_with_fd("BARRIER=1");
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(waitpid(child, &status, WNOHANG), 0);
	close(fd);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("service");
	TCase *tcase = tcase_create("service");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tcase);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, message_arrives);
	tcase_add_test(tcase, message_survives_a_full_queue);
	tcase_add_test(tcase, watchdog_hears_each_tick);
	tcase_add_test(tcase, watchdog_of_others);
	tcase_add_test(tcase, status_is_bounded);
	tcase_add_test(tcase, long_status_is_cut);
	tcase_add_test(tcase, tick_survives_a_full_queue);
	tcase_add_test(tcase, watchdog_is_said_as_soon_as_there_is_room);
	tcase_add_test(tcase, reloading_says_when);
	tcase_add_test(tcase, manager_goes);
	tcase_add_test(tcase, without_a_manager);
	tcase_add_test(tcase, passed_but_closed);
	tcase_add_test(tcase, sorted_by_name);
	tcase_add_test(tcase, other_names_are_public);
	tcase_add_test(tcase, kept_alone);
	tcase_add_test(tcase, unfit_is_refused);
	tcase_add_test(tcase, fds_are_stored);
	tcase_add_test(tcase, stored_is_waited_for);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed > 0;
}
