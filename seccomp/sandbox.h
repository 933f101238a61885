/*
 * seccomp/sandbox - puts the calling process behind the filter that policy.h describes.
 */
#ifndef SECCOMP_SANDBOX_H
#define SECCOMP_SANDBOX_H

#include "seccomp/policy.h"

/*
 * Has the kernel refuse memory that is writable and executable, and memory that becomes executable,
 * for the rest of the process's life: what the filter refuses too, should it have a hole.
 * 1: done; 0: this kernel (before Linux 6.3) cannot; or a negative errno: the caller must exit.
 */
int sandbox_refuse_exec(void);

/*
 * Installs the filter for this process and all its threads: every system call that is
 * not allowed by policy_rows() with what is given, every other architecture's entry (i386, x32)
 * included, kills the process. Sets no_new_privs itself. Cannot be undone.
 * 0, or a negative errno (-E2BIG: more descriptors were given than there is room for); on an error
 * nothing was installed and the caller must exit.
 */
int sandbox_enter(const struct policy_given *given);

#endif
