/*
 * mixed - clients that ask rngd for everything at once and look closely at each answer. Owns: its
 * connections and processes. May touch: the daemon's socket. Never does: excuse an answer but the
 * one that says: ask anew.
 *
 *	mixed SOCKET SECONDS CLIENTS
 *
 * Each writes up to 16 requests without waiting (small, middling, large GETs, STATUS, LOOK), then
 * reads: order, opcode, tag, version, sizes and MORE must be right, the generation may not go back,
 * random bytes must be some, and their beginnings and ends ones that nobody was given before.
 * Prints one line of figures. Exit 1 when an answer was wrong or did not come.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "proto/wire.h"

#define CLIENTS_MAX 64
#define BURST_MAX   16
#define BURSTS_MAX  100 /* on one connection */
#define LARGE_BYTES 400000u
#define TIMEOUT_S   20
#define SEEN_SLOTS  (1u << 18)
#define MARK_BYTES  16u
#define RUN_BYTES   8u /* so many equal bytes in a row: once in 10^16 bytes at random */

struct tally {
	uint64_t requests, bytes, again, connections;
	int64_t slowest_ms;
};

/* Shared by all clients. */
struct shared {
	struct tally tallies[CLIENTS_MAX];
	uint64_t seen[SEEN_SLOTS]; /* by the first half of a mark, its second half */
};

struct client {
	struct shared *shared;
	struct tally *tally;
	struct sockaddr_un addr;
	int fd;
	unsigned seed;
	uint32_t next_tag;
	uint64_t generation;
	uint8_t body[RNGD_PROTO_FRAME_DATA_BYTES];
};

struct ask {
	uint8_t opcode;
	uint32_t tag, count;
};

static void die(const char *what)
{
	fprintf(stderr, "mixed: %s: %s\n", what, errno ? strerror(errno) : "not as it should be");
	_exit(1);
}

static void must(bool right, const char *what)
{
	errno = 0;
	if (!right)
		die(what);
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void take(struct client *client, void *data, size_t len)
{
	errno = 0;
	if (len > 0 && recv(client->fd, data, len, MSG_WAITALL) != (ssize_t)len)
		die("an answer that did not come");
}

/* Was this given to anybody before, as far as is remembered? At random: once in 2^64 times. */
static void look_mark(struct client *client, const uint8_t *mark)
{
	uint64_t first, second, old;

	memcpy(&first, mark, sizeof(first));
	memcpy(&second, mark + sizeof(first), sizeof(second));
	old = __atomic_exchange_n(&client->shared->seen[first % SEEN_SLOTS], second,
				  __ATOMIC_RELAXED);
	must(old != second, "bytes that were given before");
}

static void look_bytes(struct client *client, const uint8_t *bytes, size_t len)
{
	size_t run = 1;

	for (size_t i = 1; i < len; i++) {
		run = bytes[i] == bytes[i - 1] ? run + 1 : 1;
		must(run < RUN_BYTES, "equal bytes in a row");
	}
	if (len >= MARK_BYTES)
		look_mark(client, bytes);
	if (len >= 2 * MARK_BYTES)
		look_mark(client, bytes + len - MARK_BYTES);
}

/* Which state it tells is not judged: without RDRAND there are no bytes for a moment after a clone.
 */
static void look_status(const uint8_t *text, size_t len)
{
	static const char begin[] = "version=\"", state[] = "\nstate=\"";

	must(len > sizeof(begin) && memcmp(text, begin, sizeof(begin) - 1) == 0 &&
		 text[len - 1] == '\n' && memmem(text, len, state, sizeof(state) - 1),
	     "a status");
}

/* One frame. false: it is the reply's last. */
static bool read_frame(struct client *client, const struct ask *ask, uint32_t *left)
{
	uint8_t head[RNGD_PROTO_REPLY_HEAD_BYTES];
	struct wire_reply reply;
	uint32_t most = 0;
	bool more;

	take(client, head, sizeof(head));
	must(wire_decode_reply(head, &reply) == WIRE_OK, "a frame's head");
	must(reply.opcode == ask->opcode && reply.tag == ask->tag && reply.version == 1,
	     "another request's answer");
	must(reply.generation >= client->generation, "a generation that went back");
	must(reply.body_bytes <= sizeof(client->body), "a frame's size");
	client->generation = reply.generation;
	take(client, client->body, reply.body_bytes);
	if (ask->opcode == RNGD_PROTO_OP_GET && reply.status == RNGD_PROTO_E_AGAIN) {
		must(reply.body_bytes == 0 && reply.flags == 0, "a refusal");
		client->tally->again++;
		return false;
	}
	must(reply.status == RNGD_PROTO_OK, "a refusal");
	if (ask->opcode == RNGD_PROTO_OP_STATUS) {
		look_status(client->body, reply.body_bytes);
		must(reply.flags == 0, "MORE of a status");
		return false;
	}
	if (ask->opcode == RNGD_PROTO_OP_GET)
		most = *left;
	must(reply.body_bytes <= most, "a frame's size");
	*left -= reply.body_bytes;
	more = *left > 0;
	must(!more || reply.body_bytes >= RNGD_PROTO_ONE_FRAME_BYTES, "a frame's size");
	must(reply.flags == (more ? RNGD_PROTO_FLAG_MORE : 0), "MORE");
	look_bytes(client, client->body, reply.body_bytes);
	client->tally->bytes += reply.body_bytes;
	return more;
}

static struct ask pick(struct client *client)
{
	unsigned kind = (unsigned)rand_r(&client->seed) % 100;
	unsigned value = (unsigned)rand_r(&client->seed);
	struct ask ask = {.opcode = RNGD_PROTO_OP_GET, .tag = client->next_tag++};

	if (kind < 65)
		ask.count = 1 + value % 256;
	else if (kind < 80)
		ask.count = 1 + value % 16384;
	else if (kind < 84)
		ask.count = 1 + value % LARGE_BYTES;
	else
		ask.opcode = kind < 92 ? RNGD_PROTO_OP_STATUS : RNGD_PROTO_OP_LOOK;
	return ask;
}

static void burst(struct client *client)
{
	uint8_t out[BURST_MAX * 32], count[RNGD_PROTO_GET_BODY_BYTES];
	struct ask asks[BURST_MAX];
	size_t n = 1 + (size_t)rand_r(&client->seed) % BURST_MAX, len = 0;
	int64_t start_ms = now_ms(), took_ms;

	for (size_t i = 0; i < n; i++) {
		struct wire_request req;

		asks[i] = pick(client);
		req = (struct wire_request){
		    .opcode = asks[i].opcode, .version = 1, .tag = asks[i].tag};
		if (req.opcode == RNGD_PROTO_OP_GET) {
			wire_put_u32(count, asks[i].count);
			req.body = count;
			req.body_bytes = sizeof(count);
		}
		len += wire_encode_request(&req, out + len);
	}
	errno = 0;
	if (send(client->fd, out, len, MSG_NOSIGNAL) != (ssize_t)len)
		die("a request that was not taken");
	for (size_t i = 0; i < n; i++) {
		uint32_t left = asks[i].count;

		while (read_frame(client, &asks[i], &left))
			;
		client->tally->requests++;
	}
	took_ms = now_ms() - start_ms;
	if (took_ms > client->tally->slowest_ms)
		client->tally->slowest_ms = took_ms;
}

static void run_client(struct client *client, int64_t until_ms)
{
	const struct timeval timeout = {.tv_sec = TIMEOUT_S};

	while (now_ms() < until_ms) {
		errno = 0;
		client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (client->fd < 0 ||
		    setsockopt(client->fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) <
			0 ||
		    setsockopt(client->fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) <
			0 ||
		    connect(client->fd, (const struct sockaddr *)&client->addr,
			    sizeof(client->addr)) < 0)
			die("connect");
		client->tally->connections++;
		for (int i = 1 + rand_r(&client->seed) % BURSTS_MAX; i > 0 && now_ms() < until_ms;
		     i--)
			burst(client);
		close(client->fd);
	}
}

static int report(const struct shared *shared, long clients, bool bad)
{
	struct tally all = {.requests = 0};

	for (long i = 0; i < clients; i++) {
		const struct tally *tally = &shared->tallies[i];

		all.requests += tally->requests;
		all.bytes += tally->bytes;
		all.again += tally->again;
		all.connections += tally->connections;
		if (tally->slowest_ms > all.slowest_ms)
			all.slowest_ms = tally->slowest_ms;
		bad |= tally->requests == 0;
	}
	printf("requests=%llu mb=%llu again=%llu connections=%llu slowest_ms=%lld\n",
	       (unsigned long long)all.requests, (unsigned long long)all.bytes / 1000000,
	       (unsigned long long)all.again, (unsigned long long)all.connections,
	       (long long)all.slowest_ms);
	return bad ? 1 : 0;
}

int main(int argc, char **argv)
{
	static struct client client = {.addr = {.sun_family = AF_UNIX}};
	long seconds = argc == 4 ? strtol(argv[2], NULL, 10) : 0;
	long clients = argc == 4 ? strtol(argv[3], NULL, 10) : 0;
	int64_t until_ms = now_ms() + seconds * 1000;
	bool bad = false;
	int status;

	if (seconds < 1 || clients < 1 || clients > CLIENTS_MAX ||
	    strlen(argv[1]) >= sizeof(client.addr.sun_path)) {
		fputs("usage: mixed SOCKET SECONDS CLIENTS\n", stderr);
		return 2;
	}
	strcpy(client.addr.sun_path, argv[1]);
	client.shared = mmap(NULL, sizeof(*client.shared), PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (client.shared == MAP_FAILED)
		die("mmap");
	for (long i = 0; i < clients; i++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork");
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			client.tally = &client.shared->tallies[i];
			client.seed = (unsigned)getpid();
			run_client(&client, until_ms);
			_exit(0);
		}
	}
	while (wait(&status) > 0)
		bad |= status != 0;
	return report(client.shared, clients, bad);
}
