/*
 * host/vdso - the generation of the kernel's random number generator, which moves at every reseed
 * of it: when the machine was cloned, as far as the kernel knows, and otherwise at least once a
 * minute.
 *
 * Read from the opaque state of __vdso_getrandom() (Linux 6.11; include/vdso/getrandom.h in the
 * kernel's tree, struct vgetrandom_state): its u64 at offset 128 after a call. That is no
 * documented interface, so it is taken only where the state has the one size this code knows and
 * the value behaves; everywhere else the generation is not available.
 *
 * Needs no privilege; about 12 ns a call. A handle is one thread's at a time.
 */
#ifndef HOST_VDSO_H
#define HOST_VDSO_H

#include <stddef.h>
#include <stdint.h>

struct vdso {
	void *call;  /* private: __vdso_getrandom, or NULL */
	void *state; /* private: its opaque state, within one page */
	size_t map_bytes;
};

/*
 * Finds the function and maps its state. 0; -ENOSYS: the kernel has none; -EPROTO: it has one,
 * whose state is not as this code knows it; -ENOMEM; or the call's own errno. On failure *vdso is
 * zeroed. No lasting effect but one mapping, wiped in a forked child, where it goes on working.
 */
int vdso_init(struct vdso *vdso);

/* Unmaps; a zeroed struct is allowed. */
void vdso_deinit(struct vdso *vdso);

/*
 * The generation now: never 0, and never smaller than an earlier answer in the same process's
 * life unless the machine was restored. 0: not available (vdso_init() failed, or the call did).
 *
 * At a new generation the vDSO itself calls getrandom(2) with flags 0 (or the flags' fallback): a
 * system call filter must let that pass.
 */
uint64_t vdso_generation(struct vdso *vdso);

#endif
