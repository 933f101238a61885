/*
 * bench/bench - what the parts of the benchmark share: a group of rows, and what it is run with.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdbool.h>
#include <stdio.h>

#include "tests/bench/measure.h"
#include "tests/bench/report.h"

struct bench {
	const struct measure_scale *scale;
	const struct group *group;
	FILE *rows;        /* of all groups, for report */
	const char *dir;   /* for sockets; its owner removes whatever is left in it */
	const char *build; /* where rngd and the rest of this build is */
};

/* Rows that are measured in one process, which is theirs alone. */
struct group {
	const char *name;
	const char *title;
	const char *ia32cap;       /* what OpenSSL is told it may use; NULL: all there is */
	const char *(*skip)(void); /* NULL, or gives NULL: it can be run; else why it cannot be */
	/*
	 * Reports its rows and, each with its reason, those that it leaves out. 0, or -1: something
	 * could not be run at all, or two sides that must compute the same do not.
	 */
	int (*run)(const struct bench *bench);
	const void *plan; /* for run() */
	bool only_named;  /* not one of "all" */
};

/* Each is ended by a group without a name. */
extern const struct group keystream_groups[];
extern const struct group local_groups[];
extern const struct group socket_groups[];
extern const struct group process_groups[];
extern const struct group others_groups[];
extern const struct group sweep_groups[];

#endif
