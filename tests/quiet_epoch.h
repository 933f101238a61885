/*
 * tests/quiet_epoch - an epoch that moves only when a test moves it: a page of its own, and
 * detectors that are absent. Real ones would see the kernel's reseeds in the middle of a count.
 */
#ifndef TESTS_QUIET_EPOCH_H
#define TESTS_QUIET_EPOCH_H

#include <check.h>
#include <errno.h>

#include "daemon/epoch.h"
#include "daemon/epoch_file.h"

struct quiet_epoch {
	struct epoch_file file;
	struct epoch epoch;
};

static inline void quiet_epoch_init(struct quiet_epoch *quiet)
{
	const char *paths[EPOCH_ROWS];
	int fds[EPOCH_ROWS];

	for (size_t i = 0; i < EPOCH_ROWS; i++) {
		fds[i] = -ENOENT;
		paths[i] = "nothing";
	}
	ck_assert_int_eq(epoch_file_open_private(&quiet->file), 0);
	epoch_init(&quiet->epoch, &quiet->file, fds, paths);
	for (size_t i = 0; i < EPOCH_ROWS; i++) {
		epoch_absent(&quiet->epoch.detectors[i], "a test has no use for it");
		quiet->epoch.detectors[i].value_bytes = 0;
	}
}

static inline void quiet_epoch_deinit(struct quiet_epoch *quiet)
{
	epoch_deinit(&quiet->epoch);
	epoch_file_close(&quiet->file);
}

/* One more ageing, as a detector would report it. */
static inline void quiet_epoch_move(struct quiet_epoch *quiet)
{
	epoch_file_aged(&quiet->file);
	quiet->epoch.moves++;
	quiet->epoch.mover = "test";
}

#endif
