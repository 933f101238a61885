/*
 * Owns: libseccomp's context while the filter is built. May touch: the process's own filter.
 * Never does: know which calls are allowed (policy.c does), or run without every rule of it.
 * The only file that includes <seccomp.h>.
 */
#include "seccomp/sandbox.h"

#include <errno.h>
#include <seccomp.h>
#include <stdint.h>

#include "seccomp/policy.h"

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

static int add_row(scmp_filter_ctx ctx, const struct policy_row *row)
{
	struct scmp_arg_cmp cmp[POLICY_TESTS_MAX];
	unsigned n = 0;

	for (size_t i = 0; i < POLICY_TESTS_MAX; i++) {
		const struct policy_test *test = &row->tests[i];

		if (test->mask == 0)
			continue;
		cmp[n++] = (struct scmp_arg_cmp){
		    .arg = test->arg,
		    .op = SCMP_CMP_MASKED_EQ,
		    .datum_a = test->mask,
		    .datum_b = test->value,
		};
	}
	/* Exact: where a rule cannot be had as it is written, a wider one is not taken instead. */
	return seccomp_rule_add_exact_array(ctx, SCMP_ACT_ALLOW, row->syscall, n, cmp);
}

int sandbox_enter(void)
{
	scmp_filter_ctx ctx;
	const struct policy_row *rows;
	size_t count;
	int err;

	/* Knows the native architecture alone. */
	ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
	if (!ctx)
		return -ENOMEM;
	err = set_attributes(ctx);
	rows = policy_rows(&count);
	for (size_t i = 0; i < count && !err; i++)
		err = add_row(ctx, &rows[i]);
	if (!err)
		err = seccomp_load(ctx);
	seccomp_release(ctx);
	return err;
}
