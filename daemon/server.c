/*
 * Owns: the loop, the connections, the signal descriptor. May touch: the listeners it was given.
 * Never does: block, die or spin for want of descriptors or memory, or run a signal handler
 * while secrets are in registers (signals are read as data; see signals.h for the one
 * exception).
 */
#include "daemon/server.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/accept.h"
#include "daemon/clock.h"
#include "daemon/epoch_file.h"
#include "daemon/log.h"
#include "daemon/loop.h"
#include "daemon/signals.h"
#include "daemon/status.h"

/* A peer that does not read its last frame may hold up a stop for this long. */
#define SERVER_STOP_S 2.0

/* Between two tries to tell the service manager something. */
#define SERVER_RETRY_S 0.05

/* Renewal of an idle daemon's state, a retry after a failed reseed or notification. */
#define SERVER_TICK_S 1.0

static void conn_ended(void *owner, struct conn *conn)
{
	struct server *server = owner;

	if (conn->prev)
		conn->prev->next = conn->next;
	else
		server->conns = conn->next;
	if (conn->next)
		conn->next->prev = conn->prev;
	server->conn_count--;
	if (server->shared.stopping && !server->conns)
		ev_break(server->loop, EVBREAK_ALL);
}

static void server_stop(struct server *server)
{
	struct conn *conn, *next;

	if (server->shared.stopping)
		return;
	log_unlimit();
	log_event(LOG_EVENT_STOPPING, LOG_LEVEL_INFO, "stopping");
	service_notify(server->service, "STOPPING=1");
	server->shared.stopping = true;
	accept_stop(server);
	peers_stop(&server->peers);
	ev_timer_set(&server->stop_timer, SERVER_STOP_S, 0.);
	ev_timer_start(server->loop, &server->stop_timer);
	for (conn = server->conns; conn; conn = next) {
		next = conn->next;
		if (conn_stop(conn)) {
			conn_ended(server, conn);
			conn_free(conn);
		}
	}
	if (!server->conns)
		ev_break(server->loop, EVBREAK_ALL);
}

static void stop_late(struct ev_loop *loop, ev_timer *timer, int events)
{
	(void)timer;
	(void)events;
	ev_break(loop, EVBREAK_ALL);
}

/* Correctness rests on the pull in reseed_fill(); a failed reseed is logged and shown by STATUS. */
static void look(void *owner)
{
	struct server *server = owner;
	bool serving = reseed_check(server->reseed, EPOCH_ALL) == 0;

	epoch_tick(server->reseed->epoch, serving && !reseed_refuses(server->reseed));
}

/* Somebody fills the manager's queue: there is room in it now and then. */
static void retry(struct ev_loop *loop, ev_timer *timer, int events)
{
	struct server *server = timer->data;

	(void)events;
	if (!service_retry(server->service))
		ev_timer_stop(loop, timer);
}

/* Once a second. Last what the watchdog hears: all the rest has been done by then. */
static void tick(struct ev_loop *loop, ev_timer *timer, int events)
{
	struct server *server = timer->data;
	char line[SERVICE_STATUS_BYTES];

	(void)loop;
	(void)events;
	log_tick();
	peers_tick(&server->peers);
	events_tick(&server->events, clock_now_ms());
	look(server);
	status_line(server, line, sizeof(line));
	if (service_tick(server->service, line))
		ev_timer_again(server->loop, &server->retry_timer);
}

static void reload(struct server *server)
{
	if (server->shared.stopping)
		return; /* READY=1 would take the place of STOPPING=1 */
	service_reloading(server->service);
	reseed_want(server->reseed, RESEED_REQUEST);
	if (reseed_check(server->reseed, EPOCH_ALL) == 0)
		log_info("reseeded on SIGHUP");
	service_notify(server->service, "READY=1");
}

static void signal_ready(struct ev_loop *loop, ev_io *watcher, int events)
{
	struct server *server = watcher->data;
	struct signalfd_siginfo info;

	(void)loop;
	if (events & (int)EV_ERROR) { /* deaf to SIGTERM: better gone, cleanly, than that */
		log_error("the kernel refuses to watch for signals");
		server->error = -EIO;
		server_stop(server);
		return;
	}
	while (read(watcher->fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGHUP)
			reload(server);
		else
			server_stop(server);
	}
}

static int init_watchers(struct server *server)
{
	int fd = signals_open();

	ev_io_init(&server->signal_watcher, signal_ready, fd, EV_READ);
	server->signal_watcher.data = server;
	ev_init(&server->stop_timer, stop_late);
	ev_timer_init(&server->retry_timer, retry, 0., SERVER_RETRY_S);
	server->retry_timer.data = server;
	ev_timer_init(&server->tick_timer, tick, SERVER_TICK_S, SERVER_TICK_S);
	server->tick_timer.data = server;
	if (fd < 0)
		return -errno;
	ev_io_start(server->loop, &server->signal_watcher);
	ev_timer_start(server->loop, &server->tick_timer);
	return 0;
}

static void init_shared(struct server *server, int page_fd)
{
	server->shared.loop = server->loop;
	server->shared.reseed = server->reseed;
	server->shared.peers = &server->peers;
	server->shared.events = &server->events;
	server->shared.scratch = server->scratch.data;
	server->shared.in = server->shared.scratch + CONN_SCRATCH_BYTES;
	server->shared.page_fd = page_fd;
	server->shared.status_text = status_text;
	server->shared.ended = conn_ended;
	server->shared.owner = server;
}

int server_init(struct server *server, const struct server_setup *setup)
{
	int err;

	memset(server, 0, sizeof(*server));
	server->signal_watcher.fd = -1;
	server->started_at_ms = clock_now_ms();
	server->facts.started_by = geteuid();
	server->reseed = setup->reseed;
	server->service = setup->service;
	/* One heap that grows by brk() alone: mapping and remapping stay out of the sandbox. */
	mallopt(M_MMAP_MAX, 0);

	err = secmem_alloc(&server->scratch, CONN_SCRATCH_BYTES + CONN_IN_BYTES,
			   setup->use_memfd_secret);
	if (err) {
		log_error("cannot lock %u bytes of memory: %s; raise the limit on locked memory "
			  "(ulimit -l, LimitMEMLOCK=)",
			  (unsigned)(CONN_SCRATCH_BYTES + CONN_IN_BYTES), strerror(-err));
		server_deinit(server);
		return err;
	}
	err = loop_new(&server->loop, &server->epoll_fd);
	if (err)
		goto fail;
	init_shared(server, setup->page_fd);
	events_init(&server->events, setup->reseed->epoch->generation,
		    !setup->reseed->epoch->file->fresh, server->started_at_ms);
	err = peers_init(&server->peers, server->loop, &setup->limits);
	if (!err)
		err = init_watchers(server);
	if (!err)
		err = accept_init(server, setup);
	if (!err) {
		epoch_watch_start(&server->epoch_watch, server->loop, server->reseed->epoch, look,
				  server);
		announce_start(&server->announce, server->loop, &server->events,
			       server->reseed->epoch);
		look(server);
		return 0;
	}
fail:
	log_error("cannot set up the server: %s", strerror(-err));
	server_deinit(server);
	return err;
}

int server_run(struct server *server)
{
	log_limit();
	ev_run(server->loop, 0);
	return server->error;
}

void server_deinit(struct server *server)
{
	struct conn *conn, *next;

	for (conn = server->conns; conn; conn = next) {
		next = conn->next;
		conn_free(conn);
	}
	events_deinit(&server->events);
	peers_deinit(&server->peers);
	if (server->loop) {
		announce_stop(&server->announce);
		accept_stop(server);
		epoch_watch_stop(&server->epoch_watch);
		ev_loop_destroy(server->loop);
		if (server->signal_watcher.fd >= 0)
			close(server->signal_watcher.fd);
	}
	secmem_free(&server->scratch);
	memset(server, 0, sizeof(*server));
}
