/*
 * Programs with a generator of their own inside a virtual machine that is about to be cloned: one
 * draws 32 bytes at a time from a handle of librngclient's local generator, one numbers of 64 bits,
 * one calls rngclient_getrandom(). `drawer` makes /run/drawer.ready when all are at it, and prints
 * at SIGTERM what was drawn around the moment at which the epoch page told of something; if
 * it never did, what was drawn last.
 *
 * Owns: its records, in memory shared with its children. May touch: the daemon through the library;
 * the epoch page, read-only. Never does: decide anything. The host compares the siblings.
 *
 * Client 0 writes `l` to a port of the machine's when it begins some draws and `L` when they are
 * over, client 1 `m` and `M`, client 2 `n` and `N`, so that the host knows how far each had come
 * when the snapshot was taken (see guest.c).
 *
 * Lines; times are CLOCK_MONOTONIC in ns, epoch is the page's word before the draw:
 *   Y client epoch                            the word when it began
 *   X client number begun epoch error bytes    a draw; number counts from 0
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/rngclient_local.h"

#define DRAWER_PAGE       "/run/rngd/epoch"
#define DRAWER_READY_FILE "/run/drawer.ready"
#define DRAWER_TALLY_PORT 0xe9 /* as in guest.c */
#define DRAWER_CLIENTS    3
#define DRAWER_BYTES      32
#define DRAWER_BURST      2 /* draws; draws.awk has it too */
#define DRAWER_PAUSE_NS   200000
#define DRAWER_IDLE_NS    20000000 /* once enough was noted: others are to be served too */
#define DRAWER_READY      100      /* draws */
#define DRAWER_KEPT       8192     /* records; so many of them after a notice: */
#define DRAWER_AFTER      1024
#define DRAWER_TIMEOUT_MS 10000 /* emulation on a busy machine is slow */
#define NS_PER_S          1000000000LL

struct record {
	int64_t begun_ns;
	uint64_t number;
	uint32_t epoch;
	int32_t error;
	uint32_t len;
	uint8_t bytes[DRAWER_BYTES];
};

struct log {
	uint32_t epoch;
	_Atomic uint64_t count; /* of all that were noted; the last DRAWER_KEPT are there */
	struct record records[DRAWER_KEPT];
};

struct shared {
	_Atomic bool stop;
	struct log logs[DRAWER_CLIENTS];
};

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * NS_PER_S + now.tv_nsec;
}

static int draw(size_t client, struct rngclient_local *local, struct record *record)
{
	uint64_t number;
	int err;

	record->len = client == 1 ? sizeof(number) : DRAWER_BYTES;
	if (client == 0)
		return rngclient_local_bytes(local, record->bytes, DRAWER_BYTES);
	if (client == 1) {
		err = rngclient_local_u64(local, &number);
		memcpy(record->bytes, &number, sizeof(number));
		return err;
	}
	return rngclient_getrandom(record->bytes, DRAWER_BYTES, 0) == DRAWER_BYTES ? 0 : -errno;
}

/* What is noted ends some time after the first notice; drawing goes on. */
static void client_run(struct shared *shared, const uint32_t *epoch, size_t client)
{
	struct timespec pause = {.tv_nsec = DRAWER_PAUSE_NS};
	struct log *log = &shared->logs[client];
	struct rngclient_local *local = NULL;
	uint64_t number = 0, left = UINT64_MAX;

	log->epoch = __atomic_load_n(epoch, __ATOMIC_ACQUIRE);
	if (client < 2 && rngclient_local_open(&local, NULL, DRAWER_TIMEOUT_MS, 0) != 0)
		_exit(1);
	for (; !atomic_load(&shared->stop); nanosleep(&pause, NULL)) {
		outb((unsigned char)('l' + client), DRAWER_TALLY_PORT);
		for (int i = 0; i < DRAWER_BURST; i++) {
			struct record record = {.number = number++, .begun_ns = now_ns()};

			/* It is the last of the page's words to be written. */
			record.epoch = __atomic_load_n(epoch, __ATOMIC_ACQUIRE);
			record.error = draw(client, local, &record);
			if (record.epoch != log->epoch && left == UINT64_MAX)
				left = DRAWER_AFTER;
			if (left == 0)
				pause.tv_nsec = DRAWER_IDLE_NS;
			if (left == 0)
				continue;
			left -= left != UINT64_MAX;
			log->records[log->count % DRAWER_KEPT] = record;
			log->count++;
		}
		outb((unsigned char)('L' + client), DRAWER_TALLY_PORT);
	}
	_exit(0);
}

static void print_log(size_t client, const struct log *log)
{
	uint64_t at = log->count > DRAWER_KEPT ? log->count - DRAWER_KEPT : 0;

	printf("Y %zu %08" PRIx32 "\n", client, log->epoch);
	for (; at < log->count; at++) {
		const struct record *record = &log->records[at % DRAWER_KEPT];

		printf("X %zu %" PRIu64 " %" PRId64 " %08" PRIx32 " %" PRId32 " ", client,
		       record->number, record->begun_ns, record->epoch, record->error);
		for (uint32_t i = 0; i < record->len && !record->error; i++)
			printf("%02x", record->bytes[i]);
		putchar('\n');
	}
}

static bool ready(const struct shared *shared)
{
	for (size_t i = 0; i < DRAWER_CLIENTS; i++)
		if (shared->logs[i].count < DRAWER_READY)
			return false;
	return true;
}

static int complain(const char *what)
{
	fprintf(stderr, "drawer: %s: %s\n", what, strerror(errno));
	return 1;
}

int main(void)
{
	struct shared *shared =
	    mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	const struct timespec look = {.tv_nsec = NS_PER_S / 100};
	int fd = open(DRAWER_PAGE, O_RDONLY | O_CLOEXEC);
	const uint8_t *page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	bool said = false;
	sigset_t term;

	if (shared == MAP_FAILED || page == MAP_FAILED || ioperm(DRAWER_TALLY_PORT, 1, 1) != 0)
		return complain("start");
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, NULL);
	for (size_t i = 0; i < DRAWER_CLIENTS; i++) {
		pid_t pid = fork();

		if (pid < 0)
			return complain("fork");
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			prctl(PR_SET_TIMERSLACK, 1000UL);
			client_run(shared, (const void *)page, i);
		}
	}
	while (sigtimedwait(&term, NULL, &look) != SIGTERM) {
		if (!said && ready(shared)) {
			said = true;
			close(open(DRAWER_READY_FILE, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
		}
	}
	atomic_store(&shared->stop, true);
	while (wait(NULL) > 0 || errno == EINTR)
		;
	for (size_t i = 0; i < DRAWER_CLIENTS; i++)
		print_log(i, &shared->logs[i]);
	return fflush(stdout) == 0 ? 0 : 1;
}
