/*
 * Owns: nothing; strings stay in argv. May touch: stdout for the help text, the log for errors.
 * Never does: read the environment or a configuration file.
 */
#include "daemon/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "daemon/log.h"
#include "proto/rngd_proto.h"

enum {
	OPT_SOCKET = 256,
	OPT_SOCKET_MODE,
	OPT_USER,
	OPT_RESEED_INTERVAL,
	OPT_NO_MEMFD_SECRET,
};

static const struct option options_long[] = {
    {"socket", required_argument, NULL, OPT_SOCKET},
    {"socket-mode", required_argument, NULL, OPT_SOCKET_MODE},
    {"user", required_argument, NULL, OPT_USER},
    {"reseed-interval", required_argument, NULL, OPT_RESEED_INTERVAL},
    {"no-memfd-secret", no_argument, NULL, OPT_NO_MEMFD_SECRET},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {NULL, 0, NULL, 0},
};

static const char options_text[] =
    "Usage: rngd [OPTION]...\n"
    "Serve random bytes over a UNIX socket; stay in the foreground, log to stderr.\n"
    "\n"
    "  --socket PATH          listen here (default " RNGD_PROTO_DEFAULT_SOCKET ");\n"
    "                         sockets passed by systemd take precedence\n"
    "  --socket-mode MODE     octal access mode of the socket (default 0666)\n"
    "  --user NAME|UID        when started as root, become this user (default rngd;\n"
    "                         uid 65534 with a warning if there is no such user)\n"
    "  --reseed-interval S    reseed after this many seconds, 1 to 60 (default 60)\n"
    "  --no-memfd-secret      keep the state in locked memory instead of memfd_secret(2)\n"
    "                         memory, which makes the kernel refuse to hibernate\n"
    "  -h, --help             print this text\n"
    "  -V, --version          print the version\n"
    "\n"
    "SIGHUP reseeds. SIGTERM and SIGINT stop.\n";

/* Whole string, base, range: or an error that names the option. */
static int parse_number(const char *option, const char *text, int base, long low, long high,
			long *value)
{
	char *end;

	errno = 0;
	*value = strtol(text, &end, base);
	if (errno == 0 && end != text && *end == '\0' && *text >= '0' && *text <= '9' &&
	    *value >= low && *value <= high)
		return 0;
	if (base == 8)
		log_error("%s %s: give an octal mode from 0 to 0777, for example 0666", option,
			  text);
	else
		log_error("%s %s: give a number from %ld to %ld", option, text, low, high);
	return -EINVAL;
}

static int parse_socket(struct options *options, const char *path)
{
	struct sockaddr_un addr;

	if (*path == '\0' || strlen(path) >= sizeof(addr.sun_path)) {
		log_error("--socket: give a path of 1 to %zu bytes", sizeof(addr.sun_path) - 1);
		return -EINVAL;
	}
	options->socket_path = path;
	return 0;
}

static int parse_one(struct options *options, int opt)
{
	long number;
	int err = 0;

	switch (opt) {
	case OPT_SOCKET:
		return parse_socket(options, optarg);
	case OPT_SOCKET_MODE:
		err = parse_number("--socket-mode", optarg, 8, 0, 0777, &number);
		options->socket_mode = (mode_t)number;
		return err;
	case OPT_USER:
		if (*optarg == '\0') {
			log_error("--user: give the name or number of an unprivileged user");
			return -EINVAL;
		}
		options->user = optarg;
		return 0;
	case OPT_RESEED_INTERVAL:
		err =
		    parse_number("--reseed-interval", optarg, 10, 1, OPTIONS_RESEED_MAX_S, &number);
		options->reseed_interval_s = (int)number;
		return err;
	case OPT_NO_MEMFD_SECRET:
		options->memfd_secret = false;
		return 0;
	case 'h':
		options->action = OPTIONS_HELP;
		return 0;
	case 'V':
		options->action = OPTIONS_VERSION;
		return 0;
	default:
		return -EINVAL;
	}
}

int options_parse(struct options *options, int argc, char **argv)
{
	int opt, err;

	*options = (struct options){
	    .action = OPTIONS_RUN,
	    .socket_path = RNGD_PROTO_DEFAULT_SOCKET,
	    .socket_mode = OPTIONS_DEFAULT_MODE,
	    .user = OPTIONS_DEFAULT_USER,
	    .reseed_interval_s = OPTIONS_RESEED_MAX_S,
	    .memfd_secret = true,
	};
	opterr = 0; /* one line of our own, in one voice */
	optind = 0; /* start over: tests parse more than once */
	while ((opt = getopt_long(argc, argv, ":hV", options_long, NULL)) != -1) {
		if (opt == ':') {
			log_error("%s needs a value; see rngd --help", argv[optind - 1]);
			return -EINVAL;
		}
		/* Inside -xh the word is not done with, so optind still points at it. */
		if (opt == '?') {
			if (optopt > 0 && strncmp(argv[optind - 1], "--", 2) != 0)
				log_error("-%c: unknown option; see rngd --help", optopt);
			else
				log_error("%s: unknown or unfit option; see rngd --help",
					  argv[optind - 1]);
			return -EINVAL;
		}
		err = parse_one(options, opt);
		if (err)
			return err;
		if (options->action != OPTIONS_RUN)
			return 0;
	}
	if (optind < argc) {
		log_error("%s: rngd takes options only; see rngd --help", argv[optind]);
		return -EINVAL;
	}
	return 0;
}

int options_help(void)
{
	return fputs(options_text, stdout) == EOF || fflush(stdout) == EOF ? -EIO : 0;
}
