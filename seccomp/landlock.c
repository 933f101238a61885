/*
 * Owns: the table of what each version can deny, and a ruleset while it is put in force. May
 * touch: the calling thread's own rights. Never does: allow anything: a ruleset without a rule
 * denies all that it handles.
 *
 * The numbers are the kernel's (include/uapi/linux/landlock.h), written out because the headers at
 * hand are mostly older than the kernels to come. There is no call for them in the C library.
 */
#include "seccomp/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LANDLOCK_ASK_VERSION 1u /* LANDLOCK_CREATE_RULESET_VERSION */

/* One step for each version that brought something to deny: the lowest bits, all of them. */
#define LANDLOCK_FS_1     0x00001fffu /* execute, write, read, list, remove, make of all kinds */
#define LANDLOCK_FS_2     0x00003fffu /* and link or rename to another directory */
#define LANDLOCK_FS_3     0x00007fffu /* and truncate */
#define LANDLOCK_FS_5     0x0000ffffu /* and ioctl on devices */
#define LANDLOCK_FS_9     0x0001ffffu /* and connect to a UNIX socket by its path */
#define LANDLOCK_NET_4    0x00000003u /* bind and connect TCP */
#define LANDLOCK_NET_10   0x0000000fu /* and UDP */
#define LANDLOCK_SCOPED_6 0x00000003u /* abstract UNIX sockets and signals of others */

static const struct landlock_rights rights_table[LANDLOCK_NEWEST + 1] = {
    [1] = {LANDLOCK_FS_1, 0, 0},
    [2] = {LANDLOCK_FS_2, 0, 0},
    [3] = {LANDLOCK_FS_3, 0, 0},
    [4] = {LANDLOCK_FS_3, LANDLOCK_NET_4, 0},
    [5] = {LANDLOCK_FS_5, LANDLOCK_NET_4, 0},
    [6] = {LANDLOCK_FS_5, LANDLOCK_NET_4, LANDLOCK_SCOPED_6},
    /* 7 and 8: flags for the audit log and for threads. */
    [7] = {LANDLOCK_FS_5, LANDLOCK_NET_4, LANDLOCK_SCOPED_6},
    [8] = {LANDLOCK_FS_5, LANDLOCK_NET_4, LANDLOCK_SCOPED_6},
    [9] = {LANDLOCK_FS_9, LANDLOCK_NET_4, LANDLOCK_SCOPED_6},
    [10] = {LANDLOCK_FS_9, LANDLOCK_NET_10, LANDLOCK_SCOPED_6},
};

_Static_assert(sizeof(struct landlock_rights) == 24 &&
		   offsetof(struct landlock_rights, scoped) == 16,
	       "the kernel's layout");

struct landlock_rights landlock_rights(int version)
{
	if (version < 0)
		version = 0;
	return rights_table[version < LANDLOCK_NEWEST ? version : LANDLOCK_NEWEST];
}

int landlock_version(void)
{
#if defined(RNGD_TEST_FALLBACK) || defined(RNGD_SANITIZER)
	/* As an older kernel; and a sanitizer's report opens files for the names in it. */
	return 0;
#else
	long version = syscall(__NR_landlock_create_ruleset, NULL, (size_t)0, LANDLOCK_ASK_VERSION);

	if (version < 0)
		return errno == ENOSYS || errno == EOPNOTSUPP ? 0 : -errno;
	return (int)version;
#endif
}

/* Whatever else is in force, nobody may list the root directory any more. */
static int prove(void)
{
	int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0) {
		close(fd);
		return -EPERM;
	}
	return errno == EACCES ? 0 : -errno;
}

int landlock_restrict(int version)
{
	const struct landlock_rights rights = landlock_rights(version);
	int err = 0;
	long fd;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	/* A kernel that knows a shorter struct takes a longer one whose rest is zero. */
	fd = syscall(__NR_landlock_create_ruleset, &rights, sizeof(rights), 0u);
	if (fd < 0)
		return -errno;
	if (syscall(__NR_landlock_restrict_self, (int)fd, 0u) < 0)
		err = -errno;
	close((int)fd);
	return err ? err : prove();
}

int landlock_enter(void)
{
	int version = landlock_version(), err;

	if (version <= 0)
		return version;
	if (version > LANDLOCK_NEWEST)
		version = LANDLOCK_NEWEST;
	err = landlock_restrict(version);
	return err ? err : version;
}
