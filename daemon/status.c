/*
 * Owns: nothing. May touch: counters and facts of the server, read only.
 * Never does: show a byte of the generator, or to one user what another asks for.
 */
#include "daemon/status.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "daemon/clock.h"
#include "daemon/epoch_file.h"
#include "daemon/server.h"
#include "daemon/text.h"

static void put_reseed(struct text *text, const struct reseed *reseed)
{
	const char *refusal = reseed_refuses(reseed);

	text_number(text, "reseed.count", reseed->count);
	text_string(text, "reseed.last_reason", reseed->last_reason);
	text_number(text, "reseed.age_ms", (uint64_t)reseed_age_ms(reseed));
	text_number(text, "reseed.interval_ms", (uint64_t)reseed->interval_ms);
	text_number(text, "reseed.failures", reseed->failures);
	text_string(text, "reseed.error", refusal ? refusal : "none");
}

static void put_sources(struct text *text, const struct entropy *entropy)
{
	static const char *const states[] = {
	    [ENTROPY_ABSENT] = "absent",
	    [ENTROPY_ACTIVE] = "active",
	    [ENTROPY_FAILED] = "failed",
	};

	for (size_t i = 0; i < ENTROPY_SOURCES; i++) {
		char name[32];

		snprintf(name, sizeof(name), "source.%s", entropy_name(i));
		text_string(text, name, states[entropy->states[i]]);
		if (entropy_why(entropy, i))
			text_put(text, "%s.why=\"%s\"\n", name, entropy_why(entropy, i));
	}
}

/* The clone that began the present generation; it may be from before the daemon's start. */
static void put_last_clone(struct text *text, const struct epoch_page *page)
{
	struct epoch_page_event event;

	if (!epoch_page_last_event(page, &event))
		return;
	text_string(text, "epoch.clone_by", epoch_page_notifier_name(event.notifier));
	text_number(text, "epoch.clone_age_ms", (uint64_t)clock_boot_age_ms(event.boottime_ns));
}

static void put_epoch(struct text *text, const struct server *server)
{
	const struct epoch *epoch = server->reseed->epoch;
	const struct epoch_page *page = epoch->file->page;

	text_flag(text, "epoch.published", server->shared.page_fd >= 0);
	text_number(text, "epoch.word", epoch_page_epoch(page));
	text_number(text, "epoch.look_again", epoch_page_look_again(page));
	text_string(text, "epoch.mover", epoch->mover);
	text_number(text, "epoch.bumps", epoch->bumps);
	text_flag(text, "epoch.kernel_reseeded", !epoch_follows(epoch));
	put_last_clone(text, page);
}

static void put_detectors(struct text *text, const struct epoch *epoch)
{
	for (size_t i = 0; i < EPOCH_ROWS; i++) {
		const struct epoch_detector *detector = &epoch->detectors[i];
		const char *name = detector->ops->name;

		text_put(text, "detector.%s.state=\"%s\"\n", name,
			 epoch_state_name(detector->state));
		if (detector->state != EPOCH_ACTIVE)
			text_put(text, "detector.%s.why=\"%s\"\n", name, detector->why);
		text_put(text, "detector.%s.says=\"%s\"\n", name,
			 detector->ops->says_cloned ? "cloned" : "reseed");
		if (detector->ops->says_cloned)
			text_put(text, "detector.%s.cloned=%llu\n", name,
				 (unsigned long long)detector->cloned);
		text_put(text, "detector.%s.aged=%llu\n", name, (unsigned long long)detector->aged);
	}
}

static void put_protection(struct text *text, const struct server *server)
{
	const struct secmem *mem = &server->reseed->mem;
	const struct server_facts *facts = &server->facts;

	text_flag(text, "memory.secret", mem->secret);
	text_flag(text, "memory.locked", mem->locked);
	text_flag(text, "memory.no_dump", mem->dontdump);
	text_flag(text, "memory.no_fork", mem->dontfork);
	text_flag(text, "memory.core_limit_zero", facts->core_limit_zero);
	text_flag(text, "memory.undumpable", facts->undumpable);
	text_flag(text, "sandbox.seccomp", facts->seccomp);
	text_number(text, "sandbox.landlock", (uint64_t)facts->landlock);
	text_flag(text, "sandbox.exec_refused", facts->exec_refused);
	text_flag(text, "sandbox.no_new_privs", facts->no_new_privs);
	text_flag(text, "sandbox.refuses_fds", server->fds_refused);
	text_number(text, "sandbox.uid", facts->uid);
}

static void put_limits(struct text *text, const struct peers *peers)
{
	const struct quota *quota = &peers->quota;
	const struct deadlines *deadlines = &peers->deadlines;

	text_number(text, "limit.connections", quota->limits.connections);
	text_number(text, "limit.connections_per_uid", quota->limits.connections_per_uid);
	text_number(text, "limit.rate", quota->limits.rate_bytes);
	text_number(text, "limit.request_ms", (uint64_t)deadlines->after_ms[DEADLINE_REQUEST]);
	text_number(text, "limit.reply_ms", (uint64_t)deadlines->after_ms[DEADLINE_REPLY]);
	text_number(text, "limit.idle_ms", (uint64_t)deadlines->after_ms[DEADLINE_IDLE]);
}

static void put_caller(struct text *text, const struct conn *conn)
{
	const struct quota_user *user = conn->user;

	text_number(text, "caller.uid", user->uid);
	text_number(text, "caller.connections", user->connections);
	text_number(text, "caller.requests", user->requests);
	text_number(text, "caller.bytes", user->bytes);
	text_number(text, "caller.turns_put_off", user->waits);
	text_flag(text, "caller.sees_all", conn->privileged);
}

/* What moves with what anybody asks for. */
static void put_totals(struct text *text, const struct server *server)
{
	const struct quota *quota = &server->peers.quota;
	const struct deadlines *deadlines = &server->peers.deadlines;

	text_number(text, "reseed.output_bytes", server->reseed->bytes_since_seed);
	text_number(text, "reseed.restarts", server->reseed->restarts);
	text_number(text, "server.connections", server->conn_count);
	text_number(text, "server.lingering", server->peers.unread.lingering);
	text_number(text, "server.accepted", server->accepted);
	text_number(text, "server.accept_pauses", server->accept_pauses);
	text_number(text, "served.requests", server->shared.requests);
	text_number(text, "served.bytes", server->shared.bytes_served);
	text_number(text, "reseed.contributed", server->reseed->contributed);
	text_number(text, "events.subscribers", server->events.count);
	text_number(text, "events.owing",
		    events_owing(&server->events, server->reseed->epoch->generation));
	text_number(text, "peers.uids", quota->users);
	text_number(text, "peers.refused", quota->refused_all);
	text_number(text, "peers.refused_uid", quota->refused_uid);
	text_number(text, "peers.turns_put_off", quota->waits);
	text_number(text, "peers.request_timeouts", deadlines->expired[DEADLINE_REQUEST]);
	text_number(text, "peers.reply_timeouts", deadlines->expired[DEADLINE_REPLY]);
	text_number(text, "peers.idle_timeouts", deadlines->expired[DEADLINE_IDLE]);
}

static void put_users(struct text *text, const struct quota *quota)
{
	const struct quota_user *users[STATUS_USERS];
	size_t count = quota_busiest(quota, users, STATUS_USERS);

	for (size_t i = 0; i < count; i++) {
		char name[32];

		snprintf(name, sizeof(name), "user.uid%u", users[i]->uid);
		text_put(text, "%s.connections=%u\n", name, users[i]->connections);
		text_put(text, "%s.requests=%llu\n", name, (unsigned long long)users[i]->requests);
		text_put(text, "%s.bytes=%llu\n", name, (unsigned long long)users[i]->bytes);
		text_put(text, "%s.turns_put_off=%llu\n", name,
			 (unsigned long long)users[i]->waits);
	}
}

size_t status_text(void *owner, const struct conn *conn, char *data, size_t size)
{
	const struct server *server = owner;
	struct text out = {.data = data, .size = size};
	struct text *text = &out;

	text_string(text, "version", RNGD_VERSION);
	text_string(text, "state", reseed_refuses(server->reseed) ? "refusing" : "serving");
	text_number(text, "generation", server->reseed->epoch->generation);
	text_number(text, "uptime_ms", (uint64_t)(clock_now_ms() - server->started_at_ms));
	text_string(text, "keystream", server->facts.keystream);
	put_reseed(text, server->reseed);
	put_sources(text, &server->reseed->entropy);
	put_epoch(text, server);
	put_detectors(text, server->reseed->epoch);
	put_protection(text, server);
	put_limits(text, &server->peers);
	put_caller(text, conn);
	if (conn->privileged) {
		put_totals(text, server);
		put_users(text, &server->peers.quota);
	}
	return out.len;
}

/* In MiB, so that little traffic does not make a new line each time. */
#define STATUS_MIB_SHIFT 20

void status_line(const struct server *server, char *text, size_t size)
{
	snprintf(text, size,
		 "%s; %zu connections, %llu MiB served, %llu reseeds, clone generation %llu",
		 server->reseed->error ? "Refusing, as the last reseed failed" : "Serving",
		 server->conn_count,
		 (unsigned long long)(server->shared.bytes_served >> STATUS_MIB_SHIFT),
		 (unsigned long long)server->reseed->count,
		 (unsigned long long)server->reseed->epoch->generation);
}
