/*
 * check_reseed - when the generator is reseeded, with what, and what is served when it cannot be.
 * Owns: threads whose getrandom() fails. May touch: the state's bytes, the fields that hold time
 * and volume. Never does: wait for a minute to pass; it moves the time of the last seed instead.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <seccomp.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "crypto/rng.h"
#include "daemon/hash.h"
#include "daemon/reseed.h"
#include "host/cpu.h"
#include "tests/quiet_epoch.h"
#include "tests/support.h"

#define INTERVAL_MS 60000
#define OUT_BYTES   4096u
#define UNTOUCHED   0xee

/* In the secret memory, in this order: keys and message, what bumps and clients brought. */
#define SCRATCH_END    (sizeof(struct rng) + RNG_KEY_BYTES + ENTROPY_MESSAGE_BYTES)
#define POOL_AT        (SCRATCH_END + HASH_BYTES)
#define NEXT_DIGEST_AT (POOL_AT + HASH_BYTES)

static const char *const reason_names[] = {
    [RESEED_AGE] = "age",    [RESEED_VOLUME] = "volume", [RESEED_REQUEST] = "request",
    [RESEED_EPOCH] = "test", [RESEED_FOLLOW] = "follow",
};

/* What the last hash was made of. */
struct hashed {
	uint8_t key[RNG_KEY_BYTES];
	uint8_t message[ENTROPY_MESSAGE_BYTES];
	size_t message_bytes;
	uint8_t out[RNG_KEY_BYTES];
	unsigned count;
};

static struct hashed hashed;
static struct reseed reseed;
static struct quiet_epoch quiet;
static uint64_t first_generation; /* of a page that nobody can map: no number comes twice */

/* What is hashed that is no reseed: a bump's bytes, an event's id. */
static struct hashed hashed_else;

/* Stands in for libsodium's one-call form to see what goes in; the other form computes it. */
int crypto_generichash_blake2b(unsigned char *out, size_t outlen, const unsigned char *in,
			       unsigned long long inlen, const unsigned char *key, size_t keylen)
{
	crypto_generichash_blake2b_state state;
	bool is_reseed = inlen >= ENTROPY_TAG_BYTES && memcmp(in, "rngd reseed v1", 15) == 0;
	struct hashed *seen = is_reseed ? &hashed : &hashed_else;

	ck_assert((keylen == RNG_KEY_BYTES || !is_reseed) && outlen == RNG_KEY_BYTES);
	ck_assert_uint_le(inlen, sizeof(seen->message));
	ck_assert_uint_le(keylen, sizeof(seen->key));
	if (keylen > 0)
		memcpy(seen->key, key, keylen);
	memcpy(seen->message, in, (size_t)inlen);
	seen->message_bytes = (size_t)inlen;
	seen->count++;
	crypto_generichash_blake2b_init(&state, key, keylen, outlen);
	crypto_generichash_blake2b_update(&state, in, inlen);
	crypto_generichash_blake2b_final(&state, out, outlen);
	memcpy(seen->out, out, outlen);
	return 0;
}

/* The generator's key stands first in the secret memory. */
static const uint8_t *key(void)
{
	return reseed.mem.data;
}

static bool all_bytes_are(const void *bytes, size_t len, uint8_t value)
{
	const uint8_t *at = bytes;

	return len == 0 || (at[0] == value && memcmp(at, at + 1, len - 1) == 0);
}

static void setup(void)
{
	ck_assert_int_ge(sodium_init(), 0);
	quiet_epoch_init(&quiet);
	first_generation = quiet.epoch.generation;
	ck_assert_int_eq(reseed_init(&reseed, &quiet.epoch, INTERVAL_MS, true), 0);
}

static void teardown(void)
{
	reseed_deinit(&reseed);
	ck_assert_ptr_null(reseed.mem.data);
	quiet_epoch_deinit(&quiet);
}

/* Serves, and says how many reseeds that took. */
static uint64_t reseeds_under(size_t len, uint64_t expected_generation)
{
	uint64_t count = reseed.count, generation = 0;
	uint8_t out[OUT_BYTES];

	ck_assert_int_eq(reseed_fill(&reseed, out, len, &generation), 0);
	ck_assert_uint_eq(generation, expected_generation);
	return reseed.count - count;
}

static uint64_t reseeds_of_a_fill(size_t len)
{
	return reseeds_under(len, first_generation);
}

START_TEST(first_seed)
{
	static const uint8_t zero[RNG_KEY_BYTES];

	ck_assert_uint_eq(reseed.count, 1);
	ck_assert_str_eq(reseed.last_reason, "start");
	ck_assert_int_eq(reseed.error, 0);
	ck_assert_uint_eq(reseed.failures, 0);
	ck_assert_uint_eq(quiet.epoch.generation, first_generation);
	ck_assert_uint_eq(reseed.bytes_since_seed, 0);
	ck_assert_int_ge(reseed_age_ms(&reseed), 0);
	ck_assert_int_lt(reseed_age_ms(&reseed), INTERVAL_MS);
	ck_assert(reseed.mem.locked);
	ck_assert_uint_eq(hashed.count, 1);
	ck_assert_mem_eq(hashed.key, zero, sizeof(zero));
	ck_assert_mem_eq(key(), hashed.out, RNG_KEY_BYTES);
}
END_TEST

/* The old key and the whole message make the new key, and nothing of the seed stays behind. */
START_TEST(reseed_mixes_into_the_old_key)
{
	uint8_t old[RNG_KEY_BYTES];

	for (unsigned i = 2; i < 10; i++) {
		memcpy(old, key(), sizeof(old));
		reseed_want(&reseed, RESEED_REQUEST);
		ck_assert_int_eq(reseed_check(&reseed, EPOCH_ALL), 0);
		ck_assert_uint_eq(hashed.count, i);
		ck_assert_mem_eq(hashed.key, old, sizeof(old));
		ck_assert_uint_gt(hashed.message_bytes, ENTROPY_TAG_BYTES);
		ck_assert_str_eq((const char *)hashed.message, "rngd reseed v1");
		ck_assert_mem_eq(key(), hashed.out, RNG_KEY_BYTES);
		ck_assert_mem_ne(key(), old, sizeof(old));
		ck_assert(all_bytes_are(key() + RNG_KEY_BYTES, SCRATCH_END - RNG_KEY_BYTES, 0));
	}
}
END_TEST

/* What is served is the generator's output from the state's key, byte for byte. */
START_TEST(fill_is_the_generator)
{
	static const size_t lens[] = {0, 1, 32, 33, OUT_BYTES};
	uint8_t expected[OUT_BYTES], out[OUT_BYTES + 1];
	uint64_t generation;
	struct rng rng;

	reseed.use_rdrand = false;
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		memset(out, UNTOUCHED, sizeof(out));
		memcpy(rng.key, key(), sizeof(rng.key));
		rng_fill(&rng, 0, expected, lens[i]);
		ck_assert_int_eq(reseed_fill(&reseed, out, lens[i], &generation), 0);
		ck_assert(memcmp(out, expected, lens[i]) == 0);
		ck_assert_mem_eq(key(), rng.key, sizeof(rng.key));
		ck_assert(all_bytes_are(out + lens[i], sizeof(out) - lens[i], UNTOUCHED));
	}
	ck_assert_uint_eq(reseed.bytes_since_seed, 0 + 1 + 32 + 33 + OUT_BYTES);
	ck_assert_uint_eq(reseed.count, 1);
}
END_TEST

/* Two copies of one state, as in a cloned machine, part at the first fill. */
START_TEST(rdrand_parts_copies)
{
	uint8_t copy[RNG_KEY_BYTES], out[2][32];
	uint64_t generation;

	if (!cpu_has_rdrand()) {
		printf("SKIP: this processor has no RDRAND\n");
		return;
	}
	ck_assert(reseed.use_rdrand);
	memcpy(copy, key(), sizeof(copy));
	ck_assert_int_eq(reseed_fill(&reseed, out[0], sizeof(out[0]), &generation), 0);
	memcpy(reseed.mem.data, copy, sizeof(copy));
	ck_assert_int_eq(reseed_fill(&reseed, out[1], sizeof(out[1]), &generation), 0);
	ck_assert_mem_ne(out[0], out[1], sizeof(out[0]));
}
END_TEST

START_TEST(nothing_is_done_before_it_is_due)
{
	uint8_t old[RNG_KEY_BYTES];

	memcpy(old, key(), sizeof(old));
	reseed.seeded_at_ms -= INTERVAL_MS / 2;
	reseed.bytes_since_seed = RESEED_MAX_BYTES - 1;
	ck_assert_int_eq(reseed_check(&reseed, EPOCH_ALL), 0);
	ck_assert_uint_eq(reseed.count, 1);
	ck_assert_mem_eq(key(), old, sizeof(old));
	ck_assert_uint_eq(reseeds_of_a_fill(1), 0);
	ck_assert_uint_eq(reseeds_of_a_fill(1), 1);
}
END_TEST

/* As after a clone whose own reseed is done, a second later. */
static void follow(void)
{
	quiet.epoch.follow_until_ms = support_now_ms() + INTERVAL_MS;
	reseed.seeded_at_ms -= RESEED_FOLLOW_MS;
}

static void make_due(enum reseed_reason reason)
{
	if (reason == RESEED_AGE)
		reseed.seeded_at_ms -= INTERVAL_MS;
	else if (reason == RESEED_VOLUME)
		reseed.bytes_since_seed = RESEED_MAX_BYTES;
	else if (reason == RESEED_EPOCH)
		quiet_epoch_move(&quiet);
	else if (reason == RESEED_FOLLOW)
		follow();
	else
		reseed_want(&reseed, reason);
}

START_TEST(each_reason_reseeds_once)
{
	make_due((enum reseed_reason)_i);
	ck_assert_uint_eq(reseed.count, 1); /* that it is due does nothing by itself */
	ck_assert_uint_eq(reseeds_of_a_fill(16), 1);
	ck_assert_str_eq(reseed.last_reason, reason_names[_i]);
	ck_assert_int_eq(reseed.pending, RESEED_NONE);
	ck_assert_int_lt(reseed_age_ms(&reseed), INTERVAL_MS);
	ck_assert_uint_eq(reseed.bytes_since_seed, 16);
	ck_assert_uint_eq(reseeds_of_a_fill(16), 0);
}
END_TEST

static bool has_aged(void *arg)
{
	(void)arg;
	return reseed_check(&reseed, EPOCH_ALL) == 0 && strcmp(reseed.last_reason, "age") == 0;
}

/* The real clock, with an interval that a test can wait for; the timer's way, without a fill. */
START_TEST(age_by_the_clock)
{
	reseed.interval_ms = 30;
	ck_assert(support_wait(has_aged, NULL));
}
END_TEST

/* For this thread and for good, getrandom() with these flags fails. */
static void lose_the_kernel(uint64_t flags)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);

	ck_assert_ptr_nonnull(ctx);
	ck_assert_int_eq(seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EIO), SCMP_SYS(getrandom), 1,
					  SCMP_A2(SCMP_CMP_EQ, flags)),
			 0);
	ck_assert_int_eq(seccomp_load(ctx), 0);
	seccomp_release(ctx);
}

/* Runs it in a thread: what that loses is not lost to the next. */
static void in_thread(void *(*run)(void *))
{
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, run, NULL), 0);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
}

/* Not a byte, not a generation, and the state stays as it is. */
static void expect_refusal(void)
{
	uint8_t old[RNG_KEY_BYTES], out[OUT_BYTES];
	uint64_t generation = 0;

	memcpy(old, key(), sizeof(old));
	memset(out, UNTOUCHED, sizeof(out));
	ck_assert_int_eq(reseed_fill(&reseed, out, sizeof(out), &generation), RESEED_E_UNAVAILABLE);
	ck_assert(all_bytes_are(out, sizeof(out), UNTOUCHED));
	ck_assert_uint_eq(generation, 0);
	ck_assert_mem_eq(key(), old, sizeof(old));
	ck_assert(all_bytes_are(key() + RNG_KEY_BYTES, SCRATCH_END - RNG_KEY_BYTES, 0));
	ck_assert_int_eq(reseed.error, -EIO);
	ck_assert_uint_eq(reseed.count, 1);
}

/* The pause doubles from try to try; in between, the kernel is not asked. */
static void *run_backoff(void *arg)
{
	int64_t backoff_ms = RESEED_BACKOFF_MIN_MS;

	lose_the_kernel(GRND_NONBLOCK);
	for (uint64_t failures = 1; failures <= 10; failures++) {
		expect_refusal();
		ck_assert_uint_eq(reseed.failures, failures);
		ck_assert_int_eq(reseed.backoff_ms, backoff_ms);
		reseed.retry_at_ms += INTERVAL_MS; /* a slow machine cannot reach it */
		expect_refusal();
		ck_assert_int_eq(reseed_check(&reseed, EPOCH_ALL), RESEED_E_UNAVAILABLE);
		ck_assert_uint_eq(reseed.failures, failures);
		reseed.retry_at_ms -= INTERVAL_MS + backoff_ms;
		backoff_ms = backoff_ms < 2500 ? 2 * backoff_ms : RESEED_BACKOFF_MAX_MS;
	}
	return arg;
}

static bool was_told_one_line(int fd)
{
	char text[OUT_BYTES];
	ssize_t n = read(fd, text, sizeof(text));

	return n > 0 && memchr(text, '\n', (size_t)n) == text + n - 1;
}

/* However it became due: while the reseed fails nothing is served, and afterwards all is well. */
START_TEST(failure_refuses_until_success)
{
	int fds[2];

	ck_assert_int_eq(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	dup2(fds[1], STDERR_FILENO);
	make_due((enum reseed_reason)_i);
	in_thread(run_backoff);
	ck_assert(was_told_one_line(fds[0])); /* not one a try */

	reseed.retry_at_ms += INTERVAL_MS; /* the kernel is back, but it is not time yet */
	expect_refusal();
	reseed.retry_at_ms -= INTERVAL_MS;
	ck_assert_uint_eq(reseeds_of_a_fill(16), 1);
	ck_assert_str_eq(reseed.last_reason, reason_names[_i]);
	ck_assert_int_eq(reseed.error, 0);
	ck_assert(was_told_one_line(fds[0]));
	ck_assert_uint_eq(reseed.failures, 10);
	ck_assert_int_eq(reseed.backoff_ms, 0); /* the next failure starts small again */
}
END_TEST

static void *run_one_failure(void *arg)
{
	lose_the_kernel(GRND_NONBLOCK);
	reseed_want(&reseed, RESEED_REQUEST);
	expect_refusal();
	return arg;
}

static bool retry_worked(void *arg)
{
	(void)arg;
	return reseed_check(&reseed, EPOCH_ALL) == 0;
}

/* A detector over a word that fills write themselves: it moves while bytes are made, every time. */
static void watch_own_output(uint8_t **out)
{
	struct epoch_detector *detector = &quiet.epoch.detectors[EPOCH_ROW_SOURCE];
	int fd = memfd_create("source", MFD_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, OUT_BYTES), 0);
	*out = mmap(NULL, OUT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(*out, MAP_FAILED);
	detector->fd = fd;
	detector->ops->start(detector, fd, "own output");
	ck_assert_int_eq(detector->state, EPOCH_ACTIVE);
}

/* What a detector moved over is never handed out: made anew twice, then refused, and wiped. */
START_TEST(a_fill_that_a_detector_moves_over_is_thrown_away)
{
	uint64_t count = reseed.count, generation = 0;
	uint8_t *out;

	watch_own_output(&out);
	ck_assert_int_eq(reseed_fill(&reseed, out, OUT_BYTES, &generation), RESEED_E_AGAIN);
	ck_assert(all_bytes_are(out, OUT_BYTES, 0));
	ck_assert_uint_eq(generation, 0);
	ck_assert_uint_eq(reseed.restarts, RESEED_RESTARTS + 1);
	ck_assert_uint_eq(reseed.count - count, RESEED_RESTARTS); /* one before each new try */
	ck_assert_uint_gt(quiet.epoch.generation, first_generation);
	/* The storm over, all is well, and the newest generation is named. */
	ck_assert_int_eq(reseed_fill(&reseed, out + 4, OUT_BYTES - 4, &generation), 0);
	ck_assert_uint_eq(generation, quiet.epoch.generation);
}
END_TEST

/* Without RDRAND, bytes of a state that a sibling may have too are not handed out. */
START_TEST(a_possible_twin_is_refused)
{
	uint8_t bytes[16], *out;
	uint64_t generation = 0;

	watch_own_output(&out);
	quiet.epoch.detectors[EPOCH_ROW_KERNEL].state = EPOCH_ACTIVE;
	reseed.use_rdrand = false;
	out[0] ^= 1;
	memset(bytes, UNTOUCHED, sizeof(bytes));
	ck_assert_int_eq(reseed_fill(&reseed, bytes, sizeof(bytes), &generation), RESEED_E_AGAIN);
	ck_assert(all_bytes_are(bytes, sizeof(bytes), UNTOUCHED));
	quiet.epoch.follow_until_ms = 0; /* the kernel's reseed was seen */
	ck_assert_int_eq(reseed_fill(&reseed, bytes, sizeof(bytes), &generation), 0);
	out[0] ^= 1;
	reseed.use_rdrand = true;
	ck_assert_int_eq(reseed_fill(&reseed, bytes, sizeof(bytes), &generation), 0);
}
END_TEST

/* Before: a state older than what a detector says by now makes nothing. */
START_TEST(a_fill_asks_the_detectors_first)
{
	uint8_t old[RNG_KEY_BYTES], bytes[16];
	uint64_t generation;
	uint8_t *out;

	watch_own_output(&out);
	memcpy(old, key(), sizeof(old));
	out[0] ^= 1;
	ck_assert_int_eq(reseed_fill(&reseed, bytes, sizeof(bytes), &generation), 0);
	ck_assert_uint_eq(hashed.count, 2);
	ck_assert_mem_eq(hashed.key, old, sizeof(old)); /* mixed before a byte was made of it */
	ck_assert_str_eq(reseed.last_reason, "epoch_source");
	ck_assert_uint_eq(generation, first_generation + 1);
	ck_assert_uint_eq(reseeds_under(16, first_generation + 1), 0);
}
END_TEST

/* The kernel's log is read after the bytes are made alone: what it said before is found there. */
START_TEST(a_line_from_before_the_fill_is_found_after_it)
{
	static const char line[] = "5,10,99,-;random: crng reseeded due to virtual machine fork\n";
	struct epoch_detector *detector = &quiet.epoch.detectors[EPOCH_ROW_KMSG];
	uint8_t old[RNG_KEY_BYTES], bytes[16], again[16];
	struct rng rng;
	uint64_t generation;
	int log[2];

	ck_assert_int_eq(pipe2(log, O_CLOEXEC | O_NONBLOCK | O_DIRECT), 0);
	detector->fd = log[0];
	detector->ops->start(detector, log[0], "the log");
	ck_assert_int_eq(detector->state, EPOCH_ACTIVE);
	reseed.use_rdrand = false;
	quiet.epoch.twin = false;
	memcpy(old, key(), sizeof(old));
	ck_assert_int_eq(write(log[1], line, sizeof(line) - 1), (ssize_t)sizeof(line) - 1);
	ck_assert_int_eq(reseed_fill(&reseed, bytes, sizeof(bytes), &generation), 0);
	ck_assert_uint_eq(generation, first_generation + 1);
	ck_assert_uint_eq(reseed.restarts, 1);
	ck_assert_str_eq(reseed.last_reason, "kmsg");
	/* What the state of before would have given was not given. */
	memcpy(rng.key, old, sizeof(old));
	rng_fill(&rng, 0, again, sizeof(again));
	ck_assert_mem_ne(bytes, again, sizeof(bytes));
	ck_assert_int_eq(reseed_fill(&reseed, bytes, sizeof(bytes), &generation), 0);
	ck_assert_uint_eq(reseed.restarts, 1);
	close(log[1]);
}
END_TEST

static bool message_has(const void *bytes, size_t len)
{
	return memmem(hashed.message, hashed.message_bytes, bytes, len) != NULL;
}

/* Siblings share the key, the kernel's bytes and the clocks: what tells them apart must be hashed.
 */
START_TEST(the_message_has_what_tells_siblings_apart)
{
	const uint8_t word[4] = {0xde, 0xad, 0xbe, 0xef};
	uint8_t bytes[64], *out, first[HASH_BYTES];

	watch_own_output(&out);
	memcpy(out, word, sizeof(word));
	ck_assert_int_eq(reseed_check(&reseed, EPOCH_ALL), 0);
	ck_assert(message_has(word, sizeof(word)));

	memset(bytes, 'h', sizeof(bytes));
	ck_assert_int_eq(reseed_host(&reseed, bytes, sizeof(bytes)), 0);
	memcpy(first, hashed_else.out, sizeof(first));
	epoch_bump(&quiet.epoch, bytes, sizeof(bytes));
	ck_assert_int_eq(reseed_check(&reseed, EPOCH_ALL), 0);
	ck_assert_str_eq(reseed.last_reason, "host");
	ck_assert(message_has(first, sizeof(first)));
	/* And in every later one, with all that came since. */
	bytes[0] = 'i';
	ck_assert_int_eq(reseed_host(&reseed, bytes, sizeof(bytes)), 0);
	ck_assert_mem_eq(hashed_else.key, first, sizeof(first));
	memcpy(first, hashed_else.out, sizeof(first));
	reseed_want(&reseed, RESEED_REQUEST);
	ck_assert_int_eq(reseed_check(&reseed, EPOCH_ALL), 0);
	ck_assert(message_has(first, sizeof(first)));
	ck_assert(all_bytes_are(key() + NEXT_DIGEST_AT, HASH_BYTES, 0));
}
END_TEST

/* The row of the last message with this id; NULL: there is none. */
static const uint8_t *row_of(uint8_t id, size_t *len)
{
	size_t at = ENTROPY_TAG_BYTES;

	while (at + 3 <= hashed.message_bytes) {
		*len = (size_t)hashed.message[at + 1] << 8 | hashed.message[at + 2];
		if (hashed.message[at] == id)
			return hashed.message + at + 3;
		at += 3 + *len;
	}
	ck_assert_uint_eq(at, hashed.message_bytes);
	return NULL;
}

static void contribute(const char *bytes, uint8_t digest[HASH_BYTES])
{
	uint8_t before[HASH_BYTES], old_key[RNG_KEY_BYTES];
	uint64_t count = reseed.count;

	memcpy(before, key() + POOL_AT, sizeof(before));
	memcpy(old_key, key(), sizeof(old_key));
	ck_assert_int_eq(reseed_contribute(&reseed, bytes, strlen(bytes)), 0);
	ck_assert_mem_eq(hashed_else.key, before, sizeof(before));
	ck_assert_uint_eq(hashed_else.message_bytes, strlen(bytes));
	ck_assert_mem_eq(hashed_else.message, bytes, strlen(bytes));
	memcpy(digest, hashed_else.out, HASH_BYTES);
	ck_assert_mem_eq(key() + POOL_AT, digest, HASH_BYTES);
	ck_assert(all_bytes_are(key() + NEXT_DIGEST_AT, HASH_BYTES, 0));
	/* It is no reseed, and makes none due. */
	ck_assert_uint_eq(reseeds_of_a_fill(16), 0);
	ck_assert_uint_eq(reseed.count, count);
}

static void expect_pool_in_message(const uint8_t digest[HASH_BYTES])
{
	size_t len;

	ck_assert_ptr_nonnull(row_of(ENTROPY_ID_KERNEL, &len));
	ck_assert_uint_eq(len, 32);
	ck_assert_ptr_nonnull(row_of(8, &len));
	ck_assert_uint_eq(len, HASH_BYTES);
	ck_assert_mem_eq(row_of(8, &len), digest, HASH_BYTES);
	ck_assert_uint_eq(reseed.contributed, 0);
	ck_assert(all_bytes_are(key() + POOL_AT, HASH_BYTES, 0));
}

static void *run_contributed_failure(void *arg)
{
	lose_the_kernel(GRND_NONBLOCK);
	reseed_want(&reseed, RESEED_REQUEST);
	ck_assert_int_eq(reseed_check(&reseed, EPOCH_ALL), RESEED_E_UNAVAILABLE);
	return arg;
}

/* Into the next seed, beside the kernel's bytes, and into no other. */
START_TEST(contributed_bytes_go_into_one_seed)
{
	uint8_t digest[HASH_BYTES], old[RNG_KEY_BYTES];
	size_t len;

	ck_assert_ptr_null(row_of(8, &len));
	contribute("abc", digest);
	contribute("d", digest);
	ck_assert_uint_eq(reseed.contributed, 4);
	memcpy(old, key(), sizeof(old));
	reseed_want(&reseed, RESEED_REQUEST);
	ck_assert_int_eq(reseed_check(&reseed, EPOCH_ALL), 0);
	expect_pool_in_message(digest);
	ck_assert_mem_eq(hashed.key, old, sizeof(old));
	ck_assert(all_bytes_are(key() + NEXT_DIGEST_AT, HASH_BYTES, 0));
	ck_assert(all_bytes_are(key() + SCRATCH_END, HASH_BYTES, 0)); /* no bump brought any */
	reseed_want(&reseed, RESEED_REQUEST);
	ck_assert_int_eq(reseed_check(&reseed, EPOCH_ALL), 0);
	ck_assert_ptr_null(row_of(8, &len));
}
END_TEST

/* Without the kernel there is no seed of them; they wait for the one there is. */
START_TEST(contributed_bytes_outlive_a_failure)
{
	unsigned count = hashed.count;
	uint8_t digest[HASH_BYTES];

	contribute("abc", digest);
	in_thread(run_contributed_failure);
	ck_assert_uint_eq(hashed.count, count);
	ck_assert_uint_eq(reseed.contributed, 3);
	ck_assert_mem_eq(key() + POOL_AT, digest, HASH_BYTES);
	/* Nor do more of them help. */
	ck_assert_int_eq(reseed_contribute(&reseed, "d", 1), 0);
	memcpy(digest, hashed_else.out, HASH_BYTES);
	ck_assert_int_eq(reseed_check(&reseed, EPOCH_ALL), RESEED_E_UNAVAILABLE);
	reseed.retry_at_ms = 0;
	ck_assert_int_eq(reseed_check(&reseed, EPOCH_ALL), 0);
	expect_pool_in_message(digest);
}
END_TEST

/* By the real clock: the retry comes when its time has come. */
START_TEST(retry_by_the_clock)
{
	int64_t start_ms = support_now_ms();

	in_thread(run_one_failure);
	ck_assert(support_wait(retry_worked, NULL));
	ck_assert_int_ge(support_now_ms() - start_ms, RESEED_BACKOFF_MIN_MS - 1);
}
END_TEST

static void *run_start(void *arg)
{
	static const struct reseed zero;
	struct reseed other;

	lose_the_kernel(0);
	ck_assert_int_eq(reseed_init(&other, &quiet.epoch, INTERVAL_MS, true), -EIO);
	ck_assert_mem_eq(&other, &zero, sizeof(other));
	/* And only the start waits for the kernel: later a wait would stop every client. */
	reseed_want(&reseed, RESEED_REQUEST);
	ck_assert_int_eq(reseed_check(&reseed, EPOCH_ALL), 0);
	return arg;
}

START_TEST(no_first_seed_no_generator)
{
	in_thread(run_start);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("reseed");
	TCase *tcase = tcase_create("reseed");
	SRunner *sr = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, SUPPORT_TIMEOUT_S);
	tcase_add_test(tcase, first_seed);
	tcase_add_test(tcase, reseed_mixes_into_the_old_key);
	tcase_add_test(tcase, fill_is_the_generator);
	tcase_add_test(tcase, rdrand_parts_copies);
	tcase_add_test(tcase, nothing_is_done_before_it_is_due);
	tcase_add_loop_test(tcase, each_reason_reseeds_once, RESEED_AGE, RESEED_FOLLOW + 1);
	tcase_add_test(tcase, age_by_the_clock);
	tcase_add_loop_test(tcase, failure_refuses_until_success, RESEED_AGE, RESEED_FOLLOW + 1);
	tcase_add_test(tcase, a_fill_that_a_detector_moves_over_is_thrown_away);
	tcase_add_test(tcase, a_fill_asks_the_detectors_first);
	tcase_add_test(tcase, a_line_from_before_the_fill_is_found_after_it);
	tcase_add_test(tcase, a_possible_twin_is_refused);
	tcase_add_test(tcase, the_message_has_what_tells_siblings_apart);
	tcase_add_test(tcase, contributed_bytes_go_into_one_seed);
	tcase_add_test(tcase, contributed_bytes_outlive_a_failure);
	tcase_add_test(tcase, retry_by_the_clock);
	tcase_add_test(tcase, no_first_seed_no_generator);
	suite_add_tcase(suite, tcase);
	srunner_set_fork_status(sr, CK_FORK);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
