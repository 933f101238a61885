/*
 * Owns: its connections. May touch: two servers, ours and one that makes no random bytes. Never
 * does: say more of a crowd than what one client sees that is all of it.
 *
 * What is drawn by `make bench-plot`: rates over sizes, and how long an answer of 32 bytes takes
 * while so many connections have one on its way each. Such a crowd always keeps the server busy:
 * the times are those of a queue, and grow with it.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/rngclient.h"
#include "client/rngclient_local.h"
#include "tests/bench/bench.h"
#include "tests/bench/launch.h"
#include "tests/bench/pipeline.h"

#define SIZE_MIN_BYTES 16u
#define SIZE_MAX_BYTES (4u << 20)
#define SIZES_MAX      19 /* powers of two from one to the other */
#define EVENTS         64
#define TRIPS_EACH     4 /* of each connection in a round, at least */

/* ----------------------------------------------------------------- sizes */

struct sizes {
	struct launched rngd, bare;
	struct rngclient *ours, *theirs;
	struct rngclient_local *local;
	uint8_t *out; /* SIZE_MAX_BYTES */
};

static int run_ours(void *context, size_t size_bytes, unsigned long calls)
{
	const struct sizes *sizes = context;
	int err = 0;

	for (unsigned long i = 0; i < calls && !err; i++)
		err = rngclient_get(sizes->ours, sizes->out, size_bytes);
	return err;
}

static int run_bare(void *context, size_t size_bytes, unsigned long calls)
{
	const struct sizes *sizes = context;
	int err = 0;

	for (unsigned long i = 0; i < calls && !err; i++)
		err = rngclient_get(sizes->theirs, sizes->out, size_bytes);
	return err;
}

static int run_local(void *context, size_t size_bytes, unsigned long calls)
{
	const struct sizes *sizes = context;
	int err = 0;

	for (unsigned long i = 0; i < calls; i++)
		err |= rngclient_local_bytes(sizes->local, sizes->out, size_bytes);
	return err;
}

static int run_getrandom(void *context, size_t size_bytes, unsigned long calls)
{
	const struct sizes *sizes = context;
	int failed = 0;

	for (unsigned long i = 0; i < calls; i++)
		failed |= getrandom(sizes->out, size_bytes, 0) != (ssize_t)size_bytes;
	return failed;
}

/* The socket beside the bare server, and the local generator beside the kernel's, at every size. */
static int run_tasks(const struct bench *bench, struct sizes *sizes)
{
	const struct measure_side sides[] = {
	    {"socket", run_ours, sizes},
	    {"local generator", run_local, sizes},
	    {"bare server", run_bare, sizes},
	    {"getrandom(2)", run_getrandom, sizes},
	};
	struct measure_task tasks[SIZES_MAX * 2];
	size_t count = 0;

	for (size_t size = SIZE_MIN_BYTES; size <= SIZE_MAX_BYTES; size *= 2)
		for (size_t i = 0; i < 2; i++)
			tasks[count++] = (struct measure_task){
			    .ours = &sides[i], .theirs = &sides[2 + i], .size_bytes = size};
	if (measure_tasks(bench->scale, MEASURE_WALL, tasks, count))
		return -1;
	for (size_t i = 0; i < count; i++) {
		const struct report_row row = {.name = tasks[i].ours->name,
					       .size_bytes = tasks[i].size_bytes,
					       .unit = "GB/s",
					       .peer = tasks[i].theirs->name};

		measure_rates(&tasks[i].rounds, (double)tasks[i].size_bytes);
		report_row(bench, &row, &tasks[i].rounds);
	}
	return 0;
}

static int run_sizes(const struct bench *bench)
{
	struct sizes sizes = {.out = malloc(SIZE_MAX_BYTES)};
	int err = sizes.out ? launch(bench, LAUNCH_RNGD, &sizes.rngd) : -ENOMEM;

	if (!err)
		err = launch(bench, LAUNCH_BARE, &sizes.bare);
	if (!err)
		err = rngclient_open(&sizes.ours, sizes.rngd.socket, 0);
	if (!err)
		err = rngclient_open(&sizes.theirs, sizes.bare.socket, 0);
	if (!err)
		err = rngclient_local_open(&sizes.local, sizes.rngd.socket, 0, 0);
	if (!err)
		err = run_tasks(bench, &sizes);
	rngclient_local_close(sizes.local);
	rngclient_close(sizes.ours);
	rngclient_close(sizes.theirs);
	launch_end(&sizes.rngd);
	launch_end(&sizes.bare);
	free(sizes.out);
	return err ? -1 : 0;
}

/* ----------------------------------------------------------------- crowd */

static int crowd_watch(const struct pipeline *crowd)
{
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC);

	for (size_t i = 0; i < crowd->count && epoll_fd >= 0; i++) {
		struct epoll_event event = {.events = EPOLLIN, .data.ptr = &crowd->conns[i]};

		if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, crowd->conns[i].fd, &event) < 0) {
			close(epoll_fd);
			return -1;
		}
	}
	return epoll_fd;
}

static int crowd_ask(const struct pipeline *crowd, struct pipeline_conn *conn)
{
	conn->asked_ns = measure_now_ns(MEASURE_WALL);
	return send(conn->fd, crowd->requests, crowd->request_bytes, MSG_NOSIGNAL) ==
		       (ssize_t)crowd->request_bytes
		   ? 0
		   : -1;
}

/* An answer of one frame comes whole. Its time in *time_us; then the next is asked for, if any. */
static int crowd_take(const struct pipeline *crowd, struct pipeline_conn *conn,
		      unsigned long *to_ask, double *time_us)
{
	uint8_t bytes[256];

	if (recv(conn->fd, bytes, sizeof(bytes), MSG_DONTWAIT) != (ssize_t)crowd->reply_bytes)
		return -1;
	*time_us = (measure_now_ns(MEASURE_WALL) - conn->asked_ns) / 1e3;
	if (*to_ask == 0)
		return 0;
	--*to_ask;
	return crowd_ask(crowd, conn);
}

/* Each connection has one request on its way, until all trips are asked for. */
static int crowd_run(const struct pipeline *crowd, int epoll_fd, unsigned long trips, double *times)
{
	unsigned long to_ask = trips - crowd->count, taken = 0;
	struct epoll_event events[EVENTS];

	for (size_t i = 0; i < crowd->count; i++)
		if (crowd_ask(crowd, &crowd->conns[i]))
			return -1;
	while (taken < trips) {
		int n = epoll_wait(epoll_fd, events, EVENTS, 10000);

		if (n == 0 || (n < 0 && errno != EINTR))
			return -1;
		for (int i = 0; i < n; i++, taken++)
			if (crowd_take(crowd, events[i].data.ptr, &to_ask, &times[taken]))
				return -1;
	}
	return 0;
}

struct side {
	struct pipeline crowd;
	int epoll_fd;
	struct measure_rounds *half, *most;
};

/* Rounds of the two in turn; medians and 99th percentiles to their places. */
static int crowd_rounds(const struct bench *bench, struct side sides[2],
			struct measure_rounds *half, struct measure_rounds *most)
{
	unsigned long trips = bench->scale->trips;
	double *times;
	int err;

	if (trips < sides[0].crowd.count * TRIPS_EACH)
		trips = sides[0].crowd.count * TRIPS_EACH;
	times = calloc(trips, sizeof(times[0]));
	half->count = most->count = bench->scale->processes;
	err = times ? 0 : -1;
	for (int i = 0; i < half->count * 2 && !err; i++) {
		int round = i / 2, which = (round + i) % 2;

		err = crowd_run(&sides[which].crowd, sides[which].epoll_fd, trips, times);
		(which ? half->theirs : half->ours)[round] = measure_quantile(times, trips, 0.5);
		(which ? most->theirs : most->ours)[round] = measure_quantile(times, trips, 0.99);
	}
	free(times);
	return err;
}

/* 0, -1, or 1: so many are not taken. */
static int run_count(const struct bench *bench, const struct launched servers[2], size_t count)
{
	struct measure_rounds half, most;
	struct side sides[2] = {{.epoll_fd = -1}, {.epoll_fd = -1}};
	struct report_row row = {.name = "p50",
				 .connections = count,
				 .size_bytes = 32,
				 .unit = "us",
				 .peer = "bare server"};
	int err = 0;

	for (int i = 0; i < 2 && !err; i++) {
		err = pipeline_open(&sides[i].crowd, servers[i].socket, count, 1, false);
		if (!err)
			sides[i].epoll_fd = crowd_watch(&sides[i].crowd);
		else
			printf("  %zu connections: %s\n", count, strerror(-err));
	}
	if (!err)
		err = crowd_rounds(bench, sides, &half, &most);
	else
		err = err == -EMFILE || err == -ECONNRESET || err == -EPIPE ? 1 : -1;
	if (!err) {
		report_row(bench, &row, &half);
		row.name = "p99";
		report_row(bench, &row, &most);
	}
	for (int i = 0; i < 2; i++) {
		pipeline_close(&sides[i].crowd);
		if (sides[i].epoll_fd >= 0)
			close(sides[i].epoll_fd);
	}
	return err;
}

static int run_crowds(const struct bench *bench)
{
	struct launched servers[2] = {0};
	struct rlimit files;
	int err;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	err = launch(bench, LAUNCH_RNGD, &servers[0]);
	if (!err)
		err = launch(bench, LAUNCH_BARE, &servers[1]);
	for (size_t count = 1; count <= bench->scale->crowd && !err; count *= 2)
		err = run_count(bench, servers, count);
	if (err > 0)
		report_skip(bench, "more connections",
			    "not taken (descriptors, or one user's share)");
	launch_end(&servers[0]);
	launch_end(&servers[1]);
	return err < 0 ? -1 : 0;
}

const struct group sweep_groups[] = {
    {.name = "sweep-size", .title = "Rates over sizes", .run = run_sizes, .only_named = true},
    {.name = "sweep-crowd",
     .title = "How long 32 bytes take while every connection waits for some",
     .run = run_crowds,
     .only_named = true},
    {0},
};
