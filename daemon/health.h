/*
 * daemon/health - the health tests of NIST SP 800-90B, section 4.4, for what entropy sources give.
 *
 * A source that gives 64-bit words is taken as 65 sequences of samples: the words themselves, and
 * each of their 64 bits by position. Each sequence gets the repetition count test (4.4.1) and the
 * adaptive proportion test (4.4.2). They find a source that is stuck, as a whole or in a bit, or
 * that comes back to one value far too often. They cannot tell good bytes from well-mixed bad ones.
 *
 * The tests compare with samples seen before. So that nothing which went into a seed is kept for
 * that, only the last word of each call outlives it: the caller draws one more than it uses. The
 * state is then no secret. doc/generator.md has the rates at which a good source would fail.
 */
#ifndef DAEMON_HEALTH_H
#define DAEMON_HEALTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* alpha = 2^-30. What is claimed of a source: half a bit of min-entropy in each bit. */
#define HEALTH_ALPHA_LOG2 30u

/* A word, H = 32: 1 + ceil(30 / 32) in a row; 1 + critbinom(512, 2^-32, 1 - alpha) a window. */
#define HEALTH_WORD_BITS       64u
#define HEALTH_WORD_REPETITION 2u
#define HEALTH_WORD_WINDOW     512u
#define HEALTH_WORD_PROPORTION 2u

/* A bit, H = 0.5: 1 + ceil(30 / 0.5) in a row; 1 + critbinom(1024, 2^-0.5, 1 - alpha) a window. */
#define HEALTH_BIT_REPETITION 61u
#define HEALTH_BIT_WINDOW     1024u
#define HEALTH_BIT_PROPORTION 810u

/* Words to test before the first is used (4.3, start-up tests): the longer window, once. */
#define HEALTH_START_WORDS 1024u

/* Positive: the source is not to be used again. */
enum {
	HEALTH_E_WORD_REPEATED = 1,
	HEALTH_E_WORD_FREQUENT = 2,
	HEALTH_E_BIT_REPEATED = 3,
	HEALTH_E_BIT_FREQUENT = 4,
	HEALTH_E_OUTPUT_REPEATED = 5,
	HEALTH_E_OUTPUT_ZERO = 6,
};

/* One sequence of samples. */
struct health_stream {
	uint64_t last;    /* the sample before; valid if run > 0 */
	uint64_t head;    /* the first sample of the window; valid if seen > 0 */
	uint32_t run;     /* how often `last` came in a row */
	uint32_t seen;    /* samples of the window so far, its head included */
	uint32_t matches; /* those among them that equal its head, itself included */
};

/* One source of words; initialise with zero. */
struct health {
	struct health_stream words;
	struct health_stream bits[HEALTH_WORD_BITS];
	int failed; /* HEALTH_E_*, or 0 */
};

/*
 * Tests `count` words, in the order in which the source gave them. The last one is kept for the
 * next call, and may stay for as long as a window does: never use it for anything. A window begins
 * with such a word too, so up to count - 1 words between two windows get the repetition test alone.
 * 0; or HEALTH_E_*, then and for every later call.
 */
int health_test_words(struct health *health, const uint64_t *words, size_t count)
    __attribute__((warn_unused_result));

#define HEALTH_OUTPUT_BYTES 32u

/* A generator that claims full entropy, asked for 256 bits at a time; initialise with zero. */
struct health_output {
	uint8_t spare[HEALTH_OUTPUT_BYTES];
	bool has_spare;
	int failed; /* HEALTH_E_*, or 0 */
};

/*
 * Tests `output`, and after it `spare`, which the generator gave next and which is kept in place of
 * the other: never use it. Fails if one of them equals the one before it (repetition count test,
 * H = 256, cutoff 2), or is all zero. 0; or HEALTH_E_*, then and for every later call.
 */
int health_test_output(struct health_output *health, const uint8_t output[HEALTH_OUTPUT_BYTES],
		       const uint8_t spare[HEALTH_OUTPUT_BYTES])
    __attribute__((warn_unused_result));

/* What HEALTH_E_* means, in words for a log line; static storage. */
const char *health_error(int error);

#endif
