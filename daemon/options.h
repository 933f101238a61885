/*
 * daemon/options - the command line as a struct, constant after start.
 */
#ifndef DAEMON_OPTIONS_H
#define DAEMON_OPTIONS_H

#include <stdbool.h>
#include <limits.h>
#include <sys/types.h>

#include "daemon/limits.h"

#define OPTIONS_DEFAULT_USER "rngd"
#define OPTIONS_DEFAULT_MODE 0666 /* every local user may have random bytes */
#define OPTIONS_CONTROL_MODE 0600 /* who may say that the machine was cloned */

/* Seconds; state older than a minute is never used, so it can only be made shorter. */
#define OPTIONS_RESEED_MAX_S 60

enum options_action {
	OPTIONS_RUN,
	OPTIONS_HELP,
	OPTIONS_VERSION,
	OPTIONS_HAND_OVER, /* open what only root can, give it to the service manager, end */
};

struct options {
	enum options_action action;
	const char *socket_path; /* points into argv or at a constant */
	mode_t socket_mode;
	char control_path[PATH_MAX]; /* "": none, since it would not fit a socket address */
	mode_t control_mode;
	char epoch_path[PATH_MAX];
	bool epoch_asked;      /* by --epoch: then it is an error if it cannot be had */
	const char *kmsg_path; /* NULL: the default of daemon/inputs */
	const char *vmgenid_path;
	const char *vmclock_path;
	const char *epoch_source_path;
	const char *user;
	int reseed_interval_s;
	struct limits limits;
	bool memfd_secret;
};

/*
 * Parses argv. 0; -EINVAL after one line on stderr that says what is wrong and how to put it right.
 */
int options_parse(struct options *options, int argc, char **argv);

/* Prints the usage text to stdout. 0 or -EIO. */
int options_help(void);

#endif
