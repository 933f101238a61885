/*
 * client - a program that keeps one connection to rngd through the library and asks again and
 * again. Owns: its handle. May touch: the daemon's socket. Never does: excuse an error.
 *
 *	client FILE
 *
 * Asks for 32 bytes every 20 ms until SIGTERM. FILE is made when the first have come. Prints one
 * line at its end: requests, errors, the longest wait in milliseconds. Exits 1 after an error.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "client/rngclient.h"

#define REQUEST_BYTES 32
#define PAUSE_MS      20
#define TIMEOUT_MS    300000 /* far beyond a restart on a slow machine */

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Sets *waited_ms. 0, or a negative errno value; the bytes of the last request again are one. */
static int ask(struct rngclient *rng, uint8_t last[REQUEST_BYTES], int64_t *waited_ms)
{
	uint8_t bytes[REQUEST_BYTES];
	int64_t start_ms = now_ms();
	int err = rngclient_get(rng, bytes, sizeof(bytes));

	*waited_ms = now_ms() - start_ms;
	if (err == 0 && memcmp(bytes, last, sizeof(bytes)) == 0)
		err = -EBADMSG;
	memcpy(last, bytes, sizeof(bytes));
	return err;
}

int main(int argc, char **argv)
{
	const struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000L};
	unsigned long requests = 0, errors = 0;
	int64_t waited_ms, longest_ms = 0;
	uint8_t last[REQUEST_BYTES] = {0};
	struct rngclient *rng;
	sigset_t ends;
	int err, fd;

	if (argc != 2)
		return 2;
	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigprocmask(SIG_BLOCK, &ends, NULL);
	err = rngclient_open(&rng, NULL, TIMEOUT_MS);
	if (err != 0) {
		fprintf(stderr, "client: open: %s\n", strerror(-err));
		return 1;
	}
	do {
		err = ask(rng, last, &waited_ms);
		requests++;
		longest_ms = waited_ms > longest_ms ? waited_ms : longest_ms;
		if (err != 0) {
			errors++;
			fprintf(stderr, "client: request %lu: %s\n", requests, strerror(-err));
		}
		if (requests == 1) {
			fd = open(argv[1], O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
			if (fd >= 0)
				close(fd);
		}
	} while (sigtimedwait(&ends, NULL, &pause) != SIGTERM);
	rngclient_close(rng);
	printf("requests %lu errors %lu longest_ms %lld\n", requests, errors,
	       (long long)longest_ms);
	return errors != 0;
}
