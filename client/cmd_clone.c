/*
 * Owns: the bytes of a bump on their way to the daemon. May touch: standard input and output, the
 * epoch page's file. Never does: take a bump's bytes from a terminal, keep a copy of them, or make
 * any up: what this machine has, its clones may have too.
 */
#include "client/rngcli.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CLONE_NS_PER_S  1000000000u
#define CLONE_NS_PER_MS 1000000u

/* Of a path beside the socket: standard with the default socket, else the socket's and a suffix. */
struct beside {
	const char *standard;
	const char *suffix;
	char path[PATH_MAX];
};

/* An exit code; after RNGCLI_OK beside->path is set. */
static int find_beside(const struct rngcli_options *options, struct beside *beside)
{
	const bool usual = !strcmp(options->socket_path, RNGCLIENT_DEFAULT_SOCKET);
	int n =
	    snprintf(beside->path, sizeof(beside->path), "%s%s",
		     usual ? beside->standard : options->socket_path, usual ? "" : beside->suffix);

	if (n > 0 && (size_t)n < sizeof(beside->path))
		return RNGCLI_OK;
	return rngcli_explain(options, -ENAMETOOLONG);
}

/* ---------------------------------------------------------------- what is asked of the daemon */

/* What a bump brings; len 0: nothing. */
struct seed {
	uint8_t bytes[RNGCLIENT_BUMP_MAX_BYTES + 1]; /* one more, to see that there are too many */
	size_t len;
};

/* Reads until the end or until the buffer is full. 0 or a negative errno. */
static int read_seed(struct seed *seed)
{
	struct pollfd wait = {.fd = STDIN_FILENO, .events = POLLIN};
	ssize_t n;

	while (seed->len < sizeof(seed->bytes)) {
		n = read(STDIN_FILENO, seed->bytes + seed->len, sizeof(seed->bytes) - seed->len);
		if (n == 0)
			break;
		if (n > 0)
			seed->len += (size_t)n;
		else if (errno == EAGAIN)
			poll(&wait, 1, -1);
		else if (errno != EINTR)
			return -errno;
	}
	return 0;
}

/* An exit code. */
static int take_seed(struct seed *seed)
{
	int rc;

	if (isatty(STDIN_FILENO)) {
		rngcli_error("bump reads random bytes, and standard input is a terminal: pipe 32 "
			     "bytes or more, or see --no-bytes");
		return RNGCLI_USAGE;
	}
	rc = read_seed(seed);
	if (rc) {
		rngcli_error("cannot read standard input: %s", strerror(-rc));
		return RNGCLI_FAILURE;
	}
	if (seed->len >= RNGCLIENT_BUMP_MIN_BYTES && seed->len <= RNGCLIENT_BUMP_MAX_BYTES)
		return RNGCLI_OK;
	rngcli_error("bump takes %d to %d bytes, and standard input has %s%zu",
		     RNGCLIENT_BUMP_MIN_BYTES, RNGCLIENT_BUMP_MAX_BYTES,
		     seed->len > RNGCLIENT_BUMP_MAX_BYTES ? "at least " : "", seed->len);
	return RNGCLI_USAGE;
}

/* Connects to the control socket. An exit code; *control is the options with that as the socket. */
static int connect_control(const struct rngcli_options *options, struct beside *beside,
			   struct rngcli_options *control, struct rngclient **client)
{
	int rc;

	*client = NULL;
	*control = *options;
	*beside = (struct beside){.standard = RNGCLIENT_DEFAULT_CONTROL,
				  .suffix = RNGCLIENT_CONTROL_SUFFIX};
	control->socket_path = options->control_path;
	if (!control->socket_path) {
		rc = find_beside(options, beside);
		if (rc)
			return rc;
		control->socket_path = beside->path;
	}
	return rngcli_connect(control, client);
}

static int print_generation(uint64_t generation)
{
	printf("%" PRIu64 "\n", generation);
	return rngcli_close_stdout();
}

int cmd_bump(const struct rngcli_options *options)
{
	struct rngcli_options control;
	struct seed seed = {.len = 0};
	struct rngclient *client = NULL;
	struct beside beside;
	uint64_t generation;
	int rc = RNGCLI_OK;

	if (!options->no_bytes)
		rc = take_seed(&seed);
	if (!rc)
		rc = connect_control(options, &beside, &control, &client);
	if (!rc) {
		rc = rngclient_bump(client, seed.bytes, seed.len, &generation);
		rc = rc ? rngcli_explain(&control, rc) : print_generation(generation);
	}
	explicit_bzero(&seed, sizeof(seed));
	rngclient_close(client);
	return rc;
}

int cmd_reseed(const struct rngcli_options *options)
{
	struct rngcli_options control;
	struct rngclient *client;
	struct beside beside;
	int rc = connect_control(options, &beside, &control, &client);

	if (!rc) {
		rc = rngclient_reseed(client);
		rc = rc ? rngcli_explain(&control, rc) : RNGCLI_OK;
	}
	rngclient_close(client);
	return rc;
}

int cmd_look(const struct rngcli_options *options)
{
	struct rngclient *client;
	uint64_t generation;
	int rc = rngcli_connect(options, &client);

	if (!rc) {
		rc = rngclient_look(client, &generation);
		rc = rc ? rngcli_explain(options, rc) : print_generation(generation);
	}
	rngclient_close(client);
	return rc;
}

/* ---------------------------------------------------------------- the epoch page */

static const char *state_name(uint32_t state)
{
	switch (state) {
	case RNGCLIENT_EPOCH_STOPPED:
		return "stopped";
	case RNGCLIENT_EPOCH_SERVING:
		return "serving";
	case RNGCLIENT_EPOCH_REFUSING:
		return "refusing";
	default:
		return "unknown";
	}
}

static void print_event(const struct rngclient_epoch *epoch)
{
	time_t seconds = (time_t)(epoch->event_realtime_ns / CLONE_NS_PER_S);
	unsigned ms = (unsigned)(epoch->event_realtime_ns % CLONE_NS_PER_S / CLONE_NS_PER_MS);
	struct tm utc = {0};
	char when[32] = "";

	if (epoch->event_generation == 0) {
		puts("last clone  none");
		return;
	}
	if (gmtime_r(&seconds, &utc))
		strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &utc);
	printf("last clone  %s.%03uZ\n", when, ms);
	printf("noticed by  %s\n", epoch->event_notifier_name);
	fputs("event       ", stdout);
	for (size_t i = 0; i < sizeof(epoch->event_id); i++)
		printf("%02x", epoch->event_id[i]);
	putchar('\n');
}

/* An exit code. */
static int explain_page(const char *path, int error)
{
	switch (-error) {
	case ENOENT:
		rngcli_error("no epoch page at %s: rngd was never started, or publishes none",
			     path);
		return RNGCLI_TEMPFAIL;
	case EPROTO:
		rngcli_error("%s is not an epoch page", path);
		return RNGCLI_FAILURE;
	default:
		rngcli_error("cannot read %s: %s", path, strerror(-error));
		return RNGCLI_FAILURE;
	}
}

int cmd_epoch(const struct rngcli_options *options)
{
	struct beside beside = {.standard = RNGCLIENT_DEFAULT_EPOCH,
				.suffix = RNGCLIENT_EPOCH_SUFFIX};
	struct rngclient_epoch epoch = {.size = sizeof(epoch)};
	const char *path = options->arg_count ? options->args[0] : NULL;
	int rc;

	if (!path) {
		rc = find_beside(options, &beside);
		if (rc)
			return rc;
		path = beside.path;
	} else if (*path == '\0') {
		rngcli_error("epoch needs a path that is not empty");
		return RNGCLI_USAGE;
	}
	rc = rngclient_epoch_file(path, &epoch);
	if (rc)
		return explain_page(path, rc);
	printf("epoch       0x%08" PRIx32 "\n", epoch.epoch);
	printf("generation  %" PRIu64 "\n", epoch.generation);
	printf("look again  %" PRIu64 "\n", epoch.look_again);
	printf("state       %s\n", state_name(epoch.state));
	printf("watched     %s", epoch.lease_ms > 0 ? "for " : "no\n");
	if (epoch.lease_ms > 0)
		printf("%" PRId64 " ms more\n", epoch.lease_ms);
	print_event(&epoch);
	return rngcli_close_stdout();
}
