/*
 * daemon/service - what a service manager gives and wants: passed sockets, readiness.
 * Everything works without one.
 */
#ifndef DAEMON_SERVICE_H
#define DAEMON_SERVICE_H

#include <stddef.h>

struct service {
	int notify_fd;       /* connected to the manager's socket, or -1 */
	const char *pending; /* the last message, while the manager has not taken it; or NULL */
};

/*
 * Connects to the manager's notification socket, if there is one: later the sandbox
 * forbids making sockets. A manager that cannot be reached is a warning only.
 */
void service_init(struct service *service);

/* Closes it. */
void service_deinit(struct service *service);

/*
 * Collects the listening UNIX stream sockets passed by the manager (sd_listen_fds(3)) and
 * sets them close-on-exec and non-blocking. The caller owns them.
 * Returns how many, 0 without a manager, or -EINVAL after a log line when something else was
 * passed or more than max.
 */
int service_listen_fds(int *fds, size_t max);

/* How many descriptors, from number 3 on, a manager has passed to this process. Consumes nothing.
 */
int service_passed_fds(void);

/*
 * Sends one sd_notify(3) state string, of static storage. Never blocks: where the manager's queue
 * is full (anybody may fill it) the message is kept, in place of an older one, for
 * service_retry().
 */
void service_notify(struct service *service, const char *state);

/* Sends what is still pending, if anything. To be called now and then. */
void service_retry(struct service *service);

#endif
