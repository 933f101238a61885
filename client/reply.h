/*
 * client/reply - one request and the frames that answer it. Private to the library.
 */
#ifndef CLIENT_REPLY_H
#define CLIENT_REPLY_H

#include <stddef.h>
#include <stdint.h>

#include "client/transport.h"
#include "proto/rngd_proto.h"
#include "proto/wire.h"

/* Set the first five; the rest is zero at first, and frame is what reply_head() found. */
struct reply {
	struct transport *transport;
	int64_t deadline_ns;
	uint32_t tag;
	uint8_t opcode;
	uint8_t version;
	uint8_t head[RNGD_PROTO_REPLY_HEAD_BYTES];
	size_t head_have; /* bytes of the next head that came with the last body */
	struct wire_reply frame;
};

/* What reply_head() and reply_empty() found, besides a good frame and broken ones. */
enum reply_result {
	REPLY_OK = 0,
	REPLY_E_AGAIN = 1, /* the state aged while bytes were made: ask again after a pause */
};

/*
 * Sends the request; its body is RNGD_PROTO_BUMP_MAX_BYTES at most, and no copy of it stays. 0 or a
 * negative errno.
 */
int reply_ask(struct reply *reply, const uint8_t *body, uint32_t body_bytes);

/*
 * Reads the head of the next frame, and with the same call up to ahead bytes of its body to data:
 * only where a good frame has that many, and data has room for them. *have: 0 at first, then the
 * bytes of the body that came. 0 when it is a good frame of this request; else a negative errno,
 * which for an error frame is what its status means, or REPLY_E_AGAIN. After an error frame the
 * connection is still in order.
 */
int reply_head(struct reply *reply, uint8_t *data, size_t ahead, size_t *have);

/* Reads the rest of the body to data, which holds have bytes of it; has room for frame.body_bytes.
 */
int reply_body(struct reply *reply, uint8_t *data, size_t have);

/* Reads a reply that is one frame without a body. As reply_head(). */
int reply_empty(struct reply *reply);

#endif
