/*
 * Owns: the peer's descriptor and what little is kept of its requests. May touch: the shared
 * scratch during its turn. Never does: block, keep a random byte beyond its turn, trust a
 * length, or end the process for anything a peer sends.
 */
#include "daemon/conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/batch.h"
#include "daemon/clock.h"
#include "daemon/outgoing.h"
#include "daemon/parting.h"
#include "host/secmem.h"

/* Replaces *kept by a copy of len bytes; 0 or -ENOMEM. */
static int keep(uint8_t **kept, size_t *kept_bytes, const uint8_t *from, size_t len)
{
	uint8_t *copy = NULL;

	if (len > 0) {
		copy = malloc(len);
		if (!copy)
			return -ENOMEM;
		memcpy(copy, from, len);
	}
	if (*kept)
		wipe(*kept, *kept_bytes); /* may hold a bump's bytes */
	free(*kept);
	*kept = copy;
	*kept_bytes = len;
	return 0;
}

/* All but its descriptor and its place. */
static void conn_strip(struct conn *conn)
{
	if (conn->subscriber) {
		parting_hear(conn);
		events_leave(conn->shared->events, conn->subscriber,
			     conn->shared->reseed->epoch->generation, clock_now_ms());
	}
	conn->subscriber = NULL;
	deadline_clear(&conn->deadline);
	quota_unwait(conn->user, &conn->waiter);
	ev_io_stop(conn->shared->loop, &conn->watcher);
	(void)keep(&conn->in, &conn->in_bytes, NULL, 0); /* nothing to copy cannot fail */
	(void)keep(&conn->out, &conn->out_bytes, NULL, 0);
	conn->frame_owed = 0;
}

/* While the peer holds replies it lingers: they are ours to pay for. */
static void conn_end(struct conn *conn)
{
	if (!conn->shared->stopping && unread_takes(&conn->shared->peers->unread, conn)) {
		conn_strip(conn);
		return;
	}
	conn->shared->ended(conn->shared->owner, conn);
	conn_free(conn);
}

/* Is there an event for it? */
static bool conn_has_event(const struct conn *conn)
{
	return conn->subscriber &&
	       events_is_due(conn->subscriber, conn->shared->reseed->epoch->generation);
}

/* Is there anything to send before more requests are read? */
static bool conn_owes(const struct conn *conn)
{
	return conn->out_bytes > 0 || conn->frame_owed > 0 || conn->progress.get_owed > 0 ||
	       conn->progress.close_after || conn_has_event(conn);
}

/*
 * Brings the input into the shared buffer: what was kept, and if that holds no whole
 * request, what the peer sent since. 0, or -errno: -EAGAIN nothing new, -ECONNRESET the end.
 */
static int conn_read(struct conn *conn, size_t *in_bytes)
{
	struct conn_shared *shared = conn->shared;
	struct iovec iov;
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	if (conn->in_bytes > 0)
		memcpy(shared->in, conn->in, conn->in_bytes);
	*in_bytes = conn->in_bytes;
	if (conn_owes(conn) || batch_has_request(shared->in, *in_bytes))
		return 0;
	iov.iov_base = shared->in + *in_bytes;
	iov.iov_len = CONN_IN_BYTES - *in_bytes;
	n = recvmsg(conn->fd, &msg, MSG_DONTWAIT);
	if (n < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	/* Passed descriptors find no room and are dropped; so is who passed them. */
	if (n == 0 || (msg.msg_flags & MSG_CTRUNC))
		return -ECONNRESET;
	*in_bytes += (size_t)n;
	return 0;
}

/* Sends the batch; what the peer does not take becomes a debt in conn. 0 or -errno. */
static int conn_send(struct conn *conn, struct batch *batch)
{
	uint8_t *scratch = conn->shared->scratch;
	uint64_t requests;
	ssize_t n = outgoing_send(conn, batch);

	if (n < 0)
		return (int)n;
	batch->cost.sent_bytes = (size_t)n;
	unread_sent(conn, (size_t)n);
	conn->page_owed = batch->with_page && n == 0;
	conn->page_asked = batch->standing.page_asked;
	batch_sent(batch, (size_t)n);
	requests = batch->progress.requests - conn->progress.requests;
	conn->shared->bytes_served += batch->random_sent;
	conn->shared->requests += requests;
	quota_count(conn->user, requests, batch->random_sent);
	conn->progress = batch->progress;
	conn->frame_owed = batch->frame_owed;
	conn->frame_generation = batch->generation;
	if (batch->event)
		events_sent(conn->subscriber, batch->event);
	return keep(&conn->out, &conn->out_bytes, scratch + batch->unsent_start,
		    batch->unsent_bytes);
}

/* Is there something to answer, or to go on with, before more is read? */
static bool conn_busy(const struct conn *conn)
{
	return conn_owes(conn) || batch_has_request(conn->in, conn->in_bytes);
}

/* After a turn: wait to write while something is owed or ready to be answered, else to read. */
static void conn_watch(struct conn *conn)
{
	int events = conn_busy(conn) ? EV_WRITE : EV_READ;

	if ((conn->watcher.events & (EV_READ | EV_WRITE)) != events) {
		ev_io_stop(conn->shared->loop, &conn->watcher);
		ev_io_set(&conn->watcher, conn->fd, events);
	}
	ev_io_start(conn->shared->loop, &conn->watcher); /* active already: no matter */
}

/* What the peer is at. A subscriber may be silent for ever, but it must take its events. */
static enum deadline_state conn_state(const struct conn *conn)
{
	if (conn->unread.held || conn_busy(conn))
		return DEADLINE_REPLY;
	if (conn->in_bytes > 0)
		return DEADLINE_REQUEST;
	if (!conn->subscriber)
		return DEADLINE_IDLE;
	return events_is_awaited(conn->subscriber) ? DEADLINE_REPLY : DEADLINE_NONE;
}

/*
 * What the peer must do by when. A byte of a request that does not complete it is no progress.
 * 0, or -ETIMEDOUT: it is too late.
 */
static int conn_time(struct conn *conn, bool progress, int64_t now_ms)
{
	struct deadlines *deadlines = &conn->shared->peers->deadlines;
	enum deadline_state state = conn_state(conn);

	if (conn->late && !progress && state == DEADLINE_REQUEST)
		return -ETIMEDOUT;
	conn->late = false;
	if (state == DEADLINE_NONE)
		deadline_clear(&conn->deadline);
	else if (progress)
		deadline_set(deadlines, &conn->deadline, state, now_ms);
	else
		deadline_keep(deadlines, &conn->deadline, state, now_ms);
	return 0;
}

/* Will its next turn bring more than a small one may? */
static bool conn_is_large(const struct conn *conn)
{
	return conn->frame_owed > QUOTA_SMALL_BYTES || conn->progress.get_owed > QUOTA_SMALL_BYTES;
}

/*
 * It waits for a turn in a later pass. The rest of a request may be there already, so that
 * deadline, which runs on, ends nothing before the turn; no other runs: it is our move, until the
 * peer has left as much unread as its socket holds.
 */
static void conn_wait(struct conn *conn)
{
	struct peers *peers = conn->shared->peers;

	if (conn->deadline.state != DEADLINE_REQUEST || conn_owes(conn))
		deadline_clear(&conn->deadline);
	quota_wait(&peers->quota, conn->user, &conn->waiter, conn_is_large(conn));
	peers_waits(peers);
}

/* How much this turn may bring. 0: its peer has to read first. */
static size_t conn_room(const struct conn *conn)
{
	return conn->unread.narrow || conn_is_large(conn) ? unread_room(conn) : CONN_SCRATCH_BYTES;
}

/* The peer becomes a subscriber. 0 or -ENOMEM. */
static int conn_subscribe(struct conn *conn, const struct batch *batch)
{
	struct conn_shared *shared = conn->shared;
	const struct events_peer peer = {.conn = conn,
					 .uid = conn->user->uid,
					 .pid = conn->pid,
					 .privileged = conn->privileged,
					 .version = batch->subscribe_version,
					 .tag = batch->subscribe_tag};

	conn->subscriber = events_subscribe(shared->events, &peer, batch->subscribe,
					    shared->reseed->epoch->generation, clock_now_ms());
	return conn->subscriber ? 0 : -ENOMEM;
}

/*
 * Has it a next turn without being watched for it? What was left out of a small turn, and the rest
 * of a large GET whose peer took all so far: the kernel calls a socket writable when three quarters
 * of its buffer are read, and by then each side has waited for the other.
 */
static bool conn_goes_on(const struct conn *conn, const struct batch *batch)
{
	if (conn->out_bytes > 0 || batch->cost.sent_bytes < batch->bytes)
		return false;
	return (batch->held && conn->frame_owed == 0) || conn_is_large(conn);
}

/* Makes and sends what is to be answered. 0, or -errno: the connection is over. */
static int conn_answer(struct conn *conn, size_t in_bytes, int64_t now_ms)
{
	struct conn_shared *shared = conn->shared;
	uint64_t requests = conn->progress.requests;
	struct batch batch;
	size_t used;
	int err, kept = 0;

	err = batch_make(&batch, conn, in_bytes);
	if (!err && batch.subscribe)
		err = conn_subscribe(conn, &batch);
	if (!err)
		err = conn_send(conn, &batch);
	wipe(shared->scratch, batch.bytes);
	used = conn->progress.in_used;
	quota_charge(&shared->peers->quota, conn->user, &batch.cost, now_ms,
		     ev_iteration(shared->loop));
	conn->progress.in_used = 0;
	if (!err || conn->subscriber) /* whose ACKs count, if need be at the end */
		kept = keep(&conn->in, &conn->in_bytes, shared->in + used, in_bytes - used);
	err = err ? err : kept;
	wipe(shared->in, in_bytes);
	if (err)
		return err;

	/* At a frame boundary, and nobody is to be answered any more. */
	if (conn->out_bytes == 0 && conn->frame_owed == 0 &&
	    (conn->progress.close_after || shared->stopping))
		return -ECONNRESET;
	if (conn_goes_on(conn, &batch)) {
		/* The pass after this one would be no wait to speak of; its rate may be. */
		if (batch.held || quota_may(&shared->peers->quota, conn->user, now_ms,
					    ev_iteration(shared->loop) + 1) != QUOTA_LARGE)
			quota_put_off(&shared->peers->quota, conn->user);
		conn_wait(conn);
		return 0;
	}
	conn_watch(conn);
	return conn_time(conn, batch.cost.sent_bytes > 0 || conn->progress.requests != requests,
			 now_ms);
}

/* One turn: read, plan, make, send, remember. 0, or -errno: the connection is over. */
static int conn_turn(struct conn *conn)
{
	struct conn_shared *shared = conn->shared;
	int64_t now_ms = clock_now_ms();
	enum quota_turn may = QUOTA_LARGE;
	size_t in_bytes;
	int err;

	if (unread_holds(&shared->peers->unread, conn)) {
		ev_io_stop(shared->loop, &conn->watcher);
		return conn_time(conn, false, now_ms);
	}
	if (!shared->stopping)
		may = quota_may(&shared->peers->quota, conn->user, now_ms,
				ev_iteration(shared->loop));
	if (may == QUOTA_NOTHING || (may == QUOTA_SMALL && conn_is_large(conn))) {
		quota_put_off(&shared->peers->quota, conn->user);
		conn_wait(conn);
		return 0;
	}
	conn->small = may == QUOTA_SMALL;
	conn->room_bytes = conn_room(conn);
	if (conn->room_bytes == 0)
		err = outgoing_ended(conn) ? -EPIPE : -EAGAIN;
	else
		err = conn_read(conn, &in_bytes);
	if (err == -EAGAIN) {
		conn_watch(conn);
		return conn_time(conn, false, now_ms);
	}
	return err ? err : conn_answer(conn, in_bytes, now_ms);
}

static void conn_ready(struct ev_loop *loop, ev_io *watcher, int events)
{
	struct conn *conn = watcher->data;

	/* EV_ERROR: the kernel would not watch it (max_user_watches), so it could never be served.
	 */
	if (events & (int)EV_ERROR)
		conn_end(conn);
	else if (!list_empty(&conn->waiter))
		ev_io_stop(loop, watcher); /* or epoll says it again and again */
	else if (conn_turn(conn) != 0)
		conn_end(conn);
}

void conn_resume(struct conn *conn)
{
	/* What epoll found in this pass is seen in this turn. */
	int events = ev_clear_pending(conn->shared->loop, &conn->watcher);

	if ((events & (int)EV_ERROR) || conn_turn(conn) != 0)
		conn_end(conn);
}

void conn_look(struct conn *conn)
{
	if (conn->unread.lingering || conn_turn(conn) != 0)
		conn_end(conn);
}

/* While it waits in the quota's queue its turn comes anyhow, and brings the event. */
void conn_announce(struct conn *conn)
{
	if (list_empty(&conn->waiter) && conn_turn(conn) != 0)
		conn_end(conn);
}

void conn_expire(struct conn *conn)
{
	conn->late = !list_empty(&conn->waiter);
	if (!conn->late)
		conn_end(conn);
}

struct conn *conn_new(struct conn_shared *shared, int fd, const struct conn_peer *peer)
{
	struct conn *conn = calloc(1, sizeof(*conn));

	if (!conn) {
		close(fd);
		quota_leave(&shared->peers->quota, peer->user, clock_now_ms());
		return NULL;
	}
	conn->shared = shared;
	conn->fd = fd;
	conn->user = peer->user;
	conn->pid = peer->pid;
	conn->control = peer->control;
	conn->privileged = peer->privileged;
	list_init(&conn->waiter);
	deadline_init(&conn->deadline);
	unread_enter(&shared->peers->unread, conn);
	deadline_set(&shared->peers->deadlines, &conn->deadline, DEADLINE_IDLE, clock_now_ms());
	ev_io_init(&conn->watcher, conn_ready, fd, EV_READ);
	conn->watcher.data = conn;
	ev_io_start(shared->loop, &conn->watcher);
	return conn;
}

void conn_free(struct conn *conn)
{
	conn_strip(conn);
	unread_leave(&conn->shared->peers->unread, conn);
	quota_leave(&conn->shared->peers->quota, conn->user, clock_now_ms());
	close(conn->fd);
	free(conn);
}

bool conn_stop(struct conn *conn)
{
	return conn->out_bytes == 0 && conn->frame_owed == 0;
}
