/*
 * Owns: nothing. May touch: the process's credentials and the account database.
 * Never does: trust that a call which reported success had its effect: all is read back.
 */
#include "daemon/privdrop.h"

#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* An account's entry larger than this is taken as an attack or a mistake. */
#define PRIVDROP_ENTRY_MAX_BYTES (1u << 20)

/* Capability sets are 64 bits wide: two words each way, version 3 of the interface. */
#define PRIVDROP_CAP_WORDS _LINUX_CAPABILITY_U32S_3
#define PRIVDROP_CAPS      64

struct ids {
	uid_t ruid, euid, suid;
	gid_t rgid, egid, sgid;
};

static int ids_read(struct ids *ids)
{
	if (getresuid(&ids->ruid, &ids->euid, &ids->suid) < 0 ||
	    getresgid(&ids->rgid, &ids->egid, &ids->sgid) < 0)
		return -errno;
	return 0;
}

/* getpwnam_r() if name is given, else getpwuid_r(). 1 found, 0 not found, or -errno. */
static int read_account(const char *name, uid_t uid, struct privdrop_target *target)
{
	struct passwd entry, *found = NULL;
	size_t size = 1024;
	char *buf = NULL, *larger;
	int err;

	do {
		larger = realloc(buf, size);
		if (!larger) {
			err = ENOMEM;
			break;
		}
		buf = larger;
		err = name ? getpwnam_r(name, &entry, buf, size, &found)
			   : getpwuid_r(uid, &entry, buf, size, &found);
		if (err == ERANGE)
			size *= 2;
	} while (err == EINTR || (err == ERANGE && size <= PRIVDROP_ENTRY_MAX_BYTES));

	/* No database at all, as in a small container, is no account too. */
	if (err == ENOENT || err == ESRCH)
		err = 0;
	if (found) {
		target->uid = entry.pw_uid;
		target->gid = entry.pw_gid;
	}
	free(buf);
	return err ? -err : found != NULL;
}

/* All digits, and a uid: (uid_t)-1 is not one, it means "leave it" to the kernel. */
static int parse_uid(const char *text, uid_t *uid)
{
	unsigned long value;

	errno = 0;
	value = strtoul(text, NULL, 10);
	if (errno || value >= UINT_MAX)
		return -ERANGE;
	*uid = (uid_t)value;
	return 0;
}

int privdrop_lookup(const char *user, struct privdrop_target *target)
{
	uid_t uid;
	int found, err;

	memset(target, 0, sizeof(*target));
	found = read_account(user, 0, target);
	if (found == 0 && user[0] != '\0' && user[strspn(user, "0123456789")] == '\0') {
		err = parse_uid(user, &uid);
		if (err)
			return err;
		target->uid = uid;
		target->gid = uid;
		found = read_account(NULL, uid, target);
	} else if (found == 0) {
		target->fallback = true;
		target->uid = PRIVDROP_FALLBACK_ID;
		target->gid = PRIVDROP_FALLBACK_ID;
	}
	if (found < 0)
		return found;
	/* Group 0 owns files that its members may write on many systems. */
	return target->uid == 0 || target->gid == 0 ? -EINVAL : 0;
}

static int caps_read(struct __user_cap_data_struct caps[PRIVDROP_CAP_WORDS])
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};

	return syscall(SYS_capget, &head, caps) < 0 ? -errno : 0;
}

static int caps_clear(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	const struct __user_cap_data_struct none[PRIVDROP_CAP_WORDS] = {{0}};

	return syscall(SYS_capset, &head, none) < 0 ? -errno : 0;
}

/* Needs CAP_SETPCAP, so it comes before the ids change; see the header for who lacks it. */
static int bounding_clear(void)
{
	struct __user_cap_data_struct caps[PRIVDROP_CAP_WORDS];
	int err = caps_read(caps);

	if (err)
		return err;
	if (!(caps[CAP_TO_INDEX(CAP_SETPCAP)].effective & CAP_TO_MASK(CAP_SETPCAP)))
		return 0;
	/* The kernel may know more capabilities than our headers: EINVAL says where they end. */
	for (int cap = 0; cap < PRIVDROP_CAPS; cap++) {
		if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) < 0)
			return errno == EINVAL ? 0 : -errno;
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			return -errno;
		if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) != 0)
			return -EPERM;
	}
	return 0;
}

static int groups_clear(void)
{
	if (setgroups(0, NULL) < 0)
		return -errno;
	return getgroups(0, NULL) == 0 ? 0 : -EPERM;
}

static int ambient_clear(void)
{
	/* EINVAL: a kernel before 4.3 has no such set. */
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 && errno != EINVAL)
		return -errno;
	return 0;
}

/* The group first: without the uid there is no right to change it. */
static int ids_change(uid_t uid, gid_t gid)
{
	struct ids ids;
	int err;

	if (setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
		return -errno;
	err = ids_read(&ids);
	if (err)
		return err;
	return ids.euid == uid && ids.egid == gid ? 0 : -EPERM;
}

/*
 * Did the kernel refuse? EINVAL is also a refusal: in a user namespace that does not map id 0
 * there is no root to become. Any other failure would prove nothing.
 */
static bool refused(int result)
{
	return result < 0 && (errno == EPERM || errno == EINVAL);
}

static bool ids_proven(const struct ids *ids)
{
	bool same = ids->ruid == ids->euid && ids->euid == ids->suid && ids->rgid == ids->egid &&
		    ids->egid == ids->sgid;

	/* -1 is never a valid id, so nothing changes and the answer is the present one. */
	return same && ids->euid != 0 && (uid_t)setfsuid((uid_t)-1) == ids->euid &&
	       (gid_t)setfsgid((gid_t)-1) == ids->egid;
}

static bool caps_proven(void)
{
	struct __user_cap_data_struct caps[PRIVDROP_CAP_WORDS];

	if (caps_read(caps) < 0)
		return false;
	for (size_t i = 0; i < PRIVDROP_CAP_WORDS; i++)
		if (caps[i].effective || caps[i].permitted || caps[i].inheritable)
			return false;
	for (int cap = 0; cap < PRIVDROP_CAPS; cap++)
		if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, cap, 0, 0) > 0)
			return false;
	return true;
}

static bool flags_proven(void)
{
	return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 && prctl(PR_GET_DUMPABLE) == 0;
}

/* No short cut: each way back is tried on its own. */
static bool root_refused(const struct ids *ids)
{
	const gid_t root_group = 0;

	if (!refused(setuid(0)) || !refused(seteuid(0)) || !refused(setresuid(0, 0, 0)) ||
	    !refused(setgroups(0, NULL)) || !refused(setgroups(1, &root_group)))
		return false;
	/* Group 0 without root: containers are often started so, and it is no privilege of ours. */
	return ids->egid == 0 || (refused(setgid(0)) && refused(setresgid(0, 0, 0)));
}

int privdrop_prove(void)
{
	struct ids ids;
	int err = ids_read(&ids);

	if (err)
		return err;
	if (!ids_proven(&ids) || !caps_proven() || !flags_proven() || !root_refused(&ids))
		return -EPERM;
	return 0;
}

int privdrop_forever(const struct privdrop_target *target)
{
	struct ids ids;
	bool root;
	int err = ids_read(&ids);

	if (err)
		return err;
	root = ids.ruid == 0 || ids.euid == 0 || ids.suid == 0;
	if (root && (target->uid == 0 || target->gid == 0))
		return -EINVAL;
	err = root ? groups_clear() : 0;
	if (!err)
		err = bounding_clear();
	if (!err)
		err = ambient_clear();
	if (!err)
		err = root ? ids_change(target->uid, target->gid) : ids_change(ids.euid, ids.egid);
	if (!err)
		err = caps_clear();
	if (err)
		return err;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	/* Last: a change of uid sets it anew. */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return -errno;
	return privdrop_prove();
}
