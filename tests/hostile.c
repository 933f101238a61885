/*
 * hostile - a crowd that behaves badly towards one rngd, and one client beside it that does not.
 * Owns: its connections. May touch: the daemon's socket. Never does: count on the daemon's mercy:
 * what it prints is what it saw.
 *
 *	hostile SOCKET quiet  SECONDS               the good client alone
 *	hostile SOCKET KIND   SECONDS COUNT [UID]   with COUNT bad connections, as user UID
 *
 * KIND: readers  ask for 4 GiB each and take 512 bytes a second
 *       senders  send a request one byte a second, and never all of it
 *       both     half of each
 *       storm    connect, send half a request, close, at full speed
 *       vanish   ask for 1 MB, read half a frame, close, at full speed
 *       greedy   ask for 4 GiB each and take it as fast as it comes
 *       chatty   ask for 32 bytes, read them, ask again, as fast as they come
 *       held     connect, and do nothing
 *
 * Prints one line: the good client's requests, median, 99th percentile (of all; held_: of those
 * after SETTLE_MS, when the crowd has done its first step) and longest in microseconds; connections
 * that the daemon closed, refused with BUSY, never let in; attempts of storm and vanish; MB that
 * the bad took; ms from the end of connecting to the last close (-1: none). A reader that leaves
 * bytes unread is not closed. Exit 1 when the good client's request failed.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "proto/wire.h"
#include "tests/get.h"

#define COUNT_MAX   30000
#define SAMPLES_MAX 400000
#define GET_BYTES   32u
#define GOOD_US     1000 /* the good client asks a thousand times a second */
#define STEP_MS     1000 /* what the slow ones do, they do once in this time */
#define SLICES      1000
#define SETTLE_MS   2500

struct tally {
	_Atomic bool ready; /* all connections are made, or were refused */
	_Atomic long closed, busy, refused, attempts, closed_ms;
	_Atomic long long taken_bytes;
};

struct bad {
	int fd;
	bool reader;
	size_t sent;
};

struct hostile {
	struct sockaddr_un addr;
	const char *kind;
	long seconds, count;
	struct tally *tally;
	struct bad *bad;
	struct pollfd *polled;
};

static int64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int connect_one(const struct hostile *hostile)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 &&
	    connect(fd, (const struct sockaddr *)&hostile->addr, sizeof(hostile->addr)) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

/* The first bytes of a stream: a BUSY frame? */
static bool is_busy(const uint8_t *data, ssize_t n)
{
	struct wire_reply reply;

	return n == RNGD_PROTO_REPLY_HEAD_BYTES && wire_decode_reply(data, &reply) == WIRE_OK &&
	       reply.status == RNGD_PROTO_E_BUSY;
}

static void drop(struct hostile *hostile, struct bad *bad)
{
	close(bad->fd);
	bad->fd = -1;
	hostile->tally->closed++;
	hostile->tally->closed_ms = now_us() / 1000;
}

/* One second's worth of bad behaviour. Sees whether it was closed. */
static void step(struct hostile *hostile, struct bad *bad)
{
	uint8_t request[64], data[512];
	size_t len = get_encode(request, UINT32_MAX);
	ssize_t n = 0;

	if (bad->fd < 0)
		return;
	if (bad->reader) {
		if (bad->sent == 0)
			bad->sent = send(bad->fd, request, len, MSG_NOSIGNAL) > 0;
		n = recv(bad->fd, data, sizeof(data), MSG_DONTWAIT);
		if (n > 0)
			hostile->tally->taken_bytes += n;
	} else if (strcmp(hostile->kind, "held") != 0 && bad->sent < len - 1) {
		n = send(bad->fd, request + bad->sent++, 1, MSG_NOSIGNAL);
	}
	/* What a reader has not read yet hides the end; EPIPE at a byte shows it. */
	if (n >= 0 || errno == EAGAIN) {
		if (bad->reader && n > 0)
			return;
		n = recv(bad->fd, data, sizeof(data), MSG_DONTWAIT);
		if (n < 0 && errno == EAGAIN)
			return;
		/* Its first bytes may come between the two. */
		if (bad->reader && n > 0 && !is_busy(data, n)) {
			hostile->tally->taken_bytes += n;
			return;
		}
		hostile->tally->busy += is_busy(data, n);
	}
	drop(hostile, bad);
}

/* Who was closed may have bytes to read still: POLLHUP tells at once. */
static void see_closed(struct hostile *hostile)
{
	for (long i = 0; i < hostile->count; i++) {
		hostile->polled[i].fd = hostile->bad[i].fd;
		hostile->polled[i].events = 0;
	}
	if (poll(hostile->polled, (nfds_t)hostile->count, 0) <= 0)
		return;
	for (long i = 0; i < hostile->count; i++)
		if (hostile->bad[i].fd >= 0 && hostile->polled[i].revents & (POLLHUP | POLLERR)) {
			uint8_t data[64];
			ssize_t n = recv(hostile->bad[i].fd, data, sizeof(data), MSG_DONTWAIT);

			hostile->tally->busy += is_busy(data, n);
			drop(hostile, &hostile->bad[i]);
		}
}

/* Each once in STEP_MS, spread over it: a crowd of strangers keeps no common time. */
static void be_slow(struct hostile *hostile, int64_t end_us)
{
	int64_t next_us = now_us(), left_us;
	long slice = 0;

	while (now_us() < end_us) {
		for (long i = slice; i < hostile->count; i += SLICES)
			step(hostile, &hostile->bad[i]);
		slice = (slice + 1) % SLICES;
		if (slice % (SLICES / 10) == 0)
			see_closed(hostile);
		next_us += STEP_MS * 1000 / SLICES;
		/* Read once: a moment later the difference may be below zero, and the sleep an
		 * hour. */
		left_us = next_us - now_us();
		if (left_us > 0)
			usleep((useconds_t)left_us);
	}
}

/* As much as there is, from whoever has some. */
static void be_greedy(struct hostile *hostile, int64_t end_us, uint32_t ask_bytes)
{
	static uint8_t data[1 << 18];
	uint8_t request[64];
	size_t len = get_encode(request, ask_bytes);

	for (long i = 0; i < hostile->count; i++) {
		hostile->polled[i] = (struct pollfd){.fd = hostile->bad[i].fd, .events = POLLIN};
		if (hostile->bad[i].fd >= 0)
			(void)!send(hostile->bad[i].fd, request, len, MSG_NOSIGNAL);
	}
	while (now_us() < end_us) {
		if (poll(hostile->polled, (nfds_t)hostile->count, 100) <= 0)
			continue;
		for (long i = 0; i < hostile->count; i++) {
			ssize_t n;

			if (hostile->polled[i].revents == 0)
				continue;
			n = recv(hostile->bad[i].fd, data, sizeof(data), MSG_DONTWAIT);
			if (n > 0) {
				hostile->tally->taken_bytes += n;
				if (is_busy(data, n))
					hostile->tally->busy++;
				if (ask_bytes == GET_BYTES)
					(void)!send(hostile->bad[i].fd, request, len,
						    MSG_NOSIGNAL | MSG_DONTWAIT);
			} else if (n == 0 || errno != EAGAIN) {
				drop(hostile, &hostile->bad[i]);
				hostile->polled[i].fd = -1;
			}
		}
	}
}

static void be_a_storm(struct hostile *hostile, int64_t end_us, bool vanish)
{
	static uint8_t data[RNGD_PROTO_FRAME_DATA_BYTES / 2];
	uint8_t request[64];
	size_t len = get_encode(request, 1000000);

	while (now_us() < end_us) {
		int fd = connect_one(hostile);

		hostile->tally->attempts++;
		if (fd < 0) {
			hostile->tally->refused++;
			continue;
		}
		(void)!send(fd, request, vanish ? len : len / 2, MSG_NOSIGNAL);
		if (vanish)
			(void)!recv(fd, data, sizeof(data), MSG_WAITALL);
		close(fd);
	}
}

static void be_bad(struct hostile *hostile)
{
	const char *kind = hostile->kind;
	bool storm = strcmp(kind, "storm") == 0, vanish = strcmp(kind, "vanish") == 0;
	int64_t end_us;

	if (!storm && !vanish)
		for (long i = 0; i < hostile->count; i++) {
			struct bad *bad = &hostile->bad[i];

			bad->reader = strcmp(kind, "readers") == 0 ||
				      (strcmp(kind, "both") == 0 && i % 2 == 0);
			bad->fd = connect_one(hostile);
			if (bad->fd < 0)
				hostile->tally->refused++;
		}
	hostile->tally->ready = true;
	end_us = now_us() + hostile->seconds * 1000000;
	if (storm || vanish)
		be_a_storm(hostile, end_us, vanish);
	else if (strcmp(kind, "greedy") == 0)
		be_greedy(hostile, end_us, UINT32_MAX);
	else if (strcmp(kind, "chatty") == 0)
		be_greedy(hostile, end_us, GET_BYTES);
	else
		be_slow(hostile, end_us);
}

static pid_t start_bad(struct hostile *hostile, uid_t uid)
{
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (uid != (uid_t)-1 && (setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0)) {
		perror("hostile: cannot become that user");
		_exit(2);
	}
	be_bad(hostile);
	_exit(0);
}

static bool ask_once(int fd)
{
	uint8_t request[64], reply[RNGD_PROTO_REPLY_HEAD_BYTES + GET_BYTES];
	size_t len = get_encode(request, GET_BYTES);
	struct wire_reply head;

	return send(fd, request, len, MSG_NOSIGNAL) == (ssize_t)len &&
	       recv(fd, reply, sizeof(reply), MSG_WAITALL) == (ssize_t)sizeof(reply) &&
	       wire_decode_reply(reply, &head) == WIRE_OK && head.status == RNGD_PROTO_OK;
}

/*
 * The good client, until the bad ones have ended; -1 if it was not served. *settled: the first
 * sample after SETTLE_MS, when there is a crowd.
 */
static long be_good(struct hostile *hostile, pid_t pid, uint32_t *samples, long *settled)
{
	const struct timeval timeout = {.tv_sec = 20};
	int64_t start_us = now_us(), end_us = start_us + hostile->seconds * 1000000, begin_us;
	long n = 0;
	int fd = connect_one(hostile);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0)
		return -1;
	while (n < SAMPLES_MAX &&
	       (pid > 0 ? waitpid(pid, NULL, WNOHANG) == 0 : now_us() < end_us)) {
		begin_us = now_us();
		if (!ask_once(fd)) {
			fprintf(stderr, "hostile: the good client was not served: %s\n",
				strerror(errno));
			return -1;
		}
		samples[n++] = (uint32_t)(now_us() - begin_us);
		if (pid > 0 && now_us() - start_us < SETTLE_MS * 1000)
			*settled = n;
		if (now_us() - begin_us < GOOD_US)
			usleep(GOOD_US);
	}
	close(fd);
	return n;
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* Sorts them; 0 if there are none. */
static uint32_t p99_of(uint32_t *samples, long n)
{
	if (n < 1)
		return 0;
	qsort(samples, (size_t)n, sizeof(*samples), compare);
	return samples[n - 1 - n / 100];
}

static void *shared(size_t bytes)
{
	void *mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (mem == MAP_FAILED) {
		perror("hostile");
		exit(2);
	}
	return mem;
}

static int run(struct hostile *hostile, uid_t uid)
{
	uint32_t *samples = shared(SAMPLES_MAX * sizeof(*samples));
	const struct tally *tally = hostile->tally;
	uint32_t held_us, p99_us;
	long n, settled = 0;
	int64_t begin_ms;
	pid_t pid = 0;

	if (strcmp(hostile->kind, "quiet") != 0)
		pid = start_bad(hostile, uid);
	while (pid > 0 && !tally->ready && waitpid(pid, NULL, WNOHANG) == 0)
		usleep(1000);
	begin_ms = now_us() / 1000;
	n = be_good(hostile, pid, samples, &settled);
	if (n < 1) {
		if (pid > 0)
			kill(pid, SIGKILL);
		return 1;
	}
	held_us = p99_of(samples + settled, n - settled);
	p99_us = p99_of(samples, n);
	printf("requests=%ld p50_us=%u p99_us=%u held_p99_us=%u max_us=%u closed=%ld busy=%ld "
	       "refused=%ld attempts=%ld taken_mb=%lld closed_ms=%ld\n",
	       n, samples[n / 2], p99_us, held_us, samples[n - 1], tally->closed, tally->busy,
	       tally->refused, tally->attempts, tally->taken_bytes / 1000000,
	       tally->closed > 0 ? tally->closed_ms - (long)begin_ms : -1);
	return 0;
}

int main(int argc, char **argv)
{
	struct hostile hostile = {.addr = {.sun_family = AF_UNIX}};
	struct rlimit files;

	if (argc < 4 || strlen(argv[1]) >= sizeof(hostile.addr.sun_path)) {
		fputs("usage: hostile SOCKET KIND SECONDS [COUNT [UID]]\n", stderr);
		return 2;
	}
	strcpy(hostile.addr.sun_path, argv[1]);
	hostile.kind = argv[2];
	hostile.seconds = strtol(argv[3], NULL, 10);
	hostile.count = argc > 4 ? strtol(argv[4], NULL, 10) : 0;
	if (hostile.seconds < 1 || hostile.count < 0 || hostile.count > COUNT_MAX) {
		fputs("hostile: bad number\n", stderr);
		return 2;
	}
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	hostile.tally = shared(sizeof(*hostile.tally));
	hostile.bad = calloc((size_t)hostile.count + 1, sizeof(*hostile.bad));
	hostile.polled = calloc((size_t)hostile.count + 1, sizeof(*hostile.polled));
	if (!hostile.bad || !hostile.polled)
		return 2;
	return run(&hostile, argc > 5 ? (uid_t)strtoul(argv[5], NULL, 10) : (uid_t)-1);
}
