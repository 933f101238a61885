/*
 * Owns: nothing; its watchers are the server's. May touch: the listeners, the list of connections.
 * Never does: spin or give up for want of descriptors or memory.
 */
#include "daemon/accept.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/clock.h"
#include "daemon/listener.h"
#include "daemon/log.h"
#include "daemon/signals.h"

/*
 * Accepted at most this many in a pass: what a user's small turns may cost in it. A storm leaves
 * turns to the others, and who connects behind a full backlog of it does not wait for seconds.
 */
#define ACCEPT_BURST 64

/* Out of descriptors or memory: look again this often; say so this often. */
#define ACCEPT_PAUSE_S      0.1
#define ACCEPT_PAUSE_LOG_MS 10000

static void listen_again(struct server *server)
{
	for (size_t i = 0; i < server->listener_count; i++)
		ev_io_start(server->loop, &server->listeners[i].watcher);
}

void accept_stop(struct server *server)
{
	for (size_t i = 0; i < server->listener_count; i++)
		ev_io_stop(server->loop, &server->listeners[i].watcher);
}

/*
 * Descriptors or memory ran out. The listener is level-triggered, so it must rest or the loop
 * would spin; connections wait in the backlog meanwhile.
 */
static void accept_pause(struct server *server, const char *why)
{
	int64_t now_ms = clock_now_ms();

	server->accept_pauses++;
	if (now_ms - server->pause_logged_at_ms >= ACCEPT_PAUSE_LOG_MS) {
		server->pause_logged_at_ms = now_ms;
		log_event(LOG_EVENT_ACCEPT_PAUSED, LOG_LEVEL_WARNING,
			  "cannot accept connections for now: %s (%zu open)", why,
			  server->conn_count);
	}
	accept_stop(server);
	ev_timer_stop(server->loop, &server->pause_timer);
	ev_timer_set(&server->pause_timer, ACCEPT_PAUSE_S, 0.);
	ev_timer_start(server->loop, &server->pause_timer);
}

static void accept_again(struct ev_loop *loop, ev_timer *timer, int events)
{
	struct server *server = timer->data;

	(void)loop;
	(void)events;
	if (!server->shared.stopping)
		listen_again(server);
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
		if (peers_may_tell(&server->peers))
			listener_refuse(fd, server->reseed->epoch->generation);
		else
			close(fd);
		return true;
	}
	peer = judge_peer(server, &ucred, listener, err ? NULL : user);
	if (err)
		close(fd);
	conn = err ? NULL : conn_new(&server->shared, fd, &peer);
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
	for (int i = 0; i < ACCEPT_BURST; i++)
		if (!server_accept(listener->server, listener))
			break;
}

int accept_init(struct server *server, const struct server_setup *setup)
{
	server->pause_logged_at_ms = -ACCEPT_PAUSE_LOG_MS;
	ev_init(&server->pause_timer, accept_again);
	server->pause_timer.data = server;
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
	listen_again(server);
	return server->fds_refused ? 0 : signals_guard_linger();
}
