/*
 * check_deadline - what is out of time, in which order, by a clock of the test's own.
 */
#include <check.h>
#include <stdint.h>

#include "daemon/deadline.h"

#define MANY 20000

static struct deadlines deadlines;
static struct deadline many[MANY];

static void setup(void)
{
	const int64_t after_ms[DEADLINE_STATES] = {
	    [DEADLINE_IDLE] = 0, [DEADLINE_REQUEST] = 10000, [DEADLINE_REPLY] = 30000};

	deadlines_init(&deadlines, after_ms, 0);
	for (int i = 0; i < MANY; i++)
		deadline_init(&many[i]);
}

START_TEST(each_state_has_its_time)
{
	deadline_set(&deadlines, &many[0], DEADLINE_REPLY, 0);
	deadline_set(&deadlines, &many[1], DEADLINE_REQUEST, 0);
	deadline_set(&deadlines, &many[2], DEADLINE_IDLE, 0); /* for ever */
	deadline_set(&deadlines, &many[3], DEADLINE_NONE, 0);
	ck_assert_ptr_null(deadlines_next(&deadlines, 9999));
	ck_assert_ptr_eq(deadlines_next(&deadlines, 10000), &many[1]);
	ck_assert_ptr_null(deadlines_next(&deadlines, 29999));
	ck_assert_ptr_eq(deadlines_next(&deadlines, 30000), &many[0]);
	ck_assert_ptr_null(deadlines_next(&deadlines, INT64_MAX));
	ck_assert_uint_eq(deadlines.expired[DEADLINE_REQUEST], 1);
	ck_assert_uint_eq(deadlines.expired[DEADLINE_REPLY], 1);
}
END_TEST

/* What dribbles in does not put the deadline off; what makes progress does. */
START_TEST(keep_and_set)
{
	deadline_set(&deadlines, &many[0], DEADLINE_REQUEST, 0);
	deadline_set(&deadlines, &many[1], DEADLINE_REQUEST, 0);
	deadline_keep(&deadlines, &many[0], DEADLINE_REQUEST, 9000);
	deadline_set(&deadlines, &many[1], DEADLINE_REQUEST, 9000);
	ck_assert_ptr_eq(deadlines_next(&deadlines, 10000), &many[0]);
	ck_assert_ptr_null(deadlines_next(&deadlines, 18999));
	deadline_keep(&deadlines, &many[1], DEADLINE_IDLE, 18999);
	ck_assert_ptr_null(deadlines_next(&deadlines, 19000));
	deadline_keep(&deadlines, &many[1], DEADLINE_REQUEST, 20000); /* anew */
	ck_assert_ptr_null(deadlines_next(&deadlines, 29999));
	deadline_clear(&many[1]);
	deadline_clear(&many[1]);
	ck_assert_ptr_null(deadlines_next(&deadlines, 90000));
}
END_TEST

START_TEST(twenty_thousand_in_order)
{
	for (int i = 0; i < MANY; i++)
		deadline_set(&deadlines, &many[i], DEADLINE_REPLY, i);
	for (int i = 0; i < MANY; i += 2)
		deadline_clear(&many[i]);
	for (int i = 1; i < MANY; i += 2) {
		ck_assert_ptr_null(deadlines_next(&deadlines, 30000 + i - 1));
		ck_assert_ptr_eq(deadlines_next(&deadlines, 30000 + i), &many[i]);
	}
}
END_TEST

/* The daemon was stopped for an hour: nobody is blamed for that hour. */
START_TEST(time_that_was_lost_does_not_count)
{
	deadline_set(&deadlines, &many[0], DEADLINE_REQUEST, 0);
	for (int64_t ms = 1000; ms <= 5000; ms += 1000)
		deadlines_tick(&deadlines, ms);
	deadlines_tick(&deadlines, 3605000);
	ck_assert_ptr_null(deadlines_next(&deadlines, 3605000));
	ck_assert_ptr_null(deadlines_next(&deadlines, 3609999));
	ck_assert_ptr_eq(deadlines_next(&deadlines, 3610000), &many[0]);
	deadline_set(&deadlines, &many[1], DEADLINE_REQUEST, 3610000);
	ck_assert_ptr_null(deadlines_next(&deadlines, 3619999));
	ck_assert_ptr_eq(deadlines_next(&deadlines, 3620000), &many[1]);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("deadline");
	TCase *tcase = tcase_create("deadline");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, setup, NULL);
	tcase_add_test(tcase, each_state_has_its_time);
	tcase_add_test(tcase, keep_and_set);
	tcase_add_test(tcase, twenty_thousand_in_order);
	tcase_add_test(tcase, time_that_was_lost_does_not_count);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed > 0;
}
