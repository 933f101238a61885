/*
 * Owns: the handle and, through it, one connection. May touch: the caller's buffers during a call.
 * Never does: log, read the environment, hand out part of an answer, or keep a connection
 * after a call that did not end well: late bytes must not be taken for another call's.
 */
#include "client/rngclient.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "client/transport.h"
#include "client/turn.h"
#include "proto/rngd_proto.h"
#include "proto/wire.h"

_Static_assert(RNGCLIENT_STATUS_BYTES == RNGD_PROTO_STATUS_MAX_BYTES + 1, "text and NUL");

#define RNGCLIENT_EXPORT __attribute__((visibility("default")))

/* Between two tries to reach a daemon that is gone: the first pause and the longest. */
#define RNGCLIENT_PAUSE_MIN_MS 1
#define RNGCLIENT_PAUSE_MAX_MS 50

/* A GET counts with 32 bits; more is asked for in several. */
#define RNGCLIENT_GET_MAX_BYTES UINT32_MAX

struct rngclient {
	struct turn turn;
	struct transport transport;
	_Atomic int timeout_ms; /* read before the turn, to know how long to wait for it */
	uint32_t last_tag;
	uint8_t version; /* protocol version to write requests in */
	char *path;
};

/* One reply while it arrives. */
struct reply_reader {
	struct rngclient *client;
	int64_t deadline_ns;
	uint32_t tag;
	uint8_t opcode;
	uint8_t head[RNGD_PROTO_REPLY_HEAD_BYTES];
	size_t head_have;
	struct wire_reply frame;
};

static int error_of_status(uint8_t status)
{
	switch (status) {
	case RNGD_PROTO_E_UNAVAILABLE:
		return -EAGAIN;
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
static int read_some(struct reply_reader *reader, uint8_t *data, size_t want, size_t *have)
{
	struct iovec iov[2] = {
	    {reader->head + reader->head_have, sizeof(reader->head) - reader->head_have},
	    {data + *have, want - *have},
	};
	size_t head_want = iov[0].iov_len;
	size_t n;
	int err;

	err =
	    transport_recv(&reader->client->transport, iov, 2, want == 0, &n, reader->deadline_ns);
	if (err)
		return err;
	reader->head_have += n < head_want ? n : head_want;
	*have += n < head_want ? 0 : n - head_want;
	return 0;
}

/*
 * Reads the head of the next frame, and up to ahead bytes of its body with the same call; the
 * caller knows from the protocol that a good frame has as many. 0 when it is a
 * good frame of this request, else a negative errno.
 */
static int read_head(struct reply_reader *reader, uint8_t *data, size_t ahead, size_t *have)
{
	struct wire_reply *frame = &reader->frame;
	int err;

	while (reader->head_have < sizeof(reader->head)) {
		err = read_some(reader, data, ahead, have);
		if (err)
			return err;
	}
	reader->head_have = 0;
	if (wire_decode_reply(reader->head, frame) != WIRE_OK)
		return -EPROTO;
	if (frame->status != RNGD_PROTO_OK)
		return error_of_status(frame->status);
	if (frame->tag != reader->tag || frame->opcode != reader->opcode ||
	    frame->version != reader->client->version || *have > frame->body_bytes)
		return -EPROTO;
	return 0;
}

/* Reads the rest of a body; with more frames to come, as much of the next head as there is. */
static int read_body(struct reply_reader *reader, uint8_t *data, size_t have)
{
	struct iovec iov[2] = {
	    {data + have, reader->frame.body_bytes - have},
	    {reader->head, reader->frame.flags & RNGD_PROTO_FLAG_MORE ? sizeof(reader->head) : 0},
	};
	size_t n;
	int err;

	while (iov[0].iov_len > 0) {
		err = transport_recv(&reader->client->transport, iov, 2, true, &n,
				     reader->deadline_ns);
		if (err)
			return err;
	}
	if (reader->frame.flags & RNGD_PROTO_FLAG_MORE)
		reader->head_have = sizeof(reader->head) - iov[1].iov_len;
	return 0;
}

static int send_request(struct reply_reader *reader, uint8_t opcode, const uint8_t *body,
			uint32_t body_bytes)
{
	struct rngclient *client = reader->client;
	uint8_t buf[RNGD_PROTO_REQUEST_HEAD_BYTES + RNGD_PROTO_GET_BODY_BYTES];
	const struct wire_request req = {
	    .opcode = opcode,
	    .version = client->version,
	    .tag = ++client->last_tag,
	    .body = body,
	    .body_bytes = body_bytes,
	};

	reader->tag = req.tag;
	reader->opcode = opcode;
	return transport_send(&client->transport, buf, wire_encode_request(&req, buf),
			      reader->deadline_ns);
}

/*
 * One GET over the present connection. *generation: 0, or what the bytes must be made
 * under; set to what they were. -ESTALE: the generation moved on the way.
 */
static int get_part(struct rngclient *client, uint8_t *buf, uint32_t len, uint64_t *generation,
		    int64_t deadline_ns)
{
	struct reply_reader reader = {.client = client, .deadline_ns = deadline_ns};
	/* Short answers come in one frame, so one call can take the head and all bytes. */
	size_t ahead = len <= RNGD_PROTO_ONE_FRAME_BYTES ? len : 0;
	uint8_t body[RNGD_PROTO_GET_BODY_BYTES];
	bool more = true;
	size_t have;
	int err;

	wire_put_u32(body, len);
	err = send_request(&reader, RNGD_PROTO_OP_GET, body, sizeof(body));
	while (!err && more) {
		have = 0;
		err = read_head(&reader, buf, ahead, &have);
		if (err)
			return err;
		more = reader.frame.flags & RNGD_PROTO_FLAG_MORE;
		if (reader.frame.body_bytes == 0 || reader.frame.body_bytes > len ||
		    more != (reader.frame.body_bytes < len))
			return -EPROTO;
		if (*generation != 0 && reader.frame.generation != *generation)
			return -ESTALE;
		*generation = reader.frame.generation;
		err = read_body(&reader, buf, have);
		buf += reader.frame.body_bytes;
		len -= reader.frame.body_bytes;
	}
	return err;
}

static int get_whole(struct rngclient *client, void *out, size_t len, int64_t deadline_ns)
{
	uint64_t generation = 0;
	uint8_t *buf = out;
	int err = 0;

	while (!err && len > 0) {
		uint32_t part =
		    len < RNGCLIENT_GET_MAX_BYTES ? (uint32_t)len : RNGCLIENT_GET_MAX_BYTES;

		err = get_part(client, buf, part, &generation, deadline_ns);
		buf += part;
		len -= part;
	}
	return err;
}

static int status_whole(struct rngclient *client, void *out, size_t size, int64_t deadline_ns)
{
	struct reply_reader reader = {.client = client, .deadline_ns = deadline_ns};
	uint8_t *text = out;
	size_t have = 0;
	int err;

	err = send_request(&reader, RNGD_PROTO_OP_STATUS, NULL, 0);
	if (!err)
		err = read_head(&reader, text, 0, &have);
	if (err)
		return err;
	if (reader.frame.flags & RNGD_PROTO_FLAG_MORE)
		return -EPROTO;
	if (reader.frame.body_bytes >= size)
		return -EMSGSIZE;
	err = read_body(&reader, text, have);
	text[reader.frame.body_bytes] = '\0';
	/* A text that ends early for whoever reads it as a string is not what was sent. */
	if (!err && strlen(out) != reader.frame.body_bytes)
		err = -EPROTO;
	return err;
}

/*
 * The lower version of the two, after the daemon said which it speaks. Nothing in a reply of
 * another version is trusted, so this is a try: false when there is none left.
 */
static bool lower_version(struct rngclient *client)
{
	if (client->version <= RNGD_PROTO_VERSION_MIN)
		return false;
	client->version--;
	return true;
}

/* The daemon is gone, or is being replaced: worth another try before the deadline. */
static bool is_absence(int err)
{
	return err == -ECONNRESET || err == -EPIPE || err == -ECONNREFUSED || err == -ENOENT;
}

/*
 * Runs one whole exchange, connecting where needed, and repeats it from the start while
 * that can help. At the deadline the daemon's absence is a better answer than "timed out".
 */
static int run(struct rngclient *client, void *out, size_t size, int64_t deadline_ns,
	       int (*exchange)(struct rngclient *, void *, size_t, int64_t))
{
	int pause_ms = 0;
	int absence = 0; /* why the last connect failed */
	int err;

	for (;;) {
		err = 0;
		if (!transport_is_ours(&client->transport))
			err = transport_connect(&client->transport, client->path,
						client->timeout_ms, deadline_ns);
		if (err == -ETIMEDOUT && absence)
			return absence;
		absence = err;
		if (!err)
			err = exchange(client, out, size, deadline_ns);
		if (!err)
			return 0;
		transport_drop(&client->transport);
		if (err == -EPROTONOSUPPORT && lower_version(client))
			continue;
		if (err == -ESTALE)
			continue;
		if (!is_absence(err))
			return err;
		/* At once the first time: a restarted daemon is there already. */
		if (pause_ms > 0 && transport_pause(pause_ms, deadline_ns) != 0)
			return absence ? absence : -ETIMEDOUT;
		pause_ms = pause_ms == 0 ? RNGCLIENT_PAUSE_MIN_MS : pause_ms * 2;
		if (pause_ms > RNGCLIENT_PAUSE_MAX_MS)
			pause_ms = RNGCLIENT_PAUSE_MAX_MS;
	}
}

/* The frame of every call: the turn, the fork, the exchange, and zeroes if it fails. */
static int call(struct rngclient *client, void *out, size_t size,
		int (*exchange)(struct rngclient *, void *, size_t, int64_t))
{
	int64_t deadline_ns = transport_deadline(client->timeout_ms);
	bool forked;
	int err;

	err = turn_take(&client->turn, deadline_ns, &forked);
	if (!err) {
		if (forked) /* the connection is the parent's: close our copy of it */
			transport_drop(&client->transport);
		err = run(client, out, size, deadline_ns, exchange);
		turn_give(&client->turn);
	}
	if (err)
		explicit_bzero(out, size);
	return err;
}

RNGCLIENT_EXPORT int rngclient_open(struct rngclient **out, const char *socket_path)
{
	struct rngclient *client;
	int err;

	if (!out)
		return -EINVAL;
	*out = NULL;
	if (!socket_path)
		socket_path = RNGCLIENT_DEFAULT_SOCKET;
	if (*socket_path == '\0')
		return -EINVAL;
	client = calloc(1, sizeof(*client));
	if (!client)
		return -ENOMEM;
	client->transport.fd = -1;
	client->timeout_ms = RNGCLIENT_DEFAULT_TIMEOUT_MS;
	client->version = RNGD_PROTO_VERSION_MAX;
	client->path = strdup(socket_path);
	err = client->path ? turn_init(&client->turn) : -ENOMEM;
	if (!err)
		err = transport_connect(&client->transport, socket_path, client->timeout_ms,
					transport_deadline(client->timeout_ms));
	if (err) {
		rngclient_close(client);
		return err;
	}
	*out = client;
	return 0;
}

RNGCLIENT_EXPORT int rngclient_set_timeout(struct rngclient *client, int timeout_ms)
{
	bool forked;
	int err;

	if (!client || timeout_ms == 0 || timeout_ms < -1)
		return -EINVAL;
	err = turn_take(&client->turn, TRANSPORT_NO_DEADLINE, &forked);
	if (err)
		return err;
	client->timeout_ms = timeout_ms;
	/* In a child the socket is still the parent's; else a failure means a new one is due. */
	if (forked || (transport_is_ours(&client->transport) &&
		       transport_set_timeout(&client->transport, timeout_ms) != 0))
		transport_drop(&client->transport);
	turn_give(&client->turn);
	return 0;
}

RNGCLIENT_EXPORT int rngclient_get(struct rngclient *client, void *buf, size_t len)
{
	if (!client || (!buf && len > 0))
		return -EINVAL;
	return len == 0 ? 0 : call(client, buf, len, get_whole);
}

RNGCLIENT_EXPORT int rngclient_status(struct rngclient *client, char *text, size_t size)
{
	if (!client || !text || size == 0)
		return -EINVAL;
	return call(client, text, size, status_whole);
}

RNGCLIENT_EXPORT void rngclient_close(struct rngclient *client)
{
	int saved_errno = errno;

	if (client) {
		transport_drop(&client->transport);
		turn_deinit(&client->turn);
		free(client->path);
		free(client);
	}
	errno = saved_errno;
}

RNGCLIENT_EXPORT const char *rngclient_version(void)
{
	return RNGCLIENT_VERSION_STRING;
}
