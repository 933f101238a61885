/*
 * bench/launch - the servers that are measured, each in a process of its own that ends with the
 * benchmark whatever ends that.
 */
#ifndef BENCH_LAUNCH_H
#define BENCH_LAUNCH_H

#include <stddef.h>
#include <sys/types.h>

#include "tests/bench/bench.h"

struct launched {
	pid_t pid; /* 0: none */
	char socket[64];
};

enum launch_kind {
	LAUNCH_RNGD,
	LAUNCH_BARE, /* the same requests and frames, constant bytes */
	LAUNCH_ECHO, /* gives back what it gets */
};

/*
 * Starts one at a socket of its own in bench->dir; what it logs goes to a file there. 0 as soon as
 * it can be connected to, or a negative errno after saying why; then there is nothing to end.
 */
int launch(const struct bench *bench, enum launch_kind kind, struct launched *launched);

/*
 * The same, up to where it says READY=1 to a service manager: *ready_ns is the time from just
 * before fork() to that message.
 */
int launch_timed(const struct bench *bench, enum launch_kind kind, struct launched *launched,
		 double *ready_ns);

/* Ends it and waits for that; what was zeroed or ended is left alone. */
void launch_end(struct launched *launched);

/*
 * Two of the processors that this process may use, one for a client and one for servers; the same
 * one twice if there is no other. 0 or a negative errno.
 */
int launch_processors(int *client_cpu, int *server_cpu);

/* Binds this process to a processor, and what it launches from now on. 0 or a negative errno. */
int launch_bind(int cpu);

/* A stream to path, blocking; or a negative errno. */
int launch_connect(const char *path);

#endif
