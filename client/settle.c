/*
 * Owns: what the daemon last said of its subscribers. May touch: standard error. Never does: call a
 * generation settled that it did not see so in one answer.
 */
#include "client/settle.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "client/owes.h"

#define SETTLE_TIMEOUT_MS 30000

/* Pauses between two questions: each has the daemon ask every detector. */
#define SETTLE_PAUSE_MIN_MS 5
#define SETTLE_PAUSE_MAX_MS 100

struct settle {
	uint64_t generation; /* 0: there was no answer yet */
	struct owes owes;
	struct field fields[FIELDS_MAX];
	char text[RNGCLIENT_STATUS_BYTES];
};

/* A clock that goes on while the machine sleeps would end the wait of one that is resumed. */
static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t settle_deadline(const struct rngcli_options *options)
{
	return now_ms() + (options->timeout_ms ? options->timeout_ms : SETTLE_TIMEOUT_MS);
}

static void pause_ms(int64_t ms)
{
	struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	while (nanosleep(&left, &left) && errno == EINTR)
		;
}

/* One question. 0 or a negative errno; -EPROTO too when the answer is not understood. */
static int ask(struct settle *settle, struct rngclient *client, int64_t left_ms)
{
	uint64_t generation;
	int rc = rngclient_set_timeout(client, left_ms < INT_MAX ? (int)left_ms : INT_MAX);

	if (!rc)
		rc = rngclient_subscribers(client, &generation, settle->text, sizeof(settle->text));
	if (!rc)
		rc = owes_parse(&settle->owes, settle->text, settle->fields);
	if (rc)
		return rc;
	settle->generation = generation;
	owes_judge(&settle->owes);
	return 0;
}

static bool is_settled(const struct settle *settle, uint64_t after)
{
	return settle->generation > after && settle->owes.returning_ms == 0 &&
	       settle->owes.forgotten == 0 && owes_waits(&settle->owes) == 0;
}

static void print_row(const struct owes_row *row)
{
	const bool waited_for = row->privileged && !row->gone;
	char name[OWES_NAME_BYTES];
	char pid[24] = "unknown";

	if (row->pid)
		snprintf(pid, sizeof(pid), "%" PRIu64, row->pid);
	if (row->gone)
		name[0] = '\0'; /* the number may be another process's */
	else
		owes_name(name, row->pid);
	rngcli_error("%s: uid %" PRIu64 " pid %s (%s), %s, %s, for %" PRIu64 ".%03u s",
		     waited_for ? "waited for" : "not waited for", row->uid, pid,
		     name[0] ? name : "?", row->taken ? "read the event" : "has not read the event",
		     row->connected ? "connected"
		     : row->gone    ? "its process ended"
				    : "not connected",
		     row->for_ms / 1000, (unsigned)(row->for_ms % 1000));
}

/* Says why not. RNGCLI_TEMPFAIL. */
static int explain(const struct settle *settle, uint64_t after)
{
	const struct owes *owes = &settle->owes;

	if (settle->generation <= after) {
		rngcli_error("no clone was noticed: the generation is %" PRIu64
			     ", and not above %" PRIu64 "; if there was one, the host must say so, "
			     "by 'rngcli bump' and bytes that no other clone is given",
			     settle->generation, after);
		return RNGCLI_TEMPFAIL;
	}
	if (owes->returning_ms)
		rngcli_error("rngd was started a moment ago: for %" PRIu64 " ms more subscribers "
			     "of the one before may be missing",
			     owes->returning_ms);
	if (owes->forgotten)
		rngcli_error("rngd has forgotten %" PRIu64 " that owed, as there were too many: "
			     "see that they have acted, then restart it",
			     owes->forgotten);
	rngcli_error("generation %" PRIu64 " is not settled: %" PRIu64 " have not acted on it, and "
		     "%" PRIu64 " of them are waited for; %" PRIu64 " are subscribed",
		     settle->generation, owes->owing, owes_waits(owes), owes->subscribers);
	for (size_t i = 0; i < owes->row_count; i++)
		print_row(&owes->rows[i]);
	if (owes->owing > owes->row_count)
		rngcli_error("and %" PRIu64 " more", owes->owing - owes->row_count);
	return RNGCLI_TEMPFAIL;
}

/* After the call failed. An exit code. */
static int explain_call(const struct settle *settle, const struct control *control, uint64_t after,
			int error)
{
	if (settle->generation && (error == -ETIMEDOUT || error == -EAGAIN))
		return explain(settle, after);
	return rngcli_explain(&control->options, error);
}

static int wait_with(struct settle *settle, struct control *control, uint64_t after,
		     int64_t deadline_ms)
{
	int64_t pause = SETTLE_PAUSE_MIN_MS;
	int64_t left = deadline_ms - now_ms();

	for (;;) {
		int rc = ask(settle, control->client, left > 1 ? left : 1);

		if (!rc && is_settled(settle, after))
			return RNGCLI_OK;
		left = deadline_ms - now_ms();
		if (rc && (rc != -EAGAIN || left <= 0))
			return explain_call(settle, control, after, rc);
		if (left <= 0)
			return explain(settle, after);
		pause_ms(pause < left ? pause : left);
		pause = 2 * pause < SETTLE_PAUSE_MAX_MS ? 2 * pause : SETTLE_PAUSE_MAX_MS;
		left = deadline_ms - now_ms();
	}
}

int settle_wait(struct control *control, uint64_t after, int64_t deadline_ms, uint64_t *generation)
{
	struct settle *settle = calloc(1, sizeof(*settle));
	int rc;

	*generation = 0;
	if (!settle)
		return rngcli_explain(&control->options, -ENOMEM);
	rc = wait_with(settle, control, after, deadline_ms);
	if (!rc)
		*generation = settle->generation;
	free(settle);
	return rc;
}
