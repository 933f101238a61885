/*
 * client/statepage - one page for a generator's state, which a forked child does not find. Private
 * to the library.
 *
 * Where the kernel has MAP_DROPPABLE (Linux 6.11) the page is never written to swap and needs no
 * lock, but may be dropped, which zeroes it, at any moment. Elsewhere it is locked, and kept out of
 * dumps. Both are zeroed in a child (MADV_WIPEONFORK, Linux 4.14).
 *
 * Before Linux 4.14 two counters tell of a fork: one that parent and child share, one that each has
 * for itself. Whoever counts second sees that they differ. That keeps two processes from handing
 * out the same bytes; it does not keep the child from reading the parent's page.
 */
#ifndef CLIENT_STATEPAGE_H
#define CLIENT_STATEPAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct statepage {
	void *data;       /* zeroed at first */
	size_t map_bytes; /* private */
	bool locked;      /* private: it is not droppable */
	uint64_t
	    *shared; /* private: the counter that a child counts too; NULL: the page is wiped */
	uint64_t counted; /* private: what *shared must be */
};

/*
 * Maps room for `bytes`. 0; -ENOMEM, or -EPERM and -EAGAIN of mlock(2): RLIMIT_MEMLOCK is too
 * small. On failure *page is zeroed.
 */
int statepage_init(struct statepage *page, size_t bytes);

/*
 * Before new state is written: in a child, locks the page there and starts counters that are its
 * own. May be called in any process at any time; what the page held must not be used any more. 0 or
 * a negative errno, as above.
 */
int statepage_renew(struct statepage *page);

/* Wipes and unmaps; a zeroed struct is allowed. */
void statepage_deinit(struct statepage *page);

/*
 * To be called before bytes are taken from the page and again after: has no other process called
 * this since the page was renewed? Always true where the kernel wipes the page, when what it holds
 * tells.
 */
static inline bool statepage_is_ours(struct statepage *page)
{
	return !page->shared ||
	       __atomic_fetch_add(page->shared, 1, __ATOMIC_SEQ_CST) == page->counted++;
}

#endif
