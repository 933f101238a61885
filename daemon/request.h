/*
 * daemon/request - what a peer may ask, and the operations that do something to the daemon.
 */
#ifndef DAEMON_REQUEST_H
#define DAEMON_REQUEST_H

#include <stdbool.h>

#include "daemon/events.h"
#include "daemon/quota.h"
#include "daemon/reseed.h"
#include "proto/rngd_proto.h"
#include "proto/wire.h"

/* What an answer depends on besides the request. */
struct request_standing {
	bool control;    /* the connection came by the control socket */
	bool has_page;   /* the daemon publishes an epoch page */
	bool page_asked; /* this connection has had its descriptor */
	bool has_rdrand; /* siblings differ even without the host's bytes */
	bool subscribed; /* the connection is for events */
};

/* Why a well-framed request is refused, or RNGD_PROTO_OK. Changes nothing. */
enum rngd_proto_status request_judge(const struct wire_request *req,
				     const struct request_standing *standing);

/* What an operation works on. */
struct request_context {
	struct reseed *reseed;
	struct quota_user *user;
	struct subscriber *subscriber; /* for ACK; else NULL */
};

/*
 * Does what LOOK, BUMP, RESEED, ACK, SUBSCRIBERS or CONTRIBUTE ask; only after request_judge()
 * found them good. RNGD_PROTO_OK; RNGD_PROTO_E_UNAVAILABLE: the reseed that belongs to it failed,
 * and no bytes are served until one succeeds (a BUMP has moved the clone generation all the same);
 * RNGD_PROTO_E_BODY: an ACK of what was not yet; RNGD_PROTO_E_AGAIN: too much contributed.
 */
enum rngd_proto_status request_act(const struct wire_request *req,
				   const struct request_context *context);

#endif
