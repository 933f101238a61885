/*
 * Owns: nothing; a test's state is its caller's. May touch: the samples it is given.
 * Never does: ask a source, log, or keep a sample that may be part of a seed.
 */
#include "daemon/health.h"

#include <string.h>

/* What a sequence of samples is held to. */
struct health_limits {
	uint32_t repetition;
	uint32_t window;
	uint32_t proportion;
	int repeated; /* HEALTH_E_*, by test */
	int frequent;
};

static const struct health_limits word_limits = {
    .repetition = HEALTH_WORD_REPETITION,
    .window = HEALTH_WORD_WINDOW,
    .proportion = HEALTH_WORD_PROPORTION,
    .repeated = HEALTH_E_WORD_REPEATED,
    .frequent = HEALTH_E_WORD_FREQUENT,
};

static const struct health_limits bit_limits = {
    .repetition = HEALTH_BIT_REPETITION,
    .window = HEALTH_BIT_WINDOW,
    .proportion = HEALTH_BIT_PROPORTION,
    .repeated = HEALTH_E_BIT_REPEATED,
    .frequent = HEALTH_E_BIT_FREQUENT,
};

/* Samples are (word >> shift) & mask. Until the end all but the last live in `words` alone. */
static int test_stream(struct health_stream *stream, const struct health_limits *limits,
		       unsigned shift, uint64_t mask, const uint64_t *words, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		uint64_t sample = words[i] >> shift & mask;
		uint64_t before = i > 0 ? words[i - 1] >> shift & mask : stream->last;

		/* Before the first sample run is 0: whatever it is, it is the first in a row. */
		stream->run = sample == before ? stream->run + 1 : 1;
		if (stream->run >= limits->repetition)
			return limits->repeated;
		if (stream->seen > 0 && stream->seen < limits->window) {
			stream->seen++;
			if (sample == stream->head)
				stream->matches++;
			if (stream->matches >= limits->proportion)
				return limits->frequent;
		} else if (i + 1 == count) {
			stream->head = sample;
			stream->seen = 1;
			stream->matches = 1;
		}
	}
	if (count > 0)
		stream->last = words[count - 1] >> shift & mask;
	return 0;
}

int health_test_words(struct health *health, const uint64_t *words, size_t count)
{
	if (health->failed)
		return health->failed;
	health->failed = test_stream(&health->words, &word_limits, 0, UINT64_MAX, words, count);
	for (unsigned bit = 0; bit < HEALTH_WORD_BITS && !health->failed; bit++)
		health->failed = test_stream(&health->bits[bit], &bit_limits, bit, 1, words, count);
	return health->failed;
}

int health_test_output(struct health_output *health, const uint8_t output[HEALTH_OUTPUT_BYTES],
		       const uint8_t spare[HEALTH_OUTPUT_BYTES])
{
	static const uint8_t zero[HEALTH_OUTPUT_BYTES];

	if (health->failed)
		return health->failed;
	/* No such rule is in the standard; but it is what a call leaves behind that does nothing.
	 */
	if (memcmp(output, zero, sizeof(zero)) == 0 || memcmp(spare, zero, sizeof(zero)) == 0)
		health->failed = HEALTH_E_OUTPUT_ZERO;
	else if ((health->has_spare && memcmp(output, health->spare, sizeof(zero)) == 0) ||
		 memcmp(spare, output, sizeof(zero)) == 0)
		health->failed = HEALTH_E_OUTPUT_REPEATED;
	if (health->failed)
		return health->failed;
	memcpy(health->spare, spare, sizeof(health->spare));
	health->has_spare = true;
	return 0;
}

const char *health_error(int error)
{
	static const char *const texts[] = {
	    [0] = "nothing",
	    [HEALTH_E_WORD_REPEATED] = "a word came twice in a row (repetition count test)",
	    [HEALTH_E_WORD_FREQUENT] = "a word came back (adaptive proportion test)",
	    [HEALTH_E_BIT_REPEATED] = "a bit is stuck (repetition count test)",
	    [HEALTH_E_BIT_FREQUENT] = "a bit is biased (adaptive proportion test)",
	    [HEALTH_E_OUTPUT_REPEATED] = "its output came twice in a row (repetition count test)",
	    [HEALTH_E_OUTPUT_ZERO] = "its output is all zero",
	};

	if (error < 0 || (size_t)error >= sizeof(texts) / sizeof(texts[0]))
		return "unknown";
	return texts[error];
}
