/*
 * daemon/privdrop - gives up every privilege for good, then proves it.
 */
#ifndef DAEMON_PRIVDROP_H
#define DAEMON_PRIVDROP_H

#include <stdbool.h>
#include <sys/types.h>

#define PRIVDROP_FALLBACK_ID 65534u /* nobody/nogroup by convention of every Linux */

/* Who the daemon shall run as. */
struct privdrop_target {
	uid_t uid;
	gid_t gid;
	bool fallback; /* the account does not exist: uid and gid are PRIVDROP_FALLBACK_ID */
};

/*
 * Looks `user` up while the account database can still be read: as a name first, then, if it is
 * all digits, as a uid. A uid without an account is taken as it stands, with the same number for
 * its group.
 * 0; -EINVAL when uid or primary group is 0; -ERANGE for a number that is no uid; or
 * another negative errno of the lookup. A name that does not exist is no error: see fallback.
 */
int privdrop_lookup(const char *user, struct privdrop_target *target);

/*
 * With a real, effective or saved uid of 0: empties the supplementary groups, becomes target for
 * real, effective, saved and file-system ids. Otherwise the effective ids become all of them
 * and target is not used: who started us without root chose uid and groups.
 * In both cases empties the bounding, ambient, inheritable, permitted and effective
 * capability sets, sets no_new_privs, makes the process undumpable, and ends with privdrop_prove().
 *
 * The bounding set is left as it is where the process never had CAP_SETPCAP, without which
 * nobody can change it. It only limits what an execve() may gain, and no_new_privs lets none gain
 * any.
 *
 * 0, or a negative errno (-EPERM: a privilege to give up another is missing, or one could be
 * regained; -EINVAL: target is root); the caller must exit.
 */
int privdrop_forever(const struct privdrop_target *target);

/*
 * The proof alone: reads every id, capability set and flag back, then tries to become root.
 * 0, or -EPERM when anything is left; the process may then have become root by trying, so
 * the caller must exit. Any other negative errno: the proof could not be made.
 */
int privdrop_prove(void);

#endif
