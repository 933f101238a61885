/*
 * Owns: nothing beyond the caller's struct. May touch: the control socket, through the library.
 * Never does: ask anything over it.
 */
#include "client/control.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

int control_beside(const struct rngcli_options *options, const char *standard, const char *suffix,
		   char path[static PATH_MAX])
{
	const bool usual = !strcmp(options->socket_path, RNGCLIENT_DEFAULT_SOCKET);
	int n = snprintf(path, PATH_MAX, "%s%s", usual ? standard : options->socket_path,
			 usual ? "" : suffix);

	if (n > 0 && n < PATH_MAX)
		return RNGCLI_OK;
	return rngcli_explain(options, -ENAMETOOLONG);
}

int control_open(struct control *control, const struct rngcli_options *options)
{
	int rc;

	control->client = NULL;
	control->options = *options;
	control->options.socket_path = options->control_path;
	if (!options->control_path) {
		rc = control_beside(options, RNGCLIENT_DEFAULT_CONTROL, RNGCLIENT_CONTROL_SUFFIX,
				    control->path);
		if (rc)
			return rc;
		control->options.socket_path = control->path;
	}
	return rngcli_connect(&control->options, &control->client);
}

void control_close(struct control *control)
{
	rngclient_close(control->client);
	control->client = NULL;
}
