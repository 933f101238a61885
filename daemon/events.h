/*
 * daemon/events - who subscribed to clone events, what each was sent, and what each acknowledged.
 *
 * A subscriber is sent one event at a time: the next, and then the newest alone, after it said that
 * it took the one before. So one that does not read costs an entry and a frame. It owes while the
 * generation it acknowledged last is not the present one.
 *
 * Whoever waits for all to have acted on a clone must not miss one whose connection broke just
 * then, and is being made again: a privileged subscriber that owes is remembered without its
 * connection, until it subscribes again with the same id. Whether its process is still there is not
 * known here.
 *
 * No descriptor, no loop, no clock. The generation in all calls is the present clone generation.
 */
#ifndef DAEMON_EVENTS_H
#define DAEMON_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/list.h"
#include "proto/rngd_proto.h"

/* Privileged subscribers that are remembered without a connection; then the oldest is forgotten. */
#define EVENTS_GONE_MAX 256u

/*
 * For so long. A process that was there would be back; many that crashed must not be listed for
 * ever.
 */
#define EVENTS_GONE_MS 3600000

/* Rows of events_text(), whose lines must fit a STATUS reply. */
#define EVENTS_ROWS_MAX 64u

/*
 * After the start those who subscribed to the daemon before this one connect again: the library
 * within 50 ms of its program's attention.
 */
#define EVENTS_RETURN_MS 3000

struct conn;

/* Who subscribes, and how. */
struct events_peer {
	struct conn *conn; /* not owned, not looked into */
	uid_t uid;
	pid_t pid; /* of the process that connected; 0: not to be seen from here */
	bool privileged;
	uint8_t version; /* of the request, and of the frames to come */
	uint32_t tag;
};

struct subscriber {
	struct list_link link;   /* in events.present, or without a connection in events.gone */
	struct list_link due;    /* in events.due: a moved generation was not looked at yet */
	struct events_peer peer; /* peer.conn is NULL without a connection */
	uint8_t id[RNGD_PROTO_SUBSCRIBER_ID_BYTES];
	uint64_t acknowledged; /* generation; 0: none */
	uint64_t sent;         /* generation of the last event sent; 0: none */
	bool taken;            /* and it was taken, or none was sent */
	bool left;             /* it said so: owes nothing, gets nothing */
	int64_t since_ms;      /* owes, or subscribed, since then */
	int64_t gone_ms;       /* in events.gone since then */
};

struct events {
	struct list_link present;
	struct list_link gone; /* longest gone first */
	struct list_link due;
	size_t count; /* of present */
	size_t gone_count;
	size_t forgotten;     /* of gone, owing, for want of room, in the last EVENTS_GONE_MS */
	int64_t forgotten_ms; /* the last of them */
	uint64_t generation;  /* that events_moved() was told of last */
	int64_t returned_ms;  /* from then on nobody is expected back from an earlier daemon */
};

/* returning: there may have been a daemon before this one, with subscribers. */
void events_init(struct events *events, uint64_t generation, bool returning, int64_t now_ms);

/* Frees what is remembered; after the last connection has ended. A zeroed struct is allowed. */
void events_deinit(struct events *events);

/*
 * peer subscribes with the body of its SUBSCRIBE, RNGD_PROTO_SUBSCRIBE_BODY_BYTES. NULL: no memory.
 * The result is the events', until events_leave().
 */
struct subscriber *events_subscribe(struct events *events, const struct events_peer *peer,
				    const uint8_t *body, uint64_t generation, int64_t now_ms);

/*
 * Its ACK, with RNGD_PROTO_ACK_BODY_BYTES. RNGD_PROTO_OK, or RNGD_PROTO_E_BODY: no such stage, or a
 * generation that is still to come.
 */
enum rngd_proto_status events_ack(struct subscriber *subscriber, const uint8_t *body,
				  uint64_t generation);

/* Its connection has ended: it is forgotten, or remembered. May not be used any more. */
void events_leave(struct events *events, struct subscriber *subscriber, uint64_t generation,
		  int64_t now_ms);

/* Forgets who has been gone for too long. Every second or so. */
void events_tick(struct events *events, int64_t now_ms);

/* Is an event to be sent to it now? */
bool events_is_due(const struct subscriber *subscriber, uint64_t generation);

/* The event that began this generation is on its way to it. */
void events_sent(struct subscriber *subscriber, uint64_t generation);

/* Was an event sent that it has not taken yet? */
bool events_is_awaited(const struct subscriber *subscriber);

/*
 * Sees whether the generation moved, and if so, puts everybody in the queue of events_next(). true:
 * there is somebody in it.
 */
bool events_moved(struct events *events, uint64_t generation, int64_t now_ms);

/* Takes out the next that must look whether it is due: NULL: none (more). */
struct subscriber *events_next(struct events *events);

/* How many owe, those without a connection included. */
size_t events_owing(const struct events *events, uint64_t generation);

/* Writes the text of a SUBSCRIBERS reply (PROTOCOL.md): its length, at most size. */
size_t events_text(const struct events *events, uint64_t generation, int64_t now_ms, char *data,
		   size_t size);

#endif
