/*
 * daemon/lockfile - the file beside a path whose lock says that one daemon, and only one, has it.
 *
 * In two steps, because the first may need privileges that the second's owner no longer has. The
 * file is never removed: a lock on a removed file excludes nobody.
 */
#ifndef DAEMON_LOCKFILE_H
#define DAEMON_LOCKFILE_H

/*
 * Opens "PATH.lock", made with mode 0600 when there is none, and takes no lock. A descriptor,
 * close-on-exec, the caller's; or a negative errno after a log line: -EPERM when what is there is
 * not a regular file of our own user.
 */
int lockfile_open(const char *path);

/*
 * Takes the lock, without waiting; it is held for as long as fd's open file description lives.
 * 0; -EADDRINUSE: another holds it; or another negative errno. Logs nothing.
 */
int lockfile_take(int fd);

#endif
