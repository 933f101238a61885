/*
 * client/turn - one caller at a time on a handle, and the notice of a fork. Private to the
 * library.
 *
 * The word is the process id that last used the handle and a lock (0 free, 1 taken, 2 taken
 * with waiters) in one atomic, in a page that a forked child finds zeroed (MADV_WIPEONFORK,
 * Linux 4.14). Where the kernel cannot do that, the process id in it still differs
 * in a child. So a lock held by another thread at the moment of fork() cannot
 * hang the child, and the first caller in the child knows that it is the first.
 */
#ifndef CLIENT_TURN_H
#define CLIENT_TURN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct turn {
	void *page;
	_Atomic uint64_t *word; /* on the page */
};

/* 0 or -ENOMEM. */
int turn_init(struct turn *turn);

/* Unmaps the page; a zeroed struct is allowed. */
void turn_deinit(struct turn *turn);

/*
 * Waits for the turn. An errno of futex(2) other than the expected ones is passed on. *forked: this
 * is the first turn in a new process, so what the handle holds belongs to the parent. 0 or
 * -ETIMEDOUT.
 */
int turn_take(struct turn *turn, int64_t deadline_ns, bool *forked);

/* Does this process still have the turn? Not after a fork() inside of it. */
bool turn_is_ours(const struct turn *turn);

/* Ends it. Only after turn_take() succeeded. */
void turn_give(struct turn *turn);

#endif
