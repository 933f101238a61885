/*
 * client/owes: whom a settle waits for. A subscriber that is passed over by mistake is a program
 * with the keys of another machine, so every doubt is to be a wait.
 */
#include "client/owes.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct field fields[FIELDS_MAX];

static const char sums[] =
    "subscribers=3\nowing=2\nowing_privileged=1\nforgotten=0\nreturning_ms=0\n";

#define ROW(N, PID, CONNECTED, PRIVILEGED)                                                   \
	"owes." N ".uid=0\nowes." N ".pid=" PID "\nowes." N ".acknowledged=4\nowes." N       \
	".taken=true\nowes." N ".connected=" CONNECTED "\nowes." N ".privileged=" PRIVILEGED \
	"\nowes." N ".for_ms=1500\n"

START_TEST(a_list)
{
	char text[1024];
	struct owes owes;

	snprintf(text, sizeof(text), "%s%s%s%s", sums, ROW("1", "17", "true", "true"),
		 ROW("2", "0", "false", "false"), "owes.2.colour=\"red\"\nmoon=false\n");
	ck_assert_int_eq(owes_parse(&owes, text, fields), 0);
	ck_assert_uint_eq(owes.subscribers, 3);
	ck_assert_uint_eq(owes.owing, 2);
	ck_assert_uint_eq(owes.owing_privileged, 1);
	ck_assert_uint_eq(owes.row_count, 2);
	ck_assert_uint_eq(owes.rows[0].pid, 17);
	ck_assert_uint_eq(owes.rows[0].acknowledged, 4);
	ck_assert_uint_eq(owes.rows[0].for_ms, 1500);
	ck_assert(owes.rows[0].taken && owes.rows[0].connected && owes.rows[0].privileged);
	ck_assert(!owes.rows[1].connected && !owes.rows[1].privileged);
	ck_assert_uint_eq(owes_waits(&owes), 1);
}
END_TEST

START_TEST(no_list)
{
	static const char *const bad[] = {
	    "",
	    "subscribers=3\nowing=2\nowing_privileged=1\nreturning_ms=0\n",
	    "owing=2\nowing_privileged=1\nforgotten=0\nreturning_ms=0\n",
	    "subscribers=3\nowing_privileged=1\nforgotten=0\nreturning_ms=0\n",
	    "subscribers=3\nowing=2\nforgotten=0\nreturning_ms=0\n",
	    "subscribers=3\nowing=2\nowing_privileged=1\n",
	    "subscribers=3\nowing=2\nowing_privileged=1\nforgotten=0\nreturning_ms=-1\n",
	    "subscribers=3\nowing=true\nowing_privileged=1\nforgotten=0\nreturning_ms=0\n",
	    "subscribers=3\nowing=2\nowing_privileged=1\nforgotten=0\nreturning_ms=0\nowes.1.pid=-"
	    "1\n",
	    "subscribers=3\nowing=2\nowing_privileged=1\nforgotten=0\nreturning_ms=0\nowes.1.taken="
	    "1\n",
	    "subscribers=3\nowing=2\nowing_privileged=1\nforgotten=0\nreturning_ms=0\nowes.1.uid="
	    "\"x\"\n",
	    "subscribers=3\nowing=2\nowing_privileged=1\nforgotten=0\nreturning_ms=0\n\n",
	};
	struct owes owes;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_int_eq(owes_parse(&owes, bad[i], fields), -EPROTO);
}
END_TEST

/* Numbers of rows that are none do not write anywhere. */
START_TEST(rows_out_of_range)
{
	static const char *const names[] = {"owes.0.pid",
					    "owes.65.pid",
					    "owes.99999999999999999999.pid",
					    "owes.18446744073709551617.pid",
					    "owes.1",
					    "owes.pid",
					    "owes.1x.pid"};
	struct owes owes;
	char text[256];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(text, sizeof(text), "%s%s=5\n", sums, names[i]);
		ck_assert_int_eq(owes_parse(&owes, text, fields), 0);
		ck_assert_uint_eq(owes.row_count, 0);
	}
	snprintf(text, sizeof(text), "%sowes.64.pid=5\n", sums);
	ck_assert_int_eq(owes_parse(&owes, text, fields), 0);
	ck_assert_uint_eq(owes.rows[63].pid, 5);
}
END_TEST

/* Those that did not fit into the list are waited for. */
START_TEST(more_than_is_listed)
{
	struct owes owes = {.owing_privileged = 70, .row_count = 64};

	for (size_t i = 0; i < 64; i++)
		owes.rows[i] = (struct owes_row){.privileged = true, .gone = true};
	ck_assert_uint_eq(owes_waits(&owes), 6);
	owes.rows[3].gone = false;
	ck_assert_uint_eq(owes_waits(&owes), 7);
}
END_TEST

static bool judge(struct owes_row row)
{
	struct owes owes = {.row_count = 1, .rows = {row}};

	owes_judge(&owes);
	return owes.rows[0].gone;
}

START_TEST(who_is_gone)
{
	const uint64_t self = (uint64_t)getpid();
	pid_t child = fork();
	siginfo_t info;

	if (child == 0)
		_exit(0);
	ck_assert_int_gt(child, 0);
	ck_assert(!judge((struct owes_row){.pid = self, .for_ms = 0}));
	/* Somebody of that number was seen a minute before this process began. */
	ck_assert(judge((struct owes_row){.pid = self, .for_ms = 60000}));
	ck_assert(!judge((struct owes_row){.pid = self, .for_ms = UINT64_MAX}));
	ck_assert(!judge((struct owes_row){.pid = 0}));
	ck_assert(!judge((struct owes_row){.pid = UINT64_MAX}));
	/* Dead, and not yet waited for; then no more. */
	ck_assert_int_eq(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
	ck_assert(judge((struct owes_row){.pid = (uint64_t)child}));
	ck_assert(!judge((struct owes_row){.pid = (uint64_t)child, .connected = true}));
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
	ck_assert(judge((struct owes_row){.pid = (uint64_t)child}));
	ck_assert(!judge((struct owes_row){.pid = (uint64_t)child, .connected = true}));
}
END_TEST

START_TEST(names)
{
	char name[OWES_NAME_BYTES];

	owes_name(name, (uint64_t)getpid());
	ck_assert_str_ne(name, "");
	ck_assert_ptr_null(strchr(name, '\n'));
	owes_name(name, 0);
	ck_assert_str_eq(name, "");
	owes_name(name, UINT64_MAX);
	ck_assert_str_eq(name, "");
}
END_TEST

START_TEST(stat_lines)
{
	static const char *const bad[] = {"", "1 (x)", "1 (x) S 1 2 3", "1 x S"};
	uint64_t start;
	bool dead;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert(!owes_read_stat(bad[i], &dead, &start));
	ck_assert(owes_read_stat(
	    "7 (a) Z (b) S 1 7 7 0 -1 4194560 1 0 0 0 5 6 0 0 20 0 3 0 4321 9 9", &dead, &start));
	ck_assert(!dead);
	ck_assert_uint_eq(start, 4321);
	ck_assert(
	    owes_read_stat("7 (a) Z 1 7 7 0 -1 4 1 0 0 0 5 6 0 0 20 0 1 0 4321 9", &dead, &start));
	ck_assert(dead);
	/* Its first thread ended, others did not. */
	ck_assert(
	    owes_read_stat("7 (a) Z 1 7 7 0 -1 4 1 0 0 0 5 6 0 0 20 0 2 0 4321 9", &dead, &start));
	ck_assert(!dead);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("owes");
	TCase *tcase = tcase_create("owes");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tcase);
	tcase_add_test(tcase, a_list);
	tcase_add_test(tcase, no_list);
	tcase_add_test(tcase, rows_out_of_range);
	tcase_add_test(tcase, more_than_is_listed);
	tcase_add_test(tcase, who_is_gone);
	tcase_add_test(tcase, names);
	tcase_add_test(tcase, stat_lines);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
