/*
 * daemon/unread - replies that peers leave unread.
 *
 * What rngd sent and a peer has not read is memory of the kernel that is charged to rngd (its
 * cgroup) until it is read or the peer closes: also after rngd closed. So a connection that is over
 * while its peer still holds replies lingers: it keeps its descriptor and its place in the quota,
 * and nothing else, until they are gone. Then places bound this memory as they bound connections.
 *
 * How much one place can hold depends on how many there are. The first UNREAD_WIDE_PER_UID
 * connections of a user id, UNREAD_WIDE in all, are wide: the socket's own limit holds, as a peer
 * that reads fast wants it. Any further one is narrow: a turn sends at most UNREAD_TURN_BYTES, and
 * begins only when no more than UNREAD_HELD_BYTES are unread; until then the connection is held.
 *
 * Who lingers or is held is looked at when the kernel says that the peer read something (an epoll
 * of its own, edge-triggered: the loop's own would report a held one again and again), and every
 * second in any case.
 *
 * Neither EPIPE nor EPOLLHUP says that the peer closed: shutdown(2) brings both, and what is unread
 * stays with a peer that keeps its descriptor. Only the number of unread bytes counts.
 */
#ifndef DAEMON_UNREAD_H
#define DAEMON_UNREAD_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/list.h"

/* Connections whose unread replies the socket's own limit bounds: some 250 kB each. */
#define UNREAD_WIDE_PER_UID 64u
#define UNREAD_WIDE         512u

/* 16640 bytes of the kernel's memory, heads and all. */
#define UNREAD_TURN_BYTES 15872u

/* One such turn may be unread while the next is made; so 37 kB at most. */
#define UNREAD_HELD_BYTES 20480u

/*
 * Less than the smallest buffer is nothing: the kernel says that a buffer was read while one byte
 * of it is still counted.
 */
#define UNREAD_RESIDUE_BYTES 256u

struct conn;

struct unread {
	struct ev_loop *loop; /* NULL: off, nothing is narrow and nobody lingers */
	int epoll_fd;
	ev_io watcher;
	ev_timer more_timer;    /* the rest of a sweep, in the next pass */
	struct list_link conns; /* held or lingering; who was looked at last is last */
	size_t count;           /* of conns */
	size_t lingering;       /* of them, those that are over */
	size_t to_look;         /* of conns, before this sweep is over */
	size_t wide;
};

/* What is kept of a connection here. */
struct unread_conn {
	struct list_link link;
	int64_t most_bytes; /* of a narrow one no more than so many are unread */
	bool narrow;
	bool held;      /* no turn until the peer has read */
	bool lingering; /* over, but for what the peer has not read */
	bool watched;   /* by epoll_fd; close() ends that */
};

/* 0 or a negative errno. epoll_fd is what the filter must know. */
int unread_init(struct unread *unread, struct ev_loop *loop);

/* After the last connection; a zeroed struct is allowed. */
void unread_deinit(struct unread *unread);

/* A new connection, which its user has been charged for: wide or narrow. */
void unread_enter(struct unread *unread, struct conn *conn);

/* Before a connection is freed. */
void unread_leave(struct unread *unread, struct conn *conn);

/* The kernel took so many bytes for its peer, in one call. */
void unread_sent(struct conn *conn, size_t bytes);

/*
 * Must its turn wait until the peer has read? true: it is held, must not be watched by its owner,
 * and conn_look() is called then; or earlier.
 */
bool unread_holds(struct unread *unread, struct conn *conn);

/*
 * How many bytes of a large turn the kernel would take for its peer now, all in one call; 0: so few
 * that the turn is to wait until the loop says that it can be written. Never less than one frame of
 * a large GET may have, of which a socket with a very small buffer takes a part.
 */
size_t unread_room(const struct conn *conn);

/*
 * It is over. true: the peer holds replies; it lingers, and conn_look() is called when that may
 * have changed. false: nothing is unread, or this kernel (before 4.12) does not tell: close it.
 */
bool unread_takes(struct unread *unread, struct conn *conn);

/* Looks at all that linger or are held, so many in each pass. Every second. */
void unread_tick(struct unread *unread);

#endif
