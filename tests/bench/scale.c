/*
 * scale - many connections of one rngd: what each costs, and what the others notice.
 *
 * Owns: its connections. May touch: the daemon's socket, /proc/PID of the daemon; as root it takes
 * other users' ids for the time of a connect(). Never does: judge; it prints what it saw. Exit 1
 * when a request was not answered, 2 when it could not run.
 *
 *	scale SOCKET PID memory IDLE ACTIVE           resident memory with so many connections
 *	scale SOCKET PID tail IDLE ACTIVE ROUNDS      the active ones' 99th percentile, alone and
 *	                                              beside the idle, in turn
 *	scale SOCKET PID cost REQUESTS ROUNDS COUNT...  the daemon's processor time for a request,
 *one outstanding on each of COUNT connections scale SOCKET PID bulk PULLERS ROUNDS          a small
 *client's 99th percentile, alone and beside PULLERS processes that read as much as they can
 *
 * Times are in microseconds, from before send() to after recv(). Figures are medians of the rounds.
 * The connections are spread over USERS user ids, as those of one are limited.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "proto/wire.h"
#include "tests/get.h"

#define CONNS_MAX   19500
#define ROUNDS_MAX  99
#define SAMPLES_MAX 2000000u
#define USERS       40
#define FIRST_UID   61000u
#define GET_BYTES   32u
#define REPLY_BYTES (RNGD_PROTO_REPLY_HEAD_BYTES + GET_BYTES)
#define BULK_BYTES  (1u << 30)
#define PERIOD_MS   100  /* an active connection asks once in this time */
#define TAIL_MS     2000 /* of one round */
#define READY_MS    5000
#define BEGIN_MS    200 /* by then the pullers pull */
#define PULLERS_MAX 64
#define KINDS_MAX   16
#define EVENTS      256

struct conn {
	int fd;
	int64_t asked_ns; /* 0: nothing is owed */
	size_t got_bytes; /* of that reply */
};

struct scale {
	struct sockaddr_un addr;
	pid_t daemon;
	int epoll_fd;
	struct conn idle[CONNS_MAX], active[CONNS_MAX];
	long idle_count, active_count;
	uint8_t request[64];
	size_t request_bytes;
	uint32_t *samples_ns;
	size_t sample_count;
	int64_t answered;
};

static void die(const char *what)
{
	fprintf(stderr, "scale: %s: %s\n", what, strerror(errno));
	exit(2);
}

static long bounded(long number, long most)
{
	if (number >= 1 && number <= most)
		return number;
	fprintf(stderr, "scale: %ld is not from 1 to %ld\n", number, most);
	exit(2);
}

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* ------------------------------------------------------------ connections */

/* The credentials a peer has are those of the connect(). */
static int connect_as(const struct scale *scale, long n)
{
	bool root = getuid() == 0;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket");
	if (root && seteuid(FIRST_UID + (uid_t)(n % USERS)) < 0)
		die("seteuid");
	if (connect(fd, (const struct sockaddr *)&scale->addr, sizeof(scale->addr)) < 0)
		die("connect");
	if (root && seteuid(0) < 0)
		die("seteuid");
	return fd;
}

static void open_conns(const struct scale *scale, struct conn *conns, long count)
{
	for (long i = 0; i < count; i++)
		conns[i] = (struct conn){.fd = connect_as(scale, i)};
}

static void close_conns(struct conn *conns, long count)
{
	for (long i = 0; i < count; i++)
		close(conns[i].fd);
}

static void watch_active(struct scale *scale)
{
	for (long i = 0; i < scale->active_count; i++) {
		struct epoll_event event = {.events = EPOLLIN, .data.ptr = &scale->active[i]};
		int fd = scale->active[i].fd;

		if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0 ||
		    epoll_ctl(scale->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
			die("epoll_ctl");
	}
}

static void ask(struct scale *scale, struct conn *conn)
{
	if (conn->asked_ns)
		return; /* it is still owed the last */
	conn->asked_ns = now_ns();
	conn->got_bytes = 0;
	if (send(conn->fd, scale->request, scale->request_bytes, MSG_NOSIGNAL) !=
	    (ssize_t)scale->request_bytes)
		die("send");
}

/* true: the reply is whole. */
static bool take(struct scale *scale, struct conn *conn)
{
	uint8_t data[REPLY_BYTES];
	struct wire_reply head;
	ssize_t n = recv(conn->fd, data, sizeof(data) - conn->got_bytes, 0);

	if (n < 0 && errno == EAGAIN)
		return false;
	if (n <= 0 || (conn->got_bytes == 0 && n >= RNGD_PROTO_REPLY_HEAD_BYTES &&
		       (wire_decode_reply(data, &head) != WIRE_OK || head.status != 0))) {
		fprintf(stderr, "scale: a request was not answered\n");
		exit(1);
	}
	conn->got_bytes += (size_t)n;
	if (conn->got_bytes < sizeof(data))
		return false;
	if (scale->sample_count < SAMPLES_MAX)
		scale->samples_ns[scale->sample_count++] = (uint32_t)(now_ns() - conn->asked_ns);
	conn->asked_ns = 0;
	scale->answered++;
	return true;
}

/* What comes until then; again: who was answered asks at once. */
static void serve_until(struct scale *scale, int64_t until_ns, int64_t answers, bool again)
{
	struct epoll_event events[EVENTS];

	while (now_ns() < until_ns && scale->answered < answers) {
		int64_t left_ns = until_ns - now_ns();
		struct timespec wait = {.tv_sec = left_ns / 1000000000,
					.tv_nsec = left_ns % 1000000000};
		int n =
		    left_ns > 0 ? epoll_pwait2(scale->epoll_fd, events, EVENTS, &wait, NULL) : 0;

		for (int i = 0; i < n; i++)
			if (take(scale, events[i].data.ptr) && again)
				ask(scale, events[i].data.ptr);
	}
}

/* ---------------------------------------------------------------- figures */

static int compare_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *values, long count)
{
	qsort(values, (size_t)count, sizeof(*values), compare_doubles);
	return values[count / 2];
}

/* Of the samples since the last time, in us. */
static double take_p99(struct scale *scale)
{
	size_t n = scale->sample_count;

	if (n == 0)
		return 0;
	qsort(scale->samples_ns, n, sizeof(*scale->samples_ns), compare_u32);
	scale->sample_count = 0;
	return scale->samples_ns[n - 1 - n / 100] / 1e3;
}

static long daemon_kb(const struct scale *scale, const char *what)
{
	char path[64], line[128];
	long kb = -1;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", scale->daemon);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (strncmp(line, what, strlen(what)) == 0)
			kb = strtol(line + strlen(what), NULL, 10);
	if (file)
		fclose(file);
	return kb;
}

/* Processor time of the daemon. */
static double daemon_ns(const struct scale *scale)
{
	struct timespec ran;
	clockid_t clock;

	if (clock_getcpuclockid(scale->daemon, &clock) != 0 || clock_gettime(clock, &ran) < 0)
		die("the daemon's processor time");
	return (double)ran.tv_sec * 1e9 + (double)ran.tv_nsec;
}

/* ------------------------------------------------------------ what is done */

/* Each active connection asks once in PERIOD_MS, one after another. */
static void be_active(struct scale *scale, int64_t for_ms)
{
	int64_t begin_ns = now_ns();

	for (int64_t ms = 0; ms < for_ms; ms++) {
		for (long i = ms % PERIOD_MS; i < scale->active_count; i += PERIOD_MS)
			ask(scale, &scale->active[i]);
		serve_until(scale, begin_ns + (ms + 1) * 1000000, INT64_MAX, false);
	}
	for (long i = 0; i < scale->active_count; i++) {
		int64_t until_ns = now_ns() + (int64_t)READY_MS * 1000000;

		while (scale->active[i].asked_ns && now_ns() < until_ns)
			serve_until(scale, now_ns() + 1000000, INT64_MAX, false);
	}
}

static void all_are_served(struct scale *scale)
{
	be_active(scale, PERIOD_MS);
	scale->sample_count = 0;
}

static int do_memory(struct scale *scale)
{
	long before_kb = daemon_kb(scale, "VmRSS:");

	open_conns(scale, scale->idle, scale->idle_count);
	open_conns(scale, scale->active, scale->active_count);
	watch_active(scale);
	all_are_served(scale);
	be_active(scale, TAIL_MS);
	printf("idle=%ld active=%ld rss_before_kb=%ld rss_kb=%ld p99_us=%.0f\n", scale->idle_count,
	       scale->active_count, before_kb, daemon_kb(scale, "VmHWM:"), take_p99(scale));
	return 0;
}

static int do_tail(struct scale *scale, long rounds)
{
	double alone[ROUNDS_MAX], beside[ROUNDS_MAX], ratio[ROUNDS_MAX];

	open_conns(scale, scale->active, scale->active_count);
	watch_active(scale);
	for (long i = 0; i < rounds; i++) {
		all_are_served(scale);
		be_active(scale, TAIL_MS);
		alone[i] = take_p99(scale);
		open_conns(scale, scale->idle, scale->idle_count);
		all_are_served(scale);
		be_active(scale, TAIL_MS);
		beside[i] = take_p99(scale);
		ratio[i] = beside[i] / alone[i];
		close_conns(scale->idle, scale->idle_count);
		all_are_served(scale);
	}
	printf("idle=%ld active=%ld alone_p99_us=%.0f beside_p99_us=%.0f ratio=%.2f\n",
	       scale->idle_count, scale->active_count, median(alone, rounds),
	       median(beside, rounds), median(ratio, rounds));
	return 0;
}

/* Everybody asks, and again as soon as he is answered. */
static double cost_us(struct scale *scale, long count, int64_t requests)
{
	int64_t end_ns = now_ns() + (int64_t)60 * 1000000000;
	double began_ns;

	scale->active_count = bounded(count, CONNS_MAX);
	open_conns(scale, scale->active, count);
	watch_active(scale);
	for (long i = 0; i < count; i++)
		ask(scale, &scale->active[i]);
	scale->answered = 0;
	serve_until(scale, end_ns, count, true);
	began_ns = daemon_ns(scale);
	scale->answered = 0;
	serve_until(scale, end_ns, requests, true);
	began_ns = (daemon_ns(scale) - began_ns) / (double)scale->answered;
	close_conns(scale->active, count);
	return began_ns / 1e3;
}

static int do_cost(struct scale *scale, int64_t requests, long rounds, char **counts)
{
	double values[KINDS_MAX][ROUNDS_MAX];
	int kinds = 0;

	while (kinds < KINDS_MAX && counts[kinds])
		kinds++;
	for (long i = 0; i < rounds; i++)
		for (int k = 0; k < kinds; k++)
			values[k][i] = cost_us(scale, strtol(counts[k], NULL, 10), requests);
	for (int k = 0; k < kinds; k++)
		printf("cost_us_%s=%.2f ", counts[k], median(values[k], rounds));
	printf("\n");
	return 0;
}

static void pull(const struct scale *scale, long n)
{
	static uint8_t data[1 << 20];
	uint8_t request[64];
	size_t len = get_encode(request, BULK_BYTES);
	int fd = connect_as(scale, 1 + n);
	size_t got = BULK_BYTES;
	ssize_t some = 1;

	for (; some > 0; got += (size_t)some) {
		if (got >= BULK_BYTES) {
			got -= BULK_BYTES;
			some = send(fd, request, len, MSG_NOSIGNAL);
		}
		if (some > 0)
			some = recv(fd, data, sizeof(data), 0);
	}
	_exit(1);
}

/* The one active connection asks once in a millisecond; what comes before from_ms does not count.
 */
static double small_p99(struct scale *scale, int64_t from_ms)
{
	for (int64_t ms = 0; ms < TAIL_MS; ms++) {
		int64_t next_ns = now_ns() + 1000000;

		ask(scale, scale->active);
		serve_until(scale, next_ns, INT64_MAX, false);
		if (ms == from_ms)
			scale->sample_count = 0;
	}
	return take_p99(scale);
}

static int do_bulk(struct scale *scale, long pullers, long rounds)
{
	double alone[ROUNDS_MAX], beside[ROUNDS_MAX], ratio[ROUNDS_MAX];
	pid_t pids[PULLERS_MAX];

	scale->active_count = 1;
	open_conns(scale, scale->active, 1);
	watch_active(scale);
	for (long i = 0; i < rounds; i++) {
		alone[i] = small_p99(scale, -1);
		for (long n = 0; n < pullers; n++) {
			pids[n] = fork();
			if (pids[n] == 0) {
				prctl(PR_SET_PDEATHSIG, SIGKILL);
				pull(scale, n);
			}
		}
		beside[i] = small_p99(scale, BEGIN_MS);
		ratio[i] = beside[i] / alone[i];
		for (long n = 0; n < pullers; n++) {
			kill(pids[n], SIGKILL);
			waitpid(pids[n], NULL, 0);
		}
	}
	printf("pullers=%ld alone_p99_us=%.0f beside_p99_us=%.0f ratio=%.2f\n", pullers,
	       median(alone, rounds), median(beside, rounds), median(ratio, rounds));
	return 0;
}

int main(int argc, char **argv)
{
	static struct scale scale = {.addr = {.sun_family = AF_UNIX}};
	const char *what = argc > 3 ? argv[3] : "";
	struct rlimit files;
	long numbers[3] = {0};

	if (argc < 6 || strlen(argv[1]) >= sizeof(scale.addr.sun_path)) {
		fputs("usage: scale SOCKET PID memory|tail|cost|bulk NUMBER...\n", stderr);
		return 2;
	}
	for (int i = 4; i < argc && i < 7; i++)
		numbers[i - 4] = strtol(argv[i], NULL, 10);
	strcpy(scale.addr.sun_path, argv[1]);
	scale.daemon = (pid_t)strtol(argv[2], NULL, 10);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	scale.request_bytes = get_encode(scale.request, GET_BYTES);
	scale.samples_ns = calloc(SAMPLES_MAX, sizeof(*scale.samples_ns));
	scale.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (!scale.samples_ns || scale.epoll_fd < 0)
		die("no memory");
	if (strcmp(what, "cost") == 0)
		return do_cost(&scale, numbers[0], bounded(numbers[1], ROUNDS_MAX), argv + 6);
	if (strcmp(what, "bulk") == 0)
		return do_bulk(&scale, bounded(numbers[0], PULLERS_MAX),
			       bounded(numbers[1], ROUNDS_MAX));
	scale.idle_count = bounded(numbers[0], CONNS_MAX);
	scale.active_count = bounded(numbers[1], CONNS_MAX);
	if (strcmp(what, "tail") == 0)
		return do_tail(&scale, bounded(numbers[2], ROUNDS_MAX));
	return do_memory(&scale);
}
