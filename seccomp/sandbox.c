/*
 * Owns: libseccomp's context while the filter is built. May touch: the process's own filter, and
 * its one flag on executable memory. Never does: know which calls are allowed (policy.c does), or
 * run without every rule of it. The only file that includes <seccomp.h>.
 */
#include "seccomp/sandbox.h"

#include <errno.h>
#include <seccomp.h>
#include <stdint.h>
#include <sys/prctl.h>

/* PR_SET_MDWE and what belongs to it (Linux 6.3), which older headers do not have. */
#define SANDBOX_SET_MDWE    65
#define SANDBOX_GET_MDWE    66
#define SANDBOX_REFUSE_EXEC 1

static int set_attributes(scmp_filter_ctx ctx)
{
	static const struct {
		enum scmp_filter_attr attr;
		uint32_t value;
	} wanted[] = {
	    /* Other architectures: i386 by int 0x80, x32 by bit 30 of the number. */
	    {SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS},
	    {SCMP_FLTATR_CTL_NNP, 1},
	    {SCMP_FLTATR_CTL_TSYNC, 1},
	    /* Else a refusal by the kernel reads ECANCELED, whatever it was. */
	    {SCMP_FLTATR_API_SYSRAWRC, 1},
	};
	int err = 0;

	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]) && !err; i++)
		err = seccomp_attr_set(ctx, wanted[i].attr, wanted[i].value);
	return err;
}

static struct scmp_arg_cmp comparison(const struct policy_test *test)
{
	return (struct scmp_arg_cmp){
	    .arg = test->arg,
	    .op = SCMP_CMP_MASKED_EQ,
	    .datum_a = test->mask,
	    .datum_b = test->value,
	};
}

static int add_row(scmp_filter_ctx ctx, const struct policy_row *row,
		   const struct policy_given *given)
{
	size_t rules = policy_rule_count(row, given);
	struct scmp_arg_cmp cmp[POLICY_TESTS_MAX + 1];
	struct policy_test fd_test;
	unsigned fixed = 0, n;
	int err = 0;

	for (size_t i = 0; i < POLICY_TESTS_MAX; i++)
		if (row->tests[i].mask != 0)
			cmp[fixed++] = comparison(&row->tests[i]);
	for (size_t i = 0; i < rules && !err; i++) {
		n = fixed;
		if (policy_fd_test(row, given, i, &fd_test))
			cmp[n++] = comparison(&fd_test);
		/* Exact: where a rule cannot be had as it is, a wider one is not taken instead. */
		err = seccomp_rule_add_exact_array(ctx, SCMP_ACT_ALLOW, row->syscall, n, cmp);
	}
	return err;
}

int sandbox_refuse_exec(void)
{
#ifdef RNGD_TEST_FALLBACK
	return 0; /* as an older kernel */
#else
	int now = prctl(SANDBOX_GET_MDWE, 0, 0, 0, 0);

	if (now < 0)
		return errno == EINVAL ? 0 : -errno;
	/* A service manager may have set it already, with other flags that cannot be changed. */
	if (now & SANDBOX_REFUSE_EXEC)
		return 1;
	if (prctl(SANDBOX_SET_MDWE, SANDBOX_REFUSE_EXEC, 0, 0, 0) < 0)
		return errno == EINVAL ? 0 : -errno;
	return 1;
#endif
}

int sandbox_enter(const struct policy_given *given)
{
	scmp_filter_ctx ctx;
	const struct policy_row *rows;
	size_t count;
	int err;

	for (size_t i = 0; i < POLICY_NEEDS; i++)
		if (given->counts[i] > POLICY_FDS_MAX)
			return -E2BIG;
	/* Knows the native architecture alone. */
	ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
	if (!ctx)
		return -ENOMEM;
	err = set_attributes(ctx);
	rows = policy_rows(&count);
	for (size_t i = 0; i < count && !err; i++)
		err = add_row(ctx, &rows[i], given);
	if (!err)
		err = seccomp_load(ctx);
	seccomp_release(ctx);
	return err;
}
