/*
 * host/secmem - memory for secrets: locked, kept out of dumps and of forked children,
 * between guard pages, and where the kernel gives it memfd_secret(2) memory, which not
 * even the kernel's own direct map shows. Also wipe helpers.
 *
 * An allocation lives until secmem_free(). Not for many small objects: each costs at
 * least three pages of address space. Not thread-safe with itself.
 */
#ifndef HOST_SECMEM_H
#define HOST_SECMEM_H

#include <stdbool.h>
#include <stddef.h>

/* What protects an allocation; each flag was confirmed by the kernel, not assumed. */
struct secmem {
	void *data; /* page-aligned, zeroed, data_bytes long */
	size_t data_bytes;
	bool secret;      /* memfd_secret: unreadable by other processes, root included */
	bool locked;      /* never swapped */
	bool dontdump;    /* not in core dumps */
	bool dontfork;    /* not in children */
	void *map;        /* private: the whole mapping, guard pages included */
	size_t map_bytes; /* private */
};

/*
 * Allocates at least `bytes` bytes (rounded up to pages). use_memfd_secret false skips
 * memfd_secret(2): while such memory is mapped the kernel refuses to hibernate.
 * Memory that cannot be locked is an error: a key must never reach a swap file.
 * 0, or a negative errno (-ENOMEM or -EPERM: RLIMIT_MEMLOCK too small); *mem is then
 * zeroed.
 */
int secmem_alloc(struct secmem *mem, size_t bytes, bool use_memfd_secret);

/* Wipes and unmaps; a zeroed struct is allowed. */
void secmem_free(struct secmem *mem);

/* Overwrites len bytes in a way the compiler keeps. */
void wipe(void *data, size_t len);

/*
 * Overwrites the dead stack below the caller (SECMEM_STACK_BYTES), where computations
 * may have spilled registers. Call it from the frame above the computation.
 */
void wipe_stack(void);

/*
 * Locks the stack below the caller, SECMEM_LOCKED_STACK_BYTES of it, and keeps it out of dumps:
 * what computations spill there for a moment must not reach a swap file. Call it once, early, from
 * a frame that stays. 0, or a negative errno (-ENOMEM, -EPERM: RLIMIT_MEMLOCK).
 */
int secmem_lock_stack(void);

#define SECMEM_LOCKED_STACK_BYTES 65536u /* the whole depth of a serving daemon, several times */

#define SECMEM_STACK_BYTES 8192u /* deepest key-handling call chain measured, doubled */

#endif
