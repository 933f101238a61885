/*
 * client/feed - one connection that subscribed to events, read and written without waiting. Private
 * to the library.
 */
#ifndef CLIENT_FEED_H
#define CLIENT_FEED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/transport.h"
#include "proto/rngd_proto.h"
#include "proto/wire.h"

enum feed_state {
	FEED_CLOSED = 0,
	FEED_ASKED, /* SUBSCRIBE was sent */
	FEED_ON,    /* and answered */
};

struct feed {
	struct transport transport;
	enum feed_state state;
	uint64_t acks_sent, acks_answered;
	size_t have; /* bytes of frame[] */
	uint8_t frame[RNGD_PROTO_REPLY_HEAD_BYTES + RNGD_PROTO_ERROR_MAX_BYTES];
};

/* What feed_read() found. */
enum feed_result {
	FEED_STARTED = 1, /* the answer to SUBSCRIBE; generation is the machine's */
	FEED_EVENT = 2,
	FEED_ACKED = 3, /* the answer to an ACK */
};

struct feed_news {
	uint64_t generation;
	struct wire_event event; /* with FEED_EVENT */
};

/* Not connected yet. */
void feed_init(struct feed *feed);

/*
 * Connects to the socket at path and sends SUBSCRIBE. 0, -EAGAIN: the backlog is full, or an error
 * of transport_try() or send(2). On failure it is closed.
 */
int feed_open(struct feed *feed, const char *path, const struct turn *turn, uint64_t acknowledged,
	      const uint8_t id[RNGD_PROTO_SUBSCRIBER_ID_BYTES]);

/*
 * Reads one frame at most. An enum feed_result, -EAGAIN: no whole frame is there; or the connection
 * is of no use any more: -ECONNRESET, -EPROTO, -EBUSY (the daemon has no room for it), -EOPNOTSUPP,
 * -EPROTONOSUPPORT (it knows no events, or not this version), or an errno of recv(2).
 */
int feed_read(struct feed *feed, struct feed_news *news);

/* Sends an ACK. 0, -EAGAIN: no room, nothing was sent; or an errno: of no use any more. */
int feed_ack(struct feed *feed, uint64_t generation, enum rngd_proto_stage stage);

/* Does the daemon owe an answer that was begun, or the first one? */
bool feed_is_waiting(const struct feed *feed);

/*
 * Ends the connection, also where a forked child has a copy of it. leave: says LEAVE before, if
 * there is room.
 */
void feed_end(struct feed *feed, bool leave);

/* In a child: closes its copy of the parent's connection, which goes on. */
void feed_forget(struct feed *feed);

#endif
