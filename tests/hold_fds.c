/*
 * hold_fds - opens connections to rngd and keeps them, to use up its descriptors. Owns: the
 *connections. May touch: the socket. Never does: give one back before its standard input ends.
 *
 *	hold_fds SOCKET COUNT
 *
 * Prints "holds COUNT" when all are open, and then, for each line read from standard input, asks
 *for 16 bytes on the first connection and prints "served" when they have come (or "silent" when
 *they did not within 5 s).
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/wire.h"

#define COUNT_MAX     4096
#define GET_BYTES     16u
#define GET_TIMEOUT_S 5

static int open_one(const char *path)
{
	const struct timeval timeout = {.tv_sec = GET_TIMEOUT_S};
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || strlen(path) >= sizeof(addr.sun_path))
		return -1;
	memcpy(addr.sun_path, path, strlen(path) + 1);
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0 ||
	    connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static bool is_served(int fd)
{
	uint8_t count[RNGD_PROTO_GET_BODY_BYTES];
	uint8_t request[RNGD_PROTO_REQUEST_HEAD_BYTES + RNGD_PROTO_GET_BODY_BYTES];
	uint8_t reply[RNGD_PROTO_REPLY_HEAD_BYTES + GET_BYTES];
	const struct wire_request get = {
	    .opcode = RNGD_PROTO_OP_GET,
	    .version = RNGD_PROTO_VERSION_MAX,
	    .body = count,
	    .body_bytes = sizeof(count),
	};
	size_t len;

	wire_put_u32(count, GET_BYTES);
	len = wire_encode_request(&get, request);
	return send(fd, request, len, MSG_NOSIGNAL) == (ssize_t)len &&
	       recv(fd, reply, sizeof(reply), MSG_WAITALL) == (ssize_t)sizeof(reply);
}

int main(int argc, char **argv)
{
	long count = argc == 3 ? strtol(argv[2], NULL, 10) : 0;
	char line[64];
	int first = -1, fd;

	if (count < 1 || count > COUNT_MAX) {
		fputs("usage: hold_fds SOCKET COUNT\n", stderr);
		return 2;
	}
	for (long i = 0; i < count; i++) {
		fd = open_one(argv[1]);
		if (fd < 0) {
			fprintf(stderr, "hold_fds: connection %ld: %s\n", i + 1, strerror(errno));
			return 1;
		}
		if (i == 0)
			first = fd;
	}
	printf("holds %ld\n", count);
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		puts(is_served(first) ? "served" : "silent");
		fflush(stdout);
	}
	return 0;
}
