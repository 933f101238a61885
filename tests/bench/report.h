/*
 * bench/report - rows on the terminal, and in a file that becomes JSON (doc/measurements.md says
 * what it holds).
 *
 * Groups run in processes of their own, so a row travels as one line of text: "R" or "S" and a JSON
 * object. The process that started them puts the lines together.
 */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include <stdio.h>

#include "tests/bench/measure.h"

struct bench;

/* What a bar is set against. */
enum report_bar {
	REPORT_NO_BAR,
	REPORT_RATIO_AT_LEAST,
	REPORT_RATIO_AT_MOST,
	REPORT_OURS_AT_MOST, /* our own figure, whatever the peer's */
};

struct report_row {
	const char *name;
	size_t size_bytes; /* 0: none to speak of */
	const char *unit;
	const char *peer;
	enum report_bar bar_is;
	double bar;
	size_t connections; /* 0: it is not about that */
};

/* The heading of a group: its title, then the names of the columns. */
void report_begin(const struct bench *bench);

/* One row, to the terminal and to bench->rows. */
void report_row(const struct bench *bench, const struct report_row *row,
		const struct measure_rounds *rounds);

/*
 * Something that is not measured here, and why. name: a row's name or a peer's; NULL: the whole
 * group.
 */
void report_skip(const struct bench *bench, const char *name, const char *reason);

/* Facts of the machine and the libraries, to the terminal. */
void report_machine(void);

/* The whole: rows as it was written by the groups, from its start. 0 or a negative errno. */
int report_json(const char *path, const char *mode, FILE *rows);

#endif
