/*
 * Owns: an entry for each user id that has a connection or a debt. May touch: memory, nothing else.
 * Never does: look at a clock, end the process, or make a request fail.
 */
#include "daemon/quota.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

_Static_assert((QUOTA_BUCKETS & (QUOTA_BUCKETS - 1)) == 0, "a mask picks the bucket");

#define PER_BYTE 1000 /* of a balance */

static struct quota_user **bucket_of(const struct quota *quota, uid_t uid)
{
	/* Neighbours, as a user's range of subordinate ids, spread evenly (Fibonacci hashing). */
	uint32_t hash = (uint32_t)uid * 2654435769u;

	return &quota->buckets[hash >> 16 & (QUOTA_BUCKETS - 1)];
}

/* A bucket holds a second's bytes, and one turn's in any case. */
static int64_t full_balance(const struct quota *quota)
{
	uint64_t bytes = quota->limits.rate_bytes;

	return (int64_t)(bytes > QUOTA_TURN_BYTES ? bytes : QUOTA_TURN_BYTES) * PER_BYTE;
}

/* One large turn from next to nothing, and then as much again for small ones as a bucket holds. */
static int64_t least_balance(const struct quota *quota)
{
	return -full_balance(quota) - (int64_t)QUOTA_TURN_BYTES * PER_BYTE;
}

/* What came in since. Time that goes backwards brings nothing. */
static void refill(const struct quota *quota, struct quota_user *user, int64_t now_ms)
{
	int64_t full = full_balance(quota), rate = (int64_t)quota->limits.rate_bytes;
	int64_t elapsed_ms = now_ms - user->balanced_ms;

	if (elapsed_ms <= 0)
		return;
	user->balanced_ms = now_ms;
	/* Divided and not multiplied: the product of a long time could overflow. */
	if (rate == 0 || elapsed_ms > (full - user->balance) / rate)
		user->balance = full;
	else
		user->balance += elapsed_ms * rate;
}

/* Has it taken more than a new entry would allow at once? */
static bool owes(const struct quota *quota, struct quota_user *user, int64_t now_ms)
{
	refill(quota, user, now_ms);
	return user->balance < full_balance(quota) || user->contributed_ms > now_ms;
}

static struct quota_user *find(const struct quota *quota, uid_t uid)
{
	struct quota_user *user;

	for (user = *bucket_of(quota, uid); user; user = user->next)
		if (user->uid == uid)
			return user;
	return NULL;
}

static struct quota_user *add(struct quota *quota, uid_t uid, int64_t now_ms)
{
	struct quota_user **bucket = bucket_of(quota, uid);
	struct quota_user *user = calloc(1, sizeof(*user));

	if (!user)
		return NULL;
	user->uid = uid;
	user->balance = full_balance(quota);
	user->balanced_ms = now_ms;
	list_init(&user->gone);
	list_init(&user->busy);
	list_init(&user->small);
	list_init(&user->large);
	user->next = *bucket;
	*bucket = user;
	quota->users++;
	return user;
}

static void forget(struct quota *quota, struct quota_user *user)
{
	struct quota_user **at = bucket_of(quota, user->uid);

	while (*at != user)
		at = &(*at)->next;
	*at = user->next;
	if (!list_empty(&user->gone))
		quota->gone_count--;
	list_remove(&user->gone);
	list_remove(&user->busy);
	quota->users--;
	free(user);
}

int quota_init(struct quota *quota, const struct quota_limits *limits)
{
	memset(quota, 0, sizeof(*quota));
	quota->limits = *limits;
	list_init(&quota->gone);
	list_init(&quota->busy);
	list_init(&quota->looked);
	quota->buckets = calloc(QUOTA_BUCKETS, sizeof(struct quota_user *));
	return quota->buckets ? 0 : -ENOMEM;
}

void quota_deinit(struct quota *quota)
{
	if (quota->buckets)
		for (size_t i = 0; i < QUOTA_BUCKETS; i++)
			while (quota->buckets[i])
				forget(quota, quota->buckets[i]);
	free(quota->buckets);
	memset(quota, 0, sizeof(*quota));
}

/* 0, QUOTA_E_ALL or QUOTA_E_UID. */
static int admit(const struct quota *quota, uint32_t has, enum quota_rank rank)
{
	static const uint32_t reserve[] = {
	    [QUOTA_ANYBODY] = 0,
	    [QUOTA_ROOT] = QUOTA_ROOT_RESERVE,
	    [QUOTA_CONTROL] = QUOTA_RESERVE,
	};
	const struct quota_limits *limits = &quota->limits;
	uint32_t left =
	    limits->connections > quota->connections ? limits->connections - quota->connections : 0;
	uint32_t may_have = left < limits->connections_per_uid ? left : limits->connections_per_uid;

	if (quota->connections >= limits->connections + reserve[rank])
		return QUOTA_E_ALL;
	if (rank == QUOTA_CONTROL || has < may_have + reserve[rank])
		return 0;
	return QUOTA_E_UID;
}

int quota_enter(struct quota *quota, uid_t uid, enum quota_rank rank, int64_t now_ms,
		struct quota_user **out)
{
	struct quota_user *user = find(quota, uid);
	int err = admit(quota, user ? user->connections : 0, rank);

	quota->refused_all += err == QUOTA_E_ALL;
	quota->refused_uid += err == QUOTA_E_UID;
	if (err)
		return err;
	if (!user)
		user = add(quota, uid, now_ms);
	if (!user)
		return -ENOMEM;
	if (!list_empty(&user->gone))
		quota->gone_count--;
	list_remove(&user->gone);
	user->connections++;
	quota->connections++;
	*out = user;
	return 0;
}

void quota_leave(struct quota *quota, struct quota_user *user, int64_t now_ms)
{
	quota->connections--;
	if (--user->connections > 0)
		return;
	if (!owes(quota, user, now_ms)) {
		forget(quota, user);
		return;
	}
	list_append(&quota->gone, &user->gone);
	quota->gone_count++;
	if (quota->gone_count > QUOTA_GONE_MAX)
		forget(quota, LIST_OF(quota->gone.next, struct quota_user, gone));
}

void quota_sweep(struct quota *quota, int64_t now_ms)
{
	struct list_link *link, *next;

	for (link = quota->gone.next; link != &quota->gone; link = next) {
		struct quota_user *user = LIST_OF(link, struct quota_user, gone);

		next = link->next;
		if (!owes(quota, user, now_ms))
			forget(quota, user);
	}
}

enum quota_turn quota_may(const struct quota *quota, struct quota_user *user, int64_t now_ms,
			  uint64_t pass)
{
	bool full = quota->large_pass == pass && quota->large_bytes >= QUOTA_LARGE_BYTES;
	enum quota_turn most = full ? QUOTA_SMALL : QUOTA_LARGE;

	if (user->pass == pass && user->pass_cost >= QUOTA_PASS_COST)
		return QUOTA_NOTHING;
	if (quota->limits.rate_bytes == 0)
		return most;
	refill(quota, user, now_ms);
	if (user->balance > 0)
		return most;
	return user->balance > least_balance(quota) ? QUOTA_SMALL : QUOTA_NOTHING;
}

void quota_charge(struct quota *quota, struct quota_user *user, const struct quota_cost *cost,
		  int64_t now_ms, uint64_t pass)
{
	const int64_t least = least_balance(quota) - (int64_t)QUOTA_TURN_BYTES * PER_BYTE;

	if (user->pass != pass) {
		user->pass = pass;
		user->pass_cost = 0;
	}
	user->pass_cost += QUOTA_TURN_COST + cost->made_bytes;
	if (quota->large_pass != pass) {
		quota->large_pass = pass;
		quota->large_bytes = 0;
	}
	/* By the measure that let it in: heads and texts make no small turn large. */
	if (cost->random_bytes > QUOTA_SMALL_BYTES)
		quota->large_bytes += cost->random_bytes;
	if (quota->limits.rate_bytes == 0)
		return;
	refill(quota, user, now_ms);
	user->balance -= (int64_t)cost->sent_bytes * PER_BYTE;
	/*
	 * A turn begins above the least, so this is never reached. A floor at the least itself
	 * would forgive every small turn there: one each millisecond, whatever the rate.
	 */
	if (user->balance < least)
		user->balance = least;
}

void quota_count(struct quota_user *user, uint64_t requests, uint64_t random_bytes)
{
	user->requests += requests;
	user->bytes += random_bytes;
}

size_t quota_busiest(const struct quota *quota, const struct quota_user **most, size_t max)
{
	size_t count = 0, at;

	for (size_t i = 0; i < QUOTA_BUCKETS; i++) {
		const struct quota_user *user;

		for (user = quota->buckets[i]; user; user = user->next) {
			if (count == max && (max == 0 || most[max - 1]->bytes >= user->bytes))
				continue;
			at = count < max ? count++ : max - 1;
			for (; at > 0 && most[at - 1]->bytes < user->bytes; at--)
				most[at] = most[at - 1];
			most[at] = user;
		}
	}
	return count;
}

void quota_put_off(struct quota *quota, struct quota_user *user)
{
	quota->waits++;
	user->waits++;
}

void quota_wait(struct quota *quota, struct quota_user *user, struct list_link *waiter, bool large)
{
	list_append(large ? &user->large : &user->small, waiter);
	if (list_empty(&user->busy))
		list_append(&quota->busy, &user->busy);
}

void quota_unwait(struct quota_user *user, struct list_link *waiter)
{
	list_remove(waiter);
	if (list_empty(&user->small) && list_empty(&user->large))
		list_remove(&user->busy);
}

/* The first that waits and may go, or NULL. */
static struct list_link *first_ready(const struct quota *quota, struct quota_user *user,
				     int64_t now_ms, uint64_t pass, bool all)
{
	enum quota_turn to = all ? QUOTA_LARGE : quota_may(quota, user, now_ms, pass);

	if (to >= QUOTA_SMALL && !list_empty(&user->small))
		return user->small.next;
	if (to >= QUOTA_LARGE && !list_empty(&user->large))
		return user->large.next;
	return NULL;
}

struct list_link *quota_next(struct quota *quota, int64_t now_ms, uint64_t pass, bool all)
{
	if (pass != quota->looked_pass || all) {
		list_splice(&quota->looked, &quota->busy);
		list_splice(&quota->busy, &quota->looked);
		quota->looked_pass = pass;
	}
	while (!list_empty(&quota->busy)) {
		struct quota_user *user = LIST_OF(quota->busy.next, struct quota_user, busy);
		struct list_link *waiter = first_ready(quota, user, now_ms, pass, all);

		if (!waiter) {
			list_append(&quota->looked, &user->busy);
			continue;
		}
		/* Behind the others, in the next pass too, where this one has no more room. */
		if (waiter == user->large.next)
			list_append(&quota->busy, &user->busy);
		quota_unwait(user, waiter);
		return waiter;
	}
	return NULL;
}

/* From the balance it has until it is above `least`. */
static int64_t rise_ms(const struct quota *quota, int64_t balance, int64_t least)
{
	int64_t rate = (int64_t)quota->limits.rate_bytes;

	return rate == 0 || balance > least ? 0 : (least - balance) / rate + 1;
}

/* Of the users listed, the soonest; -1: there is none. */
static int64_t soonest_ms(const struct quota *quota, const struct list_link *head, int64_t now_ms)
{
	int64_t soonest = -1;

	for (const struct list_link *link = head->next; link != head; link = link->next) {
		const struct quota_user *user = LIST_OF(link, const struct quota_user, busy);
		int64_t least = list_empty(&user->small) ? 0 : least_balance(quota);
		int64_t ms = rise_ms(quota, user->balance, least);

		/* Balanced a while ago: that much has passed already. */
		ms -= now_ms > user->balanced_ms ? now_ms - user->balanced_ms : 0;
		if (ms <= 0)
			return 0;
		if (soonest < 0 || ms < soonest)
			soonest = ms;
	}
	return soonest;
}

int64_t quota_next_in_ms(const struct quota *quota, int64_t now_ms)
{
	int64_t busy_ms = soonest_ms(quota, &quota->busy, now_ms);
	int64_t looked_ms = soonest_ms(quota, &quota->looked, now_ms);

	if (busy_ms < 0 || looked_ms < 0)
		return busy_ms < 0 ? looked_ms : busy_ms;
	return busy_ms < looked_ms ? busy_ms : looked_ms;
}

/* A bucket as a point in time: what is in it is the time that has not come yet. */
bool quota_contribute(struct quota_user *user, size_t bytes, int64_t now_ms)
{
	int64_t from_ms = user->contributed_ms > now_ms ? user->contributed_ms : now_ms;
	int64_t to_ms = from_ms + ((int64_t)bytes * 1000 + QUOTA_CONTRIBUTE_RATE_BYTES - 1) /
				      QUOTA_CONTRIBUTE_RATE_BYTES; /* none is free */

	if (to_ms - now_ms > QUOTA_CONTRIBUTE_BYTES * 1000 / QUOTA_CONTRIBUTE_RATE_BYTES)
		return false;
	user->contributed_ms = to_ms;
	return true;
}
