/*
 * Owns: an epoll descriptor, and who is held or lingers. May touch: the connections, through
 * conn_look(). Never does: send, read or close; look at more than UNREAD_BURST of them in a pass.
 */
#include "daemon/unread.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/conn.h"

#define UNREAD_BURST 64

/*
 * What a buffer of the kernel's costs beside its data: two heads, and the data's room is the next
 * power of two (net/core/skbuff.c), which twice the data covers.
 */
#define UNREAD_BUFFER_BYTES 1024

/* A turn for less than this part of the socket's buffer is not worth its system calls. */
#define UNREAD_ROOM_PART 8

/* The heads of large buffers (48 KiB of data each) are an eightieth of what they hold. */
#define UNREAD_HEADS_PART 16

/*
 * The least frame of a large GET: a socket so small (net.core.wmem_default) that it has no room for
 * one would never be given any, and be asked again and again.
 */
#define UNREAD_ROOM_MIN_BYTES (RNGD_PROTO_REPLY_HEAD_BYTES + RNGD_PROTO_ONE_FRAME_BYTES)

/* false: not to be known. */
static bool ask(const struct conn *conn, uint32_t meminfo[SK_MEMINFO_VARS])
{
	socklen_t meminfo_bytes = SK_MEMINFO_VARS * sizeof(meminfo[0]);

	return getsockopt(conn->fd, SOL_SOCKET, SO_MEMINFO, meminfo, &meminfo_bytes) == 0 &&
	       meminfo_bytes > SK_MEMINFO_WMEM_ALLOC * sizeof(meminfo[0]) &&
	       meminfo_bytes > SK_MEMINFO_SNDBUF * sizeof(meminfo[0]);
}

/* Bytes of the kernel's memory that the peer has still to read; -1: not to be known. */
static int64_t unread_bytes(const struct conn *conn)
{
	uint32_t meminfo[SK_MEMINFO_VARS];

	return ask(conn, meminfo) ? (int64_t)meminfo[SK_MEMINFO_WMEM_ALLOC] : -1;
}

static void list(struct unread *unread, struct conn *conn)
{
	if (!list_empty(&conn->unread.link))
		return;
	list_append(&unread->conns, &conn->unread.link);
	unread->count++;
}

static void unlist(struct unread *unread, struct conn *conn)
{
	if (list_empty(&conn->unread.link))
		return;
	list_remove(&conn->unread.link);
	unread->count--;
}

/* Each buffer that is read from now on, once the socket can be written, is an event. */
static void watch(struct unread *unread, struct conn *conn)
{
	struct epoll_event event = {.events = EPOLLOUT | EPOLLET, .data.ptr = conn};

	/* If that is refused it is only looked at every second. */
	if (!conn->unread.watched)
		conn->unread.watched =
		    epoll_ctl(unread->epoll_fd, EPOLL_CTL_ADD, conn->fd, &event) == 0;
}

static void unwatch(struct unread *unread, struct conn *conn)
{
	struct epoll_event unused = {0};

	epoll_ctl(unread->epoll_fd, EPOLL_CTL_DEL, conn->fd, &unused);
	conn->unread.watched = false;
}

/* What comes for one that is neither held nor lingers is not wanted any more. */
static void ready(struct ev_loop *loop, ev_io *watcher, int events)
{
	struct unread *unread = watcher->data;
	struct epoll_event found[UNREAD_BURST];
	int n;

	(void)loop;
	if (events & (int)EV_ERROR)
		return; /* every second, then */
	n = epoll_wait(unread->epoll_fd, found, UNREAD_BURST, 0);
	/* Looking at one ends none but that one, so the others are still there. */
	for (int i = 0; i < n; i++) {
		struct conn *conn = found[i].data.ptr;

		if (list_empty(&conn->unread.link))
			unwatch(unread, conn);
		else
			conn_look(conn);
	}
}

static void sweep(struct unread *unread)
{
	struct list_link *link;

	ev_timer_stop(unread->loop, &unread->more_timer);
	for (int i = 0; i < UNREAD_BURST && unread->to_look > 0; i++) {
		unread->to_look--;
		if (list_empty(&unread->conns)) {
			unread->to_look = 0;
			return;
		}
		link = unread->conns.next;
		list_append(&unread->conns, link);
		conn_look(LIST_OF(link, struct conn, unread.link));
	}
	if (unread->to_look == 0)
		return;
	ev_timer_set(&unread->more_timer, 0., 0.);
	ev_timer_start(unread->loop, &unread->more_timer);
}

static void sweep_more(struct ev_loop *loop, ev_timer *timer, int events)
{
	(void)loop;
	(void)events;
	sweep(timer->data);
}

int unread_init(struct unread *unread, struct ev_loop *loop)
{
	memset(unread, 0, sizeof(*unread));
	list_init(&unread->conns);
	unread->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (unread->epoll_fd < 0)
		return -errno;
	unread->loop = loop;
	ev_init(&unread->more_timer, sweep_more);
	unread->more_timer.data = unread;
	ev_io_init(&unread->watcher, ready, unread->epoll_fd, EV_READ);
	unread->watcher.data = unread;
	ev_io_start(loop, &unread->watcher);
	return 0;
}

void unread_deinit(struct unread *unread)
{
	if (unread->loop) {
		ev_timer_stop(unread->loop, &unread->more_timer);
		ev_io_stop(unread->loop, &unread->watcher);
		close(unread->epoll_fd);
	}
	memset(unread, 0, sizeof(*unread));
}

void unread_enter(struct unread *unread, struct conn *conn)
{
	list_init(&conn->unread.link);
	conn->unread.narrow = unread->loop && (conn->user->connections > UNREAD_WIDE_PER_UID ||
					       unread->wide >= UNREAD_WIDE);
	unread->wide += !conn->unread.narrow;
}

void unread_leave(struct unread *unread, struct conn *conn)
{
	unlist(unread, conn);
	unread->lingering -= conn->unread.lingering;
	unread->wide -= !conn->unread.narrow;
}

void unread_sent(struct conn *conn, size_t bytes)
{
	if (conn->unread.narrow && bytes > 0)
		conn->unread.most_bytes += 2 * (int64_t)bytes + UNREAD_BUFFER_BYTES;
}

bool unread_holds(struct unread *unread, struct conn *conn)
{
	/* Asked only when it may be so: small replies need no question each. */
	if (conn->unread.most_bytes > UNREAD_HELD_BYTES)
		conn->unread.most_bytes = unread_bytes(conn);
	conn->unread.held = conn->unread.most_bytes > UNREAD_HELD_BYTES;
	if (conn->unread.held) {
		list(unread, conn);
		watch(unread, conn);
	} else {
		unlist(unread, conn);
	}
	return conn->unread.held;
}

size_t unread_room(const struct conn *conn)
{
	uint32_t meminfo[SK_MEMINFO_VARS], all, unread, room;

	if (conn->unread.narrow)
		return UNREAD_TURN_BYTES;
	if (!ask(conn, meminfo))
		return SIZE_MAX; /* what is not taken is made anew */
	all = meminfo[SK_MEMINFO_SNDBUF];
	unread = meminfo[SK_MEMINFO_WMEM_ALLOC];
	/* The loop speaks when three quarters are free, so it has spoken, or will. */
	if (unread >= all || all - unread < all / UNREAD_ROOM_PART)
		return 0;
	room = (all - unread) / UNREAD_HEADS_PART * (UNREAD_HEADS_PART - 1);
	return room > UNREAD_ROOM_MIN_BYTES ? room : UNREAD_ROOM_MIN_BYTES;
}

bool unread_takes(struct unread *unread, struct conn *conn)
{
	if (!unread->loop || unread_bytes(conn) < UNREAD_RESIDUE_BYTES)
		return false;
	if (!conn->unread.lingering)
		unread->lingering++;
	conn->unread.lingering = true;
	conn->unread.held = false;
	list(unread, conn);
	watch(unread, conn); /* at once an event, if it can be written: nothing is missed */
	return true;
}

void unread_tick(struct unread *unread)
{
	unread->to_look = unread->count;
	sweep(unread);
}
