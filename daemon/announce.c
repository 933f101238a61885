/*
 * Owns: its two watchers. May touch: the subscribers' connections, through conn_announce(). Never
 * does: reach more than ANNOUNCE_BURST of them in one pass.
 */
#include "daemon/announce.h"

#include <stdbool.h>

#include "daemon/clock.h"
#include "daemon/conn.h"

/* At some 5 us each a third of a millisecond. */
#define ANNOUNCE_BURST 64

static void idle(struct ev_loop *loop, ev_idle *watcher, int events)
{
	(void)loop;
	(void)watcher;
	(void)events;
}

/* Before the loop sleeps: everything that can move the generation ran before. */
static void look(struct ev_loop *loop, ev_prepare *watcher, int events)
{
	struct announce *announce = watcher->data;
	struct subscriber *subscriber;
	bool more = announce->epoch->generation != announce->events->generation ||
		    !list_empty(&announce->events->due);

	(void)events;
	if (more)
		more = events_moved(announce->events, announce->epoch->generation, clock_now_ms());
	for (int i = 0; more && i < ANNOUNCE_BURST; i++) {
		subscriber = events_next(announce->events);
		more = subscriber != NULL;
		if (more)
			conn_announce(subscriber->peer.conn);
	}
	if (more)
		ev_idle_start(loop, &announce->idle);
	else
		ev_idle_stop(loop, &announce->idle);
}

void announce_start(struct announce *announce, struct ev_loop *loop, struct events *events,
		    const struct epoch *epoch)
{
	announce->loop = loop;
	announce->events = events;
	announce->epoch = epoch;
	ev_prepare_init(&announce->prepare, look);
	announce->prepare.data = announce;
	ev_idle_init(&announce->idle, idle);
	ev_prepare_start(loop, &announce->prepare);
}

void announce_stop(struct announce *announce)
{
	if (!announce->loop)
		return;
	ev_prepare_stop(announce->loop, &announce->prepare);
	ev_idle_stop(announce->loop, &announce->idle);
	announce->loop = NULL;
}
