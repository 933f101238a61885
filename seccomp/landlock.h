/*
 * seccomp/landlock - takes the file system, and the way to anybody new, from the calling thread.
 *
 * Descriptors that are open stay as they are: read, written, accepted on, passed on. What this
 * denies the filter of sandbox.h denies as well: it is there should that one have a hole.
 */
#ifndef SECCOMP_LANDLOCK_H
#define SECCOMP_LANDLOCK_H

#include <stdint.h>

/* The last version of the kernel's interface that is known here (Linux 7.2). */
#define LANDLOCK_NEWEST 10

/* What there is to deny, laid out as the kernel's struct landlock_ruleset_attr. */
struct landlock_rights {
	uint64_t fs;     /* actions on files and directories */
	uint64_t net;    /* actions on TCP and UDP ports; from version 4 on */
	uint64_t scoped; /* reaching processes outside; from version 6 on */
};

/*
 * Denies for good everything that both the running kernel's version of Landlock and this table
 * know, without an exception, and sees that the root directory cannot be opened any more. Sets
 * no_new_privs.
 * The version that is in force, 1 to LANDLOCK_NEWEST; 0: this kernel has no Landlock, or it is
 * switched off, and nothing was changed; or a negative errno: the caller must exit (-EPERM: a
 * filter around us refuses to let us know, or it is in force and denies nothing).
 */
int landlock_enter(void);

/* The kernel's version; 0: it has none, or it is switched off; or a negative errno. */
int landlock_version(void);

/*
 * The same as landlock_enter() for one version, 1 to landlock_version(): what an older kernel
 * would do, for tests. 0 or a negative errno.
 */
int landlock_restrict(int version);

/* All that a version can deny. One beyond LANDLOCK_NEWEST counts as that, one below 1 as nothing.
 */
struct landlock_rights landlock_rights(int version);

#endif
