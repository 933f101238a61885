/*
 * Owns: nothing. May touch: the peer's socket, and the scratch that it sends. Never does: wait,
 * raise SIGPIPE, or send twice.
 */
#include "daemon/outgoing.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

/* With the page's descriptor, which goes out with the first byte or not at all. */
static ssize_t send_page(const struct conn *conn, uint8_t *data, size_t len)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec iov = {.iov_base = data, .iov_len = len};
	struct msghdr msg = {
	    .msg_iov = &iov,
	    .msg_iovlen = 1,
	    .msg_control = control.bytes,
	    .msg_controllen = sizeof(control.bytes),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &conn->shared->page_fd, sizeof(int));
	return sendmsg(conn->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

ssize_t outgoing_send(const struct conn *conn, struct batch *batch)
{
	uint8_t *scratch = conn->shared->scratch;
	ssize_t n = 0;

	if (batch->bytes == 0)
		return 0;
	if (batch->with_page) {
		n = send_page(conn, scratch, batch->bytes);
		if (n < 0 && errno == ETOOMANYREFS)
			batch_refuse_page(batch);
	}
	if (!batch->with_page)
		n = send(conn->fd, scratch, batch->bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n >= 0)
		return n;
	return errno == EAGAIN || errno == EINTR ? 0 : -errno;
}

/* The kernel looks at that first, at the length later. */
bool outgoing_ended(const struct conn *conn)
{
	return send(conn->fd, conn->shared->scratch, 0, MSG_DONTWAIT | MSG_NOSIGNAL) < 0;
}
