/*
 * client/local_seed - seeds for a local generator, and for how long one may be used. Private to the
 * library.
 *
 * A seed is 32 bytes of the daemon's and 32 of the kernel's, one XOR the other: it is
 * unpredictable if either is. It may be used while nothing says that the machine was cloned
 * since: the page's look_again word, the kernel's generation, and somebody who watches (the
 * page's lease). A bare client (client/bare) has neither getrandom(2) nor a clock: there a seed is
 * the daemon's bytes, and whoever takes one uses it at once or not at all.
 */
#ifndef CLIENT_LOCAL_SEED_H
#define CLIENT_LOCAL_SEED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOCAL_SEED_BYTES 32u

struct rngclient;

/* All zero at first, but for the path. */
struct local_seed {
	const char *path;         /* of the daemon's socket; not owned */
	struct rngclient *client; /* private; NULL: not connected yet */
};

/* What a look at look_again is compared with. */
struct local_seed_mark {
	const uint64_t *look_again; /* on the daemon's page, until the next local_seed_take() */
	uint64_t was;
};

/* Connects, if it was not done yet. 0 or an error of rngclient_open(). timeout_ms: as there. */
int local_seed_connect(struct local_seed *seed, int timeout_ms);

/*
 * Asks the daemon and the kernel. key: the seed, for the caller to wipe; all zero on failure. It is
 * made there and nowhere else: where key lies in memory that a child finds zeroed, no child finds
 * it. *mark is set on success; what it pointed to before may be gone either way. 0; -ENODATA: the
 * daemon publishes no page; or an error of rngclient_get(), by the deadline (transport_deadline()).
 */
int local_seed_take(struct local_seed *seed, uint8_t key[LOCAL_SEED_BYTES],
		    struct local_seed_mark *mark, int64_t deadline_ns);

/*
 * May what was made of the last seed still be used? No system call, but two of the vDSO's. false:
 * take another one. Only after local_seed_take() succeeded.
 */
bool local_seed_holds(struct local_seed *seed);

/*
 * Waits before another try in the same call, longer each time; not the first time, when *pause_ms
 * is 0. 0, or -EAGAIN if the deadline has come.
 */
int local_seed_pause(int *pause_ms, int64_t deadline_ns);

/* Is this another process than the one that took the last seed? */
bool local_seed_is_forked(const struct local_seed *seed);

/*
 * len bytes of the daemon's own, where the client is a bare one: rngclient_open_fd() put it there,
 * and all of local_seed_take() is then without getrandom(2). Errors as there.
 */
int local_seed_straight(struct local_seed *seed, void *out, size_t len);

/* Closes the connection; a zeroed struct is allowed. */
void local_seed_deinit(struct local_seed *seed);

/* key = daemon XOR kernel; it may be either of them. */
static inline void local_seed_mix(uint8_t key[LOCAL_SEED_BYTES],
				  const uint8_t daemon[LOCAL_SEED_BYTES],
				  const uint8_t kernel[LOCAL_SEED_BYTES])
{
	for (size_t i = 0; i < LOCAL_SEED_BYTES; i++)
		key[i] = daemon[i] ^ kernel[i];
}

/* Fills buf from getrandom(2), whatever the length. 0 or a negative errno. */
int local_seed_kernel(void *buf, size_t len);

#endif
