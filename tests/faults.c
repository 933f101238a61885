/*
 * faults - fails every system call of rngd once, in turn, with each errno that the kernel could
 * give there, and sees what becomes of it. Owns: the daemons it starts, by ptrace(2), and the
 * clients that ask them. May touch: the directory it is given, a tmpfs. Never does: let a call that
 * failed have had its effect (close() excepted: there it has, in the kernel too).
 *
 *	faults start|serve|stop RNGD DIRECTORY sample|whole
 *
 * start: the calls from main() until it waits for clients, in an empty directory and in one where a
 * daemon was killed. serve: those it makes while a client asks for all there is. stop: those after
 * SIGTERM. sample takes some of each call's occurrences and errnos, whole takes all.
 *
 * What may come of a fault: it serves, and then it was seeded, is confined and all is as ever; or
 *it ends at once with a status that is not 0 and one line that says why, and the next daemon starts
 *in the same place. While it serves, a request may be refused or its connection closed, and that is
 * all. Prints a table, and a line for whatever else came of one; exits 1 then.
 */
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "proto/wire.h"

#define CALLS_MAX      1024
#define ERRNOS_MAX     8
#define BOUND_MS       10000 /* for a start, a stop, and what clients do in between */
#define ANSWER_S       5
#define BACK_MS        4000 /* from a fault to service as ever */
#define TURN_MS        50   /* between two looks at the clock */
#define MANY_CALLS     48   /* of one call: the middle ones are all alike */
#define SAMPLE_ERRNOS  1
#define SEED_BYTES     32
#define SEED_ASKS      2
#define LONG_BYTES     200000u
#define CROWD          70
#define CROWD_BYTES    4000
#define BLOCK_BYTES    16
#define BLOCKS         (1u << 20)
#define TEXT_BYTES     (RNGD_PROTO_STATUS_MAX_BYTES + 1)
#define LOG_LINE_START "<3>" /* an error, as the journal is told */

enum kind {
	KIND_ERRNO,   /* not made, and fails */
	KIND_SHORT,   /* done by half */
	KIND_NOTHING, /* not made, and returns 0 */
	KINDS_MAX = ERRNOS_MAX + 2,
};

struct fault {
	long call;
	unsigned nth; /* 0: each one */
	enum kind kind;
	int errnum;
	long too; /* another call that fails in the same way each time, or -1 */
};

/* What a call may fail with where rngd makes it. A call not listed: EPERM, ENOMEM. */
struct row {
	long call;
	const char *name;
	int errnums[ERRNOS_MAX];
	bool has_count; /* of bytes done */
};

#define ROW(name_) SYS_##name_, #name_

static const struct row rows[] = {
    {ROW(accept4), {EMFILE, EINTR, ENFILE, ENOMEM, ENOBUFS, ECONNABORTED, EAGAIN}, false},
    {ROW(bind), {EADDRINUSE, EACCES, ENOSPC, EROFS, ENOMEM}, false},
    {ROW(brk), {ENOMEM}, false},
    {ROW(capget), {EPERM}, false},
    {ROW(capset), {EPERM}, false},
    {ROW(close), {EIO, EINTR}, false},
    {ROW(connect), {ENOENT, EAGAIN, EACCES, EINTR}, false},
    {ROW(epoll_create1), {EMFILE, ENOMEM, ENFILE}, false},
    {ROW(epoll_ctl), {ENOMEM, ENOSPC}, false},
#ifdef SYS_epoll_wait
    {ROW(epoll_wait), {EINTR}, false},
#endif
    {ROW(epoll_pwait), {EINTR}, false},
    {ROW(fchmod), {EPERM, EROFS}, false},
    {ROW(fcntl), {EPERM, EINVAL}, false},
    {ROW(flock), {EINTR, ENOLCK, EWOULDBLOCK}, false},
    {ROW(fstatfs), {EIO, ENOSYS}, false},
    {ROW(ftruncate), {ENOMEM, EINTR}, false},
    {ROW(getrandom), {EIO, EINTR, ENOSYS, EAGAIN}, true},
    {ROW(getsockopt), {ENOPROTOOPT, ENOBUFS}, false},
    {ROW(ioctl), {ENOTTY, EINVAL}, false},
    {ROW(linkat), {ENOENT, EEXIST, ENOSPC, EACCES, EROFS}, false},
    {ROW(listen), {EADDRINUSE, ENOBUFS}, false},
    {ROW(lseek), {ESPIPE}, false},
    {ROW(madvise), {EINVAL, ENOMEM}, false},
    {ROW(memfd_secret), {ENOSYS, EMFILE, ENOMEM}, false},
    {ROW(mlock), {ENOMEM, EPERM, EAGAIN}, false},
    {ROW(mmap), {ENOMEM, EPERM}, false},
    {ROW(mprotect), {ENOMEM}, false},
    {ROW(munmap), {ENOMEM}, false},
    {ROW(newfstatat), {ENOMEM, EACCES, EIO}, false},
    {ROW(openat), {EMFILE, EACCES, ENFILE, ENOMEM, EROFS, ENOSPC, EINTR, ENOENT}, false},
    {ROW(prctl), {EINVAL, EPERM}, false},
    {ROW(pread64), {EIO, EINTR}, true},
    {ROW(prlimit64), {EPERM, EINVAL}, false},
    {ROW(pwrite64), {ENOSPC, EIO, EDQUOT}, true},
    {ROW(read), {EIO, EINTR, EAGAIN}, true},
    {ROW(recvmsg), {ECONNRESET, EINTR, EAGAIN, ENOMEM}, true},
    {ROW(seccomp), {ENOSYS, EACCES, EINVAL, ENOMEM}, false},
    {ROW(sendmsg), {ETOOMANYREFS, EAGAIN, EINTR, EPIPE, ENOBUFS, ENOMEM}, true},
    {ROW(sendto), {EPIPE, EAGAIN, EINTR, ECONNRESET, ENOBUFS, ENOMEM}, true},
    {ROW(setgroups), {EPERM, ENOMEM}, false},
    {ROW(setresgid), {EPERM, EINVAL}, false},
    {ROW(setresuid), {EPERM, EAGAIN}, false},
    {ROW(setsockopt), {ENOPROTOOPT, ENOMEM}, false},
    {ROW(signalfd4), {EMFILE, ENOMEM, ENFILE}, false},
    {ROW(socket), {EMFILE, ENOMEM, ENFILE, ENOBUFS}, false},
    {ROW(timerfd_create), {EMFILE, ENOMEM, ENFILE}, false},
    {ROW(timerfd_settime), {EINVAL}, false},
    {ROW(write), {EPIPE, EAGAIN, EINTR, EIO, ENOSPC}, true},
#ifdef SYS_unlink
    {ROW(unlink), {EACCES, EBUSY, EROFS}, false},
#endif
    {ROW(close_range), {ENOSYS, EPERM}, false},
    {ROW(getgroups), {EINVAL}, false},
    {ROW(getresgid), {EFAULT}, false},
    {ROW(getresuid), {EFAULT}, false},
    {ROW(setgid), {EINVAL, EPERM}, false},
    {ROW(setuid), {EAGAIN, EPERM}, false},
    /* Cannot fail as they are used here. */
    {ROW(exit_group), {0}, false},
    {ROW(futex), {0}, false},
    {ROW(geteuid), {0}, false},
    {ROW(getuid), {0}, false},
    {ROW(rt_sigaction), {0}, false},
    {ROW(rt_sigprocmask), {0}, false},
    {ROW(rt_sigreturn), {0}, false},
    {ROW(setfsgid), {0}, false},
    {ROW(setfsuid), {0}, false},
    {ROW(umask), {0}, false},
#ifdef SYS_readlink
    {ROW(readlink), {EACCES, ENOENT}, false},
#endif
    {ROW(readlinkat), {EACCES, ENOENT}, false},
};

static const struct row any_row = {-1, "others", {EPERM, ENOMEM}, false};

enum outcome { SERVES, ENDS, KILLED_AS_SAID, UNREACHED, BAD, OUTCOMES };

static const char *const outcome_names[OUTCOMES] = {
    "serves", "ends, says why", "SIGSYS as said", "not reached", "BAD",
};

/* A daemon under trace. */
struct trace {
	pid_t pid;
	bool in_main;              /* the loader and constructors are over */
	bool armed;                /* calls are counted, and the fault comes */
	bool ready;                /* it waits for events */
	bool sandboxed;            /* after the last call of the start */
	const struct fault *fault; /* or NULL */
	bool done;                 /* the fault has come */
	bool unfit;                /* the call had nothing to halve */
	unsigned seen[CALLS_MAX];
	/* Between the entry to and the exit from a call. */
	long entered;
	bool changing, natural; /* its result is replaced, unless natural */
	long result;
	struct user_regs_struct saved;
	unsigned long poked_at, poked_was;
	/* What the kernel gave for the seed. */
	bool in_secret;
	size_t asked_bytes, owed_bytes, seed_bytes;
	bool seed_failed;
	bool ended;
	int status;
};

/* What the clients, which are processes of their own, leave behind. */
struct shared {
	char why[400];
	unsigned used;
	uint8_t blocks[BLOCKS][BLOCK_BYTES];
};

struct test {
	const char *rngd;
	const char *directory;
	char socket[sizeof(((struct sockaddr_un *)0)->sun_path)];
	int log_fd;
	bool whole;
	struct shared *shared;
	unsigned tally[CALLS_MAX][OUTCOMES];
	unsigned runs, bad;
};

static void die(const char *what)
{
	fprintf(stderr, "faults: %s: %s\n", what, strerror(errno));
	exit(125);
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static const struct row *row_of(long call)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].call == call)
			return &rows[i];
	return &any_row;
}

/* ---------------------------------------------------------------- registers */

static void get_regs(pid_t pid, struct user_regs_struct *regs)
{
	struct iovec io = {.iov_base = regs, .iov_len = sizeof(*regs)};

	if (ptrace(PTRACE_GETREGSET, pid, (void *)NT_PRSTATUS, &io) < 0)
		die("PTRACE_GETREGSET");
}

static void set_regs(pid_t pid, struct user_regs_struct *regs)
{
	struct iovec io = {.iov_base = regs, .iov_len = sizeof(*regs)};

	if (ptrace(PTRACE_SETREGSET, pid, (void *)NT_PRSTATUS, &io) < 0)
		die("PTRACE_SETREGSET");
}

#if defined(__x86_64__)
static void set_argument(struct user_regs_struct *regs, int i, unsigned long value)
{
	if (i == 0)
		regs->rdi = value;
	else if (i == 1)
		regs->rsi = value;
	else
		regs->rdx = value;
}

static void set_call(pid_t pid, struct user_regs_struct *regs, long call)
{
	(void)pid;
	regs->orig_rax = (unsigned long)call;
}

/* The arguments as they were, and this result. */
static void finish(struct user_regs_struct *regs, const struct user_regs_struct *before)
{
	regs->rdi = before->rdi;
	regs->rsi = before->rsi;
	regs->rdx = before->rdx;
}

static void set_result(struct user_regs_struct *regs, long result)
{
	regs->rax = (unsigned long)result;
}
#elif defined(__aarch64__)
static void set_argument(struct user_regs_struct *regs, int i, unsigned long value)
{
	regs->regs[i] = value;
}

static void set_call(pid_t pid, struct user_regs_struct *regs, long call)
{
	int number = (int)call;
	struct iovec io = {.iov_base = &number, .iov_len = sizeof(number)};

	(void)regs;
	if (ptrace(PTRACE_SETREGSET, pid, (void *)NT_ARM_SYSTEM_CALL, &io) < 0)
		die("NT_ARM_SYSTEM_CALL");
}

static void finish(struct user_regs_struct *regs, const struct user_regs_struct *before)
{
	regs->regs[1] = before->regs[1];
	regs->regs[2] = before->regs[2];
}

static void set_result(struct user_regs_struct *regs, long result)
{
	regs->regs[0] = (unsigned long)result;
}
#else
#error "faults does not know this processor's registers"
#endif

/* ---------------------------------------------------------------- one call */

/* Halves the first buffer of a message. false: there is nothing to halve. */
static bool halve_message(struct trace *trace, unsigned long msg_at)
{
	unsigned long iov_at, bytes;

	errno = 0;
	iov_at = (unsigned long)ptrace(PTRACE_PEEKDATA, trace->pid,
				       (void *)(msg_at + offsetof(struct msghdr, msg_iov)), NULL);
	trace->poked_at = iov_at + offsetof(struct iovec, iov_len);
	bytes = (unsigned long)ptrace(PTRACE_PEEKDATA, trace->pid, (void *)trace->poked_at, NULL);
	if (errno)
		die("PTRACE_PEEKDATA");
	trace->poked_was = bytes;
	if (bytes < 2)
		trace->poked_at = 0;
	else if (ptrace(PTRACE_POKEDATA, trace->pid, (void *)trace->poked_at, (void *)(bytes / 2)) <
		 0)
		die("PTRACE_POKEDATA");
	return bytes >= 2;
}

static bool halve(struct trace *trace, long call, const uint64_t *args,
		  struct user_regs_struct *regs)
{
	int at = call == SYS_getrandom ? 1 : 2;

	if (call == SYS_recvmsg || call == SYS_sendmsg)
		return halve_message(trace, (unsigned long)args[1]);
	if (args[at] < 2)
		return false;
	set_argument(regs, at, (unsigned long)args[at] / 2);
	return true;
}

/*
 * A call that is not made becomes close(-1): the filter, which is asked after us, allows that, and
 * it does nothing.
 */
static void change(struct trace *trace, long call, const uint64_t *args, enum kind kind, int errnum)
{
	struct user_regs_struct regs;

	trace->done = true;
	get_regs(trace->pid, &regs);
	trace->saved = regs;
	trace->changing = true;
	trace->natural = false;
	trace->result = kind == KIND_NOTHING ? 0 : -errnum;
	if (kind == KIND_SHORT) {
		trace->natural = true;
		if (!halve(trace, call, args, &regs))
			trace->unfit = true;
	} else if (call == SYS_brk) {
		trace->natural = true; /* a brk() that fails returns where the break is */
		set_argument(&regs, 0, 0);
	} else if (call != SYS_close) {
		set_call(trace->pid, &regs, SYS_close);
		set_argument(&regs, 0, (unsigned long)-1);
	}
	set_regs(trace->pid, &regs);
}

static bool is_due(const struct trace *trace, long call)
{
	const struct fault *fault = trace->fault;

	if (!fault || !trace->armed)
		return false;
	if (fault->too >= 0 && fault->too == call)
		return true;
	return fault->call == call &&
	       (fault->nth == 0 || (!trace->done && trace->seen[call] == fault->nth));
}

static void at_entry(struct trace *trace, long call, const uint64_t *args)
{
	trace->entered = call;
	if (call < 0 || call >= CALLS_MAX)
		return;
	if (call == SYS_openat && args[2] == O_RDWR)
		trace->in_main = true; /* /dev/null, before all else */
	if (!trace->in_main)
		return;
	/* One that does not wait may come before, to see what can be watched. */
	if (args[3] != 0 && (call == SYS_epoll_pwait
#ifdef SYS_epoll_wait
			     || call == SYS_epoll_wait
#endif
			     ))
		trace->ready = true;
	if (call == SYS_mmap && args[2] == PROT_NONE)
		trace->in_secret = true; /* what is locked for secrets has guard pages */
	trace->asked_bytes = call == SYS_getrandom ? (size_t)args[1] : 0;
	/* To change or drop what is watched asks the kernel for nothing that it could lack. */
	if (call == SYS_epoll_ctl && args[1] != EPOLL_CTL_ADD)
		return;
	if (trace->armed)
		trace->seen[call]++;
	if (is_due(trace, call))
		change(trace, call, args, trace->fault->kind, trace->fault->errnum);
}

/* The kernel's part of the seed, as the daemon was given it. */
static void count_seed(struct trace *trace, long result)
{
	if (!trace->in_secret)
		return;
	if (trace->asked_bytes == SEED_BYTES && trace->owed_bytes == 0)
		trace->owed_bytes = SEED_BYTES;
	if (trace->asked_bytes != trace->owed_bytes)
		return;
	if (result < 0) {
		trace->seed_failed |= result != -EINTR;
		return;
	}
	trace->seed_bytes += (size_t)result;
	trace->owed_bytes -= (size_t)result;
}

static void at_exit(struct trace *trace, long result)
{
	struct user_regs_struct regs;

	if (trace->changing) {
		get_regs(trace->pid, &regs);
		finish(&regs, &trace->saved);
		if (!trace->natural) {
			set_result(&regs, trace->result);
			result = trace->result;
		}
		set_regs(trace->pid, &regs);
		if (trace->poked_at && ptrace(PTRACE_POKEDATA, trace->pid, (void *)trace->poked_at,
					      (void *)trace->poked_was) < 0)
			die("PTRACE_POKEDATA");
		trace->poked_at = 0;
		trace->changing = false;
	}
	if (trace->entered == SYS_getrandom)
		count_seed(trace, result);
	trace->entered = -1;
}

/* One stop of the daemon, which then goes on. */
static void step(struct trace *trace, int status)
{
	struct __ptrace_syscall_info info;
	int pass_on = 0;

	if (WIFEXITED(status) || WIFSIGNALED(status)) {
		trace->ended = true;
		trace->status = status;
		return;
	}
	if (WSTOPSIG(status) == (SIGTRAP | 0x80)) {
		if (ptrace(PTRACE_GET_SYSCALL_INFO, trace->pid, sizeof(info), &info) >= 0) {
			if (info.op == PTRACE_SYSCALL_INFO_ENTRY)
				at_entry(trace, (long)info.entry.nr,
					 (const uint64_t *)info.entry.args);
			else if (info.op == PTRACE_SYSCALL_INFO_EXIT)
				at_exit(trace, (long)info.exit.rval);
		}
	} else if (status >> 16 == 0) {
		pass_on = WSTOPSIG(status);
	}
	if (ptrace(PTRACE_SYSCALL, trace->pid, NULL, (void *)(intptr_t)pass_on) < 0 &&
	    errno != ESRCH)
		die("PTRACE_SYSCALL");
}

/* ---------------------------------------------------------------- clients */

/* In a client: says what is wrong and ends it. */
static _Noreturn void wrong(const struct test *test, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(test->shared->why, sizeof(test->shared->why), format, args);
	va_end(args);
	_exit(1);
}

static int dial(const struct test *test, const char *suffix)
{
	const struct timeval timeout = {.tv_sec = ANSWER_S};
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%.90s%s", test->socket, suffix);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0)
		wrong(test, "socket: %s", strerror(errno));
	if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* false: the connection ended. Waiting in vain is wrong. */
static bool take(const struct test *test, int fd, void *data, size_t len, int *passed_fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	uint8_t *at = data;

	while (len > 0) {
		struct iovec iov = {.iov_base = at, .iov_len = len};
		struct msghdr msg = {.msg_iov = &iov,
				     .msg_iovlen = 1,
				     .msg_control = control.bytes,
				     .msg_controllen = sizeof(control.bytes)};
		ssize_t n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
		struct cmsghdr *cmsg = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			wrong(test, "no answer for %d s", ANSWER_S);
		if (n <= 0)
			return false;
		if (cmsg && cmsg->cmsg_type == SCM_RIGHTS && passed_fd)
			memcpy(passed_fd, CMSG_DATA(cmsg), sizeof(int));
		at += n;
		len -= (size_t)n;
	}
	return true;
}

/* Was given to somebody before? */
static void note_block(const struct test *test, const uint8_t *block)
{
	struct shared *shared = test->shared;
	static const uint8_t zero[BLOCK_BYTES];
	uint32_t at;

	if (memcmp(block, zero, BLOCK_BYTES) == 0)
		wrong(test, "zeros were served");
	memcpy(&at, block, sizeof(at));
	for (at %= BLOCKS; memcmp(shared->blocks[at], zero, BLOCK_BYTES) != 0;
	     at = (at + 1) % BLOCKS)
		if (memcmp(shared->blocks[at], block, BLOCK_BYTES) == 0)
			wrong(test, "a block was served twice");
	if (shared->used > BLOCKS / 2)
		return;
	memcpy(shared->blocks[at], block, BLOCK_BYTES);
	shared->used++;
}

struct answer {
	bool whole; /* else the connection ended before it was */
	uint8_t status;
	uint64_t generation;
	char text[TEXT_BYTES];
	int passed_fd;
};

static void take_body(const struct test *test, int fd, const struct wire_reply *reply,
		      struct answer *answer)
{
	static uint8_t body[RNGD_PROTO_FRAME_DATA_BYTES];
	bool random = reply->opcode == RNGD_PROTO_OP_GET && reply->status == RNGD_PROTO_OK;

	if (reply->body_bytes > sizeof(body) || (!random && reply->body_bytes >= TEXT_BYTES))
		wrong(test, "a frame of %u bytes", reply->body_bytes);
	answer->whole = take(test, fd, body, reply->body_bytes, NULL);
	if (answer->whole && !random) {
		memcpy(answer->text, body, reply->body_bytes);
		answer->text[reply->body_bytes] = '\0';
	} else if (answer->whole && reply->body_bytes >= BLOCK_BYTES) {
		note_block(test, body);
		if (reply->body_bytes >= 2 * BLOCK_BYTES)
			note_block(test, body + reply->body_bytes - BLOCK_BYTES);
	}
}

/* One request and its whole reply. get_bytes: of a GET, else 0. */
static void ask(const struct test *test, int fd, uint8_t opcode, uint32_t body_bytes,
		uint32_t get_bytes, struct answer *answer)
{
	static uint32_t tag;
	uint8_t buf[RNGD_PROTO_REQUEST_MAX_BYTES], body[64], head[RNGD_PROTO_REPLY_HEAD_BYTES];
	struct wire_request req = {.opcode = opcode, .version = 1, .tag = ++tag, .body = body};
	struct wire_reply reply = {.flags = RNGD_PROTO_FLAG_MORE};
	uint32_t got = 0;

	memset(answer, 0, offsetof(struct answer, text));
	answer->passed_fd = -1;
	memset(body, (int)(tag & 0xff), sizeof(body));
	req.body_bytes = body_bytes;
	if (get_bytes) {
		wire_put_u32(body, get_bytes);
		req.body_bytes = RNGD_PROTO_GET_BODY_BYTES;
	}
	if (send(fd, buf, wire_encode_request(&req, buf), MSG_NOSIGNAL) < 0)
		return;
	while (reply.flags & RNGD_PROTO_FLAG_MORE) {
		if (!take(test, fd, head, sizeof(head), &answer->passed_fd)) {
			answer->whole = false;
			return;
		}
		if (wire_decode_reply(head, &reply) != WIRE_OK || reply.tag != tag ||
		    reply.opcode != opcode)
			wrong(test, "opcode %u is answered by garbage", opcode);
		answer->status = reply.status;
		answer->generation = reply.generation;
		take_body(test, fd, &reply, answer);
		got += reply.body_bytes;
		if (!answer->whole)
			return;
	}
	if (get_bytes && answer->status == RNGD_PROTO_OK && got != get_bytes)
		wrong(test, "%u bytes instead of %u", got, get_bytes);
}

/* All there is to ask for; refusals and lost connections are nothing to complain about. */
static void client_loose(const struct test *test)
{
	static const struct {
		uint8_t opcode;
		uint32_t body_bytes, get_bytes;
		bool control;
	} script[] = {
	    {RNGD_PROTO_OP_GET, 0, 32, false},         {RNGD_PROTO_OP_STATUS, 0, 0, false},
	    {RNGD_PROTO_OP_PAGE, 0, 0, false},         {RNGD_PROTO_OP_LOOK, 0, 0, false},
	    {RNGD_PROTO_OP_GET, 0, LONG_BYTES, false}, {RNGD_PROTO_OP_RESEED, 0, 0, true},
	    {RNGD_PROTO_OP_GET, 0, 4096, true},        {RNGD_PROTO_OP_BUMP, 64, 0, true},
	    {RNGD_PROTO_OP_GET, 0, 48, false},
	};
	static struct answer answer;
	int fds[2] = {-1, -1};

	for (size_t i = 0; i < sizeof(script) / sizeof(script[0]); i++) {
		int *fd = &fds[script[i].control];

		if (*fd < 0)
			*fd = dial(test, script[i].control ? RNGD_PROTO_CONTROL_SUFFIX : "");
		if (*fd < 0)
			continue;
		ask(test, *fd, script[i].opcode, script[i].body_bytes, script[i].get_bytes,
		    &answer);
		if (answer.passed_fd >= 0)
			close(answer.passed_fd);
		else if (script[i].opcode == RNGD_PROTO_OP_PAGE && answer.whole &&
			 answer.status == RNGD_PROTO_OK)
			wrong(test, "a page is said to be passed, and is not");
		if (answer.whole)
			continue;
		close(*fd);
		*fd = -1;
	}
	/* The ends of these connections come before what the next one asks. */
	for (size_t i = 0; i < 2; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	fds[0] = dial(test, "");
	if (fds[0] >= 0)
		ask(test, fds[0], RNGD_PROTO_OP_GET, 0, 64, &answer);
}

/* So many half requests that more memory is needed. */
static void client_crowd(const struct test *test)
{
	uint8_t half[CROWD_BYTES] = {0};
	int fds[CROWD];

	wire_put_u32(half, RNGD_PROTO_REQUEST_MAX_BYTES - RNGD_PROTO_LENGTH_BYTES);
	for (size_t i = 0; i < CROWD; i++) {
		fds[i] = dial(test, "");
		if (fds[i] >= 0 && send(fds[i], half, sizeof(half), MSG_NOSIGNAL) < 0) {
			close(fds[i]);
			fds[i] = -1;
		}
	}
	client_loose(test);
}

/* NULL, or what there is to complain about. */
static const char *serves_as_ever(const struct test *test, int fd, bool page_known)
{
	static const char *const must[] = {
	    "state=\"serving\"\n",     "memory.locked=true\n",   "memory.no_dump=true\n",
	    "memory.no_fork=true\n",   "sandbox.seccomp=true\n", "source.kernel=\"active\"\n",
	    "reseed.error=\"none\"\n",
	};
	static struct answer answer;
	bool published;

	ask(test, fd, RNGD_PROTO_OP_GET, 0, 32, &answer);
	if (!answer.whole || answer.status != RNGD_PROTO_OK)
		return "no bytes";
	ask(test, fd, RNGD_PROTO_OP_LOOK, 0, 0, &answer);
	if (!answer.whole || answer.status != RNGD_PROTO_OK)
		return "no look";
	ask(test, fd, RNGD_PROTO_OP_STATUS, 0, 0, &answer);
	if (!answer.whole || answer.status != RNGD_PROTO_OK)
		return "no status";
	for (size_t i = 0; i < sizeof(must) / sizeof(must[0]); i++)
		if (!strstr(answer.text, must[i]))
			return must[i];
	published = strstr(answer.text, "epoch.published=true\n") != NULL;
	if (page_known)
		return NULL;
	ask(test, fd, RNGD_PROTO_OP_PAGE, 0, 0, &answer);
	if (answer.passed_fd >= 0)
		close(answer.passed_fd);
	if (!answer.whole || answer.status != (published ? RNGD_PROTO_OK : RNGD_PROTO_E_NO_PAGE) ||
	    published != (answer.passed_fd >= 0))
		return "no page";
	return NULL;
}

static bool read_proc(pid_t pid, const char *name, char *text, size_t size)
{
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, size - 1);
	if (fd >= 0)
		close(fd);
	text[n < 0 ? 0 : n] = '\0';
	return n > 0;
}

/* What the kernel says of it, and of its files. */
static const char *confined(const struct test *test, pid_t pid)
{
	static const char *const must[] = {
	    "\nNoNewPrivs:\t1\n",
	    "\nSeccomp:\t2\n",
	    "\nThreads:\t1\n",
	    "\nCapEff:\t0000000000000000\n",
	    "\nCapPrm:\t0000000000000000\n",
	};
	char path[sizeof(test->socket) + 32], text[8192];
	struct stat st;

	if (!read_proc(pid, "limits", text, sizeof(text)) ||
	    !strstr(text, "\nMax core file size        0                    0 "))
		return "may leave a core file";
	if (!read_proc(pid, "status", text, sizeof(text)))
		return "no /proc";
	for (size_t i = 0; i < sizeof(must) / sizeof(must[0]); i++)
		if (!strstr(text, must[i]))
			return must[i] + 1;
	if (geteuid() == 0 && strstr(text, "\nUid:\t0"))
		return "runs as root";
	/* Of what can be dumped, these files belong to its user. */
	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	if (stat(path, &st) < 0 || st.st_uid != 0)
		return "can be dumped";
	snprintf(path, sizeof(path), "%s" RNGD_PROTO_CONTROL_SUFFIX, test->socket);
	if (stat(path, &st) == 0 && (st.st_mode & 077))
		return "the control socket is open to others";
	return NULL;
}

/* It serves as if nothing had happened, after a short while; also who was there before. */
static void client_strict(const struct test *test, pid_t pid, int bystander)
{
	int64_t end_ms = now_ms() + BACK_MS;
	const char *why;
	int fd;

	do {
		fd = dial(test, "");
		why = fd < 0 ? "no connection" : serves_as_ever(test, fd, false);
		if (fd >= 0)
			close(fd);
		if (!why && bystander >= 0)
			why = serves_as_ever(test, bystander, true);
		if (!why)
			why = confined(test, pid);
		if (why)
			poll(NULL, 0, TURN_MS);
	} while (why && now_ms() < end_ms);
	if (why)
		wrong(test, "not as it should be: %.200s", why);
}

/* ---------------------------------------------------------------- running both */

enum client { CLIENT_NONE, CLIENT_LOOSE, CLIENT_CROWD, CLIENT_STRICT };

static pid_t start_client(const struct test *test, enum client client, pid_t pid, int bystander)
{
	pid_t child = fork();

	if (child < 0)
		die("fork");
	if (child > 0)
		return child;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	test->shared->why[0] = '\0';
	if (client == CLIENT_LOOSE)
		client_loose(test);
	else if (client == CLIENT_CROWD)
		client_crowd(test);
	else
		client_strict(test, pid, bystander);
	_exit(0);
}

/*
 * Runs the daemon until the client has ended, or without one until it is ready or has ended. NULL,
 * or what is wrong.
 */
static const char *run(const struct test *test, struct trace *trace, enum client what,
		       bool to_ready, int bystander)
{
	int64_t end_ms = now_ms() + BOUND_MS;
	pid_t client = what == CLIENT_NONE ? -1 : start_client(test, what, trace->pid, bystander);
	int status, client_status = -1;

	while (client > 0 ? client_status == -1 : !trace->ended && !(to_ready && trace->ready)) {
		pid_t pid = waitpid(-1, &status, __WALL);

		if (pid == trace->pid)
			step(trace, status);
		else if (pid == client)
			client_status = status;
		else if (pid < 0 && errno != EINTR)
			die("waitpid");
		if (now_ms() > end_ms) {
			if (client > 0 && client_status == -1) {
				kill(client, SIGKILL);
				while (waitpid(client, &status, 0) < 0 && errno == EINTR)
					;
			}
			return "hangs";
		}
	}
	return client > 0 && client_status != 0 ? test->shared->why : NULL;
}

static void start_daemon(const struct test *test, struct trace *trace, const struct fault *fault)
{
	char socket_argument[] = "--socket";
	char *argv[] = {(char *)(uintptr_t)test->rngd, socket_argument,
			(char *)(uintptr_t)test->socket, NULL};
	int status;

	*trace = (struct trace){.fault = fault, .entered = -1, .armed = true};
	if (ftruncate(test->log_fd, 0) < 0)
		die("ftruncate");
	trace->pid = fork();
	if (trace->pid < 0)
		die("fork");
	if (trace->pid == 0) {
		setenv("JOURNAL_STREAM", "0:0", 1); /* its lines then begin with their level */
		if (dup2(test->log_fd, STDERR_FILENO) < 0 ||
		    dup2(test->log_fd, STDOUT_FILENO) < 0 ||
		    ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
			_exit(125);
		raise(SIGSTOP);
		execv(argv[0], argv);
		_exit(125);
	}
	while (waitpid(trace->pid, &status, 0) < 0)
		if (errno != EINTR)
			die("waitpid");
	if (!WIFSTOPPED(status))
		die("the daemon cannot be traced");
	if (ptrace(PTRACE_SETOPTIONS, trace->pid, NULL,
		   (void *)(PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC)) < 0)
		die("PTRACE_SETOPTIONS");
	if (ptrace(PTRACE_SYSCALL, trace->pid, NULL, NULL) < 0)
		die("PTRACE_SYSCALL");
}

static void kill_daemon(struct trace *trace)
{
	int status;

	if (trace->ended)
		return;
	kill(trace->pid, SIGKILL);
	while (!trace->ended)
		if (waitpid(trace->pid, &status, __WALL) == trace->pid)
			trace->ended = WIFEXITED(status) || WIFSIGNALED(status);
}

/* NULL, or what is wrong with how it ended by itself. */
static const char *check_end(const struct trace *trace, int wanted)
{
	if (WIFSIGNALED(trace->status))
		return strsignal(WTERMSIG(trace->status));
	return WEXITSTATUS(trace->status) == wanted ? NULL : "another exit status";
}

static const char *stop_daemon(const struct test *test, struct trace *trace)
{
	const char *why;

	if (!trace->ended) {
		kill(trace->pid, SIGTERM);
		why = run(test, trace, CLIENT_NONE, false, -1);
		if (why)
			return why;
	}
	return check_end(trace, 0);
}

/* ---------------------------------------------------------------- what was written */

static size_t read_log(const struct test *test, char *text, size_t size)
{
	ssize_t n = pread(test->log_fd, text, size - 1, 0);

	text[n < 0 ? 0 : n] = '\0';
	return n < 0 ? 0 : (size_t)n;
}

static unsigned count_errors(const char *text)
{
	unsigned count = 0;

	for (const char *at = text; *at; at = strchr(at, '\n') ? strchr(at, '\n') + 1 : "")
		count += strncmp(at, LOG_LINE_START, strlen(LOG_LINE_START)) == 0;
	return count;
}

static void clear_directory(const struct test *test)
{
	DIR *directory = opendir(test->directory);
	struct dirent *entry;

	if (!directory)
		die(test->directory);
	while ((entry = readdir(directory)))
		if (strncmp(entry->d_name, "rngd.sock", strlen("rngd.sock")) == 0)
			unlinkat(dirfd(directory), entry->d_name, 0);
	closedir(directory);
}

static void describe(const struct fault *fault, char *text, size_t size)
{
	static const char *const kinds[] = {"", "half of it", "0"};
	const struct row *row = row_of(fault->call);

	snprintf(text, size, "%s%s%.0ld call %u: %s", row->name, fault->too >= 0 ? "+" : "",
		 row == &any_row ? fault->call : 0, fault->nth,
		 fault->kind == KIND_ERRNO ? strerrorname_np(fault->errnum) : kinds[fault->kind]);
}

static void conclude(struct test *test, const char *where, const struct fault *fault,
		     enum outcome outcome, const char *why)
{
	char what[80], text[4096];

	if (outcome != UNREACHED)
		test->runs++;
	test->tally[fault->call][outcome]++;
	describe(fault, what, sizeof(what));
	if (getenv("FAULTS_VERBOSE"))
		printf("%s: %s: %s\n", where, what, outcome_names[outcome]);
	if (outcome != BAD)
		return;
	test->bad++;
	read_log(test, text, sizeof(text));
	printf("BAD: %s: %s: %s\n", where, what, why);
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		printf("  log: %s\n", line);
	fflush(stdout);
}

/* ---------------------------------------------------------------- the plan */

/* Which occurrences, of so many, are of interest. */
static bool is_chosen(const struct test *test, unsigned nth, unsigned count)
{
	if (test->whole)
		return nth <= MANY_CALLS / 2 || nth > count - MANY_CALLS / 2;
	return nth <= 1 || nth == count || nth == (count + 1) / 2;
}

typedef void try_fn(struct test *test, const struct fault *fault, const void *how);

static void for_each_fault(struct test *test, const unsigned seen[CALLS_MAX], try_fn *try_one,
			   const void *how)
{
	for (long call = 0; call < CALLS_MAX; call++) {
		const struct row *row = row_of(call);

		for (unsigned nth = 1; nth <= seen[call]; nth++) {
			struct fault fault = {.call = call, .nth = nth, .too = -1};

			if (!is_chosen(test, nth, seen[call]))
				continue;
			for (size_t i = 0; i < ERRNOS_MAX && row->errnums[i]; i++) {
				fault.errnum = row->errnums[i];
				if (test->whole || i < SAMPLE_ERRNOS)
					try_one(test, &fault, how);
			}
			if (!row->has_count)
				continue;
			fault.errnum = 0;
			fault.kind = KIND_SHORT;
			try_one(test, &fault, how);
			fault.kind = KIND_NOTHING;
			if (call != SYS_sendto && call != SYS_sendmsg && call != SYS_write)
				try_one(test, &fault, how);
		}
	}
}

/* ---------------------------------------------------------------- start */

/* What a daemon leaves that was killed. */
static void leave_traces(struct test *test)
{
	struct trace trace;
	const char *why;

	start_daemon(test, &trace, NULL);
	why = run(test, &trace, CLIENT_NONE, true, -1);
	if (why || trace.ended) {
		fprintf(stderr, "faults: a plain start: %s\n", why ? why : "ended");
		exit(1);
	}
	kill_daemon(&trace);
}

static enum outcome judge_end(const struct test *test, const struct trace *trace, const char **why)
{
	char text[4096];
	unsigned errors;

	read_log(test, text, sizeof(text));
	errors = count_errors(text);
	*why = check_end(trace, 1);
	if (!*why && errors != 1)
		*why = errors ? "more than one line of error" : "not a word why it ended";
	return *why ? BAD : ENDS;
}

static enum outcome judge_serving(const struct test *test, struct trace *trace, const char **why)
{
	if (trace->seed_failed || trace->seed_bytes < SEED_ASKS * SEED_BYTES) {
		*why = "serves without a seed";
		return BAD;
	}
	trace->fault = NULL;
	*why = run(test, trace, CLIENT_STRICT, false, -1);
	if (*why && trace->ended)
		return judge_end(test, trace, why);
	if (!*why)
		*why = stop_daemon(test, trace);
	return *why ? BAD : SERVES;
}

static void try_start(struct test *test, const struct fault *fault, const void *how)
{
	const bool *used = how;
	const char *why;
	enum outcome outcome;
	struct trace trace;

	clear_directory(test);
	if (*used)
		leave_traces(test);
	start_daemon(test, &trace, fault);
	why = run(test, &trace, CLIENT_NONE, true, -1);
	if (why)
		outcome = BAD;
	else if (!trace.done || trace.unfit)
		outcome = UNREACHED;
	else if (trace.ended)
		outcome = judge_end(test, &trace, &why);
	else
		outcome = judge_serving(test, &trace, &why);
	kill_daemon(&trace);
	if (outcome == ENDS) {
		char text[4096];
		size_t len = read_log(test, text, sizeof(text));

		start_daemon(test, &trace, NULL);
		why = run(test, &trace, CLIENT_STRICT, false, -1);
		if (!why)
			why = stop_daemon(test, &trace);
		kill_daemon(&trace);
		if (why) {
			outcome = BAD;
			if (pwrite(test->log_fd, text, len, 0) < 0)
				die("log");
		}
	}
	conclude(test, *used ? "start after a kill" : "first start", fault, outcome,
		 why ? why : "");
}

static void test_start(struct test *test)
{
	static const bool directories[] = {false, true};

	for (size_t i = 0; i < sizeof(directories) / sizeof(directories[0]); i++) {
		struct trace trace;

		clear_directory(test);
		if (directories[i])
			leave_traces(test);
		start_daemon(test, &trace, NULL);
		if (run(test, &trace, CLIENT_NONE, true, -1) || trace.ended || trace.seed_failed ||
		    trace.seed_bytes != SEED_ASKS * SEED_BYTES) {
			fprintf(stderr, "faults: a plain start is not as it should be\n");
			exit(1);
		}
		kill_daemon(&trace);
		for_each_fault(test, trace.seen, try_start, &directories[i]);
	}
}

/* ---------------------------------------------------------------- serve */

struct serving {
	struct trace trace;
	int bystander;
	unsigned fds; /* that it has open when nobody asks */
	enum client client;
};

static unsigned count_fds(pid_t pid)
{
	char path[32];
	unsigned count = 0;
	DIR *directory;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	directory = opendir(path);
	while (directory && readdir(directory))
		count++;
	if (directory)
		closedir(directory);
	return count;
}

static void start_serving(struct test *test, struct serving *serving)
{
	const char *why;

	clear_directory(test);
	start_daemon(test, &serving->trace, NULL);
	why = run(test, &serving->trace, CLIENT_NONE, true, -1);
	if (!why)
		serving->bystander = dial(test, "");
	if (!why)
		why = run(test, &serving->trace, CLIENT_STRICT, false, serving->bystander);
	if (why) {
		fprintf(stderr, "faults: does not serve: %s\n", why);
		exit(1);
	}
	serving->fds = count_fds(serving->trace.pid);
}

static void end_serving(struct serving *serving)
{
	kill_daemon(&serving->trace);
	close(serving->bystander);
}

static void arm(struct trace *trace, const struct fault *fault)
{
	memset(trace->seen, 0, sizeof(trace->seen));
	trace->fault = fault;
	trace->done = trace->unfit = false;
}

/* All of these, that is: what libev cannot do without. doc/sandbox.md says how that ends. */
static bool may_kill(const struct fault *fault)
{
	return fault->too >= 0;
}

static void try_serve(struct test *test, const struct fault *fault, const void *how)
{
	/* The daemon goes on from one fault to the next. */
	struct serving *serving = (struct serving *)(uintptr_t)how;
	struct trace *trace = &serving->trace;
	enum outcome outcome = SERVES;
	const char *why;

	/* A detector that failed once is not read again; a second clone is not logged at once. */
	if (fault->call == SYS_read || fault->call == SYS_write) {
		end_serving(serving);
		start_serving(test, serving);
	}
	arm(trace, fault);
	why = run(test, trace, serving->client, false, -1);
	if (!trace->done || trace->unfit)
		outcome = UNREACHED;
	trace->fault = NULL;
	if (trace->ended && WIFSIGNALED(trace->status) && WTERMSIG(trace->status) == SIGSYS &&
	    may_kill(fault)) {
		outcome = KILLED_AS_SAID;
		why = NULL;
	} else if (!why && !trace->ended) {
		why = run(test, trace, CLIENT_STRICT, false, serving->bystander);
	}
	if (trace->ended && outcome != KILLED_AS_SAID) {
		why = check_end(trace, 0);
		why = why ? why : "ended";
	}
	if (why)
		outcome = BAD;
	conclude(test, "serving", fault, outcome, why ? why : "");
	if (outcome == BAD || trace->ended) {
		end_serving(serving);
		start_serving(test, serving);
	}
}

static void test_serve(struct test *test)
{
	static const long both[] = {SYS_brk, SYS_mmap};
	static struct serving serving;
	struct fault fault = {.call = both[0], .errnum = ENOMEM, .too = both[1]};
	unsigned seen[CALLS_MAX];
	const char *why;

	start_serving(test, &serving);
	serving.client = CLIENT_LOOSE;
	arm(&serving.trace, NULL);
	why = run(test, &serving.trace, CLIENT_LOOSE, false, -1);
	if (why) {
		fprintf(stderr, "faults: without a fault: %s\n", why);
		exit(1);
	}
	memcpy(seen, serving.trace.seen, sizeof(seen));
	for_each_fault(test, seen, try_serve, &serving);
	serving.client = CLIENT_CROWD;
	try_serve(test, &fault, &serving); /* no memory at all */
	fault = (struct fault){.call = both[0], .errnum = ENOMEM, .too = -1};
	try_serve(test, &fault, &serving); /* the way beside it */
	why = run(test, &serving.trace, CLIENT_STRICT, false, serving.bystander);
	if (!why && count_fds(serving.trace.pid) > serving.fds)
		why = "descriptors were lost";
	if (!why)
		why = stop_daemon(test, &serving.trace);
	if (why) {
		printf("BAD: after all faults: %s\n", why);
		test->bad++;
	}
	end_serving(&serving);
}

/* ---------------------------------------------------------------- stop */

static void try_stop(struct test *test, const struct fault *fault, const void *how)
{
	struct serving serving;
	const char *why;
	enum outcome outcome = ENDS;

	(void)how;
	start_serving(test, &serving);
	arm(&serving.trace, fault);
	why = stop_daemon(test, &serving.trace);
	if (why)
		outcome = BAD;
	else if (!serving.trace.done || serving.trace.unfit)
		outcome = UNREACHED;
	conclude(test, "stopping", fault, outcome, why ? why : "");
	end_serving(&serving);
}

static void test_stop(struct test *test)
{
	struct serving serving;
	const char *why;

	start_serving(test, &serving);
	arm(&serving.trace, NULL);
	why = stop_daemon(test, &serving.trace);
	if (why) {
		fprintf(stderr, "faults: without a fault: %s\n", why);
		exit(1);
	}
	end_serving(&serving);
	for_each_fault(test, serving.trace.seen, try_stop, NULL);
}

/* ---------------------------------------------------------------- all of it */

static void print_table(const struct test *test)
{
	printf("%-16s", "call");
	for (size_t i = 0; i < OUTCOMES; i++)
		printf(" %15s", outcome_names[i]);
	for (long call = 0; call < CALLS_MAX; call++) {
		const struct row *row = row_of(call);
		unsigned all = 0;

		for (size_t i = 0; i < OUTCOMES; i++)
			all += test->tally[call][i];
		if (all == 0)
			continue;
		if (row == &any_row)
			printf("\ncall %-11ld", call);
		else
			printf("\n%-16s", row->name);
		for (size_t i = 0; i < OUTCOMES; i++)
			printf(" %15u", test->tally[call][i]);
	}
	printf("\nfaults=%u bad=%u blocks=%u\n", test->runs, test->bad, test->shared->used);
}

static void no_op(int signal_number)
{
	(void)signal_number;
}

static void set_up(struct test *test)
{
	const struct itimerval every = {{0, TURN_MS * 1000}, {0, TURN_MS * 1000}};
	struct sigaction action = {.sa_handler = no_op}; /* without SA_RESTART: waits end */

	if (snprintf(test->socket, sizeof(test->socket), "%s/rngd.sock", test->directory) >=
	    (int)sizeof(test->socket) - 16)
		die("too long a path");
	test->log_fd = memfd_create("log", MFD_CLOEXEC);
	if (test->log_fd < 0 || fcntl(test->log_fd, F_SETFL, O_APPEND) < 0)
		die("memfd_create");
	test->shared = mmap(NULL, sizeof(*test->shared), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (test->shared == MAP_FAILED)
		die("mmap");
	if (sigaction(SIGALRM, &action, NULL) < 0 || setitimer(ITIMER_REAL, &every, NULL) < 0)
		die("setitimer");
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(struct test *test);
	} tests[] = {{"start", test_start}, {"serve", test_serve}, {"stop", test_stop}};
	static struct test test;

	if (argc != 5 || (strcmp(argv[4], "sample") != 0 && strcmp(argv[4], "whole") != 0)) {
		fputs("usage: faults start|serve|stop RNGD DIRECTORY sample|whole\n", stderr);
		return 2;
	}
	test.rngd = argv[2];
	test.directory = argv[3];
	test.whole = strcmp(argv[4], "whole") == 0;
	set_up(&test);
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
		if (strcmp(tests[i].name, argv[1]) != 0)
			continue;
		tests[i].run(&test);
		print_table(&test);
		return test.bad ? 1 : 0;
	}
	return 2;
}
