/*
 * Owns: nothing. May touch: counters and facts of the server, read only.
 * Never does: show a byte of the generator, or to one user what another asks for.
 */
#include "daemon/status.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "daemon/clock.h"
#include "daemon/epoch_file.h"
#include "daemon/server.h"

struct status {
	char *text;
	size_t size;
	size_t len;
};

static void put(struct status *status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void put(struct status *status, const char *format, ...)
{
	char line[256];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	if (n < 0 || (size_t)n >= sizeof(line) || (size_t)n > status->size - status->len)
		return;
	memcpy(status->text + status->len, line, (size_t)n);
	status->len += (size_t)n;
}

static void put_number(struct status *status, const char *name, uint64_t value)
{
	put(status, "%s=%llu\n", name, (unsigned long long)value);
}

static void put_flag(struct status *status, const char *name, bool value)
{
	put(status, "%s=%s\n", name, value ? "true" : "false");
}

static void put_string(struct status *status, const char *name, const char *value)
{
	put(status, "%s=\"%s\"\n", name, value);
}

/*
 * The user who started the daemon, and not the one it runs as: that may be "nobody", whom it shares
 * with others.
 */
static bool sees_all(const struct server *server, const struct conn *conn)
{
	return conn->control || conn->user->uid == 0 || conn->user->uid == server->facts.started_by;
}

static void put_reseed(struct status *status, const struct reseed *reseed)
{
	const char *refusal = reseed_refuses(reseed);

	put_number(status, "reseed.count", reseed->count);
	put_string(status, "reseed.last_reason", reseed->last_reason);
	put_number(status, "reseed.age_ms", (uint64_t)reseed_age_ms(reseed));
	put_number(status, "reseed.interval_ms", (uint64_t)reseed->interval_ms);
	put_number(status, "reseed.failures", reseed->failures);
	put_string(status, "reseed.error", refusal ? refusal : "none");
}

static void put_sources(struct status *status, const struct entropy *entropy)
{
	static const char *const states[] = {
	    [ENTROPY_ABSENT] = "absent",
	    [ENTROPY_ACTIVE] = "active",
	    [ENTROPY_FAILED] = "failed",
	};

	for (size_t i = 0; i < ENTROPY_SOURCES; i++) {
		char name[32];

		snprintf(name, sizeof(name), "source.%s", entropy_name(i));
		put_string(status, name, states[entropy->states[i]]);
		if (entropy_why(entropy, i))
			put(status, "%s.why=\"%s\"\n", name, entropy_why(entropy, i));
	}
}

/* The clone that began the present generation; it may be from before the daemon's start. */
static void put_last_clone(struct status *status, const struct epoch_page *page)
{
	struct epoch_page_event event;

	if (!epoch_page_last_event(page, &event))
		return;
	put_string(status, "epoch.clone_by", epoch_page_notifier_name(event.notifier));
	put_number(status, "epoch.clone_age_ms", (uint64_t)clock_boot_age_ms(event.boottime_ns));
}

static void put_epoch(struct status *status, const struct server *server)
{
	const struct epoch *epoch = server->reseed->epoch;
	const struct epoch_page *page = epoch->file->page;

	put_flag(status, "epoch.published", server->shared.page_fd >= 0);
	put_number(status, "epoch.word", epoch_page_epoch(page));
	put_number(status, "epoch.look_again", epoch_page_look_again(page));
	put_string(status, "epoch.mover", epoch->mover);
	put_number(status, "epoch.bumps", epoch->bumps);
	put_flag(status, "epoch.kernel_reseeded", !epoch_follows(epoch));
	put_last_clone(status, page);
}

static void put_detectors(struct status *status, const struct epoch *epoch)
{
	for (size_t i = 0; i < EPOCH_ROWS; i++) {
		const struct epoch_detector *detector = &epoch->detectors[i];
		const char *name = detector->ops->name;

		put(status, "detector.%s.state=\"%s\"\n", name, epoch_state_name(detector->state));
		if (detector->state != EPOCH_ACTIVE)
			put(status, "detector.%s.why=\"%s\"\n", name, detector->why);
		put(status, "detector.%s.says=\"%s\"\n", name,
		    detector->ops->says_cloned ? "cloned" : "reseed");
		if (detector->ops->says_cloned)
			put(status, "detector.%s.cloned=%llu\n", name,
			    (unsigned long long)detector->cloned);
		put(status, "detector.%s.aged=%llu\n", name, (unsigned long long)detector->aged);
	}
}

static void put_protection(struct status *status, const struct server *server)
{
	const struct secmem *mem = &server->reseed->mem;
	const struct server_facts *facts = &server->facts;

	put_flag(status, "memory.secret", mem->secret);
	put_flag(status, "memory.locked", mem->locked);
	put_flag(status, "memory.no_dump", mem->dontdump);
	put_flag(status, "memory.no_fork", mem->dontfork);
	put_flag(status, "memory.core_limit_zero", facts->core_limit_zero);
	put_flag(status, "memory.undumpable", facts->undumpable);
	put_flag(status, "sandbox.seccomp", facts->seccomp);
	put_number(status, "sandbox.landlock", (uint64_t)facts->landlock);
	put_flag(status, "sandbox.exec_refused", facts->exec_refused);
	put_flag(status, "sandbox.no_new_privs", facts->no_new_privs);
	put_flag(status, "sandbox.refuses_fds", server->fds_refused);
	put_number(status, "sandbox.uid", facts->uid);
}

static void put_limits(struct status *status, const struct peers *peers)
{
	const struct quota *quota = &peers->quota;
	const struct deadlines *deadlines = &peers->deadlines;

	put_number(status, "limit.connections", quota->limits.connections);
	put_number(status, "limit.connections_per_uid", quota->limits.connections_per_uid);
	put_number(status, "limit.rate", quota->limits.rate_bytes);
	put_number(status, "limit.request_ms", (uint64_t)deadlines->after_ms[DEADLINE_REQUEST]);
	put_number(status, "limit.reply_ms", (uint64_t)deadlines->after_ms[DEADLINE_REPLY]);
	put_number(status, "limit.idle_ms", (uint64_t)deadlines->after_ms[DEADLINE_IDLE]);
}

static void put_caller(struct status *status, const struct conn *conn, bool all)
{
	const struct quota_user *user = conn->user;

	put_number(status, "caller.uid", user->uid);
	put_number(status, "caller.connections", user->connections);
	put_number(status, "caller.requests", user->requests);
	put_number(status, "caller.bytes", user->bytes);
	put_number(status, "caller.turns_put_off", user->waits);
	put_flag(status, "caller.sees_all", all);
}

/* What moves with what anybody asks for. */
static void put_totals(struct status *status, const struct server *server)
{
	const struct quota *quota = &server->peers.quota;
	const struct deadlines *deadlines = &server->peers.deadlines;

	put_number(status, "reseed.output_bytes", server->reseed->bytes_since_seed);
	put_number(status, "reseed.restarts", server->reseed->restarts);
	put_number(status, "server.connections", server->conn_count);
	put_number(status, "server.accepted", server->accepted);
	put_number(status, "server.accept_pauses", server->accept_pauses);
	put_number(status, "served.requests", server->shared.requests);
	put_number(status, "served.bytes", server->shared.bytes_served);
	put_number(status, "peers.uids", quota->users);
	put_number(status, "peers.refused", quota->refused_all);
	put_number(status, "peers.refused_uid", quota->refused_uid);
	put_number(status, "peers.turns_put_off", quota->waits);
	put_number(status, "peers.request_timeouts", deadlines->expired[DEADLINE_REQUEST]);
	put_number(status, "peers.reply_timeouts", deadlines->expired[DEADLINE_REPLY]);
	put_number(status, "peers.idle_timeouts", deadlines->expired[DEADLINE_IDLE]);
}

static void put_users(struct status *status, const struct quota *quota)
{
	const struct quota_user *users[STATUS_USERS];
	size_t count = quota_busiest(quota, users, STATUS_USERS);

	for (size_t i = 0; i < count; i++) {
		char name[32];

		snprintf(name, sizeof(name), "user.uid%u", users[i]->uid);
		put(status, "%s.connections=%u\n", name, users[i]->connections);
		put(status, "%s.requests=%llu\n", name, (unsigned long long)users[i]->requests);
		put(status, "%s.bytes=%llu\n", name, (unsigned long long)users[i]->bytes);
		put(status, "%s.turns_put_off=%llu\n", name, (unsigned long long)users[i]->waits);
	}
}

size_t status_text(void *owner, const struct conn *conn, char *text, size_t size)
{
	const struct server *server = owner;
	const bool all = sees_all(server, conn);
	struct status status = {.text = text, .size = size};

	put_string(&status, "version", RNGD_VERSION);
	put_string(&status, "state", reseed_refuses(server->reseed) ? "refusing" : "serving");
	put_number(&status, "generation", server->reseed->epoch->generation);
	put_number(&status, "uptime_ms", (uint64_t)(clock_now_ms() - server->started_at_ms));
	put_string(&status, "keystream", server->facts.keystream);
	put_reseed(&status, server->reseed);
	put_sources(&status, &server->reseed->entropy);
	put_epoch(&status, server);
	put_detectors(&status, server->reseed->epoch);
	put_protection(&status, server);
	put_limits(&status, &server->peers);
	put_caller(&status, conn, all);
	if (all) {
		put_totals(&status, server);
		put_users(&status, &server->peers.quota);
	}
	return status.len;
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
