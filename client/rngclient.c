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

#include "client/page.h"
#include "client/session.h"
#include "client/turn.h"
#include "proto/rngd_proto.h"

_Static_assert(RNGCLIENT_STATUS_BYTES == RNGD_PROTO_STATUS_MAX_BYTES + 1, "text and NUL");
_Static_assert(RNGCLIENT_BUMP_MIN_BYTES == RNGD_PROTO_BUMP_MIN_BYTES &&
		   RNGCLIENT_BUMP_MAX_BYTES == RNGD_PROTO_BUMP_MAX_BYTES,
	       "one set of limits");

#define RNGCLIENT_EXPORT __attribute__((visibility("default")))

/* Between two tries to reach a daemon that is gone: the first pause and the longest. */
#define RNGCLIENT_PAUSE_MIN_MS 1
#define RNGCLIENT_PAUSE_MAX_MS 50

struct rngclient {
	struct turn turn;
	struct session session;
	_Atomic int timeout_ms; /* read before the turn, to know how long to wait for it */
	char *path;
};

/* What one call is about. */
struct errand {
	int (*exchange)(struct session *session, const struct errand *errand, int64_t deadline_ns);
	bool guarded; /* needs the page */
	uint8_t opcode;
	void *out; /* zeroed when the call fails */
	size_t out_bytes;
	const void *in;
	size_t in_bytes;
};

static int get_exchange(struct session *session, const struct errand *errand, int64_t deadline_ns)
{
	return session_ask_bytes(session, errand->out, errand->out_bytes, deadline_ns);
}

static int status_exchange(struct session *session, const struct errand *errand,
			   int64_t deadline_ns)
{
	return session_ask_status(session, errand->out, errand->out_bytes, deadline_ns);
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

/*
 * The lower version of the two, after the daemon said which it speaks. Nothing in a reply of
 * another version is trusted, so this is a try: false when there is none left.
 */
static bool lower_version(struct session *session)
{
	if (session->version <= RNGD_PROTO_VERSION_MIN)
		return false;
	session->version--;
	return true;
}

/* There is no daemon at the moment. */
static bool is_gone(int err)
{
	return err == -ECONNREFUSED || err == -ENOENT;
}

/* The daemon is gone, is being replaced, or has no room for us: worth another try before the
 * deadline. */
static bool is_absence(int err)
{
	return is_gone(err) || err == -ECONNRESET || err == -EPIPE || err == -EBUSY;
}

/* Connects where needed, and sees to the page where it is needed. */
static int make_ready(struct rngclient *client, const struct errand *errand, int64_t deadline_ns)
{
	struct page_question question = {
	    .path = client->path,
	    .turn = &client->turn,
	    .timeout_ms = client->timeout_ms,
	    .deadline_ns = deadline_ns,
	};
	int err = session_connect(&client->session, &question);

	return err || !errand->guarded ? err : guard_prepare(&client->session.guard, &question);
}

/* A signal handler forked inside the exchange: what came is the parent's. */
static int check_fork(struct rngclient *client, int64_t deadline_ns)
{
	bool forked;
	int err;

	if (turn_is_ours(&client->turn))
		return 0;
	err = turn_take(&client->turn, deadline_ns, &forked);
	return err ? err : -ESTALE;
}

/* Before another try. At once the first time: a restarted daemon is there already. */
static int wait_a_little(int *pause_ms, int64_t deadline_ns)
{
	if (*pause_ms > 0 && transport_pause(*pause_ms, deadline_ns) != 0)
		return -ETIMEDOUT;
	*pause_ms = *pause_ms == 0 ? RNGCLIENT_PAUSE_MIN_MS : *pause_ms * 2;
	if (*pause_ms > RNGCLIENT_PAUSE_MAX_MS)
		*pause_ms = RNGCLIENT_PAUSE_MAX_MS;
	return 0;
}

/*
 * Runs one whole exchange, connecting where needed, and repeats it from the start while that can
 * help. *reason: why the last try failed, where that is a better answer at the deadline than
 * "timed out". What was received in vain is wiped.
 */
static int run(struct rngclient *client, const struct errand *errand, int64_t deadline_ns,
	       int *reason)
{
	struct session *session = &client->session;
	int pause_ms = 0;
	int err, fork_err;

	for (;;) {
		err = make_ready(client, errand, deadline_ns);
		if (err != -ETIMEDOUT)
			*reason = is_gone(err) || err == -EBUSY             ? err
				  : *reason == -EAGAIN || *reason == -EBUSY ? *reason
									    : 0;
		if (!err)
			err = errand->exchange(session, errand, deadline_ns);
		fork_err = check_fork(client, deadline_ns);
		if (fork_err && fork_err != -ESTALE)
			return fork_err;
		if (fork_err)
			err = fork_err;
		if (!err)
			return 0;
		explicit_bzero(errand->out, errand->out_bytes);
		if (err == SESSION_E_AGAIN) {
			*reason = -EAGAIN;
			pause_ms = pause_ms ? pause_ms : RNGCLIENT_PAUSE_MIN_MS;
		} else if (err == SESSION_E_MOVED) {
			*reason = 0;
		} else {
			session_drop(session);
			if (err == -EBUSY)
				*reason = err;
			if (err == -EPROTONOSUPPORT && lower_version(session))
				continue;
			if (!is_absence(err) && err != -ESTALE)
				return err;
		}
		err = wait_a_little(&pause_ms, deadline_ns);
		if (err)
			return err;
	}
}

/* The frame of every call: the turn, the fork, the exchange, and zeroes if it fails. */
static int call(struct rngclient *client, const struct errand *errand)
{
	int64_t deadline_ns = transport_deadline(client->timeout_ms);
	int reason = 0;
	int cancel_state;
	bool forked;
	int err;

	/* A thread cancelled half way would keep the turn for ever. */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	err = turn_take(&client->turn, deadline_ns, &forked);
	if (!err) {
		if (forked) /* the connection is the parent's: close our copy of it */
			session_drop(&client->session);
		err = run(client, errand, deadline_ns, &reason);
		if (err == -ETIMEDOUT && reason)
			err = reason;
		turn_give(&client->turn);
	}
	pthread_setcancelstate(cancel_state, NULL);
	if (err)
		explicit_bzero(errand->out, errand->out_bytes);
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
	session_init(&client->session);
	client->timeout_ms = timeout_ms;
	client->path = strdup(socket_path);
	err = client->path ? turn_init(&client->turn) : -ENOMEM;
	if (!err) /* the page can wait until it is needed */
		err = make_ready(client, &(struct errand){.guarded = false},
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
	return len == 0 ? 0 : call(client, &errand);
}

RNGCLIENT_EXPORT int rngclient_status(struct rngclient *client, char *text, size_t size)
{
	const struct errand errand = {
	    .exchange = status_exchange,
	    .out = text,
	    .out_bytes = size,
	};

	if (!client || !text || size == 0)
		return refuse(text, size);
	return call(client, &errand);
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

RNGCLIENT_EXPORT void rngclient_close(struct rngclient *client)
{
	int saved_errno = errno;

	if (client) {
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
