/*
 * Owns: two servers, ours and one that makes no random bytes, and a client of each. May touch: on
 * which processors they run. Never does: ask the two in different ways.
 *
 * Through the library on both sides, but for the pipelines, which it does not offer. The wall's
 * time, since a request crosses processes. Where a client and its server run decides more than
 * anything else (a wake-up on the other processor costs several times a switch on the same), and
 * the kernel may choose otherwise for each. So both servers are bound to one processor: the
 * client's own (groups "-one"), or another ("-two"). Left to the kernel it is somewhere in between.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "client/rngclient.h"
#include "tests/bench/bench.h"
#include "tests/bench/launch.h"
#include "tests/bench/pipeline.h"

#define LARGE_BYTES (1u << 20)
#define SMALL_BYTES 32
#define BULK_SIZES  3
#define DEPTH       64
#define CROWD       64 /* all of them wide: daemon/unread.h */

struct plan {
	bool two; /* processors */
};

/* One of each kind, and the library's handles to the first two. */
struct pair {
	struct launched rngd, bare, echo;
	struct rngclient *ours, *theirs;
	uint8_t *out; /* LARGE_BYTES */
};

static int run_get(struct rngclient *client, uint8_t *out, size_t size_bytes, unsigned long calls)
{
	int err = 0;

	for (unsigned long i = 0; i < calls && !err; i++)
		err = rngclient_get(client, out, size_bytes);
	if (err)
		printf("  rngclient_get: %s\n", strerror(-err));
	return err;
}

static int run_ours(void *context, size_t size_bytes, unsigned long calls)
{
	const struct pair *pair = context;

	return run_get(pair->ours, pair->out, size_bytes, calls);
}

static int run_bare(void *context, size_t size_bytes, unsigned long calls)
{
	const struct pair *pair = context;

	return run_get(pair->theirs, pair->out, size_bytes, calls);
}

static int run_getrandom(void *context, size_t size_bytes, unsigned long calls)
{
	const struct pair *pair = context;
	int failed = 0;

	for (unsigned long i = 0; i < calls; i++)
		failed |= getrandom(pair->out, size_bytes, 0) != (ssize_t)size_bytes;
	return failed;
}

static void end(struct pair *pair)
{
	rngclient_close(pair->ours);
	rngclient_close(pair->theirs);
	launch_end(&pair->rngd);
	launch_end(&pair->bare);
	launch_end(&pair->echo);
	free(pair->out);
}

/* 0, or -1 after end(). */
static int begin(const struct bench *bench, struct pair *pair)
{
	const struct plan *plan = bench->group->plan;
	int client_cpu, server_cpu;

	*pair = (struct pair){.out = malloc(LARGE_BYTES)};
	if (!pair->out || launch_processors(&client_cpu, &server_cpu))
		goto fail;
	if (launch_bind(plan->two ? server_cpu : client_cpu) ||
	    launch(bench, LAUNCH_RNGD, &pair->rngd) || launch(bench, LAUNCH_BARE, &pair->bare) ||
	    launch(bench, LAUNCH_ECHO, &pair->echo) || launch_bind(client_cpu))
		goto fail;
	if (rngclient_open(&pair->ours, pair->rngd.socket, 0) ||
	    rngclient_open(&pair->theirs, pair->bare.socket, 0))
		goto fail;
	return 0;
fail:
	end(pair);
	return -1;
}

/* ------------------------------------------------------------------ bulk */

static void report_bulk(const struct bench *bench, struct measure_task *task, double bar)
{
	struct report_row row = {.name = "get",
				 .size_bytes = task->size_bytes,
				 .unit = "GB/s",
				 .peer = task->theirs->name};

	if (task->size_bytes == LARGE_BYTES) {
		row.bar_is = REPORT_RATIO_AT_LEAST;
		row.bar = bar;
	}
	measure_rates(&task->rounds, (double)task->size_bytes);
	report_row(bench, &row, &task->rounds);
}

static int run_bulk(const struct bench *bench)
{
	static const size_t sizes[BULK_SIZES] = {4096, 65536, LARGE_BYTES};
	struct pair pair;
	const struct measure_side ours = {.run = run_ours, .context = &pair};
	const struct measure_side kernel = {"getrandom(2)", run_getrandom, &pair};
	const struct measure_side bare = {"bare server", run_bare, &pair};
	struct measure_task tasks[2 * BULK_SIZES];
	int err;

	if (begin(bench, &pair))
		return -1;
	for (size_t i = 0; i < 2 * BULK_SIZES; i++)
		tasks[i] = (struct measure_task){.ours = &ours,
						 .theirs = i < BULK_SIZES ? &kernel : &bare,
						 .size_bytes = sizes[i % BULK_SIZES]};
	err = measure_tasks(bench->scale, MEASURE_WALL, tasks, 2 * BULK_SIZES);
	for (size_t i = 0; i < 2 * BULK_SIZES && !err; i++)
		report_bulk(bench, &tasks[i], i < BULK_SIZES ? 5 : 0.4);
	end(&pair);
	return err;
}

/* ----------------------------------------------------------- round trips */

/* Median and 99th percentile of trips round trips, in microseconds. */
static int time_trips(const struct measure_side *side, unsigned long trips, double *times,
		      double *half, double *most)
{
	for (unsigned long i = 0; i < trips; i++) {
		double start_ns = measure_now_ns(MEASURE_WALL);

		if (side->run(side->context, SMALL_BYTES, 1))
			return -1;
		times[i] = (measure_now_ns(MEASURE_WALL) - start_ns) / 1e3;
	}
	*half = measure_quantile(times, trips, 0.5);
	*most = measure_quantile(times, trips, 0.99);
	return 0;
}

static int run_trip_rounds(const struct bench *bench, const struct measure_side *ours,
			   const struct measure_side *theirs)
{
	const struct report_row rows[] = {
	    {.name = "get p50",
	     .size_bytes = SMALL_BYTES,
	     .unit = "us",
	     .peer = theirs->name,
	     .bar_is = REPORT_RATIO_AT_MOST,
	     .bar = 1.15},
	    {.name = "get p99",
	     .size_bytes = SMALL_BYTES,
	     .unit = "us",
	     .peer = theirs->name,
	     .bar_is = REPORT_RATIO_AT_MOST,
	     .bar = 1.3},
	};
	unsigned long trips = bench->scale->trips;
	double *times = calloc(trips, sizeof(times[0]));
	struct measure_rounds half = {.count = bench->scale->rounds}, most = half;
	int err = times ? 0 : -1;

	for (int i = 0; i < half.count && !err; i++) {
		for (int turn = 0; turn < 2 && !err; turn++) {
			bool second = (i + turn) % 2;

			err = time_trips(second ? theirs : ours, trips, times,
					 second ? &half.theirs[i] : &half.ours[i],
					 second ? &most.theirs[i] : &most.ours[i]);
		}
	}
	free(times);
	if (err)
		return -1;
	report_row(bench, &rows[0], &half);
	report_row(bench, &rows[1], &most);
	return 0;
}

/* What a call of the kernel's takes, for who has the choice. */
static int run_trip_kernel(const struct bench *bench, const struct measure_side *ours,
			   const struct measure_side *kernel)
{
	const struct report_row row = {
	    .name = "get mean", .size_bytes = SMALL_BYTES, .unit = "us", .peer = kernel->name};
	struct measure_rounds rounds;

	if (measure_pair(bench->scale, MEASURE_WALL, ours, kernel, SMALL_BYTES, &rounds))
		return -1;
	measure_scale_by(&rounds, 1e-3);
	report_row(bench, &row, &rounds);
	return 0;
}

static int run_trips(const struct bench *bench)
{
	struct pair pair;
	const struct measure_side ours = {.run = run_ours, .context = &pair};
	const struct measure_side kernel = {"getrandom(2)", run_getrandom, &pair};
	const struct measure_side bare = {"bare server", run_bare, &pair};
	int err;

	if (begin(bench, &pair))
		return -1;
	/* The first of each asks for the page, and looks. */
	err = run_ours(&pair, SMALL_BYTES, 1) || run_bare(&pair, SMALL_BYTES, 1) ? -1 : 0;
	if (!err)
		err = run_trip_rounds(bench, &ours, &bare);
	if (!err)
		err = run_trip_kernel(bench, &ours, &kernel);
	end(&pair);
	return err;
}

/* ------------------------------------------------------------- pipelines */

/* Over so many connections, against the server at path. */
static int run_pipeline(const struct bench *bench, const struct pair *pair, size_t count, bool echo)
{
	const struct report_row row = {
	    .name = count == 1 ? "1 x 64 deep" : "64 x 64 deep",
	    .size_bytes = PIPELINE_ANSWER_BYTES,
	    .unit = "M/s",
	    .peer = echo ? "bare echo" : "bare server",
	    .bar_is = REPORT_RATIO_AT_LEAST,
	    .bar = 0.8,
	};
	struct pipeline ours, theirs = {0};
	const struct measure_side our_side = {.run = pipeline_run, .context = &ours};
	const struct measure_side their_side = {.run = pipeline_run, .context = &theirs};
	struct measure_rounds rounds;
	int err = pipeline_open(&ours, pair->rngd.socket, count, DEPTH, false);

	if (!err)
		err = pipeline_open(&theirs, echo ? pair->echo.socket : pair->bare.socket, count,
				    DEPTH, echo);
	if (err)
		printf("  %zu connections: %s\n", count, strerror(-err));
	if (!err)
		err = measure_pair(bench->scale, MEASURE_WALL, &our_side, &their_side,
				   PIPELINE_ANSWER_BYTES, &rounds);
	if (!err) {
		measure_rates(&rounds, 1e3);
		report_row(bench, &row, &rounds);
	}
	pipeline_close(&ours);
	pipeline_close(&theirs);
	return err ? -1 : 0;
}

static int run_pipelines(const struct bench *bench)
{
	struct pair pair;
	int err = 0;

	if (begin(bench, &pair))
		return -1;
	/* These would be counted among the first 64, which are served as fast as they read. */
	rngclient_close(pair.ours);
	pair.ours = NULL;
	for (int i = 0; i < 4 && !err; i++)
		err = run_pipeline(bench, &pair, i < 2 ? 1 : CROWD, i % 2);
	end(&pair);
	return err;
}

static const char *without_two(void)
{
	int client_cpu, server_cpu;

	if (launch_processors(&client_cpu, &server_cpu) == 0 && client_cpu != server_cpu)
		return NULL;
	return "there is one processor";
}

static const struct plan one = {.two = false}, two = {.two = true};

const struct group socket_groups[] = {
    {.name = "bulk-two",
     .title = "Large requests through the library, client and server on two processors",
     .skip = without_two,
     .run = run_bulk,
     .plan = &two},
    {.name = "bulk-one",
     .title = "Large requests through the library, client and server on one processor",
     .run = run_bulk,
     .plan = &one},
    {.name = "trip-two",
     .title = "Small requests through the library one at a time, on two processors",
     .skip = without_two,
     .run = run_trips,
     .plan = &two},
    {.name = "trip-one",
     .title = "Small requests through the library one at a time, on one processor",
     .run = run_trips,
     .plan = &one},
    {.name = "pipeline-two",
     .title = "Small requests of one thread, 64 on their way on each connection, two processors",
     .skip = without_two,
     .run = run_pipelines,
     .plan = &two},
    {.name = "pipeline-one",
     .title = "Small requests of one thread, 64 on their way on each connection, one processor",
     .run = run_pipelines,
     .plan = &one},
    {0},
};
