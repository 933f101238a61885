/*
 * daemon/entropy - the table of entropy sources, and the message a reseed hashes.
 *
 * A message is a 16-byte tag and then, for each source that answered, its id (u8), the length
 * of what it gave (u16, big-endian) and those bytes: no two different sets of answers make
 * the same message. doc/generator.md states the format.
 */
#ifndef DAEMON_ENTROPY_H
#define DAEMON_ENTROPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/health.h"

#define ENTROPY_TAG_BYTES 16u

/* Holds the tag and every source at its most. */
#define ENTROPY_MESSAGE_BYTES 704u

enum entropy_state {
	ENTROPY_ABSENT, /* this machine does not have it */
	ENTROPY_ACTIVE, /* answered at the last gathering */
	ENTROPY_FAILED, /* has it, but it did not answer, or was dropped: entropy_dropped() */
};

/* Ids are hashed: never reuse one. */
enum entropy_id {
	ENTROPY_ID_KERNEL = 1,
	ENTROPY_ID_RDSEED = 2,
	ENTROPY_ID_RDRAND = 3,
	ENTROPY_ID_CYCLES = 4,
	ENTROPY_ID_CLOCKS = 5,
	/* Given by the caller, not gathered. */
	ENTROPY_ID_EPOCH = 6, /* the detectors' distinguishing values */
	ENTROPY_ID_HOST = 7,  /* what bumps brought */
	ENTROPY_ID_POOL = 8,  /* what clients contributed since the last reseed */
};

#define ENTROPY_SOURCES 5u

/* A source of words under test. */
struct entropy_raw {
	struct health health;
	size_t tested_words; /* by the start-up test, so far */
};

/*
 * What the last gathering found, by row of the table, and the sources' health; initialise with
 * zero. Holds nothing of any message: it needs no secret memory.
 */
struct entropy {
	enum entropy_state states[ENTROPY_SOURCES];
	struct health_output kernel;
	struct entropy_raw rdseed;
	struct entropy_raw rdrand;
};

/* Most bytes that all rows given by the caller may have together. */
#define ENTROPY_GIVEN_MAX_BYTES 320u

/* Bytes that the caller has, to go into the message as a source's would. 0 bytes: left out. */
struct entropy_given {
	enum entropy_id id;
	const uint8_t *data;
	size_t bytes;
};

/*
 * Asks every source and writes the message: the sources' rows, then the given ones. The kernel is
 * the one source that must answer; the others are taken when they do.
 *
 * A source that fails a health test is dropped: it is in this message no more nor in a later one,
 * and is not asked again. One line of the log says so. If it is the kernel's, this and every later
 * call fails. Before RDSEED and RDRAND are first used, HEALTH_START_WORDS of each are tested: at a
 * microsecond or so for each word. If one runs dry meanwhile, the next call goes on with it.
 *
 * may_block: wait for the kernel's generator to be initialised (at start, and only there).
 * message: ENTROPY_MESSAGE_BYTES, in secret memory; *message_bytes is what was used.
 * 0, the negative errno of the kernel's getrandom(), -EBADMSG: its output failed a health test, or
 * -EMSGSIZE: more was given than fits; message is then wiped.
 */
int entropy_gather(struct entropy *entropy, bool may_block, const struct entropy_given *given,
		   size_t given_count, uint8_t message[ENTROPY_MESSAGE_BYTES],
		   size_t *message_bytes);

/* A health test failed: the source is out until the daemon starts anew. false for other ids. */
bool entropy_dropped(const struct entropy *entropy, enum entropy_id id);

/*
 * Why row i gave nothing at the last gathering, in words for people: no double quotes, no
 * backslashes. NULL: it did. Static storage.
 */
const char *entropy_why(const struct entropy *entropy, size_t i);

/* Name of row i ("kernel", "rdseed", ...), i below ENTROPY_SOURCES. */
const char *entropy_name(size_t i);

#endif
