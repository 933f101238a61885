/*
 * daemon/batch - what one connection gets in one turn: planned from its requests, then made.
 *
 * A batch is a run of control bytes (frames without random bytes, and heads left over from an
 * earlier turn) followed by a run of frames of random bytes. The second run is filled in one go,
 * under one clone generation, and its heads are written over it afterwards. A frame without random
 * bytes that comes after one with them waits for the next batch, which keeps replies in order.
 */
#ifndef DAEMON_BATCH_H
#define DAEMON_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/conn.h"
#include "daemon/request.h"

struct batch {
	struct conn_shared *shared;
	const struct conn *conn;       /* whose turn it is */
	struct conn_progress progress; /* of the whole plan; after batch_sent(): what stands */
	size_t room_bytes;             /* all told it should not be longer */
	size_t bytes;                  /* in the scratch, all told: those to be sent */
	size_t control_bytes;          /* of them, the first run */
	size_t random_bytes;           /* of them, at random */
	struct quota_cost cost;        /* by batch_make() and the send; what was thrown away too */
	size_t frame_count;            /* frames of the second run, in shared->frames */
	uint64_t generation;           /* under which the random bytes were made */
	uint64_t begun_owed;           /* bytes of the first frame, if its head went out before */
	bool with_page;                /* the first frame answers PAGE: its descriptor goes along */
	bool acted;                    /* it ends with a request that did something */
	bool small;                    /* at most QUOTA_SMALL_BYTES at random, in whole GETs */
	bool held;                     /* for this reason more was left out */
	struct request_standing standing; /* of the connection: what its requests are judged by */
	uint64_t event;                   /* generation whose event is in it; 0: none */
	const uint8_t *subscribe; /* body of a SUBSCRIBE, in shared->in: for conn to do; NULL */
	uint8_t subscribe_version;
	uint32_t subscribe_tag;

	/* Set by batch_sent(). */
	size_t unsent_start; /* control bytes to keep, in the scratch */
	size_t unsent_bytes;
	uint64_t frame_owed;  /* random bytes owed to a frame that has begun */
	uint64_t random_sent; /* random bytes the peer took */
};

/* Does len bytes of input hold a request to answer (one to be refused counts)? */
bool batch_has_request(const uint8_t *in, size_t len);

/*
 * Plans and makes the next batch of conn from what it owes and from in_bytes of requests
 * in shared->in. The scratch then holds batch->bytes. 0, or -ECONNRESET when a frame begun
 * earlier cannot be finished under its generation: the connection must be closed.
 */
int batch_make(struct batch *batch, const struct conn *conn, size_t in_bytes);

/*
 * The kernel refuses to pass more descriptors, as long as others do not take theirs: turns the
 * answer to PAGE that begins the batch into AGAIN.
 */
void batch_refuse_page(struct batch *batch);

/*
 * The peer took the first sent_bytes: works out which progress stands, which control bytes
 * are to be kept, and how many random bytes of a begun frame are owed. conn is still as
 * batch_make() found it.
 */
void batch_sent(struct batch *batch, size_t sent_bytes);

#endif
