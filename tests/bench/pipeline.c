/*
 * Owns: its connections. May touch: nothing else. Never does: look into replies after the first,
 * but count their bytes.
 */
#include "tests/bench/pipeline.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/wire.h"
#include "tests/bench/launch.h"
#include "tests/get.h"

#define REPLY_BYTES (RNGD_PROTO_REPLY_HEAD_BYTES + PIPELINE_ANSWER_BYTES)
#define READ_BYTES  16384

static int send_all(int fd, const uint8_t *data, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

		if (n < 0)
			return -errno;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

/* One round trip; a server of the protocol must say OK. */
static int try_one(const struct pipeline *pipeline, int fd)
{
	uint8_t bytes[REPLY_BYTES];
	struct wire_reply reply;
	ssize_t n;
	int err = send_all(fd, pipeline->requests, pipeline->request_bytes);

	if (err)
		return err;
	n = recv(fd, bytes, pipeline->reply_bytes, MSG_WAITALL);
	if (n < 0)
		return -errno;
	if ((size_t)n >= RNGD_PROTO_REPLY_HEAD_BYTES && !pipeline->echo &&
	    (wire_decode_reply(bytes, &reply) != WIRE_OK || reply.status != RNGD_PROTO_OK))
		return reply.status == RNGD_PROTO_E_BUSY ? -ECONNRESET : -EPROTO;
	return (size_t)n == pipeline->reply_bytes ? 0 : -ECONNRESET;
}

/* depth requests, one after the other. */
static int write_requests(struct pipeline *pipeline)
{
	pipeline->reply_bytes = REPLY_BYTES;
	pipeline->request_bytes = pipeline->echo ? REPLY_BYTES : GET_REQUEST_BYTES;
	pipeline->requests = calloc(pipeline->depth, pipeline->request_bytes);
	if (!pipeline->requests)
		return -ENOMEM;
	for (size_t i = 0; i < pipeline->depth; i++)
		get_encode(pipeline->requests + i * pipeline->request_bytes, PIPELINE_ANSWER_BYTES);
	return 0;
}

int pipeline_open(struct pipeline *pipeline, const char *path, size_t count, size_t depth,
		  bool echo)
{
	int err;

	*pipeline = (struct pipeline){.depth = depth, .echo = echo};
	pipeline->conns = calloc(count, sizeof(pipeline->conns[0]));
	err = pipeline->conns ? write_requests(pipeline) : -ENOMEM;
	while (!err && pipeline->count < count) {
		int fd = launch_connect(path);

		if (fd < 0) {
			err = fd;
			break;
		}
		pipeline->conns[pipeline->count++].fd = fd;
		err = try_one(pipeline, fd);
	}
	if (err)
		pipeline_close(pipeline);
	return err;
}

void pipeline_close(struct pipeline *pipeline)
{
	for (size_t i = 0; i < pipeline->count; i++)
		close(pipeline->conns[i].fd);
	free(pipeline->conns);
	free(pipeline->requests);
	*pipeline = (struct pipeline){0};
}

/* As many more as there is room for in the pipe and in what is left to ask. */
static int ask(const struct pipeline *pipeline, struct pipeline_conn *conn, unsigned long *left)
{
	size_t room = pipeline->depth - conn->asked;

	if (room > *left)
		room = *left;
	conn->asked += room;
	*left -= room;
	return send_all(conn->fd, pipeline->requests, room * pipeline->request_bytes);
}

int pipeline_run(void *context, size_t size_bytes, unsigned long calls)
{
	struct pipeline *pipeline = context;
	unsigned long left = calls, answered = 0;
	uint8_t bytes[READ_BYTES];

	(void)size_bytes;
	for (size_t i = 0; i < pipeline->count; i++)
		if (ask(pipeline, &pipeline->conns[i], &left))
			return -1;
	for (size_t i = 0; answered < calls; i = (i + 1) % pipeline->count) {
		struct pipeline_conn *conn = &pipeline->conns[i];
		size_t whole;
		ssize_t n;

		if (conn->asked == 0)
			continue;
		n = recv(conn->fd, bytes, sizeof(bytes), 0);
		if (n <= 0)
			return -1;
		conn->partial_bytes += (size_t)n;
		whole = conn->partial_bytes / pipeline->reply_bytes;
		conn->partial_bytes %= pipeline->reply_bytes;
		conn->asked -= whole;
		answered += whole;
		if (ask(pipeline, conn, &left))
			return -1;
	}
	return 0;
}
