/*
 * fuzz_client - the library against a server that sends anything at any time, passes any
 * descriptors, and whose epoch page moves at any time. The sockets and the clock are replaced, so a
 * deadline takes no time. A GET that succeeds must have handed out exactly the bytes that came in
 * good frames of its own last request, and no move may be newer than its last question; a call that
 * fails leaves zeroes; none lasts longer than it may, and no descriptor stays. The process may
 * become its own child at any signal: from then on the parent's connections are only closed.
 *
 * Input: one byte (what is called), the timeout, the length, then what the server does, in steps.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "client/rngclient.h"
#include "client/shelf.h"
#include "host/vdso.h"
#include "proto/epoch_page.h"
#include "proto/rngd_proto.h"
#include "tests/fuzz/fuzz.h"

#define NS_PER_MS   1000000ll
#define NS_PER_S    1000000000ll
#define LONG_BYTES  300000u
#define MORE_BYTES  5000u /* what is long for most inputs: hundreds of kB take their time */
#define HEAD_BYTES  20u
#define LOG_BYTES   (1u << 19)
#define GENERATION  7u
#define CALLS_MAX   4
#define TIMEOUT_MAX 400u
#define LINKS       2u /* connections at the same time: a handle's own, and the page's */
#define PASSED_MAX  3u
#define PASSED_FD   (FUZZ_FD + 1000000) /* and up: descriptors that the server passed */
#define FDS_KINDS   7u
#define FOR_EVER    0xffffu /* a timeout: none */

/* The kernel's socket timeouts are late by an eighth at worst (its timer wheel) and two ticks. */
#define LATE_NS(ns) ((ns) / 8 + 20 * NS_PER_MS)

enum step {
	STEP_FRAME, /* the frame that is due, whole; u8 which byte of it is wrong (0: none), u8 how
		     */
	STEP_PART,  /* likewise, but u16 bytes of it and no more */
	STEP_RAW,   /* u8 length + 1, bytes */
	STEP_PASS,  /* u8: descriptors, and of what, that go with the next bytes */
	STEP_MOVE,  /* the page's look_again moves; u8 odd: the kernel's generation too */
	STEP_CLOSE,
	STEP_RESET,
	STEP_EINTR,
	STEP_PAUSE,     /* u8 ms pass before the next */
	STEP_UNCONNECT, /* u8: the next connect fails so */
	STEP_FORK,      /* as EINTR; u8 odd: what is to be wiped in a child is not */
	STEP_CHOKE,     /* u8: the next send takes so many bytes, or none, or fails */
	STEP_COUNT,
};

enum kind { /* of what is passed */
	    KIND_PAGE,
	    KIND_SHORT,
	    KIND_DISK,
	    KIND_DAMAGED,
	    KIND_SOCKET,
	    KIND_NO_MAP,
	    KIND_NO_ROOM, /* here is no room for any */
};

/* One question, and what was received since. */
struct exchange {
	uint8_t request[64];
	size_t request_bytes;
	uint8_t *log; /* LOG_BYTES */
	size_t log_bytes;
};

struct link {
	int fd; /* -1: free */
	bool connected, gone, takes_fds;
	bool foreign;     /* of the process that this one was forked from */
	uint8_t *pending; /* LOG_BYTES: sent and not yet received */
	size_t pending_at, pending_bytes;
	unsigned passed; /* descriptors that go with the next byte */
	enum kind passed_kind;
	uint8_t head[12 + RNGD_PROTO_BUMP_MAX_BYTES]; /* of a request */
	size_t head_have, head_bytes;
	uint64_t owed; /* of the request, for STEP_FRAME */
	bool request_done;
	int64_t timeout_ns[2]; /* of receiving, of sending; 0: none */
	/* The last GET or STATUS, and the last other. */
	struct exchange data, plain;
	struct exchange *now;
};

#define TURNS 2 /* a handle has: of the calls, and of the events */

static struct {
	struct fuzz_input *input;
	int64_t now_ns;
	struct link links[LINKS];
	int next_fd, next_passed, open_passed;
	enum kind passed_kinds[64];
	int connect_error;
	bool chokes, stuck;
	uint8_t choke;
	bool for_ever; /* calls have no deadline */
	pid_t pid;
	uint8_t *turns; /* TURNS pages: those of the handle that are wiped in a child */
	int turns_mapped;
	bool turn_wiped;
	struct epoch_page *page;
	int maps;
	bool seen;       /* the last page that was asked for was mapped */
	uint64_t kernel; /* the kernel's generation; 0: not shown */
	uint64_t ticks, moved_at, looked_at;
} server;

static uint32_t big(const uint8_t *at, size_t bytes)
{
	uint32_t sum = 0;

	while (bytes-- > 0)
		sum = sum << 8 | *at++;
	return sum;
}

static void put_big(uint8_t *at, uint32_t value)
{
	for (int i = 3; i >= 0; i--, value >>= 8)
		at[i] = (uint8_t)value;
}

static struct link *link_of(int fd)
{
	for (size_t i = 0; i < LINKS; i++)
		if (server.links[i].fd == fd)
			return &server.links[i];
	return NULL;
}

static bool is_passed(int fd)
{
	return fd >= PASSED_FD && fd < PASSED_FD + server.next_passed;
}

static enum kind kind_of(int fd)
{
	return server.passed_kinds[fd - PASSED_FD];
}

/* ---------------------------------------------------------------- the server */

static void say(struct link *link, const void *bytes, size_t len)
{
	if (link->pending_at == link->pending_bytes)
		link->pending_at = link->pending_bytes = 0;
	if (len > LOG_BYTES - link->pending_bytes)
		len = LOG_BYTES - link->pending_bytes;
	if (len > 0)
		memcpy(link->pending + link->pending_bytes, bytes, len);
	link->pending_bytes += len;
}

/* A byte that cuts a frame of a long answer short, in one of so many ways. */
#define CUT_FROM 128u

/* The next frame that the request should get, but for one byte. */
static void say_frame(struct link *link, size_t at_most)
{
	static uint8_t frame[HEAD_BYTES + RNGD_PROTO_FRAME_DATA_BYTES];
	uint8_t wrong = fuzz_u8(server.input), how = fuzz_u8(server.input);
	bool get = link->head[4] == RNGD_PROTO_OP_GET;
	size_t body = get ? (size_t)link->owed : link->head[4] == RNGD_PROTO_OP_STATUS ? how : 0;

	if (body > RNGD_PROTO_FRAME_DATA_BYTES)
		body = RNGD_PROTO_FRAME_DATA_BYTES;
	if (get && wrong >= CUT_FROM && body > RNGD_PROTO_ONE_FRAME_BYTES)
		body = RNGD_PROTO_ONE_FRAME_BYTES +
		       (body - RNGD_PROTO_ONE_FRAME_BYTES) * (wrong - CUT_FROM) / CUT_FROM;
	memset(frame, 0, HEAD_BYTES);
	memcpy(frame + 4, link->head + 4, 2);
	memcpy(frame + 8, link->head + 8, 4);
	frame[7] = get && body < link->owed;
	frame[19] = GENERATION;
	put_big(frame, (uint32_t)(HEAD_BYTES - 4 + body));
	if (wrong > 0 && wrong <= HEAD_BYTES)
		frame[wrong - 1] ^= how;
	memset(frame + HEAD_BYTES, get ? how | 1 : 'x', body);
	link->owed -= get ? body : 0;
	body += HEAD_BYTES;
	say(link, frame, body < at_most ? body : at_most);
}

static void move(bool kernel)
{
	server.page->look_again++;
	if (kernel && server.kernel != 0)
		server.kernel++;
	/* Where neither word can be seen, nothing can be known. */
	if (server.seen || (kernel && server.kernel != 0))
		server.moved_at = ++server.ticks;
}

static void pass(struct link *link)
{
	uint8_t what = fuzz_u8(server.input);

	link->passed = what % PASSED_MAX;
	link->passed_kind = (enum kind)(what / PASSED_MAX % FDS_KINDS);
}

/* What runs from here on is the child. */
static void become_child(bool wiped)
{
	server.pid++;
	if (wiped && server.turn_wiped)
		memset(server.turns, 0, TURNS * EPOCH_PAGE_BYTES);
	for (size_t i = 0; i < LINKS; i++)
		server.links[i].foreign = server.links[i].fd >= 0;
}

/* The server does something. false: it never will again. */
static bool step(struct link *link, enum step *done)
{
	const uint8_t *bytes;
	size_t len;

	if (server.input->left == 0)
		return false;
	*done = (enum step)(fuzz_u8(server.input) % STEP_COUNT);
	switch (*done) {
	case STEP_FRAME:
		say_frame(link, SIZE_MAX);
		break;
	case STEP_PART:
		len = fuzz_u16(server.input);
		say_frame(link, len);
		break;
	case STEP_RAW:
		len = fuzz_take(server.input, fuzz_u8(server.input) + 1u, &bytes);
		say(link, bytes, len);
		break;
	case STEP_PASS:
		pass(link);
		break;
	case STEP_MOVE:
		move(fuzz_u8(server.input) & 1);
		break;
	case STEP_CLOSE:
		link->gone = true;
		break;
	case STEP_PAUSE:
		server.now_ns += fuzz_u8(server.input) * NS_PER_MS;
		break;
	case STEP_UNCONNECT:
		server.connect_error = fuzz_u8(server.input);
		break;
	case STEP_FORK:
		become_child(!(fuzz_u8(server.input) & 1));
		*done = STEP_EINTR;
		break;
	case STEP_CHOKE:
		server.chokes = true;
		server.choke = fuzz_u8(server.input);
		break;
	default:
		break;
	}
	return true;
}

/* ---------------------------------------------------------------- in place of the vDSO */

int vdso_init(struct vdso *vdso)
{
	memset(vdso, 0, sizeof(*vdso));
	return 0;
}

void vdso_deinit(struct vdso *vdso)
{
	(void)vdso;
}

uint64_t vdso_generation(struct vdso *vdso)
{
	(void)vdso;
	return server.kernel;
}

/* ---------------------------------------------------------------- in place of the kernel */

int __real_socket(int domain, int type, int protocol);
int __wrap_socket(int domain, int type, int protocol);
int __wrap_setsockopt(int fd, int level, int option, const void *value, socklen_t len);
int __wrap_connect(int fd, const struct sockaddr *addr, socklen_t len);
int __wrap_shutdown(int fd, int how);
int __real_fstat(int fd, struct stat *st);
int __wrap_fstat(int fd, struct stat *st);
int __real_fstatfs(int fd, struct statfs *fs);
int __wrap_fstatfs(int fd, struct statfs *fs);
int __real_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...);
void *__real_mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset);
int __real_munmap(void *at, size_t bytes);
int __wrap_munmap(void *at, size_t bytes);
int __real_madvise(void *at, size_t bytes, int advice);
int __wrap_madvise(void *at, size_t bytes, int advice);
pid_t __wrap_getpid(void);
int __real_close(int fd);
int __wrap_close(int fd);
ssize_t __wrap_send(int fd, const void *bytes, size_t len, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags);
int __wrap_ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
		 const sigset_t *mask);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_nanosleep(clockid_t clock, int flags, const struct timespec *until,
			   struct timespec *left);

static ssize_t fail(int error)
{
	errno = error;
	return -1;
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
	FUZZ_CHECK(clock == CLOCK_MONOTONIC || clock == CLOCK_BOOTTIME);
	server.now_ns += 1000;
	now->tv_sec = server.now_ns / NS_PER_S;
	now->tv_nsec = server.now_ns % NS_PER_S;
	return 0;
}

int __wrap_clock_nanosleep(clockid_t clock, int flags, const struct timespec *until,
			   struct timespec *left)
{
	int64_t until_ns = (int64_t)until->tv_sec * NS_PER_S + until->tv_nsec;

	(void)left;
	FUZZ_CHECK(clock == CLOCK_MONOTONIC && flags == TIMER_ABSTIME);
	if (until_ns > server.now_ns)
		server.now_ns = until_ns;
	return 0;
}

static void reset(struct link *link, int fd)
{
	struct link fresh = {.fd = fd, .pending = link->pending};

	fresh.data.log = link->data.log;
	fresh.plain.log = link->plain.log;
	*link = fresh;
}

int __wrap_socket(int domain, int type, int protocol)
{
	struct link *link = link_of(-1);

	if (domain != AF_UNIX)
		return __real_socket(domain, type, protocol);
	FUZZ_CHECK((type & SOCK_CLOEXEC) && link);
	reset(link, FUZZ_FD + ++server.next_fd);
	return link->fd;
}

int __wrap_setsockopt(int fd, int level, int option, const void *value, socklen_t len)
{
	struct link *link = link_of(fd);
	struct timeval tv;

	FUZZ_CHECK((link || is_passed(fd)) && level == SOL_SOCKET && len > 0);
	FUZZ_CHECK(!link || !link->foreign);
	if (!link)
		return kind_of(fd) == KIND_SOCKET ? 0 : (int)fail(ENOTSOCK);
	if (option == SO_RCVTIMEO || option == SO_SNDTIMEO) {
		FUZZ_CHECK(len == sizeof(tv));
		memcpy(&tv, value, sizeof(tv));
		FUZZ_CHECK(tv.tv_sec >= 0 && tv.tv_usec >= 0 && tv.tv_usec < 1000000);
		link->timeout_ns[option == SO_SNDTIMEO] =
		    (int64_t)tv.tv_sec * NS_PER_S + tv.tv_usec * 1000;
	} else {
		FUZZ_CHECK(option == 83); /* SO_PASSRIGHTS */
		link->takes_fds = *(const uint8_t *)value != 0;
	}
	return 0;
}

int __wrap_connect(int fd, const struct sockaddr *addr, socklen_t len)
{
	static const int errors[] = {0, ECONNREFUSED, ENOENT, EINTR, EACCES, EAGAIN};
	int error = errors[(size_t)server.connect_error % (sizeof(errors) / sizeof(errors[0]))];
	struct link *link = link_of(fd);

	FUZZ_CHECK(link && addr->sa_family == AF_UNIX && len > 0);
	server.connect_error = 0;
	if (server.for_ever && server.input->left == 0)
		error = EACCES; /* or it would try for ever */
	if (error == EAGAIN)
		server.now_ns += link->timeout_ns[1];
	if (error)
		return (int)fail(error);
	link->connected = true;
	return 0;
}

int __wrap_shutdown(int fd, int how)
{
	struct link *link = link_of(fd);

	/* A child ends what it shared with its parent; nobody else writes no more. */
	FUZZ_CHECK(link && (how == SHUT_RD || how == SHUT_RDWR));
	FUZZ_CHECK(link->foreign == (how == SHUT_RDWR));
	link->gone = true;
	return 0;
}

int __wrap_fstat(int fd, struct stat *st)
{
	if (fd < FUZZ_FD)
		return __real_fstat(fd, st);
	memset(st, 0, sizeof(*st));
	st->st_ino = (ino_t)fd;
	st->st_mode = S_IFSOCK;
	if (is_passed(fd) && kind_of(fd) != KIND_SOCKET) {
		st->st_mode = S_IFREG;
		st->st_size = kind_of(fd) == KIND_SHORT ? EPOCH_PAGE_BYTES - 1 : EPOCH_PAGE_BYTES;
	}
	return 0;
}

int __wrap_fstatfs(int fd, struct statfs *fs)
{
	if (fd < FUZZ_FD)
		return __real_fstatfs(fd, fs);
	memset(fs, 0, sizeof(*fs));
	fs->f_type = kind_of(fd) == KIND_DISK ? EXT4_SUPER_MAGIC : TMPFS_MAGIC;
	return 0;
}

int __wrap_fcntl(int fd, int command, ...)
{
	if (fd < FUZZ_FD)
		return __real_fcntl(fd, command);
	FUZZ_CHECK(is_passed(fd) && command == F_GET_SEALS);
	return kind_of(fd) == KIND_SOCKET ? (int)fail(EINVAL) : 0;
}

static bool is_turn(const void *at)
{
	uintptr_t offset = (uintptr_t)at - (uintptr_t)server.turns;

	return offset < TURNS * EPOCH_PAGE_BYTES && offset % EPOCH_PAGE_BYTES == 0;
}

void *__wrap_mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset)
{
	if (fd == -1 && bytes == EPOCH_PAGE_BYTES && server.pid != 0) {
		FUZZ_CHECK(server.turns_mapped < TURNS && flags == (MAP_PRIVATE | MAP_ANONYMOUS));
		at = server.turns + server.turns_mapped++ * EPOCH_PAGE_BYTES;
		memset(at, 0, bytes);
		return at;
	}
	if (fd < FUZZ_FD)
		return __real_mmap(at, bytes, prot, flags, fd, offset);
	FUZZ_CHECK(is_passed(fd) && prot == PROT_READ && bytes == EPOCH_PAGE_BYTES && offset == 0);
	FUZZ_CHECK(kind_of(fd) == KIND_PAGE || kind_of(fd) == KIND_DAMAGED ||
		   kind_of(fd) == KIND_NO_MAP);
	if (kind_of(fd) == KIND_NO_MAP) {
		errno = EACCES;
		return MAP_FAILED;
	}
	/* Those that were shown are kept, and each passed file is another. */
	FUZZ_CHECK(server.maps <= SHELF_PAGES);
	server.page->version = kind_of(fd) == KIND_PAGE ? EPOCH_PAGE_VERSION : 9;
	server.maps++;
	server.seen = kind_of(fd) == KIND_PAGE;
	return server.page;
}

int __wrap_munmap(void *at, size_t bytes)
{
	if (at != server.page && !is_turn(at))
		return __real_munmap(at, bytes);
	FUZZ_CHECK(bytes == EPOCH_PAGE_BYTES);
	if (at == server.page)
		server.maps--;
	else
		server.turns_mapped--;
	return 0;
}

int __wrap_madvise(void *at, size_t bytes, int advice)
{
	if (!is_turn(at))
		return __real_madvise(at, bytes, advice);
	FUZZ_CHECK(bytes == EPOCH_PAGE_BYTES && advice == MADV_WIPEONFORK);
	server.turn_wiped = true;
	return 0;
}

pid_t __wrap_getpid(void)
{
	return server.pid;
}

int __wrap_close(int fd)
{
	if (fd < FUZZ_FD)
		return __real_close(fd);
	if (is_passed(fd)) {
		server.open_passed--;
		return 0;
	}
	FUZZ_CHECK(link_of(fd));
	link_of(fd)->fd = -1;
	return 0;
}

/* A request is whole: what comes now is for it. */
static void new_request(struct link *link)
{
	const uint8_t *head = link->head;
	bool data = head[4] == RNGD_PROTO_OP_GET || head[4] == RNGD_PROTO_OP_STATUS;

	FUZZ_CHECK(head[5] == 1 && head[6] == 0 && head[7] == 0);
	link->owed = head[4] == RNGD_PROTO_OP_GET ? big(head + 12, 4) : 0;
	FUZZ_CHECK(head[4] != RNGD_PROTO_OP_GET || (link->head_bytes == 16 && link->owed > 0));
	link->now = data ? &link->data : &link->plain;
	link->plain.request_bytes = 0; /* a GET makes an earlier LOOK old */
	link->now->request_bytes = link->head_bytes;
	memcpy(link->now->request, head, 12);
	link->now->log_bytes = 0;
	link->head_have = 0;
	if (head[4] == RNGD_PROTO_OP_PAGE)
		server.seen = false;
	if (head[4] == RNGD_PROTO_OP_LOOK)
		server.looked_at = ++server.ticks;
}

ssize_t __wrap_send(int fd, const void *bytes, size_t len, int flags)
{
	struct link *link = link_of(fd);
	const uint8_t *at = bytes;

	FUZZ_CHECK(link && link->connected && (flags & MSG_NOSIGNAL) && len > 0);
	FUZZ_CHECK(!link->foreign);
	if (link->gone)
		return fail(EPIPE);
	if (server.chokes) {
		server.chokes = false;
		server.stuck = server.choke == 0xfc;
		if (server.choke >= 0xfc)
			return fail(server.choke == 0xff   ? EINTR
				    : server.choke == 0xfd ? EPIPE
							   : EAGAIN);
		len = len < server.choke + 1u ? len : server.choke + 1u;
	}
	for (size_t i = 0; i < len; i++) {
		FUZZ_CHECK(link->head_have < sizeof(link->head));
		link->head[link->head_have++] = at[i];
		if (link->head_have == 4)
			link->head_bytes = 4 + big(link->head, 4);
		if (link->head_have >= 12 && link->head_have == link->head_bytes)
			new_request(link);
	}
	return (ssize_t)len;
}

static size_t hand_out(struct link *link, struct msghdr *msg, size_t skip)
{
	struct exchange *now = link->now;
	size_t given = 0;

	FUZZ_CHECK(now || link->gone);
	for (size_t i = 0; now && i < msg->msg_iovlen; i++) {
		size_t room = msg->msg_iov[i].iov_len;
		size_t n = link->pending_bytes - link->pending_at;
		size_t from = skip < room ? skip : room;

		skip -= from;
		n = n < room - from ? n : room - from;
		n = n < LOG_BYTES - now->log_bytes ? n : LOG_BYTES - now->log_bytes;
		if (n == 0)
			continue;
		memcpy((uint8_t *)msg->msg_iov[i].iov_base + from, link->pending + link->pending_at,
		       n);
		memcpy(now->log + now->log_bytes, link->pending + link->pending_at, n);
		now->log_bytes += n;
		link->pending_at += n;
		given += n;
	}
	return given;
}

/* Descriptors go along with bytes, if they are taken at all. */
static void hand_fds(struct link *link, struct msghdr *msg)
{
	struct cmsghdr *cmsg = msg->msg_controllen > 0 ? CMSG_FIRSTHDR(msg) : NULL;
	size_t room = cmsg ? (msg->msg_controllen - CMSG_LEN(0)) / sizeof(int) : 0, count;

	msg->msg_flags = 0;
	count = link->passed < room ? link->passed : room;
	count = link->takes_fds && server.next_passed + (int)count <= 64 ? count : 0;
	count = link->passed_kind == KIND_NO_ROOM ? 0 : count;
	if (link->passed > 0 && count < link->passed)
		msg->msg_flags |= MSG_CTRUNC;
	link->passed = 0;
	msg->msg_controllen = 0;
	if (count == 0)
		return;
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(count * sizeof(int));
	msg->msg_controllen = CMSG_SPACE(count * sizeof(int));
	for (size_t i = 0; i < count; i++) {
		int fd = PASSED_FD + server.next_passed;

		server.passed_kinds[server.next_passed++] = link->passed_kind;
		server.open_passed++;
		memcpy(CMSG_DATA(cmsg) + i * sizeof(fd), &fd, sizeof(fd));
	}
}

static ssize_t received(struct link *link, struct msghdr *msg, size_t given)
{
	if (given > 0)
		hand_fds(link, msg);
	else
		msg->msg_controllen = 0;
	return (ssize_t)given;
}

ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags)
{
	struct link *link = link_of(fd);
	bool wait = !(flags & MSG_DONTWAIT);
	size_t room = 0, given = 0;
	int64_t wakes_ns, limit_ns;
	enum step done = STEP_RAW;

	FUZZ_CHECK(link && link->connected && !link->foreign);
	for (size_t i = 0; i < msg->msg_iovlen; i++)
		room += msg->msg_iov[i].iov_len;
	FUZZ_CHECK(room > 0);
	limit_ns = link->timeout_ns[0];
	wakes_ns = server.now_ns + limit_ns;
	for (;;) {
		given += hand_out(link, msg, given);
		if (given == room || (given > 0 && !(wait && (flags & MSG_WAITALL))) || link->gone)
			return received(link, msg, given);
		if (!wait)
			return fail(EAGAIN);
		if (!step(link, &done)) {
			/* A wait without an end, be it in slices: the way out is that the server
			 * goes. */
			link->gone = limit_ns == 0 || server.for_ever;
			if (limit_ns > 0 && server.now_ns < wakes_ns + LATE_NS(limit_ns))
				server.now_ns = wakes_ns + LATE_NS(limit_ns);
			return given > 0 || link->gone ? received(link, msg, given) : fail(EAGAIN);
		}
		if (given > 0 && done == STEP_EINTR)
			return received(link, msg, given);
		if (limit_ns > 0 && server.now_ns >= wakes_ns) {
			if (server.now_ns > wakes_ns + LATE_NS(limit_ns))
				server.now_ns = wakes_ns + LATE_NS(limit_ns);
			return given > 0 ? received(link, msg, given) : fail(EAGAIN);
		}
		if (given == 0 && (done == STEP_EINTR || done == STEP_RESET))
			return fail(done == STEP_EINTR ? EINTR : ECONNRESET);
	}
}

int __wrap_ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
		 const sigset_t *mask)
{
	int64_t until_ns = INT64_MAX;
	enum step done = STEP_RAW;
	struct link *link = link_of(fds->fd);

	(void)mask;
	FUZZ_CHECK(count == 1 && link);
	if (timeout)
		until_ns = server.now_ns + (int64_t)timeout->tv_sec * NS_PER_S + timeout->tv_nsec;
	fds->revents = fds->events;
	if ((fds->events & POLLOUT) && server.stuck && timeout) {
		server.now_ns = until_ns;
		return 0;
	}
	if (fds->events & POLLOUT)
		return 1;
	while (link->pending_at == link->pending_bytes && !link->gone) {
		if (!step(link, &done)) {
			link->gone = !timeout;
			if (timeout)
				server.now_ns = until_ns;
		}
		if (server.now_ns >= until_ns) {
			server.now_ns = until_ns;
			fds->revents = 0;
			return 0;
		}
		if (done == STEP_EINTR)
			return (int)fail(EINTR);
	}
	return 1;
}

/* ---------------------------------------------------------------- the judgement */

static struct link *main_link(void)
{
	struct link *found = NULL;

	for (size_t i = 0; i < LINKS; i++)
		if (server.links[i].fd >= 0) {
			FUZZ_CHECK(!found); /* that of the page is closed by now */
			found = &server.links[i];
		}
	FUZZ_CHECK(found);
	return found;
}

/* What came for the last question, read once more: the bodies of good frames must be these bytes.
 */
static void check_log(const struct exchange *data, const uint8_t *out, size_t len)
{
	size_t at = 0, got = 0;
	bool more = true;

	while (more) {
		const uint8_t *head = data->log + at;
		size_t body;

		FUZZ_CHECK(data->log_bytes - at >= HEAD_BYTES);
		body = big(head, 4) - (HEAD_BYTES - 4);
		FUZZ_CHECK(data->log_bytes - at - HEAD_BYTES >= body);
		at += HEAD_BYTES + body;
		FUZZ_CHECK(memcmp(head + 8, data->request + 8, 4) == 0);
		FUZZ_CHECK(head[4] == data->request[4] && head[5] == 1 && head[6] == 0);
		FUZZ_CHECK(memcmp(head + 12, data->log + 12, 8) == 0); /* one generation */
		FUZZ_CHECK(body <= len - got && memcmp(out + got, head + HEAD_BYTES, body) == 0);
		got += body;
		more = head[7] & 1;
	}
	FUZZ_CHECK(got == len);
	FUZZ_CHECK(at == data->log_bytes); /* nothing was taken of what comes after */
}

/* A move that came before the last byte was followed by a LOOK, which found the bytes' generation.
 */
static void check_fresh(const struct link *link)
{
	const struct exchange *look = &link->plain;

	if (look->request_bytes == 0) {
		FUZZ_CHECK(server.looked_at > server.moved_at);
		return;
	}
	FUZZ_CHECK(look->request[4] == RNGD_PROTO_OP_LOOK && look->log_bytes >= HEAD_BYTES);
	FUZZ_CHECK(memcmp(look->log + 8, look->request + 8, 4) == 0);
	FUZZ_CHECK(look->log[6] == RNGD_PROTO_E_OPCODE ||
		   (look->log[6] == 0 && memcmp(look->log + 12, link->data.log + 12, 8) == 0));
}

static bool is_zero(const void *out, size_t len)
{
	const uint8_t *bytes = out;

	return len == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0);
}

static void check_error(int err, const int *more)
{
	static const int known[] = {-EAGAIN, -ETIMEDOUT,       -ENOENT,     -ECONNREFUSED, -EACCES,
				    -EPROTO, -EPROTONOSUPPORT, -EOPNOTSUPP, -EMFILE,       -EBUSY};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (err == known[i])
			return;
	for (; more && *more; more++)
		if (err == *more)
			return;
	fprintf(stderr, "error %d\n", err);
	FUZZ_CHECK(!"an errno that rngclient.h names");
}

static void get(struct rngclient *client, size_t len)
{
	static uint8_t *room;
	uint8_t *out;
	int err;

	/* At the end of the one allocation, so that a byte too many is seen. */
	if (!room)
		room = malloc(LONG_BYTES);
	FUZZ_CHECK(room && len <= LONG_BYTES);
	out = room + LONG_BYTES - len;
	memset(out, 0xee, len);
	err = rngclient_get(client, out, len);
	if (err) {
		FUZZ_CHECK(len > 0 && is_zero(out, len));
		check_error(err, NULL);
	} else if (len > 0) {
		check_log(&main_link()->data, out, len);
		check_fresh(main_link());
	}
}

static void status(struct rngclient *client, size_t size)
{
	char *text = malloc(size ? size : 1);
	size_t len;
	int err;

	FUZZ_CHECK(text);
	memset(text, 0xee, size);
	err = rngclient_status(client, text, size);
	if (err && size > 0) {
		FUZZ_CHECK(is_zero(text, size) && err != -EAGAIN);
		check_error(err, (const int[]){-EMSGSIZE, 0});
	} else if (!err) {
		len = strnlen(text, size);
		FUZZ_CHECK(len < size);
		check_log(&main_link()->data, (const uint8_t *)text, len);
	}
	free(text);
}

static void plain(struct rngclient *client, unsigned which, size_t len)
{
	static const uint8_t bytes[RNGCLIENT_BUMP_MAX_BYTES + 1];
	uint64_t generation = 99;
	int err;

	if (which == 0)
		err = rngclient_look(client, &generation);
	else if (which == 1)
		err = rngclient_bump(client, bytes, len % sizeof(bytes), &generation);
	else
		err = rngclient_reseed(client);
	FUZZ_CHECK(which == 2 || (generation == 0) == (err != 0));
	if (err)
		check_error(err, (const int[]){-EPERM, which == 1 ? -ENOTUNIQ : -EPERM,
					       which == 1 ? -EINVAL : -EPERM, 0});
}

static void info(struct rngclient *client)
{
	struct rngclient_epoch epoch;
	int err;

	memset(&epoch, 0xee, sizeof(epoch));
	epoch.size = sizeof(epoch);
	err = rngclient_epoch_info(client, &epoch);
	FUZZ_CHECK(epoch.size == sizeof(epoch));
	if (err) {
		check_error(err, (const int[]){-ENODATA, 0});
		FUZZ_CHECK(is_zero(&epoch.generation, sizeof(epoch) - sizeof(epoch.size)));
	} else {
		FUZZ_CHECK(epoch.look_again == server.page->look_again && epoch.lease_ms >= 0);
		FUZZ_CHECK(memchr(epoch.event_notifier_name, 0, sizeof(epoch.event_notifier_name)));
	}
}

static void call(struct rngclient *client, unsigned what, size_t len, int timeout_ms)
{
	int64_t until_ns = server.now_ns + timeout_ms * NS_PER_MS;

	if (what < 4)
		get(client, len);
	else if (what == 4)
		status(client, len);
	else if (what == 5)
		info(client);
	else
		plain(client, what % 3, len);
	/* A millisecond for what the calls themselves take here; and what the kernel may be late.
	 */
	FUZZ_CHECK(server.for_ever ||
		   server.now_ns <= until_ns + NS_PER_MS + LATE_NS(timeout_ms * NS_PER_MS));
	FUZZ_CHECK(server.open_passed == 0);
}

static size_t length_of(struct fuzz_input *input, unsigned what)
{
	size_t len = fuzz_u32(input);

	if (what != 1)
		return len % 64;
	return len >> 24 == 0xff ? len % LONG_BYTES : len % MORE_BYTES;
}

static int timeout_of(struct fuzz_input *input)
{
	uint16_t number = fuzz_u16(input);

	server.for_ever = number == FOR_EVER;
	server.stuck = false;
	return server.for_ever ? -1 : 1 + (int)(number % TIMEOUT_MAX);
}

/* Between two calls. */
static void between(struct rngclient *client, struct fuzz_input *input, uint8_t choice,
		    int *timeout_ms)
{
	if (choice >= 0xf0) {
		*timeout_ms = timeout_of(input);
		FUZZ_CHECK(rngclient_set_timeout(client, *timeout_ms) == 0);
	} else if (choice >= 0xe0) {
		become_child(!(choice & 1));
	}
}

static void begin(struct fuzz_input *input)
{
	static struct epoch_page *page;
	static uint8_t *turns;
	static uint8_t *room;
	uint8_t *at;

	if (!room) {
		room = calloc(LINKS * 3, LOG_BYTES);
		FUZZ_CHECK(posix_memalign((void **)&page, 4096, sizeof(*page)) == 0);
		FUZZ_CHECK(posix_memalign((void **)&turns, 4096, TURNS * EPOCH_PAGE_BYTES) == 0);
	}
	FUZZ_CHECK(room);
	at = room;
	memset(&server, 0, sizeof(server));
	for (size_t i = 0; i < LINKS; i++, at += 3 * LOG_BYTES)
		server.links[i] = (struct link){.fd = -1,
						.pending = at,
						.data.log = at + LOG_BYTES,
						.plain.log = at + 2 * LOG_BYTES};
	memset(page, 0, sizeof(*page));
	memcpy(page->magic, EPOCH_PAGE_MAGIC, EPOCH_PAGE_MAGIC_BYTES);
	page->generation = GENERATION;
	page->look_again = 100;
	page->events[GENERATION % 2].generation = GENERATION;
	server.page = page;
	server.turns = turns;
	server.pid = 1000;
	server.input = input;
	server.now_ns = NS_PER_S;
	server.ticks = 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};
	uint8_t choice = fuzz_u8(&input);
	unsigned what = choice % 9u;
	struct rngclient *client;
	int timeout_ms, err;
	size_t len;

	begin(&input);
	timeout_ms = timeout_of(&input);
	len = length_of(&input, what);
	server.kernel = choice & 0x80;
	if (choice & 0x40)
		server.connect_error = fuzz_u8(&input);
	err = rngclient_open(&client, "/fuzz/socket", timeout_ms);
	FUZZ_CHECK((err == 0) == (client != NULL));
	if (err) {
		check_error(err, NULL);
		FUZZ_CHECK(((choice & 0x40) || server.for_ever) && server.turns_mapped == 0);
		return 0;
	}
	for (int i = 0; i < CALLS_MAX && (i == 0 || input.left > 0); i++) {
		call(client, what, len, timeout_ms);
		choice = fuzz_u8(&input);
		between(client, &input, choice, &timeout_ms);
		what = choice % 9u;
		len = length_of(&input, what);
	}
	rngclient_close(client);
	FUZZ_CHECK(server.maps == 0 && server.open_passed == 0 && server.turns_mapped == 0);
	for (size_t i = 0; i < LINKS; i++)
		FUZZ_CHECK(server.links[i].fd == -1);
	return 0;
}
