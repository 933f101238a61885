/*
 * Owns: nothing; its callers own the descriptors. May touch: the page's file and its directory.
 * Never does: truncate, replace or remove a page, or write to one that has a name.
 */
#include "daemon/pagefile.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "daemon/log.h"

#define PAGEFILE_MODE 0644

/* Looks at a path that others make and remove at the same time. */
#define PAGEFILE_TRIES 8

int pagefile_refuse(const char *path, int err, const char *flaw)
{
	log_error("%s %s; remove it or choose another --epoch", path, flaw);
	return err;
}

/* A page that another may truncate, or write to, is a way to kill its readers or to lie to them. */
static int check_owner(const char *path, const struct stat *st)
{
	if (st->st_uid != 0 && st->st_uid != geteuid())
		return pagefile_refuse(path, -EPERM, "belongs to another user");
	if (st->st_mode & (S_IWGRP | S_IWOTH))
		return pagefile_refuse(path, -EPERM, "can be written by others than its owner");
	if (st->st_nlink != 1)
		return pagefile_refuse(path, -EPERM, "has a second name (a hard link)");
	return 0;
}

static int check_memory(const char *where, int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC))
		return 0;
	log_error("%s is not on a tmpfs; choose an --epoch that is", where);
	return -EOPNOTSUPP;
}

int pagefile_check(const char *path, int fd, struct stat *st)
{
	int err;

	if (fstat(fd, st) < 0) {
		err = -errno;
		log_error("cannot look at %s: %s", path, strerror(-err));
		return err;
	}
	if (!S_ISREG(st->st_mode))
		return pagefile_refuse(path, -EINVAL, "is not a regular file");
	if (st->st_size != (off_t)EPOCH_PAGE_BYTES)
		return pagefile_refuse(path, -EINVAL, "has not the size of an epoch page");
	return check_memory(path, fd);
}

/* What is there already. Its writer may be at work: only what never changes is looked at. */
static int check_existing(const char *path, int fd)
{
	struct epoch_page page;
	struct stat st;
	int err = pagefile_check(path, fd, &st);

	if (!err)
		err = check_owner(path, &st);
	if (!err && (pread(fd, &page, sizeof(page), 0) != (ssize_t)sizeof(page) ||
		     !epoch_page_valid(&page)))
		err = pagefile_refuse(path, -EINVAL, "is no epoch page of this version");
	return err;
}

/*
 * Where the counter of a new page starts: random, so that it does not show its predecessor's words.
 * Waits for the kernel's generator. 0 or -errno.
 */
static int random_base(uint32_t *base)
{
	long got;

	do
		got = syscall(SYS_getrandom, base, sizeof(*base), 0);
	while (got < 0 && errno == EINTR);
	if (got != (long)sizeof(*base))
		return got < 0 ? -errno : -EIO;
	return 0;
}

void pagefile_fill(struct epoch_page *page, uint32_t base)
{
	memset(page, 0, sizeof(*page));
	page->counter_base = base & EPOCH_PAGE_COUNTER_MASK;
	page->generation = 1;
	page->look_again = 1;
	page->epoch = epoch_page_word(EPOCH_PAGE_NOBODY, page->counter_base, 1);
	page->version = EPOCH_PAGE_VERSION;
	memcpy(page->magic, EPOCH_PAGE_MAGIC, sizeof(page->magic));
}

/* Gives the unnamed file its name, unless the name is taken. */
static int link_unnamed(int fd, int dir_fd, const char *name)
{
	char self[32];

	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	if (linkat(AT_FDCWD, self, dir_fd, name, AT_SYMLINK_FOLLOW) == 0)
		return 0;
	if (errno != ENOENT)
		return -errno;
	/* No /proc: this way needs a privilege, or Linux 6.10. */
	return linkat(fd, "", dir_fd, name, AT_EMPTY_PATH) < 0 ? -errno : 0;
}

/* Complete before it has a name, so nobody can map a short one. Logs nothing. */
static int make_unnamed(int dir_fd)
{
	uint32_t base;
	struct epoch_page page;
	ssize_t wrote;
	int fd, err;

	err = random_base(&base);
	if (err)
		return err;
	pagefile_fill(&page, base);
	fd = openat(dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, S_IRUSR | S_IWUSR);
	if (fd < 0)
		return -errno;
	wrote = pwrite(fd, &page, sizeof(page), 0);
	if (wrote < 0 || fchmod(fd, PAGEFILE_MODE) < 0) /* whatever the umask */
		err = -errno;
	else if ((size_t)wrote != sizeof(page))
		err = -ENOSPC;
	if (err) {
		close(fd);
		return err;
	}
	return fd;
}

/* A descriptor; -EEXIST, without a log line, when somebody else was quicker. */
static int make_page(const char *path)
{
	char directory[PATH_MAX], name[PATH_MAX];
	int dir_fd, fd = -1, err;

	strncpy(directory, path, sizeof(directory) - 1); /* open() took it: it is not longer */
	directory[sizeof(directory) - 1] = '\0';
	memcpy(name, directory, sizeof(name));
	dir_fd = open(dirname(directory), O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0) {
		err = -errno;
		goto out;
	}
	err = check_memory(path, dir_fd);
	if (err) {
		close(dir_fd);
		return err; /* check_memory() has logged it */
	}
	fd = make_unnamed(dir_fd);
	err = fd < 0 ? fd : link_unnamed(fd, dir_fd, basename(name));
	close(dir_fd);
	if (err && fd >= 0)
		close(fd);
out:
	if (err && err != -EEXIST)
		log_error("cannot make %s: %s", path, strerror(-err));
	return err ? err : fd;
}

int pagefile_open(const char *path)
{
	int fd, err = -EEXIST;

	for (int tries = 0; tries < PAGEFILE_TRIES; tries++) {
		fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
		if (fd >= 0) {
			err = check_existing(path, fd);
			if (!err)
				return fd;
			close(fd);
			return err;
		}
		err = -errno;
		if (err != -ENOENT)
			break;
		fd = make_page(path);
		if (fd != -EEXIST)
			return fd;
		err = fd;
	}
	log_error("cannot open %s: %s", path, strerror(-err));
	return err;
}
