/*
 * What runs inside a virtual machine that is about to be cloned: clients of rngd and a watcher.
 * `guest record` prints "READY" when the clients get bytes, notes until SIGTERM what each saw and
 * when, then prints all of it. `guest mark WORD` and `guest status` print lines to go with that.
 *
 * Owns: its records, in memory shared with its children. They are printed at the end, so that what
 * is measured is not slowed by it.
 *
 * May touch: the daemon's socket through the library; the epoch page, the GUID and the kernel log,
 * read-only.
 *
 * Never does: decide anything. The host compares the siblings.
 *
 * Each step also writes a letter to a port of the machine's, so that the host knows how far each
 * had come when the snapshot was taken: no clock of a clone can be asked that. Client 0 writes `a`
 * when it begins a request and `A` when it is over, client 1 `b` and `B`, ...; the watcher `t` for
 * a T.
 *
 * Lines; times are CLOCK_MONOTONIC in ns, bytes in hex:
 *   T time bytes                            a look of the watcher, with 16 bytes of getrandom(2)
 *   E time word generation look lease       the epoch page, when found and at each change
 *   G time guid                             the GUID in /sys, when found and at each change
 *   N time                                  the kernel's line about a fork of the machine
 *   F client number begun ended error bytes a request; a long one has several lines, which differ
 *                                           in the bytes alone
 *   D client records                        so many had no room: the run proves nothing
 *   M time word                             a mark
 *   S name=value                            the daemon's status
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/rngclient.h"

#define GUEST_PAGE        "/run/rngd/epoch"
#define GUEST_GUID        "/sys/firmware/qemu_fw_cfg/by_name/etc/vmgenid_guid/raw"
#define GUEST_GUID_OFFSET 40
#define GUEST_GUID_BYTES  16
#define GUEST_FORK_LINE   "random: crng reseeded due to virtual machine fork"
#define GUEST_LOG_BYTES   (8U << 20)
#define GUEST_LINE_BYTES  1024 /* random bytes a printed line holds */
#define GUEST_LOOK_NS     1000000
#define GUEST_TALLY_PORT  0xe9 /* QEMU's debug console; a file of the host's */
#define GUEST_READY       20   /* requests each client has had answered */
#define GUEST_TIMEOUT_MS  3000 /* emulation on a busy machine is slow */
#define GUEST_LONGEST     (192U << 10)
#define NS_PER_S          1000000000LL
#define COUNT_OF(array)   (sizeof(array) / sizeof((array)[0]))

/* Short requests, one after another, meet any window; the snapshot cuts a long one in two. */
static const struct client_plan {
	uint32_t bytes; /* a multiple of 16, the block that the host compares */
	long pause_ns;  /* between an answer and the next request */
} plans[] = {
    {64, 200000},
    {1024, 5000000},
    {GUEST_LONGEST, 300000000},
};

#define WATCHER   COUNT_OF(plans)
#define LOG_COUNT (COUNT_OF(plans) + 1)

/* Its payload follows it, len bytes padded to 8. */
struct record {
	int64_t begun_ns;
	int64_t ended_ns;
	uint32_t number;
	uint32_t len;
	int32_t error;
	char kind;
};

struct log {
	_Atomic uint32_t answered;
	_Atomic uint32_t dropped;
	size_t used;
	unsigned char data[GUEST_LOG_BYTES];
};

struct shared {
	_Atomic bool stop;
	struct log logs[LOG_COUNT];
};

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * NS_PER_S + now.tv_nsec;
}

static void pause_for(long ns)
{
	struct timespec wait = {.tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S};

	nanosleep(&wait, NULL);
}

static void tally(size_t letter)
{
	outb((unsigned char)letter, GUEST_TALLY_PORT);
}

static void note(struct log *log, const struct record *record, const void *payload)
{
	size_t padded = (record->len + 7U) & ~7U;

	if (padded + sizeof(*record) > sizeof(log->data) - log->used) {
		atomic_fetch_add(&log->dropped, 1);
		return;
	}
	memcpy(log->data + log->used, record, sizeof(*record));
	if (record->len)
		memcpy(log->data + log->used + sizeof(*record), payload, record->len);
	log->used += sizeof(*record) + padded;
}

/* ---------------------------------------------------------------- a client of the daemon */

static void client_run(struct shared *shared, size_t index)
{
	const struct client_plan *plan = &plans[index];
	struct log *log = &shared->logs[index];
	unsigned char *bytes = malloc(plan->bytes);
	struct rngclient *client = NULL;
	struct record record = {.kind = 'F'};

	if (!bytes)
		_exit(1);
	while (!atomic_load(&shared->stop)) {
		tally('a' + index);
		record.begun_ns = now_ns();
		record.error = 0;
		if (!client)
			record.error = rngclient_open(&client, NULL, GUEST_TIMEOUT_MS);
		if (!record.error)
			record.error = rngclient_get(client, bytes, plan->bytes);
		record.ended_ns = now_ns();
		record.len = record.error ? 0 : plan->bytes;
		note(log, &record, bytes);
		tally('A' + index);
		record.number++;
		if (!record.error)
			atomic_fetch_add(&log->answered, 1);
		pause_for(record.error ? 5 * GUEST_LOOK_NS : plan->pause_ns);
	}
	_exit(0);
}

/* ---------------------------------------------------------------- the watcher */

struct watch {
	struct log *log;
	const unsigned char *page; /* NULL until there is one */
	struct stat page_stat;
	int guid_fd; /* -1: this machine shows none */
	int kmsg_fd;
	uint64_t seen[4];
	bool page_seen, guid_seen;
	unsigned char guid[GUEST_GUID_BYTES];
};

static void watch_note(struct watch *watch, char kind, const void *payload, size_t len)
{
	struct record record = {.begun_ns = now_ns(), .kind = kind, .len = (uint32_t)len};

	note(watch->log, &record, payload);
}

/* Maps the page once it is whole, and again if another file took its name. */
static void watch_find_page(struct watch *watch)
{
	struct stat st;
	void *map;
	int fd;

	if (stat(GUEST_PAGE, &st) != 0 || st.st_size < 4096 ||
	    (watch->page && st.st_ino == watch->page_stat.st_ino &&
	     st.st_dev == watch->page_stat.st_dev))
		return;
	fd = open(GUEST_PAGE, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (map == MAP_FAILED)
		return;
	watch->page = map;
	watch->page_stat = st;
}

static void watch_page(struct watch *watch)
{
	uint64_t now[4];

	if (!watch->page)
		return;
	now[0] = *(const volatile uint32_t *)(const volatile void *)watch->page;
	for (size_t i = 1; i < COUNT_OF(now); i++)
		now[i] =
		    *(const volatile uint64_t *)(const volatile void *)(watch->page + 8 + 8 * i);
	/* The lease moves all the time. */
	if (watch->page_seen && memcmp(now, watch->seen, 3 * sizeof(now[0])) == 0)
		return;
	watch->page_seen = true;
	memcpy(watch->seen, now, sizeof(now));
	watch_note(watch, 'E', now, sizeof(now));
}

static void watch_guid(struct watch *watch)
{
	unsigned char guid[GUEST_GUID_BYTES];

	if (watch->guid_fd < 0 ||
	    pread(watch->guid_fd, guid, sizeof(guid), GUEST_GUID_OFFSET) != sizeof(guid))
		return;
	if (watch->guid_seen && memcmp(guid, watch->guid, sizeof(guid)) == 0)
		return;
	watch->guid_seen = true;
	memcpy(watch->guid, guid, sizeof(guid));
	watch_note(watch, 'G', guid, sizeof(guid));
}

static void watch_kmsg(struct watch *watch)
{
	char line[2048];
	ssize_t n;

	while (watch->kmsg_fd >= 0) {
		n = read(watch->kmsg_fd, line, sizeof(line) - 1);
		if (n < 0 && errno == EPIPE)
			continue;
		if (n <= 0)
			return;
		line[n] = '\0';
		if (strstr(line, ";" GUEST_FORK_LINE "\n"))
			watch_note(watch, 'N', NULL, 0);
	}
}

static void watch_run(struct shared *shared, struct log *log)
{
	struct watch watch = {.log = log};
	struct pollfd kmsg = {.events = POLLIN};
	const struct timespec look = {.tv_nsec = GUEST_LOOK_NS};
	unsigned char kernel[16];

	watch.guid_fd = open(GUEST_GUID, O_RDONLY | O_CLOEXEC);
	watch.kmsg_fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	kmsg.fd = watch.kmsg_fd;
	if (watch.kmsg_fd >= 0)
		lseek(watch.kmsg_fd, 0, SEEK_END);
	while (!atomic_load(&shared->stop)) {
		watch_page(&watch);
		watch_kmsg(&watch);
		watch_guid(&watch);
		watch_find_page(&watch);
		if (getrandom(kernel, sizeof(kernel), 0) == sizeof(kernel))
			watch_note(&watch, 'T', kernel, sizeof(kernel));
		tally('t');
		ppoll(&kmsg, 1, &look, NULL);
	}
	_exit(0);
}

/* ---------------------------------------------------------------- printing */

static void print_hex(const unsigned char *bytes, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	char text[2 * GUEST_LINE_BYTES];

	for (size_t i = 0; i < len; i++) {
		text[2 * i] = digits[bytes[i] >> 4];
		text[2 * i + 1] = digits[bytes[i] & 15];
	}
	fwrite(text, 1, 2 * len, stdout);
	putchar('\n');
}

static void print_request(size_t client, const struct record *record, const unsigned char *bytes)
{
	size_t done = 0;

	do {
		size_t part = record->len - done;

		if (part > GUEST_LINE_BYTES)
			part = GUEST_LINE_BYTES;
		printf("F %zu %" PRIu32 " %" PRId64 " %" PRId64 " %" PRId32 " ", client,
		       record->number, record->begun_ns, record->ended_ns, record->error);
		print_hex(bytes + done, part);
		done += part;
	} while (done < record->len);
}

static void print_record(size_t client, const struct record *record, const unsigned char *payload)
{
	uint64_t page[4];

	if (record->kind == 'F') {
		print_request(client, record, payload);
		return;
	}
	printf("%c %" PRId64 " ", record->kind, record->begun_ns);
	if (record->kind == 'E') {
		memcpy(page, payload, sizeof(page));
		printf("%08" PRIx64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", page[0], page[1],
		       page[2], page[3]);
	} else {
		print_hex(payload, record->len);
	}
}

static void print_log(size_t client, const struct log *log)
{
	struct record record;

	for (size_t at = 0; at < log->used; at += sizeof(record) + ((record.len + 7U) & ~7U)) {
		memcpy(&record, log->data + at, sizeof(record));
		print_record(client, &record, log->data + at + sizeof(record));
	}
	if (log->dropped)
		printf("D %zu %" PRIu32 "\n", client, log->dropped);
}

/* ---------------------------------------------------------------- the parent */

static void child(struct shared *shared, size_t index)
{
	pid_t pid = fork();

	if (pid < 0) {
		perror("guest: fork");
		exit(1);
	}
	if (pid > 0)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_TIMERSLACK, 1000UL);
	if (index == WATCHER)
		watch_run(shared, &shared->logs[index]);
	else
		client_run(shared, index);
}

static bool ready(const struct shared *shared)
{
	for (size_t i = 0; i < COUNT_OF(plans); i++) {
		if (shared->logs[i].answered < (plans[i].bytes == GUEST_LONGEST ? 1 : GUEST_READY))
			return false;
	}
	return true;
}

static int record(void)
{
	struct shared *shared =
	    mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	const struct timespec look = {.tv_nsec = 10 * GUEST_LOOK_NS};
	bool said = false;
	sigset_t term;

	if (shared == MAP_FAILED || ioperm(GUEST_TALLY_PORT, 1, 1) != 0) {
		perror("guest");
		return 1;
	}
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, NULL);
	for (size_t i = 0; i < LOG_COUNT; i++)
		child(shared, i);
	while (sigtimedwait(&term, NULL, &look) != SIGTERM) {
		if (said || !ready(shared))
			continue;
		said = true;
		puts("READY");
		fflush(stdout);
	}
	atomic_store(&shared->stop, true);
	while (wait(NULL) > 0 || errno == EINTR)
		;
	for (size_t i = 0; i < LOG_COUNT; i++)
		print_log(i, &shared->logs[i]);
	return fflush(stdout) == 0 ? 0 : 1;
}

static int print_status(void)
{
	static char text[RNGCLIENT_STATUS_BYTES];
	struct rngclient *client;
	int err = rngclient_open(&client, NULL, GUEST_TIMEOUT_MS);

	if (!err) {
		err = rngclient_status(client, text, sizeof(text));
		rngclient_close(client);
	}
	if (err)
		printf("S error=%s\n", strerror(-err));
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		printf("S %s\n", line);
	return err ? 1 : 0;
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "record") == 0)
		return record();
	if (argc == 3 && strcmp(argv[1], "mark") == 0) {
		printf("M %" PRId64 " %s\n", now_ns(), argv[2]);
		return 0;
	}
	if (argc == 2 && strcmp(argv[1], "status") == 0)
		return print_status();
	fputs("usage: guest record | mark WORD | status\n", stderr);
	return 2;
}
