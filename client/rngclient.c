/*
 * Owns: the handle and, through it, one connection. May touch: the caller's buffers during a call.
 * Never does: log, read the environment, hand out part of an answer, or keep a connection
 * after a call that did not end well: late bytes must not be taken for another call's.
 */
#include "client/rngclient.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "client/reply.h"
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

static struct reply new_reply(struct rngclient *client, uint8_t opcode, int64_t deadline_ns)
{
	return (struct reply){
	    .transport = &client->transport,
	    .deadline_ns = deadline_ns,
	    .tag = ++client->last_tag,
	    .opcode = opcode,
	    .version = client->version,
	};
}

/* What the next frame of a GET must hold when len bytes are still to come. */
static uint32_t frame_bytes(uint32_t len)
{
	return len < RNGD_PROTO_FRAME_DATA_BYTES ? len : RNGD_PROTO_FRAME_DATA_BYTES;
}

/*
 * One GET over the present connection. *generation: 0, or what the bytes must be made
 * under; set to what they were. -ESTALE: the generation moved on the way.
 */
static int get_part(struct rngclient *client, uint8_t *buf, uint32_t len, uint64_t *generation,
		    int64_t deadline_ns)
{
	struct reply reply = new_reply(client, RNGD_PROTO_OP_GET, deadline_ns);
	/* A short answer is one frame of known size: one call can take the head and all bytes. */
	const uint32_t ahead = len <= RNGD_PROTO_ONE_FRAME_BYTES ? len : 0;
	uint8_t body[RNGD_PROTO_GET_BODY_BYTES];
	bool more;
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
		more = reply.frame.flags & RNGD_PROTO_FLAG_MORE;
		if (reply.frame.body_bytes != frame_bytes(len) ||
		    more != (reply.frame.body_bytes < len))
			return -EPROTO;
		if (*generation != 0 && reply.frame.generation != *generation)
			return -ESTALE;
		*generation = reply.frame.generation;
		err = reply_body(&reply, buf, have);
		buf += reply.frame.body_bytes;
		len -= reply.frame.body_bytes;
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
	struct reply reply = new_reply(client, RNGD_PROTO_OP_STATUS, deadline_ns);
	uint8_t *text = out;
	size_t have = 0;
	int err;

	err = reply_ask(&reply, NULL, 0);
	if (!err)
		err = reply_head(&reply, text, 0, &have);
	if (err)
		return err == -EAGAIN ? -EPROTO : err; /* a status can always be had */
	if (reply.frame.flags & RNGD_PROTO_FLAG_MORE)
		return -EPROTO;
	if (reply.frame.body_bytes >= size)
		return -EMSGSIZE;
	err = reply_body(&reply, text, have);
	text[reply.frame.body_bytes] = '\0';
	/* A text that ends early for whoever reads it as a string is not what was sent. */
	if (!err && strlen(out) != reply.frame.body_bytes)
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
	bool forked;
	int err;

	for (;;) {
		err = 0;
		if (!transport_is_ours(&client->transport))
			err = transport_connect(&client->transport, client->path, &client->turn,
						client->timeout_ms, deadline_ns);
		if (err == -ETIMEDOUT && absence)
			return absence;
		absence = err;
		if (!err)
			err = exchange(client, out, size, deadline_ns);
		/* A signal handler forked inside the exchange: what came is the parent's. */
		if (!turn_is_ours(&client->turn)) {
			err = turn_take(&client->turn, deadline_ns, &forked);
			if (err)
				return err;
			err = -ESTALE;
		}
		if (!err)
			return 0;
		transport_drop(&client->transport);
		if (err == -EPROTONOSUPPORT && lower_version(client))
			continue;
		if (!is_absence(err) && err != -ESTALE)
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
	int cancel_state;
	bool forked;
	int err;

	/* A thread cancelled half way would keep the turn for ever. */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	err = turn_take(&client->turn, deadline_ns, &forked);
	if (!err) {
		if (forked) /* the connection is the parent's: close our copy of it */
			transport_drop(&client->transport);
		err = run(client, out, size, deadline_ns, exchange);
		turn_give(&client->turn);
	}
	pthread_setcancelstate(cancel_state, NULL);
	if (err)
		explicit_bzero(out, size);
	return err;
}

/* A call that cannot be made leaves zeroes as well, where there is a buffer to leave them in. */
static int refuse(void *out, size_t size)
{
	if (out)
		explicit_bzero(out, size);
	return -EINVAL;
}

static int make(struct rngclient **out, const char *socket_path, int timeout_ms)
{
	struct rngclient *client = calloc(1, sizeof(*client));
	int err;

	if (!client)
		return -ENOMEM;
	client->transport.fd = -1;
	client->timeout_ms = timeout_ms;
	client->version = RNGD_PROTO_VERSION_MAX;
	client->path = strdup(socket_path);
	err = client->path ? turn_init(&client->turn) : -ENOMEM;
	if (!err)
		err = transport_connect(&client->transport, socket_path, &client->turn, timeout_ms,
					transport_deadline(timeout_ms));
	if (err) {
		rngclient_close(client);
		return err;
	}
	*out = client;
	return 0;
}

RNGCLIENT_EXPORT int rngclient_open(struct rngclient **out, const char *socket_path, int timeout_ms)
{
	int cancel_state, err;

	if (!out)
		return -EINVAL;
	*out = NULL;
	if (!socket_path)
		socket_path = RNGCLIENT_DEFAULT_SOCKET;
	if (*socket_path == '\0' || timeout_ms < -1)
		return -EINVAL;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	err = make(out, socket_path, timeout_ms ? timeout_ms : RNGCLIENT_DEFAULT_TIMEOUT_MS);
	pthread_setcancelstate(cancel_state, NULL);
	return err;
}

RNGCLIENT_EXPORT int rngclient_set_timeout(struct rngclient *client, int timeout_ms)
{
	int cancel_state, err;
	bool forked;

	if (!client || timeout_ms == 0 || timeout_ms < -1)
		return -EINVAL;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	err = turn_take(&client->turn, transport_deadline(timeout_ms), &forked);
	if (!err) {
		client->timeout_ms = timeout_ms;
		/* In a child the socket is the parent's; else a failure means a new one is due. */
		if (forked || (transport_is_ours(&client->transport) &&
			       transport_set_timeout(&client->transport, timeout_ms) != 0))
			transport_drop(&client->transport);
		turn_give(&client->turn);
	}
	pthread_setcancelstate(cancel_state, NULL);
	return err;
}

RNGCLIENT_EXPORT int rngclient_get(struct rngclient *client, void *buf, size_t len)
{
	if (!client || (!buf && len > 0))
		return refuse(buf, len);
	return len == 0 ? 0 : call(client, buf, len, get_whole);
}

RNGCLIENT_EXPORT int rngclient_status(struct rngclient *client, char *text, size_t size)
{
	if (!client || !text || size == 0)
		return refuse(text, size);
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
