/*
 * daemon/server - the event loop, the listeners, the connections, the signals.
 */
#ifndef DAEMON_SERVER_H
#define DAEMON_SERVER_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/announce.h"
#include "daemon/conn.h"
#include "daemon/epoch_watch.h"
#include "daemon/limits.h"
#include "daemon/peers.h"
#include "daemon/reseed.h"
#include "daemon/service.h"
#include "host/secmem.h"

/* Sockets a service manager may pass. */
#define SERVER_LISTENERS_MAX 8u

struct server;

struct server_listener {
	ev_io watcher;
	struct server *server;
	bool control;
};

/* What a server works with; all of it the caller's, and to outlive the server. */
struct server_setup {
	struct {
		int fd;       /* listening */
		bool control; /* who connects here may bump and reseed */
	} sockets[SERVER_LISTENERS_MAX];
	size_t socket_count;
	int page_fd; /* of the epoch page, read-only, for clients; -1: none is published */
	struct reseed *reseed;
	struct service *service;
	struct limits limits;
	bool use_memfd_secret;
};

/* Facts of the start that never change afterwards; shown by STATUS. */
struct server_facts {
	const char *keystream; /* the ChaCha20 implementation in use */
	bool core_limit_zero;
	bool undumpable;
	bool no_new_privs;
	int landlock;      /* the version in force; 0: this kernel has none */
	bool exec_refused; /* by the kernel, besides the filter */
	bool seccomp;
	unsigned uid;
	unsigned started_by; /* the user, before privileges were dropped */
};

struct server {
	struct ev_loop *loop;
	int epoll_fd; /* the loop's own */
	struct reseed *reseed;
	struct service *service;
	struct server_facts facts;
	struct secmem scratch;
	struct conn_shared shared;

	struct server_listener listeners[SERVER_LISTENERS_MAX];
	size_t listener_count;
	bool fds_refused; /* every listener refuses passed descriptors by itself */

	struct peers peers;
	struct conn *conns;
	size_t conn_count;
	uint64_t accepted;
	uint64_t accept_pauses; /* times accepting stopped for want of descriptors or memory */
	int64_t pause_logged_at_ms;
	int64_t started_at_ms;

	ev_io signal_watcher;
	ev_timer pause_timer; /* accept again */
	ev_timer retry_timer; /* the manager's queue is full */
	ev_timer tick_timer;  /* what must happen on an idle daemon as well */
	int error;            /* why the loop ended, if not because it was told to; else 0 */
	ev_timer stop_timer;  /* the longest a clean stop may take */
	struct epoch_watch epoch_watch;
	struct events events;
	struct announce announce;
};

/*
 * Sets everything up: loop, scratch, watchers for the listening descriptors, for the detectors of
 * setup->reseed->epoch, and for signals, which from then on are blocked and read from a descriptor.
 * Takes the lease on the epoch page. 0 or a negative errno after a log line.
 */
int server_init(struct server *server, const struct server_setup *setup);

/*
 * Serves until SIGTERM or SIGINT, then finishes the frames begun, for SERVER_STOP_S at most. 0; or
 * a negative errno after a log line: it cannot go on.
 */
int server_run(struct server *server);

/* Closes every connection and frees everything; a zeroed struct is allowed. */
void server_deinit(struct server *server);

#endif
