/*
 * client/events - a handle's subscription to clone events: one caller at a time, and none of them
 * in a child. Private to the library; the calls are in rngclient.h.
 */
#ifndef CLIENT_EVENTS_H
#define CLIENT_EVENTS_H

#include "client/subscription.h"
#include "client/turn.h"

enum events_state {
	EVENTS_OFF = 0,
	EVENTS_ON,
	EVENTS_PARENTS, /* this is a child, which has not subscribed */
};

struct events {
	struct turn turn; /* of all below. Nobody waits for anything else while having it */
	enum events_state state;
	unsigned waiting; /* calls that sleep until the answer to the first SUBSCRIBE is there */
	struct subscription sub;
};

/* Not subscribed. 0 or -ENOMEM. */
int events_init(struct events *events);

/*
 * Ends the subscription, if it is this process's; else closes its copy of the connection. A zeroed
 * struct is allowed. Nobody else may be in a call.
 */
void events_deinit(struct events *events);

#endif
