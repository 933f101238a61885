/*
 * daemon/clock - the clocks: of everything that waits, and of what happened once.
 */
#ifndef DAEMON_CLOCK_H
#define DAEMON_CLOCK_H

#include <stdint.h>
#include <time.h>

/* CLOCK_MONOTONIC in ms: it stands still while the machine sleeps, and is never set. */
static inline int64_t clock_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Milliseconds of CLOCK_BOOTTIME, sleep included, since it was then_ns; 0 if that is still to come.
 */
static inline int64_t clock_boot_age_ms(uint64_t then_ns)
{
	struct timespec now;
	uint64_t now_ns;

	clock_gettime(CLOCK_BOOTTIME, &now);
	now_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
	return now_ns > then_ns ? (int64_t)((now_ns - then_ns) / 1000000) : 0;
}

#endif
