/*
 * check_epoch_clock - the detector of a clock that was set and of a machine that slept. Owns: time
 * namespaces, which is how a test sleeps for an hour. May touch: the realtime clock, which it sets
 * to what it reads, where nobody keeps it in step. Never does: move it by more than a few
 * microseconds.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <sys/timex.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "daemon/epoch.h"
#include "tests/support.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

static struct epoch_detector detector;

static void setup(void)
{
	memset(&detector, 0, sizeof(detector));
	detector.ops = &epoch_clock_ops;
	detector.fd = -1;
}

static void begin(void)
{
	epoch_clock_ops.start(&detector, -ENOENT, NULL);
	ck_assert_int_eq(detector.state, EPOCH_ACTIVE);
}

static void end(void)
{
	ck_assert_ptr_null(epoch_clock_ops.stop);
	close(detector.fd);
}

static enum epoch_change look(void)
{
	return epoch_clock_ops.look(&detector, EPOCH_ALL);
}

static bool readable(void)
{
	struct pollfd pollfd = {.fd = detector.fd, .events = POLLIN};

	return poll(&pollfd, 1, 0) == 1;
}

START_TEST(row)
{
	ck_assert_str_eq(epoch_clock_ops.name, "clock");
	ck_assert_uint_eq(epoch_clock_ops.notifier, EPOCH_PAGE_CLOCK);
	ck_assert(!epoch_clock_ops.says_cloned);
	ck_assert(!epoch_clock_ops.cheap);
	ck_assert_int_eq(epoch_clock_ops.poll_ms, 0);
	ck_assert_ptr_null(epoch_clock_ops.recall);
}
END_TEST

START_TEST(quiet)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	size_t fds = support_fd_count(getpid());

	epoch_clock_ops.start(&detector, fd, NULL);
	ck_assert_int_eq(detector.state, EPOCH_ACTIVE);
	ck_assert(detector.watch);
	ck_assert(fcntl(detector.fd, F_GETFD) & FD_CLOEXEC);
	ck_assert(fcntl(detector.fd, F_GETFL) & O_NONBLOCK);
	ck_assert_uint_eq(support_fd_count(getpid()), fds); /* its own for the one given */
	ck_assert(!readable());
	for (int i = 0; i < 1000; i++)
		ck_assert_int_eq(look(), EPOCH_SAME);
	end();
	ck_assert_uint_eq(support_fd_count(getpid()), fds - 1);
}
END_TEST

/* Whoever is out of descriptors has no detector, and knows why. */
START_TEST(no_descriptor)
{
	struct rlimit none = {0, 0};
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		setrlimit(RLIMIT_NOFILE, &none);
		epoch_clock_ops.start(&detector, -ENOENT, NULL);
		_exit(detector.state != EPOCH_ABSENT || detector.fd != -1 || detector.watch ||
		      detector.why[0] == '\0');
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}
END_TEST

/* A timer that expires has seen the clock set by a century; any that expires will do here. */
START_TEST(expired)
{
	struct itimerspec soon = {.it_value.tv_nsec = 1};
	struct pollfd pollfd;

	begin();
	ck_assert_int_eq(timerfd_settime(detector.fd, 0, &soon, NULL), 0);
	pollfd = (struct pollfd){.fd = detector.fd, .events = POLLIN};
	ck_assert_int_eq(poll(&pollfd, 1, SUPPORT_TIMEOUT_S * 1000), 1);
	errno = ENOSYS; /* left behind by somebody */
	ck_assert_int_eq(look(), EPOCH_AGED);
	ck_assert_int_eq(detector.state, EPOCH_ACTIVE);
	ck_assert_int_eq(look(), EPOCH_SAME);
	end();
}
END_TEST

START_TEST(broken)
{
	int null;

	begin();
	null = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dup2(null, detector.fd);
	close(null);
	ck_assert_int_eq(look(), EPOCH_AGED);
	ck_assert_int_eq(detector.state, EPOCH_FAILED);
	ck_assert_str_ne(detector.why, "");
	end();
}
END_TEST

static bool set_clock(void)
{
	struct timespec now;

	return clock_gettime(CLOCK_REALTIME, &now) == 0 && clock_settime(CLOCK_REALTIME, &now) == 0;
}

/* Nobody keeps it in step, and it may be set. */
static bool clock_is_ours(void)
{
	struct timex timex = {0};

	return adjtimex(&timex) == TIME_ERROR && set_clock();
}

/* Each step is seen once, by nothing but a read() between them: as behind the system call filter.
 */
START_TEST(clock_was_set)
{
	begin();
	for (int i = 0; i < 10; i++) {
		ck_assert(!readable());
		ck_assert(set_clock());
		ck_assert(readable());
		ck_assert_int_eq(look(), EPOCH_AGED);
		ck_assert(!readable());
		ck_assert_int_eq(look(), EPOCH_SAME);
	}
	ck_assert(set_clock());
	ck_assert(set_clock()); /* two at once */
	ck_assert_int_eq(look(), EPOCH_AGED);
	ck_assert_int_eq(look(), EPOCH_SAME);
	ck_assert_int_eq(detector.state, EPOCH_ACTIVE);
	end();
}
END_TEST

/* Moves this process to where CLOCK_BOOTTIME is ahead by so much. */
static bool sleep_for(int64_t ns)
{
	int offsets, fd;
	bool ok;

	if (unshare(CLONE_NEWTIME) < 0)
		return false;
	offsets = open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC);
	ok = offsets >= 0 && dprintf(offsets, "boottime %lld %lld\n", (long long)(ns / 1000000000),
				     (long long)(ns % 1000000000)) > 0;
	if (offsets >= 0)
		close(offsets);
	fd = open("/proc/self/ns/time_for_children", O_RDONLY | O_CLOEXEC);
	ok = ok && fd >= 0 && setns(fd, CLONE_NEWTIME) == 0;
	if (fd >= 0)
		close(fd);
	return ok;
}

static bool can_sleep(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(!sleep_for(1000000));
	return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

START_TEST(slept)
{
	static const struct {
		int64_t ns;
		enum epoch_change change;
	} naps[] = {
	    {0, EPOCH_SAME},
	    {50 * 1000000LL, EPOCH_SAME},
	    {200 * 1000000LL, EPOCH_AGED},
	    {3600 * 1000000000LL, EPOCH_AGED},
	};

	begin();
	ck_assert(sleep_for(naps[_i].ns));
	ck_assert_int_eq(look(), naps[_i].change);
	ck_assert_int_eq(look(), EPOCH_SAME);
	end();
}
END_TEST

/* Only a process that is moved, with its machine or without, sees that. */
START_TEST(slept_back)
{
	ck_assert(sleep_for(3600 * 1000000000LL));
	begin();
	ck_assert(sleep_for(0));
	ck_assert_int_eq(look(), EPOCH_AGED);
	ck_assert_int_eq(look(), EPOCH_SAME);
	end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("epoch_clock");
	TCase *tcase = tcase_create("epoch_clock");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tcase);
	tcase_add_checked_fixture(tcase, setup, NULL);
	tcase_add_test(tcase, row);
	tcase_add_test(tcase, quiet);
	tcase_add_test(tcase, no_descriptor);
	tcase_add_test(tcase, expired);
	tcase_add_test(tcase, broken);
	if (clock_is_ours())
		tcase_add_test(tcase, clock_was_set);
	else
		printf("SKIP: setting the clock: not permitted, or somebody keeps it in step\n");
	if (can_sleep()) {
		tcase_add_loop_test(tcase, slept, 0, 4);
		tcase_add_test(tcase, slept_back);
	} else {
		printf("SKIP: sleeping: no time namespaces, or not permitted\n");
	}
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
