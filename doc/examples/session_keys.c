/* SPDX-License-Identifier: ISC */
/*
 * session_keys - a server's keys, which never outlive a clone of the machine.
 *
 *	cc -o session_keys session_keys.c -lrngclient && ./session_keys [SOCKET]
 *
 * It holds a key for each of ten sessions. Standard input stands for the network: a digit is a
 * request in that session, the end of input ends the program. A real server would seal the answer
 * with the session's key; this one prints the session's public name.
 *
 * Two things together make it safe:
 *
 *   The event       wakes it after a clone. It drops all keys at once, also those of sessions that
 *                   nobody asks for, makes new ones, and says that it did.
 *   The comparison  before each use of a key, for the moment before the event is read: two loads
 *                   and a clock, no system call.
 */
#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <rngclient.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SESSIONS 10
#define RETRY_MS 200

struct session {
	unsigned char name[8]; /* told to the peer: in a clone's sibling it must not be the same */
	unsigned char key[32]; /* told to nobody */
};

struct holder {
	struct rngclient *rng;
	struct session sessions[SESSIONS];
	bool ready;     /* the sessions are there to be used */
	uint64_t token; /* the epoch they were made in */
	uint64_t owed;  /* the event to acknowledge once they are made anew; 0: none */
};

static void say(const char *what, uint64_t number)
{
	printf("%s %" PRIu64 "\n", what, number);
	if (fflush(stdout))
		err(1, "standard output");
}

static void drop_keys(struct holder *holder)
{
	/* memset() may be left out by the compiler, as nobody reads what it writes. */
	explicit_bzero(holder->sessions, sizeof(holder->sessions));
	holder->ready = false;
	say("dropped: keys of epoch", holder->token);
}

/*
 * 0 or a negative errno: then there are no keys, and whoever needs one is refused. Keys of another
 * origin would be no better than none.
 */
static int make_keys(struct holder *holder)
{
	int rc;

	/* The token first. If a clone comes in between, the keys are newer than it: no harm. */
	holder->token = rngclient_epoch(holder->rng);
	/* One call for all: it gives every byte or none, and all of them under one generation. */
	rc = rngclient_get(holder->rng, holder->sessions, sizeof(holder->sessions));
	if (rc) {
		warnx("no keys: %s", strerror(-rc));
		return rc;
	}
	holder->ready = true;
	say("made: keys of epoch", holder->token);
	return 0;
}

/* The event's descriptor is readable. That may also be the library's own affair: no event then. */
static void take_event(struct holder *holder)
{
	struct rngclient_event event = {.size = sizeof(event)};
	int rc = rngclient_event_next(holder->rng, &event, 0);

	if (rc) {
		if (rc != -EAGAIN)
			warnx("no event: %s; it is tried again", strerror(-rc));
		return;
	}
	/* A later event stands for the ones before it: one acknowledgement is for all of them. */
	holder->owed = event.generation;
	/* Also if a comparison saw it before, and these are new already: that costs ten keys. */
	if (holder->ready)
		drop_keys(holder);
}

static void serve(struct holder *holder, int digit)
{
	const struct session *session = &holder->sessions[digit];

	/*
	 * Not the same: cloned, or nobody can say, as rngd is not there to watch. In both cases the
	 * keys go. In the second there are no new ones until it is back.
	 */
	if (holder->ready && !rngclient_epoch_same(holder->rng, holder->token))
		drop_keys(holder);
	if (!holder->ready && make_keys(holder)) {
		printf("session %d refused\n", digit);
	} else {
		printf("session %d ", digit);
		for (size_t i = 0; i < sizeof(session->name); i++)
			printf("%02x", session->name[i]);
		putchar('\n');
	}
	if (fflush(stdout))
		err(1, "standard output");
}

/* False at the end of the input. */
static bool take_request(struct holder *holder)
{
	char c;
	ssize_t n = read(STDIN_FILENO, &c, 1);

	if (n < 0 && errno != EINTR && errno != EAGAIN)
		err(1, "standard input");
	if (n == 1 && c >= '0' && c <= '9')
		serve(holder, c - '0');
	return n != 0;
}

/* Acknowledging is the last thing: traffic may come in on the strength of it. */
static void acknowledge(struct holder *holder)
{
	int rc = rngclient_event_ack(holder->rng, holder->owed);

	if (rc)
		errx(1, "acknowledging: %s", strerror(-rc));
	say("acknowledged", holder->owed);
	holder->owed = 0;
}

static void run(struct holder *holder, int event_fd)
{
	struct pollfd fds[] = {{.fd = event_fd, .events = POLLIN},
			       {.fd = STDIN_FILENO, .events = POLLIN}};

	for (;;) {
		if (poll(fds, 2, holder->ready ? -1 : RETRY_MS) < 0) {
			if (errno == EINTR)
				continue;
			err(1, "poll");
		}
		/* First the event: a request that came with it is answered with new keys. */
		if (fds[0].revents)
			take_event(holder);
		if (!holder->ready)
			make_keys(holder);
		if (holder->ready && holder->owed)
			acknowledge(holder);
		if (fds[1].revents && !take_request(holder))
			return;
	}
}

int main(int argc, char **argv)
{
	struct holder holder = {.ready = false};
	int event_fd;
	int rc;

	rc = rngclient_open(&holder.rng, argc > 1 ? argv[1] : NULL, 0);
	if (rc)
		errx(1, "no rngd: %s", strerror(-rc));
	/* Before the first key is made: of the clones from then on none is missed. */
	event_fd = rngclient_event_fd(holder.rng);
	if (event_fd < 0)
		errx(1, "no events: %s", strerror(-event_fd));
	if (rngclient_epoch(holder.rng) == 0)
		errx(1, "this rngd publishes no epoch page to compare with");
	if (make_keys(&holder))
		return 1;
	run(&holder, event_fd);
	drop_keys(&holder);
	rngclient_close(holder.rng); /* nobody waits for this program any more */
	return 0;
}
