/*
 * Owns: the connection and the guard. May touch: the caller's buffers, up to the lengths told.
 * Never does: take up bytes that more than one generation was seen around.
 */
#include "client/session.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#include "proto/rngd_proto.h"
#include "proto/wire.h"

/* A GET counts with 32 bits; more is asked for in several. */
#define SESSION_GET_MAX_BYTES UINT32_MAX

void session_init(struct session *session)
{
	*session = (struct session){
	    .transport.fd = -1,
	    .version = RNGD_PROTO_VERSION_MAX,
	};
}

void session_deinit(struct session *session)
{
	session_drop(session);
	guard_deinit(&session->guard);
}

int session_connect(struct session *session, struct page_question *question)
{
	question->version = session->version;
	if (transport_is_ours(&session->transport))
		return 0;
	session->guard.page_asked = false;
	return transport_connect(&session->transport, question->path, question->turn,
				 question->timeout_ms, question->deadline_ns);
}

void session_shut(struct session *session)
{
	if (transport_is_ours(&session->transport))
		shutdown(session->transport.fd, SHUT_RDWR);
}

void session_drop(struct session *session)
{
	transport_drop(&session->transport);
	session->guard.page_asked = false;
}

static struct reply new_reply(struct session *session, uint8_t opcode, int64_t deadline_ns)
{
	return (struct reply){
	    .transport = &session->transport,
	    .deadline_ns = deadline_ns,
	    .tag = ++session->last_tag,
	    .opcode = opcode,
	    .version = session->version,
	};
}

int session_ask_plain(struct session *session, uint8_t opcode, const void *body,
		      uint32_t body_bytes, uint64_t *generation, int64_t deadline_ns)
{
	struct reply reply = new_reply(session, opcode, deadline_ns);
	int err = reply_ask(&reply, body, body_bytes);

	if (!err)
		err = reply_empty(&reply);
	if (!err)
		*generation = reply.frame.generation;
	return err;
}

int session_ask_text(struct session *session, uint8_t opcode, char *text, size_t size,
		     uint64_t *generation, int64_t deadline_ns)
{
	struct reply reply = new_reply(session, opcode, deadline_ns);
	size_t have = 0;
	int err;

	err = reply_ask(&reply, NULL, 0);
	if (!err)
		err = reply_head(&reply, (uint8_t *)text, 0, &have);
	if (err) /* they can always be had */
		return err == -EAGAIN || err == REPLY_E_AGAIN ? -EPROTO : err;
	if (reply.frame.flags & RNGD_PROTO_FLAG_MORE)
		return -EPROTO;
	if (reply.frame.body_bytes >= size)
		return -EMSGSIZE;
	err = reply_body(&reply, (uint8_t *)text, have);
	text[reply.frame.body_bytes] = '\0';
	/* A text that ends early for whoever reads it as a string is not what was sent. */
	if (!err && strlen(text) != reply.frame.body_bytes)
		err = -EPROTO;
	*generation = reply.frame.generation;
	return err;
}

/* May this frame of a GET follow when len bytes are still to come? All of them, or a good part. */
static bool is_next_frame(const struct wire_reply *frame, uint32_t len)
{
	if (frame->flags & RNGD_PROTO_FLAG_MORE)
		return frame->body_bytes >= RNGD_PROTO_ONE_FRAME_BYTES && frame->body_bytes < len;
	return frame->body_bytes == len;
}

/*
 * One GET. *generation: 0, or what the bytes must be made under; set to what they were. -ESTALE:
 * the generation moved on the way, and the answer was given up there; SESSION_E_MOVED: likewise,
 * where a connection cannot be made anew and the answer was read to its end.
 */
static int get_part(struct session *session, uint8_t *buf, uint32_t len, uint64_t *generation,
		    int64_t deadline_ns)
{
	struct reply reply = new_reply(session, RNGD_PROTO_OP_GET, deadline_ns);
	/* A short answer is one frame of known size: one call can take the head and all bytes. */
	const uint32_t ahead = len <= RNGD_PROTO_ONE_FRAME_BYTES ? len : 0;
	uint8_t body[RNGD_PROTO_GET_BODY_BYTES];
	bool moved = false;
	size_t have;
	int err;

	wire_put_u32(body, len);
	err = reply_ask(&reply, body, sizeof(body));
	while (!err && len > 0) {
		have = 0;
		err = reply_head(&reply, buf, ahead, &have);
		if (err)
			return err;
		/* Any other size would also let what is read ahead run past the caller's buffer. */
		if (!is_next_frame(&reply.frame, len))
			return -EPROTO;
		moved |= *generation != 0 && reply.frame.generation != *generation;
		if (moved && !session->transport.bare)
			return -ESTALE;
		*generation = reply.frame.generation;
		err = reply_body(&reply, buf, have);
		buf += reply.frame.body_bytes;
		len -= reply.frame.body_bytes;
	}
	return !err && moved ? SESSION_E_MOVED : err;
}

static int get_parts(struct session *session, uint8_t *buf, size_t len, uint64_t *generation,
		     int64_t deadline_ns)
{
	/* Where a connection cannot be made anew every answer is read to its end: short ones. */
	const uint32_t most =
	    session->transport.bare ? RNGD_PROTO_FRAME_DATA_BYTES : SESSION_GET_MAX_BYTES;
	int err = 0;

	while (!err && len > 0) {
		uint32_t part = len < most ? (uint32_t)len : most;
		uint64_t made = 0;

		err = get_part(session, buf, part, &made, deadline_ns);
		if (!err && *generation != 0 && made != *generation)
			err = SESSION_E_MOVED;
		*generation = made;
		buf += part;
		len -= part;
	}
	return err;
}

/*
 * The daemon looks at everything it has; *generation is then the machine's. One that does not know
 * the question knows nothing of clones either: *generation stays.
 */
static int look(struct session *session, uint64_t *generation, int64_t deadline_ns)
{
	int err = session_ask_plain(session, RNGD_PROTO_OP_LOOK, NULL, 0, generation, deadline_ns);

	session->guard.no_look = err == -EOPNOTSUPP;
	return session->guard.no_look ? 0 : err;
}

/*
 * Without a move, no question but the GET. With one before it, the daemon looks first, so that the
 * bytes are made by one that knows. With one during it, the daemon looks afterwards: bytes of the
 * generation that it then finds were made since the last clone. What counts as agreed was read
 * before the daemon looked, so that nothing after that can be missed.
 */
int session_ask_bytes(struct session *session, uint8_t *out, size_t len, int64_t deadline_ns)
{
	const struct guard_token before = guard_read(&session->guard);
	struct guard_token after;
	uint64_t generation = 0;
	uint64_t now = 0;
	int err = 0;

	if (!guard_agrees(&session->guard, &before))
		err = look(session, &now, deadline_ns);
	if (!err)
		err = get_parts(session, out, len, &generation, deadline_ns);
	if (err)
		return err;
	after = guard_read(&session->guard);
	if (guard_moved(&before, &after) ||
	    (guard_is_blind(&session->guard, &after) && !session->guard.no_look)) {
		now = generation;
		err = look(session, &now, deadline_ns);
		if (err)
			return err;
		if (now != generation)
			return SESSION_E_MOVED;
	}
	guard_agree(&session->guard, &after);
	return 0;
}
