/*
 * Owns: nothing. May touch: the clocks. Never does: judge a figure, or drop one.
 */
#include "tests/bench/measure.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* What both tails together may hold of the median's distribution. */
#define DOUBT 0.05

#define CALIBRATE_TRIES 3

double measure_now_ns(enum measure_clock clock)
{
	struct timespec t;

	clock_gettime(clock == MEASURE_COMPUTING ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* Nanoseconds, or -1: it failed. */
static double time_side(enum measure_clock clock, const struct measure_side *side,
			size_t size_bytes, unsigned long calls)
{
	double start = measure_now_ns(clock);

	if (side->run(side->context, size_bytes, calls))
		return -1;
	return measure_now_ns(clock) - start;
}

/*
 * Calls that take about round_ns; 0: it failed. The shortest of some tries counts: what others took
 * of the machine during one would make all rounds too short.
 */
static unsigned long calibrate(enum measure_clock clock, const struct measure_side *side,
			       size_t size_bytes, double round_ns)
{
	unsigned long calls = 1;
	double least_ns = 0;

	while (least_ns < round_ns / 4) {
		calls *= 2;
		for (int i = 0; i < CALIBRATE_TRIES; i++) {
			double ns = time_side(clock, side, size_bytes, calls);

			if (ns < 0)
				return 0;
			if (i == 0 || ns < least_ns)
				least_ns = ns;
			if (least_ns < round_ns / 8)
				break; /* far too few in any case */
		}
	}
	return (unsigned long)((double)calls * round_ns / least_ns) + 1;
}

/* Round i of one task. */
static int run_round(enum measure_clock clock, struct measure_task *task, int i)
{
	double our_ns = 0, their_ns = 0;

	/* Neither side is always the one that runs second. */
	for (int turn = 0; turn < 2; turn++) {
		if ((i + turn) % 2)
			their_ns =
			    time_side(clock, task->theirs, task->size_bytes, task->their_calls);
		else
			our_ns = time_side(clock, task->ours, task->size_bytes, task->our_calls);
	}
	if (our_ns < 0 || their_ns < 0)
		return -1;
	task->rounds.ours[i] = our_ns / (double)task->our_calls;
	task->rounds.theirs[i] = their_ns / (double)task->their_calls;
	return 0;
}

int measure_tasks(const struct measure_scale *scale, enum measure_clock clock,
		  struct measure_task *tasks, size_t count)
{
	double round_ns = clock == MEASURE_COMPUTING ? scale->computing_ns : scale->wall_ns;

	for (size_t i = 0; i < count; i++) {
		struct measure_task *task = &tasks[i];

		task->rounds.count = scale->rounds;
		task->our_calls = calibrate(clock, task->ours, task->size_bytes, round_ns);
		task->their_calls = calibrate(clock, task->theirs, task->size_bytes, round_ns);
		if (task->our_calls == 0 || task->their_calls == 0)
			return -1;
	}
	for (int round = 0; round < scale->rounds; round++)
		for (size_t i = 0; i < count; i++)
			if (run_round(clock, &tasks[i], round))
				return -1;
	return 0;
}

int measure_pair(const struct measure_scale *scale, enum measure_clock clock,
		 const struct measure_side *ours, const struct measure_side *theirs,
		 size_t size_bytes, struct measure_rounds *rounds)
{
	struct measure_task task = {.ours = ours, .theirs = theirs, .size_bytes = size_bytes};
	int err = measure_tasks(scale, clock, &task, 1);

	*rounds = task.rounds;
	return err;
}

void measure_scale_by(struct measure_rounds *rounds, double factor)
{
	for (int i = 0; i < rounds->count; i++) {
		rounds->ours[i] *= factor;
		rounds->theirs[i] *= factor;
	}
}

void measure_rates(struct measure_rounds *rounds, double units)
{
	for (int i = 0; i < rounds->count; i++) {
		rounds->ours[i] = units / rounds->ours[i];
		rounds->theirs[i] = units / rounds->theirs[i];
	}
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void sort(double *values, size_t count)
{
	qsort(values, count, sizeof(values[0]), compare_doubles);
}

double measure_quantile(double *values, size_t count, double share)
{
	size_t at = (size_t)(share * (double)count);

	sort(values, count);
	return values[at < count ? at : count - 1];
}

static double median(const double *values, int count)
{
	double copy[MEASURE_ROUNDS_MAX];

	memcpy(copy, values, (size_t)count * sizeof(copy[0]));
	return measure_quantile(copy, (size_t)count, 0.5);
}

/*
 * How many values at each end the median's interval can do without. Each value is below the
 * true median with probability 1/2, so how many are is binomial.
 */
static int spare(int count)
{
	double below = ldexp(1, -count), sum = 0;

	for (int i = 0; i < count / 2; i++) {
		sum += below;
		if (2 * sum > DOUBT)
			return i > 0 ? i - 1 : 0;
		below *= (double)(count - i) / (double)(i + 1);
	}
	return 0;
}

struct measure_figures measure_figures(const struct measure_rounds *rounds)
{
	struct measure_figures figures = {
	    .ours = median(rounds->ours, rounds->count),
	    .theirs = median(rounds->theirs, rounds->count),
	    .ratio = (double)NAN,
	    .ratio_low = (double)NAN,
	    .ratio_high = (double)NAN,
	};
	double ratio[MEASURE_ROUNDS_MAX];
	int ends = spare(rounds->count);

	for (int i = 0; i < rounds->count; i++) {
		if (rounds->theirs[i] <= 0)
			return figures;
		ratio[i] = rounds->ours[i] / rounds->theirs[i];
	}
	sort(ratio, (size_t)rounds->count);
	figures.ratio = ratio[rounds->count / 2];
	figures.ratio_low = ratio[ends];
	figures.ratio_high = ratio[rounds->count - 1 - ends];
	return figures;
}
