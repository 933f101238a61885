/*
 * daemon/inputs - the files behind the epoch page and the clone detectors. Most of them only root
 * can open, so they come from one of two places: passed by the service manager under a name, or
 * opened here by path. One that is not there is no error: the number says why.
 */
#ifndef DAEMON_INPUTS_H
#define DAEMON_INPUTS_H

#include <stdbool.h>

enum inputs_row {
	INPUTS_EPOCH_PAGE,   /* read-write; with its lock or not at all */
	INPUTS_EPOCH_LOCK,   /* beside the page: has no path of its own */
	INPUTS_KMSG,         /* the kernel's log */
	INPUTS_VMGENID,      /* the generation ID, from QEMU's fw_cfg */
	INPUTS_VMCLOCK,      /* the vmclock device */
	INPUTS_EPOCH_SOURCE, /* an epoch page of somebody else's; no default path */
	INPUTS_ROWS,
};

struct inputs {
	int fds[INPUTS_ROWS];           /* owned; or a negative errno: why there is none */
	const char *paths[INPUTS_ROWS]; /* what a row is looked for at, for messages; or NULL */
	bool opened;                    /* fds[] means something */
};

/* The names under which the manager keeps and passes them, by row. */
extern const char *const inputs_names[INPUTS_ROWS];

/*
 * Collects every row: the descriptor passed for it, else what is at its path. Never waits, neither
 * for a fifo's writer nor later in a read: all are non-blocking and close-on-exec.
 *
 * paths[row]: NULL for the default; strings must outlive *inputs. passed[row]: a descriptor, taken
 * over in any case, or negative; passed itself may be NULL. A row whose kind of file is wrong gets
 * -EINVAL, and where it was passed or its path was given, a log line. At a path that was given, the
 * log need not be the kernel's own and a device may be a regular file. The page, opened by path, is
 * made where there is none (epoch_file.h).
 */
void inputs_open(struct inputs *inputs, const char *const paths[INPUTS_ROWS],
		 const int passed[INPUTS_ROWS]);

/*
 * Has the service manager keep what is open, in place of all that it kept before, and pass it to
 * the next process it starts. The descriptors stay the caller's. Waits, for a few seconds at most,
 * until the manager has done so and the lock that an earlier daemon held is gone.
 * 0, or a negative errno after a log line: -ENOTCONN without a manager.
 */
int inputs_hand_over(const struct inputs *inputs);

/* The row's descriptor, the caller's from now on; or the negative errno. */
int inputs_take(struct inputs *inputs, enum inputs_row row);

/* Closes what was not taken; a zeroed struct is allowed. */
void inputs_close(struct inputs *inputs);

#endif
