/*
 * Owns: the listening socket it made and the lock beside it. May touch: the socket's directory.
 * Never does: remove anything but a dead socket, or follow a link to its lock.
 */
#include "daemon/listener.h"

#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/lockfile.h"
#include "daemon/log.h"
#include "proto/rngd_proto.h"
#include "proto/wire.h"

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* Linux 6.16, include/uapi/asm-generic/socket.h */
#endif

/* Connections waiting to be accepted; the kernel cuts it to net.core.somaxconn. */
#define LISTENER_BACKLOG 4096

static int open_lock(const char *path)
{
	int fd = lockfile_open(path), err;

	if (fd < 0)
		return fd; /* lockfile_open() has logged it */
	err = lockfile_take(fd);
	if (!err)
		return fd;
	if (err == -EADDRINUSE)
		log_error("another rngd serves %s; stop it or choose another --socket", path);
	else
		log_error("cannot lock %s.lock: %s", path, strerror(-err));
	close(fd);
	return err;
}

/* 0: nothing at the path any more. The lock is held, so no other rngd is between the steps. */
static int clear_path(const char *path, const struct sockaddr_un *addr)
{
	struct stat st;
	int fd, alive;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode)) {
		log_error("%s exists and is not a socket; remove it or choose another --socket",
			  path);
		return -EEXIST;
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* Only "connection refused" proves that nobody listens: EAGAIN is a full backlog. */
	alive =
	    connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0 || errno != ECONNREFUSED;
	close(fd);
	if (alive) {
		log_error("a live socket is at %s; stop its owner or choose another --socket",
			  path);
		return -EADDRINUSE;
	}
	return unlink(path) < 0 ? -errno : 0;
}

/* bind() applies the umask, so the socket never exists with wider access than asked for. */
static int bind_with_mode(int fd, const struct sockaddr_un *addr, mode_t mode)
{
	mode_t old_mask = umask(0777 & ~mode);
	int err = bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 ? -errno : 0;

	umask(old_mask);
	return err;
}

static void make_default_directory(const char *path)
{
	char directory[] = RNGD_PROTO_DEFAULT_SOCKET;

	if (strcmp(path, RNGD_PROTO_DEFAULT_SOCKET) == 0 && geteuid() == 0 &&
	    mkdir(dirname(directory), 0755) < 0 && errno != EEXIST)
		log_warning("cannot make the directory of %s: %s", path, strerror(errno));
}

/* Where the kernel lacks it, the server guards itself in another way. */
static void refuse_fds(int fd)
{
#ifndef RNGD_TEST_FALLBACK
	int off = 0;

	setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof(off));
#else
	(void)fd;
#endif
}

int listener_open(struct listener *listener, const char *path, mode_t mode)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd, err;

	listener->fd = -1;
	listener->lock_fd = -1;
	if (*path == '\0' || strlen(path) >= sizeof(addr.sun_path)) {
		err = *path ? -ENAMETOOLONG : -EINVAL; /* "" would be an abstract socket */
		goto fail;
	}
	memcpy(addr.sun_path, path, strlen(path) + 1);
	make_default_directory(path);

	fd = open_lock(path);
	if (fd < 0)
		return fd; /* open_lock() has logged it */
	listener->lock_fd = fd;
	err = clear_path(path, &addr);
	if (err == -EADDRINUSE || err == -EEXIST) {
		listener_close(listener);
		return err; /* clear_path() has logged it */
	}
	if (err)
		goto fail;
	listener->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (listener->fd < 0) {
		err = -errno;
		goto fail;
	}
	refuse_fds(listener->fd); /* before anybody can connect */
	err = bind_with_mode(listener->fd, &addr, mode);
	if (!err && listen(listener->fd, LISTENER_BACKLOG) < 0)
		err = -errno;
	if (err)
		goto fail;
	return 0;

fail:
	log_error("cannot listen on %s: %s", path, strerror(-err));
	listener_close(listener);
	return err;
}

void listener_close(struct listener *listener)
{
	if (listener->fd >= 0)
		close(listener->fd);
	if (listener->lock_fd >= 0)
		close(listener->lock_fd);
	listener->fd = -1;
	listener->lock_fd = -1;
}

bool listener_refuses_fds(int fd)
{
	int passes = 1;
	socklen_t passes_bytes = sizeof(passes);

	if (getsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &passes, &passes_bytes) == 0 && passes == 0)
		return true;
	refuse_fds(fd);
	return false;
}

void listener_refuse(int fd, uint64_t generation)
{
	uint8_t frame[RNGD_PROTO_REPLY_HEAD_BYTES];
	const struct wire_reply busy = {
	    .opcode = RNGD_PROTO_OP_NONE,
	    .version = RNGD_PROTO_VERSION_MAX,
	    .status = RNGD_PROTO_E_BUSY,
	    .generation = generation,
	};

	wire_encode_reply(&busy, frame);
	(void)!send(fd, frame, sizeof(frame), MSG_DONTWAIT | MSG_NOSIGNAL);
	close(fd);
}
