/* SPDX-License-Identifier: ISC */
/*
 * poll_loop - the shortest program that is told of clones and says that it acted on them.
 *
 *	cc -o poll_loop poll_loop.c -lrngclient && ./poll_loop [SOCKET]
 *
 * Prints a line for each clone of this machine, until it is killed.
 */
#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <rngclient.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
	struct rngclient_event event = {.size = sizeof(event)};
	struct pollfd wait = {.events = POLLIN};
	struct rngclient *rng;
	int rc;

	rc = rngclient_open(&rng, argc > 1 ? argv[1] : NULL, 0);
	if (rc)
		errx(1, "no rngd: %s", strerror(-rc));
	wait.fd = rngclient_event_fd(rng);
	if (wait.fd < 0)
		errx(1, "no events: %s", strerror(-wait.fd));
	fputs("waiting for clones\n", stderr);

	for (;;) {
		if (poll(&wait, 1, -1) < 0 && errno != EINTR)
			err(1, "poll");
		rc = rngclient_event_next(rng, &event, 0);
		/* Often no event: the library was only putting its connection in order. */
		if (rc == -EAGAIN)
			continue;
		if (rc) {
			warnx("no event: %s; it is tried again", strerror(-rc));
			continue;
		}
		/* Drop keys here, and make new ones. Whoever restored the machine waits for it. */
		if (printf("clone %" PRIu64 " noticed by %s\n", event.generation,
			   event.notifier_name) < 0 ||
		    fflush(stdout))
			err(1, "standard output");
		/* Done, and not a moment before: traffic may be let in on the strength of this. */
		rc = rngclient_event_ack(rng, event.generation);
		if (rc)
			errx(1, "acknowledging: %s", strerror(-rc));
	}
}
