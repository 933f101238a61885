/*
 * Owns: the table of commands, the exit codes and the words for errors.
 * May touch: the standard descriptors, signal dispositions at start.
 * Never does: hold random bytes; read the environment but where a terminal is dressed up.
 */
#include "client/rngcli.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/args.h"
#include "client/text.h"

static const struct rngcli_command commands[] = {
    {"get", cmd_get, "xburoqst", "[N]", "print N random bytes (the default command)"},
    {"status", cmd_status, "jst", "", "print the status of the daemon"},
    {"look", cmd_look, "st", "", "look for clones now, print the clone generation"},
    {"epoch", cmd_epoch, "s", "[PATH]", "print what the epoch page shows"},
    {"bump", cmd_bump, "cnstS", "", "tell the daemon that this machine was cloned"},
    {"settle", cmd_settle, "acst", "", "wait until everybody has acted on the last clone"},
    {"watch", cmd_watch, "eCEjst", "", "print each clone, or run a command after it"},
    {"reseed", cmd_reseed, "cst", "", "have the daemon reseed now"},
    {"contribute", cmd_contribute, "st", "", "give the daemon bytes for its next seed"},
    {"kernel-reseed", cmd_kernel_reseed, "dist", "", "have the kernel reseed its generator"},
};

#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

/* What is shown of an error at most: a path of any length that opens, and the words around it. */
#define RNGCLI_LINE_BYTES 8192

static const char option_help[] =
    "\n"
    "N is a count of bytes (32 if not given), or of UUIDs (1), with an optional suffix:\n"
    "K, M, G, T or KiB, MiB, ... are powers of 1024; KB, MB, ... powers of 1000.\n"
    "\n"
    "Options of get:\n"
    "      --hex, --base64   print text on one line\n"
    "      --uuid            print N random UUIDs (version 4), one a line\n"
    "      --raw             print the bytes themselves, even to a terminal\n"
    "  -o, --out FILE        write FILE, replaced as a whole or not at all, with mode 0600\n"
    "  -q, --quiet           show no progress bar (also --no-progress)\n"
    "\n"
    "Options of status:\n"
    "      --json            print one JSON object\n"
    "\n"
    "bump reads 32 to 1024 bytes from standard input that no other clone is given,\n"
    "contribute 1 to 1024 of any kind.\n"
    "Options of bump, settle and reseed:\n"
    "      --no-bytes        (bump) there are none: only where the processor has its own\n"
    "      --settle          (bump) then settle\n"
    "      --after N         (settle) wait for a generation above N first\n"
    "      --control PATH    the control socket (" RNGCLIENT_DEFAULT_CONTROL ",\n"
    "                        or that of --socket with " RNGCLIENT_CONTROL_SUFFIX " appended)\n"
    "\n"
    "Options of watch:\n"
    "      --json            print one JSON object a line\n"
    "      --exec COMMAND    run COMMAND by /bin/sh after each clone, and print nothing\n"
    "      --exec-timeout SECONDS  end it after that (60); 0: never\n"
    "      --count N         end after N clones\n"
    "\n"
    "Options of kernel-reseed:\n"
    "      --stdin           add 32 to 1024 bytes from standard input\n"
    "      --no-daemon       those alone, and none from rngd\n"
    "\n"
    "Common options:\n"
    "  -s, --socket PATH     the daemon's socket (" RNGCLIENT_DEFAULT_SOCKET ")\n"
    "  -t, --timeout SECONDS how long to wait for each answer of the daemon (5);\n"
    "                        with settle for everything (30)\n"
    "  -h, --help            print this text\n"
    "  -V, --version         print the version\n"
    "\n"
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 75 no daemon or it refuses: try later.\n";

void rngcli_error(const char *format, ...)
{
	char *line = NULL;
	va_list args;
	int n;

	va_start(args, format);
	n = vasprintf(&line, format, args);
	va_end(args);
	if (n < 0) {
		fputs("rngcli: out of memory\n", stderr);
		return;
	}
	text_clean(line, (size_t)n);
	/* Of what is too long to be read, such as an argument of a megabyte, both ends. */
	if (n > RNGCLI_LINE_BYTES)
		fprintf(stderr, "rngcli: %.*s...%s\n", RNGCLI_LINE_BYTES / 2, line,
			line + n - RNGCLI_LINE_BYTES / 2);
	else
		fprintf(stderr, "rngcli: %s\n", line);
	free(line);
}

int rngcli_explain(const struct rngcli_options *options, int error)
{
	const char *path = options->socket_path;

	switch (-error) {
	case ENOENT:
	case ECONNREFUSED:
	case ECONNRESET:
	case EPIPE:
		rngcli_error("no rngd at %s: start it with 'systemctl start rngd', or name its "
			     "socket with --%s",
			     path, options->control_path ? "control" : "socket");
		return RNGCLI_TEMPFAIL;
	case ETIMEDOUT:
		rngcli_error("rngd at %s does not answer: try again, or allow more time with "
			     "--timeout",
			     path);
		return RNGCLI_TEMPFAIL;
	case EAGAIN:
		rngcli_error("rngd refuses for now: 'rngcli status' says why; try again "
			     "later");
		return RNGCLI_TEMPFAIL;
	case EPERM:
		rngcli_error("%s is not the control socket: name that with --control", path);
		return RNGCLI_FAILURE;
	case ENOTUNIQ:
		rngcli_error("nothing was done: without bytes, and without RDRAND, clones would be "
			     "identical; give 32 bytes that no other clone is given");
		return RNGCLI_FAILURE;
	case EBUSY:
		rngcli_error("rngd at %s has as many connections as it takes: close some, or raise "
			     "--max-connections or --max-connections-per-uid",
			     path);
		return RNGCLI_TEMPFAIL;
	case ENAMETOOLONG:
		rngcli_error("socket path %s is too long: 107 bytes at most", path);
		return RNGCLI_USAGE;
	case EACCES:
		rngcli_error("no permission to use %s: be root, or check its mode and your groups",
			     path);
		return RNGCLI_FAILURE;
	case EPROTO:
	case EOPNOTSUPP:
	case EPROTONOSUPPORT:
		rngcli_error("%s is not served by an rngd that rngcli %s understands (%s)", path,
			     RNGD_VERSION, strerror(-error));
		return RNGCLI_FAILURE;
	default:
		rngcli_error("%s: %s", path, strerror(-error));
		return RNGCLI_FAILURE;
	}
}

int rngcli_write_failed(const char *path, int error)
{
	if (path && error == -ELOOP)
		rngcli_error("%s is a symbolic link: name the file itself", path);
	else if (error != -EPIPE)
		rngcli_error("cannot write %s: %s", path ? path : "standard output",
			     strerror(-error));
	return RNGCLI_FAILURE;
}

int rngcli_connect(const struct rngcli_options *options, struct rngclient **client)
{
	int rc = rngclient_open(client, options->socket_path, options->timeout_ms);

	if (!rc)
		return RNGCLI_OK;
	return rngcli_explain(options, rc);
}

int rngcli_write(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len) {
		struct pollfd wait = {.fd = fd, .events = POLLOUT};
		ssize_t n = write(fd, p, len);

		if (n > 0) {
			p += n;
			len -= (size_t)n;
		} else if (n == 0) {
			return -EIO;
		} else if (errno == EAGAIN) {
			if (poll(&wait, 1, -1) < 0 && errno != EINTR)
				return -errno;
		} else if (errno != EINTR) {
			return -errno;
		}
	}
	return 0;
}

int rngcli_close_stdout(void)
{
	int error = 0;

	errno = 0;
	if (fflush(stdout) || ferror(stdout))
		error = errno ? -errno : -EIO;
	if (close(STDOUT_FILENO) && !error && errno != EINTR)
		error = -errno;
	return error ? rngcli_write_failed(NULL, error) : RNGCLI_OK;
}

/*
 * A closed standard descriptor would be given to the daemon's socket, or to the output
 * file, and what is meant for one would land in the other. Such a slot is filled with a
 * descriptor open the wrong way round: using it still fails, as it should.
 */
static int fill_closed_descriptors(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) >= 0)
			continue;
		if (open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
			return -1;
	}
	return 0;
}

static int print_help(void)
{
	puts("Usage: rngcli [COMMAND] [OPTION]... [N]\n"
	     "Random bytes from rngd, the randomness daemon.\n\nCommands:");
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		printf("  %-13s %-6s %s\n", commands[i].name, commands[i].args,
		       commands[i].summary);
	fputs(option_help, stdout);
	return rngcli_close_stdout();
}

static int print_version(void)
{
	printf("rngcli %s (librngclient %s)\n", RNGD_VERSION, rngclient_version());
	return rngcli_close_stdout();
}

/* Takes the command's name from the operands; with none, or no name there, it is get. */
static const struct rngcli_command *take_command(struct rngcli_options *options)
{
	for (size_t i = 0; options->arg_count && i < COMMAND_COUNT; i++) {
		if (strcmp(options->args[0], commands[i].name) != 0)
			continue;
		options->args++;
		options->arg_count--;
		return &commands[i];
	}
	return &commands[0];
}

static int run_command(struct rngcli_options *options, const struct args_given *given)
{
	const struct rngcli_command *command = take_command(options);
	const char *wrong = args_not_accepted(given, command->accepts);
	int most = command->args[0] ? 1 : 0;

	if (wrong) {
		rngcli_error("--%s is not an option of %s", wrong, command->name);
		return RNGCLI_USAGE;
	}
	if (options->arg_count > most) {
		rngcli_error("'%s' is one argument too many for %s", options->args[most],
			     command->name);
		return RNGCLI_USAGE;
	}
	return command->run(options);
}

int main(int argc, char **argv)
{
	struct rngcli_options options = {
	    .socket_path = RNGCLIENT_DEFAULT_SOCKET,
	    .exec_timeout_ms = RNGCLI_EXEC_TIMEOUT_MS,
	};
	struct args_given given = {0};

	if (fill_closed_descriptors())
		return RNGCLI_FAILURE;
	/* Errors of write(2) instead: they clean up, and they have exit codes. */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	switch (args_parse(argc, argv, &options, &given)) {
	case ARGS_HELP:
		return print_help();
	case ARGS_VERSION:
		return print_version();
	case ARGS_WRONG:
		return RNGCLI_USAGE;
	case ARGS_COMMAND:
		break;
	}
	return run_command(&options, &given);
}
