/*
 * bench/measure - rounds of ours and theirs in turn, and what they come to.
 *
 * What another process takes of the machine changes from one second to the next. So both sides of a
 * row are measured within the same few milliseconds, again and again, and it is the ratio within a
 * round that counts: its median, and between which values that median lies.
 */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include <stdbool.h>
#include <stddef.h>

#define MEASURE_ROUNDS_MAX 31

enum measure_clock {
	MEASURE_COMPUTING, /* processor time of this thread: for what it computes alone */
	MEASURE_WALL,      /* for all that crosses processes or threads */
};

/* How long things are measured. */
struct measure_scale {
	const char *name;
	int rounds;             /* odd, so that the median is one of them */
	double computing_ns;    /* of one side in one round */
	double wall_ns;         /* likewise */
	unsigned long trips;    /* round trips in a round, of which there is a 99th percentile */
	unsigned int idle_ms;   /* of one round of doing nothing: rngd wakes each second */
	int processes;          /* rounds of what starts processes, or takes as long; odd too */
	size_t pull_bytes;      /* what rngcli is asked for at once, */
	size_t pull_peer_bytes; /* and its peer, which is slower */
	size_t crowd;           /* most connections of a sweep */
};

/* One side of a row. run() does its thing `calls` times; 0, or anything else if it failed. */
struct measure_side {
	const char *name;
	int (*run)(void *context, size_t size_bytes, unsigned long calls);
	void *context;
};

/* What was seen, in whatever unit the row has. */
struct measure_rounds {
	int count;
	double ours[MEASURE_ROUNDS_MAX];
	double theirs[MEASURE_ROUNDS_MAX];
};

/*
 * Medians. ratio is that of ours to theirs within a round, and the median of all rounds' ratios is
 * between low and high with at least 95 % confidence whatever the distribution (order statistics:
 * of 9 rounds the second lowest and second highest, of 15 the fourth; of fewer than 6 the lowest
 * and highest, with less). NAN where theirs is 0.
 */
struct measure_figures {
	double ours;
	double theirs;
	double ratio;
	double ratio_low;
	double ratio_high;
};

double measure_now_ns(enum measure_clock clock);

/* Two sides at one size. */
struct measure_task {
	const struct measure_side *ours;
	const struct measure_side *theirs;
	size_t size_bytes;
	struct measure_rounds rounds; /* nanoseconds a call, when it is done */
	unsigned long our_calls;      /* private: of a round */
	unsigned long their_calls;    /* private */
};

/*
 * All tasks in scale->rounds rounds, each side as many calls as take what the scale says. A round
 * is all tasks, so that those of one task are spread over the time that all take, and its spread
 * has in it what changed meanwhile. 0, or -1: a side failed.
 */
int measure_tasks(const struct measure_scale *scale, enum measure_clock clock,
		  struct measure_task *tasks, size_t count);

/* One task. */
int measure_pair(const struct measure_scale *scale, enum measure_clock clock,
		 const struct measure_side *ours, const struct measure_side *theirs,
		 size_t size_bytes, struct measure_rounds *rounds);

/* Times factor: other units. */
void measure_scale_by(struct measure_rounds *rounds, double factor);

/* Makes rates of times: each becomes units / itself. Bytes a call give GB/s. */
void measure_rates(struct measure_rounds *rounds, double units);

struct measure_figures measure_figures(const struct measure_rounds *rounds);

/* The value below which share (0 to 1) of the values are. Sorts them; count is not 0. */
double measure_quantile(double *values, size_t count, double share);

#endif
