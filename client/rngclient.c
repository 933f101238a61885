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

#include "client/errand.h"
#include "client/handle.h"
#include "proto/rngd_proto.h"

_Static_assert(RNGCLIENT_STATUS_BYTES == RNGD_PROTO_STATUS_MAX_BYTES + 1, "text and NUL");
_Static_assert(RNGCLIENT_BUMP_MIN_BYTES == RNGD_PROTO_BUMP_MIN_BYTES &&
		   RNGCLIENT_BUMP_MAX_BYTES == RNGD_PROTO_BUMP_MAX_BYTES &&
		   RNGCLIENT_CONTRIBUTE_MAX_BYTES == RNGD_PROTO_CONTRIBUTE_MAX_BYTES,
	       "one set of limits");

#define RNGCLIENT_EXPORT __attribute__((visibility("default")))

static int get_exchange(struct session *session, const struct errand *errand, int64_t deadline_ns)
{
	return session_ask_bytes(session, errand->out, errand->out_bytes, deadline_ns);
}

static int text_exchange(struct session *session, const struct errand *errand, int64_t deadline_ns)
{
	return session_ask_text(session, errand->opcode, errand->out, errand->out_bytes,
				errand->generation, deadline_ns);
}

static int plain_exchange(struct session *session, const struct errand *errand, int64_t deadline_ns)
{
	return session_ask_plain(session, errand->opcode, errand->in, (uint32_t)errand->in_bytes,
				 errand->out, deadline_ns);
}

static int info_exchange(struct session *session, const struct errand *errand, int64_t deadline_ns)
{
	(void)deadline_ns;
	if (!session->guard.page.map)
		return -ENODATA;
	page_read(&session->guard.page, errand->out);
	return 0;
}

static int call(struct rngclient *client, const struct errand *errand)
{
	if (client->bare.mark) {
		explicit_bzero(errand->out, errand->out_bytes);
		return -EOPNOTSUPP;
	}
	return errand_run(client, errand, transport_deadline(client->timeout_ms));
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
	session_init(&client->session);
	client->timeout_ms = timeout_ms;
	client->path = strdup(socket_path);
	err = client->path ? turn_init(&client->turn) : -ENOMEM;
	if (!err)
		err = events_init(&client->events);
	if (!err) /* the page can wait until it is needed */
		err = errand_prepare(client, &(struct errand){.guarded = false},
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
	struct transport *transport;
	int cancel_state, err;
	bool forked;

	if (!client || timeout_ms == 0 || timeout_ms < -1)
		return -EINVAL;
	if (client->bare.mark)
		return -EOPNOTSUPP;
	transport = &client->session.transport;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	err = turn_take(&client->turn, transport_deadline(timeout_ms), &forked);
	if (!err) {
		client->timeout_ms = timeout_ms;
		/* In a child the socket is the parent's; else a failure means a new one is due. */
		if (forked || (transport_is_ours(transport) &&
			       transport_set_timeout(transport, timeout_ms) != 0))
			session_drop(&client->session);
		turn_give(&client->turn);
	}
	pthread_setcancelstate(cancel_state, NULL);
	return err;
}

RNGCLIENT_EXPORT int rngclient_get(struct rngclient *client, void *buf, size_t len)
{
	const struct errand errand = {
	    .exchange = get_exchange,
	    .guarded = true,
	    .out = buf,
	    .out_bytes = len,
	};

	if (!client || (!buf && len > 0))
		return refuse(buf, len);
	if (len == 0)
		return 0;
	return client->bare.mark ? bare_get(client, buf, len) : call(client, &errand);
}

/* Runs an operation whose answer is a text; *generation, if wanted, is 0 when it fails. */
static int call_text(struct rngclient *client, uint8_t opcode, uint64_t *generation, char *text,
		     size_t size)
{
	uint64_t answer = 0;
	const struct errand errand = {
	    .exchange = text_exchange,
	    .opcode = opcode,
	    .out = text,
	    .out_bytes = size,
	    .generation = &answer,
	};
	int err = client && text && size > 0 ? call(client, &errand) : refuse(text, size);

	if (generation)
		*generation = err ? 0 : answer;
	return err;
}

RNGCLIENT_EXPORT int rngclient_status(struct rngclient *client, char *text, size_t size)
{
	return call_text(client, RNGD_PROTO_OP_STATUS, NULL, text, size);
}

RNGCLIENT_EXPORT int rngclient_subscribers(struct rngclient *client, uint64_t *generation,
					   char *text, size_t size)
{
	return call_text(client, RNGD_PROTO_OP_SUBSCRIBERS, generation, text, size);
}

/* Runs an operation whose answer is a generation; *generation, if wanted, is 0 when it fails. */
static int call_plain(struct rngclient *client, uint8_t opcode, const void *in, size_t in_bytes,
		      uint64_t *generation)
{
	uint64_t answer = 0;
	const struct errand errand = {
	    .exchange = plain_exchange,
	    .opcode = opcode,
	    .out = &answer,
	    .out_bytes = sizeof(answer),
	    .in = in,
	    .in_bytes = in_bytes,
	};
	int err = client ? call(client, &errand) : -EINVAL;

	if (generation)
		*generation = answer;
	return err;
}

RNGCLIENT_EXPORT int rngclient_look(struct rngclient *client, uint64_t *generation)
{
	return call_plain(client, RNGD_PROTO_OP_LOOK, NULL, 0, generation);
}

RNGCLIENT_EXPORT int rngclient_reseed(struct rngclient *client)
{
	return call_plain(client, RNGD_PROTO_OP_RESEED, NULL, 0, NULL);
}

RNGCLIENT_EXPORT int rngclient_bump(struct rngclient *client, const void *bytes, size_t len,
				    uint64_t *generation)
{
	if ((len > 0 && !bytes) || (len > 0 && len < RNGCLIENT_BUMP_MIN_BYTES) ||
	    len > RNGCLIENT_BUMP_MAX_BYTES)
		client = NULL;
	return call_plain(client, RNGD_PROTO_OP_BUMP, bytes, len, generation);
}

RNGCLIENT_EXPORT int rngclient_contribute(struct rngclient *client, const void *bytes, size_t len)
{
	if (!bytes || len == 0 || len > RNGCLIENT_CONTRIBUTE_MAX_BYTES)
		client = NULL;
	return call_plain(client, RNGD_PROTO_OP_CONTRIBUTE, bytes, len, NULL);
}

RNGCLIENT_EXPORT int rngclient_epoch_info(struct rngclient *client, struct rngclient_epoch *epoch)
{
	struct rngclient_epoch known;
	const struct errand errand = {
	    .exchange = info_exchange,
	    .guarded = true,
	    .out = &known,
	    .out_bytes = sizeof(known),
	};

	if (!epoch || !page_fits(epoch))
		return -EINVAL;
	if (!client)
		return page_give(epoch, &known, -EINVAL);
	return page_give(epoch, &known, call(client, &errand));
}

RNGCLIENT_EXPORT int rngclient_epoch_file(const char *path, struct rngclient_epoch *epoch)
{
	struct rngclient_epoch known;
	int cancel_state, err;
	struct page page;

	if (!epoch || !page_fits(epoch))
		return -EINVAL;
	if (path && *path == '\0')
		return page_give(epoch, &known, -EINVAL);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	err = page_open(&page, path ? path : RNGCLIENT_DEFAULT_EPOCH);
	if (!err)
		page_read(&page, &known);
	page_drop(&page);
	pthread_setcancelstate(cancel_state, NULL);
	return page_give(epoch, &known, err);
}

RNGCLIENT_EXPORT uint64_t rngclient_epoch(const struct rngclient *client)
{
	return client ? shelf_token(&client->session.guard.shelf) : 0;
}

RNGCLIENT_EXPORT int rngclient_epoch_same(const struct rngclient *client, uint64_t token)
{
	/* A bare handle has no clock to see by whether somebody watches. */
	return client && !client->bare.mark &&
	       shelf_is_current(&client->session.guard.shelf, token);
}

RNGCLIENT_EXPORT void rngclient_close(struct rngclient *client)
{
	int saved_errno = errno;

	if (client && client->bare.mark) {
		bare_close(client);
	} else if (client) {
		events_deinit(&client->events);
		session_deinit(&client->session);
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
