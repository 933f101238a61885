/*
 * client/handle - what a handle is made of. Private to the library.
 */
#ifndef CLIENT_HANDLE_H
#define CLIENT_HANDLE_H

#include "client/bare.h"
#include "client/events.h"
#include "client/session.h"
#include "client/turn.h"

#define RNGCLIENT_EXPORT __attribute__((visibility("default")))

struct rngclient {
	struct turn turn; /* of the session */
	struct session session;
	struct events events;   /* has a turn of its own: no call of one waits for the other */
	_Atomic int timeout_ms; /* read before the turn, to know how long to wait for it */
	char *path;             /* constant */
	/* A bare handle has this, the session, and none of the others. */
	struct bare bare;
};

#endif
