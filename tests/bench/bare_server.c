/*
 * bare_server - what a server of rngd's requests costs that makes no random bytes.
 *
 * Owns:       its socket and connections.
 * May touch:  nothing else.
 * Never does: anything that a peer could not do without: it has no limits, no deadlines, no
 *             sandbox, and answers with constant bytes.
 *
 *	bare_server [--echo] SOCKET
 *
 * One thread, epoll, level-triggered. GET is answered by the same frames as rngd's, everything else
 * by OPCODE. It reads as much at a time as rngd, answers all small requests of one read in one
 * write, and leaves the socket's buffers as the kernel makes them, as rngd does. A large answer
 * goes on as long as the peer takes it. With --echo it gives back what it gets. To a service
 * manager it says when it is ready.
 */
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/wire.h"

#define BACKLOG       4096
#define EVENTS        64
#define FRAME_BYTES   (RNGD_PROTO_REPLY_HEAD_BYTES + RNGD_PROTO_FRAME_DATA_BYTES)
#define SCRATCH_BYTES (RNGD_PROTO_STATUS_MAX_BYTES + FRAME_BYTES)
#define GENERATION    1

struct conn {
	int fd;
	bool writing; /* what epoll waits for */
	uint32_t in_bytes;
	uint32_t out_start; /* of what is kept in out */
	uint32_t out_bytes;
	uint32_t data_left; /* constant bytes of the frame that was begun, after out */
	uint32_t get_owed;  /* bytes of the GET that are in no frame yet */
	uint32_t get_tag;
	uint8_t in[RNGD_PROTO_REQUEST_MAX_BYTES];
	uint8_t out[SCRATCH_BYTES]; /* touched only where a peer does not read */
};

struct server {
	int epoll_fd;
	int listen_fd;
	bool echo;
	uint8_t scratch[SCRATCH_BYTES];
	uint8_t frame[FRAME_BYTES]; /* one head, and the constant bytes */
};

static void die(const char *what)
{
	fprintf(stderr, "bare_server: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void put_head(uint8_t *at, uint8_t opcode, uint8_t status, uint32_t tag, uint32_t data_bytes,
		     bool more)
{
	const struct wire_reply reply = {
	    .opcode = opcode,
	    .version = RNGD_PROTO_VERSION_MAX,
	    .status = status,
	    .flags = more ? RNGD_PROTO_FLAG_MORE : 0,
	    .tag = tag,
	    .generation = GENERATION,
	    .body_bytes = data_bytes,
	};

	wire_encode_reply(&reply, at);
}

/* Bytes taken: 0 when none could be, -1 when the peer is gone. */
static ssize_t push(const struct conn *conn, const uint8_t *data, size_t len)
{
	ssize_t n = send(conn->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);

	return n < 0 && errno == EAGAIN ? 0 : n;
}

/* Sends the scratch and keeps what is not taken. */
static int push_scratch(struct server *server, struct conn *conn, size_t len)
{
	ssize_t n = push(conn, server->scratch, len);

	if (n < 0)
		return -1;
	conn->out_start = 0;
	conn->out_bytes = (uint32_t)(len - (size_t)n);
	memcpy(conn->out, server->scratch + n, conn->out_bytes);
	return 0;
}

/* The next whole frame of a large GET. */
static int push_frame(struct server *server, struct conn *conn)
{
	uint32_t data_bytes = conn->get_owed < RNGD_PROTO_FRAME_DATA_BYTES
				  ? conn->get_owed
				  : RNGD_PROTO_FRAME_DATA_BYTES;
	size_t sent, head_bytes = RNGD_PROTO_REPLY_HEAD_BYTES;
	ssize_t n;

	conn->get_owed -= data_bytes;
	put_head(server->frame, RNGD_PROTO_OP_GET, RNGD_PROTO_OK, conn->get_tag, data_bytes,
		 conn->get_owed > 0);
	n = push(conn, server->frame, head_bytes + data_bytes);
	if (n < 0)
		return -1;
	sent = (size_t)n;
	conn->data_left = data_bytes;
	if (sent >= head_bytes) {
		conn->data_left -= (uint32_t)(sent - head_bytes);
		return 0;
	}
	conn->out_start = 0;
	conn->out_bytes = (uint32_t)(head_bytes - sent);
	memcpy(conn->out, server->frame + sent, conn->out_bytes);
	return 0;
}

/* What was begun. 0, or -1: the peer is gone. */
static int push_rest(struct server *server, struct conn *conn)
{
	ssize_t n;

	if (conn->out_bytes > 0) {
		n = push(conn, conn->out + conn->out_start, conn->out_bytes);
		if (n < 0)
			return -1;
		conn->out_start += (uint32_t)n;
		conn->out_bytes -= (uint32_t)n;
	}
	if (conn->out_bytes == 0 && conn->data_left > 0) {
		n = push(conn, server->frame + RNGD_PROTO_REPLY_HEAD_BYTES, conn->data_left);
		if (n < 0)
			return -1;
		conn->data_left -= (uint32_t)n;
	}
	return 0;
}

static bool is_stuck(const struct conn *conn)
{
	return conn->out_bytes > 0 || conn->data_left > 0;
}

/*
 * All requests that are whole, up to a large one, whose bytes are then owed. Bytes in the scratch,
 * or -1: not the protocol.
 */
static ssize_t answer(struct server *server, struct conn *conn)
{
	size_t used = 0, used_bytes, out = 0;
	struct wire_request req;

	while (conn->get_owed == 0 &&
	       out + RNGD_PROTO_REPLY_HEAD_BYTES + RNGD_PROTO_ONE_FRAME_BYTES <=
		   sizeof(server->scratch)) {
		uint32_t bytes;

		switch (wire_decode_request(conn->in + used, conn->in_bytes - used, &req,
					    &used_bytes)) {
		case WIRE_E_LENGTH:
			return -1;
		case WIRE_E_SHORT:
			goto out;
		case WIRE_OK:
			break;
		}
		used += used_bytes;
		if (req.opcode != RNGD_PROTO_OP_GET ||
		    req.body_bytes != RNGD_PROTO_GET_BODY_BYTES) {
			put_head(server->scratch + out, req.opcode, RNGD_PROTO_E_OPCODE, req.tag, 0,
				 false);
			out += RNGD_PROTO_REPLY_HEAD_BYTES;
			continue;
		}
		bytes = wire_get_u32(req.body);
		if (bytes > RNGD_PROTO_ONE_FRAME_BYTES) {
			conn->get_owed = bytes;
			conn->get_tag = req.tag;
			break;
		}
		put_head(server->scratch + out, req.opcode, RNGD_PROTO_OK, req.tag, bytes, false);
		out += RNGD_PROTO_REPLY_HEAD_BYTES;
		memset(server->scratch + out, 0x5a, bytes);
		out += bytes;
	}
out:
	conn->in_bytes -= (uint32_t)used;
	memmove(conn->in, conn->in + used, conn->in_bytes);
	return (ssize_t)out;
}

/* Everything that can be sent now of what was asked. 0, or -1: the connection is over. */
static int serve(struct server *server, struct conn *conn)
{
	ssize_t out;

	for (;;) {
		if (push_rest(server, conn))
			return -1;
		if (is_stuck(conn))
			return 0;
		if (conn->get_owed > 0) {
			if (push_frame(server, conn))
				return -1;
			continue;
		}
		out = answer(server, conn);
		if (out < 0 || (out > 0 && push_scratch(server, conn, (size_t)out)))
			return -1;
		if (out == 0 && conn->get_owed == 0)
			return 0;
	}
}

static int echo(struct server *server, struct conn *conn)
{
	if (conn->in_bytes > 0) {
		memcpy(server->scratch, conn->in, conn->in_bytes);
		if (push_scratch(server, conn, conn->in_bytes))
			return -1;
		conn->in_bytes = 0;
	}
	return push_rest(server, conn);
}

static int turn(struct server *server, struct conn *conn)
{
	int err;

	if (!conn->writing) {
		ssize_t n = recv(conn->fd, conn->in + conn->in_bytes,
				 sizeof(conn->in) - conn->in_bytes, MSG_DONTWAIT);

		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n <= 0)
			return -1;
		conn->in_bytes += (uint32_t)n;
	}
	err = server->echo ? echo(server, conn) : serve(server, conn);
	if (!err && is_stuck(conn) != conn->writing) {
		struct epoll_event event = {.events = conn->writing ? EPOLLIN : EPOLLOUT,
					    .data.ptr = conn};

		conn->writing = !conn->writing;
		err = epoll_ctl(server->epoll_fd, EPOLL_CTL_MOD, conn->fd, &event);
	}
	return err;
}

static void take_in(struct server *server)
{
	struct epoll_event event = {.events = EPOLLIN};
	struct conn *conn;
	int fd;

	while ((fd = accept4(server->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		conn = calloc(1, sizeof(*conn));
		if (!conn)
			die("calloc");
		conn->fd = fd;
		event.data.ptr = conn;
		if (epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
			die("epoll_ctl");
	}
}

static void loop(struct server *server)
{
	struct epoll_event events[EVENTS];

	for (;;) {
		int n = epoll_wait(server->epoll_fd, events, EVENTS, -1);

		for (int i = 0; i < n; i++) {
			struct conn *conn = events[i].data.ptr;

			if (!conn) {
				take_in(server);
			} else if (turn(server, conn)) {
				close(conn->fd);
				free(conn);
			}
		}
	}
}

static void open_socket(struct server *server, const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};

	if (strlen(path) >= sizeof(addr.sun_path))
		errno = ENAMETOOLONG, die(path);
	memcpy(addr.sun_path, path, strlen(path) + 1);
	unlink(path);
	server->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	server->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (server->listen_fd < 0 || server->epoll_fd < 0 ||
	    bind(server->listen_fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    listen(server->listen_fd, BACKLOG) < 0 ||
	    epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, server->listen_fd, &event) < 0)
		die(path);
}

static void say_ready(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd;

	if (!path || strlen(path) >= sizeof(addr.sun_path))
		return;
	memcpy(addr.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || sendto(fd, "READY=1", 7, 0, (const struct sockaddr *)&addr, sizeof(addr)) < 0)
		die(path);
	close(fd);
}

int main(int argc, char **argv)
{
	bool echoes = argc == 3 && strcmp(argv[1], "--echo") == 0;
	struct server *server = calloc(1, sizeof(*server));
	struct rlimit files;

	if (!server || (argc != 2 && !echoes)) {
		fputs("usage: bare_server [--echo] SOCKET\n", stderr);
		return 2;
	}
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	server->echo = echoes;
	memset(server->frame, 0x5a, sizeof(server->frame));
	open_socket(server, argv[argc - 1]);
	say_ready();
	loop(server);
	return 0;
}
