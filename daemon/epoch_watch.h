/*
 * daemon/epoch_watch - wakes the daemon when a detector may have news: by its descriptor, or by a
 * timer for those that cannot wake. Only latency depends on it (epoch.h).
 */
#ifndef DAEMON_EPOCH_WATCH_H
#define DAEMON_EPOCH_WATCH_H

#include <ev.h>

#include "daemon/epoch.h"

struct epoch_watch {
	struct ev_loop *loop; /* NULL: not started */
	const struct epoch *epoch;
	ev_io wakers[EPOCH_ROWS];
	ev_timer poll;
	void (*look)(void *owner);
	void *owner;
};

/* From now on look(owner) is called whenever the detectors of epoch should be asked. */
void epoch_watch_start(struct epoch_watch *watch, struct ev_loop *loop, const struct epoch *epoch,
		       void (*look)(void *owner), void *owner);

/* Before the loop or the epoch goes; a zeroed struct is allowed. */
void epoch_watch_stop(struct epoch_watch *watch);

#endif
