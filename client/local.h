/*
 * client/local - a generator in the caller's own process, seeded by the daemon. Private to the
 * library; doc/generator.md says what it computes.
 *
 * The key, up to LOCAL_BATCH_BYTES of output made in advance and a marker that is not 0 stand in
 * one page, which the kernel may zero at any moment, or only in a child (client/statepage). So the
 * marker is written before the key, never again without another key, and read once more after
 * bytes were copied out: if it is still there, so was all that was stored after it. In the same
 * way the daemon's look_again word is read before and after.
 */
#ifndef CLIENT_LOCAL_H
#define CLIENT_LOCAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "client/rngclient.h"
#include "client/rngclient_local.h"
#include "client/local_seed.h"
#include "client/local_vmclock.h"
#include "client/statepage.h"
#include "crypto/rng.h"

/* Made in advance: what a clone or a theft of the process could hold of the future. */
#define LOCAL_BATCH_BYTES 1024u

/* Longer requests go straight into the caller's buffer, in chunks with checks around each. */
#define LOCAL_SMALL_BYTES 256u
#define LOCAL_CHUNK_BYTES 65536u

/*
 * With RNGCLIENT_LOCAL_GETRANDOM: how long a call waits for the daemon, and after one that did so
 * in vain, for how long the daemon is left alone.
 */
#define LOCAL_PATIENCE_MS 100
#define LOCAL_ALONE_MS    1000

/* How often a bare one begins anew in one draw when the page moves, having no clock to go by. */
#define LOCAL_BARE_TRIES 16

#define LOCAL_HIDDEN __attribute__((visibility("hidden")))
/* One instruction instead of a call; a few bytes of what the C library keeps for such. */
#define LOCAL_FAST_TLS __attribute__((tls_model("initial-exec")))
#define LOCAL_TLS      LOCAL_HIDDEN LOCAL_FAST_TLS

/* Begins with a line of the instruction cache: for a draw of a few nanoseconds it shows. */
#define LOCAL_FAST_CODE __attribute__((aligned(64)))

/* What stands in the page. */
struct local_state {
	uint64_t marker;
	struct rng rng;
	uint8_t batch[LOCAL_BATCH_BYTES];
};

struct rngclient_local {
	uintptr_t in_use;   /* number of the thread inside of a call; 0: none. Signals see it too */
	size_t left_bytes;  /* of the batch, at its end; 0 also when there is no state */
	size_t aside_bytes; /* the same, out of reach of a draw that does not count */
	uint64_t marker;    /* what the page must show; never 0 */
	uint32_t rekeys;    /* what local_rekeys must be */
	struct local_seed_mark mark; /* look_again is NULL while there is no state */
	struct statepage page;
	struct local_seed seed;
	struct local_vmclock vmclock; /* a bare one has none */
	bool has_rdrand;
	bool bare; /* client/bare: no clock, no system call; the memory is mapped and stays */
	int timeout_ms;
	unsigned int options;
	int64_t alone_until_ns; /* CLOCK_MONOTONIC; the daemon is left alone until then */
	int alone_err;          /* of draws until then: -EAGAIN; 0: the kernel's bytes are given */
};

/* The calling thread's own generator, or NULL. */
extern LOCAL_TLS _Thread_local struct rngclient_local *local_thread_own;

/* Goes up when all generators of the process must take another seed. */
extern LOCAL_HIDDEN uint32_t local_rekeys;

/*
 * A thread's first draw: makes its own generator with default settings. All of
 * rngclient_local_bytes().
 */
int local_thread_first(void *out, size_t len);

/*
 * The rest of a draw that cannot be had from the batch, and the end of it. Only with in_use set.
 * All of rngclient_local_bytes().
 */
int local_fill(struct rngclient_local *local, void *out, size_t len);

/*
 * Takes the first seed; options, timeout_ms, seed and bare are set, the rest is zero. All of
 * rngclient_local_open(); on failure page is for statepage_deinit().
 */
int local_begin(struct rngclient_local *local);

/*
 * A draw while in_use is set, or the first of a thread that has no number yet. All of
 * rngclient_local_bytes().
 */
int local_refuse(struct rngclient_local *local, void *out, size_t len);

/*
 * The calling thread's number, which no other thread has or had in this process or in one that it
 * was forked from: a thread that is made in a child may get the stack, and so every address, of one
 * that the fork left behind. 0: none yet.
 */
extern LOCAL_TLS _Thread_local uintptr_t local_thread_number;

/* Gives the calling thread a number if it has none, and returns it. */
uintptr_t local_thread_count(void);

/* Must a draw go to local_refuse()? */
static inline bool local_is_refused(const struct rngclient_local *local)
{
	return __atomic_load_n(&local->in_use, __ATOMIC_RELAXED) != 0 || local_thread_number == 0;
}

/* Only by a thread that has a number. */
static inline void local_enter(struct rngclient_local *local)
{
	__atomic_store_n(&local->in_use, local_thread_number, __ATOMIC_RELAXED);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static inline void local_leave(struct rngclient_local *local)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	__atomic_store_n(&local->in_use, 0, __ATOMIC_RELAXED);
}

/* Orders this thread's accesses to the page, which the kernel alone changes. */
static inline void local_fence(void)
{
#ifdef __SANITIZE_THREAD__
	__atomic_signal_fence(__ATOMIC_SEQ_CST); /* it knows no other, and watches no kernel */
#else
	__atomic_thread_fence(__ATOMIC_ACQ_REL);
#endif
}

/* Through integer registers, as crypto/copy does: vector registers are not the place for it. */
static inline __attribute__((always_inline)) void local_hand_out(uint8_t *out, uint8_t *batch,
								 size_t len)
{
	uint64_t word;
	uint32_t half;

	for (; len >= sizeof(word); len -= sizeof(word)) {
		memcpy(&word, batch, sizeof(word));
		memcpy(out, &word, sizeof(word));
		memset(batch, 0, sizeof(word));
		__asm__ volatile("" ::: "memory"); /* else the loop becomes one of vectors */
		out += sizeof(word);
		batch += sizeof(word);
	}
	if (len >= sizeof(half)) {
		memcpy(&half, batch, sizeof(half));
		memcpy(out, &half, sizeof(half));
		memset(batch, 0, sizeof(half));
		out += sizeof(half);
		batch += sizeof(half);
		len -= sizeof(half);
	}
	for (; len > 0; len--) {
		*out++ = *batch;
		*batch++ = 0;
		__asm__ volatile("" ::: "memory");
	}
}

/* Has nobody spoken of a clone since the state was made? Only when there is state. */
static inline bool local_is_current(const struct local_seed_mark *mark)
{
	return __atomic_load_n(mark->look_again, __ATOMIC_ACQUIRE) == mark->was;
}

/* Is the page still what was written? What was read from it before is good then. */
static inline bool local_is_marked(const struct local_state *state, uint64_t marker)
{
	return __atomic_load_n(&state->marker, __ATOMIC_ACQUIRE) == marker;
}

/*
 * From the batch; false: it has not that many, or what was copied must not be used. What is read
 * here once cannot change, but for the page and the word.
 */
static inline __attribute__((always_inline)) bool local_from_batch(struct rngclient_local *local,
								   void *out, size_t len)
{
	struct local_state *state = local->page.data;
	const struct local_seed_mark mark = local->mark;
	const uint64_t marker = local->marker;
	const size_t left = local->left_bytes;

	if (__builtin_expect(left < len || !local_is_current(&mark) ||
				 __atomic_load_n(&local_rekeys, __ATOMIC_RELAXED) != local->rekeys,
			     0))
		return false;
	local_hand_out(out, state->batch + (LOCAL_BATCH_BYTES - left), len);
	local->left_bytes = left - len;
	local_fence();
	return __builtin_expect(local_is_current(&mark) && local_is_marked(state, marker), 1);
}

/* Draws len bytes, at most LOCAL_SMALL_BYTES, and not 0. As rngclient_local_bytes(). */
static inline __attribute__((always_inline)) int local_draw(struct rngclient_local *local,
							    void *out, size_t len)
{
	if (__builtin_expect(local_is_refused(local), 0))
		return local_refuse(local, out, len);
	local_enter(local);
	if (__builtin_expect(!local_from_batch(local, out, len), 0))
		return local_fill(local, out, len);
	local_leave(local);
	return 0;
}

/* The generator meant, NULL standing for the calling thread's own; NULL: it has none yet. */
static inline struct rngclient_local *local_meant(struct rngclient_local *local)
{
	return local ? local : local_thread_own;
}

#endif
