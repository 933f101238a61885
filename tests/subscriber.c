/*
 * subscriber SOCKET - a subscriber that does what standard input says, one word a line, over the
 * bare protocol: behaviour that the library does not have. Prints "event GENERATION" for each
 * event, "refused STATUS" for each request that was, "closed" when the daemon closes.
 *
 *   connect   subscribe, with the same id each time, and with what was acknowledged last
 *   taken     acknowledge the newest event as read
 *   done      acknowledge it as acted on
 *   leave     say that nothing is owed, and close
 *   drop      close without a word
 *   crowd     70 subscriptions more, that nobody reads
 *   end       end without a word, as the end of input does
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/rngd_proto.h"
#include "proto/wire.h"

struct subscriber {
	const char *path;
	int fd; /* -1: not connected */
	uint64_t newest;
	uint64_t done;
	uint8_t id[RNGD_PROTO_SUBSCRIBER_ID_BYTES];
};

static void die(const char *what)
{
	fprintf(stderr, "subscriber: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void ask(struct subscriber *s, uint8_t opcode, const uint8_t *body, uint32_t len)
{
	uint8_t buf[RNGD_PROTO_REQUEST_HEAD_BYTES + RNGD_PROTO_SUBSCRIBE_BODY_BYTES];
	struct wire_request request = {
	    .opcode = opcode,
	    .version = RNGD_PROTO_VERSION_MAX,
	    .tag = opcode,
	    .body = body,
	    .body_bytes = len,
	};
	size_t bytes = wire_encode_request(&request, buf);

	if (send(s->fd, buf, bytes, MSG_NOSIGNAL) != (ssize_t)bytes)
		die("send");
}

static void read_all(int fd, uint8_t *buf, size_t len)
{
	while (len) {
		ssize_t n = read(fd, buf, len);

		if (n <= 0)
			die("the middle of a frame");
		buf += n;
		len -= (size_t)n;
	}
}

static void close_it(struct subscriber *s)
{
	close(s->fd);
	s->fd = -1;
}

/* One frame, or the end of the connection. */
static void take_frame(struct subscriber *s)
{
	uint8_t head[RNGD_PROTO_REPLY_HEAD_BYTES], body[64];
	struct wire_reply reply;
	char byte;

	if (recv(s->fd, &byte, 1, MSG_PEEK) <= 0) {
		puts("closed");
		close_it(s);
		return;
	}
	read_all(s->fd, head, sizeof(head));
	if (wire_decode_reply(head, &reply) || reply.body_bytes > sizeof(body)) {
		errno = EPROTO;
		die("a reply");
	}
	read_all(s->fd, body, reply.body_bytes);
	if (reply.status) {
		printf("refused %u\n", reply.status);
	} else if (reply.opcode == RNGD_PROTO_OP_SUBSCRIBE && !reply.body_bytes) {
		if (!s->done)
			s->done = s->newest = reply.generation;
		printf("subscribed %llu\n", (unsigned long long)reply.generation);
	} else if (reply.opcode == RNGD_PROTO_OP_SUBSCRIBE) {
		s->newest = reply.generation;
		printf("event %llu\n", (unsigned long long)reply.generation);
	}
}

static void subscribe(struct subscriber *s)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	uint8_t body[RNGD_PROTO_SUBSCRIBE_BODY_BYTES];

	if (strlen(s->path) >= sizeof(address.sun_path)) {
		errno = ENAMETOOLONG;
		die(s->path);
	}
	strcpy(address.sun_path, s->path);
	s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (s->fd < 0 || connect(s->fd, (const struct sockaddr *)&address, sizeof(address)))
		die(s->path);
	wire_put_u64(body, s->done);
	memcpy(body + 8, s->id, sizeof(s->id));
	ask(s, RNGD_PROTO_OP_SUBSCRIBE, body, sizeof(body));
}

static void acknowledge(struct subscriber *s, uint8_t stage)
{
	uint8_t body[RNGD_PROTO_ACK_BODY_BYTES];

	wire_put_u64(body, s->newest);
	body[8] = stage;
	ask(s, RNGD_PROTO_OP_ACK, body, sizeof(body));
	if (stage == RNGD_PROTO_STAGE_DONE)
		s->done = s->newest;
}

static void crowd(const struct subscriber *s)
{
	struct subscriber other = *s;

	other.done = 0;
	for (uint8_t i = 0; i < 70; i++) {
		other.id[sizeof(other.id) - 1] = (uint8_t)(i + 1);
		other.id[sizeof(other.id) - 2] = 1;
		subscribe(&other);
	}
	puts("crowded");
}

static void obey(struct subscriber *s, const char *word)
{
	if (!strcmp(word, "connect")) {
		subscribe(s);
	} else if (!strcmp(word, "taken")) {
		acknowledge(s, RNGD_PROTO_STAGE_TAKEN);
	} else if (!strcmp(word, "done")) {
		acknowledge(s, RNGD_PROTO_STAGE_DONE);
	} else if (!strcmp(word, "leave")) {
		acknowledge(s, RNGD_PROTO_STAGE_LEAVE);
		close_it(s);
	} else if (!strcmp(word, "drop")) {
		close_it(s);
	} else if (!strcmp(word, "crowd")) {
		crowd(s);
	} else if (!strcmp(word, "end")) {
		_exit(0);
	} else {
		errno = EINVAL;
		die(word);
	}
}

int main(int argc, char **argv)
{
	struct subscriber s = {.path = argv[1], .fd = -1};
	char line[64];
	size_t len = 0;

	if (argc != 2)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (size_t i = 0; i < sizeof(s.id); i++)
		s.id[i] = (uint8_t)((unsigned)getpid() >> (i % 3 * 8));
	for (;;) {
		struct pollfd fds[] = {{.fd = STDIN_FILENO, .events = POLLIN},
				       {.fd = s.fd, .events = POLLIN}};
		ssize_t n;

		if (poll(fds, 2, -1) < 0)
			die("poll");
		if (fds[1].revents)
			take_frame(&s);
		if (!fds[0].revents)
			continue;
		n = read(STDIN_FILENO, line + len, 1);
		if (n <= 0)
			return 0;
		if (line[len] != '\n') {
			len = len + 2 < sizeof(line) ? len + 1 : len;
			continue;
		}
		line[len] = '\0';
		len = 0;
		obey(&s, line);
	}
}
