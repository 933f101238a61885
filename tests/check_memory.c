/*
 * check_memory - what a serving rngd keeps: its memory is read from outside and searched for output
 * it gave and for keys it had. Owns: the daemon it starts, copies of its memory. May touch:
 * /proc/PID. Never does: follow the key chain, since the nonces (RDRAND) are not known here; what a
 * fill computes is check_rng's subject.
 *
 * Run in two builds. In the fallback build each allocation of secret memory ends with a marker,
 * which must be found: it proves that the search sees secret memory.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crypto/chacha20.h"
#include "crypto/rng.h"
#include "daemon/conn.h"
#include "tests/needles.h"
#include "tests/regions.h"
#include "tests/support.h"

#ifdef RNGD_TEST_FALLBACK
#define MARKER "rngd-secmem-mark"
#else
#define MARKER ""
#endif
#define MARKER_BYTES (sizeof(MARKER) - 1)

#ifdef RNGD_SANITIZER
#define IS_SANITIZED true
#else
#define IS_SANITIZED false
#endif

#define PAGE_BYTES       4096u
#define REGION_MAX_BYTES (64u << 20)
#define OUTPUT_MAX_BYTES (512u << 10)
#define KEYS_MAX         64u

/*
 * Two rounds of the timer that guards against lingering sockets in the fallback build: each of its
 * signals puts all registers on the stack, over what was there.
 */
#define SIGNALS_MS 120

struct scan {
	struct support_rngd rngd;
	int mem_fd;
	struct region regions[REGIONS_MAX];
	size_t region_count;
	const struct region *generator, *scratch;
	uint8_t keys[KEYS_MAX][RNG_KEY_BYTES]; /* captured so far; the last is in use */
	size_t key_count;
	uint8_t output[OUTPUT_MAX_BYTES]; /* received so far */
	size_t output_bytes;
	uint64_t reseeds; /* of the daemon, when that was asked last */
	struct needles needles;
};

static struct scan scan;

/* Sleeping means waiting in epoll: the turn that answered us is over, its wiping included. */
static bool is_idle(void *arg)
{
	char path[64], state = '?';
	FILE *file;

	(void)arg;
	snprintf(path, sizeof(path), "/proc/%d/stat", scan.rngd.pid);
	file = fopen(path, "re");
	ck_assert_ptr_nonnull(file);
	if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
		state = '?';
	fclose(file);
	return state == 'S';
}

static void wait_idle(void)
{
	ck_assert(support_wait(is_idle, NULL));
}

/* Copies all writable memory that can be read; everything but memfd_secret memory must be. */
static void copy_memory(void)
{
	scan.generator = NULL;
	scan.scratch = NULL;
	for (size_t i = 0; i < scan.region_count; i++)
		free(scan.regions[i].copy);
	scan.region_count = regions_read(scan.rngd.pid, scan.regions);
	for (size_t i = 0; i < scan.region_count; i++) {
		struct region *region = &scan.regions[i];
		ssize_t n;

		if (region->locked && region->bytes == PAGE_BYTES)
			scan.generator = region;
		else if (region->locked && region->bytes >= CONN_SCRATCH_BYTES + CONN_IN_BYTES &&
			 region->bytes < CONN_SCRATCH_BYTES + CONN_IN_BYTES + PAGE_BYTES)
			scan.scratch = region;
		if (region->secret)
			continue;
		ck_assert_uint_le(region->bytes, REGION_MAX_BYTES);
		region->copy = malloc(region->bytes);
		ck_assert_ptr_nonnull(region->copy);
		n = pread(scan.mem_fd, region->copy, region->bytes, (off_t)region->start);
		ck_assert_msg(n == (ssize_t)region->bytes, "%s at %#lx cannot be read: %s",
			      region->name, (unsigned long)region->start, strerror(errno));
	}
	ck_assert_msg(scan.generator && scan.scratch, "secret memory not found");
}

/* Everything behind the first `used` bytes of an allocation is zero, but for the marker. */
static void check_rest(const struct region *region, size_t used)
{
	size_t marker = region->bytes - MARKER_BYTES;

	for (size_t i = used; i < marker; i++)
		ck_assert_msg(region->copy[i] == 0, "byte %zu of the %s is left over", i,
			      region == scan.generator ? "generator's page" : "scratch");
	ck_assert_mem_eq(region->copy + marker, MARKER, MARKER_BYTES);
}

/* Says what was found, and where. */
static void found(const char *when, const struct region *region, size_t at)
{
	bool is_key = false;

	for (size_t i = 0; i < scan.key_count; i++)
		is_key |= memmem(scan.keys[i], RNG_KEY_BYTES, region->copy + at, 8) != NULL;
	ck_abort_msg("%s: a piece of %s is left in %s at %#lx, %zu below its end", when,
		     is_key ? "a key" : "output (or a word of a key, twice)",
		     region->name[0] ? region->name : "anonymous memory",
		     (unsigned long)(region->start + at), region->bytes - at);
}

/* Reads the key in use and adds it to those known; it must be a new one. */
static void capture_key(void)
{
	uint8_t *key = scan.keys[scan.key_count];

	ck_assert_uint_lt(scan.key_count, KEYS_MAX);
	wait_idle();
	ck_assert_int_eq(pread(scan.mem_fd, key, RNG_KEY_BYTES, (off_t)scan.generator->start),
			 RNG_KEY_BYTES);
	for (size_t i = 0; i < scan.key_count; i++)
		for (size_t half = 0; half < RNG_KEY_BYTES; half += 16)
			ck_assert_mem_ne(scan.keys[i] + half, key + half, 16);
	scan.key_count++;
}

/*
 * Copies the memory under the key that was captured last. The daemon may have reseeded since, as
 * the kernel does once a minute or somebody set the clock: then, by its own count of reseeds and
 * some times at most, the new key is captured and the old one is one more to be searched for.
 */
static void copy_under_known_key(void)
{
	for (int i = 0; i < 5; i++) {
		uint64_t reseeds;

		wait_idle();
		copy_memory();
		if (memcmp(scan.generator->copy, scan.keys[scan.key_count - 1], RNG_KEY_BYTES) == 0)
			return;
		reseeds = support_status_number(&scan.rngd, "reseed.count");
		if (reseeds == scan.reseeds)
			return; /* the caller says what is wrong */
		scan.reseeds = reseeds;
		capture_key();
		needles_add_key(&scan.needles, scan.keys[scan.key_count - 1]);
	}
}

/*
 * The search. The key in use is in its place and nowhere else (a copy of it would be one of an old
 * key after the next fill); no old key and no output is anywhere.
 */
static void look(const char *when)
{
	copy_under_known_key();
	check_rest(scan.generator, RNG_KEY_BYTES);
	check_rest(scan.scratch, 0);
	ck_assert_mem_eq(scan.generator->copy, scan.keys[scan.key_count - 1], RNG_KEY_BYTES);
	/* The same search finds the key in use in its place, so it would find another. */
	ck_assert_int_eq(needles_find(&scan.needles, scan.generator->copy, scan.generator->bytes),
			 0);
	memset(scan.generator->copy, 0, RNG_KEY_BYTES);
	for (size_t i = 0; i < scan.region_count; i++) {
		const struct region *region = &scan.regions[i];
		ssize_t at = needles_find(&scan.needles, region->copy, region->bytes);

		if (at >= 0)
			found(when, region, (size_t)at);
	}
}

static void check_memory(const char *when)
{
	memset(&scan.needles, 0, sizeof(scan.needles));
	needles_add(&scan.needles, scan.output, scan.output_bytes);
	for (size_t i = 0; i < scan.key_count; i++)
		needles_add_key(&scan.needles, scan.keys[i]);
	look(when);
#ifdef RNGD_TEST_FALLBACK
	poll(NULL, 0, SIGNALS_MS);
	look(when);
#endif
}

static uint8_t *output_room(size_t len)
{
	uint8_t *at = scan.output + scan.output_bytes;

	ck_assert_uint_le(scan.output_bytes + len, OUTPUT_MAX_BYTES);
	scan.output_bytes += len;
	return at;
}

static void get(int fd, uint32_t count)
{
	support_get_all(fd, 1, output_room(count), count);
}

/* Many requests that the daemon answers in few turns. */
static void get_pipelined(int fd)
{
	static uint8_t text[RNGD_PROTO_STATUS_MAX_BYTES];
	const uint32_t count = 64, requests = 50;
	struct wire_reply reply;

	for (uint32_t i = 0; i < requests; i++)
		support_get(fd, i, count);
	support_request(fd, RNGD_PROTO_OP_STATUS, requests, NULL, 0);
	support_get(fd, requests + 1, count);
	for (uint32_t i = 0; i <= requests + 1; i++) {
		if (i == requests)
			support_reply(fd, &reply, text, sizeof(text));
		else
			support_reply(fd, &reply, output_room(count), count);
		ck_assert_uint_eq(reply.tag, i);
		ck_assert_uint_eq(reply.status, RNGD_PROTO_OK);
	}
}

/* Asks for far more than the socket holds and does not read: the daemon must not keep the rest. */
static int get_unread(void)
{
	int fd = support_connect(&scan.rngd);
	struct pollfd readable = {.fd = fd, .events = POLLIN};

	support_get(fd, 7, 64u << 20);
	ck_assert_int_eq(poll(&readable, 1, SUPPORT_TIMEOUT_S * 1000), 1);
	return fd;
}

/* The frames of the unread request that are there, then the peer goes away in the middle. */
static void read_and_leave(int fd)
{
	struct wire_reply reply;

	for (int i = 0; i < 3; i++) {
		uint8_t *at = output_room(RNGD_PROTO_FRAME_DATA_BYTES);

		support_reply(fd, &reply, at, RNGD_PROTO_FRAME_DATA_BYTES);
		/* A frame is as long as the socket had room for: the rest was not given out. */
		scan.output_bytes -= RNGD_PROTO_FRAME_DATA_BYTES - reply.body_bytes;
	}
	close(fd);
}

static bool key_has_changed(void *arg)
{
	uint8_t key[RNG_KEY_BYTES];

	(void)arg;
	ck_assert_int_eq(pread(scan.mem_fd, key, sizeof(key), (off_t)scan.generator->start),
			 sizeof(key));
	return memcmp(key, scan.keys[scan.key_count - 1], sizeof(key)) != 0;
}

/* Returns a connection. */
static int start(const char *const *options)
{
	char path[64];
	int fd;

	support_start(&scan.rngd, options);
	fd = support_connect(&scan.rngd);
	get(fd, 32); /* it listens before it is up */
	scan.reseeds = support_status_number(&scan.rngd, "reseed.count");
	snprintf(path, sizeof(path), "/proc/%d/mem", scan.rngd.pid);
	scan.mem_fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(scan.mem_fd, 0);
	wait_idle();
	copy_memory();
	return fd;
}

/* Runs the captured key forward, with nonce 0 and the raw keystream of each key on the way. */
static void check_key_reproduces_nothing(void)
{
	static uint8_t made[4096];
	struct rng rng;

	memset(&scan.needles, 0, sizeof(scan.needles));
	needles_add(&scan.needles, scan.output, scan.output_bytes);
	rng_rekey(&rng, scan.keys[scan.key_count - 1]);
	for (int i = 0; i < 200; i++) {
		chacha20_keystream(rng.key, 0, 0, made, sizeof(made));
		ck_assert_int_eq(needles_find(&scan.needles, made, sizeof(made)), -1);
		rng_fill(&rng, 0, made, sizeof(made));
		ck_assert_int_eq(needles_find(&scan.needles, made, sizeof(made)), -1);
	}
}

START_TEST(test_nothing_is_left)
{
	static const char *const options[] = {"--no-memfd-secret", NULL};
	static const uint32_t sizes[] = {16, 32, 33, 4096, 100000};
	int fd, unread;

	fd = start(options);
	capture_key();
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		get(fd, sizes[i]);
		capture_key();
		check_memory("after a GET");
	}
	get_pipelined(fd);
	capture_key();
	check_memory("after pipelined GETs");

	unread = get_unread();
	capture_key();
	check_memory("while a peer does not read");
	read_and_leave(unread);
	capture_key();
	check_memory("after a peer left in the middle");

	ck_assert_int_eq(kill(scan.rngd.pid, SIGHUP), 0);
	ck_assert(support_wait(key_has_changed, NULL));
	capture_key();
	check_memory("after a reseed");
	get(fd, 32);
	capture_key();
	check_memory("after a reseed and a GET");
	check_key_reproduces_nothing();
	close(fd);
	support_stop(&scan.rngd);
}
END_TEST

/* The daemon as it runs by default: its secret memory cannot be read by root, the rest holds
 * nothing. */
START_TEST(test_secret_memory_is_unreadable)
{
	static uint8_t text[RNGD_PROTO_STATUS_MAX_BYTES];
	struct wire_reply reply;
	uint8_t byte;
	int fd;

	fd = start(NULL);
	if (!scan.generator->secret) { /* check_secmem says when the kernel lacks it */
		close(fd);
		support_stop(&scan.rngd);
		return;
	}
	ck_assert(scan.scratch->secret);
	ck_assert_int_eq(pread(scan.mem_fd, &byte, 1, (off_t)scan.generator->start), -1);
	ck_assert_int_eq(errno, EIO);
	ck_assert_int_eq(pread(scan.mem_fd, &byte, 1, (off_t)scan.scratch->start), -1);
	ck_assert_int_eq(errno, EIO);

	get(fd, 32);
	get(fd, 100000);
	get_pipelined(fd);
	wait_idle();
	copy_memory();
	needles_add(&scan.needles, scan.output, scan.output_bytes);
	for (size_t i = 0; i < scan.region_count; i++)
		if (!scan.regions[i].secret)
			ck_assert_msg(needles_find(&scan.needles, scan.regions[i].copy,
						   scan.regions[i].bytes) < 0,
				      "output is left in %s", scan.regions[i].name);

	support_request(fd, RNGD_PROTO_OP_STATUS, 1, NULL, 0);
	support_reply(fd, &reply, text, sizeof(text));
	ck_assert_ptr_nonnull(memmem(text, reply.body_bytes, "memory.secret=true\n", 19));
	close(fd);
	support_stop(&scan.rngd);
}
END_TEST

static void teardown(void)
{
	support_end(&scan.rngd);
}

int main(void)
{
	Suite *suite = suite_create("memory");
	TCase *tcase = tcase_create("memory");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tcase);
	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, NULL, teardown);
	if (IS_SANITIZED) {
		printf("SKIP: memory scan: a sanitizer keeps copies of its own\n");
	} else if (geteuid() != 0) {
		printf("SKIP: memory scan: reading another process's memory needs root\n");
	} else {
		tcase_add_test(tcase, test_nothing_is_left);
		tcase_add_test(tcase, test_secret_memory_is_unreadable);
	}
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
