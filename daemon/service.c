/*
 * Owns: the notification socket. May touch: NOTIFY_SOCKET, LISTEN_FDS, WATCHDOG_USEC, passed
 * descriptors, the monotonic clock.
 * Never does: block on the manager, or let its absence matter. The only file that includes
 * systemd headers. sd_notify(3) itself is not used by the service: it opens a socket for each
 * message, which the sandbox forbids, and can block on a manager that does not read. Only what
 * stores descriptors, in a process of its own, uses it.
 */
#include "daemon/service.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#include "daemon/clock.h"
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

/* One message a second must be enough, even if one is late. */
#define SERVICE_WATCHDOG_MIN_US 3000000u

static bool has_watchdog(void)
{
	uint64_t period_us;

	if (sd_watchdog_enabled(0, &period_us) <= 0)
		return false;
	if (period_us < SERVICE_WATCHDOG_MIN_US)
		log_warning("WatchdogSec= is too short for rngd, which answers once a second: give "
			    "it %u or more",
			    SERVICE_WATCHDOG_MIN_US / 1000000u);
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
	service->watchdog = has_watchdog();
}

void service_deinit(struct service *service)
{
	if (service->notify_fd >= 0)
		close(service->notify_fd);
	service->notify_fd = -1;
}

/* The place of name in names, or count. */
static size_t place_of(const char *name, const char *const names[], size_t count)
{
	size_t i = 0;

	while (i < count && strcmp(name, names[i]) != 0)
		i++;
	return i;
}

static int take_socket(struct service_sockets *sockets, int fd, const char *name)
{
	if (sd_is_socket_unix(fd, SOCK_STREAM, 1, NULL, 0) <= 0) {
		log_error("descriptor %d (%.64s) passed by the service manager is not a listening "
			  "UNIX stream socket (ListenStream= with a path)",
			  fd, name);
		return -EINVAL;
	}
	if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
		log_error("cannot set up descriptor %d: %s", fd, strerror(errno));
		return -EINVAL;
	}
	/* A daemon that was taken over could have the manager keep a second one for its successor.
	 */
	if (strcmp(name, SERVICE_CONTROL_NAME) == 0 && sockets->control_count > 0) {
		log_error("two sockets named %s were passed by the service manager", name);
		return -EINVAL;
	}
	if (strcmp(name, SERVICE_CONTROL_NAME) == 0)
		sockets->control_fds[sockets->control_count++] = fd;
	else
		sockets->public_fds[sockets->public_count++] = fd;
	return 0;
}

static int take_kept(int *kept, int fd, const char *name)
{
	/* Which of the two is the newer one is nowhere said. */
	if (*kept >= 0) {
		log_error("two descriptors named %s were passed by the service manager", name);
		return -EINVAL;
	}
	*kept = fd;
	return 0;
}

/* fd_names: of the n descriptors from SD_LISTEN_FDS_START on. How many sockets, or -EINVAL. */
static int sort_fds(struct service_sockets *sockets, int n, char **fd_names,
		    const char *const names[], int kept[], size_t count)
{
	size_t place, others = 0;
	int fd, err = 0;

	for (int i = 0; i < n; i++)
		others += place_of(fd_names[i], names, count) == count;
	if (others > SERVICE_SOCKETS_MAX) {
		log_error("%zu sockets passed by the service manager; rngd takes at most %u",
			  others, SERVICE_SOCKETS_MAX);
		return -EINVAL;
	}
	for (int i = 0; i < n && !err; i++) {
		fd = SD_LISTEN_FDS_START + i;
		place = place_of(fd_names[i], names, count);
		if (place < count)
			err = take_kept(&kept[place], fd, fd_names[i]);
		else
			err = take_socket(sockets, fd, fd_names[i]);
	}
	return err ? err : (int)others;
}

int service_listen_fds(struct service_sockets *sockets, const char *const names[], int kept[],
		       size_t count)
{
	char **fd_names = NULL;
	int n = sd_listen_fds_with_names(1, &fd_names); /* sets close-on-exec too */

	*sockets = (struct service_sockets){0};
	for (size_t i = 0; i < count; i++)
		kept[i] = -1;
	if (n < 0) {
		log_error("the sockets passed by the service manager cannot be used: %s",
			  strerror(-n));
		return -EINVAL;
	}
	if (n > 0)
		n = sort_fds(sockets, n, fd_names, names, kept, count);
	for (char **name = fd_names; name && *name; name++)
		free(*name);
	free(fd_names);
	return n;
}

int service_passed_fds(void)
{
	int n = sd_listen_fds(0);

	return n > 0 ? n : 0;
}

/* 0 or a negative errno: -EAGAIN and -ENOBUFS pass, others do not. */
static int say(const struct service *service, const char *state)
{
	if (send(service->notify_fd, state, strlen(state), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return -errno;
	return 0;
}

/* Is it to be tried again? */
static bool passes(int err)
{
	return err == -EAGAIN || err == -ENOBUFS;
}

bool service_retry(struct service *service)
{
	if (service->notify_fd < 0)
		return false;
	if (service->pending && !passes(say(service, service->pending)))
		service->pending = NULL;
	if (service->watchdog_owed)
		service->watchdog_owed = passes(say(service, "WATCHDOG=1"));
	return service->pending || service->watchdog_owed;
}

void service_notify(struct service *service, const char *state)
{
	service->pending = state;
	if (service_retry(service) && service->pending)
		log_warning("the service manager does not read; trying again until it does");
}

static void show_status(struct service *service, const char *status)
{
	char state[sizeof("STATUS=") + SERVICE_STATUS_BYTES];
	int64_t now_ms = clock_now_ms();

	if (strncmp(status, service->status, sizeof(service->status) - 1) == 0 ||
	    (service->status_at_ms != 0 && now_ms - service->status_at_ms < SERVICE_STATUS_MS))
		return;
	snprintf(state, sizeof(state), "STATUS=%.*s", (int)SERVICE_STATUS_BYTES - 1, status);
	if (say(service, state) < 0)
		return;
	strcpy(service->status, state + strlen("STATUS="));
	service->status_at_ms = now_ms;
}

bool service_tick(struct service *service, const char *status)
{
	bool owed;

	service->watchdog_owed = service->watchdog;
	owed = service_retry(service);
	if (service->notify_fd >= 0)
		show_status(service, status);
	return owed;
}

void service_reloading(struct service *service)
{
	char state[64];
	struct timespec now;

	if (service->notify_fd < 0)
		return;
	/* Managers since 253 want the time, to tell this READY=1 from an earlier one. */
	clock_gettime(CLOCK_MONOTONIC, &now);
	snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%lld",
		 (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
	(void)say(service, state);
}

/* Longest message: a name of systemd's has 255 bytes at most. */
#define SERVICE_STATE_BYTES 320

/* How long the manager may take to do what it was told. */
#define SERVICE_STORED_TIMEOUT_US 5000000u

/* Passes fd along, unless it is -1. */
static int tell(const char *order, const char *name, int fd)
{
	char state[SERVICE_STATE_BYTES];
	int said;

	if ((size_t)snprintf(state, sizeof(state), "%s\nFDNAME=%s", order, name) >= sizeof(state))
		return -ENAMETOOLONG;
	said = sd_pid_notify_with_fds(0, 0, state, &fd, fd >= 0 ? 1 : 0);
	if (said == 0)
		return -ENOTCONN;
	return said < 0 ? said : 0;
}

int service_forget_fd(const char *name)
{
	return tell("FDSTOREREMOVE=1", name, -1);
}

int service_store_fd(const char *name, int fd)
{
	/* Not to be polled: a kernel log that is overrun reports an error, and would be dropped. */
	return tell("FDSTORE=1\nFDPOLL=0", name, fd);
}

int service_stored(void)
{
	int said = sd_notify_barrier(0, SERVICE_STORED_TIMEOUT_US);

	if (said == 0)
		return -ENOTCONN;
	return said < 0 ? said : 0;
}
