/*
 * Owns: the turn of a handle's subscription, and whose it is. May touch: the caller's event.
 * Never does: wait while it has the turn, or touch the descriptors of a parent's subscription.
 */
#include "client/events.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>

#include "client/errand.h"
#include "client/handle.h"
#include "proto/epoch_page.h"

/* struct rngclient_event as its first version had it, and more than any version will have. */
#define EVENTS_MIN_BYTES (offsetof(struct rngclient_event, id) + RNGD_PROTO_EVENT_ID_BYTES)
#define EVENTS_MAX_BYTES 4096u

int events_init(struct events *events)
{
	events->state = EVENTS_OFF;
	subscription_init(&events->sub);
	return turn_init(&events->turn);
}

/* The turn. In a child what is here is the parent's. */
static int enter(struct events *events)
{
	bool forked;
	int err = turn_take(&events->turn, TRANSPORT_NO_DEADLINE, &forked);

	if (err || !forked)
		return err;
	subscription_forget(&events->sub);
	events->waiting = 0;
	if (events->state == EVENTS_ON)
		events->state = EVENTS_PARENTS;
	return 0;
}

/* err, or -ECHILD where a signal handler forked meanwhile. */
static int leave(struct events *events, int err)
{
	if (!turn_is_ours(&events->turn)) {
		err = enter(events);
		if (err)
			return err;
		err = -ECHILD;
	}
	turn_give(&events->turn);
	return err;
}

/* 0, or why there is no subscription. One whose descriptors the program closed is none. */
static int check_state(struct events *events)
{
	if (events->state == EVENTS_ON && !subscription_is_ours(&events->sub)) {
		subscription_forget(&events->sub);
		events->state = EVENTS_OFF;
	}
	return events->state == EVENTS_ON        ? 0
	       : events->state == EVENTS_PARENTS ? -ECHILD
						 : -ENOTCONN;
}

static int begin(struct events *events, const char *path)
{
	int err;

	if (check_state(events) == 0)
		return 0;
	err = subscription_begin(&events->sub, path, &events->turn);
	if (!err)
		events->state = EVENTS_ON;
	return err;
}

static void end_waiting(struct events *events, bool *waits)
{
	if (*waits && events->waiting > 0) /* 0 in a child */
		events->waiting--;
	*waits = false;
}

/*
 * begin() for one of several callers. Who reads the answer, or gives up the connection, wakes the
 * others: they sleep on a descriptor that has nothing to say any more.
 */
static int begin_together(struct events *events, const char *path, bool *waits)
{
	int err;

	end_waiting(events, waits);
	err = begin(events, path);
	if (err == SUBSCRIPTION_E_WAIT) {
		events->waiting++;
		*waits = true;
	} else if (events->waiting > 0) {
		subscription_wake(&events->sub);
	}
	return err;
}

/* Gives up. Where another call still waits for the answer, or has it, that has the connection. */
static void abandon(struct events *events, bool *waits)
{
	if (enter(events) != 0)
		return;
	end_waiting(events, waits);
	if (events->state != EVENTS_ON && events->waiting == 0)
		subscription_stop(&events->sub);
	(void)leave(events, 0);
}

/* begin() until it succeeds or cannot. A descriptor or a negative errno. */
static int subscribe(struct rngclient *client, int64_t deadline_ns)
{
	struct events *events = &client->events;
	int pause_ms = 0, reason = -ETIMEDOUT;
	bool waits = false;
	int err, fd;

	for (;;) {
		err = enter(events);
		if (err)
			return err;
		err = begin_together(events, client->path, &waits);
		fd = events->sub.epoll_fd;
		err = leave(events, err);
		if (!err)
			return fd;
		if (err == SUBSCRIPTION_E_WAIT) {
			err = transport_wait(fd, POLLIN, &events->turn, deadline_ns);
		} else if (errand_is_absence(err) || err == -EAGAIN) {
			reason = err == -EAGAIN ? -ETIMEDOUT : err;
			err = errand_pause(&pause_ms, deadline_ns);
		} else if (err != -ECHILD) {
			return err;
		}
		if (err && err != -ESTALE && err != -ECHILD)
			break;
	}
	abandon(events, &waits);
	return err == -ETIMEDOUT ? reason : err;
}

/* The descriptor there is, or why there is none. */
static int present_fd(struct events *events)
{
	int err = enter(events);
	int fd;

	if (err)
		return err;
	err = check_state(events);
	fd = events->sub.epoll_fd;
	err = leave(events, err);
	return err ? err : fd;
}

static int look_exchange(struct session *session, const struct errand *errand, int64_t deadline_ns)
{
	return session_ask_plain(session, errand->opcode, NULL, 0, errand->out, deadline_ns);
}

RNGCLIENT_EXPORT int rngclient_event_fd(struct rngclient *client)
{
	uint64_t generation;
	/* A question that the daemon must answer, so that the page is the present daemon's. */
	const struct errand look = {
	    .exchange = look_exchange,
	    .guarded = true,
	    .opcode = RNGD_PROTO_OP_LOOK,
	    .out = &generation,
	    .out_bytes = sizeof(generation),
	};
	int64_t deadline_ns;
	int cancel_state, err;

	if (!client)
		return -EINVAL;
	if (client->bare.mark)
		return -EOPNOTSUPP;
	deadline_ns = transport_deadline(client->timeout_ms);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	err = present_fd(&client->events);
	if (err == -ENOTCONN || err == -ECHILD) {
		err = errand_run(client, &look, deadline_ns);
		if (!err)
			err = subscribe(client, deadline_ns);
	}
	pthread_setcancelstate(cancel_state, NULL);
	return err;
}

static void fill(struct rngclient_event *event, const struct feed_news *news)
{
	*event = (struct rngclient_event){
	    .size = sizeof(*event),
	    .generation = news->generation,
	    .realtime_ns = news->event.realtime_ns,
	    .boottime_ns = news->event.boottime_ns,
	    .notifier = news->event.notifier,
	};
	strncpy(event->notifier_name, epoch_page_notifier_name(event->notifier),
		sizeof(event->notifier_name) - 1);
	memcpy(event->id, news->event.id, sizeof(event->id));
}

/* Until there is an event, an error, or no time left. */
static int next(struct rngclient *client, struct rngclient_event *event, int64_t deadline_ns)
{
	struct events *events = &client->events;
	struct feed_news news;
	int err, fd, wait_err;

	for (;;) {
		err = enter(events);
		if (err)
			return err;
		err = check_state(events);
		if (!err)
			err = subscription_read(&events->sub, client->path, &events->turn, &news);
		fd = events->sub.epoll_fd;
		err = leave(events, err);
		if (!err)
			fill(event, &news);
		if (err != -EAGAIN)
			return err;
		wait_err = transport_wait(fd, POLLIN, &events->turn, deadline_ns);
		if (wait_err && wait_err != -ESTALE)
			return wait_err == -ETIMEDOUT ? -EAGAIN : wait_err;
	}
}

RNGCLIENT_EXPORT int rngclient_event_next(struct rngclient *client, struct rngclient_event *event,
					  int timeout_ms)
{
	struct rngclient_event known;
	size_t size;
	int cancel_state, err;

	if (!event || event->size < EVENTS_MIN_BYTES || event->size > EVENTS_MAX_BYTES)
		return -EINVAL;
	size = event->size;
	memset(event, 0, size);
	event->size = size;
	if (!client || timeout_ms < -1)
		return -EINVAL;
	if (client->bare.mark)
		return -EOPNOTSUPP;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	err = next(client, &known, transport_deadline(timeout_ms));
	pthread_setcancelstate(cancel_state, NULL);
	if (!err)
		memcpy(event, &known, size < sizeof(known) ? size : sizeof(known));
	event->size = size;
	return err;
}

RNGCLIENT_EXPORT int rngclient_event_ack(struct rngclient *client, uint64_t generation)
{
	struct events *events;
	int cancel_state, err;

	if (!client)
		return -EINVAL;
	if (client->bare.mark)
		return -EOPNOTSUPP;
	events = &client->events;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	err = enter(events);
	if (!err) {
		err = check_state(events);
		if (!err)
			err = subscription_acknowledge(&events->sub, generation);
		err = leave(events, err);
	}
	pthread_setcancelstate(cancel_state, NULL);
	return err;
}

void events_deinit(struct events *events)
{
	if (!events->turn.page)
		return;
	if (turn_is_ours(&events->turn))
		subscription_end(&events->sub, events->state == EVENTS_ON);
	else
		subscription_forget(&events->sub);
	turn_deinit(&events->turn);
}
