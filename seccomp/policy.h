/*
 * seccomp/policy - the system calls a serving rngd may make, as data.
 *
 * A row allows one system call if all its argument tests hold; rows for the same call are
 * alternatives. Only (arg & mask) == value tests exist, at most one for each argument of a row:
 * libseccomp before 2.6.1 builds wrong filters for ordered comparisons
 * (GHSA-4q85-33p6-j5g6). doc/sandbox.md is checked against this table by a test.
 */
#ifndef SECCOMP_POLICY_H
#define SECCOMP_POLICY_H

#include <stddef.h>
#include <stdint.h>

#define POLICY_TESTS_MAX 3 /* most argument tests in a row */

struct policy_test {
	unsigned arg;   /* 0 to 5 */
	uint64_t mask;  /* bits of the argument that are compared; 0: no test */
	uint64_t value; /* what they must be */
};

struct policy_row {
	int syscall; /* __NR_... */
	const char *name;
	struct policy_test tests[POLICY_TESTS_MAX];
	const char *bounds; /* the tests in words, as doc/sandbox.md has them */
	const char *reason;
};

/* The rows and, in *count, how many. */
const struct policy_row *policy_rows(size_t *count);

#endif
