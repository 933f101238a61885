/*
 * Owns: the table. May touch: getrandom, the processor's instructions, clocks, the log.
 * Never does: decide when to reseed, block after start, or keep a byte that it put in a message.
 */
#include "daemon/entropy.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "daemon/log.h"
#include "host/cpu.h"
#include "host/secmem.h"

/* A 256-bit seed's worth from each source that claims to be random by itself. */
#define ENTROPY_WORDS 4u

static const uint8_t entropy_tag[ENTROPY_TAG_BYTES] = "rngd reseed v1";

/* Most bytes one source gives. */
#define ENTROPY_SOURCE_MAX_BYTES 32u

struct entropy_source {
	enum entropy_id id;
	const char *name;
	bool required;
	/*
	 * Writes up to ENTROPY_SOURCE_MAX_BYTES; the count, -ENODEV when absent, -EBADMSG when
	 * a health test failed, now or before, or another errno.
	 */
	int (*gather)(struct entropy *entropy, uint8_t *out, bool may_block);
};

static int ask_kernel(uint8_t out[HEALTH_OUTPUT_BYTES], bool may_block)
{
	size_t done = 0;
	ssize_t n;

	/*
	 * The system call itself: a C library with a generator of its own in front of it
	 * would be one more copy of state that a clone duplicates.
	 */
	while (done < HEALTH_OUTPUT_BYTES) {
		n = syscall(SYS_getrandom, out + done, HEALTH_OUTPUT_BYTES - done,
			    may_block ? 0 : GRND_NONBLOCK);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += (size_t)n;
	}
	return 0;
}

/*
 * Asks twice. The second answer is for the test alone: it is what the next one is compared with,
 * and a copy of the first would explain the seed. Two calls, since one answer that is given again
 * and again need not have two equal halves.
 */
static int gather_kernel(struct entropy *entropy, uint8_t *out, bool may_block)
{
	uint8_t spare[HEALTH_OUTPUT_BYTES];
	int err;

	if (entropy->kernel.failed)
		return -EBADMSG;
	err = ask_kernel(out, may_block);
	if (!err)
		err = ask_kernel(spare, may_block);
	if (err)
		return err;
	if (health_test_output(&entropy->kernel, out, spare) == 0)
		return (int)HEALTH_OUTPUT_BYTES;
	log_event(LOG_EVENT_SOURCE_BROKEN, LOG_LEVEL_ERROR,
		  "the kernel's generator is broken: %s; nothing is made from it any more",
		  health_error(entropy->kernel.failed));
	return -EBADMSG;
}

static int test_words(struct entropy_raw *raw, const char *name, const uint64_t *words,
		      size_t count)
{
	if (health_test_words(&raw->health, words, count) == 0)
		return 0;
	log_event(LOG_EVENT_SOURCE_BROKEN, LOG_LEVEL_ERROR,
		  "%s is broken: %s; it is left out until rngd starts anew", name,
		  health_error(raw->health.failed));
	return -EBADMSG;
}

/* These words are used for nothing else. What was tested before the source ran dry counts. */
static int test_at_start(struct entropy_raw *raw, const char *name, bool (*read_word)(uint64_t *))
{
	uint64_t word;
	int err = 0;

	while (raw->tested_words < HEALTH_START_WORDS && !err) {
		if (!read_word(&word))
			return -EIO;
		raw->tested_words++;
		err = test_words(raw, name, &word, 1);
	}
	return err;
}

/* One word more than the message gets: the last stays in the tests' state. */
static int gather_words(struct entropy_raw *raw, const char *name, uint8_t *out, bool present,
			bool (*read_word)(uint64_t *))
{
	uint64_t words[ENTROPY_WORDS + 1];
	int err;

	if (!present)
		return -ENODEV;
	if (raw->health.failed)
		return -EBADMSG;
	err = test_at_start(raw, name, read_word);
	for (size_t i = 0; i < ENTROPY_WORDS + 1 && !err; i++)
		if (!read_word(&words[i]))
			err = -EIO;
	if (!err)
		err = test_words(raw, name, words, ENTROPY_WORDS + 1);
	if (!err)
		memcpy(out, words, ENTROPY_WORDS * sizeof(words[0]));
	wipe(words, sizeof(words));
	return err ? err : (int)(ENTROPY_WORDS * sizeof(words[0]));
}

static int gather_rdseed(struct entropy *entropy, uint8_t *out, bool may_block)
{
	(void)may_block;
	return gather_words(&entropy->rdseed, "RDSEED", out, cpu_has_rdseed(), cpu_rdseed64);
}

static int gather_rdrand(struct entropy *entropy, uint8_t *out, bool may_block)
{
	(void)may_block;
	return gather_words(&entropy->rdrand, "RDRAND", out, cpu_has_rdrand(), cpu_rdrand64);
}

/* Counter and clocks get no health test: nothing is claimed of them that one could find missing. */
static int gather_cycles(struct entropy *entropy, uint8_t *out, bool may_block)
{
	uint64_t cycles = cpu_cycles();

	(void)entropy;
	(void)may_block;
	if (cycles == 0)
		return -ENODEV;
	memcpy(out, &cycles, sizeof(cycles));
	return (int)sizeof(cycles);
}

static int gather_clocks(struct entropy *entropy, uint8_t *out, bool may_block)
{
	static const clockid_t clocks[] = {CLOCK_REALTIME, CLOCK_BOOTTIME};
	struct timespec now;

	(void)entropy;
	(void)may_block;
	for (size_t i = 0; i < sizeof(clocks) / sizeof(clocks[0]); i++) {
		if (clock_gettime(clocks[i], &now) < 0)
			return -errno;
		memcpy(out + i * sizeof(now), &now, sizeof(now));
	}
	return (int)sizeof(now) * 2;
}

static const struct entropy_source entropy_sources[ENTROPY_SOURCES] = {
    {ENTROPY_ID_KERNEL, "kernel", true, gather_kernel},
    {ENTROPY_ID_RDSEED, "rdseed", false, gather_rdseed},
    {ENTROPY_ID_RDRAND, "rdrand", false, gather_rdrand},
    {ENTROPY_ID_CYCLES, "cycles", false, gather_cycles},
    {ENTROPY_ID_CLOCKS, "clocks", false, gather_clocks},
};

/* Id and length, before each row's bytes. */
#define ENTROPY_ROW_HEAD_BYTES 3u

_Static_assert(ENTROPY_TAG_BYTES +
		       ENTROPY_SOURCES * (ENTROPY_ROW_HEAD_BYTES + ENTROPY_SOURCE_MAX_BYTES) +
		       ENTROPY_GIVEN_MAX_BYTES <=
		   ENTROPY_MESSAGE_BYTES,
	       "everything at its most fits the message");
_Static_assert(HEALTH_OUTPUT_BYTES <= ENTROPY_SOURCE_MAX_BYTES, "the kernel's output fits");
_Static_assert(ENTROPY_WORDS * sizeof(uint64_t) <= ENTROPY_SOURCE_MAX_BYTES, "words fit");
_Static_assert(2 * sizeof(struct timespec) <= ENTROPY_SOURCE_MAX_BYTES, "clocks fit");

static uint8_t *put_row_head(uint8_t *at, enum entropy_id id, size_t bytes)
{
	at[0] = (uint8_t)id;
	at[1] = (uint8_t)(bytes >> 8);
	at[2] = (uint8_t)bytes;
	return at + ENTROPY_ROW_HEAD_BYTES + bytes;
}

/* Asks every source, each into the place where its bytes stay. 0 or a negative errno. */
static int put_sources(struct entropy *entropy, bool may_block, uint8_t **at)
{
	int err = 0;

	for (size_t i = 0; i < ENTROPY_SOURCES; i++) {
		const struct entropy_source *source = &entropy_sources[i];
		int n = source->gather(entropy, *at + ENTROPY_ROW_HEAD_BYTES, may_block);

		if (n < 0) {
			entropy->states[i] = n == -ENODEV ? ENTROPY_ABSENT : ENTROPY_FAILED;
			if (source->required && !err)
				err = n;
			continue;
		}
		entropy->states[i] = ENTROPY_ACTIVE;
		*at = put_row_head(*at, source->id, (size_t)n);
	}
	return err;
}

static int put_given(const struct entropy_given *given, size_t count, uint8_t **at)
{
	size_t room = ENTROPY_GIVEN_MAX_BYTES;

	for (size_t i = 0; i < count; i++) {
		if (given[i].bytes == 0)
			continue;
		if (room < ENTROPY_ROW_HEAD_BYTES || given[i].bytes > room - ENTROPY_ROW_HEAD_BYTES)
			return -EMSGSIZE;
		room -= ENTROPY_ROW_HEAD_BYTES + given[i].bytes;
		memcpy(*at + ENTROPY_ROW_HEAD_BYTES, given[i].data, given[i].bytes);
		*at = put_row_head(*at, given[i].id, given[i].bytes);
	}
	return 0;
}

int entropy_gather(struct entropy *entropy, bool may_block, const struct entropy_given *given,
		   size_t given_count, uint8_t message[ENTROPY_MESSAGE_BYTES],
		   size_t *message_bytes)
{
	uint8_t *at = message;
	int err;

	memcpy(at, entropy_tag, sizeof(entropy_tag));
	at += sizeof(entropy_tag);
	err = put_sources(entropy, may_block, &at);
	if (!err)
		err = put_given(given, given_count, &at);
	*message_bytes = err ? 0 : (size_t)(at - message);
	if (err)
		wipe(message, ENTROPY_MESSAGE_BYTES);
	return err;
}

/* 0: the row has no health test, or none that failed. */
static int health_of(const struct entropy *entropy, enum entropy_id id)
{
	switch (id) {
	case ENTROPY_ID_KERNEL:
		return entropy->kernel.failed;
	case ENTROPY_ID_RDSEED:
		return entropy->rdseed.health.failed;
	case ENTROPY_ID_RDRAND:
		return entropy->rdrand.health.failed;
	default:
		return 0;
	}
}

bool entropy_dropped(const struct entropy *entropy, enum entropy_id id)
{
	return health_of(entropy, id) != 0;
}

const char *entropy_why(const struct entropy *entropy, size_t i)
{
	int failed = health_of(entropy, entropy_sources[i].id);

	if (entropy->states[i] == ENTROPY_ACTIVE)
		return NULL;
	if (failed)
		return health_error(failed);
	return entropy->states[i] == ENTROPY_ABSENT ? "this machine has none" : "it did not answer";
}

const char *entropy_name(size_t i)
{
	return entropy_sources[i].name;
}
