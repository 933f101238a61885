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

#define ENTROPY_TAG_BYTES 16u

/* Holds the tag and every source at its most. */
#define ENTROPY_MESSAGE_BYTES 640u

enum entropy_state {
	ENTROPY_ABSENT, /* this machine does not have it */
	ENTROPY_ACTIVE, /* answered at the last gathering */
	ENTROPY_FAILED, /* has it, but it did not answer */
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
};

#define ENTROPY_SOURCES 5u

/* What the last gathering found, by row of the table; initialise with zero. */
struct entropy {
	enum entropy_state states[ENTROPY_SOURCES];
};

/* Most bytes that all rows given by the caller may have together. */
#define ENTROPY_GIVEN_MAX_BYTES 256u

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
 * may_block: wait for the kernel's generator to be initialised (at start, and only there).
 * message: ENTROPY_MESSAGE_BYTES, in secret memory; *message_bytes is what was used.
 * 0, the negative errno of the kernel's getrandom(), or -EMSGSIZE: more was given than fits;
 * message is then wiped.
 */
int entropy_gather(struct entropy *entropy, bool may_block, const struct entropy_given *given,
		   size_t given_count, uint8_t message[ENTROPY_MESSAGE_BYTES],
		   size_t *message_bytes);

/* Name of row i ("kernel", "rdseed", ...), i below ENTROPY_SOURCES. */
const char *entropy_name(size_t i);

#endif
