/*
 * Owns: one page. May touch: futex, getpid, the monotonic clock.
 * Never does: wait past a deadline, or believe a lock that another process took.
 */
#include "client/turn.h"

#include <endian.h>
#include <errno.h>
#include <linux/futex.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "client/transport.h"

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

enum {
	TURN_FREE = 0,
	TURN_TAKEN = 1,
	TURN_WAITERS = 2, /* taken, and whoever gives it back must wake one */
};

static uint64_t make_word(pid_t pid, uint32_t lock)
{
	return (uint64_t)(uint32_t)pid << 32 | lock;
}

/* The futex is the half of the word that holds the lock. */
static uint32_t *lock_half(struct turn *turn)
{
	return (uint32_t *)turn->page + (__BYTE_ORDER == __LITTLE_ENDIAN ? 0 : 1);
}

int turn_init(struct turn *turn)
{
	size_t bytes = (size_t)sysconf(_SC_PAGESIZE);

	turn->page = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (turn->page == MAP_FAILED) {
		turn->page = NULL;
		return -ENOMEM;
	}
	turn->word = turn->page;
#ifndef RNGD_TEST_FALLBACK
	/* A refusal leaves the process id to tell parent and child apart. */
	madvise(turn->page, bytes, MADV_WIPEONFORK);
#endif
	atomic_store(turn->word, make_word(getpid(), TURN_FREE));
	return 0;
}

void turn_deinit(struct turn *turn)
{
	if (turn->page)
		munmap(turn->page, (size_t)sysconf(_SC_PAGESIZE));
	turn->page = NULL;
	turn->word = NULL;
}

/* 0: look again. FUTEX_WAIT_BITSET takes an absolute CLOCK_MONOTONIC time. */
static int wait_while(struct turn *turn, uint32_t lock, int64_t deadline_ns)
{
	struct timespec until = {.tv_sec = deadline_ns / 1000000000,
				 .tv_nsec = deadline_ns % 1000000000};
	long err = syscall(SYS_futex, lock_half(turn), FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, lock,
			   deadline_ns == TRANSPORT_NO_DEADLINE ? NULL : &until, NULL,
			   FUTEX_BITSET_MATCH_ANY);

	return err < 0 && errno != EAGAIN && errno != EINTR ? -errno : 0;
}

int turn_take(struct turn *turn, int64_t deadline_ns, bool *forked)
{
	const pid_t self = getpid();
	uint32_t take = TURN_TAKEN;
	uint64_t seen = atomic_load(turn->word);
	int err;

	for (;;) {
		bool stranger = (pid_t)(seen >> 32) != self;
		uint32_t lock = (uint32_t)seen;

		if (stranger || lock == TURN_FREE) {
			/* One that has waited cannot know whether others still do. */
			if (atomic_compare_exchange_strong(turn->word, &seen,
							   make_word(self, take))) {
				*forked = stranger;
				return 0;
			}
			continue;
		}
		if (lock == TURN_TAKEN && !atomic_compare_exchange_strong(
					      turn->word, &seen, make_word(self, TURN_WAITERS)))
			continue;
		err = wait_while(turn, TURN_WAITERS, deadline_ns);
		if (err)
			return err;
		take = TURN_WAITERS;
		seen = atomic_load(turn->word);
	}
}

bool turn_is_ours(const struct turn *turn)
{
	return (pid_t)(atomic_load(turn->word) >> 32) == getpid();
}

void turn_give(struct turn *turn)
{
	uint64_t seen = atomic_load(turn->word);

	/* A child that a signal handler forked just now has not taken it: its first call must. */
	do {
		if ((pid_t)(seen >> 32) != getpid())
			return;
	} while (!atomic_compare_exchange_weak(turn->word, &seen,
					       make_word((pid_t)(seen >> 32), TURN_FREE)));
	if ((uint32_t)seen == TURN_WAITERS)
		syscall(SYS_futex, lock_half(turn), FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, NULL, NULL,
			0);
}
