/*
 * load - many clients of one rngd at once, random ones of them killed in the middle of whatever
 *they do. Owns: its clients. May touch: the daemon's socket. Never does: excuse an error: all that
 *a surviving client asks for must come.
 *
 *	load SOCKET SECONDS CLIENTS
 *
 * Prints one line: requests, bytes, kills. Exits 1 when a client that nobody killed failed.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/rngclient.h"

#define CLIENTS_MAX       512
#define REQUEST_MAX_BYTES 300000u
#define KILL_PAUSE_MS     100   /* ten a second */
#define TIMEOUT_MS        20000 /* of one request, on a busy machine */

/* What a client has done; it alone writes there, its parent reads. */
struct tally {
	uint64_t requests;
	uint64_t bytes;
};

struct load {
	const char *socket;
	long clients;
	pid_t pids[CLIENTS_MAX];
	struct tally *tallies; /* shared with the clients */
	uint64_t kills;
	bool failed;
};

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Small ones mostly, some of several frames. */
static size_t pick_size(unsigned *seed)
{
	unsigned kind = (unsigned)rand_r(seed) % 10;
	unsigned value = (unsigned)rand_r(seed);

	if (kind < 7)
		return 1 + value % 256;
	if (kind < 9)
		return 1 + value % 16384;
	return 1 + value % REQUEST_MAX_BYTES;
}

/* Is it output at all: a buffer left as it was has a run of this many equal bytes. */
static bool looks_random(const uint8_t *bytes, size_t len)
{
	size_t run = 1;

	for (size_t i = 1; i < len && run < 8; i++)
		run = bytes[i] == bytes[i - 1] ? run + 1 : 1;
	return run < 8;
}

/* One connection, now and then a new one. Ends by being killed, or at an error. */
static int client_run(const struct load *load, struct tally *tally)
{
	static uint8_t buf[REQUEST_MAX_BYTES];
	unsigned seed = (unsigned)getpid();
	struct rngclient *client;
	int rc;

	for (;;) {
		rc = rngclient_open(&client, load->socket, 0);
		if (!rc)
			rc = rngclient_set_timeout(client, TIMEOUT_MS);
		for (unsigned n = 1 + (unsigned)rand_r(&seed) % 100; !rc && n > 0; n--) {
			size_t len = pick_size(&seed);

			memset(buf, 0, len);
			rc = rngclient_get(client, buf, len);
			if (!rc && !looks_random(buf, len))
				rc = -EBADMSG;
			tally->requests++;
			tally->bytes += len;
		}
		if (rc) {
			fprintf(stderr, "load: client: %s\n", strerror(-rc));
			return 1;
		}
		rngclient_close(client);
	}
}

static void client_start(struct load *load, long i)
{
	pid_t pid = fork();

	if (pid < 0) {
		fprintf(stderr, "load: fork: %s\n", strerror(errno));
		load->failed = true;
		return;
	}
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(client_run(load, &load->tallies[i]));
	}
	load->pids[i] = pid;
}

/* Kills it, unless it has ended by itself, which is a failure. */
static void client_kill(struct load *load, long i)
{
	int status;

	if (load->pids[i] <= 0)
		return;
	kill(load->pids[i], SIGKILL);
	if (waitpid(load->pids[i], &status, 0) != load->pids[i] || !WIFSIGNALED(status) ||
	    WTERMSIG(status) != SIGKILL)
		load->failed = true;
	load->pids[i] = 0;
}

static void run(struct load *load, int64_t until_ms)
{
	const struct timespec pause = {.tv_nsec = KILL_PAUSE_MS * 1000000L};
	unsigned seed = 1;

	for (long i = 0; i < load->clients; i++)
		client_start(load, i);
	while (now_ms() < until_ms && !load->failed) {
		long i = rand_r(&seed) % load->clients;

		nanosleep(&pause, NULL);
		client_kill(load, i);
		client_start(load, i);
		load->kills++;
	}
	for (long i = 0; i < load->clients; i++)
		client_kill(load, i);
}

static int report(const struct load *load, long seconds)
{
	struct tally sum = {0};
	bool idle = false;

	for (long i = 0; i < load->clients; i++) {
		sum.requests += load->tallies[i].requests;
		sum.bytes += load->tallies[i].bytes;
		idle |= load->tallies[i].requests == 0;
	}
	printf("%ld clients, %ld s: %llu requests, %llu MB, %llu killed\n", load->clients, seconds,
	       (unsigned long long)sum.requests, (unsigned long long)sum.bytes / 1000000,
	       (unsigned long long)load->kills);
	if (idle)
		fputs("load: a client was never served\n", stderr);
	return load->failed || idle ? 1 : 0;
}

int main(int argc, char **argv)
{
	struct load load = {0};
	long seconds;

	if (argc != 4) {
		fputs("usage: load SOCKET SECONDS CLIENTS\n", stderr);
		return 2;
	}
	load.socket = argv[1];
	seconds = strtol(argv[2], NULL, 10);
	load.clients = strtol(argv[3], NULL, 10);
	if (seconds < 1 || load.clients < 1 || load.clients > CLIENTS_MAX) {
		fputs("load: bad number\n", stderr);
		return 2;
	}
	load.tallies = mmap(NULL, CLIENTS_MAX * sizeof(*load.tallies), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (load.tallies == MAP_FAILED) {
		fputs("load: no memory\n", stderr);
		return 1;
	}
	run(&load, now_ms() + seconds * 1000);
	return report(&load, seconds);
}
