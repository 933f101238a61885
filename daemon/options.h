/*
 * daemon/options - the command line as a struct, constant after start.
 */
#ifndef DAEMON_OPTIONS_H
#define DAEMON_OPTIONS_H

#include <stdbool.h>
#include <sys/types.h>

#define OPTIONS_DEFAULT_USER "rngd"
#define OPTIONS_DEFAULT_MODE 0666 /* every local user may have random bytes */

/* Seconds; state older than a minute is never used, so it can only be made shorter. */
#define OPTIONS_RESEED_MAX_S 60

enum options_action {
	OPTIONS_RUN,
	OPTIONS_HELP,
	OPTIONS_VERSION,
};

struct options {
	enum options_action action;
	const char *socket_path; /* points into argv or at a constant */
	mode_t socket_mode;
	const char *user;
	int reseed_interval_s;
	bool memfd_secret;
};

/*
 * Parses argv. 0; -EINVAL after one line on stderr that says what is wrong and how to put it right.
 */
int options_parse(struct options *options, int argc, char **argv);

/* Prints the usage text to stdout. 0 or -EIO. */
int options_help(void);

#endif
