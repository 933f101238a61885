/*
 * daemon/epoch - whether this machine was cloned, or the generator's state aged: one count of each,
 * and the table of detectors that move them.
 *
 * A detector that finds something advances a count and never touches the generator: the next fill
 * sees the difference (reseed.h). What wakes the daemon only makes that earlier.
 */
#ifndef DAEMON_EPOCH_H
#define DAEMON_EPOCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "host/vdso.h"
#include "proto/epoch_page.h"

/* What a detector found since it was last asked. */
enum epoch_change {
	EPOCH_SAME = 0,
	EPOCH_AGED = 1,   /* reseed; says nothing of clones */
	EPOCH_CLONED = 2, /* this machine may have a sibling with the same state */
};

enum epoch_state {
	EPOCH_ABSENT, /* not on this machine, or not for this process: `why` says it */
	EPOCH_ACTIVE,
	EPOCH_FAILED, /* was active, and cannot be read: for good, or for now (retry) */
};

/* How deep a look goes. */
enum epoch_depth {
	EPOCH_BEFORE, /* a fill: what costs a load or a vDSO call; it may save a fill for nothing */
	EPOCH_AFTER,  /* a fill: the kernel's log too, and what identifies the machine anew */
	EPOCH_ALL,    /* on request, on a timer, at a wake: everything */
};

/* What a detector can say of the time before this process started, from what was saved then. */
enum epoch_recall {
	EPOCH_RECALL_SAME,    /* compared: no clone since */
	EPOCH_RECALL_CLONED,  /* compared: there was one */
	EPOCH_RECALL_UNKNOWN, /* nothing to compare with, or records were lost */
};

/* Longest distinguishing value: what makes a reseed here differ from a sibling's. */
#define EPOCH_VALUE_BYTES 32u
#define EPOCH_WHY_BYTES   96u

struct epoch_ops;

struct epoch_detector {
	const struct epoch_ops *ops;
	enum epoch_state state;
	char why[EPOCH_WHY_BYTES]; /* of absent and failed; printable ASCII, no double quotes */
	int fd;                    /* owned; -1 */
	bool watch;                /* fd wakes: readable means look */
	bool retry;                /* failed, and may come back: goes on being looked at */
	uint32_t notifier; /* of what look() found last; ops->notifier if it never differs */
	uint8_t value[EPOCH_VALUE_BYTES];
	size_t value_bytes;
	struct epoch_page_saved
	    saved;     /* what a restart shall compare with; kept up to date by look() */
	uint64_t aged; /* times it said so */
	uint64_t cloned;
	union { /* each detector's own */
		struct {
			int64_t read_ns; /* CLOCK_MONOTONIC of the last read */
			size_t read_bytes;
		} vmgenid;
		struct {
			uint64_t next_sequence; /* of the record expected next */
			uint64_t whole_from;    /* from here on no record is missing */
			uint64_t fork_sequence; /* of the newest fork line, if forked */
			bool placed;            /* a record was read, and none is missing since */
			bool fork_read;         /* the last look read a fork line */
			bool forked;
			bool alone; /* nothing else can tell of clones: set by epoch.c */
		} kmsg;
		struct {
			const void *page;
			size_t page_bytes;
			uint64_t counter;
			uint64_t disruption;
			bool has_counter;
			bool unsettled; /* the last reading could not be had whole */
		} vmclock;
		struct {
			const uint32_t *word;
			size_t map_bytes;
			uint32_t last;
		} source;
		struct {
			struct vdso vdso;
			uint64_t generation;
		} kernel;
		struct {
			int64_t suspended_ns; /* CLOCK_BOOTTIME minus CLOCK_MONOTONIC */
		} clock;
	} own;
};

/* One row of the table: a detector, in a file of its own. */
struct epoch_ops {
	const char *name; /* in STATUS and in the reason of a reseed */
	uint32_t notifier;
	bool says_cloned;
	bool cheap;  /* looked at around every fill */
	int poll_ms; /* 0: its fd wakes, or nothing is lost by waiting for the tick */
	/*
	 * Starts it. fd: what was opened for it or passed to us, owned from here on; or a negative
	 * errno: why there is none. path: for messages. Takes the first reading, which is no
	 * change, and sets state, why, value, saved. Runs before privileges are dropped; what it
	 * needs later must be had here.
	 */
	void (*start)(struct epoch_detector *detector, int fd, const char *path);
	/* Only while active. */
	enum epoch_change (*look)(struct epoch_detector *detector, enum epoch_depth depth);
	/*
	 * Compares with what an earlier daemon saved. Only while active, once, after start(). NULL:
	 * this detector can say nothing of clones.
	 */
	enum epoch_recall (*recall)(struct epoch_detector *detector,
				    const struct epoch_page_saved *saved);
	/* Unmaps and closes what start() made. The fd is closed by the caller. NULL: nothing. */
	void (*stop)(struct epoch_detector *detector);
};

/* The rows; each in epoch_NAME.c. */
extern const struct epoch_ops epoch_vmgenid_ops;
extern const struct epoch_ops epoch_kmsg_ops;
extern const struct epoch_ops epoch_vmclock_ops;
extern const struct epoch_ops epoch_source_ops;
extern const struct epoch_ops epoch_kernel_ops;
extern const struct epoch_ops epoch_clock_ops;

/* For detectors: sets state and why. */
void epoch_absent(struct epoch_detector *detector, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void epoch_failed(struct epoch_detector *detector, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* For detectors: what a restart shall compare with. bytes: EPOCH_PAGE_SAVED_BYTES at most. */
void epoch_save(struct epoch_detector *detector, const void *value, size_t bytes);

/* Rows of struct epoch, in the order in which they are asked. */
enum epoch_row {
	EPOCH_ROW_VMGENID,
	EPOCH_ROW_VMCLOCK,
	EPOCH_ROW_SOURCE,
	EPOCH_ROW_KMSG,
	EPOCH_ROW_KERNEL,
	EPOCH_ROW_CLOCK,
	EPOCH_ROWS,
};

/* The lease on the page: renewed each second, so three missed ones mean that nobody watches. */
#define EPOCH_LEASE_S 3

/*
 * A fork line that the kernel logs this soon after the machine's generation ID changed is its
 * notice of the same clone (seen: 9 to 48 ms later) and no second event. Not after any other
 * detector: a counter can be equal in siblings, and the kernel's line then brings what tells them
 * apart.
 */
#define EPOCH_SAME_CLONE_MS 5000

/*
 * How long after a clone the kernel's own reseed is waited for: it comes within 60 s by itself
 * (CRNG_RESEED_INTERVAL, drivers/char/random.c), and cannot be seen everywhere.
 */
#define EPOCH_FOLLOW_MS 65000

struct epoch_file;

struct epoch {
	struct epoch_detector detectors[EPOCH_ROWS];
	struct epoch_file *file; /* the page; not owned */
	uint64_t generation;     /* clone generation: 1 or more */
	uint64_t moves;          /* clones and other ageings seen by this process */
	const char *mover;       /* name of the detector that moved it last */
	uint64_t bumps;

	int64_t same_clone_until_ms; /* CLOCK_MONOTONIC; 0: no fork line is expected */
	int64_t follow_until_ms;     /* CLOCK_MONOTONIC; 0: the kernel's reseed was seen */
	bool twin; /* what told of the clone may have told every sibling the same */
	int64_t logged_at_ms;
	uint64_t unlogged; /* events since then without a line of their own */
};

/*
 * Starts every detector and compares with what an earlier daemon left on the page: a clone in
 * between, or one that cannot be ruled out, is an event now. fds[row]: a descriptor to be owned, or
 * a negative errno; paths[row]: what it was opened from, or NULL. file must outlive the epoch.
 */
void epoch_init(struct epoch *epoch, struct epoch_file *file, const int fds[EPOCH_ROWS],
		const char *const paths[EPOCH_ROWS]);

/* Stops every detector; a zeroed struct is allowed. Does not touch the page. */
void epoch_deinit(struct epoch *epoch);

/*
 * Asks the detectors. What they found is published before this returns: one clone event at most,
 * however many of them saw it.
 */
void epoch_look(struct epoch *epoch, enum epoch_depth depth);

/*
 * The host's own word that this machine was cloned. bytes: what it brought to tell siblings apart;
 * NULL with len 0 for nothing. Goes into the event's id here; reseed_host() puts it into the seeds.
 */
void epoch_bump(struct epoch *epoch, const void *bytes, size_t len);

/* true after a clone, until the kernel's own reseed was seen: seeds from it may be a sibling's too.
 */
bool epoch_follows(const struct epoch *epoch);

/*
 * true after a clone that was noticed by what can be equal in siblings (a counter), until the
 * kernel's own reseed is seen, and only where it can be seen. Without RDRAND, what is seeded now
 * may be seeded so in a sibling as well.
 */
bool epoch_may_be_twin(const struct epoch *epoch);

/* The state was renewed although no detector moved: look_again moves for whoever seeds from it. */
void epoch_renewed(struct epoch *epoch);

/* Renews the lease on the page and says whether bytes can be had. Once a second. */
void epoch_tick(struct epoch *epoch, bool serving);

/* Can what this notifier saw be the same in siblings (a counter)? Then it does not tell them apart.
 */
bool epoch_is_shared(uint32_t notifier);

/* Can anything but the kernel's log tell of clones? */
bool epoch_others_tell(const struct epoch *epoch);

/* Room for every detector's distinguishing value. */
#define EPOCH_VALUES_BYTES (EPOCH_ROWS * (2u + EPOCH_VALUE_BYTES))

/*
 * Writes the distinguishing values: for each detector that has one its notifier (u8), the length
 * (u8) and the value. Returns the bytes written. A seed that contains them differs from a sibling's
 * as soon as one of them does.
 */
size_t epoch_values(const struct epoch *epoch, uint8_t out[EPOCH_VALUES_BYTES]);

/* Milliseconds between two looks that nothing else would cause; 0: the tick is enough. */
int epoch_poll_ms(const struct epoch *epoch);

/* "active", "absent", "failed"; static storage. */
const char *epoch_state_name(enum epoch_state state);

#endif
