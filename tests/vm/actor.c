/*
 * What must act on a clone, inside a virtual machine that is about to be one. `actor events` is a
 * program that subscribed through the library, `actor hook` what `rngcli watch --exec` runs,
 * `actor uuids COMMAND...` reads what a maker of UUIDs prints; `actor page` tells what the epoch
 * page says in the end.
 *
 * Owns: a subscription, or the other end of a program's output. May touch: the daemon's socket
 * through the library; the epoch page, read-only. Never does: decide anything. The host compares
 * the siblings.
 *
 * Lines, each written at once; times are CLOCK_MONOTONIC in ns, ids and UUIDs in hex:
 *   V came done generation id    an event of the library's, acknowledged at `done`
 *   H came done generation id    a run of the hook
 *   P generation began id        the page: its generation, and the event that it tells of
 *   U read since uuids           what was there; none of it was made before `since`
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "client/rngclient.h"

#define NS_PER_S  1000000000LL
#define NS_PER_MS 1000000LL

/* What acting on a clone takes. Who settles without waiting for it is seen to. */
#define ACTOR_WORK_NS (200 * NS_PER_MS)

/* Emulation on a busy machine is slow. */
#define ACTOR_TIMEOUT_MS 10000

/* How often what was printed is read: a batch of 256 lasts a while. */
#define ACTOR_READ_NS    (3 * NS_PER_MS)
#define ACTOR_READ_BYTES 8192
#define UUID_LINE_BYTES  37

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * NS_PER_S + now.tv_nsec;
}

static void pause_for(int64_t ns)
{
	struct timespec left = {.tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S};

	while (nanosleep(&left, &left) && errno == EINTR)
		;
}

static int complain(const char *what, int err)
{
	fprintf(stderr, "actor: %s: %s\n", what, strerror(-err));
	return 1;
}

static void print_id(const uint8_t id[16])
{
	for (int i = 0; i < 16; i++)
		printf("%02x", id[i]);
	putchar('\n');
	fflush(stdout);
}

/* ---------------------------------------------------------------- the library's subscriber */

static int act(struct rngclient *client, const struct rngclient_event *event)
{
	int64_t came = now_ns();
	int err;

	pause_for(ACTOR_WORK_NS);
	/* The time before the call: once it is made, others may know. */
	printf("V %" PRId64 " %" PRId64 " %" PRIu64 " ", came, now_ns(), event->generation);
	print_id(event->id);
	err = rngclient_event_ack(client, event->generation);
	return err ? complain("acknowledge", err) : 0;
}

static int events(void)
{
	struct rngclient_event event = {.size = sizeof(event)};
	struct pollfd wait = {.events = POLLIN};
	struct rngclient *client;
	int err = rngclient_open(&client, NULL, ACTOR_TIMEOUT_MS);

	if (err)
		return complain("open", err);
	wait.fd = rngclient_event_fd(client);
	if (wait.fd < 0)
		return complain("subscribe", wait.fd);
	for (;;) {
		if (poll(&wait, 1, -1) < 0 && errno != EINTR)
			return complain("poll", -errno);
		err = rngclient_event_next(client, &event, 0);
		if (err && err != -EAGAIN)
			return complain("next", err);
		if (!err && act(client, &event) != 0)
			return 1;
	}
}

/* ---------------------------------------------------------------- the hook, the page */

static int hook(void)
{
	const char *generation = getenv("RNGD_EVENT_GENERATION");
	const char *id = getenv("RNGD_EVENT_ID");
	int64_t came = now_ns();

	pause_for(ACTOR_WORK_NS);
	printf("H %" PRId64 " %" PRId64 " %s %s\n", came, now_ns(), generation ? generation : "-",
	       id ? id : "-");
	return 0;
}

static int page(void)
{
	struct rngclient_epoch epoch = {.size = sizeof(epoch)};
	int err = rngclient_epoch_file(NULL, &epoch);

	if (err)
		return complain("page", err);
	printf("P %" PRIu64 " %" PRIu64 " ", epoch.generation, epoch.event_generation);
	print_id(epoch.event_id);
	return 0;
}

/* ---------------------------------------------------------------- the reader of UUIDs */

/*
 * A socket with the smallest buffer there is, some six lines, and not a pipe, which holds a
 * hundred: the more is on its way to here, the less is known of when it was made.
 */
static int start(char **command)
{
	const int least = 1;
	int ends[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0 ||
	    setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &least, sizeof(least)) != 0)
		return -1;
	pid = fork();
	if (pid < 0)
		return -1;
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(ends[1], STDOUT_FILENO);
		execvp(command[0], command);
		_exit(127);
	}
	close(ends[1]);
	return ends[0];
}

static bool print_uuids(const char *text, size_t len)
{
	for (size_t at = 0; at < len; at += UUID_LINE_BYTES) {
		if (len - at < UUID_LINE_BYTES || text[at + UUID_LINE_BYTES - 1] != '\n')
			return false;
		for (size_t i = at; i < at + UUID_LINE_BYTES - 1; i++) {
			if (text[i] != '-')
				putchar(text[i]);
		}
	}
	putchar('\n');
	return fflush(stdout) == 0;
}

/*
 * A read takes all there is. What the next one finds was written after that, but the first of it
 * may have been made before and waited for room; what the one after it finds was made since.
 */
static int uuids(char **command)
{
	char text[ACTOR_READ_BYTES];
	int64_t last = 0, before_last = 0;
	int fd = start(command);

	if (fd < 0)
		return complain(command[0], -errno);
	for (;;) {
		int64_t now = now_ns();
		ssize_t len = read(fd, text, sizeof(text));

		if (len <= 0)
			return complain("no more UUIDs", len ? -errno : -EPIPE);
		printf("U %" PRId64 " %" PRId64 " ", now_ns(), before_last);
		if (!print_uuids(text, (size_t)len))
			return complain("no UUIDs", -EPROTO);
		before_last = last;
		last = now;
		pause_for(ACTOR_READ_NS);
	}
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "events") == 0)
		return events();
	if (argc == 2 && strcmp(argv[1], "hook") == 0)
		return hook();
	if (argc == 2 && strcmp(argv[1], "page") == 0)
		return page();
	if (argc > 2 && strcmp(argv[1], "uuids") == 0)
		return uuids(argv + 2);
	fputs("usage: actor events | hook | page | uuids COMMAND...\n", stderr);
	return 2;
}
