/*
 * daemon/peers - the connections as a crowd: who comes in, who waits for a turn, whose time is up.
 */
#ifndef DAEMON_PEERS_H
#define DAEMON_PEERS_H

#include <ev.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/deadline.h"
#include "daemon/limits.h"
#include "daemon/unread.h"
#include "daemon/quota.h"

/* Descriptors of our own: some twenty in use, and room for more. */
#define PEERS_OWN_FILES 32u

/* What the descriptor limit must leave at least. */
#define PEERS_MIN_CONNECTIONS 16u

#define PEERS_TOLD_MAX 1024u
#define PEERS_TOLD_MS  60000

struct peers {
	struct ev_loop *loop;
	struct quota quota;
	struct deadlines deadlines;
	struct unread unread;
	ev_timer resume_timer; /* by then a bucket has filled */
	ev_check resume_check; /* some wait for the next pass of the loop */
	ev_idle resume_idle;   /* meanwhile, so that the loop does not sleep */
	ev_timer expire_timer; /* more than one pass's worth were out of time */
	bool stopping;
	int64_t refusal_logged_ms;
	uint64_t refused_logged; /* refusals that the log has told of */
	int64_t told_since_ms;
	uint32_t told; /* refused connections that got a frame, since then */
};

/* 0 or a negative errno. Lowers limits->connections, with a warning, to what descriptors there are.
 */
int peers_init(struct peers *peers, struct ev_loop *loop, const struct limits *limits);

/* After the last connection; a zeroed struct is allowed. */
void peers_deinit(struct peers *peers);

/*
 * A connection came in. 0: *user is whose it is; quota_leave() when it ends. Else a positive
 * QUOTA_E_*, after one log line in ten seconds, or -ENOMEM.
 */
int peers_enter(struct peers *peers, uid_t uid, bool control, struct quota_user **user);

/* A connection waits in the quota's queue: wakes it when it may have its turn. */
void peers_waits(struct peers *peers);

/*
 * May one more connection that is refused be told so? PEERS_TOLD_MAX in PEERS_TOLD_MS are: what
 * they do not read is memory of ours, and nothing counts it.
 */
bool peers_may_tell(struct peers *peers);

/* Closes what is out of time and forgets what is not needed. Every second. */
void peers_tick(struct peers *peers);

/* Nobody waits any longer: each gets the rest of its frame at once. */
void peers_stop(struct peers *peers);

#endif
