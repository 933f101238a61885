/*
 * daemon/quota - who may connect, and whose turn must wait, by user id.
 *
 * Connections. A user id has at most limits.connections_per_uid, and never more than are left for
 * all the others together: each further greedy user finds half of what was there, so that the
 * last place is never taken by one who has many. A few places beyond limits.connections are kept
 * for root, and a few more for the control socket.
 *
 * Turns. Three things make one wait; nothing makes one fail.
 *  - The large ones: in one pass there is one, or so, of all users together. The next pass begins
 *    with the next user's. So a small request waits for some 200 KiB at most, however many read as
 *    much as they can. Small turns do not count here, or many of them would keep out all large
 * ones.
 *  - The share: in one pass of the loop the turns of one user id cost at most QUOTA_PASS_COST. The
 *    others wait for the next pass, behind everybody else's. So how long a peer waits depends on
 *    how many users are busy, and not on how many connections one of them has.
 *  - The rate, where one is set: a bucket for each user id that holds one second's bytes and can
 *    be overdrawn. A large turn needs a balance above nothing. A small one may overdraw by
 *    another second's bytes: small requests pass by large ones that wait, and wait only when
 *    the small ones alone are over the rate.
 *
 * Memory: one struct quota_user for each user id with a connection, and for at most
 * QUOTA_GONE_MAX whose bucket is not yet full again, so that a new connection is no new bucket.
 *
 * No descriptor, no loop, no clock: the caller says what time it is and which pass, from 1 on.
 */
#ifndef DAEMON_QUOTA_H
#define DAEMON_QUOTA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/list.h"

/* Places beyond the limit: for root and the control socket, and those for the latter alone. */
#define QUOTA_ROOT_RESERVE    8u
#define QUOTA_CONTROL_RESERVE 8u
#define QUOTA_RESERVE         (QUOTA_ROOT_RESERVE + QUOTA_CONTROL_RESERVE)

/* Above what any system gives; sums stay far from overflow. */
#define QUOTA_CONNECTIONS_MAX (1u << 20)

/* Bytes a second: below, one large turn would be half a minute's worth; above, sums overflow. */
#define QUOTA_RATE_MIN_BYTES 4096u
#define QUOTA_RATE_MAX_BYTES (UINT64_C(1) << 40)

/* Random bytes in a turn up to which it is small; an answer in one frame, in every version. */
#define QUOTA_SMALL_BYTES 4096u

/* Of one turn, all told: what a bucket holds at least. */
#define QUOTA_TURN_BYTES (160u << 10)

/*
 * What a user id's turns may cost in one pass, in bytes: 64 small ones, some fewer with a large
 * one. A turn costs its bytes, and this for its system calls.
 */
#define QUOTA_PASS_COST (512u << 10)
#define QUOTA_TURN_COST 8192u

/*
 * No large turn begins in a pass that made so many bytes in large ones. So a pass has one turn of a
 * whole frame, or some of frames cut to the room or of requests that are only just large.
 */
#define QUOTA_LARGE_BYTES (64u << 10)

/* User ids without a connection that are remembered for what they overdrew. */
#define QUOTA_GONE_MAX 1024u

/* What one user id may contribute at once, in bytes, and in each second after that. */
#define QUOTA_CONTRIBUTE_BYTES      4096
#define QUOTA_CONTRIBUTE_RATE_BYTES 1024

#define QUOTA_BUCKETS 4096u

enum quota_rank {
	QUOTA_ANYBODY,
	QUOTA_ROOT,    /* user id 0 */
	QUOTA_CONTROL, /* came by the control socket, whoever it is */
};

/* Positive results of quota_enter(). */
enum {
	QUOTA_E_ALL = 1, /* as many connections as there may be */
	QUOTA_E_UID = 2, /* as many as this user id may have */
};

/* What a turn may bring now. */
enum quota_turn {
	QUOTA_NOTHING,
	QUOTA_SMALL,
	QUOTA_LARGE,
};

struct quota_limits {
	uint32_t connections; /* in all, QUOTA_RESERVE not counted; 1 to QUOTA_CONNECTIONS_MAX */
	uint32_t connections_per_uid; /* 1 or more */
	uint64_t rate_bytes;          /* a second and user id; 0: any number */
};

struct quota_user {
	struct quota_user *next;       /* in its bucket */
	struct list_link gone;         /* in quota.gone while it has no connection */
	struct list_link busy;         /* in quota.busy or .looked while a connection of it waits */
	struct list_link small, large; /* its connections that wait, first come first served */
	uid_t uid;
	uint32_t connections;
	int64_t balance;        /* thousandths of a byte: rate times ms, without rounding */
	int64_t balanced_ms;    /* when it was so */
	uint64_t pass;          /* the last in which it had a turn */
	uint64_t pass_cost;     /* of its turns in that pass */
	int64_t contributed_ms; /* by then what it contributed is paid for */
	/* Since this entry was made: what STATUS shows of the user. */
	uint64_t requests; /* answered */
	uint64_t bytes;    /* random ones that were taken */
	uint64_t waits;    /* turns put off */
};

struct quota {
	struct quota_limits limits;
	struct quota_user **buckets; /* QUOTA_BUCKETS; by user id */
	struct list_link gone;       /* longest gone first */
	struct list_link busy;       /* of whom a connection waits; whose turn is next is first */
	struct list_link looked;     /* of these, those with nothing more in looked_pass */
	uint64_t looked_pass;
	uint64_t large_pass;  /* the last with a turn */
	uint64_t large_bytes; /* of its large turns */
	uint32_t connections;
	uint32_t users; /* entries, those gone included */
	uint32_t gone_count;
	uint64_t refused_all;
	uint64_t refused_uid;
	uint64_t waits; /* turns put off */
};

/* 0 or -ENOMEM. The limits must be within their bounds. */
int quota_init(struct quota *quota, const struct quota_limits *limits);

/* Frees every entry; a zeroed struct is allowed. */
void quota_deinit(struct quota *quota);

/*
 * A connection of uid comes in. 0: counted, and *user is whose it is, until quota_leave().
 * QUOTA_E_ALL, QUOTA_E_UID: it must not. -ENOMEM.
 */
int quota_enter(struct quota *quota, uid_t uid, enum quota_rank rank, int64_t now_ms,
		struct quota_user **user);

/* It has gone. user may not be used for that connection any more. */
void quota_leave(struct quota *quota, struct quota_user *user, int64_t now_ms);

/* Forgets who has no connection and a full bucket. To be called every second or so. */
void quota_sweep(struct quota *quota, int64_t now_ms);

/* What a turn of this user id may bring. */
enum quota_turn quota_may(const struct quota *quota, struct quota_user *user, int64_t now_ms,
			  uint64_t pass);

/* What a turn took. Each at most CONN_SCRATCH_BYTES. */
struct quota_cost {
	size_t sent_bytes;   /* the peer took these */
	size_t made_bytes;   /* for it, all told */
	size_t random_bytes; /* of them; more than QUOTA_SMALL_BYTES: the turn was a large one */
};

/* A turn is over. */
void quota_charge(struct quota *quota, struct quota_user *user, const struct quota_cost *cost,
		  int64_t now_ms, uint64_t pass);

/* May this user contribute so many bytes now? If so, they are counted. */
bool quota_contribute(struct quota_user *user, size_t bytes, int64_t now_ms);

/* What was answered to this user, for the record alone. */
void quota_count(struct quota_user *user, uint64_t requests, uint64_t random_bytes);

/*
 * The users that took most bytes, the first of them first, into most[0] to most[max - 1]. How many
 * there are. Valid until one of them leaves.
 */
size_t quota_busiest(const struct quota *quota, const struct quota_user **most, size_t max);

/* A turn of this user is put off, for the record alone. */
void quota_put_off(struct quota *quota, struct quota_user *user);

/* Puts a connection of user at the end of its queue: those that need QUOTA_LARGE, or the others. */
void quota_wait(struct quota *quota, struct quota_user *user, struct list_link *waiter, bool large);

/* Takes a connection out of its queue; in none: no matter. Before quota_leave(). */
void quota_unwait(struct quota_user *user, struct list_link *waiter);

/*
 * Takes out the next connection that may have its turn in this pass, user after user, small turns
 * before large ones; or with `all` any that waits. NULL: there is none (more) in this pass.
 */
struct list_link *quota_next(struct quota *quota, int64_t now_ms, uint64_t pass, bool all);

/* Ms until some waiting connection may have its turn: 0 in the next pass; -1: none waits. */
int64_t quota_next_in_ms(const struct quota *quota, int64_t now_ms);

#endif
