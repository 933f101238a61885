/*
 * Owns: the quotas, the deadlines, and when they are looked at. May touch: the loop, and through
 * conn_resume() and conn_expire() the connections. Never does: close more of them in one pass of
 * the loop than PEERS_EXPIRE_BURST, so that a crowd that leaves does not hold up the others.
 */
#include "daemon/peers.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>

#include "daemon/clock.h"
#include "daemon/conn.h"
#include "daemon/log.h"

#define PEERS_EXPIRE_BURST   16
#define PEERS_REFUSAL_LOG_MS 10000

static uint64_t pass_of(const struct peers *peers)
{
	return ev_iteration(peers->loop);
}

static void timer_in(struct peers *peers, ev_timer *timer, int64_t ms)
{
	ev_timer_stop(peers->loop, timer);
	ev_timer_set(timer, (double)ms / 1000., 0.);
	ev_timer_start(peers->loop, timer);
}

/* A timer of 0 s would do, but epoll sleeps a millisecond for it. */
static void resume_in_next_pass(struct peers *peers, bool yes)
{
	if (yes) {
		ev_check_start(peers->loop, &peers->resume_check);
		ev_idle_start(peers->loop, &peers->resume_idle);
	} else {
		ev_check_stop(peers->loop, &peers->resume_check);
		ev_idle_stop(peers->loop, &peers->resume_idle);
	}
}

static void resume(struct peers *peers)
{
	int64_t now_ms = clock_now_ms(), next_ms;
	struct list_link *waiter;

	while ((waiter = quota_next(&peers->quota, now_ms, pass_of(peers), peers->stopping)))
		conn_resume(LIST_OF(waiter, struct conn, waiter));
	next_ms = quota_next_in_ms(&peers->quota, clock_now_ms());
	resume_in_next_pass(peers, next_ms == 0);
	ev_timer_stop(peers->loop, &peers->resume_timer);
	if (next_ms > 0)
		timer_in(peers, &peers->resume_timer, next_ms);
}

static void resume_timed(struct ev_loop *loop, ev_timer *timer, int events)
{
	(void)loop;
	(void)events;
	resume(timer->data);
}

static void resume_checked(struct ev_loop *loop, ev_check *check, int events)
{
	(void)loop;
	(void)events;
	resume(check->data);
}

static void resume_nothing(struct ev_loop *loop, ev_idle *idle, int events)
{
	(void)loop;
	(void)idle;
	(void)events;
}

static void expire(struct peers *peers)
{
	int64_t now_ms = clock_now_ms();
	struct deadline *deadline;

	for (int i = 0; i < PEERS_EXPIRE_BURST; i++) {
		deadline = deadlines_next(&peers->deadlines, now_ms);
		if (!deadline)
			return;
		conn_expire(LIST_OF(deadline, struct conn, deadline));
	}
	timer_in(peers, &peers->expire_timer, 0);
}

static void expire_more(struct ev_loop *loop, ev_timer *timer, int events)
{
	(void)loop;
	(void)events;
	expire(timer->data);
}

/* What was asked for, within what the descriptors allow; what was not, by the share. */
static int fit(const struct limits *limits, struct quota_limits *fitted)
{
	const uint32_t own = PEERS_OWN_FILES + QUOTA_RESERVE;
	struct rlimit files;
	uint32_t room;

	if (getrlimit(RLIMIT_NOFILE, &files) < 0)
		return -errno;
	if (files.rlim_cur < own + PEERS_MIN_CONNECTIONS)
		return -EMFILE;
	room = files.rlim_cur < QUOTA_CONNECTIONS_MAX ? (uint32_t)files.rlim_cur - own
						      : QUOTA_CONNECTIONS_MAX - own;
	fitted->connections = limits->connections ? limits->connections : LIMITS_CONNECTIONS;
	if (fitted->connections > room) {
		if (limits->connections)
			log_warning("--max-connections %u: there are descriptors for %u; raise the "
				    "limit on open files (ulimit -n, LimitNOFILE=)",
				    limits->connections, room);
		fitted->connections = room;
	}
	fitted->connections_per_uid = limits->connections_per_uid;
	if (limits->connections_per_uid == 0) {
		fitted->connections_per_uid = fitted->connections / LIMITS_UID_SHARE;
		if (fitted->connections_per_uid < LIMITS_UID_MIN)
			fitted->connections_per_uid = LIMITS_UID_MIN;
	}
	fitted->rate_bytes = limits->rate_bytes;
	return 0;
}

int peers_init(struct peers *peers, struct ev_loop *loop, const struct limits *limits)
{
	const int64_t after_ms[DEADLINE_STATES] = {
	    [DEADLINE_IDLE] = (int64_t)limits->idle_s * 1000,
	    [DEADLINE_REQUEST] = (int64_t)limits->request_s * 1000,
	    [DEADLINE_REPLY] = (int64_t)limits->reply_s * 1000,
	};
	struct quota_limits fitted;
	int err;

	memset(peers, 0, sizeof(*peers));
	peers->loop = loop;
	peers->refusal_logged_ms = -PEERS_REFUSAL_LOG_MS;
	peers->told_since_ms = clock_now_ms();
	deadlines_init(&peers->deadlines, after_ms, clock_now_ms());
	ev_init(&peers->resume_timer, resume_timed);
	peers->resume_timer.data = peers;
	ev_init(&peers->resume_check, resume_checked);
	peers->resume_check.data = peers;
	ev_init(&peers->resume_idle, resume_nothing);
	/* Who has waited goes before who has just come. */
	ev_set_priority(&peers->resume_timer, EV_MAXPRI);
	ev_set_priority(&peers->resume_check, EV_MAXPRI);
	ev_init(&peers->expire_timer, expire_more);
	peers->expire_timer.data = peers;
	err = fit(limits, &fitted);
	if (!err)
		err = unread_init(&peers->unread, loop);
	return err ? err : quota_init(&peers->quota, &fitted);
}

void peers_deinit(struct peers *peers)
{
	if (peers->loop) {
		resume_in_next_pass(peers, false);
		ev_timer_stop(peers->loop, &peers->resume_timer);
		ev_timer_stop(peers->loop, &peers->expire_timer);
	}
	unread_deinit(&peers->unread);
	quota_deinit(&peers->quota);
	memset(peers, 0, sizeof(*peers));
}

static void log_refusal(struct peers *peers, int err, uid_t uid)
{
	const struct quota *quota = &peers->quota;
	uint64_t refused = quota->refused_all + quota->refused_uid;
	int64_t now_ms = clock_now_ms();

	if (now_ms - peers->refusal_logged_ms < PEERS_REFUSAL_LOG_MS)
		return;
	peers->refusal_logged_ms = now_ms;
	log_warning("refused %llu connections, the last of uid %u: %s (%u open)",
		    (unsigned long long)(refused - peers->refused_logged), uid,
		    err == QUOTA_E_ALL ? "the limit on all connections"
				       : "the limit on one user's connections",
		    quota->connections);
	peers->refused_logged = refused;
}

int peers_enter(struct peers *peers, uid_t uid, bool control, struct quota_user **user)
{
	enum quota_rank rank = control ? QUOTA_CONTROL : uid == 0 ? QUOTA_ROOT : QUOTA_ANYBODY;
	int err = quota_enter(&peers->quota, uid, rank, clock_now_ms(), user);

	if (err > 0)
		log_refusal(peers, err, uid);
	return err;
}

bool peers_may_tell(struct peers *peers)
{
	int64_t now_ms = clock_now_ms();

	if (now_ms - peers->told_since_ms >= PEERS_TOLD_MS) {
		peers->told_since_ms = now_ms;
		peers->told = 0;
	}
	if (peers->told >= PEERS_TOLD_MAX)
		return false;
	peers->told++;
	return true;
}

/* When exactly, is worked out once for all that wait. */
void peers_waits(struct peers *peers)
{
	resume_in_next_pass(peers, true);
}

void peers_tick(struct peers *peers)
{
	int64_t now_ms = clock_now_ms();

	deadlines_tick(&peers->deadlines, now_ms);
	quota_sweep(&peers->quota, now_ms);
	unread_tick(&peers->unread);
	expire(peers);
}

void peers_stop(struct peers *peers)
{
	peers->stopping = true;
	resume_in_next_pass(peers, true);
}
