/*
 * bench/threads - what many threads draw at once, each from its own generator.
 *
 * Ours is the rate of THREADS threads together: draws that ended while all of them ran, by the
 * wall's seconds. The peer is a sum: for each processor that this process may use, up to THREADS of
 * them, the rate of one thread that is bound to it and has the machine to itself. A ratio of 1
 * says that the threads share nothing that they wait for.
 *
 * It can be below 1 through no fault of the library, where processors share a core or are slower
 * when all are busy; and on a machine that is not idle it says nothing, since 16 threads get a
 * larger share of it than one.
 */
#ifndef BENCH_THREADS_H
#define BENCH_THREADS_H

struct bench;

/* For struct group. */
int threads_run(const struct bench *bench);

#endif
