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
#include "daemon/quota.h"
#include "proto/rngd_proto.h"

enum {
	OPT_SOCKET = 256,
	OPT_SOCKET_MODE,
	OPT_CONTROL,
	OPT_CONTROL_MODE,
	OPT_EPOCH,
	OPT_KMSG,
	OPT_VMGENID,
	OPT_VMCLOCK,
	OPT_EPOCH_SOURCE,
	OPT_HAND_OVER,
	OPT_USER,
	OPT_RESEED_INTERVAL,
	OPT_MAX_CONNECTIONS,
	OPT_MAX_CONNECTIONS_PER_UID,
	OPT_MAX_RATE,
	OPT_REQUEST_TIMEOUT,
	OPT_REPLY_TIMEOUT,
	OPT_IDLE_TIMEOUT,
	OPT_NO_MEMFD_SECRET,
};

static const struct option options_long[] = {
    {"socket", required_argument, NULL, OPT_SOCKET},
    {"socket-mode", required_argument, NULL, OPT_SOCKET_MODE},
    {"control", required_argument, NULL, OPT_CONTROL},
    {"control-mode", required_argument, NULL, OPT_CONTROL_MODE},
    {"epoch", required_argument, NULL, OPT_EPOCH},
    {"kmsg", required_argument, NULL, OPT_KMSG},
    {"vmgenid", required_argument, NULL, OPT_VMGENID},
    {"vmclock", required_argument, NULL, OPT_VMCLOCK},
    {"epoch-source", required_argument, NULL, OPT_EPOCH_SOURCE},
    {"hand-over", no_argument, NULL, OPT_HAND_OVER},
    {"user", required_argument, NULL, OPT_USER},
    {"reseed-interval", required_argument, NULL, OPT_RESEED_INTERVAL},
    {"max-connections", required_argument, NULL, OPT_MAX_CONNECTIONS},
    {"max-connections-per-uid", required_argument, NULL, OPT_MAX_CONNECTIONS_PER_UID},
    {"max-rate", required_argument, NULL, OPT_MAX_RATE},
    {"request-timeout", required_argument, NULL, OPT_REQUEST_TIMEOUT},
    {"reply-timeout", required_argument, NULL, OPT_REPLY_TIMEOUT},
    {"idle-timeout", required_argument, NULL, OPT_IDLE_TIMEOUT},
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
    "  --control PATH         listen here for bump and reseed (default " RNGD_PROTO_DEFAULT_CONTROL
    ";\n"
    "                         with --socket: its path and " RNGD_PROTO_CONTROL_SUFFIX ")\n"
    "  --control-mode MODE    octal access mode of that socket (default 0600)\n"
    "  --epoch PATH           publish the epoch page here, on a tmpfs "
    "(default " RNGD_PROTO_DEFAULT_EPOCH ";\n"
    "                         with --socket: its path and " RNGD_PROTO_EPOCH_SUFFIX
    ", if that is a tmpfs)\n"
    "  --user NAME|UID        when started as root, become this user (default rngd;\n"
    "                         uid 65534 with a warning if there is no such user)\n"
    "  --reseed-interval S    reseed after this many seconds, 1 to 60 (default 60)\n"
    "  --no-memfd-secret      keep the state in locked memory instead of memfd_secret(2)\n"
    "                         memory, which makes the kernel refuse to hibernate\n"
    "\n"
    "Limits; 0 means none for what is measured in bytes or seconds:\n"
    "  --max-connections N    in all (default: what the descriptor limit allows,\n"
    "                         16384 at most); 16 more are kept for root and --control\n"
    "  --max-connections-per-uid N\n"
    "                         of one user (default: a quarter of all, 16 at least)\n"
    "  --max-rate BYTES       a second, of one user; who is over it waits (default 0)\n"
    "  --request-timeout S    to send the rest of a request (default 10)\n"
    "  --reply-timeout S      without reading any of a reply (default 30)\n"
    "  --idle-timeout S       without asking anything (default 0)\n"
    "\n"
    "Where signs of a clone are looked for, instead of the usual place:\n"
    "  --vmgenid FILE         the machine's generation ID; changed contents mean a clone\n"
    "                         (overwrite it in place: a file put in its stead is not seen)\n"
    "  --kmsg FILE            the kernel log, in the form of /dev/kmsg\n"
    "  --vmclock FILE         a vmclock page\n"
    "  --epoch-source FILE    another epoch page (a 32-bit word at offset 0)\n"
    "\n"
    "  --hand-over            for the service manager: open what only root can, store it there, "
    "end\n"
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

static int check_socket(const char *option, const char *path)
{
	struct sockaddr_un addr;

	if (*path != '\0' && strlen(path) < sizeof(addr.sun_path))
		return 0;
	log_error("%s: give a path of 1 to %zu bytes", option, sizeof(addr.sun_path) - 1);
	return -EINVAL;
}

/* Into the struct: derived paths have no place in argv. */
static int copy_path(const char *option, const char *path, char out[PATH_MAX])
{
	if (*path != '\0' && strlen(path) < PATH_MAX) {
		memcpy(out, path, strlen(path) + 1);
		return 0;
	}
	log_error("%s: give a path of 1 to %d bytes", option, PATH_MAX - 1);
	return -EINVAL;
}

static int parse_mode(const char *option, mode_t *mode)
{
	long number;
	int err = parse_number(option, optarg, 8, 0, 0777, &number);

	*mode = (mode_t)number;
	return err;
}

static int parse_file(const char *option, const char **path)
{
	*path = optarg;
	if (*optarg != '\0')
		return 0;
	log_error("%s: give the path of a file", option);
	return -EINVAL;
}

/* Where the sockets and the page are. */
static int parse_place(struct options *options, int opt)
{
	int err;

	switch (opt) {
	case OPT_SOCKET:
		options->socket_path = optarg;
		return check_socket("--socket", optarg);
	case OPT_SOCKET_MODE:
		return parse_mode("--socket-mode", &options->socket_mode);
	case OPT_CONTROL:
		err = check_socket("--control", optarg);
		return err ? err : copy_path("--control", optarg, options->control_path);
	case OPT_CONTROL_MODE:
		return parse_mode("--control-mode", &options->control_mode);
	default:
		options->epoch_asked = true;
		return copy_path("--epoch", optarg, options->epoch_path);
	}
}

/* Where signs of a clone are looked for. */
static int parse_sign(struct options *options, int opt)
{
	switch (opt) {
	case OPT_KMSG:
		return parse_file("--kmsg", &options->kmsg_path);
	case OPT_VMGENID:
		return parse_file("--vmgenid", &options->vmgenid_path);
	case OPT_VMCLOCK:
		return parse_file("--vmclock", &options->vmclock_path);
	default:
		return parse_file("--epoch-source", &options->epoch_source_path);
	}
}

/* What was not said lies beside the socket. */
static void derive_paths(struct options *options)
{
	const char *path = options->socket_path;
	bool usual = strcmp(path, RNGD_PROTO_DEFAULT_SOCKET) == 0;
	struct sockaddr_un addr;

	if (options->control_path[0] == '\0')
		snprintf(options->control_path, sizeof(options->control_path), "%s%s",
			 usual ? RNGD_PROTO_DEFAULT_CONTROL : path,
			 usual ? "" : RNGD_PROTO_CONTROL_SUFFIX);
	if (strlen(options->control_path) >= sizeof(addr.sun_path))
		options->control_path[0] = '\0';
	if (options->epoch_path[0] == '\0')
		snprintf(options->epoch_path, sizeof(options->epoch_path), "%s%s",
			 usual ? RNGD_PROTO_DEFAULT_EPOCH : path,
			 usual ? "" : RNGD_PROTO_EPOCH_SUFFIX);
}

/* Sockets and page each replace what is in their place. */
static int check_paths(const struct options *options)
{
	if (strcmp(options->control_path, options->socket_path) != 0 &&
	    strcmp(options->epoch_path, options->socket_path) != 0 &&
	    strcmp(options->epoch_path, options->control_path) != 0)
		return 0;
	log_error("--socket, --control and --epoch name one file: give each its own");
	return -EINVAL;
}

/* What one user, and all of them, may take up. */
static int parse_limit(struct limits *limits, int opt)
{
	long number;
	int err;

	switch (opt) {
	case OPT_MAX_CONNECTIONS:
		err = parse_number("--max-connections", optarg, 10, 1, QUOTA_CONNECTIONS_MAX,
				   &number);
		limits->connections = (uint32_t)number;
		return err;
	case OPT_MAX_CONNECTIONS_PER_UID:
		err = parse_number("--max-connections-per-uid", optarg, 10, 1,
				   QUOTA_CONNECTIONS_MAX, &number);
		limits->connections_per_uid = (uint32_t)number;
		return err;
	default:
		/* 0 is no limit; so little that one frame takes half a minute is a mistake. */
		err = parse_number("--max-rate", optarg, 10,
				   strcmp(optarg, "0") == 0 ? 0 : QUOTA_RATE_MIN_BYTES,
				   (long)QUOTA_RATE_MAX_BYTES, &number);
		limits->rate_bytes = (uint64_t)number;
		return err;
	}
}

static int parse_timeout(const char *option, int *seconds)
{
	long number;
	int err = parse_number(option, optarg, 10, 0, LIMITS_TIMEOUT_MAX_S, &number);

	*seconds = (int)number;
	return err;
}

static int parse_one(struct options *options, int opt)
{
	long number;
	int err = 0;

	switch (opt) {
	case OPT_SOCKET:
	case OPT_SOCKET_MODE:
	case OPT_CONTROL:
	case OPT_CONTROL_MODE:
	case OPT_EPOCH:
		return parse_place(options, opt);
	case OPT_KMSG:
	case OPT_VMGENID:
	case OPT_VMCLOCK:
	case OPT_EPOCH_SOURCE:
		return parse_sign(options, opt);
	case OPT_HAND_OVER:
		options->action = OPTIONS_HAND_OVER;
		return 0;
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
	case OPT_MAX_CONNECTIONS:
	case OPT_MAX_CONNECTIONS_PER_UID:
	case OPT_MAX_RATE:
		return parse_limit(&options->limits, opt);
	case OPT_REQUEST_TIMEOUT:
		return parse_timeout("--request-timeout", &options->limits.request_s);
	case OPT_REPLY_TIMEOUT:
		return parse_timeout("--reply-timeout", &options->limits.reply_s);
	case OPT_IDLE_TIMEOUT:
		return parse_timeout("--idle-timeout", &options->limits.idle_s);
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
	    .control_mode = OPTIONS_CONTROL_MODE,
	    .user = OPTIONS_DEFAULT_USER,
	    .reseed_interval_s = OPTIONS_RESEED_MAX_S,
	    .limits = {.request_s = LIMITS_REQUEST_S, .reply_s = LIMITS_REPLY_S},
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
		if (options->action == OPTIONS_HELP || options->action == OPTIONS_VERSION)
			return 0;
	}
	if (optind < argc) {
		log_error("%s: rngd takes options only; see rngd --help", argv[optind]);
		return -EINVAL;
	}
	derive_paths(options);
	return check_paths(options);
}

int options_help(void)
{
	return fputs(options_text, stdout) == EOF || fflush(stdout) == EOF ? -EIO : 0;
}
