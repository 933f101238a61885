/*
 * seccomp/policy - the system calls a serving rngd may make, as data.
 *
 * A row allows one system call if all its argument tests hold; rows for the same call are
 * alternatives. A row may depend on what is known only at the start: then it becomes one rule for
 * each descriptor given, or is left out. Only (arg & mask) == value tests exist, at most one for
 * each argument of a row: libseccomp before 2.6.1 builds wrong filters for ordered comparisons
 * (GHSA-4q85-33p6-j5g6). doc/sandbox.md is checked against this table by a test.
 */
#ifndef SECCOMP_POLICY_H
#define SECCOMP_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define POLICY_TESTS_MAX 3 /* most argument tests in a row */
#define POLICY_FDS_MAX   8 /* most descriptors in a set */

/* What a row depends on. */
enum policy_need {
	POLICY_ALWAYS,     /* nothing: one rule */
	POLICY_IF_HANDLER, /* one rule if there is a signal handler */
	POLICY_IF_PAGE,    /* one rule if POLICY_FD_PAGE has a descriptor */
	/* One rule for each descriptor of a set, which argument 0 must be. */
	POLICY_FD_LOOP,   /* the loop's epoll */
	POLICY_FD_LISTEN, /* the listeners */
	POLICY_FD_READ,   /* read at its position: signals, the kernel log, the clocks' alarm */
	POLICY_FD_PREAD,  /* read from its start: what tells machines apart */
	POLICY_FD_PAGE,   /* the epoch page's, which can be written */
	POLICY_NEEDS,
};

/* What the process has when it enters the sandbox. Start from all zero. */
struct policy_given {
	int fds[POLICY_NEEDS][POLICY_FDS_MAX];
	size_t counts[POLICY_NEEDS]; /* more than POLICY_FDS_MAX: some are not in fds */
	bool handler;                /* a signal handler is installed */
};

struct policy_test {
	unsigned arg;   /* 0 to 5 */
	uint64_t mask;  /* bits of the argument that are compared; 0: no test */
	uint64_t value; /* what they must be */
};

struct policy_row {
	int syscall; /* __NR_... */
	const char *name;
	enum policy_need need;
	struct policy_test tests[POLICY_TESTS_MAX];
	const char *bounds; /* need and tests in words, as doc/sandbox.md has them */
	const char *reason;
};

/* The rows and, in *count, how many. */
const struct policy_row *policy_rows(size_t *count);

/* Puts fd into a set (POLICY_FD_...), once; a negative one is no descriptor and is passed over. */
void policy_give(struct policy_given *given, enum policy_need set, int fd);

/* How many rules the row becomes; 0: its call is not allowed. */
size_t policy_rule_count(const struct policy_row *row, const struct policy_given *given);

/*
 * Does the row's i-th rule, i below policy_rule_count(), test a descriptor besides row->tests? Then
 * *test says how.
 */
bool policy_fd_test(const struct policy_row *row, const struct policy_given *given, size_t i,
		    struct policy_test *test);

#endif
