/*
 * Owns: nothing. May touch: descriptor numbers. Never does: let the environment choose how the loop
 * works.
 */
#include "daemon/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

/* libev does not tell its epoll: it is the descriptor that was the lowest free one before. */
int loop_new(struct ev_loop **loop, int *epoll_fd)
{
	struct epoll_event event;
	int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	close(fd);
	/* NOENV: the environment shall not choose another backend; NOTIMERFD: one fd less. */
	*loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV | EVFLAG_NOTIMERFD);
	if (!*loop)
		return -ENOMEM;
	*epoll_fd = fd;
	return epoll_wait(fd, &event, 1, 0) < 0 ? -errno : 0;
}
