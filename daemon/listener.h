/*
 * daemon/listener - makes the listening socket, under a lock, and hardens any listener.
 */
#ifndef DAEMON_LISTENER_H
#define DAEMON_LISTENER_H

#include <stdbool.h>
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
 * Makes every connection accepted from fd refuse passed descriptors (SO_PASSRIGHTS = 0): closing
 * a passed TCP socket with SO_LINGER would block us for as long as its owner likes.
 * false where the kernel does not have it (before 6.16): see server.c for the other way.
 */
bool listener_refuse_fds(int fd);

#endif
