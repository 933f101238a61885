/*
 * check_policy - what the table may be at all: short, reasoned, closed to what an attacker would
 * want, and word for word what doc/sandbox.md says. Owns: nothing. May touch: the document. Never
 * does: enter the sandbox (check_sandbox shows that the filter is the table).
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>

#include "proto/epoch_page.h"
#include "tests/confined.h"

#define DOCUMENT     "doc/sandbox.md" /* from the top of the tree */
#define SYSCALLS_MAX 18u              /* distinct ones: what the sandbox promises */
#define ROW_BYTES    512
#define CELLS        3

#ifndef RNGD_SANITIZER

#define NONBLOCK_CLOEXEC (SOCK_NONBLOCK | SOCK_CLOEXEC)
#define PRIVATE_ANON     (MAP_PRIVATE | MAP_ANONYMOUS)
#define SEND_FLAGS       (MSG_DONTWAIT | MSG_NOSIGNAL)
#ifdef SYS_epoll_wait
#define SYS_WAIT SYS_epoll_wait
#else
#define SYS_WAIT SYS_epoll_pwait
#endif

/* Everything there may be, so that nothing is refused only because it is missing. */
static const struct policy_given everything = {
    .fds =
	{
	    [POLICY_FD_LOOP] = {20},
	    [POLICY_FD_LISTEN] = {21, 22},
	    [POLICY_FD_READ] = {23, 24, 25},
	    [POLICY_FD_PREAD] = {26, 27, 28},
	    [POLICY_FD_PAGE] = {29},
	},
    .counts =
	{
	    [POLICY_FD_LOOP] = 1,
	    [POLICY_FD_LISTEN] = 2,
	    [POLICY_FD_READ] = 3,
	    [POLICY_FD_PREAD] = 3,
	    [POLICY_FD_PAGE] = 1,
	},
    .handler = true,
};

/* Independent of the table: what a captured daemon would want. */
static const struct call wanted_by_attackers[] = {
    {SYS_mmap, {0, 4096, PROT_READ | PROT_EXEC, PRIVATE_ANON, ~0ull}},
    {SYS_mmap, {0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, PRIVATE_ANON, ~0ull}},
    {SYS_mmap, {4096, 4096, PROT_READ | PROT_WRITE, PRIVATE_ANON | MAP_FIXED, ~0ull}},
    {SYS_mmap, {0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, 3}},
    {SYS_mmap, {0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, 3}},
    {SYS_mmap, {4096, 4096, PROT_READ | PROT_WRITE, PRIVATE_ANON, ~0ull}},
    {SYS_munmap, {4096, 4096}},
    {SYS_mprotect, {4096, 4096, PROT_READ | PROT_EXEC}},
    {SYS_mremap, {0}},
    {SYS_accept4, {21, 0, 0, SOCK_NONBLOCK}},
    {SYS_accept4, {21, 0, 0, SOCK_CLOEXEC}},
    {SYS_accept4, {21, 4096, 4096, NONBLOCK_CLOEXEC}},
    {SYS_accept4, {23, 0, 0, NONBLOCK_CLOEXEC}},
    {SYS_getsockopt, {0, SOL_SOCKET, SO_TYPE}},
    {SYS_getsockopt, {0, IPPROTO_IP, SO_PEERCRED}},
    {SYS_getsockopt, {0, IPPROTO_IP, SO_MEMINFO}},
    {SYS_setsockopt, {0, SOL_SOCKET, SO_SNDBUF}},
    {SYS_setsockopt, {0, SOL_SOCKET, SO_PEERCRED}},
    {SYS_recvfrom, {0, 0, 0, MSG_DONTWAIT}},
    {SYS_recvmsg, {0, 0, 0}},
    {SYS_recvmsg, {0, 0, MSG_DONTWAIT | MSG_PEEK}},
    {SYS_sendmsg, {0, 0, 0}},
    {SYS_sendmsg, {0, 0, MSG_DONTWAIT}},
    {SYS_read, {0, 4096, 16}},
    {SYS_read, {26, 4096, 16}},
    {SYS_read, {30, 4096, 16}},
    {SYS_pread64, {26, 0, 16, 1}},
    {SYS_pread64, {24, 0, 16, 0}},
    {SYS_pread64, {29, 0, 4096, 0}},
    {SYS_pwrite64, {29, 0, 2, EPOCH_PAGE_POKE_OFFSET}},
    {SYS_pwrite64, {29, 0, 1, 0}},
    {SYS_pwrite64, {24, 0, 1, EPOCH_PAGE_POKE_OFFSET}},
    {SYS_epoll_ctl, {23, EPOLL_CTL_ADD, 30, 4096}},
    {SYS_WAIT, {23, 4096, 64, ~0ull}},
    {SYS_getrandom, {0, 0, GRND_RANDOM}},
    {SYS_sendto, {0, 0, 0, 0}},
    {SYS_sendto, {0, 0, 0, MSG_DONTWAIT}},
    {SYS_sendto, {0, 0, 0, SEND_FLAGS, 4096, 16}},
    {SYS_sendto, {0, 0, 0, SEND_FLAGS | MSG_OOB}},
    {SYS_recvmsg, {0}},
    {SYS_write, {1, 0, 0}},
    {SYS_write, {3, 0, 0}},
    {SYS_getrandom, {0, 0, GRND_INSECURE}},
    {SYS_clock_gettime, {8}},
    {SYS_clock_gettime, {0x80000000}},
    {SYS_clock_gettime, {(uint32_t)~0x1b}},
    {SYS_openat, {(uint64_t)AT_FDCWD}},
    {SYS_execve, {0}},
    {SYS_execveat, {0}},
    {SYS_clone, {0}},
    {SYS_socket, {AF_INET, SOCK_STREAM}},
    {SYS_connect, {0}},
    {SYS_ptrace, {PTRACE_ATTACH, 1}},
    {SYS_process_vm_readv, {0}},
    {SYS_kill, {0}},
    {SYS_setuid, {0}},
    {SYS_prctl, {PR_SET_DUMPABLE, 1}},
    {SYS_seccomp, {0}},
    {SYS_ioctl, {0}},
    {SYS_fcntl, {0}},
    {SYS_dup, {0}},
};

START_TEST(attackers_wishes)
{
	size_t count;
	const struct policy_row *rows = policy_rows(&count);

	for (size_t w = 0; w < sizeof(wanted_by_attackers) / sizeof(wanted_by_attackers[0]); w++)
		for (size_t i = 0; i < count; i++)
			ck_assert_msg(!row_allows(&rows[i], &wanted_by_attackers[w], &everything),
				      "wish %zu is allowed by row %zu, %s", w, i, rows[i].name);
}
END_TEST

/* Nothing says what the upper half of a register holds when a function takes an int. */
#define GARBAGE 0xdeadbeef00000000ull

static const struct call needed_by_the_daemon[] = {
    {SYS_WAIT, {GARBAGE | 20, 4096, GARBAGE | 64, ~0ull}},
    {SYS_epoll_ctl, {GARBAGE | 20, EPOLL_CTL_ADD, GARBAGE | 30, 4096}},
    {SYS_read, {GARBAGE | 25, 4096, 8}},
    {SYS_rt_sigreturn, {0}},
    {SYS_accept4, {GARBAGE | 22, 0, 0, GARBAGE | NONBLOCK_CLOEXEC}},
    {SYS_getsockopt, {GARBAGE | 4, GARBAGE | SOL_SOCKET, GARBAGE | SO_PEERCRED, 4096, 4096}},
    {SYS_getsockopt, {GARBAGE | 4, GARBAGE | SOL_SOCKET, GARBAGE | SO_MEMINFO, 4096, 4096}},
    {SYS_recvmsg, {GARBAGE | 4, 4096, GARBAGE | MSG_DONTWAIT}},
    {SYS_sendto, {GARBAGE | 4, 4096, 16, GARBAGE | SEND_FLAGS, 0, 0}},
    {SYS_sendmsg, {GARBAGE | 4, 4096, GARBAGE | SEND_FLAGS}},
    {SYS_pread64, {GARBAGE | 28, 4096, 4096, 0}},
    {SYS_pwrite64, {GARBAGE | 29, 4096, 1, EPOCH_PAGE_POKE_OFFSET}},
    {SYS_getrandom, {4096, 32, GARBAGE}}, /* the vDSO's own */
    {SYS_write, {GARBAGE | 2, 4096, 16}},
    {SYS_getrandom, {4096, 32, GARBAGE | GRND_NONBLOCK}},
    {SYS_clock_gettime, {GARBAGE | 7, 4096}},
    {SYS_mmap, {0, 4096, PROT_READ | PROT_WRITE, GARBAGE | PRIVATE_ANON, ~0ull, 0}},
};

START_TEST(daemons_needs)
{
	size_t count, i;
	const struct policy_row *rows = policy_rows(&count);

	for (size_t n = 0; n < sizeof(needed_by_the_daemon) / sizeof(needed_by_the_daemon[0]);
	     n++) {
		for (i = 0;
		     i < count && !row_allows(&rows[i], &needed_by_the_daemon[n], &everything); i++)
			;
		ck_assert_msg(i < count, "need %zu is allowed by no row", n);
	}
}
END_TEST

/* With nothing but a loop, a listener and signals. */
static const long without[] = {SYS_pread64, SYS_pwrite64, SYS_sendmsg, SYS_rt_sigreturn};

START_TEST(rows_left_out)
{
	struct policy_given little = {0};
	size_t count, left_out = 0;
	const struct policy_row *rows = policy_rows(&count);

	policy_give(&little, POLICY_FD_LOOP, 20);
	policy_give(&little, POLICY_FD_LISTEN, 21);
	policy_give(&little, POLICY_FD_READ, 23);
	for (size_t i = 0; i < count; i++)
		for (size_t w = 0; w < sizeof(without) / sizeof(without[0]); w++)
			if (rows[i].syscall == without[w]) {
				ck_assert_uint_eq(policy_rule_count(&rows[i], &little), 0);
				left_out++;
			}
	ck_assert_uint_eq(left_out, sizeof(without) / sizeof(without[0]));
}
END_TEST

START_TEST(giving)
{
	struct policy_given given = {0};

	policy_give(&given, POLICY_FD_READ, -1);
	policy_give(&given, POLICY_FD_READ, -ENOENT);
	ck_assert_uint_eq(given.counts[POLICY_FD_READ], 0);
	for (int fd = 0; fd < POLICY_FDS_MAX; fd++) {
		policy_give(&given, POLICY_FD_READ, fd);
		policy_give(&given, POLICY_FD_READ, 0);
	}
	ck_assert_uint_eq(given.counts[POLICY_FD_READ], POLICY_FDS_MAX);
	/* Nothing of it is dropped in silence: there the filter is refused, before anything else.
	 */
	policy_give(&given, POLICY_FD_READ, POLICY_FDS_MAX);
	ck_assert_uint_gt(given.counts[POLICY_FD_READ], POLICY_FDS_MAX);
	ck_assert_int_eq(sandbox_enter(&given), -E2BIG);
	ck_assert_uint_eq(given.counts[POLICY_FD_PREAD], 0);
}
END_TEST

START_TEST(table_is_short)
{
	size_t count, distinct = 0;
	const struct policy_row *rows = policy_rows(&count);

	for (size_t i = 0; i < count; i++) {
		size_t first = 0;

		while (rows[first].syscall != rows[i].syscall)
			first++;
		distinct += first == i;
	}
	ck_assert_uint_le(distinct, SYSCALLS_MAX);
}
END_TEST

/* "| `name` | bounds | reason |"; false for any other line. */
static bool parse_row(char *line, char *cells[CELLS])
{
	char *end;

	if (strncmp(line, "| `", 3) != 0)
		return false;
	cells[0] = line + 3;
	end = strstr(cells[0], "` | ");
	ck_assert_msg(end != NULL, "not three cells: %s", line);
	*end = '\0';
	cells[1] = end + 4;
	end = strstr(cells[1], " | ");
	ck_assert_msg(end != NULL, "not three cells: %s", cells[1]);
	*end = '\0';
	cells[2] = end + 3;
	end = strstr(cells[2], " |\n");
	ck_assert_msg(end != NULL, "not three cells: %s", cells[2]);
	*end = '\0';
	return true;
}

START_TEST(document_is_the_table)
{
	size_t count, i = 0;
	const struct policy_row *rows = policy_rows(&count);
	FILE *file = fopen(DOCUMENT, "re");
	char line[ROW_BYTES], *cells[CELLS];

	ck_assert_msg(file != NULL, "run from the top of the tree: no " DOCUMENT);
	while (fgets(line, sizeof(line), file)) {
		if (!parse_row(line, cells))
			continue;
		ck_assert_msg(i < count, "%s is in the document only", cells[0]);
		/* The same call by its name on newer architectures; the document has the older. */
		if (strcmp(rows[i].name, "epoll_pwait") != 0)
			ck_assert_str_eq(cells[0], rows[i].name);
		ck_assert_str_eq(cells[1], rows[i].bounds);
		ck_assert_str_eq(cells[2], rows[i].reason);
		i++;
	}
	fclose(file);
	ck_assert_msg(i == count, "%s is not in the document", rows[i < count ? i : 0].name);
}
END_TEST

#endif /* !RNGD_SANITIZER */

static void check_tests(const struct policy_row *row)
{
	bool any = row->need == POLICY_ALWAYS;

	for (size_t t = 0; t < POLICY_TESTS_MAX; t++) {
		const struct policy_test *test = &row->tests[t];

		if (!test->mask)
			continue;
		any = false;
		ck_assert_uint_lt(test->arg, 6);
		/* Argument 0 is the descriptor's then. */
		ck_assert(row->need < POLICY_FD_LOOP || test->arg != 0);
		/* Bits outside the mask could never be equal: the row would allow nothing. */
		ck_assert_uint_eq(test->value & ~test->mask, 0);
		/* Several comparisons of one argument are where libseccomp went wrong. */
		for (size_t u = 0; u < t; u++)
			ck_assert_msg(!row->tests[u].mask || row->tests[u].arg != test->arg,
				      "%s: two tests of argument %u", row->name, test->arg);
	}
	ck_assert_msg(any == (strcmp(row->bounds, "any") == 0), "%s: its bounds are not its tests",
		      row->name);
}

START_TEST(rows_are_whole)
{
	size_t count;
	const struct policy_row *rows = policy_rows(&count);

	ck_assert_uint_gt(count, 0);
	for (size_t i = 0; i < count; i++) {
		ck_assert_msg(rows[i].syscall >= 0 && rows[i].name && *rows[i].name, "row %zu", i);
		ck_assert_msg(rows[i].reason && *rows[i].reason, "%s: no reason", rows[i].name);
		ck_assert_msg(rows[i].bounds && *rows[i].bounds, "%s: no bounds", rows[i].name);
		check_tests(&rows[i]);
	}
}
END_TEST

static Suite *policy_suite(void)
{
	Suite *suite = suite_create("policy");
	TCase *tcase = tcase_create("table");

	tcase_add_test(tcase, rows_are_whole);
#ifdef RNGD_SANITIZER
	puts("SKIP: length and document: a sanitizer build has a wider table");
#else
	tcase_add_test(tcase, table_is_short);
	tcase_add_test(tcase, rows_left_out);
	tcase_add_test(tcase, giving);
	tcase_add_test(tcase, attackers_wishes);
	tcase_add_test(tcase, daemons_needs);
	tcase_add_test(tcase, document_is_the_table);
#endif
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	SRunner *runner = srunner_create(policy_suite());
	int failed;

	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
