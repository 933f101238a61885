/*
 * What the daemon says to a service manager arrives, even if the manager's queue is full at first.
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/service.h"

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
	char got[64] = {0};

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
	struct service service;

	unsetenv("NOTIFY_SOCKET");
	service_init(&service);
	ck_assert_int_eq(service.notify_fd, -1);
	service_notify(&service, "READY=1");
	service_retry(&service);
	service_deinit(&service);
	unsetenv("LISTEN_FDS");
	ck_assert_int_eq(service_passed_fds(), 0);
	ck_assert_int_eq(service_listen_fds(&(int){0}, 1), 0);
}
END_TEST

/* What was passed and is not there: an error, and no wild descriptors. */
START_TEST(passed_but_closed)
{
	char pid[16];
	int fds[8];

	snprintf(pid, sizeof(pid), "%d", getpid());
	setenv("LISTEN_PID", pid, 1);
	setenv("LISTEN_FDS", "600", 1);
	ck_assert_int_eq(service_passed_fds(), 0);
	ck_assert_int_eq(service_listen_fds(fds, 8), -EINVAL);
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
	tcase_add_test(tcase, manager_goes);
	tcase_add_test(tcase, without_a_manager);
	tcase_add_test(tcase, passed_but_closed);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed > 0;
}
