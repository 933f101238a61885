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

#include "daemon/clock.h"
#include "daemon/epoch_file.h"
#include "daemon/listener.h"
#include "daemon/log.h"
#include "daemon/loop.h"
#include "daemon/signals.h"
#include "daemon/status.h"

/* Accepted at most this many at a time, so that a storm of connects leaves turns to the others. */
#define SERVER_ACCEPT_BURST 8

/* Out of descriptors or memory: look again this often; say so this often. */
#define SERVER_PAUSE_S      0.1
#define SERVER_PAUSE_LOG_MS 10000

/* A peer that does not read its last frame may hold up a stop for this long. */
#define SERVER_STOP_S 2.0

/* Renewal of an idle daemon's state, a retry after a failed reseed or notification. */
#define SERVER_TICK_S 1.0

static void listeners_start(struct server *server)
{
	for (size_t i = 0; i < server->listener_count; i++)
		ev_io_start(server->loop, &server->listeners[i].watcher);
}

static void listeners_stop(struct server *server)
{
	for (size_t i = 0; i < server->listener_count; i++)
		ev_io_stop(server->loop, &server->listeners[i].watcher);
}

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

/*
 * Descriptors or memory ran out. The listener is level-triggered, so it must rest or the loop
 * would spin; connections wait in the backlog meanwhile.
 */
static void accept_pause(struct server *server, const char *why)
{
	int64_t now_ms = clock_now_ms();

	server->accept_pauses++;
	if (now_ms - server->pause_logged_at_ms >= SERVER_PAUSE_LOG_MS) {
		server->pause_logged_at_ms = now_ms;
		log_event(LOG_EVENT_ACCEPT_PAUSED, LOG_LEVEL_WARNING,
			  "cannot accept connections for now: %s (%zu open)", why,
			  server->conn_count);
	}
	listeners_stop(server);
	ev_timer_stop(server->loop, &server->pause_timer);
	ev_timer_set(&server->pause_timer, SERVER_PAUSE_S, 0.);
	ev_timer_start(server->loop, &server->pause_timer);
}

static void accept_again(struct ev_loop *loop, ev_timer *timer, int events)
{
	struct server *server = timer->data;

	(void)loop;
	(void)events;
	if (!server->shared.stopping)
		listeners_start(server);
}

/*
 * The user who started the daemon counts, and not the one it runs as: that may be "nobody", whom it
 * shares with others.
 */
static struct conn_peer judge_peer(const struct server *server, const struct ucred *ucred,
				   const struct server_listener *listener, struct quota_user *user)
{
	return (struct conn_peer){
	    .user = user,
	    .pid = ucred->pid,
	    .control = listener->control,
	    .privileged =
		listener->control || ucred->uid == 0 || ucred->uid == server->facts.started_by,
	};
}

/* false: no more for now. */
static bool server_accept(struct server *server, const struct server_listener *listener)
{
	int fd = accept4(listener->watcher.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct ucred ucred;
	socklen_t ucred_bytes = sizeof(ucred);
	struct quota_user *user;
	struct conn_peer peer;
	struct conn *conn;
	int err;

	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
			accept_pause(server, strerror(errno));
		/* The others concern one connection that is gone already. */
		return errno == ECONNABORTED || errno == EINTR;
	}
	/* Asked before the first byte is read, so nothing a peer sends can come before it. */
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &ucred, &ucred_bytes) < 0) {
		close(fd);
		return true;
	}
	err = peers_enter(&server->peers, ucred.uid, listener->control, &user);
	if (err > 0) {
		listener_refuse(fd, server->reseed->epoch->generation);
		return true;
	}
	if (err) {
		close(fd);
		conn = NULL;
	} else {
		peer = judge_peer(server, &ucred, listener, user);
		conn = conn_new(&server->shared, fd, &peer);
	}
	if (!conn) {
		accept_pause(server, strerror(ENOMEM));
		return false;
	}
	conn->next = server->conns;
	if (conn->next)
		conn->next->prev = conn;
	server->conns = conn;
	server->conn_count++;
	server->accepted++;
	return true;
}

static void listener_ready(struct ev_loop *loop, ev_io *watcher, int events)
{
	struct server_listener *listener = watcher->data;

	(void)loop;
	if (events & (int)EV_ERROR) {
		accept_pause(listener->server, "the kernel refuses to watch the socket");
		return;
	}
	for (int i = 0; i < SERVER_ACCEPT_BURST; i++)
		if (!server_accept(listener->server, listener))
			break;
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
	listeners_stop(server);
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

/* Once a second. Last what the watchdog hears: all the rest has been done by then. */
static void tick(struct ev_loop *loop, ev_timer *timer, int events)
{
	struct server *server = timer->data;
	char line[SERVICE_STATUS_BYTES];

	(void)loop;
	(void)events;
	log_tick();
	peers_tick(&server->peers);
	look(server);
	status_line(server, line, sizeof(line));
	service_tick(server->service, line);
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

static int init_listeners(struct server *server, const struct server_setup *setup)
{
	server->fds_refused = true;
	for (size_t i = 0; i < setup->socket_count; i++) {
		struct server_listener *listener = &server->listeners[i];
		int fd = setup->sockets[i].fd;

		server->fds_refused &= listener_refuses_fds(fd);
		listener->server = server;
		listener->control = setup->sockets[i].control;
		ev_io_init(&listener->watcher, listener_ready, fd, EV_READ);
		listener->watcher.data = listener;
	}
	server->listener_count = setup->socket_count;
	listeners_start(server);
	return server->fds_refused ? 0 : signals_guard_linger();
}

static int init_watchers(struct server *server)
{
	int fd = signals_open();

	ev_io_init(&server->signal_watcher, signal_ready, fd, EV_READ);
	server->signal_watcher.data = server;
	ev_init(&server->pause_timer, accept_again);
	server->pause_timer.data = server;
	ev_init(&server->stop_timer, stop_late);
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
	server->pause_logged_at_ms = -SERVER_PAUSE_LOG_MS;
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
		err = init_listeners(server, setup);
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
		listeners_stop(server);
		epoch_watch_stop(&server->epoch_watch);
		ev_loop_destroy(server->loop);
		if (server->signal_watcher.fd >= 0)
			close(server->signal_watcher.fd);
	}
	secmem_free(&server->scratch);
	memset(server, 0, sizeof(*server));
}
