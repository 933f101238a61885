/*
 * client/args - rngcli's command line as a struct. Prints its own errors, by rngcli_error().
 */
#ifndef CLIENT_ARGS_H
#define CLIENT_ARGS_H

#include <limits.h>
#include <stdbool.h>

#include "client/rngcli.h"

/* What the command line asks for. */
enum args_result {
	ARGS_COMMAND, /* a command, or get */
	ARGS_HELP,
	ARGS_VERSION,
	ARGS_WRONG, /* an error was printed */
};

/* Which options were given, by their letters. */
struct args_given {
	bool letter[UCHAR_MAX + 1];
};

/*
 * Reads the options of argv, which may stand anywhere, into *options, which has the defaults, and
 * *given, which is zero; the operands are options->args then. Strings go on belonging to argv.
 */
enum args_result args_parse(int argc, char **argv, struct rngcli_options *options,
			    struct args_given *given);

/* The long name of a given option whose letter is not in accepts; NULL: there is none. */
const char *args_not_accepted(const struct args_given *given, const char *accepts);

/*
 * Seconds with at most three decimals, as milliseconds: least_ms to INT_MAX. 0, or -EINVAL, when
 * *ms is left alone.
 */
int args_seconds(const char *text, int least_ms, int *ms);

/* A decimal number of 64 bits, digits alone. 0, or -EINVAL, when *number is left alone. */
int args_number(const char *text, uint64_t *number);

#endif
