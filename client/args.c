/*
 * Owns: the table of options. May touch: argv, through getopt. Never does: act on an option, or ask
 * whether the command takes it before all were read.
 */
#include "client/args.h"

#include <errno.h>
#include <getopt.h>
#include <stddef.h>
#include <string.h>

/* An option's letter names it in `accepts`; only those in short_options may be typed as such. */
static const struct option long_options[] = {
    {"hex", no_argument, NULL, 'x'},           {"base64", no_argument, NULL, 'b'},
    {"uuid", no_argument, NULL, 'u'},          {"raw", no_argument, NULL, 'r'},
    {"out", required_argument, NULL, 'o'},     {"quiet", no_argument, NULL, 'q'},
    {"no-progress", no_argument, NULL, 'q'},   {"json", no_argument, NULL, 'j'},
    {"no-bytes", no_argument, NULL, 'n'},      {"control", required_argument, NULL, 'c'},
    {"settle", no_argument, NULL, 'S'},        {"after", required_argument, NULL, 'a'},
    {"exec", required_argument, NULL, 'e'},    {"exec-timeout", required_argument, NULL, 'E'},
    {"count", required_argument, NULL, 'C'},   {"stdin", no_argument, NULL, 'i'},
    {"no-daemon", no_argument, NULL, 'd'},     {"socket", required_argument, NULL, 's'},
    {"timeout", required_argument, NULL, 't'}, {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},       {NULL, 0, NULL, 0},
};

/* The leading colon: getopt tells a missing value from an unknown option. */
static const char short_options[] = ":o:qs:t:hV";

int args_seconds(const char *text, int least_ms, int *ms)
{
	long long value = 0;
	int decimals = -1; /* no point seen */

	for (const char *p = text; *p; p++) {
		if (*p == '.' && decimals < 0 && p != text) {
			decimals = 0;
			continue;
		}
		if (*p < '0' || *p > '9' || decimals >= 3 || value > INT_MAX)
			return -EINVAL;
		value = value * 10 + (*p - '0');
		if (decimals >= 0)
			decimals++;
	}
	for (int i = decimals < 0 ? 0 : decimals; i < 3; i++)
		value *= 10;
	if (!*text || value < least_ms || value > INT_MAX || decimals == 0)
		return -EINVAL;
	*ms = (int)value;
	return 0;
}

int args_number(const char *text, uint64_t *number)
{
	uint64_t value = 0;

	if (!*text)
		return -EINVAL;
	for (; *text; text++) {
		if (*text < '0' || *text > '9' || __builtin_mul_overflow(value, 10u, &value) ||
		    __builtin_add_overflow(value, (unsigned)(*text - '0'), &value))
			return -EINVAL;
	}
	*number = value;
	return 0;
}

static int set_format(struct rngcli_options *options, enum rngcli_format format)
{
	if (options->format != RNGCLI_FORMAT_AUTO && options->format != format) {
		rngcli_error("only one of --hex, --base64, --uuid and --raw can be given");
		return RNGCLI_USAGE;
	}
	options->format = format;
	return RNGCLI_OK;
}

static int set_path(const char **path, const char *name, const char *value)
{
	*path = value;
	if (*value)
		return RNGCLI_OK;
	rngcli_error("--%s needs a path", name);
	return RNGCLI_USAGE;
}

static int set_seconds(int *ms, int least_ms, const char *value)
{
	if (!args_seconds(value, least_ms, ms))
		return RNGCLI_OK;
	rngcli_error("'%s' is not a time in seconds: write it like 5 or 0.25", value);
	return RNGCLI_USAGE;
}

static int set_number(uint64_t *number, const char *what, uint64_t least, const char *value)
{
	if (!args_number(value, number) && *number >= least)
		return RNGCLI_OK;
	rngcli_error("'%s' is not %s", value, what);
	return RNGCLI_USAGE;
}

static int set_exec(struct rngcli_options *options, const char *value)
{
	options->exec = value;
	if (*value)
		return RNGCLI_OK;
	rngcli_error("--exec needs a command");
	return RNGCLI_USAGE;
}

/* Those that take a value. An exit code. */
static int set_value(struct rngcli_options *options, int letter, const char *value)
{
	int rc;

	switch (letter) {
	case 'o':
		rc = set_path(&options->out_path, "out", value);
		if (!strcmp(value, "-"))
			options->out_path = NULL;
		return rc;
	case 's':
		return set_path(&options->socket_path, "socket", value);
	case 'c':
		return set_path(&options->control_path, "control", value);
	case 't':
		return set_seconds(&options->timeout_ms, 1, value);
	case 'E':
		return set_seconds(&options->exec_timeout_ms, 0, value);
	case 'a':
		return set_number(&options->after, "a generation", 0, value);
	case 'C':
		return set_number(&options->count, "a number of events: write 1 or more", 1, value);
	default:
		return set_exec(options, value);
	}
}

/* An exit code. */
static int set_option(struct rngcli_options *options, int letter, const char *value)
{
	switch (letter) {
	case 'x':
		return set_format(options, RNGCLI_FORMAT_HEX);
	case 'b':
		return set_format(options, RNGCLI_FORMAT_BASE64);
	case 'u':
		return set_format(options, RNGCLI_FORMAT_UUID);
	case 'r':
		return set_format(options, RNGCLI_FORMAT_RAW);
	case 'j':
		options->json = true;
		return RNGCLI_OK;
	case 'q':
		options->quiet = true;
		return RNGCLI_OK;
	case 'n':
		options->no_bytes = true;
		return RNGCLI_OK;
	case 'S':
		options->settle = true;
		return RNGCLI_OK;
	case 'i':
		options->from_stdin = true;
		return RNGCLI_OK;
	case 'd':
		options->no_daemon = true;
		return RNGCLI_OK;
	default:
		return set_value(options, letter, value);
	}
}

static enum args_result explain_unknown(const char *word)
{
	if (optopt && optopt <= UCHAR_MAX && !strncmp(word, "--", 2))
		rngcli_error("%s takes no value", word);
	else if (optopt)
		rngcli_error("unknown option -%c: see rngcli --help", optopt);
	else
		rngcli_error("unknown option %s: see rngcli --help", word);
	return ARGS_WRONG;
}

enum args_result args_parse(int argc, char **argv, struct rngcli_options *options,
			    struct args_given *given)
{
	int letter;

	opterr = 0;
	while ((letter = getopt_long(argc, argv, short_options, long_options, NULL)) != -1) {
		switch (letter) {
		case 'h':
			return ARGS_HELP;
		case 'V':
			return ARGS_VERSION;
		case ':':
			rngcli_error("%s needs a value", argv[optind - 1]);
			return ARGS_WRONG;
		case '?':
			return explain_unknown(argv[optind - 1]);
		}
		if (set_option(options, letter, optarg))
			return ARGS_WRONG;
		given->letter[letter] = true;
	}
	options->args = argv + optind;
	options->arg_count = argc - optind;
	return ARGS_COMMAND;
}

const char *args_not_accepted(const struct args_given *given, const char *accepts)
{
	for (const struct option *o = long_options; o->name; o++)
		if (given->letter[o->val] && !strchr(accepts, o->val))
			return o->name;
	return NULL;
}
