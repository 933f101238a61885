/*
 * client/transport - one connection to the daemon, with deadlines. Private to the library.
 */
#ifndef CLIENT_TRANSPORT_H
#define CLIENT_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/uio.h>

/* A point in CLOCK_MONOTONIC nanoseconds. */
#define TRANSPORT_NO_DEADLINE INT64_MAX

struct bare;
struct turn;

/* What came by SCM_RIGHTS. */
struct transport_passed {
	int fd;         /* the first; -1: none. For transport_close_passed() */
	unsigned count; /* of all; those after the first were closed */
	bool cut_off;   /* some could not be installed: out of descriptors */
};

struct transport {
	int fd;    /* -1: not connected */
	dev_t dev; /* which socket fd was; a program may have closed and reused the number */
	ino_t ino;
	const struct turn *turn; /* of the handle: a signal may have brought a fork() */
	int64_t block_ns; /* a wait may be left to the kernel while the deadline is this far off */
	struct transport_passed *passed; /* NULL: descriptors are refused; not owned */
	/* Not NULL: for bare_read() and bare_write() alone, and for none of the below; not owned */
	const struct bare *bare;
};

/* The deadline that is timeout_ms from now; -1 means none. */
int64_t transport_deadline(int timeout_ms);

/*
 * Connects to the socket at path. timeout_ms is for transport_set_timeout(); deadline_ns
 * bounds the connecting itself. turn: see struct transport; not owned. 0; -ENAMETOOLONG, -ETIMEDOUT
 * (the backlog stayed full), or connect(2)'s errno.
 */
int transport_connect(struct transport *transport, const char *path, const struct turn *turn,
		      int timeout_ms, int64_t deadline_ns);

/*
 * The same without waiting: -EAGAIN when the backlog is full. The socket does not block; it is for
 * who reads and writes it without transport_send() and transport_recv().
 */
int transport_try(struct transport *transport, const char *path, const struct turn *turn);

/*
 * Waits until fd has one of events (of poll(2)), or the deadline. 0, -ETIMEDOUT, -ESTALE as below,
 * or -errno; a mere signal is no reason to stop.
 */
int transport_wait(int fd, short events, const struct turn *turn, int64_t deadline_ns);

/*
 * Lets the peer pass descriptors from now on: *passed, which the caller sets to {.fd = -1}, tells
 * of them until transport_drop(). The first becomes the caller's. NULL: none are let in any more,
 * as far as the kernel can refuse them. 0, -ESTALE as below, or -errno.
 */
int transport_take_fds(struct transport *transport, struct transport_passed *passed);

/*
 * Closes a descriptor that a peer passed. If it is a socket, without waiting for what lingers in
 * it.
 */
void transport_close_passed(int fd);

/*
 * Forgets the connection. The descriptor is closed only if it is still our socket. Where
 * descriptors were taken, those not read yet are counted and closed first.
 */
void transport_drop(struct transport *transport);

/* Calls on this connection will have this timeout from now on. 0 or -errno. */
int transport_set_timeout(struct transport *transport, int timeout_ms);

/* Is the descriptor still the socket that was connected? */
bool transport_is_ours(const struct transport *transport);

/*
 * Sends all of it. 0, -ETIMEDOUT, or -errno (-EPIPE, -ECONNRESET: the peer is gone; -ESTALE: as
 * transport_recv()).
 */
int transport_send(struct transport *transport, const void *data, size_t len, int64_t deadline_ns);

/*
 * Receives some bytes, 1 to the whole, into the iov_count buffers and advances them. all: every
 * byte asked for is sure to come, so the kernel may wait for it. *received is the count.
 * 0, -ETIMEDOUT, or -errno (-ECONNRESET: the peer
 * closed; -ESTALE: this is a child that a signal handler forked, and the connection the parent's).
 */
int transport_recv(struct transport *transport, struct iovec *iov, int iov_count, bool all,
		   size_t *received, int64_t deadline_ns);

/* Waits pause_ms, but not past the deadline. 0, or -ETIMEDOUT if the deadline has come. */
int transport_pause(int pause_ms, int64_t deadline_ns);

#endif
