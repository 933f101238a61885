/*
 * daemon/listener - makes the listening socket, under a lock, and hardens any listener.
 */
#ifndef DAEMON_LISTENER_H
#define DAEMON_LISTENER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct listener {
	int fd;      /* listening, non-blocking, close-on-exec; -1 when there is none */
	int lock_fd; /* holds the lock on PATH.lock for as long as it is open; -1 */
};

/*
 * Listens on path with exactly the access bits in mode. One daemon per path: the
 * lock on "PATH.lock" is taken first; a stale socket file is replaced, one that answers is
 * an error. For the default path the directory is made too, when root starts us.
 *
 * 0; or a negative errno after a log line: -EADDRINUSE when another daemon serves path.
 */
int listener_open(struct listener *listener, const char *path, mode_t mode);

/* Closes both descriptors. The socket file stays: the next start replaces it. */
void listener_close(struct listener *listener);

/*
 * Does every connection of the listening fd refuse passed descriptors (SO_PASSRIGHTS = 0, Linux
 * 6.16)? Closing a passed TCP socket with SO_LINGER would block us as long as its owner
 * likes. A connection takes the option from its listener when the peer connects, so only one
 * that was set before listen() counts: listener_open() does so. On another (passed by a
 * service manager) it is set for connections to come, and the answer is no.
 */
bool listener_refuses_fds(int fd);

/*
 * Tells the connection fd, of which nothing was read, that it is one too many, and closes it: an
 * end alone would look like a daemon that went away. The frame fits the socket's empty buffer. A
 * peer that does not read it sees the end. generation: the present clone generation.
 */
void listener_refuse(int fd, uint64_t generation);

#endif
