/*
 * Owns: the commands about clones that are asked once: bump, settle, reseed, look, contribute,
 * epoch. May touch: standard input and output, the epoch page's file. Never does: keep a copy of
 * the bytes it passes on.
 */
#include "client/rngcli.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "client/control.h"
#include "client/seed.h"
#include "client/settle.h"
#include "client/text.h"

static int print_generation(uint64_t generation)
{
	printf("%" PRIu64 "\n", generation);
	return rngcli_close_stdout();
}

int cmd_bump(const struct rngcli_options *options)
{
	int64_t deadline_ms = settle_deadline(options);
	struct control control = {.client = NULL};
	struct seed seed = {.len = 0};
	uint64_t generation = 0;
	int rc = RNGCLI_OK;

	if (!options->no_bytes)
		rc = seed_take(&seed, "bump", RNGCLIENT_BUMP_MIN_BYTES, "see --no-bytes");
	if (!rc)
		rc = control_open(&control, options);
	if (!rc) {
		rc = rngclient_bump(control.client, seed.bytes, seed.len, &generation);
		rc = rc ? rngcli_explain(&control.options, rc) : RNGCLI_OK;
	}
	seed_wipe(&seed);
	if (!rc && options->settle)
		rc = settle_wait(&control, generation - 1, deadline_ms, &generation);
	if (!rc)
		rc = print_generation(generation);
	control_close(&control);
	return rc;
}

int cmd_settle(const struct rngcli_options *options)
{
	int64_t deadline_ms = settle_deadline(options);
	struct control control;
	uint64_t generation;
	int rc = control_open(&control, options);

	if (!rc)
		rc = settle_wait(&control, options->after, deadline_ms, &generation);
	if (!rc)
		rc = print_generation(generation);
	control_close(&control);
	return rc;
}

int cmd_reseed(const struct rngcli_options *options)
{
	struct control control;
	int rc = control_open(&control, options);

	if (!rc) {
		rc = rngclient_reseed(control.client);
		rc = rc ? rngcli_explain(&control.options, rc) : RNGCLI_OK;
	}
	control_close(&control);
	return rc;
}

/* One user's share is over: no fault of the daemon, unlike EAGAIN elsewhere. */
static int explain_contribute(const struct rngcli_options *options, int error)
{
	if (error != -EAGAIN)
		return rngcli_explain(options, error);
	rngcli_error("rngd takes no more of this user's bytes for now: 1024 a second, and 4096 at "
		     "once");
	return RNGCLI_TEMPFAIL;
}

int cmd_contribute(const struct rngcli_options *options)
{
	struct rngclient *client = NULL;
	struct seed seed;
	int rc = seed_take(&seed, "contribute", 1, NULL);

	if (!rc)
		rc = rngcli_connect(options, &client);
	if (!rc) {
		rc = rngclient_contribute(client, seed.bytes, seed.len);
		rc = rc ? explain_contribute(options, rc) : RNGCLI_OK;
	}
	seed_wipe(&seed);
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
	char id[2 * sizeof(epoch->event_id) + 1];
	char when[TEXT_TIME_BYTES];

	if (epoch->event_generation == 0) {
		puts("last clone  none");
		return;
	}
	text_time(when, epoch->event_realtime_ns);
	text_hex(id, epoch->event_id, sizeof(epoch->event_id));
	printf("last clone  %s\n", when);
	printf("noticed by  %s\n", epoch->event_notifier_name);
	printf("event       %s\n", id);
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
	struct rngclient_epoch epoch = {.size = sizeof(epoch)};
	const char *path = options->arg_count ? options->args[0] : NULL;
	char beside[PATH_MAX];
	int rc;

	if (!path) {
		rc = control_beside(options, RNGCLIENT_DEFAULT_EPOCH, RNGCLIENT_EPOCH_SUFFIX,
				    beside);
		if (rc)
			return rc;
		path = beside;
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
	/* Of a daemon that was killed or stands still this is what it said last. */
	printf("state       %s%s\n", state_name(epoch.state),
	       epoch.lease_ms > 0 || epoch.state == RNGCLIENT_EPOCH_STOPPED
		   ? ""
		   : ", when it last said so");
	printf("watched     %s", epoch.lease_ms > 0 ? "for " : "no\n");
	if (epoch.lease_ms > 0)
		printf("%" PRId64 " ms more\n", epoch.lease_ms);
	print_event(&epoch);
	return rngcli_close_stdout();
}
