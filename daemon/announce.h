/*
 * daemon/announce - carries a moved generation to the subscribers, so many in each pass of the loop
 * that a crowd of them does not hold up who asks for bytes.
 */
#ifndef DAEMON_ANNOUNCE_H
#define DAEMON_ANNOUNCE_H

#include <ev.h>

#include "daemon/epoch.h"
#include "daemon/events.h"

struct announce {
	struct ev_loop *loop;
	struct events *events;
	const struct epoch *epoch;
	ev_prepare prepare; /* has it moved? */
	ev_idle idle;       /* somebody is left for the next pass: the loop must not sleep */
};

/* The two must outlive it. */
void announce_start(struct announce *announce, struct ev_loop *loop, struct events *events,
		    const struct epoch *epoch);

/* A zeroed struct is allowed. */
void announce_stop(struct announce *announce);

#endif
