/*
 * daemon/reseed - owns the generator and decides when it must be reseeded.
 *
 * reseed_fill() is the one place where random bytes come into being: it looks whether the state is
 * still good before it makes any. Timers and signals only ask; the pull decides.
 */
#ifndef DAEMON_RESEED_H
#define DAEMON_RESEED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/entropy.h"
#include "daemon/epoch.h"
#include "host/secmem.h"

/* Output after which the state counts as old, whatever its age. */
#define RESEED_MAX_BYTES (1ull << 30)

/* After a failed reseed: the first pause, and the longest, between two tries. */
#define RESEED_BACKOFF_MIN_MS 100
#define RESEED_BACKOFF_MAX_MS 5000

/* Bytes made while a detector moved are thrown away and made again, so many times. */
#define RESEED_RESTARTS 2

/* After a clone, until the kernel's own reseed is seen: this often. */
#define RESEED_FOLLOW_MS 1000

/* Positive: the caller must handle it. */
enum {
	RESEED_E_UNAVAILABLE = 1, /* the state is too old and could not be renewed */
	RESEED_E_AGAIN = 2,       /* it aged at every try, or may be a sibling's too: ask again */
};

enum reseed_reason {
	RESEED_NONE, /* not due */
	RESEED_START,
	RESEED_AGE,
	RESEED_VOLUME,
	RESEED_REQUEST,
	RESEED_EPOCH,  /* a detector moved; shown by its name */
	RESEED_FOLLOW, /* after a clone, and the kernel's own reseed not yet seen */
};

struct reseed_secret; /* the generator; lives in secret memory only */

struct reseed {
	struct secmem mem;
	struct reseed_secret *secret;
	struct entropy entropy;
	struct epoch *epoch; /* not owned */
	bool use_rdrand;
	int64_t interval_ms;
	uint64_t contributed; /* bytes that clients brought since the last reseed */

	uint64_t moves_seen;        /* epoch->moves when the state was last renewed */
	uint64_t restarts;          /* fills made again because a detector moved meanwhile */
	enum reseed_reason pending; /* asked for and not yet done, else RESEED_NONE */
	int64_t seeded_at_ms;       /* CLOCK_BOOTTIME: sleep ages the state too */
	uint64_t bytes_since_seed;

	int error; /* 0, or the negative errno of the reseed that failed last */
	uint64_t failures_in_a_row;
	int64_t retry_at_ms;
	int64_t backoff_ms;

	uint64_t count;          /* reseeds done, the first seed included */
	uint64_t failures;       /* reseeds that failed */
	const char *last_reason; /* a reason's word or a detector's name; static storage */
};

/*
 * Takes secret memory and the first seed. Waits until the kernel's generator is ready, which
 * early in a boot may take a while. epoch must outlive the reseed. 0, or a negative errno: nothing
 * may be served.
 */
int reseed_init(struct reseed *reseed, struct epoch *epoch, int64_t interval_ms,
		bool use_memfd_secret);

/* Wipes the state; a zeroed struct is allowed. */
void reseed_deinit(struct reseed *reseed);

/* The next fill or check reseeds first. */
void reseed_want(struct reseed *reseed, enum reseed_reason reason);

/*
 * Asks the detectors, and reseeds now if that is due (and, after a failure, if it is time to try
 * again). For timers and wakes, so that an idle daemon's state does not grow old. 0 or
 * RESEED_E_UNAVAILABLE.
 */
int reseed_check(struct reseed *reseed, enum epoch_depth depth) __attribute__((warn_unused_result));

/*
 * Mixes the host's own bytes, which no sibling was given, into this and every later seed. The next
 * check or fill must reseed; epoch_bump() sees to that. bytes stays the caller's. 0 or -EIO.
 */
int reseed_host(struct reseed *reseed, const void *bytes, size_t len);

/*
 * Keeps what a client contributed for the next reseed, which takes fresh bytes of the kernel as
 * every one does: alone it never makes a seed. Causes none. bytes stays the caller's. 0 or -EIO.
 */
int reseed_contribute(struct reseed *reseed, const void *bytes, size_t len);

/*
 * Writes len random bytes to out and the clone generation they were made under to *generation. No
 * detector that is cheap to ask moved from before the bytes were made until after. 0; or
 * RESEED_E_UNAVAILABLE, RESEED_E_AGAIN, with out wiped or untouched.
 */
int reseed_fill(struct reseed *reseed, void *out, size_t len, uint64_t *generation)
    __attribute__((warn_unused_result));

/* Are bytes refused? NULL: no; else why, in static storage. */
const char *reseed_refuses(const struct reseed *reseed);

/* Milliseconds since the state was last renewed. */
int64_t reseed_age_ms(const struct reseed *reseed);

#endif
