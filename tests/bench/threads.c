/*
 * Owns: the threads it starts. May touch: on which processors they run. Never does: count a draw
 * that was not over when the time was.
 */
#include "tests/bench/threads.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "client/rngclient_local.h"
#include "tests/bench/bench.h"
#include "tests/bench/launch.h"

#define THREADS       16
#define CHUNK         64  /* draws between two looks at whether the time is up */
#define ROUND_PARTS   2.0 /* of wall_ns: many threads must each have had their turn */
#define BYTES_OF_DRAW 1024

struct crew {
	const char *socket;
	size_t size_bytes; /* of a draw: 4, a number, or more */
	pthread_barrier_t begin;
	atomic_bool over;
	atomic_bool failed;
};

struct hand {
	struct crew *crew;
	pthread_t thread;
	unsigned long draws;
};

static int draw_chunk(size_t size_bytes)
{
	uint8_t bytes[BYTES_OF_DRAW];
	uint32_t number;
	int err = 0;

	for (int i = 0; i < CHUNK; i++)
		err |= size_bytes == sizeof(number)
			   ? rngclient_local_u32(NULL, &number)
			   : rngclient_local_bytes(NULL, bytes, size_bytes);
	return err;
}

static void *work(void *context)
{
	struct hand *hand = context;
	struct crew *crew = hand->crew;
	int err = rngclient_local_open_thread(crew->socket, 0, 0);

	pthread_barrier_wait(&crew->begin);
	while (!err) {
		err = draw_chunk(crew->size_bytes);
		if (atomic_load_explicit(&crew->over, memory_order_relaxed))
			break;
		hand->draws += CHUNK;
	}
	if (err)
		atomic_store(&crew->failed, true);
	return NULL;
}

/* Draws a nanosecond of so many threads; -1: failed. They run where the caller may. */
static double crew_rate(const char *socket, size_t size_bytes, unsigned int count, double round_ns)
{
	struct crew crew = {.socket = socket, .size_bytes = size_bytes};
	struct hand hands[THREADS] = {0};
	const struct timespec length = {.tv_sec = (time_t)(round_ns / 1e9),
					.tv_nsec = (long)round_ns % 1000000000};
	unsigned long draws = 0;
	double ns;

	if (pthread_barrier_init(&crew.begin, NULL, count + 1))
		return -1;
	for (unsigned int i = 0; i < count; i++) {
		hands[i].crew = &crew;
		if (pthread_create(&hands[i].thread, NULL, work, &hands[i]))
			return -1; /* the process ends, and they with it */
	}
	pthread_barrier_wait(&crew.begin);
	ns = measure_now_ns(MEASURE_WALL);
	nanosleep(&length, NULL);
	atomic_store(&crew.over, true);
	ns = measure_now_ns(MEASURE_WALL) - ns;
	for (unsigned int i = 0; i < count; i++) {
		pthread_join(hands[i].thread, NULL);
		draws += hands[i].draws;
	}
	pthread_barrier_destroy(&crew.begin);
	return atomic_load(&crew.failed) ? -1 : (double)draws / ns;
}

/* The sum over the processors of one thread alone on each; -1: failed. */
static double sum_rate(const char *socket, size_t size_bytes, const cpu_set_t *set, double round_ns)
{
	double sum = 0, rate = 0;
	cpu_set_t one;

	for (size_t cpu = 0; cpu < CPU_SETSIZE && rate >= 0; cpu++) {
		if (!CPU_ISSET(cpu, set))
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		if (sched_setaffinity(0, sizeof(one), &one))
			return -1;
		rate = crew_rate(socket, size_bytes, 1, round_ns);
		sum += rate;
	}
	return sched_setaffinity(0, sizeof(*set), set) == 0 && rate >= 0 ? sum : -1;
}

static int measure(const struct bench *bench, const char *socket, size_t size_bytes,
		   const cpu_set_t *set, struct measure_rounds *rounds)
{
	double round_ns = bench->scale->wall_ns * ROUND_PARTS;
	double units = size_bytes == sizeof(uint32_t) ? 1e3 : (double)size_bytes;

	rounds->count = bench->scale->rounds;
	for (int i = 0; i < rounds->count; i++) {
		double all = 0, sum = 0;

		for (int turn = 0; turn < 2; turn++) {
			if ((i + turn) % 2)
				sum = sum_rate(socket, size_bytes, set, round_ns);
			else
				all = crew_rate(socket, size_bytes, THREADS, round_ns);
		}
		if (all < 0 || sum < 0)
			return -1;
		rounds->ours[i] = all * units;
		rounds->theirs[i] = sum * units;
	}
	return 0;
}

/* No more processors than there are threads. */
static int choose_processors(cpu_set_t *set)
{
	if (sched_getaffinity(0, sizeof(*set), set))
		return -1;
	for (size_t cpu = CPU_SETSIZE; cpu > 0 && CPU_COUNT(set) > THREADS; cpu--)
		CPU_CLR(cpu - 1, set);
	return sched_setaffinity(0, sizeof(*set), set);
}

int threads_run(const struct bench *bench)
{
	const struct report_row rows[] = {
	    {.name = "u32",
	     .size_bytes = 4,
	     .unit = "M/s",
	     .peer = "sum of one each",
	     .bar_is = REPORT_RATIO_AT_LEAST,
	     .bar = 0.95},
	    {.name = "bytes",
	     .size_bytes = BYTES_OF_DRAW,
	     .unit = "GB/s",
	     .peer = "sum of one each",
	     .bar_is = REPORT_RATIO_AT_LEAST,
	     .bar = 0.95},
	};
	struct measure_rounds rounds;
	struct launched rngd = {0};
	cpu_set_t set;
	int err = 0;

	if (launch(bench, LAUNCH_RNGD, &rngd))
		return -1;
	if (choose_processors(&set))
		err = -1;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]) && !err; i++) {
		err = measure(bench, rngd.socket, rows[i].size_bytes, &set, &rounds);
		if (!err)
			report_row(bench, &rows[i], &rounds);
	}
	launch_end(&rngd);
	return err;
}
