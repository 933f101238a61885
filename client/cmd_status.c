/*
 * Owns: the status command.
 * May touch: standard output; NO_COLOR and TERM of the environment.
 * Never does: print a byte of the daemon's text before all of it was found to be in the
 * grammar. Whoever serves the socket could otherwise send terminal escapes or JSON.
 */
#include "client/rngcli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/fields.h"
#include "client/show.h"

/* Names and values are valid JSON as they stand: the grammar sees to it. */
static void print_json(const struct field *fields, size_t count)
{
	for (size_t i = 0; i < count; i++)
		printf("%s\n  \"%.*s\": %.*s", i ? "," : "{", fields[i].name_len, fields[i].name,
		       fields[i].value_len, fields[i].value);
	puts("\n}");
}

static bool want_colour(void)
{
	const char *no_color = getenv("NO_COLOR");
	const char *term = getenv("TERM");

	return isatty(STDOUT_FILENO) && !(no_color && *no_color) && term &&
	       strcmp(term, "dumb") != 0;
}

int cmd_status(const struct rngcli_options *options)
{
	struct field *fields = calloc(FIELDS_MAX, sizeof(*fields));
	char *text = calloc(1, RNGCLIENT_STATUS_BYTES);
	struct rngclient *client = NULL;
	size_t count;
	int rc;

	if (!fields || !text) {
		rc = rngcli_explain(options, -ENOMEM);
		goto out;
	}
	rc = rngcli_connect(options, &client);
	if (rc)
		goto out;
	rc = rngclient_status(client, text, RNGCLIENT_STATUS_BYTES);
	if (rc) {
		rc = rngcli_explain(options, rc);
		goto out;
	}
	count = fields_parse(text, fields);
	if (!count) {
		rngcli_error("%s sent a malformed status: it may not be an rngd",
			     options->socket_path);
		rc = RNGCLI_FAILURE;
		goto out;
	}
	if (options->json)
		print_json(fields, count);
	else
		show_status(stdout, want_colour(), fields, count);
	rc = rngcli_close_stdout();
out:
	rngclient_close(client);
	free(text);
	free(fields);
	return rc;
}
