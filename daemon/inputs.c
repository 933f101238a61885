/*
 * Owns: the descriptors it was passed or has opened, until they are taken. May touch: the paths of
 * its table, and the manager's store. Never does: read from them, or wait for a peer of a fifo.
 */
#include "daemon/inputs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "daemon/epoch_file.h"
#include "daemon/lockfile.h"
#include "daemon/log.h"
#include "daemon/service.h"
#include "proto/rngd_proto.h"

/* /dev/kmsg: Documentation/admin-guide/devices.txt */
#define INPUTS_KMSG_MAJOR 1
#define INPUTS_KMSG_MINOR 11

/* What a file may be. */
enum {
	INPUTS_IS_FILE = 1,
	INPUTS_IS_DEVICE = 2,
	INPUTS_IS_KMSG = 4,
	INPUTS_IS_FIFO = 8,
};

struct inputs_kind {
	const char *option;
	const char *path; /* default */
	unsigned kinds;
	unsigned given;   /* where a path was given, which is the administrator's word */
	int access;       /* needs of it: O_RDONLY or O_RDWR */
	const char *what; /* it should be */
};

const char *const inputs_names[INPUTS_ROWS] = {
    [INPUTS_EPOCH_PAGE] = "epoch-page",
    [INPUTS_EPOCH_LOCK] = "epoch-lock",
    [INPUTS_KMSG] = "kmsg",
    [INPUTS_VMGENID] = "vmgenid",
    [INPUTS_VMCLOCK] = "vmclock",
    [INPUTS_EPOCH_SOURCE] = "epoch-source",
};

static const struct inputs_kind kinds[INPUTS_ROWS] = {
    [INPUTS_EPOCH_PAGE] = {"--epoch", RNGD_PROTO_DEFAULT_EPOCH, INPUTS_IS_FILE, INPUTS_IS_FILE,
			   O_RDWR, "a regular file, open for reading and writing"},
    [INPUTS_EPOCH_LOCK] = {"--epoch", NULL, INPUTS_IS_FILE, INPUTS_IS_FILE, O_RDONLY,
			   "a regular file"},
    /* In containers this path may lead to the console, or nowhere. */
    [INPUTS_KMSG] = {"--kmsg", "/dev/kmsg", INPUTS_IS_KMSG,
		     INPUTS_IS_KMSG | INPUTS_IS_FILE | INPUTS_IS_FIFO, O_RDONLY,
		     "the kernel's log (device 1:11), open for reading"},
    [INPUTS_VMGENID] = {"--vmgenid", "/sys/firmware/qemu_fw_cfg/by_name/etc/vmgenid_guid/raw",
			INPUTS_IS_FILE, INPUTS_IS_FILE, O_RDONLY,
			"a regular file, open for reading"},
    [INPUTS_VMCLOCK] = {"--vmclock", "/dev/vmclock0", INPUTS_IS_DEVICE,
			INPUTS_IS_DEVICE | INPUTS_IS_FILE, O_RDONLY,
			"a character device, open for reading"},
    [INPUTS_EPOCH_SOURCE] = {"--epoch-source", NULL, INPUTS_IS_DEVICE | INPUTS_IS_FILE,
			     INPUTS_IS_DEVICE | INPUTS_IS_FILE, O_RDONLY,
			     "a character device or a regular file, open for reading"},
};

/* How long the lock of a daemon that is gone may outlive it, in the manager's hands. */
#define INPUTS_LOCK_TRIES    200
#define INPUTS_LOCK_PAUSE_MS 10

static unsigned kind_of(const struct stat *st)
{
	if (S_ISREG(st->st_mode))
		return INPUTS_IS_FILE;
	if (S_ISFIFO(st->st_mode))
		return INPUTS_IS_FIFO;
	if (!S_ISCHR(st->st_mode))
		return 0;
	if (st->st_rdev == makedev(INPUTS_KMSG_MAJOR, INPUTS_KMSG_MINOR))
		return INPUTS_IS_KMSG;
	return INPUTS_IS_DEVICE;
}

/* 0; -EINVAL: not of these kinds, or not open as it must be; or what fstat(2) says. */
static int check_kind(int fd, unsigned allowed, int access)
{
	int flags = fcntl(fd, F_GETFL);
	struct stat st;

	if (flags < 0 || fstat(fd, &st) < 0)
		return -errno;
	/* O_PATH counts as O_RDONLY in the access mode, but gives no access at all. */
	if (!(kind_of(&st) & allowed) || (flags & O_PATH))
		return -EINVAL;
	flags &= O_ACCMODE;
	return flags == O_RDWR || flags == access ? 0 : -EINVAL;
}

/* What was passed need not have been opened as we would. */
static int set_up_passed(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
	    fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return -errno;
	return 0;
}

/* Takes over fd. */
static int take_passed(enum inputs_row row, int fd, unsigned allowed)
{
	int err = check_kind(fd, allowed, kinds[row].access);

	if (!err)
		err = set_up_passed(fd);
	if (!err)
		return fd;
	log_warning("the descriptor passed as %s is refused: it is not %s", inputs_names[row],
		    kinds[row].what);
	close(fd);
	return err;
}

/* A device or a file. Absent is an answer and no event, but a path that was given was meant. */
static int open_path(enum inputs_row row, const char *path, bool given)
{
	/* An administrator may name a link; in the default places there should be none. */
	int flags = O_CLOEXEC | O_NONBLOCK | O_NOCTTY | (given ? 0 : O_NOFOLLOW);
	int fd, err;

	if (!path)
		return -ENOENT;
	fd = open(path, kinds[row].access | flags);
	if (fd < 0) {
		err = -errno;
		if (given)
			log_warning("%s %s: %s", kinds[row].option, path, strerror(-err));
		return err;
	}
	err = check_kind(fd, given ? kinds[row].given : kinds[row].kinds, kinds[row].access);
	if (!err)
		return fd;
	if (given)
		log_warning("%s %s is not %s", kinds[row].option, path, kinds[row].what);
	close(fd);
	return err;
}

static void close_row(struct inputs *inputs, enum inputs_row row, int err)
{
	if (inputs->fds[row] >= 0)
		close(inputs->fds[row]);
	inputs->fds[row] = err;
}

/* Page and lock come from one hand: a page that cannot be locked must not be written to. */
static void open_page(struct inputs *inputs, bool passed)
{
	int *page_fd = &inputs->fds[INPUTS_EPOCH_PAGE], *lock_fd = &inputs->fds[INPUTS_EPOCH_LOCK];
	int err;

	if (!passed) {
		err = epoch_file_prepare(inputs->paths[INPUTS_EPOCH_PAGE], page_fd, lock_fd);
		if (err)
			*page_fd = *lock_fd = err;
	} else if (*page_fd < 0 || *lock_fd < 0) {
		log_warning("the epoch page was not passed with its lock, and is not published");
		close_row(inputs, INPUTS_EPOCH_PAGE, -EINVAL);
		close_row(inputs, INPUTS_EPOCH_LOCK, -EINVAL);
	}
}

void inputs_open(struct inputs *inputs, const char *const paths[INPUTS_ROWS],
		 const int passed[INPUTS_ROWS])
{
	bool page_passed = false, given;
	int fd;

	for (enum inputs_row row = 0; row < INPUTS_ROWS; row++) {
		given = paths && paths[row];
		inputs->paths[row] = given ? paths[row] : kinds[row].path;
		fd = passed ? passed[row] : -1;
		if (fd >= 0)
			inputs->fds[row] =
			    take_passed(row, fd, given ? kinds[row].given : kinds[row].kinds);
		else if (row == INPUTS_EPOCH_PAGE || row == INPUTS_EPOCH_LOCK)
			inputs->fds[row] = -ENOENT;
		else
			inputs->fds[row] = open_path(row, inputs->paths[row], given);
		if (row == INPUTS_EPOCH_PAGE || row == INPUTS_EPOCH_LOCK)
			page_passed |= fd >= 0;
	}
	open_page(inputs, page_passed);
	inputs->opened = true;
}

/*
 * The manager's copy of the old lock descriptor keeps the old daemon's lock, and a manager may
 * close it only some time after it let go of it. A lock that stays is another daemon's: the next
 * process will find it and say so.
 */
static void wait_for_lock(int lock_fd)
{
	const struct timespec pause = {.tv_nsec = INPUTS_LOCK_PAUSE_MS * 1000000};

	for (int tries = 0; tries < INPUTS_LOCK_TRIES; tries++) {
		if (lockfile_take(lock_fd) != -EADDRINUSE)
			return;
		nanosleep(&pause, NULL);
	}
}

int inputs_hand_over(const struct inputs *inputs)
{
	enum inputs_row row;
	int err = 0;

	for (row = 0; row < INPUTS_ROWS && !err; row++)
		err = service_forget_fd(inputs_names[row]);
	/* Sockets are never kept in the store: one there is of a daemon that was taken over. */
	if (!err)
		err = service_forget_fd(SERVICE_CONTROL_NAME);
	if (!err)
		err = service_forget_fd(SERVICE_PUBLIC_NAME);
	if (!err && inputs->fds[INPUTS_EPOCH_LOCK] >= 0)
		wait_for_lock(inputs->fds[INPUTS_EPOCH_LOCK]);
	for (row = 0; row < INPUTS_ROWS && !err; row++)
		if (inputs->fds[row] >= 0)
			err = service_store_fd(inputs_names[row], inputs->fds[row]);
	if (!err)
		err = service_stored();
	if (err)
		log_error("cannot hand descriptors over to the service manager: %s",
			  err == -ENOTCONN ? "there is none" : strerror(-err));
	return err;
}

int inputs_take(struct inputs *inputs, enum inputs_row row)
{
	int fd = inputs->fds[row];

	if (fd >= 0)
		inputs->fds[row] = -EBADF;
	return fd;
}

void inputs_close(struct inputs *inputs)
{
	if (!inputs->opened)
		return;
	for (enum inputs_row row = 0; row < INPUTS_ROWS; row++)
		close_row(inputs, row, -EBADF);
}
