/*
 * tests/fuzz/fuzz_detector - for targets that drive one detector without the table (daemon/epoch.c)
 * around it: in place of its three helpers, the same contract.
 */
#ifndef TESTS_FUZZ_FUZZ_DETECTOR_H
#define TESTS_FUZZ_FUZZ_DETECTOR_H

#include <stdarg.h>
#include <sys/stat.h>

#include "daemon/epoch.h"
#include "tests/fuzz/fuzz.h"

static void explain(struct epoch_detector *detector, enum epoch_state state, const char *format,
		    va_list args)
{
	vsnprintf(detector->why, sizeof(detector->why), format, args);
	FUZZ_CHECK(detector->why[0] != '\0');
	detector->state = state;
	detector->watch = false;
}

void epoch_absent(struct epoch_detector *detector, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	explain(detector, EPOCH_ABSENT, format, args);
	va_end(args);
}

void epoch_failed(struct epoch_detector *detector, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	explain(detector, EPOCH_FAILED, format, args);
	va_end(args);
}

void epoch_save(struct epoch_detector *detector, const void *value, size_t bytes)
{
	FUZZ_CHECK(bytes <= EPOCH_PAGE_SAVED_BYTES);
	memset(&detector->saved, 0, sizeof(detector->saved));
	memcpy(detector->saved.value, value, bytes);
	detector->saved.bytes = (uint32_t)bytes;
}

/* After each call of a detector's. */
static void check_detector(const struct epoch_detector *detector)
{
	FUZZ_CHECK(detector->state <= EPOCH_FAILED);
	FUZZ_CHECK(detector->value_bytes <= sizeof(detector->value));
	FUZZ_CHECK(detector->saved.bytes <= sizeof(detector->saved.value));
	FUZZ_CHECK(detector->state == EPOCH_ACTIVE || !detector->watch);
	FUZZ_CHECK(detector->state != EPOCH_ABSENT || detector->fd == -1);
}

#endif
