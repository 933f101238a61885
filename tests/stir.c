/*
 * stir - does to rngd what a host, a kernel and many clients do to it. Owns: its connections and
 * the clients it starts. May touch: the sockets and files it is told. Never does: excuse an error
 * but the one that says: ask anew.
 *
 *	stir ask SOCKET look|page|bump|reseed [BYTES]
 *					prints the reply's status and generation
 *	stir add FILE OFFSET [COUNT MS]	adds one to the u64 at OFFSET, COUNT times within MS
 *	stir vmclock FILE make|clone|migrate
 *					a vmclock page, and what a hypervisor does to it
 *	stir kernel			has the kernel reseed its generator (root)
 *	stir fetch SOCKET MS CLIENTS	clients that ask for bytes without a pause
 *	stir looks SOCKET COUNT		so many LOOKs, written without waiting
 *	stir press SOCKET		LOOK, BUMP, and again, whatever becomes of the daemon, for
 *ever
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "proto/wire.h"

#define TIMEOUT_S        20
#define CLIENTS_MAX      64
#define GET_BYTES        256u
#define FILE_BYTES       4096
#define VMCLOCK_MAGIC    0x4b4c4356u
#define VMCLOCK_BYTES    112u
#define VMCLOCK_COUNTER  (UINT64_C(1) << 8)
#define AT_SEQUENCE      12
#define AT_DISRUPTION    16
#define AT_FLAGS         24
#define AT_GENERATION    104
#define ADDS_BEFORE_LOOK 100 /* at the clock */

#ifndef RNDRESEEDCRNG
#define RNDRESEEDCRNG _IO('R', 0x07)
#endif

struct tally {
	uint64_t served;
	uint64_t again;
	int64_t slowest_ms;
};

static void die(const char *what)
{
	fprintf(stderr, "stir: %s: %s\n", what, errno ? strerror(errno) : "not as it should be");
	exit(1);
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int open_socket(const char *path)
{
	const struct timeval timeout = {.tv_sec = TIMEOUT_S};
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || strlen(path) >= sizeof(addr.sun_path))
		die(path);
	memcpy(addr.sun_path, path, strlen(path) + 1);
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0 ||
	    connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0)
		die(path);
	return fd;
}

static void put(int fd, const void *data, size_t len)
{
	const char *at = data;
	ssize_t n;

	for (; len > 0; at += n, len -= (size_t)n) {
		errno = 0;
		n = send(fd, at, len, MSG_NOSIGNAL);
		if (n <= 0)
			die("send");
	}
}

static void request(int fd, uint8_t opcode, const void *body, uint32_t body_bytes)
{
	uint8_t buf[RNGD_PROTO_REQUEST_MAX_BYTES];
	const struct wire_request req = {
	    .opcode = opcode, .version = 1, .body = body, .body_bytes = body_bytes};

	put(fd, buf, wire_encode_request(&req, buf));
}

static void take(int fd, void *data, size_t len)
{
	errno = 0;
	if (len > 0 && recv(fd, data, len, MSG_WAITALL) != (ssize_t)len)
		die("recv");
}

/* One frame; its body is thrown away. */
static struct wire_reply reply(int fd)
{
	uint8_t head[RNGD_PROTO_REPLY_HEAD_BYTES], body[RNGD_PROTO_STATUS_MAX_BYTES];
	struct wire_reply got;

	take(fd, head, sizeof(head));
	errno = 0;
	if (wire_decode_reply(head, &got) != WIRE_OK || got.body_bytes > sizeof(body))
		die("reply");
	take(fd, body, got.body_bytes);
	return got;
}

static int ask(const char *path, const char *what, uint32_t body_bytes)
{
	static const struct {
		const char *name;
		uint8_t opcode;
	} rows[] = {
	    {"look", RNGD_PROTO_OP_LOOK},
	    {"page", RNGD_PROTO_OP_PAGE},
	    {"bump", RNGD_PROTO_OP_BUMP},
	    {"reseed", RNGD_PROTO_OP_RESEED},
	};
	uint8_t body[RNGD_PROTO_REQUEST_MAX_BYTES - RNGD_PROTO_REQUEST_HEAD_BYTES];
	struct wire_reply got;
	int fd;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (strcmp(rows[i].name, what) != 0 || body_bytes > sizeof(body))
			continue;
		memset(body, 0x5a, sizeof(body));
		fd = open_socket(path);
		request(fd, rows[i].opcode, body, body_bytes);
		got = reply(fd);
		printf("%u %llu\n", got.status, (unsigned long long)got.generation);
		close(fd);
		return 0;
	}
	return 2;
}

static void wait_until(int64_t at_ms)
{
	int64_t left_ms = at_ms - now_ms();

	if (left_ms > 0)
		poll(NULL, 0, (int)left_ms);
}

/* By pwrite() and never cut short in between: what a machine's own identifier is like. */
static int add(const char *path, off_t offset, long count, long ms)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	int64_t start_ms = now_ms();
	uint64_t value = 0;

	if (fd < 0 || pread(fd, &value, sizeof(value), offset) != (ssize_t)sizeof(value))
		die(path);
	for (long i = 0; i < count; i++) {
		value++;
		if (pwrite(fd, &value, sizeof(value), offset) != (ssize_t)sizeof(value))
			die(path);
		if (i % ADDS_BEFORE_LOOK == 0)
			wait_until(start_ms + i * ms / count);
	}
	printf("%ld in %lld ms\n", count, (long long)(now_ms() - start_ms));
	close(fd);
	return 0;
}

static void store_32(int fd, off_t at, uint32_t value)
{
	value = htole32(value);
	if (pwrite(fd, &value, sizeof(value), at) != (ssize_t)sizeof(value))
		die("pwrite");
}

static void store_64(int fd, off_t at, uint64_t value)
{
	value = htole64(value);
	if (pwrite(fd, &value, sizeof(value), at) != (ssize_t)sizeof(value))
		die("pwrite");
}

static void advance_64(int fd, off_t at)
{
	uint64_t value = 0;

	if (pread(fd, &value, sizeof(value), at) != (ssize_t)sizeof(value))
		die("pread");
	store_64(fd, at, le64toh(value) + 1);
}

static int vmclock(const char *path, const char *what)
{
	bool make = strcmp(what, "make") == 0, clone = strcmp(what, "clone") == 0;
	int fd = open(path, O_RDWR | O_CLOEXEC | (make ? O_CREAT : 0), 0644);
	uint32_t sequence = 0;

	if (fd < 0)
		die(path);
	if (make) {
		if (ftruncate(fd, FILE_BYTES) < 0)
			die(path);
		store_32(fd, 0, VMCLOCK_MAGIC);
		store_32(fd, 4, VMCLOCK_BYTES);
		store_32(fd, 8, 1); /* version 1, no clock */
		store_64(fd, AT_FLAGS, VMCLOCK_COUNTER);
	}
	/* As the specification has it: odd while it is written, and what moved. */
	if (pread(fd, &sequence, sizeof(sequence), AT_SEQUENCE) != (ssize_t)sizeof(sequence))
		die(path);
	sequence = le32toh(sequence);
	store_32(fd, AT_SEQUENCE, sequence + 1);
	advance_64(fd, AT_DISRUPTION);
	if (make || clone)
		advance_64(fd, AT_GENERATION);
	store_32(fd, AT_SEQUENCE, sequence + 2);
	close(fd);
	return 0;
}

static int reseed_kernel(void)
{
	int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || ioctl(fd, RNDRESEEDCRNG) < 0)
		die("RNDRESEEDCRNG");
	close(fd);
	return 0;
}

/* AGAIN is to be answered by asking anew; nothing else may happen. */
static void fetch_one(const char *path, int64_t until_ms, struct tally *tally)
{
	int fd = open_socket(path);
	uint8_t count[RNGD_PROTO_GET_BODY_BYTES];
	struct wire_reply got;
	int64_t start_ms, took_ms;

	wire_put_u32(count, GET_BYTES);
	while ((start_ms = now_ms()) < until_ms) {
		request(fd, RNGD_PROTO_OP_GET, count, sizeof(count));
		got = reply(fd);
		took_ms = now_ms() - start_ms;
		if (took_ms > tally->slowest_ms)
			tally->slowest_ms = took_ms;
		if (got.status == RNGD_PROTO_E_AGAIN) {
			tally->again++;
			continue;
		}
		if (got.status != RNGD_PROTO_OK || got.body_bytes != GET_BYTES) {
			fprintf(stderr, "stir: a client got status %u, %u bytes\n", got.status,
				got.body_bytes);
			_exit(1);
		}
		tally->served++;
	}
	close(fd);
}

static int fetch(const char *path, long ms, long clients)
{
	struct tally *tallies = mmap(NULL, CLIENTS_MAX * sizeof(*tallies), PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int64_t until_ms = now_ms() + ms;
	struct tally all = {.served = 0};
	uint64_t fewest = UINT64_MAX;
	int status, bad = 0;

	if (tallies == MAP_FAILED || clients < 1 || clients > CLIENTS_MAX)
		die("clients");
	for (long i = 0; i < clients; i++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork");
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			fetch_one(path, until_ms, &tallies[i]);
			_exit(0);
		}
	}
	while (wait(&status) > 0)
		bad |= status != 0;
	for (long i = 0; i < clients; i++) {
		all.served += tallies[i].served;
		all.again += tallies[i].again;
		if (tallies[i].slowest_ms > all.slowest_ms)
			all.slowest_ms = tallies[i].slowest_ms;
		if (tallies[i].served < fewest)
			fewest = tallies[i].served;
	}
	printf("served=%llu again=%llu fewest=%llu slowest_ms=%lld\n",
	       (unsigned long long)all.served, (unsigned long long)all.again,
	       (unsigned long long)fewest, (long long)all.slowest_ms);
	return bad;
}

/* One process writes, the other reads: neither waits for an answer. */
static int looks(const char *path, long count)
{
	int fd = open_socket(path);
	int64_t start_ms = now_ms();
	struct wire_reply got = {.status = 0};
	pid_t pid = fork();
	int status;

	if (pid < 0)
		die("fork");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (long i = 0; i < count; i++)
			request(fd, RNGD_PROTO_OP_LOOK, NULL, 0);
		_exit(0);
	}
	for (long i = 0; i < count; i++) {
		got = reply(fd);
		if (got.status != RNGD_PROTO_OK)
			die("look");
	}
	if (waitpid(pid, &status, 0) != pid || status != 0)
		return 1;
	printf("looks=%ld took_ms=%lld\n", count, (long long)(now_ms() - start_ms));
	close(fd);
	return 0;
}

/* true: it went through. */
static bool press_once(int fd, uint8_t opcode)
{
	uint8_t buf[RNGD_PROTO_REQUEST_HEAD_BYTES], head[RNGD_PROTO_REPLY_HEAD_BYTES];
	const struct wire_request req = {.opcode = opcode, .version = 1};
	size_t len = wire_encode_request(&req, buf);

	return send(fd, buf, len, MSG_NOSIGNAL) == (ssize_t)len &&
	       recv(fd, head, sizeof(head), MSG_WAITALL) == (ssize_t)sizeof(head);
}

static _Noreturn void press(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	if (strlen(path) >= sizeof(addr.sun_path))
		die(path);
	memcpy(addr.sun_path, path, strlen(path) + 1);
	for (;;) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (fd < 0)
			die("socket");
		if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0)
			while (press_once(fd, RNGD_PROTO_OP_LOOK) &&
			       press_once(fd, RNGD_PROTO_OP_BUMP))
				;
		close(fd);
		poll(NULL, 0, 1);
	}
}

static long number(const char *text)
{
	char *end;
	long value = strtol(text, &end, 10);

	if (*text == '\0' || *end != '\0' || value < 0) {
		fprintf(stderr, "stir: %s is no number\n", text);
		exit(2);
	}
	return value;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if ((argc == 4 || argc == 5) && strcmp(what, "ask") == 0)
		return ask(argv[2], argv[3], argc == 5 ? (uint32_t)number(argv[4]) : 0);
	if (argc == 4 && strcmp(what, "add") == 0)
		return add(argv[2], number(argv[3]), 1, 0);
	if (argc == 6 && strcmp(what, "add") == 0)
		return add(argv[2], number(argv[3]), number(argv[4]), number(argv[5]));
	if (argc == 4 && strcmp(what, "vmclock") == 0)
		return vmclock(argv[2], argv[3]);
	if (argc == 2 && strcmp(what, "kernel") == 0)
		return reseed_kernel();
	if (argc == 5 && strcmp(what, "fetch") == 0)
		return fetch(argv[2], number(argv[3]), number(argv[4]));
	if (argc == 4 && strcmp(what, "looks") == 0)
		return looks(argv[2], number(argv[3]));
	if (argc == 3 && strcmp(what, "press") == 0)
		press(argv[2]);
	fputs("usage: stir ask|add|vmclock|kernel|fetch|looks|press ...; see its source\n", stderr);
	return 2;
}
