/*
 * daemon/conn - one peer: its requests in, its replies out.
 *
 * No random byte waits in the daemon. A turn plans a batch of frames, makes their bytes in a
 * scratch buffer in secret memory, sends, and wipes the scratch. What a peer does not take
 * is forgotten: only the number of bytes owed is kept, and they are made anew when it
 * reads on.
 *
 * Memory per connection: struct conn, and only while there is something to keep, at most
 * CONN_IN_BYTES of requests and CONN_CONTROL_BYTES of frame heads and bodies without random bytes.
 */
#ifndef DAEMON_CONN_H
#define DAEMON_CONN_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/deadline.h"
#include "daemon/events.h"
#include "daemon/unread.h"
#include "daemon/list.h"
#include "daemon/peers.h"
#include "daemon/reseed.h"
#include "proto/rngd_proto.h"

/* Requests are read this much at a time: one of the largest, or 256 pipelined GETs. */
#define CONN_IN_BYTES RNGD_PROTO_REQUEST_MAX_BYTES

/* Bytes that are not random, in one batch: one whole STATUS reply. */
#define CONN_CONTROL_BYTES (RNGD_PROTO_REPLY_HEAD_BYTES + RNGD_PROTO_STATUS_MAX_BYTES)

/* Frames with random bytes in one batch; as many small GETs as one read can bring. */
#define CONN_BATCH_FRAMES 256u

/*
 * One batch: the control bytes and one full frame. It is also what one peer gets per
 * turn, so it bounds how long the others wait.
 */
#define CONN_SCRATCH_BYTES \
	(CONN_CONTROL_BYTES + RNGD_PROTO_REPLY_HEAD_BYTES + RNGD_PROTO_FRAME_DATA_BYTES)

struct conn;

/* How far a connection has come in its peer's requests. */
struct conn_progress {
	size_t in_used;    /* bytes of requests answered, from the start of the input */
	uint64_t get_owed; /* bytes of the current GET not yet in a frame */
	uint32_t get_tag;
	uint8_t get_version;
	bool close_after;  /* nothing more is answered: close once all is sent */
	uint64_t requests; /* answered so far */
};

/*
 * A planned frame of random bytes in the scratch. Small, because a batch has many: of the progress
 * before it only what differs from frame to frame, and each in the least it needs.
 */
struct conn_frame {
	uint32_t start; /* offset of its head, or of its data when the head went out earlier */
	uint32_t data_bytes;
	uint8_t head_bytes; /* 0 when the head went out earlier */

	/* What stands if not a byte of this frame is sent. Tag and version are the frame's too. */
	uint8_t get_version;
	uint16_t in_used;
	uint16_t requests; /* answered so far in this batch */
	uint32_t get_tag;
	uint32_t get_owed; /* a GET's count has 32 bits */
};

/* What all connections share; made once by the server. */
struct conn_shared {
	struct ev_loop *loop;
	struct reseed *reseed;
	struct peers *peers;
	struct events *events;
	uint8_t *scratch; /* CONN_SCRATCH_BYTES, in secret memory */
	struct conn_frame frames[CONN_BATCH_FRAMES];
	uint8_t *in;   /* CONN_IN_BYTES, in secret memory: a bump's bytes pass through */
	int page_fd;   /* of the epoch page, for PAGE; -1: none. Not owned */
	bool stopping; /* finish the frame begun, begin no other */
	uint64_t requests;
	uint64_t bytes_served;
	/* Writes the status text for this peer, at most size bytes, and returns its length. */
	size_t (*status_text)(void *owner, const struct conn *conn, char *text, size_t size);
	/* Called when a connection has ended: takes it out of the owner's list; conn is freed next.
	 */
	void (*ended)(void *owner, struct conn *conn);
	void *owner;
};

struct conn {
	struct conn *prev, *next; /* the owner's list */
	struct conn_shared *shared;
	ev_io watcher;
	int fd;
	struct quota_user *user; /* of the peer when it connected */
	struct list_link waiter; /* in the quota's queue for a turn in a later pass */
	struct deadline deadline;
	struct unread_conn unread; /* what the peer does not read */
	bool late;       /* the deadline of a half request passed while its turn was put off */
	bool control;    /* came by the control socket */
	bool privileged; /* sees everything, and is waited for by who settles */
	pid_t pid;       /* of the process that connected */
	struct subscriber *subscriber; /* to events; NULL */
	bool
	    page_asked; /* one PAGE a connection: descriptors in flight are counted by the kernel */
	bool page_owed; /* out begins with the answer to PAGE, and the descriptor is not out yet */

	struct conn_progress progress;
	uint8_t *in; /* requests read and not yet answered; NULL when none */
	size_t in_bytes;
	uint8_t *out; /* control bytes planned and not yet sent; NULL when none */
	size_t out_bytes;
	uint64_t frame_owed; /* random bytes owed to a frame whose head is sent or in out */
	uint64_t frame_generation;
	bool small;        /* this turn: no more than QUOTA_SMALL_BYTES at random */
	size_t room_bytes; /* this turn: no more than so many in all */
};

/* Who connected. */
struct conn_peer {
	struct quota_user *user; /* what peers_enter() gave for it */
	pid_t pid;
	bool control;    /* it came by the control socket */
	bool privileged; /* root, who started the daemon, or by the control socket */
};

/*
 * Takes ownership of the connected, non-blocking fd and watches it. NULL: no memory; fd is then
 * closed and peer->user left.
 */
struct conn *conn_new(struct conn_shared *shared, int fd, const struct conn_peer *peer);

/* The clone generation moved, and the peer subscribed to events. It may end the connection. */
void conn_announce(struct conn *conn);

/* The peer's turn, which was put off, has come. It may end the connection. */
void conn_resume(struct conn *conn);

/* The peer may have read what it was held or lingers for. It may end the connection, and no other.
 */
void conn_look(struct conn *conn);

/* The peer's time is up: ends the connection, or if its turn was put off, after that. */
void conn_expire(struct conn *conn);

/* Stops watching, closes, frees. Does not call shared->ended. Nothing kept is secret. */
void conn_free(struct conn *conn);

/*
 * Begins a clean stop. true: the peer is at a frame boundary and can be freed at once.
 * false: a frame is half sent; the connection ends itself when it is out.
 */
bool conn_stop(struct conn *conn);

#endif
