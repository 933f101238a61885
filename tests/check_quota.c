/*
 * check_quota - who is let in, who waits and for how long, with a clock and passes of the test's
 * own. Owns: one quota at a time. May touch: nothing else. Never does: wait.
 */
#include <check.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/quota.h"

#define ALICE 1000u
#define BOB   1001u

#define WAITERS 100

static struct quota quota;

static void start(uint32_t connections, uint32_t per_uid, uint64_t rate)
{
	const struct quota_limits limits = {connections, per_uid, rate};

	ck_assert_int_eq(quota_init(&quota, &limits), 0);
}

static void teardown(void)
{
	quota_deinit(&quota);
	quota_deinit(&quota); /* a zeroed struct is allowed */
}

static int enter(uid_t uid, enum quota_rank rank)
{
	struct quota_user *user;

	return quota_enter(&quota, uid, rank, 0, &user);
}

static struct quota_user *entered(uid_t uid, int64_t now_ms)
{
	struct quota_user *user;

	ck_assert_int_eq(quota_enter(&quota, uid, QUOTA_ANYBODY, now_ms, &user), 0);
	return user;
}

/* A turn of random bytes alone. */
static void charge(struct quota_user *user, size_t sent_bytes, size_t made_bytes, int64_t now_ms,
		   uint64_t pass)
{
	const struct quota_cost cost = {sent_bytes, made_bytes, made_bytes};

	quota_charge(&quota, user, &cost, now_ms, pass);
}

/* How many get in before one is refused; *err says why. */
static uint32_t fill(uid_t uid, enum quota_rank rank, int *err)
{
	uint32_t n = 0;

	while ((*err = enter(uid, rank)) == 0)
		n++;
	return n;
}

START_TEST(one_uid_has_its_share)
{
	int err;

	start(1000, 100, 0);
	ck_assert_uint_eq(fill(ALICE, QUOTA_ANYBODY, &err), 100);
	ck_assert_int_eq(err, QUOTA_E_UID);
	ck_assert_uint_eq(fill(BOB, QUOTA_ANYBODY, &err), 100);
	ck_assert_uint_eq(quota.users, 2);
	ck_assert_uint_eq(quota.connections, 200);
	ck_assert_uint_eq(quota.refused_uid, 2);
	ck_assert_uint_eq(quota.refused_all, 0);
}
END_TEST

/* Whatever the share: never more than is left, so that each greedy one halves it. */
START_TEST(nobody_has_more_than_is_left)
{
	uint32_t left = 1024;
	int err;

	start(1024, 1024, 0);
	for (uid_t uid = 1; uid <= 10; uid++) {
		ck_assert_uint_eq(fill(uid, QUOTA_ANYBODY, &err), left / 2);
		ck_assert_int_eq(err, QUOTA_E_UID);
		left -= left / 2;
	}
	ck_assert_uint_eq(left, 1);
	ck_assert_int_eq(enter(500, QUOTA_ANYBODY), 0);
	ck_assert_int_eq(enter(501, QUOTA_ANYBODY), QUOTA_E_ALL);
}
END_TEST

START_TEST(one_place_is_given)
{
	start(1, 1, 0);
	ck_assert_int_eq(enter(ALICE, QUOTA_ANYBODY), 0);
	ck_assert_int_eq(enter(BOB, QUOTA_ANYBODY), QUOTA_E_ALL);
}
END_TEST

/* Full to the brim: root gets in, and when root has used that up, the control socket still. */
START_TEST(root_and_control_always_get_in)
{
	int err;

	start(64, 64, 0);
	for (uid_t uid = 1; uid <= 64; uid++)
		ck_assert_int_eq(enter(uid, QUOTA_ANYBODY), 0);
	ck_assert_int_eq(enter(100, QUOTA_ANYBODY), QUOTA_E_ALL);
	ck_assert_uint_eq(fill(0, QUOTA_ROOT, &err), QUOTA_ROOT_RESERVE);
	ck_assert_uint_eq(fill(ALICE, QUOTA_CONTROL, &err), QUOTA_CONTROL_RESERVE);
	ck_assert_int_eq(err, QUOTA_E_ALL);
	ck_assert_uint_eq(quota.connections, 64 + QUOTA_RESERVE);
}
END_TEST

/* Root's own share does not shut the control socket, and is a share all the same. */
START_TEST(root_at_its_share)
{
	int err;

	start(1000, 10, 0);
	ck_assert_uint_eq(fill(0, QUOTA_ROOT, &err), 10 + QUOTA_ROOT_RESERVE);
	ck_assert_int_eq(err, QUOTA_E_UID);
	for (int i = 0; i < 30; i++)
		ck_assert_int_eq(enter(0, QUOTA_CONTROL), 0);
	ck_assert_int_eq(enter(ALICE, QUOTA_ANYBODY), 0);
}
END_TEST

START_TEST(who_leaves_makes_room_and_vanishes)
{
	struct quota_user *users[5];

	start(100, 5, 0);
	for (int i = 0; i < 5; i++)
		users[i] = entered(ALICE, 0);
	ck_assert_int_eq(enter(ALICE, QUOTA_ANYBODY), QUOTA_E_UID);
	quota_leave(&quota, users[0], 1);
	ck_assert_int_eq(enter(ALICE, QUOTA_ANYBODY), 0);
	for (int i = 0; i < 5; i++)
		quota_leave(&quota, users[i], 1);
	ck_assert_uint_eq(quota.users, 0);
	ck_assert_uint_eq(quota.connections, 0);
}
END_TEST

#define RATE (1u << 20)

/* A new connection is no new bucket; a full bucket is forgotten. */
START_TEST(a_debt_outlives_its_connections)
{
	struct quota_user *user;

	start(100, 10, RATE);
	user = entered(ALICE, 0);
	for (int i = 0; i < 10; i++)
		charge(user, 131072, 131072, 0, 1);
	ck_assert_int_eq(quota_may(&quota, user, 0, 2), QUOTA_SMALL);
	quota_leave(&quota, user, 0);
	ck_assert_uint_eq(quota.users, 1);
	user = entered(ALICE, 0);
	ck_assert_uint_eq(quota.users, 1);
	ck_assert_uint_eq(quota.gone_count, 0);
	ck_assert_int_eq(quota_may(&quota, user, 0, 2), QUOTA_SMALL);
	quota_leave(&quota, user, 0);
	quota_sweep(&quota, 1000);
	ck_assert_uint_eq(quota.users, 1);
	quota_sweep(&quota, 1251); /* 1.25 seconds' worth were taken */
	ck_assert_uint_eq(quota.users, 0);
	ck_assert_uint_eq(quota.gone_count, 0);
}
END_TEST

/* So much at once, then so much a second: none is free, and nothing is saved up beyond it. */
START_TEST(contributions_have_a_rate)
{
	struct quota_user *user;
	int bytes = 0;

	start(100, 10, 0);
	user = entered(ALICE, 0);
	for (int i = 0; i < 4; i++)
		ck_assert(quota_contribute(user, 1024, 0));
	ck_assert(!quota_contribute(user, 1, 0));
	ck_assert(quota_contribute(user, 1, 1));
	ck_assert(!quota_contribute(user, 1, 1));
	ck_assert(!quota_contribute(user, 1024, 1000));
	ck_assert(quota_contribute(user, 1024, 1001));
	ck_assert(!quota_contribute(user, 1, 1001));
	ck_assert(!quota_contribute(user, 1, 0)); /* a clock that goes backwards gives nothing */
	/* Each that is refused costs nothing. */
	for (int i = 0; i < 1000; i++)
		ck_assert(!quota_contribute(user, 1024, 1002));
	ck_assert(quota_contribute(user, 1024, 2001));
	ck_assert(!quota_contribute(user, 4097, 1000000));
	ck_assert(quota_contribute(user, 4096, 1000000));
	ck_assert(!quota_contribute(user, 1, 1000000));
	while (quota_contribute(user, 1, 2000000))
		ck_assert_int_le(++bytes, 4096);
	ck_assert_int_ge(bytes, 4000);
	ck_assert(quota_contribute(user, 4096, INT64_MAX / 2));
	ck_assert(quota_contribute(entered(BOB, 0), 4096, 0)); /* and each has a rate of its own */
}
END_TEST

/* A new connection is no new bucket; what is paid for is forgotten. */
START_TEST(a_contributor_outlives_its_connections)
{
	struct quota_user *user;

	start(100, 10, 0);
	user = entered(ALICE, 0);
	ck_assert(quota_contribute(user, 4096, 0));
	quota_leave(&quota, user, 0);
	ck_assert_uint_eq(quota.users, 1);
	quota_sweep(&quota, 3999);
	ck_assert_uint_eq(quota.users, 1);
	user = entered(ALICE, 3000);
	ck_assert_uint_eq(quota.users, 1);
	ck_assert(!quota_contribute(user, 3073, 3000));
	ck_assert(quota_contribute(user, 3072, 3000));
	quota_leave(&quota, user, 3000);
	quota_sweep(&quota, 6999);
	ck_assert_uint_eq(quota.users, 1);
	quota_sweep(&quota, 7000);
	ck_assert_uint_eq(quota.users, 0);
}
END_TEST

START_TEST(the_gone_are_bounded)
{
	start(100, 10, RATE);
	for (uid_t uid = 1; uid <= 5 * QUOTA_GONE_MAX; uid++) {
		struct quota_user *user = entered(uid, 0);

		charge(user, 1000, 1000, 0, 1);
		quota_leave(&quota, user, 0);
		ck_assert_uint_le(quota.users, QUOTA_GONE_MAX);
	}
	ck_assert_uint_eq(quota.gone_count, QUOTA_GONE_MAX);
	/* The newest are those that stay. */
	entered(5 * QUOTA_GONE_MAX, 0);
	ck_assert_uint_eq(quota.users, QUOTA_GONE_MAX);
	entered(1, 0);
	ck_assert_uint_eq(quota.users, QUOTA_GONE_MAX + 1);
}
END_TEST

/* Over a minute of greed, large turns bring the rate, within one bucket and one turn. */
START_TEST(large_turns_keep_to_the_rate)
{
	struct quota_user *user;
	uint64_t sent = 0, pass = 0;

	start(100, 10, RATE);
	user = entered(ALICE, 0);
	for (int64_t now_ms = 0; now_ms < 60000; now_ms++)
		while (quota_may(&quota, user, now_ms, ++pass) == QUOTA_LARGE) {
			charge(user, 131072, 131072, now_ms, pass);
			sent += 131072;
		}
	ck_assert_uint_ge(sent, 60 * (uint64_t)RATE);
	ck_assert_uint_le(sent, 61 * (uint64_t)RATE + 131072);
}
END_TEST

/* Over a minute of small turns alone: the rate, and what a bucket is worth. */
START_TEST(small_turns_keep_to_the_rate)
{
	struct quota_user *user;
	uint64_t sent = 0, pass = 0;

	start(100, 10, RATE);
	user = entered(ALICE, 0);
	for (int64_t now_ms = 0; now_ms < 60000; now_ms++)
		while (quota_may(&quota, user, now_ms, ++pass) != QUOTA_NOTHING) {
			charge(user, QUOTA_SMALL_BYTES, QUOTA_SMALL_BYTES, now_ms, pass);
			sent += QUOTA_SMALL_BYTES;
		}
	ck_assert_uint_ge(sent, 60 * (uint64_t)RATE);
	ck_assert_uint_le(sent, 62 * (uint64_t)RATE + QUOTA_TURN_BYTES + QUOTA_SMALL_BYTES);
}
END_TEST

/* Large turns stop at nothing; small ones then have a second's bytes, at once. */
START_TEST(small_turns_pass_by_large_ones)
{
	struct quota_user *user;
	uint64_t sent = 0, pass = 0;

	start(100, 10, RATE);
	user = entered(ALICE, 0);
	while (quota_may(&quota, user, 0, ++pass) == QUOTA_LARGE)
		charge(user, QUOTA_TURN_BYTES, QUOTA_TURN_BYTES, 0, pass);
	while (quota_may(&quota, user, 0, ++pass) == QUOTA_SMALL) {
		charge(user, QUOTA_SMALL_BYTES, QUOTA_SMALL_BYTES, 0, pass);
		sent += QUOTA_SMALL_BYTES;
	}
	ck_assert_uint_ge(sent, RATE);
	ck_assert_int_eq(quota_may(&quota, user, 0, ++pass), QUOTA_NOTHING);
	/* The small ones alone over the rate: they wait, for a moment. */
	ck_assert_int_eq(quota_may(&quota, user, 5, ++pass), QUOTA_SMALL);
}
END_TEST

/* Time that jumps, either way, and numbers at their bounds. */
START_TEST(nothing_overflows)
{
	static const uint64_t rates[] = {QUOTA_RATE_MIN_BYTES, RATE, QUOTA_RATE_MAX_BYTES};
	static const int64_t times[] = {0, INT64_MAX / 2, 5, -1000000, INT64_MAX / 2, 1};

	for (size_t r = 0; r < 3; r++) {
		struct quota_user *user;
		int64_t full;

		start(QUOTA_CONNECTIONS_MAX, QUOTA_CONNECTIONS_MAX, rates[r]);
		user = entered(UINT32_MAX, 0);
		full = user->balance;
		for (size_t t = 0; t < 6; t++)
			for (uint64_t pass = 1; pass < 2000; pass++) {
				charge(user, QUOTA_TURN_BYTES, QUOTA_TURN_BYTES, times[t], pass);
				quota_may(&quota, user, times[t], pass);
				ck_assert_int_le(user->balance, full);
				ck_assert_int_ge(user->balance,
						 -full - (int64_t)QUOTA_TURN_BYTES * 2000);
			}
		ck_assert_int_eq(quota_may(&quota, user, INT64_MAX, 1u << 31), QUOTA_LARGE);
		quota_deinit(&quota);
	}
	start(1, 1, 0);
}
END_TEST

/* The pass: large turns and small ones are cut off, and the next pass has as many again. */
START_TEST(a_pass_has_an_end)
{
	struct quota_user *user;
	unsigned turns = 0;

	start(100, 10, 0);
	user = entered(ALICE, 0);
	for (; quota_may(&quota, user, 0, 1) != QUOTA_NOTHING; turns++)
		charge(user, 0, 131072, 0, 1);
	ck_assert_uint_eq(turns, 4);
	for (turns = 0; quota_may(&quota, user, 0, 2) != QUOTA_NOTHING; turns++)
		charge(user, 52, 52, 0, 2);
	ck_assert_uint_ge(turns, 60);
	ck_assert_uint_le(turns, 64);
	ck_assert_int_eq(quota_may(&quota, entered(BOB, 0), 0, 2), QUOTA_LARGE);
}
END_TEST

/* One large turn in a pass, of all users, one after another; small ones pass by. */
START_TEST(large_turns_take_turns)
{
	struct list_link large[2][3];
	struct quota_user *users[2];

	start(1000, 500, 0);
	for (int n = 0; n < 2; n++) {
		users[n] = entered(ALICE + (uid_t)n, 0);
		for (int i = 0; i < 3; i++) {
			list_init(&large[n][i]);
			quota_wait(&quota, users[n], &large[n][i], true);
		}
	}
	for (uint64_t pass = 1; pass <= 6; pass++) {
		size_t n = (pass - 1) % 2, i = (pass - 1) / 2;

		ck_assert_ptr_eq(quota_next(&quota, 0, pass, false), &large[n][i]);
		charge(users[n], 0, 131072, 0, pass);
		ck_assert_ptr_null(quota_next(&quota, 0, pass, false));
		/* Nor one that did not wait, of anybody; but a small one may go. */
		ck_assert_int_eq(quota_may(&quota, users[0], 0, pass), QUOTA_SMALL);
		ck_assert_int_eq(quota_may(&quota, users[1], 0, pass), QUOTA_SMALL);
		charge(users[1 - n], 52, 52, 0, pass);
	}
	ck_assert_int_eq(quota_next_in_ms(&quota, 0), -1);
	/* Of those just above small there are several; small ones do not count. */
	for (uint64_t i = 0; i < QUOTA_LARGE_BYTES / 8192; i++) {
		charge(users[1], 52, 52, 0, 7);
		ck_assert_int_eq(quota_may(&quota, users[0], 0, 7), QUOTA_LARGE);
		charge(users[0], 0, 8192, 0, 7);
	}
	ck_assert_int_eq(quota_may(&quota, users[0], 0, 7), QUOTA_SMALL);
}
END_TEST

/* However many small turns of one user there are, with all their heads: another's large one goes.
 */
START_TEST(small_turns_keep_no_large_one_out)
{
	const struct quota_cost cost = {0, QUOTA_SMALL_BYTES + 5120, QUOTA_SMALL_BYTES};
	struct list_link small[WAITERS], large, *link;
	struct quota_user *many, *one;

	start(1000, 500, 0);
	many = entered(ALICE, 0);
	one = entered(BOB, 0);
	for (int i = 0; i < WAITERS; i++) {
		list_init(&small[i]);
		quota_wait(&quota, many, &small[i], false);
	}
	list_init(&large);
	for (uint64_t pass = 1; pass <= 10; pass++) {
		bool had = false;

		quota_wait(&quota, one, &large, true);
		while ((link = quota_next(&quota, 0, pass, false))) {
			had |= link == &large;
			quota_charge(&quota, link == &large ? one : many, &cost, 0, pass);
			if (link != &large)
				quota_wait(&quota, many, link, false);
		}
		ck_assert_msg(had, "not in pass %u", (unsigned)pass);
	}
	quota_unwait(one, &large);
	for (int i = 0; i < WAITERS; i++)
		quota_unwait(many, &small[i]);
}
END_TEST

/* First come, first served; user after user; small ones first; each only as far as it may. */
START_TEST(order_of_those_who_wait)
{
	struct list_link alice[WAITERS], bob[2], *link;
	struct quota_user *a, *b;
	int seen_alice = 0, seen_bob = 0;

	start(1000, 500, 0);
	a = entered(ALICE, 0);
	b = entered(BOB, 0);
	for (int i = 0; i < WAITERS; i++) {
		list_init(&alice[i]);
		quota_wait(&quota, a, &alice[i], i % 2 == 0);
	}
	for (int i = 0; i < 2; i++) {
		list_init(&bob[i]);
		quota_wait(&quota, b, &bob[i], true);
	}
	ck_assert_int_eq(quota_next_in_ms(&quota, 0), 0);
	/* Alice's small ones first, in order, as far as her share goes; then bob's, two of 32 kB.
	 */
	while ((link = quota_next(&quota, 0, 7, false))) {
		bool is_bob = link == &bob[0] || link == &bob[1];

		if (is_bob)
			ck_assert_ptr_eq(link, &bob[seen_bob++]);
		else
			ck_assert_ptr_eq(link, &alice[1 + 2 * seen_alice++]);
		ck_assert(list_empty(link));
		for (int i = 0; i < (is_bob ? 1 : 16); i++)
			charge(is_bob ? b : a, 0, is_bob ? 32768 : 52, 0, 7);
	}
	ck_assert_int_eq(seen_alice, 4);
	ck_assert_int_eq(seen_bob, 2);
	ck_assert_int_eq(quota_next_in_ms(&quota, 0), 0);
	ck_assert_ptr_null(quota_next(&quota, 0, 7, false));
	/* At a stop all of them are let go, large ones included. */
	for (seen_alice = 4; (link = quota_next(&quota, 0, 7, true)); seen_alice++)
		ck_assert(link >= alice && link < alice + WAITERS);
	ck_assert_int_eq(seen_alice, WAITERS);
	ck_assert_int_eq(quota_next_in_ms(&quota, 0), -1);
}
END_TEST

/* The time named is when one may go: not earlier, not later. */
START_TEST(next_in_ms_is_exact)
{
	struct list_link large, small;
	struct quota_user *user;
	int64_t ms;

	start(100, 10, RATE);
	user = entered(ALICE, 0);
	list_init(&large);
	list_init(&small);
	charge(user, QUOTA_TURN_BYTES, 0, 0, 1);
	while (quota_may(&quota, user, 0, 1) == QUOTA_LARGE)
		charge(user, QUOTA_TURN_BYTES, 0, 0, 1);
	quota_wait(&quota, user, &large, true);
	ms = quota_next_in_ms(&quota, 0);
	ck_assert_int_gt(ms, 0);
	ck_assert_int_eq(quota_next_in_ms(&quota, ms - 1), 1);
	ck_assert_ptr_null(quota_next(&quota, ms - 1, 2, false));
	quota_wait(&quota, user, &small, false);
	ck_assert_int_eq(quota_next_in_ms(&quota, ms - 1), 0);
	ck_assert_ptr_eq(quota_next(&quota, ms - 1, 3, false), &small);
	ck_assert_ptr_null(quota_next(&quota, ms - 1, 3, false));
	ck_assert_ptr_eq(quota_next(&quota, ms, 4, false), &large);
	ck_assert_int_eq(quota_next_in_ms(&quota, ms), -1);
}
END_TEST

START_TEST(a_waiter_that_ends_is_taken_out)
{
	struct list_link one, two;
	struct quota_user *user;

	start(100, 10, 0);
	user = entered(ALICE, 0);
	list_init(&one);
	list_init(&two);
	quota_wait(&quota, user, &one, false);
	quota_wait(&quota, user, &two, true);
	quota_unwait(user, &one);
	quota_unwait(user, &one);
	ck_assert_ptr_eq(quota_next(&quota, 0, 1, false), &two);
	ck_assert_ptr_null(quota_next(&quota, 0, 2, false));
	quota_leave(&quota, user, 0);
	ck_assert_uint_eq(quota.users, 0);
}
END_TEST

/* Ten thousand uids, coming and going in a fixed disorder: the counts stay true. */
START_TEST(many_uids)
{
	enum { UIDS = 10000 };
	static struct quota_user *users[UIDS];
	static uint32_t has[UIDS];
	uint32_t state = 1, total = 0;

	start(QUOTA_CONNECTIONS_MAX, 8, RATE);
	memset(users, 0, sizeof(users));
	memset(has, 0, sizeof(has));
	for (int64_t now_ms = 0; now_ms < 200000; now_ms++) {
		uint32_t i;

		state = state * 1664525u + 1013904223u;
		i = (state >> 8) % UIDS;
		if (state >> 31 && has[i] > 0) {
			charge(users[i], 1000, 1000, now_ms, 1);
			quota_leave(&quota, users[i], now_ms);
			has[i]--;
			total--;
		} else if (has[i] < 8) {
			users[i] = entered(100000 + i, now_ms);
			ck_assert_uint_eq(users[i]->uid, 100000 + i);
			has[i]++;
			total++;
		} else {
			ck_assert_int_eq(enter(100000 + i, QUOTA_ANYBODY), QUOTA_E_UID);
		}
		ck_assert_uint_eq(quota.connections, total);
	}
	for (uint32_t i = 0; i < UIDS; i++)
		for (; has[i] > 0; has[i]--)
			quota_leave(&quota, users[i], 1000000);
	quota_sweep(&quota, 1000000);
	ck_assert_uint_eq(quota.users, 0);
}
END_TEST

/* What STATUS shows: each user's own, and who took most, first. */
START_TEST(who_took_most)
{
	struct quota_user *users[6];
	const struct quota_user *most[3];

	start(1000, 1000, 0);
	ck_assert_uint_eq(quota_busiest(&quota, most, 3), 0);
	for (uid_t uid = 1; uid <= 5; uid++) {
		users[uid] = entered(uid, 0);
		quota_count(users[uid], uid, uid * 100);
		ck_assert_uint_eq(quota_busiest(&quota, most, 3), uid < 3 ? uid : 3);
		ck_assert_ptr_eq(most[0], users[uid]);
	}
	quota_count(users[2], 1, 1000);
	ck_assert_uint_eq(quota_busiest(&quota, most, 3), 3);
	ck_assert_ptr_eq(most[0], users[2]);
	ck_assert_ptr_eq(most[1], users[5]);
	ck_assert_ptr_eq(most[2], users[4]);
	ck_assert_uint_eq(users[2]->requests, 3);
	ck_assert_uint_eq(users[2]->bytes, 1200);
	ck_assert_uint_eq(quota_busiest(&quota, most, 0), 0);
	quota_leave(&quota, users[2], 0);
	ck_assert_uint_eq(quota_busiest(&quota, most, 3), 3);
	ck_assert_ptr_eq(most[0], users[5]);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("quota");
	TCase *tcase = tcase_create("quota");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, NULL, teardown);
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, one_uid_has_its_share);
	tcase_add_test(tcase, who_took_most);
	tcase_add_test(tcase, nobody_has_more_than_is_left);
	tcase_add_test(tcase, one_place_is_given);
	tcase_add_test(tcase, root_and_control_always_get_in);
	tcase_add_test(tcase, root_at_its_share);
	tcase_add_test(tcase, who_leaves_makes_room_and_vanishes);
	tcase_add_test(tcase, a_debt_outlives_its_connections);
	tcase_add_test(tcase, contributions_have_a_rate);
	tcase_add_test(tcase, a_contributor_outlives_its_connections);
	tcase_add_test(tcase, the_gone_are_bounded);
	tcase_add_test(tcase, large_turns_keep_to_the_rate);
	tcase_add_test(tcase, small_turns_keep_to_the_rate);
	tcase_add_test(tcase, small_turns_pass_by_large_ones);
	tcase_add_test(tcase, nothing_overflows);
	tcase_add_test(tcase, a_pass_has_an_end);
	tcase_add_test(tcase, large_turns_take_turns);
	tcase_add_test(tcase, small_turns_keep_no_large_one_out);
	tcase_add_test(tcase, order_of_those_who_wait);
	tcase_add_test(tcase, next_in_ms_is_exact);
	tcase_add_test(tcase, a_waiter_that_ends_is_taken_out);
	tcase_add_test(tcase, many_uids);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed > 0;
}
