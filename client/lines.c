/*
 * Owns: the tables. May touch: nothing. Never does: anything; a name that is missing here is shown
 * under "Other", by its name.
 */
#include "client/lines.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define LINE(label, pieces)                  \
	{                                    \
		label, pieces, COUNT(pieces) \
	}

static const struct piece rngd_pieces[] = {
    {"", "version", KIND_TEXT, "rngd ", "", NULL, NULL},
    {": ", "state", KIND_STATE, "", "", NULL, NULL},
    {" for ", "uptime_ms", KIND_MS, "", "", NULL, NULL},
    {", as ", "sandbox.uid", KIND_PLAIN, "uid ", "", NULL, NULL},
};

static const struct piece clone_pieces[] = {
    {"", "generation", KIND_PLAIN, "generation ", "", "1",
     "generation 1: none known since this machine booted"},
    {"; ", "epoch.clone_age_ms", KIND_MS, "last clone ", " ago", NULL, NULL},
    {", ", "epoch.clone_by", KIND_TEXT, "noticed by ", "", NULL, NULL},
    {"; ", "epoch.bumps", KIND_COUNT, "", " bump", "0", NULL},
    {"; ", "epoch.kernel_reseeded", KIND_FLAG, "", "waits for the kernel's own reseed", "true",
     NULL},
};

static const struct piece page_pieces[] = {
    {"", "epoch.published", KIND_FLAG, "published", "not published", NULL, NULL},
    {"; ", "epoch.word", KIND_PLAIN, "word ", "", NULL, NULL},
    {", ", "epoch.look_again", KIND_PLAIN, "look again ", "", NULL, NULL},
    {"; ", "epoch.mover", KIND_TEXT, "last moved by ", "", "\"none\"", NULL},
};

static const struct piece reseed_pieces[] = {
    {"", "reseed.age_ms", KIND_MS, "", " ago", NULL, NULL},
    {" ", "reseed.last_reason", KIND_TEXT, "(", ")", NULL, NULL},
    {", ", "reseed.count", KIND_COUNT, "", " time", NULL, NULL},
    {"; ", "reseed.interval_ms", KIND_MS, "every ", "", NULL, NULL},
    {"; ", "reseed.failures", KIND_PLAIN, "", " failed", "0", "none failed"},
    {": ", "reseed.error", KIND_TEXT, "", "", "\"none\"", NULL},
};

static const struct piece output_pieces[] = {
    {"", "keystream", KIND_TEXT, "ChaCha20, ", "", NULL, NULL},
    {"; ", "reseed.output_bytes", KIND_BYTES, "", " since the reseed", NULL, NULL},
    {"; ", "reseed.restarts", KIND_PLAIN, "made anew ", " times", "0", NULL},
};

static const struct piece active_pieces[] = {
    {"", ".state", KIND_STATE, "", "", NULL, NULL},
    {"", ".cloned", KIND_COUNT, "", " clone", NULL, NULL},
    {", ", ".aged", KIND_COUNT, "", " reseed", NULL, NULL},
    {"; ", ".says", KIND_TEXT, "can tell of a ", " only", "\"cloned\"", NULL},
};

static const struct piece inactive_pieces[] = {
    {"", ".state", KIND_STATE, "", "", NULL, NULL},
    {"", ".why", KIND_TEXT, "", "", NULL, NULL},
    {"; ", ".cloned", KIND_COUNT, "", " clone", "0", NULL},
    {", ", ".aged", KIND_COUNT, "", " reseed", "0", NULL},
    {"; ", ".says", KIND_TEXT, "can tell of a ", " only", "\"cloned\"", NULL},
};

static const struct piece source_pieces[] = {
    {"", "", KIND_STATE, "", "", NULL, NULL},
    {"", ".why", KIND_TEXT, "", "", NULL, NULL},
};

static const struct piece connection_pieces[] = {
    {"", "limit.connections", KIND_PLAIN, "", " in all", NULL, NULL},
    {", ", "limit.connections_per_uid", KIND_PLAIN, "", " a user", NULL, NULL},
    {"; ", "peers.refused", KIND_PLAIN, "", " refused", NULL, NULL},
    {", ", "peers.refused_uid", KIND_PLAIN, "", " for one user's share", NULL, NULL},
    {"; ", "server.accept_pauses", KIND_COUNT, "", " pause", "0", NULL},
};

static const struct piece rate_pieces[] = {
    {"", "limit.rate", KIND_BYTES, "", " a second and user", "0", "none"},
    {"; ", "peers.turns_put_off", KIND_COUNT, "", " turn put off", NULL, NULL},
};

static const struct piece request_pieces[] = {
    {"", "limit.request_ms", KIND_MS, "", "", "0", "for ever"},
    {"; ", "peers.request_timeouts", KIND_PLAIN, "", " closed", NULL, NULL},
};

static const struct piece reply_pieces[] = {
    {"", "limit.reply_ms", KIND_MS, "", "", "0", "for ever"},
    {"; ", "peers.reply_timeouts", KIND_PLAIN, "", " closed", NULL, NULL},
};

static const struct piece idle_pieces[] = {
    {"", "limit.idle_ms", KIND_MS, "", "", "0", "for ever"},
    {"; ", "peers.idle_timeouts", KIND_PLAIN, "", " closed", NULL, NULL},
};

static const struct piece all_pieces[] = {
    {"", "server.connections", KIND_COUNT, "", " connection", NULL, NULL},
    {" ", "server.accepted", KIND_PLAIN, "of ", " so far", NULL, NULL},
    {", ", "server.lingering", KIND_PLAIN, "", " over but for unread replies", "0", NULL},
    {", ", "served.requests", KIND_COUNT, "", " request", NULL, NULL},
    {", ", "served.bytes", KIND_BYTES, "", "", NULL, NULL},
    {"; ", "peers.uids", KIND_COUNT, "", " user", NULL, NULL},
};

static const struct piece event_pieces[] = {
    {"", "events.subscribers", KIND_COUNT, "", " subscriber", NULL, NULL},
    {", ", "events.owing", KIND_PLAIN, "", " yet to act on the last clone", "0", NULL},
    {"; ", "reseed.contributed", KIND_BYTES, "", " for the next seed", "0", NULL},
};

static const struct piece user_pieces[] = {
    {"", ".connections", KIND_COUNT, "", " connection", NULL, NULL},
    {", ", ".requests", KIND_COUNT, "", " request", NULL, NULL},
    {", ", ".bytes", KIND_BYTES, "", "", NULL, NULL},
    {"; ", ".turns_put_off", KIND_COUNT, "", " turn put off", "0", NULL},
};

static const struct piece caller_pieces[] = {
    {"", "caller.uid", KIND_PLAIN, "uid ", "", NULL, NULL},
    {": ", "caller.connections", KIND_COUNT, "", " connection", NULL, NULL},
    {", ", "caller.requests", KIND_COUNT, "", " request", NULL, NULL},
    {", ", "caller.bytes", KIND_BYTES, "", "", NULL, NULL},
    {"; ", "caller.turns_put_off", KIND_COUNT, "", " turn put off", "0", NULL},
    {"; ", "caller.sees_all", KIND_FLAG, "", "other users' figures are for root", "true", NULL},
};

const struct line lines_head = LINE("", rngd_pieces);
const struct line lines_active = LINE("", active_pieces);
const struct line lines_inactive = LINE("", inactive_pieces);
const struct line lines_source = LINE("", source_pieces);
const struct line lines_user = LINE("", user_pieces);

static const struct line state_lines[] = {
    LINE("clones", clone_pieces),
    LINE("epoch page", page_pieces),
    LINE("reseeded", reseed_pieces),
    LINE("output", output_pieces),
};

static const struct line limit_lines[] = {
    LINE("connections", connection_pieces),
    LINE("rate", rate_pieces),
    LINE("half request", request_pieces),
    LINE("unread reply", reply_pieces),
    LINE("idle", idle_pieces),
};

static const struct line use_lines[] = {
    LINE("you", caller_pieces),
    LINE("all", all_pieces),
    LINE("events", event_pieces),
};

const struct section lines_sections[LINES_SECTIONS] = {
    [LINES_STATE] = {"", state_lines, COUNT(state_lines)},
    [LINES_LIMITS] = {"Limits and refusals", limit_lines, COUNT(limit_lines)},
    [LINES_USE] = {"Use", use_lines, COUNT(use_lines)},
};
