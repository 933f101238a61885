/*
 * Owns: nothing; its callers own the descriptors. May touch: "PATH.lock".
 * Never does: follow a link to it, wait for it, or remove it.
 */
#include "daemon/lockfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/log.h"

#define LOCKFILE_SUFFIX ".lock"

int lockfile_open(const char *path)
{
	char lock[PATH_MAX];
	struct stat st;
	int fd, err;

	if ((size_t)snprintf(lock, sizeof(lock), "%s%s", path, LOCKFILE_SUFFIX) >= sizeof(lock)) {
		log_error("too long a path for a lock: %s", path);
		return -ENAMETOOLONG;
	}
	fd = open(lock, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0600);
	if (fd < 0) {
		err = -errno;
		log_error("cannot open %s: %s", lock, strerror(-err));
		return err;
	}
	/* Somebody else's file could be locked by its owner to keep us from starting. */
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid()) {
		log_error("%s is not a regular file of ours; remove it", lock);
		close(fd);
		return -EPERM;
	}
	return fd;
}

int lockfile_take(int fd)
{
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	return errno == EWOULDBLOCK ? -EADDRINUSE : -errno;
}
