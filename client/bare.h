/*
 * client/bare - a handle that is left with read(2), write(2) and close(2) of one descriptor: no
 * other system call, and none of the vDSO's. Private to the library; client/rngclient_fd.h says
 * what it is for.
 *
 * What it needs was mapped when it was made, and stays mapped: munmap(2) is not among the three.
 * Deadlines are the socket's own. That a fork happened is seen on a page that the child finds
 * zeroed.
 */
#ifndef CLIENT_BARE_H
#define CLIENT_BARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct rngclient;

/* All zero in an ordinary handle. */
struct bare {
	const uint32_t
	    *mark;   /* BARE_HERE; 0 in a child (MADV_WIPEONFORK). NULL: an ordinary handle */
	bool in_use; /* in a call; a second one at the same time is refused */
	bool broken; /* what is still in the stream, if anything, belongs to nobody */
};

#define BARE_HERE 1u

/* Is this the process that made the handle? */
static inline bool bare_is_ours(const struct bare *bare)
{
	return __atomic_load_n(bare->mark, __ATOMIC_SEQ_CST) == BARE_HERE;
}

/*
 * Sends all of it. 0; -ETIMEDOUT: SO_SNDTIMEO; -ECHILD: this is a child; or -errno (-EPIPE: the
 * peer is gone, and there was a SIGPIPE, which rngclient_open_fd() saw to be harmless).
 */
int bare_write(const struct bare *bare, int fd, const void *data, size_t len);

/*
 * Receives some bytes into the first of the iov_count buffers that has room, and advances it. 0;
 * -ETIMEDOUT: SO_RCVTIMEO; -ECONNRESET: the peer closed; -ECHILD: this was a child before the read;
 * or -errno.
 */
int bare_read(const struct bare *bare, int fd, struct iovec *iov, int iov_count, size_t *received);

/* rngclient_get() of such a handle; rngclient_fd.h has the errors. out is zeroed on failure. */
int bare_get(struct rngclient *client, void *out, size_t len);

/* rngclient_close() of such a handle. In a child too: its copy of the descriptor is its own. */
void bare_close(struct rngclient *client);

#endif
