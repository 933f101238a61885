/*
 * inject - runs a command and lies to it about the result of a system call: the call is made, with
 *its own number and arguments (so a seccomp filter of the command's has nothing to object to), and
 *then its result is overwritten. Owns: the command, by ptrace(2); when inject dies, so does the
 *command. May touch: one register. Never does: follow children or threads of the command.
 *
 *	inject CALL RESULT FIRST [COUNT] -- COMMAND...
 *
 * CALL: a name of the table below, or a number. RESULT: a number, or an errno name ("EIO": fails
 *with it). FIRST: the occurrence that is the first to be changed, from 1 on; or "usr1": the first
 *after inject got SIGUSR1. COUNT: how many are changed; 0, the default, means all that come.
 *SIGTERM, SIGINT and SIGHUP are passed on. Ends as the command does (128 + signal when one killed
 *it).
 */
#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define ERRNO_MAX 133

struct plan {
	long call;
	long result;
	unsigned long first; /* 0: not before SIGUSR1 */
	unsigned long count; /* 0: no end */
	unsigned long seen;  /* occurrences since it was armed */
	unsigned long changed;
	char **command;
};

static const struct {
	const char *name;
	long number;
} calls[] = {
    {"accept4", SYS_accept4},
    {"brk", SYS_brk},
    {"clock_gettime", SYS_clock_gettime},
    {"close", SYS_close},
    {"getrandom", SYS_getrandom},
    {"getsockopt", SYS_getsockopt},
    {"madvise", SYS_madvise},
    {"mlock", SYS_mlock},
    {"mmap", SYS_mmap},
    {"prctl", SYS_prctl},
    {"read", SYS_read},
    {"recvmsg", SYS_recvmsg},
    {"seccomp", SYS_seccomp},
    {"sendto", SYS_sendto},
    {"setresuid", SYS_setresuid},
    {"write", SYS_write},
};

/* The only things the signal handler shares with the rest. */
static volatile pid_t tracee;
static volatile sig_atomic_t armed;

static void handle(int signal_number)
{
	int saved_errno = errno;

	if (signal_number == SIGUSR1)
		armed = 1;
	else if (tracee > 0)
		kill(tracee, signal_number);
	errno = saved_errno;
}

static void die(const char *what)
{
	fprintf(stderr, "inject: %s: %s\n", what, strerror(errno));
	exit(125);
}

static void usage(void)
{
	fputs("usage: inject CALL RESULT FIRST|usr1 [COUNT] -- COMMAND...\n", stderr);
	exit(125);
}

static long parse_long(const char *text)
{
	char *end;
	long value = strtol(text, &end, 10);

	if (end == text || *end != '\0')
		usage();
	return value;
}

static long parse_call(const char *text)
{
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		if (strcmp(text, calls[i].name) == 0)
			return calls[i].number;
	return parse_long(text);
}

static long parse_result(const char *text)
{
	for (int i = 1; i <= ERRNO_MAX; i++) {
		const char *name = strerrorname_np(i);

		if (name && strcmp(text, name) == 0)
			return -i;
	}
	return parse_long(text);
}

static void parse(struct plan *plan, int argc, char **argv)
{
	int at = 4;

	if (argc < 6)
		usage();
	plan->call = parse_call(argv[1]);
	plan->result = parse_result(argv[2]);
	if (strcmp(argv[3], "usr1") != 0) {
		plan->first = (unsigned long)parse_long(argv[3]);
		if (plan->first == 0)
			usage();
	}
	if (strcmp(argv[at], "--") != 0)
		plan->count = (unsigned long)parse_long(argv[at++]);
	if (strcmp(argv[at], "--") != 0 || at + 1 >= argc)
		usage();
	plan->command = argv + at + 1;
}

/* At the exit from the call: is it one to change? */
static bool is_due(struct plan *plan)
{
	if (plan->first == 0 && !armed)
		return false;
	plan->seen++;
	if (plan->seen < plan->first || (plan->count > 0 && plan->changed == plan->count))
		return false;
	plan->changed++;
	return true;
}

static void set_result(pid_t pid, long result)
{
	struct user_regs_struct regs;
	struct iovec io = {.iov_base = &regs, .iov_len = sizeof(regs)};

	if (ptrace(PTRACE_GETREGSET, pid, (void *)NT_PRSTATUS, &io) < 0)
		die("PTRACE_GETREGSET");
#if defined(__x86_64__)
	regs.rax = (unsigned long)result;
#elif defined(__aarch64__)
	regs.regs[0] = (unsigned long)result;
#else
#error "inject does not know this processor's result register"
#endif
	if (ptrace(PTRACE_SETREGSET, pid, (void *)NT_PRSTATUS, &io) < 0)
		die("PTRACE_SETREGSET");
}

/* One stop at the entry to or the exit from a system call. */
static void at_syscall(struct plan *plan, pid_t pid, long *entered)
{
	struct __ptrace_syscall_info info;

	if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info) < 0)
		die("PTRACE_GET_SYSCALL_INFO");
	if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
		*entered = (long)info.entry.nr;
	} else if (info.op == PTRACE_SYSCALL_INFO_EXIT) {
		if (*entered == plan->call && is_due(plan))
			set_result(pid, plan->result);
		*entered = -1;
	}
}

static pid_t start(const struct plan *plan)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		die("fork");
	if (pid == 0) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
			die("PTRACE_TRACEME");
		raise(SIGSTOP);
		execvp(plan->command[0], plan->command);
		die(plan->command[0]);
	}
	if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
		die("the command did not start");
	if (ptrace(PTRACE_SETOPTIONS, pid, NULL,
		   (void *)(PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC)) < 0)
		die("PTRACE_SETOPTIONS");
	return pid;
}

static int run(struct plan *plan, pid_t pid)
{
	int status, pass_on = 0;
	long entered = -1;

	for (;;) {
		if (ptrace(PTRACE_SYSCALL, pid, NULL, (void *)(intptr_t)pass_on) < 0 &&
		    errno != ESRCH)
			die("PTRACE_SYSCALL");
		while (waitpid(pid, &status, 0) != pid)
			if (errno != EINTR)
				die("waitpid");
		if (WIFEXITED(status))
			return WEXITSTATUS(status);
		if (WIFSIGNALED(status))
			return 128 + WTERMSIG(status);
		pass_on = 0;
		if (WSTOPSIG(status) == (SIGTRAP | 0x80))
			at_syscall(plan, pid, &entered);
		else if (status >> 16 == 0) /* no event of ours: a signal for the command */
			pass_on = WSTOPSIG(status);
	}
}

int main(int argc, char **argv)
{
	static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1};
	struct sigaction action = {.sa_handler = handle};
	struct plan plan = {0};

	parse(&plan, argc, argv);
	tracee = start(&plan);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		if (sigaction(signals[i], &action, NULL) < 0)
			die("sigaction");
	return run(&plan, tracee);
}
