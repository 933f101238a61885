/*
 * client/session - one connection to the daemon and what is asked over it, each time from question
 * to answer. Private to the library.
 *
 * All session_ask_*() return 0, a negative errno, or an enum session_result. After a negative errno
 * the connection must not be used again: session_drop().
 */
#ifndef CLIENT_SESSION_H
#define CLIENT_SESSION_H

#include <stddef.h>
#include <stdint.h>

#include "client/guard.h"
#include "client/reply.h"
#include "client/transport.h"

/* Ask again; the connection is in order. */
enum session_result {
	SESSION_OK = 0,
	SESSION_E_AGAIN = REPLY_E_AGAIN, /* after a pause: the state aged again and again */
	SESSION_E_MOVED = 2, /* the machine was cloned around the answer, which is of no use */
};

struct session {
	struct transport transport;
	struct guard guard;
	uint32_t last_tag;
	uint8_t version; /* protocol version to write requests in */
};

/* Not connected yet. */
void session_init(struct session *session);

/* Drops the connection and all that belongs to the guard. */
void session_deinit(struct session *session);

/*
 * Connects unless connected. 0 or an error of transport_connect(). The question is that of
 * page_ask(), which it can be used for afterwards; its version is set here.
 */
int session_connect(struct session *session, struct page_question *question);

/*
 * Ends the connection for all processes that have it. For the child that a signal handler forked
 * inside of an exchange: it may have asked on it too, or read what the parent waits for, which now
 * asks anew.
 */
void session_shut(struct session *session);

/* Drops the connection. The page stays: the next connection asks for it again. */
void session_drop(struct session *session);

/*
 * len random bytes of one clone generation, which is still the machine's at the end, as far as
 * the daemon and the kernel know. guard_prepare() first. -ESTALE: it moved inside of an answer, the
 * rest of which is still to come.
 */
int session_ask_bytes(struct session *session, uint8_t *out, size_t len, int64_t deadline_ns);

/*
 * STATUS or SUBSCRIBERS: one frame, whose body goes to text, ended by a NUL, and whose clone
 * generation to *generation. -EMSGSIZE: size is too small.
 */
int session_ask_text(struct session *session, uint8_t opcode, char *text, size_t size,
		     uint64_t *generation, int64_t deadline_ns);

/*
 * LOOK, BUMP and CONTRIBUTE (with a body) or RESEED: one empty frame, whose clone generation goes
 * to *generation.
 */
int session_ask_plain(struct session *session, uint8_t opcode, const void *body,
		      uint32_t body_bytes, uint64_t *generation, int64_t deadline_ns);

#endif
