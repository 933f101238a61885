/*
 * client/local_vmclock - the hypervisor's clock page as one more thing that a local generator's
 * seed is tied to. Private to the library.
 *
 * The page moves before a clone's first instruction, so whoever has it need not wait for the
 * kernel or the daemon to notice. Read-only and shared, so a child has it as well, and what it
 * reads there is as good. Its looks are loads: no system call.
 */
#ifndef CLIENT_LOCAL_VMCLOCK_H
#define CLIENT_LOCAL_VMCLOCK_H

#include <stdbool.h>
#include <stddef.h>

#include "host/vmclock.h"

/* All zero: none was given. */
struct local_vmclock {
	const void *page;           /* private: NULL or a mapping, owned */
	size_t page_bytes;          /* private */
	struct vmclock_reading was; /* private: what the page must say */
};

/*
 * Maps the page behind fd, which stays the caller's and is not needed later. 0; -EINVAL: no
 * vmclock page, or a file that could end under the mapping, which would kill who reads it (taken
 * are devices, and memfds sealed against shrinking); or -errno of fstat(2) or mmap(2). On failure
 * *vmclock is zeroed.
 */
int local_vmclock_map(struct local_vmclock *vmclock, int fd);

/* Unmaps; a zeroed struct is allowed. */
void local_vmclock_unmap(struct local_vmclock *vmclock);

/* What the page says now is what it must say. To be called before a seed is asked for. */
void local_vmclock_note(struct local_vmclock *vmclock);

/*
 * Does the page say what it did? true also where there is none. false: it moved, somebody writes it
 * for longer than an update takes (then or now), or it is no vmclock page any more.
 */
bool local_vmclock_holds(const struct local_vmclock *vmclock);

#endif
