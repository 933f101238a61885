/*
 * bench/pipeline - a client that keeps many small requests on their way, over one connection or
 * many.
 *
 * One thread. It reads what has come on one connection after the other, and asks anew for as many
 * answers as it got, so each connection has `depth` requests at the server or on the way to it.
 */
#ifndef BENCH_PIPELINE_H
#define BENCH_PIPELINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PIPELINE_ANSWER_BYTES 32 /* random bytes in each */

struct pipeline {
	struct pipeline_conn *conns;
	size_t count;
	size_t depth;
	size_t request_bytes;
	size_t reply_bytes;
	uint8_t *requests; /* depth of them */
	bool echo;
};

struct pipeline_conn {
	int fd;
	size_t partial_bytes; /* of a reply */
	size_t asked;         /* requests without a reply */
	double asked_ns;      /* for who wants to know how long an answer takes */
};

/*
 * Connects, one request to be answered well on each connection before this returns. echo: a server
 * that gives back what it gets, so requests are of the size of a reply. 0 or a negative errno
 * (-ECONNRESET, -EPIPE: so many connections are not taken); then *pipeline is zeroed.
 */
int pipeline_open(struct pipeline *pipeline, const char *path, size_t count, size_t depth,
		  bool echo);

/* Closes; a zeroed struct is allowed. */
void pipeline_close(struct pipeline *pipeline);

/* For struct measure_side, context: struct pipeline. `calls` requests and all their replies. */
int pipeline_run(void *context, size_t size_bytes, unsigned long calls);

#endif
