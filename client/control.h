/*
 * client/control - what lies beside the daemon's socket: its control socket, its epoch page. Prints
 * its own errors.
 */
#ifndef CLIENT_CONTROL_H
#define CLIENT_CONTROL_H

#include <limits.h>

#include "client/rngcli.h"

/* A connection to the control socket, and what rngcli_explain() is to be told of it. */
struct control {
	struct rngclient *client;
	struct rngcli_options options; /* the caller's, with the control socket as the socket */
	char path[PATH_MAX];
};

/*
 * The path of what lies beside the socket: standard with the default socket, else the socket's own
 * and suffix. An exit code; after RNGCLI_OK path is set.
 */
int control_beside(const struct rngcli_options *options, const char *standard, const char *suffix,
		   char path[static PATH_MAX]);

/*
 * Connects to the control socket. An exit code; whatever it is, control_close() may follow.
 * *control must stay where it is until then: it points into itself.
 */
int control_open(struct control *control, const struct rngcli_options *options);

void control_close(struct control *control);

#endif
