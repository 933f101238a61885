/*
 * callers - many threads that call the library without a pause worth mentioning, whatever becomes
 *of the daemon. Owns: its threads and their handles. May touch: the socket. Never does: call again
 *for bytes that a call did not get, or excuse an error.
 *
 *	callers SOCKET THREADS TIMEOUT_MS PAUSE_MS
 *
 * Prints "ready" when each thread got bytes once. Then, for each line on its standard input and at
 *the end of it, what happened since the last time:
 *
 *	calls=N failed=N timeouts=N slowest_ms=N fewest=N
 *
 * failed: calls that ended with an error; timeouts: those of them that ended with ETIMEDOUT.
 *fewest: the calls of the thread that made the fewest. After the last one, of all there was:
 *
 *	replies=N repeated=N
 *
 * repeated: replies that began with 16 bytes that another reply had begun with. Exits 1 if there
 *are any, or if a call that failed left something in its buffer.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/rngclient.h"

#define THREADS_MAX   256
#define BLOCK_BYTES   16
#define GET_MAX_BYTES 2048
#define KEPT_FIRST    1024

struct block {
	uint8_t bytes[BLOCK_BYTES];
};

struct caller {
	pthread_t thread;
	const char *path;
	int timeout_ms, pause_ms;
	unsigned seed; /* of the lengths it asks for */
	_Atomic uint64_t calls, failed, timeouts, slowest_ms;
	_Atomic bool ready;
	/* Its own until it was joined. */
	struct block *kept;
	size_t kept_count, kept_room;
};

static _Atomic bool over, leaked;

static _Noreturn void die(const char *what, int err)
{
	fprintf(stderr, "callers: %s: %s\n", what, strerror(err));
	exit(1);
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void keep(struct caller *caller, const uint8_t *bytes)
{
	if (caller->kept_count == caller->kept_room) {
		caller->kept_room = caller->kept_room ? 2 * caller->kept_room : KEPT_FIRST;
		caller->kept = realloc(caller->kept, caller->kept_room * sizeof(*caller->kept));
		if (!caller->kept)
			die("realloc", ENOMEM);
	}
	memcpy(caller->kept[caller->kept_count++].bytes, bytes, BLOCK_BYTES);
}

static void check_empty(const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (bytes[i] != 0)
			atomic_store(&leaked, true);
}

static void call_once(struct caller *caller, struct rngclient *client)
{
	uint8_t bytes[GET_MAX_BYTES];
	size_t len = BLOCK_BYTES + (size_t)rand_r(&caller->seed) % (sizeof(bytes) - BLOCK_BYTES);
	uint64_t start_ms, took_ms;
	int err;

	memset(bytes, 0xff, len);
	start_ms = now_ms();
	err = rngclient_get(client, bytes, len);
	took_ms = now_ms() - start_ms;
	if (took_ms > atomic_load(&caller->slowest_ms))
		atomic_store(&caller->slowest_ms, took_ms);
	atomic_fetch_add(&caller->calls, 1);
	if (!err) {
		keep(caller, bytes);
		atomic_store(&caller->ready, true);
		return;
	}
	check_empty(bytes, len);
	atomic_fetch_add(&caller->failed, 1);
	if (err == -ETIMEDOUT)
		atomic_fetch_add(&caller->timeouts, 1);
	else
		fprintf(stderr, "callers: %s\n", strerror(-err));
}

static void *call(void *argument)
{
	struct caller *caller = argument;
	struct rngclient *client;
	int err = rngclient_open(&client, caller->path, caller->timeout_ms);

	if (err)
		die("open", -err);
	while (!atomic_load(&over)) {
		call_once(caller, client);
		poll(NULL, 0, caller->pause_ms);
	}
	rngclient_close(client);
	return NULL;
}

static void report(struct caller *callers, long count)
{
	uint64_t calls = 0, failed = 0, timeouts = 0, slowest_ms = 0, fewest = UINT64_MAX;

	for (long i = 0; i < count; i++) {
		uint64_t own = atomic_exchange(&callers[i].calls, 0);
		uint64_t own_slowest_ms = atomic_exchange(&callers[i].slowest_ms, 0);

		calls += own;
		failed += atomic_exchange(&callers[i].failed, 0);
		timeouts += atomic_exchange(&callers[i].timeouts, 0);
		if (own < fewest)
			fewest = own;
		if (own_slowest_ms > slowest_ms)
			slowest_ms = own_slowest_ms;
	}
	printf("calls=%llu failed=%llu timeouts=%llu slowest_ms=%llu fewest=%llu\n",
	       (unsigned long long)calls, (unsigned long long)failed, (unsigned long long)timeouts,
	       (unsigned long long)slowest_ms, (unsigned long long)fewest);
	fflush(stdout);
}

static int compare(const void *a, const void *b)
{
	return memcmp(a, b, BLOCK_BYTES);
}

/* How many replies began like another. */
static size_t count_repeated(const struct caller *callers, long count, size_t *replies)
{
	struct block *all;
	size_t used = 0, repeated = 0;

	*replies = 0;
	for (long i = 0; i < count; i++)
		*replies += callers[i].kept_count;
	all = malloc((*replies + 1) * sizeof(*all));
	if (!all)
		die("malloc", ENOMEM);
	for (long i = 0; i < count; i++) {
		if (callers[i].kept_count > 0)
			memcpy(all + used, callers[i].kept, callers[i].kept_count * sizeof(*all));
		used += callers[i].kept_count;
	}
	qsort(all, used, sizeof(*all), compare);
	for (size_t i = 1; i < used; i++)
		repeated += compare(&all[i - 1], &all[i]) == 0;
	free(all);
	return repeated;
}

static int number(const char *text)
{
	char *end;
	long value = strtol(text, &end, 10);

	if (*text == '\0' || *end != '\0' || value < 1 || value > 1000000)
		die(text, EINVAL);
	return (int)value;
}

int main(int argc, char **argv)
{
	static struct caller callers[THREADS_MAX];
	char line[16];
	size_t replies, repeated;
	int count;

	if (argc != 5 || (count = number(argv[2])) > THREADS_MAX) {
		fputs("usage: callers SOCKET THREADS TIMEOUT_MS PAUSE_MS\n", stderr);
		return 2;
	}
	for (int i = 0; i < count; i++) {
		callers[i].path = argv[1];
		callers[i].timeout_ms = number(argv[3]);
		callers[i].pause_ms = number(argv[4]);
		callers[i].seed = (unsigned)i;
		if (pthread_create(&callers[i].thread, NULL, call, &callers[i]) != 0)
			die("pthread_create", EAGAIN);
	}
	for (int i = 0; i < count; i++)
		while (!atomic_load(&callers[i].ready))
			poll(NULL, 0, 1);
	puts("ready");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin))
		report(callers, count);
	report(callers, count);
	atomic_store(&over, true);
	for (int i = 0; i < count; i++)
		pthread_join(callers[i].thread, NULL);
	repeated = count_repeated(callers, count, &replies);
	for (int i = 0; i < count; i++)
		free(callers[i].kept);
	printf("replies=%zu repeated=%zu\n", replies, repeated);
	return repeated > 0 || atomic_load(&leaked);
}
