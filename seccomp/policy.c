/*
 * Owns: the table. May touch: nothing.
 * Never does: depend on anything at run time but the descriptors it is given: which calls there can
 * be is fixed when it is built.
 */
#include "seccomp/policy.h"

#include <linux/random.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

/* 32-bit ABIs make other calls (mmap2, clock_gettime64): better no build than a dead daemon. */
_Static_assert(sizeof(void *) == 8, "the table is for 64-bit kernels' own ABI");

/* EPOCH_PAGE_POKE_OFFSET of proto/epoch_page.h, which this room does not know; a test compares. */
#define POLICY_POKE_OFFSET 2048

#define CALL(name_) __NR_##name_, #name_

/* The upper half of a register that carries an int is not defined: only the lower is compared. */
#define IS_INT(arg_, value_)                                         \
	{                                                            \
		.arg = (arg_), .mask = UINT32_MAX, .value = (value_) \
	}
#define IS_NULL(arg_)                                         \
	{                                                     \
		.arg = (arg_), .mask = UINT64_MAX, .value = 0 \
	}
#define IS_LONG(arg_, value_)                                        \
	{                                                            \
		.arg = (arg_), .mask = UINT64_MAX, .value = (value_) \
	}
/* No bit but these may be set. */
#define HAS_ONLY(arg_, bits_)                                                      \
	{                                                                          \
		.arg = (arg_), .mask = UINT32_MAX & ~(unsigned)(bits_), .value = 0 \
	}
/* Numbers 0 to 7 are the fixed clocks; negative ones reach a device through a descriptor. */
#define IS_FIXED_CLOCK(arg_)                                        \
	{                                                           \
		.arg = (arg_), .mask = UINT32_MAX & ~7u, .value = 0 \
	}

static const struct policy_row rows[] = {
/* The loop. */
#ifdef __NR_epoll_wait
    {CALL(epoll_wait),
     POLICY_FD_LOOP,
     {{0}},
     "epfd = the loop's, or that of connections whose peer does not read",
     "the loop waits"},
#else
    {CALL(epoll_pwait),
     POLICY_FD_LOOP,
     {{0}},
     "epfd = the loop's, or that of connections whose peer does not read",
     "the loop waits"},
#endif
    {CALL(epoll_ctl),
     POLICY_FD_LOOP,
     {{0}},
     "epfd = the loop's, or that of connections whose peer does not read",
     "the loop changes what it waits for"},
    {CALL(clock_gettime),
     POLICY_ALWAYS,
     {IS_FIXED_CLOCK(0)},
     "clock = 0 to 7",
     "timers, the age of the state; a real call where the vDSO has no usable clock"},
#ifndef RNGD_SANITIZER
    {CALL(read),
     POLICY_FD_READ,
     {{0}},
     "fd = the signals', the kernel log's or the clocks' alarm's",
     "each of these"},
#endif
    {CALL(pread64),
     POLICY_FD_PREAD,
     {IS_LONG(3, 0)},
     "fd = the generation ID's, the vmclock's or the epoch source's, offset = 0",
     "each of these"},

    /* Connections. No address is ever given, so no socket but a connected one is of use. */
    {CALL(accept4),
     POLICY_FD_LISTEN,
     {IS_NULL(1), IS_INT(3, SOCK_NONBLOCK | SOCK_CLOEXEC)},
     "fd = a listener's, addr = NULL, flags = SOCK_NONBLOCK + SOCK_CLOEXEC",
     "takes a connection"},
    {CALL(getsockopt),
     POLICY_ALWAYS,
     {IS_INT(1, SOL_SOCKET), IS_INT(2, SO_PEERCRED)},
     "level = SOL_SOCKET, optname = SO_PEERCRED",
     "who the peer is"},
    {CALL(getsockopt),
     POLICY_ALWAYS,
     {IS_INT(1, SOL_SOCKET), IS_INT(2, SO_MEMINFO)},
     "level = SOL_SOCKET, optname = SO_MEMINFO",
     "how much the peer has not read"},
    {CALL(recvmsg),
     POLICY_ALWAYS,
     {IS_INT(2, MSG_DONTWAIT)},
     "flags = MSG_DONTWAIT",
     "requests; says when descriptors were passed, for which no room is given"},
    {CALL(sendto),
     POLICY_ALWAYS,
     {IS_INT(3, MSG_DONTWAIT | MSG_NOSIGNAL), IS_NULL(4)},
     "flags = MSG_DONTWAIT + MSG_NOSIGNAL, addr = NULL",
     "replies; messages to the service manager; log lines to a socket"},
    {CALL(sendmsg),
     POLICY_IF_PAGE,
     {IS_INT(2, MSG_DONTWAIT | MSG_NOSIGNAL)},
     "an epoch page is published, flags = MSG_DONTWAIT + MSG_NOSIGNAL",
     "the descriptor of the epoch page, to who asks for it"},
    {CALL(close), POLICY_ALWAYS, {{0}}, "any", "a connection ends; everything at the end"},

    /* The generator and the log. */
    {CALL(getrandom),
     POLICY_ALWAYS,
     {HAS_ONLY(2, GRND_NONBLOCK)},
     "flags = 0 or GRND_NONBLOCK",
     "reseeds; the vDSO, which asks without flags when the kernel's generator was reseeded"},
    {CALL(pwrite64),
     POLICY_FD_PAGE,
     {IS_LONG(2, 1), IS_LONG(3, POLICY_POKE_OFFSET)},
     "fd = the epoch page's, count = 1, offset = 2048",
     "wakes who watches the epoch page with inotify"},
#ifndef RNGD_SANITIZER
    {CALL(write), POLICY_ALWAYS, {IS_INT(0, 2)}, "fd = 2", "the log"},
#endif

    /* Memory. Nothing executable, nothing shared, nothing over or instead of another mapping. */
    {CALL(brk), POLICY_ALWAYS, {{0}}, "any", "malloc"},
#ifndef RNGD_SANITIZER
    {CALL(mmap),
     POLICY_ALWAYS,
     {IS_NULL(0), IS_INT(2, PROT_READ | PROT_WRITE), IS_INT(3, MAP_PRIVATE | MAP_ANONYMOUS)},
     "addr = NULL, prot = PROT_READ + PROT_WRITE, flags = MAP_PRIVATE + MAP_ANONYMOUS",
     "malloc where brk is refused: out of memory must be an error, not death"},

    /* Who has the stack and this call has every register: only where a handler must return. */
    {CALL(rt_sigreturn),
     POLICY_IF_HANDLER,
     {{0}},
     "SO_PASSRIGHTS is missing",
     "the no-op SIGALRM handler, which is there then alone"},
#endif

    /* The end. */
    {CALL(exit_group), POLICY_ALWAYS, {{0}}, "any", "the end"},

#ifdef RNGD_SANITIZER
    /* What the runtimes of the sanitizers call; such a build is for tests alone. */
    {CALL(read), POLICY_ALWAYS, {{0}}, "any", "sanitizer: reports: symbols"},
    {CALL(write), POLICY_ALWAYS, {{0}}, "any", "sanitizer: reports"},
    {CALL(mmap), POLICY_ALWAYS, {{0}}, "any", "sanitizer: shadow memory, its own allocator"},
    {CALL(munmap), POLICY_ALWAYS, {{0}}, "any", "sanitizer: its own allocator"},
    {CALL(madvise), POLICY_ALWAYS, {{0}}, "any", "sanitizer: shadow memory"},
    {CALL(futex), POLICY_ALWAYS, {{0}}, "any", "sanitizer: locks"},
    {CALL(sched_yield), POLICY_ALWAYS, {{0}}, "any", "sanitizer: locks"},
    {CALL(nanosleep), POLICY_ALWAYS, {{0}}, "any", "sanitizer: background thread"},
    {CALL(gettimeofday), POLICY_ALWAYS, {{0}}, "any", "sanitizer: background thread"},
    {CALL(rt_sigaction), POLICY_ALWAYS, {{0}}, "any", "sanitizer: handlers"},
    {CALL(rt_sigreturn), POLICY_ALWAYS, {{0}}, "any", "sanitizer: handlers"},
    {CALL(rt_sigprocmask), POLICY_ALWAYS, {{0}}, "any", "sanitizer: handlers"},
    {CALL(sigaltstack), POLICY_ALWAYS, {{0}}, "any", "sanitizer: handlers"},
    {CALL(getpid), POLICY_ALWAYS, {{0}}, "any", "sanitizer: reports"},
    {CALL(gettid), POLICY_ALWAYS, {{0}}, "any", "sanitizer: reports"},
    {CALL(tgkill), POLICY_ALWAYS, {{0}}, "any", "sanitizer: abort()"},
    {CALL(openat), POLICY_ALWAYS, {{0}}, "any", "sanitizer: reports: symbols"},
    {CALL(newfstatat), POLICY_ALWAYS, {{0}}, "any", "sanitizer: reports: symbols"},
    {CALL(fcntl), POLICY_ALWAYS, {{0}}, "any", "sanitizer: reports: symbols"},
    {CALL(ioctl), POLICY_ALWAYS, {{0}}, "any", "sanitizer: reports: is it a terminal"},
#ifdef __NR_open
    {CALL(open), POLICY_ALWAYS, {{0}}, "any", "sanitizer: reports: symbols"},
#endif
#ifdef __NR_readlink
    {CALL(readlink), POLICY_ALWAYS, {{0}}, "any", "sanitizer: reports: symbols"},
#else
    {CALL(readlinkat), POLICY_ALWAYS, {{0}}, "any", "sanitizer: reports: symbols"},
#endif
#endif
};

const struct policy_row *policy_rows(size_t *count)
{
	*count = sizeof(rows) / sizeof(rows[0]);
	return rows;
}

void policy_give(struct policy_given *given, enum policy_need set, int fd)
{
	size_t count = given->counts[set];

	if (fd < 0)
		return;
	for (size_t i = 0; i < count && i < POLICY_FDS_MAX; i++)
		if (given->fds[set][i] == fd)
			return;
	if (count < POLICY_FDS_MAX)
		given->fds[set][count] = fd;
	given->counts[set]++;
}

size_t policy_rule_count(const struct policy_row *row, const struct policy_given *given)
{
	switch (row->need) {
	case POLICY_ALWAYS:
		return 1;
	case POLICY_IF_HANDLER:
		return given->handler;
	case POLICY_IF_PAGE:
		return given->counts[POLICY_FD_PAGE] > 0;
	default:
		return given->counts[row->need];
	}
}

bool policy_fd_test(const struct policy_row *row, const struct policy_given *given, size_t i,
		    struct policy_test *test)
{
	if (row->need < POLICY_FD_LOOP)
		return false;
	*test = (struct policy_test)IS_INT(0, (uint32_t)given->fds[row->need][i]);
	return true;
}
