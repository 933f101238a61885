/*
 * check_sandbox - the filter as the kernel enforces it is the table, no more, no less. (What the
 * table should be is check_policy's affair.) Owns: its children. May touch: nothing else.
 * Never does: believe the source of the filter: each question is a child that makes the call and
 * lives or dies.
 */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "tests/confined.h"

#define TEST_TIMEOUT_S  60
#define SYSCALL_NUMBERS 512
#define X32_BIT         0x40000000
#define X32_NUMBERS     548 /* x32 has some of its own above 511 */

#ifndef RNGD_SANITIZER

/*
 * Sets of descriptors, none of which is open: who is let through gets EBADF. Several in a set, some
 * that differ in one bit, and numbers that a signed or 8-bit comparison would take for another.
 */
static const struct policy_given filled = {
    .fds =
	{
	    [POLICY_FD_LOOP] = {100, 98},
	    [POLICY_FD_LISTEN] = {101, 102, 103, 104, 105, 106, 107, 256 + 100},
	    [POLICY_FD_READ] = {108, 109, 65536 + 108},
	    [POLICY_FD_PREAD] = {110, 111, 112},
	    [POLICY_FD_PAGE] = {INT32_MAX},
	},
    .counts =
	{
	    [POLICY_FD_LOOP] = 2,
	    [POLICY_FD_LISTEN] = 8,
	    [POLICY_FD_READ] = 3,
	    [POLICY_FD_PREAD] = 3,
	    [POLICY_FD_PAGE] = 1,
	},
    .handler = true,
};
static const struct policy_given nothing;

/* What a test loops over. */
static const struct policy_given *const givens[] = {&filled, &nothing};

/* false is WRONG_RESULT, for those that care. */
static int run_confined(bool (*run)(const struct call *), const struct call *call,
			const struct policy_given *given)
{
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		confine(given);
		leave(run(call) ? SURVIVED : WRONG_RESULT);
	}
	return wait_status(pid);
}

static bool do_syscall(const struct call *call)
{
	const uint64_t *a = call->args;

	syscall(call->nr, a[0], a[1], a[2], a[3], a[4], a[5]);
	return true;
}

static bool syscall_killed(const struct call *call, const struct policy_given *given)
{
	return killed(run_confined(do_syscall, call, given));
}

/* Nothing of the list below may run where there is no filter at all. */
static void require_filter(void)
{
	const struct call harmless = {.nr = SYS_getppid};

	for (size_t i = 0; i < 2; i++)
		ck_assert_msg(syscall_killed(&harmless, givens[i]),
			      "getppid() survived: there is no filter");
}

static bool policy_allows(const struct call *call, const struct policy_given *given)
{
	size_t count;
	const struct policy_row *rows = policy_rows(&count);

	for (size_t i = 0; i < count; i++)
		if (row_allows(&rows[i], call, given))
			return true;
	return false;
}

static void compare(const struct call *call, const struct policy_given *given)
{
	const uint64_t *a = call->args;
	bool died = syscall_killed(call, given);

	ck_assert_msg(died == !policy_allows(call, given),
		      "call %#lx(%#lx, %#lx, %#lx, %#lx, %#lx, %#lx) %s", call->nr, a[0], a[1],
		      a[2], a[3], a[4], a[5], died ? "was killed" : "survived");
}

/* A call that the row allows, with the first descriptor given if it looks at one. */
static struct call row_call(const struct policy_row *row)
{
	struct call call = {.nr = row->syscall};

	if (row->need >= POLICY_FD_LOOP)
		call.args[0] = (uint64_t)filled.fds[row->need][0];

	for (size_t i = 0; i < POLICY_TESTS_MAX; i++)
		if (row->tests[i].mask)
			call.args[row->tests[i].arg] = row->tests[i].value;
	return call;
}

/*
 * uretprobe (since Linux 6.14) and uprobe (since 6.18) are let through by the kernel whatever a
 * filter says: they act only when called from the page that the kernel maps for them.
 */
static bool passes_every_filter(long nr)
{
#ifdef __x86_64__
	return nr == 335 || nr == 336;
#else
	(void)nr;
	return false;
#endif
}

START_TEST(every_number)
{
	static const uint64_t shapes[][6] = {
	    {0, 0, 0, 0, 0, 0},
	    {1, 2, 3, 4, 5, 6},
	    {~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull},
	    {0x55555555aaaaaaaa, 0x1234, 0xaaaaaaaa55555555, 0x8000000000000001, 0x7fffffff, 3},
	};
	const struct policy_given *given = givens[_i];
	struct call call;

	require_filter();
	for (call.nr = -1; call.nr < SYSCALL_NUMBERS; call.nr++) {
		if (passes_every_filter(call.nr))
			continue;
		for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
			memcpy(call.args, shapes[i], sizeof(call.args));
			compare(&call, given);
		}
	}
}
END_TEST

/* Each bit of each tested argument: those in the mask decide, the others do not. */
START_TEST(every_bit)
{
	size_t count;
	const struct policy_row *rows = policy_rows(&count);

	require_filter();
	for (size_t i = 0; i < count; i++) {
		struct call call = row_call(&rows[i]);

		ck_assert(policy_allows(&call, &filled));
		compare(&call, &filled);
		compare(&call, &nothing);
		for (size_t t = 0; t < POLICY_TESTS_MAX; t++) {
			uint64_t *arg = &call.args[rows[i].tests[t].arg];

			for (unsigned bit = 0; rows[i].tests[t].mask && bit < 64; bit++) {
				*arg ^= 1ull << bit;
				compare(&call, &filled);
				*arg ^= 1ull << bit;
			}
		}
	}
}
END_TEST

/* Each row that looks at a descriptor, with each number up to here and each bit of each it takes.
 */
#define FDS_TRIED 128

START_TEST(every_fd)
{
	size_t count, rows_seen = 0;
	const struct policy_row *rows = policy_rows(&count);

	require_filter();
	for (size_t i = 0; i < count; i++) {
		struct call call = row_call(&rows[i]);

		if (rows[i].need < POLICY_FD_LOOP)
			continue;
		rows_seen++;
		for (int fd = -2; fd < FDS_TRIED; fd++) {
			call.args[0] = (uint64_t)fd;
			compare(&call, &filled);
		}
		for (size_t f = 0; f < filled.counts[rows[i].need]; f++)
			for (unsigned bit = 0; bit < 64; bit++) {
				call.args[0] = (uint64_t)filled.fds[rows[i].need][f] ^ (uint64_t)1
											   << bit;
				compare(&call, &filled);
			}
	}
	ck_assert_uint_eq(rows_seen, 6);
}
END_TEST

#ifdef __x86_64__

START_TEST(x32_entry)
{
	size_t count;
	const struct policy_row *rows = policy_rows(&count);
	struct call call;

	require_filter();
	for (long nr = 0; nr < X32_NUMBERS; nr++) {
		call = (struct call){.nr = nr | X32_BIT};
		ck_assert_msg(syscall_killed(&call, &filled), "x32 call %ld survived", nr);
	}
	for (size_t i = 0; i < count; i++) {
		call = row_call(&rows[i]);
		call.nr |= X32_BIT;
		ck_assert_msg(syscall_killed(&call, &filled), "x32 %s survived", rows[i].name);
	}
}
END_TEST

static bool do_int80(const struct call *call)
{
	long result = call->nr;

	__asm__ volatile("int $0x80"
			 : "+a"(result)
			 : "b"(call->args[0]), "c"(call->args[1]), "d"(call->args[2]),
			   "S"(call->args[3]), "D"(call->args[4])
			 : "memory", "r8", "r9", "r10", "r11");
	return result > 0;
}

static bool kernel_has_i386(void)
{
	const struct call getpid_i386 = {.nr = 20};
	int status;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		prctl(PR_SET_DUMPABLE, 0);
		leave(do_int80(&getpid_i386) ? SURVIVED : WRONG_RESULT);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) && WEXITSTATUS(status) == SURVIVED;
}

START_TEST(i386_entry)
{
	size_t count;
	const struct policy_row *rows = policy_rows(&count);
	struct call call;

	require_filter();
	if (!kernel_has_i386()) {
		puts("SKIP: i386 entry: this kernel has no int 0x80");
		return;
	}
	for (long nr = 0; nr < SYSCALL_NUMBERS; nr++) {
		call = (struct call){.nr = nr};
		ck_assert_msg(killed(run_confined(do_int80, &call, &filled)),
			      "i386 call %ld survived", nr);
	}
	for (size_t i = 0; i < count; i++) {
		call = row_call(&rows[i]);
		ck_assert_msg(killed(run_confined(do_int80, &call, &filled)),
			      "i386 call %ld survived", call.nr);
	}
}
END_TEST

#endif /* __x86_64__ */

#endif /* !RNGD_SANITIZER */

static Suite *sandbox_suite(void)
{
	Suite *suite = suite_create("sandbox");
	TCase *tcase = tcase_create("kernel");

	tcase_set_timeout(tcase, TEST_TIMEOUT_S);
#ifdef RNGD_SANITIZER
	puts("SKIP: what the filter refuses: a sanitizer build has a wider one");
#else
	tcase_add_loop_test(tcase, every_number, 0, 2);
	tcase_add_test(tcase, every_bit);
	tcase_add_test(tcase, every_fd);
#ifdef __x86_64__
	tcase_add_test(tcase, x32_entry);
	tcase_add_test(tcase, i386_entry);
#else
	puts("SKIP: i386 and x32 entries: this processor has neither");
#endif
#endif
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	SRunner *runner = srunner_create(sandbox_suite());
	int failed;

	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
