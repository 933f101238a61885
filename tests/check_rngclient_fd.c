/*
 * Handles over a given descriptor: behind a filter that lets read, write and close pass and nothing
 * else, with the vDSO unmapped, against a real daemon; and, for replies that no daemon gives,
 * against a peer of the test's own.
 */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/handle.h"
#include "client/local.h" /* a seed taken shows in the marker, nowhere else */
#include "client/rngclient.h"
#include "client/rngclient_fd.h"
#include "client/rngclient_local.h"
#include "proto/wire.h"
#include "tests/support.h"

#define TIMEOUT_MS 300
#define SLACK_MS   5000 /* of a deadline on a busy machine */
#define MIB        1048576u

#if defined(__x86_64__)
#define THIS_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define THIS_ARCH AUDIT_ARCH_AARCH64
#endif

static struct support_rngd rngd;

/* Put there by the linker: as if a handler had forked when the system call was over. */
ssize_t __wrap_read(int fd, void *buf, size_t len);
ssize_t __real_read(int fd, void *buf, size_t len);

static int fork_at; /* this read, counted from 1; 0: none */
static pid_t forked;

ssize_t __wrap_read(int fd, void *buf, size_t len)
{
	ssize_t n = __real_read(fd, buf, len);

	if (fork_at > 0 && --fork_at == 0)
		forked = fork();
	return n;
}

static void begin(void)
{
	signal(SIGPIPE, SIG_IGN);
	support_start(&rngd, NULL);
}

static void end(void)
{
	support_end(&rngd);
}

static size_t open_fds(void)
{
	return support_fd_count(getpid());
}

#ifdef RNGD_TEST_FALLBACK

/* Nothing tells a child there, so there is no such handle; and the descriptor is the caller's. */
START_TEST(refused_on_old_kernels)
{
	struct rngclient *client = (void *)1;
	struct rngclient_local *local = (void *)1;
	size_t before = open_fds();
	int fd = rngclient_connect_fd(rngd.socket, 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(rngclient_open_fd(&client, fd, 0), -EOPNOTSUPP);
	ck_assert_ptr_null(client);
	ck_assert_int_eq(rngclient_local_open_fd(&local, fd, 0), -EOPNOTSUPP);
	ck_assert_ptr_null(local);
	ck_assert_int_eq(close(fd), 0);
	ck_assert_uint_eq(open_fds(), before);
}
END_TEST

#else

static bool all_zero(const uint8_t *buf, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (buf[i] != 0)
			return false;
	return true;
}

static struct rngclient *open_client(int timeout_ms)
{
	struct rngclient *client = NULL;
	int fd = rngclient_connect_fd(rngd.socket, 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(rngclient_open_fd(&client, fd, timeout_ms), 0);
	return client;
}

static struct rngclient_local *open_local(int timeout_ms)
{
	struct rngclient_local *local = NULL;
	int fd = rngclient_connect_fd(rngd.socket, 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(rngclient_local_open_fd(&local, fd, timeout_ms), 0);
	return local;
}

static void bump(void)
{
	static uint8_t bytes[RNGCLIENT_BUMP_MIN_BYTES];
	struct rngclient *client;
	char control[128];

	snprintf(control, sizeof(control), "%s%s", rngd.socket, RNGCLIENT_CONTROL_SUFFIX);
	bytes[0]++;
	ck_assert_int_eq(rngclient_open(&client, control, 0), 0);
	ck_assert_int_eq(rngclient_bump(client, bytes, sizeof(bytes), NULL), 0);
	rngclient_close(client);
}

/* ---------------------------------------------------------------- a child behind the filter */

#define DONE      7
#define TRAPPED   8
#define NO_FILTER 9

/* What the child and the test share: no call is needed for it. */
struct report {
	atomic_int stage;   /* reached by the child */
	atomic_int trapped; /* number of the system call that was trapped; -1: none */
	atomic_bool vdso_stays;
	int err[8];
	uint64_t number[8];
	uint8_t bytes[8][64];
	uint8_t big[2 * MIB];
};

struct cell {
	pid_t pid;
	int go; /* write a byte here and the child goes on */
};

static struct report *report;
static int go_on; /* the child's end */
static struct rngclient *client;
static struct rngclient_local *local;

#ifndef RNGD_SANITIZER /* whose run-time makes calls of its own */

static void on_trap(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	report->trapped = info->si_syscall;
	_exit(TRAPPED);
}

/* Any call into it is a SIGSEGV from now on. */
static void unmap_vdso(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	unsigned long from, to, at[8][2];
	int count = 0;
	char line[512];

	while (maps && fgets(line, sizeof(line), maps))
		if ((strstr(line, "[vdso]") || strstr(line, "[vvar")) && count < 8 &&
		    sscanf(line, "%lx-%lx", &from, &to) == 2) {
			at[count][0] = from;
			at[count++][1] = to;
		}
	if (maps)
		fclose(maps);
	for (int i = 0; i < count; i++)
		if (munmap((void *)at[i][0], at[i][1] - at[i][0]) < 0)
			report->vdso_stays = true;
}

#define ALLOW(nr)                                        \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (nr), 0, 1), \
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

static bool enter_sandbox(void)
{
	struct sock_filter code[] = {
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, THIS_ARCH, 1, 0),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	    ALLOW(SYS_read),
	    ALLOW(SYS_write),
	    ALLOW(SYS_close),
	    ALLOW(SYS_exit_group),
	    ALLOW(SYS_rt_sigreturn),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
	};
	const struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};
	const struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};
	const struct rlimit none = {0, 0};

	unmap_vdso();
	/* The other kind of sandbox, at the same time: with RLIMIT_NOFILE of 0 poll() fails. */
	return setrlimit(RLIMIT_NOFILE, &none) == 0 && setrlimit(RLIMIT_FSIZE, &none) == 0 &&
	       sigaction(SIGSYS, &action, NULL) == 0 &&
	       prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

#else

static bool enter_sandbox(void)
{
	return true;
}

#endif

/* In the child: says how far it is, and waits to be sent on. */
static void stop_at(int stage)
{
	char byte;

	report->stage = stage;
	if (read(go_on, &byte, 1) != 1)
		_exit(1);
}

/* prepare runs before the filter is there, act behind it. */
static struct cell confine(void (*prepare)(void), void (*act)(void))
{
	struct cell cell;
	int ends[2];

	report =
	    mmap(NULL, sizeof(*report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(report, MAP_FAILED);
	report->trapped = -1;
	memset(report->bytes, 0xa5, sizeof(report->bytes));
	memset(report->big, 0xa5, sizeof(report->big));
	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	cell.go = ends[1];
	fflush(NULL);
	cell.pid = fork();
	ck_assert_int_ge(cell.pid, 0);
	if (cell.pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(ends[1]);
		go_on = ends[0];
		prepare();
		if (!enter_sandbox())
			_exit(NO_FILTER);
		act();
		_exit(DONE);
	}
	close(ends[0]);
	return cell;
}

static void go(const struct cell *cell)
{
	ck_assert_int_eq(write(cell->go, "g", 1), 1);
}

static bool has_ended(void *arg)
{
	siginfo_t info = {0};

	return waitid(P_PID, (id_t) * (pid_t *)arg, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	       info.si_pid != 0;
}

struct goal {
	pid_t pid;
	int stage;
};

static bool is_there(void *arg)
{
	struct goal *goal = arg;

	return report->stage >= goal->stage || has_ended(&goal->pid);
}

static void wait_stage(const struct cell *cell, int stage)
{
	struct goal goal = {cell->pid, stage};

	ck_assert(support_wait(is_there, &goal));
	ck_assert_msg(report->stage >= stage, "ended before, or at system call %d",
		      report->trapped);
}

static int status_of(struct cell *cell)
{
	int status = -1;

	if (!support_wait(has_ended, &cell->pid))
		kill(cell->pid, SIGKILL);
	ck_assert_int_eq(waitpid(cell->pid, &status, 0), cell->pid);
	close(cell->go);
	return status;
}

static void must_end_well(struct cell *cell)
{
	int status = status_of(cell);

	ck_assert_msg(report->trapped == -1, "system call %d", report->trapped);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == DONE, "status %#x", status);
}

static void prepare_client(void)
{
	client = open_client(0);
}

static void prepare_impatient(void)
{
	client = open_client(TIMEOUT_MS);
}

static void prepare_local(void)
{
	local = open_local(0);
	local->page.locked = true; /* as before Linux 6.11, for what that leads to */
}

static void get(int i, size_t len)
{
	report->err[i] = rngclient_get(client, report->bytes[i], len);
}

#ifndef RNGD_SANITIZER

static void act_getpid(void)
{
	syscall(SYS_getpid);
}

static void act_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
}

static void prepare_nothing(void)
{
}

/* The cell itself: what it should hold back it does. */
START_TEST(cell_holds)
{
	struct cell cell = confine(prepare_nothing, act_getpid);
	int status = status_of(&cell);

	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == TRAPPED);
	ck_assert_int_eq(report->trapped, SYS_getpid);
	cell = confine(prepare_nothing, act_clock);
	status = status_of(&cell);
	if (report->vdso_stays)
		printf("SKIP: cell_holds: the kernel does not let the vDSO be unmapped\n");
	else
		ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}
END_TEST

#endif

/* ---------------------------------------------------------------- gets */

static void act_gets(void)
{
	report->number[0] = rngclient_epoch(client);
	get(0, 32);
	get(1, 0);
	report->err[2] = rngclient_get(client, report->big, MIB);
	report->err[3] = rngclient_get(client, report->big + MIB, 131073);
	get(4, 32);
	for (int i = 0; i < 1000; i++)
		report->err[5] |= rngclient_get(client, report->bytes[5], 64);
	report->number[1] = (uint64_t)rngclient_epoch_same(client, report->number[0]);
	rngclient_close(client);
	get(6, 32);
}

START_TEST(gets)
{
	struct cell cell = confine(prepare_client, act_gets);

	must_end_well(&cell);
	for (int i = 0; i < 6; i++)
		ck_assert_int_eq(report->err[i], 0);
	ck_assert_int_eq(report->err[6], -ENOTCONN); /* after the close */
	ck_assert(all_zero(report->bytes[6], 32));
	ck_assert_uint_eq(report->number[0], 1);
	ck_assert_uint_eq(report->number[1], 0); /* it never says that it is certain */
	ck_assert(!all_zero(report->bytes[0], 32));
	ck_assert_mem_ne(report->bytes[0], report->bytes[4], 32);
	ck_assert_uint_eq(report->bytes[0][32], 0xa5);
	ck_assert_uint_eq(report->bytes[1][0], 0xa5);
	for (size_t i = 64; i < MIB + 131072; i += 64)
		ck_assert_mem_ne(report->big + i, report->big + i - 64, 64);
	ck_assert_uint_eq(report->big[MIB + 131073], 0xa5);
}
END_TEST

static void act_two_gets(void)
{
	get(0, 32);
	stop_at(1);
	get(1, 32);
	report->number[0] = rngclient_epoch(client);
	stop_at(2);
	get(2, 32);
	rngclient_close(client);
}

START_TEST(daemon_killed)
{
	struct cell cell = confine(prepare_client, act_two_gets);

	wait_stage(&cell, 1);
	support_kill(&rngd);
	go(&cell);
	wait_stage(&cell, 2);
	support_restart(&rngd, NULL);
	go(&cell);
	must_end_well(&cell);
	ck_assert_int_eq(report->err[0], 0);
	ck_assert_int_eq(report->err[1], -EPIPE);
	ck_assert(all_zero(report->bytes[1], 32));
	ck_assert_int_eq(report->err[2], -ENOTCONN); /* and stays so */
	ck_assert(all_zero(report->bytes[2], 32));
}
END_TEST

/* It wakes up and answers what was asked: nobody takes that for an answer. */
START_TEST(daemon_stopped)
{
	struct cell cell = confine(prepare_impatient, act_two_gets);
	int64_t start;

	wait_stage(&cell, 1);
	ck_assert_int_eq(kill(rngd.pid, SIGSTOP), 0);
	start = support_now_ms();
	go(&cell);
	wait_stage(&cell, 2);
	ck_assert_int_ge(support_now_ms() - start, TIMEOUT_MS - 1);
	ck_assert_int_lt(support_now_ms() - start, TIMEOUT_MS + SLACK_MS);
	ck_assert_int_eq(kill(rngd.pid, SIGCONT), 0);
	go(&cell);
	must_end_well(&cell);
	ck_assert_int_eq(report->err[1], -ETIMEDOUT);
	ck_assert(all_zero(report->bytes[1], 32));
	ck_assert_int_eq(report->err[2], -ENOTCONN);
	ck_assert(all_zero(report->bytes[2], 32));
}
END_TEST

START_TEST(clone_is_seen)
{
	struct cell cell = confine(prepare_client, act_two_gets);

	wait_stage(&cell, 1);
	bump();
	go(&cell);
	wait_stage(&cell, 2);
	bump();
	go(&cell);
	must_end_well(&cell);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(report->err[i], 0);
		ck_assert(!all_zero(report->bytes[i], 32));
	}
	ck_assert_uint_eq(report->number[0], 2);
}
END_TEST

/* ---------------------------------------------------------------- the local generator */

#define DRAW_BYTES 16u
#define PER_SEED   (LOCAL_BATCH_BYTES / DRAW_BYTES)

static void act_local(void)
{
	uint32_t deck[52];
	char uuid[RNGCLIENT_UUID_TEXT_BYTES];
	double number;
	uint64_t word, below;
	uint32_t half;
	uint64_t marker = local->marker;

	for (unsigned i = 0; i < 20 * PER_SEED; i++)
		report->err[0] |=
		    rngclient_local_bytes(local, report->big + (size_t)i * DRAW_BYTES, DRAW_BYTES);
	report->number[0] = local->marker - marker;
	for (uint32_t i = 0; i < 52; i++)
		deck[i] = i;
	report->err[1] |= rngclient_local_u32(local, &half);
	report->err[1] |= rngclient_local_u64(local, &word);
	report->err[1] |= rngclient_local_below(local, 1000, &below);
	report->err[1] |= rngclient_local_double(local, &number);
	report->err[1] |= rngclient_local_uuid(local, uuid);
	report->err[1] |= rngclient_local_shuffle(local, deck, 52, sizeof(deck[0]));
	report->err[2] = rngclient_local_bytes(local, report->big + MIB, 300000);
	stop_at(1);
	marker = local->marker;
	report->err[3] = rngclient_local_bytes(local, report->bytes[3], DRAW_BYTES);
	report->number[1] = local->marker - marker;
	stop_at(2);
	/* What is left of the KiB, then nothing more. */
	for (report->number[2] = 0; !report->err[4] && report->number[2] < 1000;
	     report->number[2]++)
		report->err[4] = rngclient_local_bytes(local, report->bytes[4], DRAW_BYTES);
	report->err[5] = rngclient_local_bytes(local, report->bytes[5], DRAW_BYTES);
	report->err[6] = rngclient_local_bytes(local, report->big, MIB);
	memset(report->bytes[7], 0, 64);
	memcpy(report->bytes[7], local->page.data, 64);
	rngclient_local_close(local);
}

START_TEST(local_draws)
{
	struct cell cell = confine(prepare_local, act_local);
	int alike = 0;

	wait_stage(&cell, 1);
	ck_assert_int_eq(report->err[0], 0);
	ck_assert_int_eq(report->err[1], 0);
	ck_assert_int_eq(report->err[2], 0);
	/* A seed for each KiB, and a few more where the state was aged meanwhile. */
	ck_assert_uint_ge(report->number[0], 20);
	ck_assert_uint_le(report->number[0], 25);
	for (size_t i = DRAW_BYTES; i < (size_t)20 * LOCAL_BATCH_BYTES; i += DRAW_BYTES)
		for (size_t k = 0; k < i; k += DRAW_BYTES)
			alike += memcmp(report->big + i, report->big + k, DRAW_BYTES) == 0;
	ck_assert_int_eq(alike, 0);
	for (size_t i = 64; i + 64 <= 300000; i += 64)
		ck_assert_mem_ne(report->big + MIB + i, report->big + MIB + i - 64, 64);
	bump();
	go(&cell);
	wait_stage(&cell, 2);
	ck_assert_int_eq(report->err[3], 0);
	ck_assert_uint_ge(report->number[1], 1); /* the batch of before the clone is given up */
	support_kill(&rngd);
	go(&cell);
	must_end_well(&cell);
	ck_assert_int_eq(report->err[4], -EPIPE);
	ck_assert_uint_eq(report->number[2], PER_SEED); /* 63 and the one that failed */
	ck_assert(all_zero(report->bytes[4], DRAW_BYTES));
	ck_assert_int_eq(report->err[5], -ENOTCONN);
	ck_assert(all_zero(report->bytes[5], DRAW_BYTES));
	ck_assert_int_eq(report->err[6], -ENOTCONN);
	ck_assert(all_zero(report->big, MIB));
	ck_assert(all_zero(report->bytes[7], 64)); /* no state is kept after a failure */
}
END_TEST

START_TEST(local_close_wipes)
{
	uint8_t byte;
	void *state;

	local = open_local(0);
	ck_assert_int_eq(rngclient_local_bytes(local, &byte, 1), 0);
	state = local->page.data;
	ck_assert(!all_zero(state, sizeof(struct local_state)));
	rngclient_local_close(local);
	ck_assert(all_zero(state, sizeof(struct local_state))); /* it is still mapped */
}
END_TEST

/* ---------------------------------------------------------------- forks */

static int status_from(pid_t pid)
{
	int status = -1;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* The child gets none of it, and leaves the parent's stream as it was. */
START_TEST(fork_is_refused)
{
	uint8_t buf[4096], left[64];
	pid_t pid;

	client = open_client(0);
	local = open_local(0);
	ck_assert_int_eq(rngclient_local_bytes(local, buf, DRAW_BYTES), 0);
	pid = fork();
	if (pid == 0) {
		memset(buf, 1, sizeof(buf));
		if (rngclient_get(client, buf, sizeof(buf)) != -ECHILD ||
		    !all_zero(buf, sizeof(buf)))
			_exit(1);
		memset(buf, 1, sizeof(buf));
		if (rngclient_local_bytes(local, buf, DRAW_BYTES) != -ECHILD ||
		    !all_zero(buf, DRAW_BYTES))
			_exit(2);
		memset(buf, 1, sizeof(buf));
		if (rngclient_local_bytes(local, buf, sizeof(buf)) != -ECHILD ||
		    !all_zero(buf, sizeof(buf)))
			_exit(3);
		rngclient_close(client);
		rngclient_local_close(local);
		_exit(DONE);
	}
	ck_assert_int_eq(status_from(pid), DONE);
	ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), 0);
	ck_assert_int_eq(rngclient_local_bytes(local, left, sizeof(left)), 0);
	ck_assert(!all_zero(buf, sizeof(buf)));
	rngclient_close(client);
	rngclient_local_close(local);
}
END_TEST

static struct {
	uint8_t buf[64];
	int err;
	bool forks;
	pid_t child;
	int status; /* of the child */
} handler;

static void on_alarm(int number)
{
	(void)number;
	if (handler.forks) {
		handler.child = fork();
		return;
	}
	memset(handler.buf, 1, sizeof(handler.buf));
	handler.err = rngclient_get(client, handler.buf, sizeof(handler.buf));
	kill(rngd.pid, SIGCONT);
}

static void alarm_in_ms(int ms)
{
	/* SA_RESTART: it must be SO_RCVTIMEO that has the wait come back to the library. */
	const struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
	const struct itimerval in = {.it_value = {0, ms * 1000}};

	ck_assert_int_eq(sigaction(SIGALRM, &action, NULL), 0);
	ck_assert_int_eq(setitimer(ITIMER_REAL, &in, NULL), 0);
}

/* In the middle of a call, by a signal handler: refused, and the call goes on. */
START_TEST(one_at_a_time)
{
	uint8_t buf[64];

	client = open_client(0);
	ck_assert_int_eq(kill(rngd.pid, SIGSTOP), 0);
	alarm_in_ms(50);
	ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), 0);
	ck_assert_int_eq(handler.err, -EDEADLK);
	ck_assert(all_zero(handler.buf, sizeof(handler.buf)));
	ck_assert(!all_zero(buf, sizeof(buf)));
	ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), 0);
	rngclient_close(client);
}
END_TEST

/* A handler forks in the middle of a read: the child reads on in the library, and must not. */
START_TEST(fork_in_a_read)
{
	const pid_t self = getpid();
	uint8_t buf[64];
	int err;

	client = open_client(TIMEOUT_MS);
	handler.forks = true;
	ck_assert_int_eq(kill(rngd.pid, SIGSTOP), 0);
	alarm_in_ms(50);
	memset(buf, 1, sizeof(buf));
	if (getpid() == self) {
		err = rngclient_get(client, buf, sizeof(buf));
		if (getpid() != self)
			_exit(err == -ECHILD && all_zero(buf, sizeof(buf)) ? DONE : 1);
		ck_assert_int_eq(err, -ETIMEDOUT); /* nobody woke the daemon */
	}
	ck_assert_int_eq(status_from(handler.child), DONE);
	kill(rngd.pid, SIGCONT);
	rngclient_close(client);
}
END_TEST

static void fork_and_wait(int number)
{
	(void)number;
	handler.child = fork();
	if (handler.child == 0)
		return;
	/* A child that waits for the answer is not over before it comes. */
	handler.err = -ETIMEDOUT;
	for (int i = 0; i < 500 && handler.err; i++) {
		if (waitpid(handler.child, &handler.status, WNOHANG) == handler.child)
			handler.err = 0;
		else
			poll(NULL, 0, 10);
	}
	kill(rngd.pid, SIGCONT);
}

/* The same while a handle is made, with no deadline: the answer is the parent's. */
START_TEST(fork_in_an_open)
{
	const struct sigaction action = {.sa_handler = fork_and_wait, .sa_flags = SA_RESTART};
	const struct itimerval in = {.it_value = {0, 50000}};
	const struct timeval never = {0, 0};
	int fd = rngclient_connect_fd(rngd.socket, 0);
	const pid_t self = getpid();
	uint8_t buf[64];
	int err;

	ck_assert_int_ge(fd, 0);
	/* As one from elsewhere: no wait of it ends by itself. */
	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &never, sizeof(never)), 0);
	ck_assert_int_eq(kill(rngd.pid, SIGSTOP), 0);
	ck_assert_int_eq(sigaction(SIGALRM, &action, NULL), 0);
	ck_assert_int_eq(setitimer(ITIMER_REAL, &in, NULL), 0);
	err = rngclient_open_fd(&client, fd, -1);
	if (getpid() != self)
		_exit(err == -ECHILD && !client ? DONE : 1);
	ck_assert_int_eq(err, 0);
	ck_assert_int_eq(handler.err, 0);
	ck_assert(WIFEXITED(handler.status));
	ck_assert_int_eq(WEXITSTATUS(handler.status), DONE);
	ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), 0);
	rngclient_close(client);
}
END_TEST

/* One of the bytes that the parent goes on with: the child finds none of them in its buffer. */
START_TEST(fork_after_a_read)
{
	const pid_t self = getpid();
	uint8_t buf[64];
	int err;

	client = open_client(TIMEOUT_MS);
	ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), 0);
	for (int at = 1; at <= 2; at++) { /* the head, the bytes */
		memset(buf, 1, sizeof(buf));
		fork_at = at;
		err = rngclient_get(client, buf, sizeof(buf));
		if (getpid() != self)
			_exit(err == -ECHILD && all_zero(buf, sizeof(buf)) ? DONE : 1);
		ck_assert_int_eq(err, 0);
		ck_assert_int_eq(fork_at, 0);
		ck_assert_int_eq(status_from(forked), DONE);
	}
	rngclient_close(client);
}
END_TEST

/* ---------------------------------------------------------------- what it refuses */

START_TEST(other_calls)
{
	struct rngclient_epoch epoch = {.size = sizeof(epoch), .generation = 1};
	struct rngclient_event event = {.size = sizeof(event), .generation = 1};
	uint8_t bytes[64] = {1};
	uint64_t generation = 1;
	char text[64] = "text";

	client = open_client(0);
	ck_assert_int_eq(rngclient_status(client, text, sizeof(text)), -EOPNOTSUPP);
	ck_assert(all_zero((uint8_t *)text, sizeof(text)));
	ck_assert_int_eq(rngclient_look(client, &generation), -EOPNOTSUPP);
	ck_assert_uint_eq(generation, 0);
	generation = 1;
	ck_assert_int_eq(rngclient_bump(client, bytes, sizeof(bytes), &generation), -EOPNOTSUPP);
	ck_assert_uint_eq(generation, 0);
	ck_assert_int_eq(rngclient_reseed(client), -EOPNOTSUPP);
	ck_assert_int_eq(rngclient_contribute(client, bytes, sizeof(bytes)), -EOPNOTSUPP);
	ck_assert_int_eq(rngclient_epoch_info(client, &epoch), -EOPNOTSUPP);
	ck_assert_uint_eq(epoch.generation, 0);
	ck_assert_int_eq(rngclient_event_fd(client), -EOPNOTSUPP);
	ck_assert_int_eq(rngclient_event_next(client, &event, -1), -EOPNOTSUPP);
	ck_assert_uint_eq(event.generation, 0);
	ck_assert_int_eq(rngclient_event_ack(client, 1), -EOPNOTSUPP);
	text[0] = 't';
	generation = 1;
	ck_assert_int_eq(rngclient_subscribers(client, &generation, text, sizeof(text)),
			 -EOPNOTSUPP);
	ck_assert_int_eq(text[0], 0);
	ck_assert_int_eq(rngclient_set_timeout(client, 1), -EOPNOTSUPP);
	ck_assert_int_eq(rngclient_get(client, NULL, 1), -EINVAL);
	/* and is in order after all that */
	ck_assert_int_eq(rngclient_get(client, bytes, sizeof(bytes)), 0);
	rngclient_close(client);
}
END_TEST

static volatile sig_atomic_t pipes;

static void on_pipe(int number)
{
	(void)number;
	pipes = pipes + 1;
}

/* Only where a SIGPIPE does no harm. */
START_TEST(sigpipe)
{
	int fd = rngclient_connect_fd(rngd.socket, 0);
	sigset_t set;
	uint8_t byte;

	signal(SIGPIPE, SIG_DFL);
	ck_assert_int_eq(rngclient_open_fd(&client, fd, 0), -EPIPE);
	ck_assert_int_eq(rngclient_local_open_fd(&local, fd, 0), -EPIPE);
	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	sigprocmask(SIG_BLOCK, &set, NULL);
	ck_assert_int_eq(rngclient_open_fd(&client, fd, 0), 0); /* nothing had been asked */
	rngclient_close(client);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	/* It does come, once. */
	signal(SIGPIPE, on_pipe);
	client = open_client(0);
	support_kill(&rngd);
	ck_assert_int_eq(rngclient_get(client, &byte, 1), -EPIPE);
	ck_assert_int_eq(pipes, 1);
	ck_assert_int_eq(rngclient_get(client, &byte, 1), -ENOTCONN);
	ck_assert_int_eq(pipes, 1);
	rngclient_close(client);
}
END_TEST

static void must_refuse(int fd, int timeout_ms, int want)
{
	struct rngclient *none = (void *)1;
	struct rngclient_local *neither = (void *)1;

	ck_assert_int_eq(rngclient_open_fd(&none, fd, timeout_ms), want);
	ck_assert_ptr_null(none);
	ck_assert_int_eq(rngclient_local_open_fd(&neither, fd, timeout_ms), want);
	ck_assert_ptr_null(neither);
	if (want != -EBADF)
		ck_assert_int_ge(fcntl(fd, F_GETFD), 0); /* still the caller's */
}

START_TEST(bad_descriptors)
{
	size_t before = open_fds();
	int pair[2], fd;

	ck_assert_int_eq(rngclient_open_fd(NULL, 0, 0), -EINVAL);
	ck_assert_int_eq(rngclient_local_open_fd(NULL, 0, 0), -EINVAL);
	ck_assert_int_eq(rngclient_connect_fd("", 0), -EINVAL);
	ck_assert_int_eq(rngclient_connect_fd(rngd.socket, -2), -EINVAL);
	ck_assert_int_eq(rngclient_connect_fd("/nowhere/rngd", 0), -ENOENT);
	must_refuse(-1, 0, -EBADF);
	must_refuse(1 << 20, 0, -EBADF);
	fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	must_refuse(fd, 0, -ENOTSOCK);
	close(fd);
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	must_refuse(fd, 0, -EPROTOTYPE);
	close(fd);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0) {
		must_refuse(fd, 0, -EPROTOTYPE);
		close(fd);
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	must_refuse(fd, 0, -ENOTCONN);
	close(fd);
	fd = rngclient_connect_fd(rngd.socket, 0);
	must_refuse(fd, -2, -EINVAL);
	ck_assert_int_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	must_refuse(fd, 0, -EINVAL);
	close(fd);
	/* Nobody answers; then nobody is there. */
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	must_refuse(pair[0], 50, -ETIMEDOUT);
	close(pair[1]);
	must_refuse(pair[0], 50, -ECONNRESET);
	close(pair[0]);
	/* A descriptor that was used: the page was asked for already. */
	fd = rngclient_connect_fd(rngd.socket, 0);
	support_request(fd, RNGD_PROTO_OP_STATUS, 1, NULL, 0);
	must_refuse(fd, 0, -EPROTO);
	close(fd);
	ck_assert_uint_eq(open_fds(), before);
}
END_TEST

START_TEST(descriptor_is_taken)
{
	size_t before = open_fds();
	int fd = rngclient_connect_fd(rngd.socket, 0);
	struct timeval tv;
	socklen_t size = sizeof(tv);

	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	ck_assert_int_eq(fcntl(fd, F_SETFD, 0), 0); /* as one that came over an exec */
	ck_assert_int_eq(rngclient_open_fd(&client, fd, 1500), 0);
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, &size), 0);
	ck_assert_int_eq(tv.tv_sec, 1);
	ck_assert_int_ge(tv.tv_usec, 499000);
	ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, &size), 0);
	ck_assert_int_eq(tv.tv_sec, 1);
	ck_assert_uint_eq(open_fds(), before + 1); /* none of the page stays */
	errno = 77;
	rngclient_close(client);
	ck_assert_int_eq(errno, 77);
	ck_assert_uint_eq(open_fds(), before);
	fd = rngclient_connect_fd(rngd.socket, 0);
	ck_assert_int_eq(rngclient_open_fd(&client, fd, -1), 0);
	ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, &size), 0);
	ck_assert_int_eq(tv.tv_sec, 0);
	ck_assert_int_eq(tv.tv_usec, 0);
	rngclient_close(client);
}
END_TEST

/* ---------------------------------------------------------------- a peer that answers badly */

enum act {
	ACT_ANSWER, /* fill: one more each time */
	ACT_MOVE,   /* the same, under another generation */
	ACT_CUT,    /* half of it, and the end */
	ACT_HALF,   /* half of it; the rest, and an answer to the next request, at `late` */
	ACT_TAG,    /* of another request */
	ACT_LONG,   /* more than was asked for */
	ACT_TURN,   /* in two frames, the second under another generation */
	ACT_UNAVAILABLE,
	ACT_AGAIN,
	ACT_FORGED_BUSY,
};

struct peer {
	pthread_t thread;
	int fd;
	const enum act *acts; /* of one GET after the other; the last one stays */
	size_t count;
	uint64_t generation;
	atomic_bool late;
	atomic_uint gets, looks;
};

static void say_frame(int fd, const struct wire_reply *reply, const void *body, size_t send_bytes)
{
	uint8_t head[RNGD_PROTO_REPLY_HEAD_BYTES];

	wire_encode_reply(reply, head);
	if (send(fd, head, sizeof(head), MSG_NOSIGNAL) == (ssize_t)sizeof(head) && send_bytes > 0)
		while (send_bytes > 0) {
			ssize_t n = send(fd, body, send_bytes, MSG_NOSIGNAL);

			if (n <= 0)
				return;
			send_bytes -= (size_t)n;
		}
}

static void say(int fd, const struct wire_request *req, uint8_t status, uint64_t generation,
		const void *body, size_t body_bytes, size_t send_bytes)
{
	const struct wire_reply reply = {
	    .opcode = req->opcode,
	    .version = 1,
	    .status = status,
	    .tag = req->tag,
	    .generation = generation,
	    .body_bytes = (uint32_t)body_bytes,
	};

	say_frame(fd, &reply, body, send_bytes);
}

/* Two frames, and between them the machine is cloned. */
static void say_turn(struct peer *peer, const struct wire_request *req, const void *body,
		     uint32_t len)
{
	struct wire_reply reply = {
	    .opcode = req->opcode,
	    .version = 1,
	    .flags = RNGD_PROTO_FLAG_MORE,
	    .tag = req->tag,
	    .generation = peer->generation++,
	    .body_bytes = len / 2,
	};

	say_frame(peer->fd, &reply, body, reply.body_bytes);
	reply.flags = 0;
	reply.generation = peer->generation;
	reply.body_bytes = len - len / 2;
	say_frame(peer->fd, &reply, body, reply.body_bytes);
}

/* false: the end. */
static bool answer_get(struct peer *peer, struct wire_request *req)
{
	static uint8_t body[RNGD_PROTO_FRAME_DATA_BYTES + 1];
	unsigned nr = peer->gets++;
	enum act act = peer->acts[nr < peer->count ? nr : peer->count - 1];
	uint32_t len = wire_get_u32(req->body);

	if (len > RNGD_PROTO_FRAME_DATA_BYTES)
		return false;
	memset(body, (int)nr + 1, sizeof(body));
	switch (act) {
	case ACT_MOVE:
		peer->generation++;
		/* fall through */
	case ACT_ANSWER:
		say(peer->fd, req, 0, peer->generation, body, len, len);
		return true;
	case ACT_LONG:
		say(peer->fd, req, 0, peer->generation, body, len + 1, len + 1);
		return true;
	case ACT_TURN:
		say_turn(peer, req, body, len);
		return true;
	case ACT_TAG:
		req->tag--;
		say(peer->fd, req, 0, peer->generation, body, len, len);
		return true;
	case ACT_UNAVAILABLE:
		say(peer->fd, req, RNGD_PROTO_E_UNAVAILABLE, peer->generation, NULL, 0, 0);
		return true;
	case ACT_AGAIN:
		say(peer->fd, req, RNGD_PROTO_E_AGAIN, peer->generation, NULL, 0, 0);
		return true;
	case ACT_FORGED_BUSY:
		req->opcode = 0;
		req->tag = 0;
		say(peer->fd, req, RNGD_PROTO_E_BUSY, peer->generation, NULL, 0, 0);
		return true;
	case ACT_CUT:
		say(peer->fd, req, 0, peer->generation, body, len, len / 2);
		return false;
	case ACT_HALF:
		say(peer->fd, req, 0, peer->generation, body, len, len / 2);
		while (!peer->late)
			sched_yield();
		if (send(peer->fd, body, len - len / 2, MSG_NOSIGNAL) > 0) {
			req->tag++;
			say(peer->fd, req, 0, peer->generation, body, len, len);
		}
		return true;
	}
	return false;
}

static void *answer(void *arg)
{
	uint8_t buf[RNGD_PROTO_REQUEST_HEAD_BYTES + RNGD_PROTO_GET_BODY_BYTES];
	struct peer *peer = arg;
	struct wire_request req;
	size_t used, want;

	for (;;) {
		if (recv(peer->fd, buf, RNGD_PROTO_REQUEST_HEAD_BYTES, MSG_WAITALL) !=
		    RNGD_PROTO_REQUEST_HEAD_BYTES)
			break;
		want = wire_get_u32(buf) - 8;
		if (want > RNGD_PROTO_GET_BODY_BYTES ||
		    (want > 0 && recv(peer->fd, buf + RNGD_PROTO_REQUEST_HEAD_BYTES, want,
				      MSG_WAITALL) != (ssize_t)want) ||
		    wire_decode_request(buf, sizeof(buf), &req, &used) != WIRE_OK)
			break;
		if (req.opcode == RNGD_PROTO_OP_PAGE) {
			say(peer->fd, &req, RNGD_PROTO_E_NO_PAGE, peer->generation, NULL, 0, 0);
		} else if (req.opcode == RNGD_PROTO_OP_LOOK) {
			peer->looks++;
			say(peer->fd, &req, 0, peer->generation, NULL, 0, 0);
		} else if (!answer_get(peer, &req)) {
			break;
		}
	}
	shutdown(peer->fd, SHUT_RDWR);
	return NULL;
}

static void begin_peer(struct peer *peer, const enum act *acts, size_t count)
{
	int pair[2];

	signal(SIGPIPE, SIG_IGN);
	*peer = (struct peer){.acts = acts, .count = count, .generation = 1};
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	peer->fd = pair[1];
	ck_assert_int_eq(pthread_create(&peer->thread, NULL, answer, peer), 0);
	ck_assert_int_eq(rngclient_open_fd(&client, pair[0], TIMEOUT_MS), 0);
}

static void end_peer(struct peer *peer)
{
	peer->late = true;
	rngclient_close(client);
	pthread_join(peer->thread, NULL);
	close(peer->fd);
}

static void must_fail(size_t len, int want)
{
	static uint8_t buf[300000];

	memset(buf, 0xa5, sizeof(buf));
	ck_assert_int_eq(rngclient_get(client, buf, len), want);
	ck_assert(all_zero(buf, len));
	ck_assert_uint_eq(buf[len], 0xa5);
}

/* Each way once; then the handle says so for ever, and asks nothing. */
START_TEST(bad_replies)
{
	static const struct {
		enum act act;
		int err;
	} cases[] = {
	    {ACT_CUT, -ECONNRESET}, {ACT_HALF, -ETIMEDOUT},    {ACT_TAG, -EPROTO},
	    {ACT_LONG, -EPROTO},    {ACT_FORGED_BUSY, -EBUSY},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const enum act acts[] = {ACT_ANSWER, cases[i].act, ACT_ANSWER};
		struct peer peer;
		uint8_t buf[32];

		begin_peer(&peer, acts, 3);
		ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), 0);
		ck_assert_uint_eq(buf[31], 1);
		must_fail(64, cases[i].err);
		peer.late = true;
		must_fail(64, -ENOTCONN);
		must_fail(200000, -ENOTCONN);
		ck_assert_uint_le(peer.gets, 2);
		end_peer(&peer);
	}
}
END_TEST

START_TEST(refusals_pass)
{
	const enum act acts[] = {ACT_UNAVAILABLE, ACT_AGAIN, ACT_ANSWER};
	struct peer peer;
	uint8_t buf[64];

	begin_peer(&peer, acts, 3);
	must_fail(64, -EAGAIN);
	must_fail(64, -EAGAIN);
	ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), 0);
	ck_assert_uint_eq(buf[0], 3);
	ck_assert_uint_ge(peer.looks, 2); /* without a page: before the first, after each */
	end_peer(&peer);
}
END_TEST

/* All of one generation, or again from the start; and not for ever. */
START_TEST(one_generation)
{
	const enum act acts[] = {ACT_ANSWER, ACT_MOVE, ACT_ANSWER};
	const enum act always[] = {ACT_MOVE};
	static uint8_t buf[200000];
	struct peer peer;

	begin_peer(&peer, acts, 3);
	ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), 0);
	ck_assert_uint_eq(peer.gets, 4);
	ck_assert_uint_eq(buf[0], 3);
	ck_assert_uint_eq(buf[sizeof(buf) - 1], 4);
	end_peer(&peer);

	begin_peer(&peer, always, 1);
	must_fail(200000, -EAGAIN);
	ck_assert_uint_eq(peer.gets, 8);
	peer.acts = acts;
	ck_assert_int_eq(rngclient_get(client, buf, 32), 0);
	end_peer(&peer);
}
END_TEST

/* There is no other connection: an answer of two generations is read to its end, and asked anew. */
START_TEST(turned_inside_an_answer)
{
	const enum act acts[] = {ACT_TURN, ACT_ANSWER};
	const enum act always[] = {ACT_TURN};
	static uint8_t buf[20000];
	struct peer peer;

	begin_peer(&peer, acts, 2);
	ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), 0);
	ck_assert_uint_eq(peer.gets, 2);
	ck_assert_uint_eq(buf[0], 2);
	ck_assert_uint_eq(buf[sizeof(buf) - 1], 2);
	ck_assert_int_eq(rngclient_get(client, buf, 32), 0);
	ck_assert_uint_eq(buf[31], 3);
	end_peer(&peer);

	begin_peer(&peer, always, 1);
	must_fail(20000, -EAGAIN);
	peer.acts = &acts[1];
	ck_assert_int_eq(rngclient_get(client, buf, 32), 0);
	end_peer(&peer);
}
END_TEST

START_TEST(local_needs_a_page)
{
	const enum act acts[] = {ACT_ANSWER};
	struct peer peer, other;
	uint8_t buf[32];
	int pair[2];

	begin_peer(&peer, acts, 1);
	ck_assert_uint_eq(rngclient_epoch(client), 0); /* not known */
	ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	other = (struct peer){.acts = acts, .count = 1, .generation = 1, .fd = pair[1]};
	ck_assert_int_eq(pthread_create(&other.thread, NULL, answer, &other), 0);
	ck_assert_int_eq(rngclient_local_open_fd(&local, pair[0], 0), -ENODATA);
	ck_assert_ptr_null(local);
	ck_assert_int_eq(close(pair[0]), 0);
	pthread_join(other.thread, NULL);
	close(other.fd);
	end_peer(&peer);
}
END_TEST

#endif

static Suite *suite(void)
{
	Suite *s = suite_create("rngclient_fd");
	TCase *tc = tcase_create("daemon");

	tcase_add_checked_fixture(tc, begin, end);
#ifdef RNGD_TEST_FALLBACK
	tcase_add_test(tc, refused_on_old_kernels);
#else
#ifndef RNGD_SANITIZER
	tcase_add_test(tc, cell_holds);
#endif
	tcase_add_test(tc, gets);
	tcase_add_test(tc, daemon_killed);
	tcase_add_test(tc, daemon_stopped);
	tcase_add_test(tc, clone_is_seen);
	tcase_add_test(tc, local_draws);
	tcase_add_test(tc, local_close_wipes);
	tcase_add_test(tc, fork_is_refused);
	tcase_add_test(tc, one_at_a_time);
	tcase_add_test(tc, fork_in_a_read);
	tcase_add_test(tc, fork_in_an_open);
	tcase_add_test(tc, fork_after_a_read);
	tcase_add_test(tc, other_calls);
	tcase_add_test(tc, sigpipe);
	tcase_add_test(tc, bad_descriptors);
	tcase_add_test(tc, descriptor_is_taken);
	suite_add_tcase(s, tc);
	tc = tcase_create("peer");
	tcase_add_test(tc, bad_replies);
	tcase_add_test(tc, refusals_pass);
	tcase_add_test(tc, one_generation);
	tcase_add_test(tc, turned_inside_an_answer);
	tcase_add_test(tc, local_needs_a_page);
#endif
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	SRunner *runner = srunner_create(suite());
	int failed;

	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
