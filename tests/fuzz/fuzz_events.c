/*
 * fuzz_events - the library's subscription against a server that sends anything at any time, in a
 * program that forks, and closes descriptors that are not its own. The kernel's part is replaced:
 * one connection, an epoll instance, a timer, a clock that moves when somebody waits. What asks for
 * the page (errand_run) is answered here too; fuzz_client has that.
 *
 * No event may be given twice running, or be any but the frame that was read last; a DONE may only
 * be of what was given and acknowledged, over the connection it came by; the SUBSCRIBE of each
 * connection says what was acknowledged last, in the same name; connections are made at the pace of
 * the pauses, and never by an ack; nothing waits that shall not; the descriptor wakes whoever polls
 * it for all there is to do; nothing of a parent's, or of the program's, is touched; no descriptor
 * and no mapping stays.
 *
 * Input: what the program does, in steps, and within each what the server does.
 */
#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "client/errand.h"
#include "client/handle.h"
#include "client/rngclient.h"
#include "client/shelf.h"
#include "proto/epoch_page.h"
#include "proto/rngd_proto.h"
#include "proto/wire.h"
#include "tests/fuzz/fuzz.h"

#define NS_PER_MS   1000000ll
#define NS_PER_S    1000000000ll
#define TURNS       2 /* pages of a handle that are wiped in a child */
#define FILES       20u
#define PENDING_MAX 65536u
#define ACTIONS_MAX 200
#define GIVEN_MAX   32u  /* as rngclient.h says */
#define CALLS_MAX   4000 /* that a call which does not wait may take */
#define PAUSE_NS    (50 * NS_PER_MS)
#define ANSWER_NS   (5 * NS_PER_S)
#define EVENT_BYTES (RNGD_PROTO_REPLY_HEAD_BYTES + RNGD_PROTO_EVENT_BODY_BYTES)
#define CAME_MAX    4096u /* more than an input has events */

enum step { /* of the server */
	    STEP_NOTHING,
	    STEP_FIRST,  /* the answer to SUBSCRIBE; u8 which byte is wrong (0: none), u8 how */
	    STEP_EVENT,  /* u8 generation, u8 id, and as above */
	    STEP_ANSWER, /* to the oldest ACK; and as above */
	    STEP_PART,   /* the next of these three is cut to u8 bytes */
	    STEP_RAW,    /* u8 length + 1, bytes */
	    STEP_FLOOD,  /* u8 times the frame that was sent last */
	    STEP_CLOSE,
	    STEP_RESET,
	    STEP_EINTR,
	    STEP_PAUSE, /* u8 * 4 ms */
	    STEP_UNCONNECT,
	    STEP_CHOKE, /* u8: the next send fails so */
	    STEP_DEAF,  /* u8 odd: no room in the socket; else there is again */
	    STEP_FORK,  /* as EINTR where somebody waits; u8 odd: what is to be wiped is not */
	    STEP_COUNT,
};

enum call { CALL_NONE, CALL_FD, CALL_NEXT, CALL_ACK, CALL_CLOSE };

struct mark { /* an event */
	uint64_t generation;
	uint8_t id[RNGD_PROTO_EVENT_ID_BYTES];
};

static struct {
	struct fuzz_input *input;
	int64_t now_ns;
	pid_t pid;
	uint8_t *turns;
	int turns_mapped, maps;
	bool turn_wiped;

	/* What the program is in. */
	enum call call;
	bool may_wait;
	int calls;

	/* The descriptors: -1 none. stolen: the program has closed it and has another there. */
	int next_fd, fd, epoll_fd, timer_fd;
	bool fd_stolen, epoll_stolen, timer_stolen, timer_added;
	bool foreign; /* they are the parent's */
	uint32_t watched;
	int64_t timer_ns;

	/* The connection. */
	bool connected, gone, shut, reset, deaf;
	int connect_error;
	bool chokes;
	uint8_t choke;
	int64_t tried_ns;
	uint8_t pending[PENDING_MAX];
	size_t pending_at, pending_bytes;
	size_t cut_to;
	uint8_t last_frame[EVENT_BYTES];
	size_t last_bytes;
	uint8_t read[EVENT_BYTES]; /* the bytes that were read last */
	size_t read_bytes;         /* on this connection */
	uint32_t acks, answered;
	uint64_t came[CAME_MAX]; /* generations of events over this connection */
	size_t came_count;

	/* The subscription. */
	bool on, childs;
	bool has_id;
	uint8_t id[RNGD_PROTO_SUBSCRIBER_ID_BYTES];
	struct mark given[GIVEN_MAX];
	uint64_t given_count, acked_count;
	struct mark acked;

	/* The page. */
	struct epoch_page *files;
	int places[FILES]; /* files in the order they were shown */
	unsigned shown_count;
	int shown; /* -1: none */
} run;

/* ---------------------------------------------------------------- the server */

static void say(const uint8_t *bytes, size_t len)
{
	if (run.fd < 0 || !run.connected || run.gone)
		return;
	if (run.pending_at == run.pending_bytes)
		run.pending_at = run.pending_bytes = 0;
	if (len > run.cut_to)
		len = run.cut_to;
	run.cut_to = SIZE_MAX;
	if (len > PENDING_MAX - run.pending_bytes)
		return;
	if (len > 0)
		memcpy(run.pending + run.pending_bytes, bytes, len);
	run.pending_bytes += len;
}

static void say_frame(uint8_t *frame, size_t len)
{
	uint8_t wrong = fuzz_u8(run.input), how = 0;

	if (wrong > 0 && wrong <= len) {
		how = fuzz_u8(run.input);
		frame[wrong - 1] ^= how;
	}
	memcpy(run.last_frame, frame, len);
	run.last_bytes = len;
	say(frame, len);
}

static void say_reply(uint8_t opcode, uint8_t flags, uint32_t tag)
{
	uint8_t frame[EVENT_BYTES] = {0};
	struct wire_reply reply = {
	    .opcode = opcode, .version = 1, .flags = flags, .tag = tag, .generation = 3};

	wire_encode_reply(&reply, frame);
	say_frame(frame, RNGD_PROTO_REPLY_HEAD_BYTES);
}

static void say_event(void)
{
	uint8_t frame[EVENT_BYTES];
	struct wire_reply reply = {.opcode = RNGD_PROTO_OP_SUBSCRIBE,
				   .version = 1,
				   .flags = RNGD_PROTO_FLAG_MORE,
				   .tag = 1,
				   .body_bytes = RNGD_PROTO_EVENT_BODY_BYTES};
	struct wire_event event = {.realtime_ns = UINT64_MAX};

	reply.generation = fuzz_u8(run.input);
	memset(event.id, fuzz_u8(run.input) % 4, sizeof(event.id));
	event.notifier = event.id[0] * 77u;
	wire_encode_reply(&reply, frame);
	wire_encode_event(&event, frame + RNGD_PROTO_REPLY_HEAD_BYTES);
	say_frame(frame, sizeof(frame));
}

static void become_child(bool wiped)
{
	run.pid++;
	if (wiped && run.turn_wiped)
		memset(run.turns, 0, TURNS * EPOCH_PAGE_BYTES);
	run.foreign = run.foreign || run.fd >= 0 || run.epoll_fd >= 0;
	run.childs = run.childs || run.on;
	run.on = false;
}

/* The server does something. false: it never will again. */
static bool step(enum step *done)
{
	const uint8_t *bytes;
	size_t len;

	if (run.input->left == 0)
		return false;
	*done = (enum step)(fuzz_u8(run.input) % STEP_COUNT);
	switch (*done) {
	case STEP_FIRST:
		say_reply(RNGD_PROTO_OP_SUBSCRIBE, RNGD_PROTO_FLAG_MORE, 1);
		break;
	case STEP_EVENT:
		say_event();
		break;
	case STEP_ANSWER:
		say_reply(RNGD_PROTO_OP_ACK, 0, 2 + run.answered);
		run.answered += run.answered < run.acks;
		break;
	case STEP_PART:
		run.cut_to = fuzz_u8(run.input);
		break;
	case STEP_RAW:
		len = fuzz_take(run.input, fuzz_u8(run.input) + 1u, &bytes);
		say(bytes, len);
		break;
	case STEP_FLOOD:
		for (int i = fuzz_u8(run.input); i > 0; i--)
			say(run.last_frame, run.last_bytes);
		break;
	case STEP_CLOSE:
		run.gone = true;
		break;
	case STEP_RESET:
		run.reset = true;
		break;
	case STEP_PAUSE:
		run.now_ns += fuzz_u8(run.input) * 4 * NS_PER_MS;
		break;
	case STEP_UNCONNECT:
		run.connect_error = fuzz_u8(run.input);
		break;
	case STEP_CHOKE:
		run.chokes = true;
		run.choke = fuzz_u8(run.input);
		break;
	case STEP_DEAF:
		run.deaf = fuzz_u8(run.input) & 1;
		break;
	default:
		break;
	}
	return true;
}

/* ---------------------------------------------------------------- in place of the kernel */

int __wrap_socket(int domain, int type, int protocol);
int __wrap_setsockopt(int fd, int level, int option, const void *value, socklen_t len);
int __wrap_connect(int fd, const struct sockaddr *addr, socklen_t len);
int __wrap_shutdown(int fd, int how);
int __real_fstat(int fd, struct stat *st);
int __wrap_fstat(int fd, struct stat *st);
int __real_close(int fd);
int __wrap_close(int fd);
ssize_t __wrap_send(int fd, const void *bytes, size_t len, int flags);
ssize_t __wrap_recv(int fd, void *bytes, size_t len, int flags);
int __wrap_ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
		 const sigset_t *mask);
int __wrap_epoll_create1(int flags);
int __wrap_epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event);
int __wrap_timerfd_create(int clock, int flags);
int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *at, struct itimerspec *old);
ssize_t __wrap_getrandom(void *bytes, size_t len, unsigned flags);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_nanosleep(clockid_t clock, int flags, const struct timespec *until,
			   struct timespec *left);
void *__real_mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset);
int __real_munmap(void *at, size_t bytes);
int __wrap_munmap(void *at, size_t bytes);
int __real_madvise(void *at, size_t bytes, int advice);
int __wrap_madvise(void *at, size_t bytes, int advice);
pid_t __wrap_getpid(void);
int __wrap_errand_run(struct rngclient *client, const struct errand *errand, int64_t deadline_ns);
int __wrap_errand_prepare(struct rngclient *client, const struct errand *errand,
			  int64_t deadline_ns);

static int fail(int error)
{
	errno = error;
	return -1;
}

/* Each call of the library: one that may not wait takes few. */
static void count_call(void)
{
	run.calls++;
	FUZZ_CHECK(run.may_wait || run.calls < CALLS_MAX);
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
	FUZZ_CHECK(clock == CLOCK_MONOTONIC || clock == CLOCK_BOOTTIME);
	run.now_ns += 1000;
	now->tv_sec = run.now_ns / NS_PER_S;
	now->tv_nsec = run.now_ns % NS_PER_S;
	return 0;
}

int __wrap_clock_nanosleep(clockid_t clock, int flags, const struct timespec *until,
			   struct timespec *left)
{
	int64_t until_ns = (int64_t)until->tv_sec * NS_PER_S + until->tv_nsec;

	(void)left;
	FUZZ_CHECK(clock == CLOCK_MONOTONIC && flags == TIMER_ABSTIME && run.call == CALL_FD);
	if (until_ns > run.now_ns)
		run.now_ns = until_ns;
	return 0;
}

int __wrap_socket(int domain, int type, int protocol)
{
	count_call();
	FUZZ_CHECK(domain == AF_UNIX && protocol == 0 && (type & SOCK_CLOEXEC) &&
		   (type & SOCK_NONBLOCK));
	FUZZ_CHECK((run.fd == -1 || run.fd_stolen) && !run.watched);
	if (run.connect_error == 6) {
		run.connect_error = 0;
		return fail(EMFILE);
	}
	run.fd = FUZZ_FD + ++run.next_fd;
	run.fd_stolen = run.connected = run.gone = run.shut = run.reset = run.deaf = false;
	run.pending_at = run.pending_bytes = run.read_bytes = 0;
	run.acks = run.answered = 0;
	run.came_count = 0;
	run.cut_to = SIZE_MAX;
	return run.fd;
}

int __wrap_setsockopt(int fd, int level, int option, const void *value, socklen_t len)
{
	FUZZ_CHECK(fd == run.fd && level == SOL_SOCKET && option == 83 && value && len > 0);
	return fail(ENOPROTOOPT);
}

int __wrap_connect(int fd, const struct sockaddr *addr, socklen_t len)
{
	static const int errors[] = {0, ECONNREFUSED, ENOENT, EINTR, EACCES, EAGAIN, 0};
	int error = errors[(size_t)run.connect_error % (sizeof(errors) / sizeof(errors[0]))];

	count_call();
	FUZZ_CHECK(fd == run.fd && !run.connected && addr->sa_family == AF_UNIX && len > 0);
	FUZZ_CHECK(run.call == CALL_FD || run.call == CALL_NEXT);
	FUZZ_CHECK(run.call == CALL_FD || run.now_ns - run.tried_ns >= PAUSE_NS);
	run.tried_ns = run.now_ns;
	run.connect_error = 0;
	if (error)
		return fail(error);
	run.connected = true;
	return 0;
}

int __wrap_shutdown(int fd, int how)
{
	FUZZ_CHECK(fd == run.fd && !run.fd_stolen && !run.foreign && how == SHUT_RDWR);
	run.shut = run.gone = true;
	return 0;
}

int __wrap_fstat(int fd, struct stat *st)
{
	if (fd < FUZZ_FD)
		return __real_fstat(fd, st);
	memset(st, 0, sizeof(*st));
	st->st_mode = S_IFSOCK;
	st->st_ino = (ino_t)fd + (fd == run.fd && run.fd_stolen ? 1000000 : 0);
	return 0;
}

int __wrap_close(int fd)
{
	if (fd < FUZZ_FD)
		return __real_close(fd);
	if (fd == run.fd) {
		FUZZ_CHECK(!run.fd_stolen);
		/* A copy that a child has would stay in the epoll instance. */
		FUZZ_CHECK(!run.watched || run.foreign || run.epoll_stolen || run.timer_stolen);
		run.fd = -1;
		run.watched = 0;
	} else if (fd == run.timer_fd) {
		FUZZ_CHECK(!run.timer_stolen && !run.foreign);
		run.timer_fd = -1;
	} else {
		FUZZ_CHECK(fd == run.epoll_fd && !run.epoll_stolen && !run.foreign);
		run.epoll_fd = -1;
	}
	return 0;
}

static bool is_zero(const void *bytes, size_t len)
{
	const uint8_t *at = bytes;

	return len == 0 || (at[0] == 0 && memcmp(at, at + 1, len - 1) == 0);
}

static bool is_same(const struct mark *a, const struct mark *b)
{
	return a->generation == b->generation &&
	       (is_zero(a->id, sizeof(a->id)) || is_zero(b->id, sizeof(b->id)) ||
		memcmp(a->id, b->id, sizeof(a->id)) == 0);
}

static bool has_come(uint64_t generation)
{
	for (size_t i = 0; i < run.came_count; i++)
		if (run.came[i] == generation)
			return true;
	return false;
}

/* What the library asks. */
static void check_request(const uint8_t *bytes, size_t len)
{
	struct wire_request req;
	size_t used;

	FUZZ_CHECK(wire_decode_request(bytes, len, &req, &used) == WIRE_OK && used == len);
	FUZZ_CHECK(req.version == 1 && req.flags == 0);
	if (req.opcode == RNGD_PROTO_OP_SUBSCRIBE) {
		FUZZ_CHECK(req.tag == 1 && req.body_bytes == RNGD_PROTO_SUBSCRIBE_BODY_BYTES);
		FUZZ_CHECK(wire_get_u64(req.body) == run.acked.generation);
		FUZZ_CHECK(!run.has_id || memcmp(run.id, req.body + 8, sizeof(run.id)) == 0);
		memcpy(run.id, req.body + 8, sizeof(run.id));
		run.has_id = true;
		return;
	}
	FUZZ_CHECK(req.opcode == RNGD_PROTO_OP_ACK && req.body_bytes == RNGD_PROTO_ACK_BODY_BYTES);
	FUZZ_CHECK(req.tag == 2 + run.acks);
	run.acks++;
	if (req.body[8] == RNGD_PROTO_STAGE_LEAVE) {
		FUZZ_CHECK(run.call == CALL_CLOSE);
		return;
	}
	FUZZ_CHECK(has_come(wire_get_u64(req.body)));
	if (req.body[8] == RNGD_PROTO_STAGE_DONE)
		FUZZ_CHECK(wire_get_u64(req.body) == run.acked.generation || run.call == CALL_ACK);
	else
		FUZZ_CHECK(req.body[8] == RNGD_PROTO_STAGE_TAKEN);
}

ssize_t __wrap_send(int fd, const void *bytes, size_t len, int flags)
{
	count_call();
	FUZZ_CHECK(fd == run.fd && !run.fd_stolen && !run.foreign && run.connected);
	FUZZ_CHECK((flags & MSG_NOSIGNAL) && (flags & MSG_DONTWAIT));
	if (run.gone)
		return fail(EPIPE);
	if (run.deaf)
		return fail(EAGAIN);
	if (run.chokes) {
		run.chokes = false;
		if (run.choke % 4 == 3)
			return (ssize_t)(run.choke % len); /* no kernel does, for so little */
		return fail(run.choke % 4 == 0 ? EINTR : run.choke % 4 == 1 ? EAGAIN : EPIPE);
	}
	check_request(bytes, len);
	return (ssize_t)len;
}

/* Of what was read since the connection began the end is kept. */
static void note_read(const uint8_t *bytes, size_t n)
{
	uint64_t generation;

	for (size_t i = 0; i < n; i++) {
		if (run.read_bytes >= sizeof(run.read))
			memmove(run.read, run.read + 1, sizeof(run.read) - 1);
		run.read[run.read_bytes < sizeof(run.read) ? run.read_bytes
							   : sizeof(run.read) - 1] = bytes[i];
		run.read_bytes++;
	}
	if (run.read_bytes < sizeof(run.read))
		return;
	/* Whatever ends like the frame of an event may be one. */
	generation = wire_get_u64(run.read + 12);
	if (run.read[4] != RNGD_PROTO_OP_SUBSCRIBE || run.read[3] != sizeof(run.read) - 4 ||
	    (run.came_count > 0 && run.came[run.came_count - 1] == generation))
		return;
	FUZZ_CHECK(run.came_count < CAME_MAX);
	run.came[run.came_count++] = generation;
}

ssize_t __wrap_recv(int fd, void *bytes, size_t len, int flags)
{
	size_t n = run.pending_bytes - run.pending_at;
	enum step done = STEP_NOTHING;

	count_call();
	FUZZ_CHECK(fd == run.fd && !run.fd_stolen && !run.foreign && run.connected);
	FUZZ_CHECK((flags & MSG_DONTWAIT) && len > 0);
	while (n == 0 && !run.gone && !run.reset && step(&done) && done != STEP_NOTHING) {
		if (done == STEP_EINTR)
			return fail(EINTR);
		n = run.pending_bytes - run.pending_at;
	}
	if (run.reset && !run.gone) {
		run.gone = true;
		return fail(ECONNRESET);
	}
	n = n < len ? n : len;
	if (n == 0)
		return run.gone ? 0 : fail(EAGAIN);
	memcpy(bytes, run.pending + run.pending_at, n);
	if (!run.shut)
		note_read(bytes, n);
	run.pending_at += n;
	return (ssize_t)n;
}

int __wrap_epoll_create1(int flags)
{
	FUZZ_CHECK(flags == EPOLL_CLOEXEC &&
		   (run.epoll_fd == -1 || run.foreign || run.epoll_stolen || run.timer_stolen));
	if (run.connect_error == 13) {
		run.connect_error = 0;
		return fail(EMFILE);
	}
	run.epoll_fd = FUZZ_FD + ++run.next_fd;
	run.epoll_stolen = run.foreign = run.timer_added = false;
	run.timer_fd = -1;
	run.watched = 0;
	/* Another subscription. */
	run.on = false;
	run.has_id = false;
	run.given_count = run.acked_count = 0;
	run.acked = (struct mark){0};
	return run.epoll_fd;
}

int __wrap_timerfd_create(int clock, int flags)
{
	FUZZ_CHECK(clock == CLOCK_MONOTONIC && flags == (TFD_NONBLOCK | TFD_CLOEXEC));
	FUZZ_CHECK(run.timer_fd == -1);
	if (run.connect_error == 20) {
		run.connect_error = 0;
		return fail(EMFILE);
	}
	run.timer_fd = FUZZ_FD + ++run.next_fd;
	run.timer_stolen = false;
	run.timer_ns = 0;
	return run.timer_fd;
}

int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *at, struct itimerspec *old)
{
	FUZZ_CHECK(fd == run.timer_fd && !run.timer_stolen && !run.foreign && !old);
	FUZZ_CHECK(flags == TFD_TIMER_ABSTIME &&
		   is_zero(&at->it_interval, sizeof(at->it_interval)));
	FUZZ_CHECK(at->it_value.tv_sec >= 0 && at->it_value.tv_nsec >= 0 &&
		   at->it_value.tv_nsec < NS_PER_S);
	run.timer_ns = (int64_t)at->it_value.tv_sec * NS_PER_S + at->it_value.tv_nsec;
	return 0;
}

int __wrap_epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event)
{
	count_call();
	FUZZ_CHECK(epoll_fd == run.epoll_fd && !run.foreign);
	if (run.epoll_stolen)
		return fail(EINVAL);
	if (fd == run.timer_fd && op == EPOLL_CTL_MOD)
		return run.timer_stolen ? fail(ENOENT) : 0;
	if (run.connect_error == 27 && op != EPOLL_CTL_DEL) {
		run.connect_error = 0;
		return fail(ENOSPC);
	}
	if (fd == run.timer_fd) {
		FUZZ_CHECK(op == EPOLL_CTL_ADD && event->events == EPOLLIN);
		run.timer_added = true;
		return 0;
	}
	FUZZ_CHECK(fd == run.fd && !run.fd_stolen);
	if (op == EPOLL_CTL_DEL && !run.watched)
		return fail(ENOENT);
	FUZZ_CHECK((op == EPOLL_CTL_ADD) == !run.watched);
	run.watched = op == EPOLL_CTL_DEL ? 0 : event->events;
	return 0;
}

ssize_t __wrap_getrandom(void *bytes, size_t len, unsigned flags)
{
	FUZZ_CHECK(len == RNGD_PROTO_SUBSCRIBER_ID_BYTES && flags == GRND_NONBLOCK);
	if (run.connect_error == 34) {
		run.connect_error = 0;
		return fail(EAGAIN);
	}
	memset(bytes, run.next_fd & 0xff, len);
	return (ssize_t)len;
}

static bool is_readable(void)
{
	if (run.timer_added && run.timer_ns != 0 && run.now_ns >= run.timer_ns)
		return true;
	if (!run.watched || run.fd_stolen) /* closed, it is in it no more */
		return false;
	return run.pending_at < run.pending_bytes || run.gone || run.reset ||
	       ((run.watched & EPOLLOUT) && !run.deaf);
}

/* Nothing more will come: time passes, to when the timer or the wait ends. */
static bool sleep_until(int64_t until_ns)
{
	int64_t end_ns = run.timer_added && run.timer_ns ? run.timer_ns : INT64_MAX;

	end_ns = end_ns < until_ns ? end_ns : until_ns;
	if (end_ns == INT64_MAX)
		return false;
	run.now_ns = end_ns > run.now_ns ? end_ns : run.now_ns;
	return true;
}

int __wrap_ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
		 const sigset_t *mask)
{
	int64_t until_ns = INT64_MAX;
	enum step done = STEP_NOTHING;

	(void)mask;
	FUZZ_CHECK(count == 1 && fds->fd == run.epoll_fd && fds->events == POLLIN && run.may_wait);
	FUZZ_CHECK(++run.calls < 200000);
	if (timeout)
		until_ns = run.now_ns + (int64_t)timeout->tv_sec * NS_PER_S + timeout->tv_nsec;
	/* A wait without an end over a server that comes back and goes for ever. */
	if (run.epoll_stolen || (!timeout && run.input->left == 0))
		return fail(ENOMEM);
	while (!is_readable()) {
		if (run.now_ns >= until_ns)
			return 0;
		if (!step(&done)) {
			if (!sleep_until(until_ns))
				return fail(ENOMEM);
		} else if (done == STEP_FORK) {
			become_child(!(fuzz_u8(run.input) & 1));
			return fail(EINTR);
		} else if (done == STEP_EINTR) {
			return fail(EINTR);
		}
	}
	fds->revents = POLLIN;
	return 1;
}

static bool is_turn(const void *at)
{
	uintptr_t offset = (uintptr_t)at - (uintptr_t)run.turns;

	return offset < TURNS * EPOCH_PAGE_BYTES && offset % EPOCH_PAGE_BYTES == 0;
}

void *__wrap_mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset)
{
	if (fd != -1 || bytes != EPOCH_PAGE_BYTES || run.pid == 0)
		return __real_mmap(at, bytes, prot, flags, fd, offset);
	FUZZ_CHECK(run.turns_mapped < TURNS && flags == (MAP_PRIVATE | MAP_ANONYMOUS));
	at = run.turns + run.turns_mapped++ * EPOCH_PAGE_BYTES;
	memset(at, 0, bytes);
	return at;
}

int __wrap_munmap(void *at, size_t bytes)
{
	uintptr_t offset = (uintptr_t)at - (uintptr_t)run.files;

	if (is_turn(at))
		run.turns_mapped--;
	else if (offset < FILES * sizeof(*run.files))
		run.maps--;
	else
		return __real_munmap(at, bytes);
	FUZZ_CHECK(bytes == EPOCH_PAGE_BYTES);
	return 0;
}

int __wrap_madvise(void *at, size_t bytes, int advice)
{
	if (!is_turn(at))
		return __real_madvise(at, bytes, advice);
	FUZZ_CHECK(bytes == EPOCH_PAGE_BYTES && advice == MADV_WIPEONFORK);
	run.turn_wiped = true;
	return 0;
}

pid_t __wrap_getpid(void)
{
	return run.pid;
}

/* ---------------------------------------------------------------- the page */

int __wrap_errand_prepare(struct rngclient *client, const struct errand *errand,
			  int64_t deadline_ns)
{
	(void)client;
	(void)errand;
	(void)deadline_ns;
	return 0;
}

/* The daemon passes its page, as guard_prepare() takes it: a file it has passed before, or not. */
static void show(struct rngclient *client, unsigned file)
{
	struct guard *guard = &client->session.guard;
	unsigned place = 0;

	page_drop(&guard->page);
	run.shown = -1;
	if (file < FILES) {
		guard->page = (struct page){.map = &run.files[file], .dev = 1, .ino = file + 1};
		run.maps++;
		while (place < run.shown_count && run.places[place] != (int)file)
			place++;
		if (place == run.shown_count && place < SHELF_PAGES)
			run.places[run.shown_count++] = (int)file;
		run.shown = place < SHELF_PAGES ? (int)place : -1;
	}
	shelf_show(&guard->shelf, &guard->page);
	FUZZ_CHECK(run.maps <= SHELF_PAGES + 1);
}

int __wrap_errand_run(struct rngclient *client, const struct errand *errand, int64_t deadline_ns)
{
	uint8_t choice = fuzz_u8(run.input);

	(void)deadline_ns;
	FUZZ_CHECK(errand->opcode == RNGD_PROTO_OP_LOOK && errand->guarded);
	if (choice >= 0xf0)
		return -EPROTO;
	show(client, choice % (FILES + 2));
	return 0;
}

static void check_token(const struct rngclient *client)
{
	uint64_t token = rngclient_epoch(client), expected = 0;

	if (run.shown >= 0) {
		expected = run.files[run.places[run.shown]].generation;
		expected += (uint64_t)run.shown << 48;
	}
	FUZZ_CHECK(token == expected);
	FUZZ_CHECK(rngclient_epoch_same(client, token) == (token != 0));
	FUZZ_CHECK(!rngclient_epoch_same(client, token + 1) && !rngclient_epoch_same(client, 0));
}

/* ---------------------------------------------------------------- the program */

static void begin_call(enum call call, bool may_wait)
{
	run.call = call;
	run.may_wait = may_wait;
	run.calls = 0;
}

/* Whoever polls the descriptor is woken for all that there is to do. */
static void check_wakes(void)
{
	run.call = CALL_NONE;
	if (!run.on || run.epoll_stolen || run.timer_stolen || run.fd_stolen)
		return;
	FUZZ_CHECK(run.timer_added);
	if (run.fd == -1)
		FUZZ_CHECK(run.timer_ns != 0 && run.timer_ns <= run.now_ns + NS_PER_S);
	else
		FUZZ_CHECK((run.watched & EPOLLIN) && run.timer_ns <= run.now_ns + ANSWER_NS);
}

static bool is_known(int err, const int *known)
{
	for (; *known; known++)
		if (err == *known)
			return true;
	fprintf(stderr, "error %d\n", err);
	return false;
}

static const int errors[] = {-EAGAIN,   -EPROTO, -EOPNOTSUPP, -EPROTONOSUPPORT, -EMFILE, -EACCES,
			     -ENOTCONN, -ECHILD, -ENOSPC,     -ENOMEM,          0};
static const int fd_errors[] = {
    -EPROTO, -EOPNOTSUPP,   -EPROTONOSUPPORT, -EMFILE, -EACCES, -ENOSPC, -ETIMEDOUT,
    -ENOENT, -ECONNREFUSED, -ECONNRESET,      -EPIPE,  -EBUSY,  -ENOMEM, 0};

static void subscribe(struct rngclient *client)
{
	bool was_on = run.on;
	int fd, old = run.epoll_fd;

	begin_call(CALL_FD, true);
	fd = rngclient_event_fd(client);
	if (fd < 0) {
		/* In a child that was forked on the way it is so, too. */
		FUZZ_CHECK(is_known(fd, fd_errors));
		FUZZ_CHECK(run.on == false || run.epoll_stolen || run.timer_stolen);
		FUZZ_CHECK(run.fd == -1 || run.fd_stolen);
		run.on = false;
		run.call = CALL_NONE;
		return;
	}
	FUZZ_CHECK(fd == run.epoll_fd && !run.foreign);
	FUZZ_CHECK(!was_on || fd == old || run.given_count == 0);
	if (!was_on || run.acked.generation == 0) {
		FUZZ_CHECK(run.read_bytes >= RNGD_PROTO_REPLY_HEAD_BYTES);
		if (run.acked.generation == 0)
			run.acked.generation =
			    wire_get_u64(run.read +
					 (run.read_bytes < sizeof(run.read) ? run.read_bytes
									    : sizeof(run.read)) -
					 8);
	}
	run.on = true;
	run.childs = false;
	check_wakes();
}

/* It must be the frame that was read last, whole and good, and new. */
static void check_given(const struct rngclient_event *event)
{
	struct mark mark = {.generation = event->generation};
	struct wire_reply head;
	struct wire_event body;

	memcpy(mark.id, event->id, sizeof(mark.id));
	FUZZ_CHECK(run.on && run.read_bytes >= sizeof(run.read) && mark.generation != 0);
	FUZZ_CHECK(wire_decode_reply(run.read, &head) == WIRE_OK);
	FUZZ_CHECK(head.opcode == RNGD_PROTO_OP_SUBSCRIBE && head.version == 1 &&
		   head.status == 0 && head.tag == 1 && (head.flags & RNGD_PROTO_FLAG_MORE) &&
		   head.body_bytes == RNGD_PROTO_EVENT_BODY_BYTES);
	wire_decode_event(run.read + RNGD_PROTO_REPLY_HEAD_BYTES, &body);
	FUZZ_CHECK(head.generation == mark.generation &&
		   memcmp(body.id, mark.id, sizeof(mark.id)) == 0 &&
		   body.realtime_ns == event->realtime_ns &&
		   body.boottime_ns == event->boottime_ns && body.notifier == event->notifier);
	FUZZ_CHECK(memchr(event->notifier_name, 0, sizeof(event->notifier_name)));
	FUZZ_CHECK(run.given_count == 0 ||
		   !is_same(&mark, &run.given[(run.given_count - 1) % GIVEN_MAX]));
	FUZZ_CHECK(!is_same(&mark, &run.acked));
	run.given[run.given_count++ % GIVEN_MAX] = mark;
}

static void next(struct rngclient *client, uint8_t choice)
{
	struct rngclient_event event = {.size = sizeof(event)};
	int timeout_ms = choice % 3 == 0 ? 0 : choice % 3 == 1 ? 1 + choice * 8 : -1;
	int64_t until_ns = run.now_ns + timeout_ms * NS_PER_MS;
	bool was_on = run.on;
	int err;

	begin_call(CALL_NEXT, timeout_ms != 0);
	err = rngclient_event_next(client, &event, timeout_ms);
	FUZZ_CHECK(event.size == sizeof(event));
	if (!err) {
		check_given(&event);
	} else {
		FUZZ_CHECK(is_known(err, errors));
		FUZZ_CHECK(is_zero(&event.generation, sizeof(event) - sizeof(event.size)));
		FUZZ_CHECK((err == -ENOTCONN) ==
			   (!run.childs && (!was_on || run.epoll_stolen || run.timer_stolen)));
		FUZZ_CHECK((err == -ECHILD) == run.childs);
		run.on = run.on && err != -ENOTCONN;
	}
	/* What the server's pauses took within a call is not the call's. */
	FUZZ_CHECK(timeout_ms != 1 || run.now_ns <= until_ns + 2 * NS_PER_S);
	check_wakes();
}

static void acknowledge(struct rngclient *client, uint8_t choice)
{
	uint64_t generation = choice % 64, found = 0;
	struct mark before = run.acked;
	int err;

	if (choice >= 64 && run.given_count > 0)
		generation = run.given[(run.given_count - 1 - choice % run.given_count) % GIVEN_MAX]
				 .generation;
	for (uint64_t n = run.given_count; n > 0 && run.given_count - n < GIVEN_MAX && !found; n--)
		if (run.given[(n - 1) % GIVEN_MAX].generation == generation)
			found = n;
	begin_call(CALL_ACK, false);
	if (found > run.acked_count && run.on && !run.epoll_stolen && !run.timer_stolen) {
		run.acked_count = found;
		run.acked = run.given[(found - 1) % GIVEN_MAX];
	}
	err = rngclient_event_ack(client, generation);
	if (run.childs)
		FUZZ_CHECK(err == -ECHILD);
	else if (!run.on || run.epoll_stolen || run.timer_stolen)
		FUZZ_CHECK(err == -ENOTCONN);
	else
		FUZZ_CHECK(err == (found ? 0 : -EINVAL));
	if (err)
		FUZZ_CHECK(memcmp(&before, &run.acked, sizeof(before)) == 0);
	run.on = run.on && err != -ENOTCONN;
	check_wakes();
}

/* The program closes what is not its own. */
static void steal(uint8_t which)
{
	if (which % 3 == 0)
		run.epoll_stolen = run.epoll_fd >= 0;
	else if (which % 3 == 1)
		run.timer_stolen = run.timer_fd >= 0;
	else if (run.fd >= 0) {
		run.fd_stolen = true;
		run.watched = 0;
	}
}

static void act(struct rngclient *client)
{
	uint8_t what = fuzz_u8(run.input), choice = fuzz_u8(run.input);
	enum step done;

	switch (what % 10) {
	case 0:
		subscribe(client);
		break;
	case 1:
	case 2:
		acknowledge(client, choice);
		break;
	case 3:
		if (choice < 32)
			become_child(choice & 1);
		else if (choice < 64)
			steal(choice);
		break;
	case 4:
		run.files[choice % FILES].generation = 1 + choice / FILES;
		check_token(client);
		break;
	case 5:
		(void)step(&done);
		break;
	default:
		next(client, choice);
		break;
	}
}

static void start(struct fuzz_input *input)
{
	static struct epoch_page *files;
	static uint8_t *turns;

	if (!files) {
		FUZZ_CHECK(posix_memalign((void **)&files, 4096, FILES * sizeof(*files)) == 0);
		FUZZ_CHECK(posix_memalign((void **)&turns, 4096, TURNS * EPOCH_PAGE_BYTES) == 0);
		memset(files, 0, FILES * sizeof(*files));
	}
	memset(&run, 0, sizeof(run));
	run.input = input;
	run.files = files;
	run.turns = turns;
	for (unsigned i = 0; i < FILES; i++) {
		files[i].generation = 1;
		files[i].lease_ns = UINT64_MAX;
	}
	run.pid = 1000;
	run.now_ns = NS_PER_S;
	run.fd = run.epoll_fd = run.timer_fd = run.shown = -1;
	run.cut_to = SIZE_MAX;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};
	struct rngclient *client;
	bool has_stolen;

	start(&input);
	FUZZ_CHECK(rngclient_open(&client, "/fuzz/socket", 1 + fuzz_u8(&input) * 16) == 0);
	subscribe(client);
	for (int i = 0; i < ACTIONS_MAX && input.left > 0; i++)
		act(client);
	check_token(client);
	begin_call(CALL_CLOSE, false);
	rngclient_close(client);
	has_stolen = run.epoll_stolen || run.timer_stolen;
	FUZZ_CHECK(run.maps == 0 && run.turns_mapped == 0);
	FUZZ_CHECK(run.fd == -1 || run.fd_stolen);
	/* What was a parent's cannot be told from the program's, and is left. */
	FUZZ_CHECK(run.foreign || has_stolen || (run.epoll_fd == -1 && run.timer_fd == -1));
	return 0;
}
