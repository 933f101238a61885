/*
 * Owns: nothing. May touch: the socket of a connection that ends, to read; its subscription.
 * Never does: answer, wait, or read without an end.
 */
#include "daemon/parting.h"

#include <string.h>
#include <sys/socket.h>

#include "daemon/request.h"
#include "host/secmem.h"
#include "proto/wire.h"

/* Returns the bytes of whole requests. */
static size_t act(const struct request_context *context, const uint8_t *in, size_t in_bytes)
{
	const struct request_standing standing = {.subscribed = true};
	struct wire_request req;
	size_t used_bytes, at = 0;

	while (wire_decode_request(in + at, in_bytes - at, &req, &used_bytes) == WIRE_OK) {
		if (request_judge(&req, &standing) == RNGD_PROTO_OK) /* then it is an ACK */
			(void)request_act(&req, context);
		at += used_bytes;
	}
	return at;
}

void parting_hear(const struct conn *conn)
{
	const struct request_context context = {.reseed = conn->shared->reseed,
						.subscriber = conn->subscriber};
	uint8_t *in = conn->shared->in;
	size_t in_bytes = conn->in_bytes;
	struct iovec iov;
	struct msghdr msg;
	size_t used_bytes;
	ssize_t n = 0;

	if (conn->in)
		memcpy(in, conn->in, in_bytes);
	for (int reads = 0; n >= 0; reads++) {
		in_bytes += (size_t)n;
		used_bytes = act(&context, in, in_bytes);
		in_bytes -= used_bytes;
		memmove(in, in + used_bytes, in_bytes);
		if (reads == PARTING_READS || in_bytes == CONN_IN_BYTES)
			break;
		iov = (struct iovec){in + in_bytes, CONN_IN_BYTES - in_bytes};
		msg = (struct msghdr){.msg_iov = &iov, .msg_iovlen = 1};
		n = recvmsg(conn->fd, &msg, MSG_DONTWAIT);
		if (n == 0)
			break;
	}
	wipe(in, CONN_IN_BYTES);
}
