/*
 * tests/confined - a child behind the filter, and what the table says of a call. Included once per
 * test binary.
 */
#ifndef TESTS_CONFINED_H
#define TESTS_CONFINED_H

#include <check.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "seccomp/policy.h"
#include "seccomp/sandbox.h"

#define CONFINED_TIMEOUT_S 10
#define CONFINED_UID       65534u

/* How a child ends; NOT_CONFINED fails the test by itself. */
#define SURVIVED     42
#define NOT_CONFINED 43
#define WRONG_RESULT 44

/* Status that waitpid() gives for it. */
#define EXITED(code) ((code) << 8)

struct call {
	long nr;
	uint64_t args[6];
};

/* exit_group alone: nothing that the C library would do on the way. */
static inline void leave(int code)
{
	syscall(SYS_exit_group, code);
}

/*
 * Should the filter ever fail, the calls of a test reach the kernel: as nobody, and with an end,
 * they do little.
 */
static inline void confine(const struct policy_given *given)
{
	const struct itimerval end = {{0, 0}, {CONFINED_TIMEOUT_S, 0}};

	prctl(PR_SET_DUMPABLE, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (geteuid() == 0 && setresuid(CONFINED_UID, CONFINED_UID, CONFINED_UID) < 0)
		leave(NOT_CONFINED);
	signal(SIGALRM, SIG_DFL); /* libcheck has a handler of its own */
	setitimer(ITIMER_REAL, &end, NULL);
	if (sandbox_enter(given) != 0)
		leave(NOT_CONFINED);
}

static inline int wait_status(pid_t pid)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(!WIFEXITED(status) || WEXITSTATUS(status) != NOT_CONFINED,
		      "no sandbox in the child");
	return status;
}

/* By the filter. */
static inline bool killed(int status)
{
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
}

/* By itself: what policy_rule_count() and policy_fd_test() say is not believed. */
static inline bool need_is_met(const struct policy_row *row, const struct call *call,
			       const struct policy_given *given)
{
	if (row->need == POLICY_ALWAYS)
		return true;
	if (row->need == POLICY_IF_HANDLER)
		return given->handler;
	if (row->need == POLICY_IF_PAGE)
		return given->counts[POLICY_FD_PAGE] != 0;
	for (size_t i = 0; i < given->counts[row->need]; i++)
		if ((int)call->args[0] == given->fds[row->need][i])
			return true;
	return false;
}

static inline bool row_allows(const struct policy_row *row, const struct call *call,
			      const struct policy_given *given)
{
	if (row->syscall != call->nr || !need_is_met(row, call, given))
		return false;
	for (size_t i = 0; i < POLICY_TESTS_MAX; i++) {
		const struct policy_test *test = &row->tests[i];

		if (test->mask && (call->args[test->arg] & test->mask) != test->value)
			return false;
	}
	return true;
}

#endif
