/*
 * Owns: the notification socket. May touch: NOTIFY_SOCKET, LISTEN_FDS, passed descriptors.
 * Never does: block on the manager, or let its absence matter. The only file that includes
 * systemd headers. sd_notify(3) itself is not used: it opens a socket for each message, which
 * the sandbox forbids, and can block on a manager that does not read.
 */
#include "daemon/service.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "daemon/log.h"

/* A path, or an abstract name written with a leading '@' (sd_notify(3)). */
static bool notify_address(const char *name, struct sockaddr_un *addr, socklen_t *addr_bytes)
{
	size_t len = strlen(name);

	if ((name[0] != '/' && name[0] != '@') || len < 2 || len >= sizeof(addr->sun_path))
		return false;
	memset(addr, 0, sizeof(*addr));
	addr->sun_family = AF_UNIX;
	memcpy(addr->sun_path, name, len);
	*addr_bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
	if (name[0] == '@')
		addr->sun_path[0] = '\0';
	else
		(*addr_bytes)++; /* the final NUL of a path */
	return true;
}

void service_init(struct service *service)
{
	const char *name = getenv("NOTIFY_SOCKET");
	struct sockaddr_un addr;
	socklen_t addr_bytes;
	int fd;

	*service = (struct service){.notify_fd = -1};
	if (!name)
		return;
	if (!notify_address(name, &addr, &addr_bytes)) {
		log_warning("NOTIFY_SOCKET is not a UNIX socket address; the service manager "
			    "will not hear from rngd");
		return;
	}
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&addr, addr_bytes) < 0) {
		log_warning("cannot reach the service manager: %s", strerror(errno));
		if (fd >= 0)
			close(fd);
		return;
	}
	service->notify_fd = fd;
}

void service_deinit(struct service *service)
{
	if (service->notify_fd >= 0)
		close(service->notify_fd);
	service->notify_fd = -1;
}

int service_listen_fds(int *fds, size_t max)
{
	int n = sd_listen_fds(1);
	int fd;

	if (n < 0) {
		log_error("the sockets passed by the service manager cannot be used: %s",
			  strerror(-n));
		return -EINVAL;
	}
	if ((size_t)n > max) {
		log_error("%d sockets passed by the service manager; rngd takes at most %zu", n,
			  max);
		return -EINVAL;
	}
	for (int i = 0; i < n; i++) {
		fd = SD_LISTEN_FDS_START + i;
		if (sd_is_socket_unix(fd, SOCK_STREAM, 1, NULL, 0) <= 0) {
			log_error("descriptor %d passed by the service manager is not a listening "
				  "UNIX stream socket (ListenStream= with a path)",
				  fd);
			return -EINVAL;
		}
		if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) {
			log_error("cannot set up descriptor %d: %s", fd, strerror(errno));
			return -EINVAL;
		}
		fds[i] = fd;
	}
	return n;
}

int service_passed_fds(void)
{
	int n = sd_listen_fds(0);

	return n > 0 ? n : 0;
}

void service_retry(struct service *service)
{
	const char *state = service->pending;

	if (!state || service->notify_fd < 0)
		return;
	if (send(service->notify_fd, state, strlen(state), MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 ||
	    (errno != EAGAIN && errno != ENOBUFS))
		service->pending = NULL;
}

void service_notify(struct service *service, const char *state)
{
	service->pending = state;
	service_retry(service);
	if (service->pending && service->notify_fd >= 0)
		log_warning("the service manager does not read; trying again each second");
}
