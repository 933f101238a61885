/*
 * daemon/limits - what the operator may set, and what holds when nothing is said.
 */
#ifndef DAEMON_LIMITS_H
#define DAEMON_LIMITS_H

#include <stdint.h>

/*
 * As many connections as there are descriptors, but no more than this: one costs some 300 bytes,
 * and a hostile one 21 kB of ours and 37 kB of the kernel's (unread.h), so that all of them at
 * their worst stay below 1.2 GB, and those of one user id below 270 MB. Measured with 15360 and
 * 4096 that ask and do not read: 654 and 168 MB.
 */
#define LIMITS_CONNECTIONS 16384u

/*
 * The share of one user id: a quarter. One alone leaves three quarters to the others, and with
 * fewer connections in all than this many times four the share would be too small for a service.
 */
#define LIMITS_UID_SHARE 4u
#define LIMITS_UID_MIN   16u

/* A client writes a request in one go; even one that is swapped out is back sooner. */
#define LIMITS_REQUEST_S 10

/* Long enough for a client that was stopped for a moment. It has asked; it ought to read. */
#define LIMITS_REPLY_S 30

#define LIMITS_TIMEOUT_MAX_S 86400

struct limits {
	uint32_t connections; /* 0: what the descriptors allow, LIMITS_CONNECTIONS at most */
	uint32_t connections_per_uid; /* 0: the share above */
	uint64_t rate_bytes;          /* a second and user id; 0: any number */
	int request_s; /* to send the rest of a request; 0: for ever, here and below */
	int reply_s;   /* without taking a byte of a reply */
	int idle_s;    /* without asking anything */
};

#endif
