/*
 * Owns: nothing. May touch: the handle whose turn it took, and the caller's buffers during a call.
 * Never does: log, read the environment, hand out part of an answer, or keep a connection
 * after a call that did not end well: late bytes must not be taken for another call's.
 */
#include "client/errand.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "client/handle.h"
#include "proto/rngd_proto.h"

/* Between two tries to reach a daemon that is gone: the first pause and the longest. */
#define ERRAND_PAUSE_MIN_MS 1
#define ERRAND_PAUSE_MAX_MS 50

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

bool errand_is_absence(int err)
{
	return is_gone(err) || err == -ECONNRESET || err == -EPIPE || err == -EBUSY;
}

int errand_prepare(struct rngclient *client, const struct errand *errand, int64_t deadline_ns)
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

int errand_pause(int *pause_ms, int64_t deadline_ns)
{
	if (*pause_ms > 0 && transport_pause(*pause_ms, deadline_ns) != 0)
		return -ETIMEDOUT;
	*pause_ms = *pause_ms == 0 ? ERRAND_PAUSE_MIN_MS : *pause_ms * 2;
	if (*pause_ms > ERRAND_PAUSE_MAX_MS)
		*pause_ms = ERRAND_PAUSE_MAX_MS;
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
		err = errand_prepare(client, errand, deadline_ns);
		if (err != -ETIMEDOUT)
			*reason = is_gone(err) || err == -EBUSY             ? err
				  : *reason == -EAGAIN || *reason == -EBUSY ? *reason
									    : 0;
		if (!err)
			err = errand->exchange(session, errand, deadline_ns);
		fork_err = check_fork(client, deadline_ns);
		if (fork_err && fork_err != -ESTALE)
			return fork_err;
		if (fork_err) {
			session_shut(session);
			err = fork_err;
		}
		if (!err)
			return 0;
		explicit_bzero(errand->out, errand->out_bytes);
		if (err == SESSION_E_AGAIN) {
			*reason = -EAGAIN;
			pause_ms = pause_ms ? pause_ms : ERRAND_PAUSE_MIN_MS;
		} else if (err == SESSION_E_MOVED) {
			*reason = 0;
		} else {
			session_drop(session);
			if (err == -EBUSY)
				*reason = err;
			if (err == -EPROTONOSUPPORT && lower_version(session))
				continue;
			if (!errand_is_absence(err) && err != -ESTALE)
				return err;
		}
		err = errand_pause(&pause_ms, deadline_ns);
		if (err)
			return err;
	}
}

int errand_run(struct rngclient *client, const struct errand *errand, int64_t deadline_ns)
{
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
