/*
 * client/subscription - one subscription over the connections it has one after another. Private to
 * the library. Nothing here waits.
 *
 * What the program polls is an epoll instance, made once. It holds the connection, which may come
 * and go, and a timer that is set to when the subscription needs care: when a connection is to be
 * made anew, or an answer is overdue. No event that came is kept back unread here, so the kernel's
 * word that there is something to read is enough.
 */
#ifndef CLIENT_SUBSCRIPTION_H
#define CLIENT_SUBSCRIPTION_H

#include <stdbool.h>
#include <stdint.h>

#include "client/feed.h"
#include "client/ledger.h"

/* What subscription_begin() found, besides errors. */
enum subscription_result {
	SUBSCRIPTION_OK = 0,
	SUBSCRIPTION_E_WAIT = 1, /* the answer is not there: again when epoll_fd is readable */
};

struct subscription {
	int epoll_fd; /* both or neither; -1: none */
	int timer_fd;
	/* Points in CLOCK_MONOTONIC. */
	int64_t timer_ns;    /* what the timer is set to; 0: not set */
	int64_t retry_ns;    /* no connection is made before */
	int64_t answer_ns;   /* by when what was begun must be there; 0: nothing was */
	int64_t on_since_ns; /* 0: this connection is not on yet */
	int backoff_ms;      /* the next pause before a connection is made anew */
	bool wants_room;     /* an ACK is due for which the socket had no room */
	uint8_t id[RNGD_PROTO_SUBSCRIBER_ID_BYTES];
	struct feed feed;
	struct ledger ledger;
};

/* No descriptors, not connected. */
void subscription_init(struct subscription *sub);

/*
 * Makes what is missing of descriptors and connection, and reads the answer to SUBSCRIBE. turn is
 * that of struct transport; not owned. 0, SUBSCRIPTION_E_WAIT, -EAGAIN: the daemon's backlog is
 * full; or an errno of feed_open(), feed_read(), epoll_create1(2), timerfd_create(2), epoll_ctl(2):
 * then it is not connected.
 */
int subscription_begin(struct subscription *sub, const char *path, const struct turn *turn);

/* Ends the connection of a subscription that did not begin in time. */
void subscription_stop(struct subscription *sub);

/* Makes epoll_fd readable until the next subscription_begin() that waits, or subscription_read().
 */
void subscription_wake(struct subscription *sub);

/* Are the two descriptors those that were made? A program may have closed and reused their numbers.
 */
bool subscription_is_ours(const struct subscription *sub);

/*
 * Reads what there is, up to an event that is new, which goes to *news, and keeps the connection in
 * order. 0; -EAGAIN: no event now; or what the program should know of, while it goes on: -EPROTO,
 * -EOPNOTSUPP, -EPROTONOSUPPORT, or an errno of connecting, which is tried again.
 */
int subscription_read(struct subscription *sub, const char *path, const struct turn *turn,
		      struct feed_news *news);

/* Says DONE, now or when it can. 0, or -EINVAL: no event of that generation was given. */
int subscription_acknowledge(struct subscription *sub, uint64_t generation);

/* Ends it and closes all, after a LEAVE if say_leave. */
void subscription_end(struct subscription *sub, bool say_leave);

/*
 * What is here belongs to somebody else: a parent process, or the program, which closed it. Closes
 * the copy of the connection. The epoll instance is left alone, since it cannot be told from
 * another.
 */
void subscription_forget(struct subscription *sub);

#endif
