/*
 * Owns: the table. May touch: nothing.
 * Never does: depend on anything at run time: what is allowed is fixed when it is built.
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
    {CALL(epoll_wait), {{0}}, "any", "the loop waits"},
#else
    {CALL(epoll_pwait), {{0}}, "any", "the loop waits"},
#endif
    {CALL(epoll_ctl), {{0}}, "any", "the loop changes what it waits for"},
    {CALL(clock_gettime),
     {IS_FIXED_CLOCK(0)},
     "clock = 0 to 7",
     "timers, the age of the state; a real call where the vDSO has no usable clock"},
    {CALL(read), {{0}}, "any", "the signal descriptor, the kernel log, the clocks' alarm"},
    {CALL(pread64), {IS_LONG(3, 0)}, "offset = 0", "the machine's generation ID"},

    /* Connections. No address is ever given, so no socket but a connected one is of use. */
    {CALL(accept4),
     {IS_NULL(1), IS_INT(3, SOCK_NONBLOCK | SOCK_CLOEXEC)},
     "addr = NULL, flags = SOCK_NONBLOCK + SOCK_CLOEXEC",
     "takes a connection"},
    {CALL(getsockopt),
     {IS_INT(1, SOL_SOCKET), IS_INT(2, SO_PEERCRED)},
     "level = SOL_SOCKET, optname = SO_PEERCRED",
     "who the peer is"},
    {CALL(recvmsg),
     {IS_INT(2, MSG_DONTWAIT)},
     "flags = MSG_DONTWAIT",
     "requests; says when descriptors were passed, for which no room is given"},
    {CALL(sendto),
     {IS_INT(3, MSG_DONTWAIT | MSG_NOSIGNAL), IS_NULL(4)},
     "flags = MSG_DONTWAIT + MSG_NOSIGNAL, addr = NULL",
     "replies; messages to the service manager; log lines to a socket"},
    {CALL(sendmsg),
     {IS_INT(2, MSG_DONTWAIT | MSG_NOSIGNAL)},
     "flags = MSG_DONTWAIT + MSG_NOSIGNAL",
     "the descriptor of the epoch page, to who asks for it"},
    {CALL(close), {{0}}, "any", "a connection ends; everything at the end"},

    /* The generator and the log. */
    {CALL(getrandom),
     {HAS_ONLY(2, GRND_NONBLOCK)},
     "flags = 0 or GRND_NONBLOCK",
     "reseeds; the vDSO, which asks without flags when the kernel's generator was reseeded"},
    {CALL(pwrite64),
     {IS_LONG(2, 1), IS_LONG(3, POLICY_POKE_OFFSET)},
     "count = 1, offset = 2048",
     "wakes who watches the epoch page with inotify"},
#ifndef RNGD_SANITIZER
    {CALL(write), {IS_INT(0, 2)}, "fd = 2", "the log"},
#endif

    /* Memory. Nothing executable, nothing shared, nothing over another mapping. */
    {CALL(brk), {{0}}, "any", "malloc"},
#ifndef RNGD_SANITIZER
    {CALL(mmap),
     {IS_INT(2, PROT_READ | PROT_WRITE), IS_INT(3, MAP_PRIVATE | MAP_ANONYMOUS)},
     "prot = PROT_READ + PROT_WRITE, flags = MAP_PRIVATE + MAP_ANONYMOUS",
     "malloc where brk is refused: out of memory must be an error, not death"},
#endif
    {CALL(munmap), {{0}}, "any", "secret memory is given back at the end"},

    /* The end of a signal handler, and the end. */
    {CALL(rt_sigreturn), {{0}}, "any", "the no-op SIGALRM handler where SO_PASSRIGHTS is missing"},
    {CALL(exit_group), {{0}}, "any", "the end"},

#ifdef RNGD_SANITIZER
    /* What the runtimes of the sanitizers call; such a build is for tests alone. */
    {CALL(write), {{0}}, "any", "sanitizer: reports"},
    {CALL(mmap), {{0}}, "any", "sanitizer: shadow memory, its own allocator"},
    {CALL(madvise), {{0}}, "any", "sanitizer: shadow memory"},
    {CALL(futex), {{0}}, "any", "sanitizer: locks"},
    {CALL(sched_yield), {{0}}, "any", "sanitizer: locks"},
    {CALL(nanosleep), {{0}}, "any", "sanitizer: background thread"},
    {CALL(gettimeofday), {{0}}, "any", "sanitizer: background thread"},
    {CALL(rt_sigaction), {{0}}, "any", "sanitizer: handlers"},
    {CALL(rt_sigprocmask), {{0}}, "any", "sanitizer: handlers"},
    {CALL(sigaltstack), {{0}}, "any", "sanitizer: handlers"},
    {CALL(getpid), {{0}}, "any", "sanitizer: reports"},
    {CALL(gettid), {{0}}, "any", "sanitizer: reports"},
    {CALL(tgkill), {{0}}, "any", "sanitizer: abort()"},
    {CALL(openat), {{0}}, "any", "sanitizer: reports: symbols"},
    {CALL(newfstatat), {{0}}, "any", "sanitizer: reports: symbols"},
    {CALL(fcntl), {{0}}, "any", "sanitizer: reports: symbols"},
    {CALL(ioctl), {{0}}, "any", "sanitizer: reports: is it a terminal"},
#ifdef __NR_open
    {CALL(open), {{0}}, "any", "sanitizer: reports: symbols"},
#endif
#ifdef __NR_readlink
    {CALL(readlink), {{0}}, "any", "sanitizer: reports: symbols"},
#else
    {CALL(readlinkat), {{0}}, "any", "sanitizer: reports: symbols"},
#endif
#endif
};

const struct policy_row *policy_rows(size_t *count)
{
	*count = sizeof(rows) / sizeof(rows[0]);
	return rows;
}
