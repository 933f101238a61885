/*
 * Owns: the socket it connected. May touch: connect, sendto, recvmsg, poll, the monotonic clock.
 * Never does: wait past a deadline, raise SIGPIPE, or touch a descriptor that is not its own.
 */
#include "client/transport.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "client/turn.h"

#define NS_PER_MS 1000000ll
#define NS_PER_S  1000000000ll

/* As many as one message can carry (SCM_MAX_FD in the kernel), so that it drops none itself. */
#define TRANSPORT_FDS_MAX 253

/* Two ticks of a kernel with HZ=100. */
#define TRANSPORT_TICKS_NS (20 * NS_PER_MS)

/* After so long a wait looks whether it is that of a child, which a signal handler forked. */
#define TRANSPORT_SLICE_NS (100 * NS_PER_MS)

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* Linux 6.16, include/uapi/asm-generic/socket.h */
#endif

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

int64_t transport_deadline(int timeout_ms)
{
	return timeout_ms < 0 ? TRANSPORT_NO_DEADLINE : now_ns() + timeout_ms * NS_PER_MS;
}

static int64_t left_ns(int64_t deadline_ns)
{
	return deadline_ns == TRANSPORT_NO_DEADLINE ? TRANSPORT_NO_DEADLINE
						    : deadline_ns - now_ns();
}

static int set_timeout(int fd, int option, int64_t ns)
{
	struct timeval tv = {.tv_sec = ns / NS_PER_S, .tv_usec = ns % NS_PER_S / 1000};

	if (ns > 0 && tv.tv_sec == 0 && tv.tv_usec == 0)
		tv.tv_usec = 1; /* all zero would mean: for ever */
	return setsockopt(fd, SOL_SOCKET, option, &tv, sizeof(tv)) < 0 ? -errno : 0;
}

/*
 * The kernel's socket timeouts come up to an eighth late (timer wheel), and a tick or two: so much
 * is left for a precise ppoll() at the end. 0: too little to be worth it.
 */
static int64_t kernel_share_ns(int64_t ns)
{
	int64_t share = ns / 8 * 7 - TRANSPORT_TICKS_NS;

	return share > 0 ? share : 0;
}

/*
 * A blocking connect under SO_SNDTIMEO: a non-blocking one to a full backlog fails with
 * EAGAIN and there is nothing to poll for.
 */
static int connect_by(int fd, const struct sockaddr_un *addr, int64_t deadline_ns)
{
	int64_t left, share;
	int err;

	for (;;) {
		left = left_ns(deadline_ns);
		if (left <= 0)
			return -ETIMEDOUT;
		share = kernel_share_ns(left);
		if (left == TRANSPORT_NO_DEADLINE)
			share = 0;
		else if (share == 0)
			share = NS_PER_MS;
		err = set_timeout(fd, SO_SNDTIMEO, share);
		if (err)
			return err;
		if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0 ||
		    errno == EISCONN) /* such a child was first */
			return 0;
		if (errno != EINTR && errno != EAGAIN)
			return -errno;
	}
}

/*
 * A server that passes us a socket whose close lingers could hold a recvmsg() for as long as it
 * likes. Linux 6.16 can refuse descriptors; before that there is no defence here.
 */
static void refuse_fds(int fd)
{
	int off = 0;

	setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof(off));
}

/* The socket and the address. On failure there is none. */
static int begin(struct transport *made, struct sockaddr_un *addr, const char *path, int type)
{
	if (strlen(path) >= sizeof(addr->sun_path))
		return -ENAMETOOLONG;
	memcpy(addr->sun_path, path, strlen(path) + 1);
	made->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | type, 0);
	if (made->fd < 0)
		return -errno;
	refuse_fds(made->fd);
	return 0;
}

/* Closes it if err says so; else *transport is it. */
static int finish(struct transport *transport, struct transport *made, int err)
{
	struct stat st;

	if (!err && fstat(made->fd, &st) < 0)
		err = -errno;
	if (err) {
		if (made->fd >= 0)
			close(made->fd);
		return err;
	}
	made->dev = st.st_dev;
	made->ino = st.st_ino;
	*transport = *made;
	return 0;
}

int transport_connect(struct transport *transport, const char *path, const struct turn *turn,
		      int timeout_ms, int64_t deadline_ns)
{
	struct transport made = {.fd = -1, .turn = turn};
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int err;

	*transport = made;
	err = begin(&made, &addr, path, 0);
	if (!err)
		err = connect_by(made.fd, &addr, deadline_ns);
	if (!err)
		err = transport_set_timeout(&made, timeout_ms);
	return finish(transport, &made, err);
}

int transport_try(struct transport *transport, const char *path, const struct turn *turn)
{
	struct transport made = {.fd = -1, .turn = turn, .block_ns = TRANSPORT_NO_DEADLINE};
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int err;

	*transport = made;
	err = begin(&made, &addr, path, SOCK_NONBLOCK);
	if (!err && connect(made.fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0)
		err = errno == EINTR ? -EAGAIN : -errno;
	return finish(transport, &made, err);
}

int transport_set_timeout(struct transport *transport, int timeout_ms)
{
	int64_t share = kernel_share_ns(timeout_ms * NS_PER_MS);

	share = timeout_ms < 0 || share > TRANSPORT_SLICE_NS ? TRANSPORT_SLICE_NS : share;
	/* As late as it may come, it must come before the deadline. */
	transport->block_ns =
	    share > 0 ? share + share / 8 + TRANSPORT_TICKS_NS : TRANSPORT_NO_DEADLINE;
	return set_timeout(transport->fd, SO_RCVTIMEO, share);
}

/* A handler may have forked: then this is the child, and must not touch the stream. */
static int check_child(const struct turn *turn)
{
	return turn_is_ours(turn) ? 0 : -ESTALE;
}

int transport_take_fds(struct transport *transport, struct transport_passed *passed)
{
	int on = passed != NULL, err = check_child(transport->turn);

	transport->passed = passed;
	if (err) /* what the socket takes is the parent's to say */
		return err;
	/* Before Linux 6.16 nobody can refuse them, so there is nothing to allow. */
	if (setsockopt(transport->fd, SOL_SOCKET, SO_PASSRIGHTS, &on, sizeof(on)) < 0 &&
	    errno != ENOPROTOOPT)
		return -errno;
	return 0;
}

void transport_close_passed(int fd)
{
	const struct linger at_once = {.l_onoff = 0};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)); /* ENOTSOCK: the rule */
	close(fd);
}

static void keep_first(struct transport_passed *passed, const struct cmsghdr *header)
{
	size_t bytes = header->cmsg_len - CMSG_LEN(0);
	int fd;

	for (size_t at = 0; at + sizeof(fd) <= bytes; at += sizeof(fd)) {
		memcpy(&fd, CMSG_DATA(header) + at, sizeof(fd));
		if (passed->count++ == 0)
			passed->fd = fd;
		else
			transport_close_passed(fd);
	}
}

/* recvmsg(2), and what is passed along goes to transport->passed. */
static ssize_t receive_with_fds(struct transport *transport, struct msghdr *msg, int flags)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(TRANSPORT_FDS_MAX * sizeof(int))];
	} control;
	struct cmsghdr *header;
	ssize_t n;

	msg->msg_control = control.bytes;
	msg->msg_controllen = sizeof(control.bytes);
	n = recvmsg(transport->fd, msg, flags | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return n;
	for (header = CMSG_FIRSTHDR(msg); header; header = CMSG_NXTHDR(msg, header))
		if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS)
			keep_first(transport->passed, header);
	if (msg->msg_flags & MSG_CTRUNC)
		transport->passed->cut_off = true;
	return n;
}

/*
 * The end of a connection that takes descriptors. Those still queued would be closed by the kernel
 * in our close(), with whatever wait they bring; so no more are let in, and these come out first.
 */
static void take_queued(struct transport *transport)
{
	char data[256];
	struct iovec iov;
	struct msghdr msg;
	ssize_t n;

	if (shutdown(transport->fd, SHUT_RD) < 0)
		return;
	do {
		iov = (struct iovec){data, sizeof(data)};
		msg = (struct msghdr){.msg_iov = &iov, .msg_iovlen = 1};
		n = receive_with_fds(transport, &msg, MSG_DONTWAIT);
	} while (n > 0 || (n < 0 && errno == EINTR));
}

bool transport_is_ours(const struct transport *transport)
{
	struct stat st;

	return transport->fd >= 0 && fstat(transport->fd, &st) == 0 && S_ISSOCK(st.st_mode) &&
	       st.st_dev == transport->dev && st.st_ino == transport->ino;
}

void transport_drop(struct transport *transport)
{
	if (transport_is_ours(transport)) {
		/* In a child that a signal handler forked, the stream is the parent's. */
		if (transport->passed && turn_is_ours(transport->turn))
			take_queued(transport);
		close(transport->fd);
	}
	transport->fd = -1;
}

int transport_wait(int fd, short events, const struct turn *turn, int64_t deadline_ns)
{
	struct pollfd pollfd = {.fd = fd, .events = events};
	struct timespec timeout;
	int64_t left;
	int n, err;

	for (;;) {
		left = left_ns(deadline_ns);
		if (left <= 0)
			return -ETIMEDOUT;
		timeout.tv_sec = left / NS_PER_S;
		timeout.tv_nsec = left % NS_PER_S;
		n = ppoll(&pollfd, 1, left == TRANSPORT_NO_DEADLINE ? NULL : &timeout, NULL);
		if (n > 0)
			return 0;
		if (n == 0)
			return -ETIMEDOUT;
		err = errno == EINTR ? check_child(turn) : -errno;
		if (err)
			return err;
	}
}

int transport_send(struct transport *transport, const void *data, size_t len, int64_t deadline_ns)
{
	const char *at = data;
	ssize_t n;
	int err = 0;

	while (!err && len > 0) {
		err = check_child(transport->turn);
		n = err ? 0 : send(transport->fd, at, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n >= 0) {
			at += n;
			len -= (size_t)n;
		} else if (errno == EAGAIN) {
			err = transport_wait(transport->fd, POLLOUT, transport->turn, deadline_ns);
		} else if (errno != EINTR) {
			err = -errno;
		}
	}
	return err;
}

/* Returns what is left of the buffers then. */
static size_t advance(struct iovec *iov, int iov_count, size_t n)
{
	size_t left = 0;

	for (; iov_count > 0; iov++, iov_count--) {
		size_t part = n < iov->iov_len ? n : iov->iov_len;

		if (part > 0)
			iov->iov_base = (char *)iov->iov_base + part;
		iov->iov_len -= part;
		n -= part;
		left += iov->iov_len;
	}
	return left;
}

/*
 * While the deadline is further away than SO_RCVTIMEO reaches, a plain blocking recvmsg() cannot
 * miss it, and saves a poll() for each reply. Nearer to it, poll() with what is left.
 */
int transport_recv(struct transport *transport, struct iovec *iov, int iov_count, bool all,
		   size_t *received, int64_t deadline_ns)
{
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)iov_count};
	int flags, err;
	ssize_t n;
	bool block;

	for (;;) {
		block = left_ns(deadline_ns) >= transport->block_ns;
		err =
		    block ? 0 : transport_wait(transport->fd, POLLIN, transport->turn, deadline_ns);
		if (!err)
			err = check_child(transport->turn);
		if (err)
			return err;
		flags = !block ? MSG_DONTWAIT : all ? MSG_WAITALL : 0;
		n = transport->passed ? receive_with_fds(transport, &msg, flags)
				      : recvmsg(transport->fd, &msg, flags);
		if (n > 0) {
			*received = (size_t)n;
			/* A signal that ends this wait when some bytes are there gives no EINTR. */
			return advance(iov, iov_count, (size_t)n) > 0 && flags == MSG_WAITALL
				   ? check_child(transport->turn)
				   : 0;
		}
		if (n == 0)
			return -ECONNRESET;
		if (errno != EINTR && errno != EAGAIN)
			return -errno;
	}
}

int transport_pause(int pause_ms, int64_t deadline_ns)
{
	int64_t until = transport_deadline(pause_ms);
	struct timespec at;

	if (left_ns(deadline_ns) <= 0)
		return -ETIMEDOUT;
	if (until > deadline_ns)
		until = deadline_ns;
	at = (struct timespec){.tv_sec = until / NS_PER_S, .tv_nsec = until % NS_PER_S};
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
		;
	return 0;
}
