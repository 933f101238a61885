/*
 * Owns: nothing. May touch: the connection it is given, and the caller's buffer up to the length it
 * is told. Never does: believe a frame that is not of its request, or write beyond that length.
 */
#include "client/reply.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "client/bare.h"

static int receive(struct reply *reply, struct iovec *iov, int iov_count, bool all, size_t *n)
{
	const struct bare *bare = reply->transport->bare;

	return bare ? bare_read(bare, reply->transport->fd, iov, iov_count, n)
		    : transport_recv(reply->transport, iov, iov_count, all, n, reply->deadline_ns);
}

static int send_all(struct reply *reply, const void *data, size_t len)
{
	const struct bare *bare = reply->transport->bare;

	return bare ? bare_write(bare, reply->transport->fd, data, len)
		    : transport_send(reply->transport, data, len, reply->deadline_ns);
}

/* Statuses that only one operation can have are no answer to another. */
static int error_of_status(uint8_t opcode, uint8_t status)
{
	const bool bump = opcode == RNGD_PROTO_OP_BUMP;

	switch (status) {
	case RNGD_PROTO_E_AGAIN:
		return REPLY_E_AGAIN;
	case RNGD_PROTO_E_UNAVAILABLE:
		return -EAGAIN;
	case RNGD_PROTO_E_PERMISSION:
		return bump || opcode == RNGD_PROTO_OP_RESEED || opcode == RNGD_PROTO_OP_SUBSCRIBERS
			   ? -EPERM
			   : -EPROTO;
	case RNGD_PROTO_E_NO_PAGE:
		return opcode == RNGD_PROTO_OP_PAGE ? -ENODATA : -EPROTO;
	case RNGD_PROTO_E_IDENTICAL:
		return bump ? -ENOTUNIQ : -EPROTO;
	case RNGD_PROTO_E_OPCODE:
		return -EOPNOTSUPP;
	case RNGD_PROTO_E_VERSION:
		return -EPROTONOSUPPORT;
	default:
		return -EPROTO;
	}
}

/*
 * Receives until the head and want bytes at data are there, or, when the head is whole and is
 * not what was hoped for, until the head alone is. *have counts the bytes at data.
 */
static int read_some(struct reply *reply, uint8_t *data, size_t want, size_t *have)
{
	/* data may be NULL where nothing is wanted. */
	struct iovec iov[2] = {
	    {reply->head + reply->head_have, sizeof(reply->head) - reply->head_have},
	    {want > 0 ? data + *have : NULL, want > 0 ? want - *have : 0},
	};
	size_t head_want = iov[0].iov_len;
	size_t n;
	int err;

	err = receive(reply, iov, 2, want == 0, &n);
	if (err)
		return err;
	reply->head_have += n < head_want ? n : head_want;
	*have += n < head_want ? 0 : n - head_want;
	return 0;
}

/* What an error frame means; reads the rest of its body, so that the next reply can follow. */
static int error_frame(struct reply *reply, size_t have)
{
	const struct wire_reply *frame = &reply->frame;
	uint8_t rest[RNGD_PROTO_ERROR_MAX_BYTES];
	int err;

	if (frame->body_bytes > sizeof(rest) || have > frame->body_bytes ||
	    frame->flags & RNGD_PROTO_FLAG_MORE)
		return -EPROTO;
	err = reply_body(reply, rest, have);
	return err ? err : error_of_status(reply->opcode, frame->status);
}

int reply_head(struct reply *reply, uint8_t *data, size_t ahead, size_t *have)
{
	struct wire_reply *frame = &reply->frame;
	int err;

	while (reply->head_have < sizeof(reply->head)) {
		err = read_some(reply, data, ahead, have);
		if (err)
			return err;
	}
	reply->head_have = 0;
	/* Before any request of ours was read: no tag to go by. */
	if (wire_decode_reply(reply->head, frame) == WIRE_OK &&
	    frame->opcode == RNGD_PROTO_OP_NONE && frame->status == RNGD_PROTO_E_BUSY &&
	    frame->tag == 0 && frame->body_bytes == 0)
		return -EBUSY;
	if (wire_decode_reply(reply->head, frame) != WIRE_OK || frame->tag != reply->tag)
		return -EPROTO;
	if (frame->status != RNGD_PROTO_OK)
		return error_frame(reply, *have);
	if (frame->opcode != reply->opcode || frame->version != reply->version ||
	    frame->generation == 0 || *have > frame->body_bytes)
		return -EPROTO;
	return 0;
}

int reply_body(struct reply *reply, uint8_t *data, size_t have)
{
	struct iovec iov[2] = {
	    {data + have, reply->frame.body_bytes - have},
	    {reply->head, reply->frame.flags & RNGD_PROTO_FLAG_MORE ? sizeof(reply->head) : 0},
	};
	size_t n;
	int err;

	while (iov[0].iov_len > 0) {
		err = receive(reply, iov, 2, true, &n);
		if (err)
			return err;
	}
	if (reply->frame.flags & RNGD_PROTO_FLAG_MORE)
		reply->head_have = sizeof(reply->head) - iov[1].iov_len;
	return 0;
}

int reply_empty(struct reply *reply)
{
	size_t have = 0;
	int err = reply_head(reply, NULL, 0, &have);

	if (!err && (reply->frame.body_bytes > 0 || reply->frame.flags & RNGD_PROTO_FLAG_MORE))
		return -EPROTO;
	return err;
}

/* buf has room for the head and the body. */
static int ask_from(struct reply *reply, const uint8_t *body, uint32_t body_bytes, uint8_t *buf)
{
	const struct wire_request req = {
	    .opcode = reply->opcode,
	    .version = reply->version,
	    .tag = reply->tag,
	    .body = body,
	    .body_bytes = body_bytes,
	};

	return send_all(reply, buf, wire_encode_request(&req, buf));
}

_Static_assert(RNGD_PROTO_CONTRIBUTE_MAX_BYTES <= RNGD_PROTO_BUMP_MAX_BYTES, "the longest body");

/* Apart, so that a GET need not clear this much stack. */
__attribute__((noinline)) static int ask_long(struct reply *reply, const uint8_t *body,
					      uint32_t body_bytes)
{
	uint8_t buf[RNGD_PROTO_REQUEST_HEAD_BYTES + RNGD_PROTO_BUMP_MAX_BYTES];
	int err;

	if (body_bytes > RNGD_PROTO_BUMP_MAX_BYTES)
		return -EMSGSIZE;
	err = ask_from(reply, body, body_bytes, buf);
	explicit_bzero(buf, sizeof(buf));
	return err;
}

int reply_ask(struct reply *reply, const uint8_t *body, uint32_t body_bytes)
{
	uint8_t buf[RNGD_PROTO_REQUEST_HEAD_BYTES + RNGD_PROTO_GET_BODY_BYTES];

	if (body_bytes > RNGD_PROTO_GET_BODY_BYTES)
		return ask_long(reply, body, body_bytes);
	return ask_from(reply, body, body_bytes, buf);
}
