/*
 * daemon/service - what a service manager gives and wants: passed sockets and files, readiness,
 * and files to keep for the next process. Everything works without one.
 */
#ifndef DAEMON_SERVICE_H
#define DAEMON_SERVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Longest text of STATUS=, its final NUL included. */
#define SERVICE_STATUS_BYTES 160u

/* The manager tells others of each text, so it gets a new one no more often than this. */
#define SERVICE_STATUS_MS 10000

struct service {
	int notify_fd;       /* connected to the manager's socket, or -1 */
	const char *pending; /* the last message, while the manager has not taken it; or NULL */
	bool watchdog;       /* the manager ends a service that falls silent */
	bool watchdog_owed;  /* said in vain so far */
	char status[SERVICE_STATUS_BYTES]; /* what STATUS= said last */
	int64_t status_at_ms;              /* when; 0: never */
};

/*
 * Connects to the manager's notification socket, if there is one: later the sandbox
 * forbids making sockets. A manager that cannot be reached is a warning only.
 */
void service_init(struct service *service);

/* Closes it. */
void service_deinit(struct service *service);

/* Listening sockets a manager may pass, of both kinds together. */
#define SERVICE_SOCKETS_MAX 8u

/* The name of a socket for control; one of any other name is for the public. */
#define SERVICE_CONTROL_NAME "control"
#define SERVICE_PUBLIC_NAME  "public" /* what rngd.socket calls its own */

struct service_sockets {
	int public_fds[SERVICE_SOCKETS_MAX];
	size_t public_count;
	int control_fds[SERVICE_SOCKETS_MAX];
	size_t control_count;
};

/*
 * Sorts what the manager passed (sd_listen_fds_with_names(3)): a descriptor named names[i] goes to
 * kept[i], which is -1 without one, whatever it is; the others must be listening UNIX stream
 * sockets. All are set close-on-exec, sockets non-blocking too. The caller owns them.
 * Returns how many sockets, 0 without a manager, or -EINVAL after a log line when something else
 * was passed, a name of names[] or the control socket's twice, or more sockets than
 * SERVICE_SOCKETS_MAX; *sockets and kept[] are then not to be used, and the descriptors are left as
 * they are.
 */
int service_listen_fds(struct service_sockets *sockets, const char *const names[], int kept[],
		       size_t count);

/* How many descriptors, from number 3 on, a manager has passed to this process. Consumes nothing.
 */
int service_passed_fds(void);

/*
 * Sends one sd_notify(3) state string, of static storage. Never blocks: where the manager's queue
 * is full (anybody may fill it) the message is kept, in place of an older one, for
 * service_retry().
 */
void service_notify(struct service *service, const char *state);

/*
 * Sends what is still pending, the watchdog's word included. true: the manager's queue is full, so
 * some is left. Anybody may fill that queue, so one try a second would lose to a flood.
 */
bool service_retry(struct service *service);

/*
 * To be called by the loop once a second, and by nothing that could go on while the loop stands:
 * sends what is pending, tells the watchdog that the loop turns, and shows status, one line, if it
 * changed. Never blocks. As service_retry().
 */
bool service_tick(struct service *service, const char *status);

/*
 * What a reload means to the manager: until READY=1 is said again, it is not done. A message that
 * gets lost does no harm.
 */
void service_reloading(struct service *service);

/*
 * For a process that the manager starts ahead of the service (ExecStartPre=), not for the service
 * itself: these find the manager anew each time, and may wait for it. 0; -ENOTCONN without a
 * manager; or a negative errno. What the manager made of it cannot be known.
 *
 * service_forget_fd(): the manager closes every descriptor it keeps under this name.
 * service_store_fd(): it keeps a copy of fd, whatever becomes of it, and passes it to the service
 * under this name. service_stored(): waits until what was said before is done, a few seconds
 * at most: -ETIMEDOUT.
 */
int service_forget_fd(const char *name);
int service_store_fd(const char *name, int fd);
int service_stored(void);

#endif
