/* SPDX-License-Identifier: ISC */
/*
 * libev_watch - clone events in a program that has an event loop already.
 *
 *	cc -o libev_watch libev_watch.c -lrngclient -lev && ./libev_watch [SOCKET]
 *
 * Prints a line for each clone; ends with 0 on SIGTERM or SIGINT. Other loops (epoll, libuv, glib)
 * are used in the same way: a descriptor that becomes readable, and one call when it does.
 */
#include <err.h>
#include <errno.h>
#include <ev.h>
#include <inttypes.h>
#include <rngclient.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static void on_event(struct ev_loop *loop, ev_io *io, int revents)
{
	struct rngclient_event event = {.size = sizeof(event)};
	struct rngclient *rng = io->data;
	int rc;

	(void)loop;
	(void)revents;
	/* With 0, as a callback must not wait; until none is left, as two clones can have come. */
	while ((rc = rngclient_event_next(rng, &event, 0)) == 0) {
		/* Drop what must not outlive a clone here; only then acknowledge. */
		printf("clone %" PRIu64 " noticed by %s\n", event.generation, event.notifier_name);
		if (fflush(stdout))
			err(1, "standard output");
		rc = rngclient_event_ack(rng, event.generation);
		if (rc)
			errx(1, "acknowledging: %s", strerror(-rc));
	}
	/* -EAGAIN is how it ends. Anything else passes too: the library connects anew by itself. */
	if (rc != -EAGAIN)
		warnx("no event: %s; it is tried again", strerror(-rc));
}

static void on_signal(struct ev_loop *loop, ev_signal *signal, int revents)
{
	(void)signal;
	(void)revents;
	ev_break(loop, EVBREAK_ALL);
}

int main(int argc, char **argv)
{
	struct ev_loop *loop = ev_default_loop(0);
	ev_signal on_term, on_int;
	struct rngclient *rng;
	ev_io on_readable;
	int fd, rc;

	if (!loop)
		errx(1, "no event loop");
	rc = rngclient_open(&rng, argc > 1 ? argv[1] : NULL, 0);
	if (rc)
		errx(1, "no rngd: %s", strerror(-rc));
	/* It stays the same when rngd restarts: this is all there is to set up. */
	fd = rngclient_event_fd(rng);
	if (fd < 0)
		errx(1, "no events: %s", strerror(-fd));

	ev_io_init(&on_readable, on_event, fd, EV_READ);
	on_readable.data = rng;
	ev_io_start(loop, &on_readable);
	ev_signal_init(&on_term, on_signal, SIGTERM);
	ev_signal_start(loop, &on_term);
	ev_signal_init(&on_int, on_signal, SIGINT);
	ev_signal_start(loop, &on_int);
	fputs("waiting for clones\n", stderr);
	ev_run(loop, 0);

	/*
	 * A program that leaves should say so. One that is killed while it owes an answer may be
	 * waited for until it is back.
	 */
	ev_io_stop(loop, &on_readable);
	rngclient_close(rng);
	ev_loop_destroy(loop);
	return 0;
}
