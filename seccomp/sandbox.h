/*
 * seccomp/sandbox - puts the calling process behind the filter that policy.h describes.
 */
#ifndef SECCOMP_SANDBOX_H
#define SECCOMP_SANDBOX_H

/*
 * Installs the filter for this process and all its threads: every system call that is
 * not allowed by policy_rows(), every other architecture's entry (i386, x32) included,
 * kills the process. Sets no_new_privs itself. Cannot be undone.
 * 0, or a negative errno; on an error nothing was installed and the caller must exit.
 */
int sandbox_enter(void);

#endif
