/*
 * client/errand - one call from its turn to its end: connected where needed, repeated from the
 * start while that can help, zeroes if it fails. Private to the library.
 */
#ifndef CLIENT_ERRAND_H
#define CLIENT_ERRAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/session.h"

struct rngclient;

/* What one call is about. */
struct errand {
	int (*exchange)(struct session *session, const struct errand *errand, int64_t deadline_ns);
	bool guarded; /* needs the page */
	uint8_t opcode;
	void *out; /* zeroed when the call fails */
	size_t out_bytes;
	const void *in;
	size_t in_bytes;
	uint64_t *generation; /* for an answer that has one beside out; counts on success alone */
};

/* The whole of it. 0 or a negative errno. */
int errand_run(struct rngclient *client, const struct errand *errand, int64_t deadline_ns);

/*
 * Connects where needed, and sees to the page where it is needed. Only with the handle's turn, or
 * before anybody else knows of the handle. 0, REPLY_E_AGAIN or a negative errno.
 */
int errand_prepare(struct rngclient *client, const struct errand *errand, int64_t deadline_ns);

/*
 * Is the daemon gone, being replaced, or without room for us? Then it is worth another try before
 * the deadline.
 */
bool errand_is_absence(int err);

/*
 * Waits before another try. Not the first time, when *pause_ms is 0: a restarted daemon is there
 * already. 0, or -ETIMEDOUT if the deadline has come.
 */
int errand_pause(int *pause_ms, int64_t deadline_ns);

#endif
