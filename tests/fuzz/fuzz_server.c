/*
 * fuzz_server - one connection of the daemon's, from its first byte to its end: daemon/conn.c and
 * all it plans with, over a socket that splits, fails and stalls as the input says. What it answers
 * is read back and held against a second reading of the requests: in order, one answer each, of the
 * right size; and of events at most one that was not taken, each newer than the one before.
 *
 * Input: one byte (what connection), one byte n, n bytes that decide about each call of the kernel,
 * then what the peer writes. Random bytes are all FILL here: the generator is replaced, and fails
 * when told to. So are the clock and the loop: a turn that is put off must come, and once it may.
 */
#include <errno.h>
#include <ev.h>
#include <linux/sock_diag.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "daemon/conn.h"
#include "daemon/epoch_file.h"
#include "daemon/events.h"
#include "daemon/peers.h"
#include "daemon/reseed.h"
#include "tests/fuzz/fuzz.h"

#define PAGE_FD           (FUZZ_FD + 1)
#define FILL              0xa5
#define TURNS_MAX         400
#define SENT_MAX          500000u /* several turns: all bytes are made, read and wiped */
#define SECOND_MS         1000
#define STATUS_SHORT      11u
#define REPLY_HEAD        20u
#define FRAME_BYTES       131072u
#define EVENT_BYTES       36u
#define SEND_BUFFER_BYTES 212992u /* net.core.wmem_default */

/* What a small turn may bring: so many bytes, in frames of one at least. */
#define SMALL_TURN_BYTES (QUOTA_SMALL_BYTES + CONN_BATCH_FRAMES * REPLY_HEAD)

enum { /* of the script; what is below goes by its value */
       SCRIPT_AGAIN = 0xff,
       SCRIPT_EINTR = 0xfe,
       SCRIPT_ERROR = 0xfd,
       SCRIPT_OTHER = 0xfc,
       SCRIPT_TOO_MANY = 0xfb,
       SCRIPT_CLONE = 0xfa,      /* and everybody is told */
       SCRIPT_CLONE_LATE = 0xf9, /* and nobody has been told yet */
       SCRIPT_LATE = 0xf8,       /* a deadline has passed */
};

/* The peer's view of the answers. */
struct answers {
	size_t asked_at; /* in the requests: the next to be answered */
	uint8_t head[REPLY_HEAD];
	size_t head_have;
	uint64_t body_left; /* of the frame that is being read */
	uint8_t body_byte;  /* what every byte of it must be; 0: anything */
	uint64_t get_left;  /* of the GET that is being answered */
	uint64_t generation;
	uint64_t whole; /* requests answered */
	uint64_t random_bytes;
	bool page_had;
	bool closed_by_length;
	bool subscribed, untaken, left;
	uint8_t tag[4];               /* of the subscription */
	uint64_t acknowledged;        /* by DONE, or from the beginning */
	uint64_t event, event_before; /* generations of the last two events seen */
};

static struct {
	struct fuzz_input script;
	const uint8_t *requests;
	size_t requests_bytes, given;
	struct reseed reseed;
	struct epoch epoch;
	struct epoch_file file;
	struct epoch_page page;
	struct events events;
	struct conn *conn;
	struct answers answers;
	uint64_t sent_bytes;
	size_t made_start, made_bytes; /* what the last fill wrote */
	uint8_t choice;
	int closes;
	bool ended, excused; /* the connection ended; and something happened for which it may */
	bool refused;        /* the generator has failed at least once */
	bool with_fd;        /* this send carries the page's descriptor */
	bool too_many;       /* the kernel has refused to pass it */
	bool waits;          /* the crowd was told that somebody does */
	int64_t now_ms;
	unsigned int pass;
} run;

enum {
	CHOICE_CONTROL = 1,
	CHOICE_PAGE = 2,
	CHOICE_RDRAND = 4,
	CHOICE_LONG_STATUS = 8,
	CHOICE_RATE = 16,        /* the least there is */
	CHOICE_DEADLINES = 32,   /* of a second, for a request and for a reply */
	CHOICE_ONE_PASS = 64,    /* all turns in one pass of the loop, until one must wait */
	CHOICE_PRIVILEGED = 128, /* and narrow, see daemon/unread.h */
};

/* Not in run: its table of frames is long, and needs no zeroes. */
static struct conn_shared shared;

static uint64_t big(const uint8_t *at, size_t bytes)
{
	uint64_t sum = 0;

	while (bytes-- > 0)
		sum = sum << 8 | *at++;
	return sum;
}

/* ---------------------------------------------------------------- what the peer must be told */

/* The length of the whole request there; 0: not all given yet; SIZE_MAX: its length word is bad. */
static size_t request_bytes(size_t at)
{
	size_t have = run.given - at, length;

	if (have < 4)
		return 0;
	length = big(run.requests + at, 4);
	if (length < 8 || length > 4092)
		return SIZE_MAX;
	return have < 4 + length ? 0 : 4 + length;
}

static bool body_is_good(const uint8_t *request, size_t body)
{
	switch (request[4]) {
	case 1:
		return body == 4 && big(request + 12, 4) > 0;
	case 5:
		return body == 0 || (body >= 32 && body <= 1024);
	case 7:
		return body == 24;
	case 8:
		return body == 9;
	case 10:
		return body >= 1 && body <= 1024;
	default:
		return body == 0;
	}
}

static uint8_t expected_status(const uint8_t *request, size_t len)
{
	uint8_t op = request[4];
	size_t body = len - 12;

	if (request[5] != 1)
		return 3;
	if (op < 1 || op > 10)
		return 2;
	if (request[6] || request[7])
		return 5;
	if (!body_is_good(request, body))
		return 4;
	if (run.answers.subscribed != (op == 8))
		return 8;
	if (op == 4 && run.answers.page_had)
		return 8;
	if (op == 4 && !(run.choice & CHOICE_PAGE))
		return 9;
	if ((op == 5 || op == 6 || op == 9) && !(run.choice & CHOICE_CONTROL))
		return 8;
	if (op == 5 && body == 0 && !(run.choice & CHOICE_RDRAND))
		return 10;
	return 0;
}

static void one_answered(size_t len)
{
	run.answers.asked_at += len;
	run.answers.whole++;
}

static void check_get(const uint8_t *head, const uint8_t *request, uint32_t body)
{
	struct answers *answers = &run.answers;
	bool more = head[7] == 1;

	if (answers->get_left == 0)
		answers->get_left = big(request + 12, 4);
	FUZZ_CHECK(body <= FRAME_BYTES && body <= answers->get_left);
	FUZZ_CHECK(more == (body < answers->get_left));
	FUZZ_CHECK(!more || body >= RNGD_PROTO_ONE_FRAME_BYTES);
	answers->get_left -= body;
	answers->random_bytes += body;
	answers->body_byte = FILL;
}

/* The first frame of a subscription. */
static void check_subscribed(const uint8_t *request, uint32_t body)
{
	struct answers *answers = &run.answers;
	uint64_t acknowledged = big(request + 12, 8);

	FUZZ_CHECK(body == 0);
	answers->subscribed = true;
	memcpy(answers->tag, request + 8, 4);
	if (acknowledged == 0)
		acknowledged = answers->generation;
	answers->acknowledged = acknowledged <= answers->generation ? acknowledged : 0;
}

/* A frame that nothing was asked for. */
static void check_event(const uint8_t *head, uint32_t body)
{
	struct answers *answers = &run.answers;

	FUZZ_CHECK(body == EVENT_BYTES && head[7] == 1);
	FUZZ_CHECK(memcmp(head + 8, answers->tag, 4) == 0);
	FUZZ_CHECK(!answers->untaken && !answers->left);
	FUZZ_CHECK(answers->generation > answers->event);
	FUZZ_CHECK(answers->generation != answers->acknowledged);
	answers->event_before = answers->event;
	answers->event = answers->generation;
	answers->untaken = true;
}

/*
 * An ACK on a subscription, which is good but for what it says. One that is read in the turn that
 * sends an event is judged without that one.
 */
static void check_ack(const uint8_t *request, uint8_t status)
{
	struct answers *answers = &run.answers;
	uint64_t of = big(request + 12, 8);

	FUZZ_CHECK(status == 0 || status == 4);
	switch (request[20]) {
	case 1:
		FUZZ_CHECK(status == (of == 0 || of > answers->event ? 4 : 0) ||
			   of > answers->event_before);
		break;
	case 2:
		FUZZ_CHECK(status == (of == 0 || of > answers->generation ? 4 : 0));
		if (status == 0 && of > answers->acknowledged)
			answers->acknowledged = of;
		break;
	case 3:
		FUZZ_CHECK(status == 0);
		answers->left = true;
		return;
	default:
		FUZZ_CHECK(status == 4);
	}
	if (status == 0 && of >= answers->event)
		answers->untaken = false;
}

static void check_ok(const uint8_t *head, const uint8_t *request, uint32_t body)
{
	switch (head[4]) {
	case 1:
		check_get(head, request, body);
		break;
	case 2:
		FUZZ_CHECK(body == (run.choice & CHOICE_LONG_STATUS ? 16384 : STATUS_SHORT));
		run.answers.body_byte = 's';
		break;
	case 4:
		FUZZ_CHECK(run.with_fd);
		run.with_fd = false;
		run.answers.page_had = true;
		FUZZ_CHECK(body == 0);
		break;
	case 7:
		check_subscribed(request, body);
		break;
	case 9:
		FUZZ_CHECK(body > 0 && body <= RNGD_PROTO_STATUS_MAX_BYTES);
		break;
	default:
		FUZZ_CHECK(body == 0);
	}
}

static void check_error(const uint8_t *head, uint8_t want, uint32_t body)
{
	bool unavailable = head[6] == 6 && head[4] != 3 && run.refused;
	bool again = head[6] == 7 && ((head[4] == 1 && run.refused) || head[4] == 10);
	/* Not to be had now; and one that was asked for along with it is the second. */
	bool no_fd = (head[6] == 7 || head[6] == 8) && head[4] == 4 && run.too_many;

	FUZZ_CHECK(head[6] == want || (want == 0 && (unavailable || again || no_fd)));
	FUZZ_CHECK(head[7] == 0 && body == (head[6] == 3 ? 2 : 0));
	run.answers.get_left = 0;
}

static void check_head(const uint8_t *head)
{
	struct answers *answers = &run.answers;
	const uint8_t *request = run.requests + answers->asked_at;
	size_t len = request_bytes(answers->asked_at);
	uint32_t length = (uint32_t)big(head, 4);
	uint64_t generation = big(head + 12, 8);

	FUZZ_CHECK(length >= 16 && length <= 16 + FRAME_BYTES);
	FUZZ_CHECK(head[5] == 1);
	FUZZ_CHECK(generation >= 1 && generation >= answers->generation);
	answers->generation = generation;
	answers->body_left = length - 16;
	answers->body_byte = 0;
	if (answers->subscribed && head[4] == 7 && head[6] == 0) {
		check_event(head, length - 16);
		return;
	}
	FUZZ_CHECK(len > 0 && !answers->closed_by_length);
	if (len == SIZE_MAX) {
		FUZZ_CHECK(head[4] == 0 && head[6] == 1 && head[7] == 0 && length == 16);
		FUZZ_CHECK(big(head + 8, 4) == 0);
		answers->closed_by_length = true;
		return;
	}
	FUZZ_CHECK(head[4] == request[4] && memcmp(head + 8, request + 8, 4) == 0);
	FUZZ_CHECK(head[4] == 1 || head[7] == (head[4] == 7 && head[6] == 0));
	if (answers->subscribed && expected_status(request, len) == 0) {
		FUZZ_CHECK(length == 16);
		check_ack(request, head[6]);
	} else if (head[6] == 0) {
		FUZZ_CHECK(expected_status(request, len) == 0);
		check_ok(head, request, length - 16);
	} else {
		check_error(head, expected_status(request, len), length - 16);
	}
	if (answers->get_left == 0)
		one_answered(len);
}

static void check_sent(const uint8_t *bytes, size_t len)
{
	struct answers *answers = &run.answers;

	while (len > 0) {
		size_t n;

		if (answers->body_left > 0) {
			n = len < answers->body_left ? len : (size_t)answers->body_left;
			if (answers->body_byte)
				FUZZ_CHECK(bytes[0] == answers->body_byte &&
					   memcmp(bytes, bytes + 1, n - 1) == 0);
			answers->body_left -= n;
		} else {
			n = REPLY_HEAD - answers->head_have;
			n = n < len ? n : len;
			memcpy(answers->head + answers->head_have, bytes, n);
			answers->head_have += n;
			if (answers->head_have == 4) /* a head that is all length is judged later */
				FUZZ_CHECK(big(answers->head, 4) >= 16);
			if (answers->head_have == REPLY_HEAD) {
				answers->head_have = 0;
				check_head(answers->head);
			}
		}
		bytes += n;
		len -= n;
	}
}

/* All was given, and the daemon asks for more: then nothing may be owed. */
static void check_idle(void)
{
	const struct answers *answers = &run.answers;

	FUZZ_CHECK(answers->head_have == 0 && answers->body_left == 0 && answers->get_left == 0);
	FUZZ_CHECK(request_bytes(answers->asked_at) == 0);
	FUZZ_CHECK(shared.requests == answers->whole);
	FUZZ_CHECK(shared.bytes_served == answers->random_bytes);
	FUZZ_CHECK(!run.conn->subscriber == !answers->subscribed);
	FUZZ_CHECK(!run.conn->subscriber ||
		   !events_is_due(run.conn->subscriber, run.epoch.generation));
}

/* ---------------------------------------------------------------- in place of the kernel */

ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags);
ssize_t __wrap_send(int fd, const void *bytes, size_t len, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags);
int __wrap_getsockopt(int fd, int level, int option, void *value, socklen_t *value_bytes);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
int __real_close(int fd);
int __wrap_close(int fd);

int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
	FUZZ_CHECK(clock == CLOCK_MONOTONIC);
	now->tv_sec = run.now_ms / SECOND_MS;
	now->tv_nsec = run.now_ms % SECOND_MS * 1000000;
	return 0;
}

static ssize_t fail(int error)
{
	run.excused |= error != EAGAIN && error != EINTR && error != ETOOMANYREFS;
	errno = error;
	return -1;
}

ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags)
{
	size_t room = msg->msg_iov->iov_len, n = run.requests_bytes - run.given;
	uint8_t script = run.script.left > 0 ? fuzz_u8(&run.script) : 0x80;

	FUZZ_CHECK(fd == FUZZ_FD && (flags & MSG_DONTWAIT) && room > 0 && room <= CONN_IN_BYTES);
	FUZZ_CHECK(msg->msg_controllen == 0);
	if (script == SCRIPT_AGAIN)
		return fail(EAGAIN);
	if (script == SCRIPT_EINTR)
		return fail(EINTR);
	if (script == SCRIPT_ERROR)
		return fail(ECONNRESET);
	if (!run.ended) /* else what is left is read, and not answered */
		check_idle();
	n = n < room ? n : room;
	if (script < 0x80 && n > script + 1u)
		n = script + 1u;
	run.excused |= n == 0 || script == SCRIPT_OTHER;
	msg->msg_flags = script == SCRIPT_OTHER ? MSG_CTRUNC : 0;
	memcpy(msg->msg_iov->iov_base, run.requests + run.given, n);
	run.given += n;
	return (ssize_t)n;
}

/* How much of it the peer takes. */
static ssize_t take(const void *bytes, size_t len)
{
	uint8_t script = run.script.left > 0 ? fuzz_u8(&run.script) : 0x80;
	size_t n = len;

	FUZZ_CHECK(len > 0 && len <= CONN_SCRATCH_BYTES && len <= run.conn->room_bytes);
	if (script == SCRIPT_AGAIN)
		return fail(EAGAIN);
	if (script == SCRIPT_EINTR)
		return fail(EINTR);
	if (script == SCRIPT_ERROR)
		return fail(EPIPE);
	if (script < 0x40)
		n = script + 1u;
	else if (script < 0x60) /* near the end of it */
		n = len - (len > script - 0x3fu ? script - 0x3fu : 0);
	else if (script < 0x80)
		n = 1 + len / 32 * (script - 0x60u);
	n = n < len ? n : len;
	run.sent_bytes += n;
	check_sent(bytes, n);
	return (ssize_t)n;
}

ssize_t __wrap_send(int fd, const void *bytes, size_t len, int flags)
{
	FUZZ_CHECK(fd == FUZZ_FD && flags == (MSG_DONTWAIT | MSG_NOSIGNAL));
	if (len > 0)
		return take(bytes, len);
	/* Where there is no room: has it hung up? */
	FUZZ_CHECK(run.conn->room_bytes == 0);
	return run.script.left > 0 && fuzz_u8(&run.script) == SCRIPT_ERROR ? fail(EPIPE) : 0;
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	const struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg);
	ssize_t n;
	int page_fd;

	FUZZ_CHECK(fd == FUZZ_FD && flags == (MSG_DONTWAIT | MSG_NOSIGNAL));
	FUZZ_CHECK(cmsg && cmsg->cmsg_type == SCM_RIGHTS &&
		   cmsg->cmsg_len == CMSG_LEN(sizeof(int)));
	memcpy(&page_fd, CMSG_DATA(cmsg), sizeof(page_fd));
	FUZZ_CHECK(page_fd == PAGE_FD && (run.choice & CHOICE_PAGE));
	FUZZ_CHECK(run.answers.head_have == 0 && run.answers.body_left == 0);
	FUZZ_CHECK(!run.with_fd && !run.answers.page_had);
	if (run.script.left > 0 && *run.script.at == SCRIPT_TOO_MANY) {
		run.too_many = true;
		fuzz_u8(&run.script);
		return fail(ETOOMANYREFS);
	}
	run.with_fd = true;
	n = take(msg->msg_iov->iov_base, msg->msg_iov->iov_len);
	if (n <= 0)
		run.with_fd = false; /* nothing went out, and it must come again */
	return n;
}

/* How much of what was sent is still there to be read. A narrow one's kernel does not tell. */
int __wrap_getsockopt(int fd, int level, int option, void *value, socklen_t *value_bytes)
{
	uint8_t script = run.script.left > 0 ? fuzz_u8(&run.script) : 0;
	uint32_t *meminfo = value;

	FUZZ_CHECK(fd == FUZZ_FD && level == SOL_SOCKET && option == SO_MEMINFO &&
		   *value_bytes == SK_MEMINFO_VARS * sizeof(*meminfo));
	if (run.conn->unread.narrow || script == SCRIPT_ERROR) {
		errno = ENOPROTOOPT;
		return -1;
	}
	memset(value, 0, *value_bytes);
	meminfo[SK_MEMINFO_SNDBUF] = SEND_BUFFER_BYTES;
	meminfo[SK_MEMINFO_WMEM_ALLOC] = script * 1024u;
	return 0;
}

int __wrap_close(int fd)
{
	if (fd != FUZZ_FD)
		return __real_close(fd);
	run.closes++;
	return 0;
}

/* ---------------------------------------------------------------- in place of libev */

void ev_io_start(struct ev_loop *loop, ev_io *watcher)
{
	(void)loop;
	FUZZ_CHECK(watcher->fd == FUZZ_FD && run.closes == 0);
	watcher->active = 1;
}

void ev_io_stop(struct ev_loop *loop, ev_io *watcher)
{
	(void)loop;
	watcher->active = 0;
}

/* What the loop found is told in turn() alone. */
int ev_clear_pending(struct ev_loop *loop, void *watcher)
{
	(void)loop;
	FUZZ_CHECK(watcher == &run.conn->watcher);
	return 0;
}

void ev_timer_start(struct ev_loop *loop, ev_timer *timer)
{
	(void)loop;
	(void)timer;
	FUZZ_CHECK(!"nothing is swept");
}

void ev_timer_stop(struct ev_loop *loop, ev_timer *timer)
{
	(void)loop;
	(void)timer;
}

unsigned int ev_iteration(struct ev_loop *loop)
{
	(void)loop;
	return run.pass;
}

/* ---------------------------------------------------------------- in place of the crowd */

static struct peers peers;

void peers_waits(struct peers *waiting)
{
	FUZZ_CHECK(waiting == &peers && !list_empty(&run.conn->waiter));
	run.waits = true;
}

/* One user. The table is made once, so that a run stays cheap. */
static struct quota_user *enter(void)
{
	const int64_t after_ms = run.choice & CHOICE_DEADLINES ? SECOND_MS : 0;
	const int64_t after[DEADLINE_STATES] = {0, after_ms, after_ms};
	static const struct quota_limits limits = {.connections = 8, .connections_per_uid = 8};
	struct quota_user *user;

	if (!peers.quota.buckets)
		FUZZ_CHECK(quota_init(&peers.quota, &limits) == 0);
	peers.quota.limits.rate_bytes = run.choice & CHOICE_RATE ? QUOTA_RATE_MIN_BYTES : 0;
	deadlines_init(&peers.deadlines, after, run.now_ms);
	FUZZ_CHECK(quota_enter(&peers.quota, 1000, QUOTA_ANYBODY, run.now_ms, &user) == 0);
	return user;
}

/* Nothing of the user is left to the next run: its debts are forgotten when they are paid. */
static void leave(void)
{
	FUZZ_CHECK(peers.quota.connections == 0 && list_empty(&peers.quota.busy));
	for (size_t i = 0; i < DEADLINE_STATES; i++)
		FUZZ_CHECK(list_empty(&peers.deadlines.lists[i]));
	quota_sweep(&peers.quota, INT64_MAX / 2);
	FUZZ_CHECK(peers.quota.users == 0);
}

/* ---------------------------------------------------------------- in place of the generator */

int reseed_fill(struct reseed *reseed, void *out, size_t len, uint64_t *generation)
{
	uint8_t script = run.script.left > 0 ? fuzz_u8(&run.script) : 0x80;

	FUZZ_CHECK(!run.conn->small || len <= SMALL_TURN_BYTES);
	FUZZ_CHECK((uint8_t *)out >= shared.scratch && len > 0 &&
		   (uint8_t *)out + len <= shared.scratch + CONN_SCRATCH_BYTES);
	if (script >= SCRIPT_EINTR) {
		run.refused = run.excused = true;
		return script == SCRIPT_AGAIN ? RESEED_E_AGAIN : RESEED_E_UNAVAILABLE;
	}
	if (script == SCRIPT_ERROR) {
		reseed->epoch->generation++;
		run.excused = true; /* a frame that has begun cannot be finished */
	}
	memset(out, FILL, len);
	run.made_start = (size_t)((uint8_t *)out - shared.scratch);
	run.made_bytes = len;
	*generation = reseed->epoch->generation;
	return 0;
}

int reseed_check(struct reseed *reseed, enum epoch_depth depth)
{
	(void)reseed;
	FUZZ_CHECK(depth == EPOCH_ALL);
	if (run.script.left == 0 || fuzz_u8(&run.script) < SCRIPT_OTHER)
		return 0;
	run.refused = true;
	return RESEED_E_UNAVAILABLE;
}

int reseed_host(struct reseed *reseed, const void *bytes, size_t len)
{
	(void)reseed;
	FUZZ_CHECK(bytes && len >= RNGD_PROTO_BUMP_MIN_BYTES && len <= RNGD_PROTO_BUMP_MAX_BYTES);
	return 0;
}

int reseed_contribute(struct reseed *reseed, const void *bytes, size_t len)
{
	(void)reseed;
	FUZZ_CHECK(bytes && len >= 1 && len <= RNGD_PROTO_CONTRIBUTE_MAX_BYTES);
	return 0;
}

void reseed_want(struct reseed *reseed, enum reseed_reason reason)
{
	(void)reseed;
	FUZZ_CHECK(reason == RESEED_REQUEST);
}

void epoch_bump(struct epoch *epoch, const void *bytes, size_t len)
{
	(void)bytes;
	(void)len;
	epoch->generation++;
}

/* ---------------------------------------------------------------- the connection */

static size_t status_text(void *owner, const struct conn *conn, char *text, size_t size)
{
	size_t len = run.choice & CHOICE_LONG_STATUS ? size : STATUS_SHORT;

	(void)owner;
	FUZZ_CHECK(conn == run.conn);
	FUZZ_CHECK(size == RNGD_PROTO_STATUS_MAX_BYTES);
	memset(text, 's', len);
	return len;
}

static void ended(void *owner, struct conn *conn)
{
	FUZZ_CHECK(owner == &run && conn == run.conn);
	FUZZ_CHECK(run.excused || run.answers.closed_by_length);
	run.ended = true;
}

/* Nothing random waits, and no more is kept than is allowed. */
static void check_turn(void)
{
	const struct conn *conn = run.conn;
	const uint8_t *made = shared.scratch + run.made_start;

	if (run.made_bytes > 0)
		FUZZ_CHECK(made[0] == 0 && memcmp(made, made + 1, run.made_bytes - 1) == 0);
	run.made_bytes = 0;
	FUZZ_CHECK(shared.page_fd == (run.choice & CHOICE_PAGE ? PAGE_FD : -1));
	if (run.ended)
		return;
	FUZZ_CHECK(conn->in_bytes <= CONN_IN_BYTES && !conn->in == (conn->in_bytes == 0));
	FUZZ_CHECK(conn->out_bytes <= CONN_CONTROL_BYTES && !conn->out == (conn->out_bytes == 0));
	FUZZ_CHECK(conn->frame_owed <= FRAME_BYTES);
	FUZZ_CHECK(conn->progress.in_used == 0);
	/* Somebody will come for it. */
	FUZZ_CHECK(conn->watcher.active || !list_empty(&conn->waiter));
	FUZZ_CHECK(run.waits || list_empty(&conn->waiter));
}

/* What daemon/announce does when the loop is about to sleep. */
static void announce(void)
{
	struct subscriber *subscriber;

	if (!events_moved(&run.events, run.epoch.generation, 0))
		return;
	while (!run.ended && (subscriber = events_next(&run.events))) {
		FUZZ_CHECK(subscriber->peer.conn == run.conn);
		conn_announce(run.conn);
		check_turn();
	}
}

/* The deadline of whatever it does is over. One that waits for its turn gets that first. */
static void expire(void)
{
	struct deadline *deadline;

	run.now_ms += 2 * SECOND_MS;
	deadline = deadlines_next(&peers.deadlines, run.now_ms);
	if (!deadline)
		return;
	FUZZ_CHECK(deadline == &run.conn->deadline && (run.choice & CHOICE_DEADLINES));
	run.excused = true;
	conn_expire(run.conn);
}

/* The next pass in which it may go on must be one in which it does. */
static void resume(void)
{
	int64_t wait_ms = quota_next_in_ms(&peers.quota, run.now_ms);
	struct list_link *waiter;

	FUZZ_CHECK(wait_ms >= 0 && (wait_ms == 0 || (run.choice & CHOICE_RATE)));
	if (wait_ms > 1 && !shared.stopping) {
		run.now_ms += wait_ms - 1;
		run.pass++;
		FUZZ_CHECK(!quota_next(&peers.quota, run.now_ms, run.pass, false));
		wait_ms = 1;
	}
	run.now_ms += wait_ms;
	run.pass++;
	waiter = quota_next(&peers.quota, run.now_ms, run.pass, shared.stopping);
	FUZZ_CHECK(waiter == &run.conn->waiter && list_empty(waiter));
	run.waits = false;
	conn_resume(run.conn);
	check_turn();
}

/* 0xf8: too late; 0xfc: the daemon stops; 0xfd: the kernel would not watch the descriptor. */
static void turn(void)
{
	uint8_t script = run.script.left > 0 ? fuzz_u8(&run.script) : 0;
	int events = run.conn->watcher.events & (EV_READ | EV_WRITE);

	FUZZ_CHECK(events == EV_READ || events == EV_WRITE);
	run.pass += !(run.choice & CHOICE_ONE_PASS);
	run.now_ms += script & 3;
	if (script == SCRIPT_LATE)
		expire();
	if (run.ended)
		return;
	if (script == SCRIPT_OTHER && !shared.stopping) {
		shared.stopping = run.excused = true;
		if (conn_stop(run.conn)) {
			FUZZ_CHECK(run.answers.head_have == 0 && run.answers.body_left == 0);
			run.ended = true;
			conn_free(run.conn);
			return;
		}
	}
	if (!list_empty(&run.conn->waiter)) {
		if (run.conn->watcher.active && (script & 4)) {
			run.conn->watcher.cb(NULL, &run.conn->watcher, events);
			FUZZ_CHECK(!run.conn->watcher.active && !list_empty(&run.conn->waiter));
		}
		resume();
		return;
	}
	if (script == SCRIPT_ERROR) {
		events |= (int)EV_ERROR;
		run.excused = true;
	}
	if (script == SCRIPT_CLONE || script == SCRIPT_CLONE_LATE) {
		run.epoch.generation++;
		run.excused = true; /* as in reseed_fill() */
	}
	if (script == SCRIPT_CLONE)
		announce();
	if (run.ended)
		return;
	run.conn->watcher.cb(NULL, &run.conn->watcher, events);
	check_turn();
}

static struct conn *make_conn(void)
{
	struct conn *conn;
	const struct conn_peer peer = {
	    .user = enter(),
	    .pid = 1,
	    .control = run.choice & CHOICE_CONTROL,
	    .privileged = run.choice & CHOICE_PRIVILEGED,
	};

	conn = conn_new(&shared, FUZZ_FD, &peer);
	/* As if there were many: its turns are cut short. */
	if (conn)
		conn->unread.narrow = run.choice & CHOICE_PRIVILEGED;
	return conn;
}

static void start(const uint8_t *data, size_t size)
{
	static uint8_t *scratch, *in;
	struct fuzz_input input = {data, size};

	if (!scratch)
		scratch = calloc(1, CONN_SCRATCH_BYTES);
	if (!in)
		in = calloc(1, CONN_IN_BYTES);
	FUZZ_CHECK(scratch && in);
	memset(&run, 0, sizeof(run));
	run.now_ms = SECOND_MS;
	run.pass = 1;
	run.choice = fuzz_u8(&input);
	run.script.left = fuzz_take(&input, fuzz_u8(&input), &run.script.at);
	run.requests = input.at;
	run.requests_bytes = input.left;
	run.epoch.generation = 1;
	run.reseed.epoch = &run.epoch;
	run.reseed.use_rdrand = run.choice & CHOICE_RDRAND;
	shared.reseed = &run.reseed;
	shared.scratch = scratch;
	shared.in = in;
	shared.page_fd = run.choice & CHOICE_PAGE ? PAGE_FD : -1;
	shared.status_text = status_text;
	shared.ended = ended;
	shared.owner = &run;
	shared.stopping = false;
	shared.requests = shared.bytes_served = 0;
	shared.peers = &peers;
	shared.events = &run.events;
	run.file.page = &run.page;
	run.epoch.file = &run.file;
	events_init(&run.events, run.epoch.generation, false, 0);
	run.conn = make_conn();
	FUZZ_CHECK(run.conn);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	start(data, size);
	for (int i = 0; i < TURNS_MAX && !run.ended && run.sent_bytes < SENT_MAX; i++)
		turn();
	if (!run.ended) {
		run.ended = true;
		conn_free(run.conn);
	}
	FUZZ_CHECK(run.closes == 1);
	FUZZ_CHECK(run.events.count == 0 && list_empty(&run.events.due));
	FUZZ_CHECK(run.events.gone_count <= (run.choice & CHOICE_PRIVILEGED ? 1 : 0));
	events_deinit(&run.events);
	leave();
	return 0;
}
