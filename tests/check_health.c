/*
 * check_health - the health tests against the formulas of SP 800-90B, a second implementation
 * written after its text, bad sources and a good one. Owns: sources made of a small generator.
 * May touch: the tests' state. Never does: ask a real source.
 */
#include <check.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/health.h"

#define BATCH_WORDS 5u /* what a reseed draws: four for the seed, one to keep */
#define SEEDS       20u
#define GOOD_WORDS  1000000u /* 65 samples each */

static struct health health;

/* splitmix64: good enough to be taken for a good source, and the same at every run. */
struct generator {
	uint64_t state;
};

static uint64_t next_word(struct generator *generator)
{
	uint64_t z = (generator->state += 0x9e3779b97f4a7c15u);

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static void setup(void)
{
	memset(&health, 0, sizeof(health));
}

/* ---------------------------------------------------------------- cutoffs */

/* 1 + ceil(-log2(alpha) / H), section 4.4.1. */
static unsigned repetition_cutoff(double h)
{
	return 1 + (unsigned)ceil(HEALTH_ALPHA_LOG2 / h);
}

/* P(X > k), X binomial, from the small terms to the large ones. */
static long double upper_tail(unsigned n, long double p, unsigned k)
{
	long double sum = 0;

	for (unsigned i = n; i > k; i--)
		sum += expl(lgammal(n + 1.0L) - lgammal(i + 1.0L) - lgammal((n - i) + 1.0L) +
			    i * logl(p) + (n - i) * log1pl(-p));
	return sum;
}

/* 1 + critbinom(W, 2^-H, 1 - alpha), section 4.4.2. */
static unsigned proportion_cutoff(unsigned window, long double h)
{
	long double alpha = ldexpl(1, -(int)HEALTH_ALPHA_LOG2);
	unsigned k = 0;

	while (upper_tail(window, powl(2, -h), k) > alpha)
		k++;
	return 1 + k;
}

START_TEST(cutoffs_follow_the_formulas)
{
	/* Examples of the standard's footnotes and of other implementations: alpha 2^-30. */
	ck_assert_uint_eq(repetition_cutoff(1), 31);
	ck_assert_uint_eq(repetition_cutoff(7.5), 5);

	ck_assert_uint_eq(HEALTH_WORD_REPETITION, repetition_cutoff(HEALTH_WORD_BITS * 0.5));
	ck_assert_uint_eq(HEALTH_BIT_REPETITION, repetition_cutoff(0.5));
	ck_assert_uint_eq(HEALTH_WORD_PROPORTION,
			  proportion_cutoff(HEALTH_WORD_WINDOW, HEALTH_WORD_BITS * 0.5L));
	ck_assert_uint_eq(HEALTH_BIT_PROPORTION, proportion_cutoff(HEALTH_BIT_WINDOW, 0.5L));
	/* Section 4.4.2: 1024 for a binary source, else 512. Section 4.3: 1024 at the start. */
	ck_assert_uint_eq(HEALTH_BIT_WINDOW, 1024);
	ck_assert_uint_eq(HEALTH_WORD_WINDOW, 512);
	ck_assert_uint_ge(HEALTH_START_WORDS, 1024);
}
END_TEST

/* ---------------------------------------------------------------- the standard's own text */

/* 4.4.1 and 4.4.2 as they are written down there, one sample at a time. */
struct reference {
	bool any;
	uint64_t rct_a, apt_a;
	unsigned rct_b, apt_b, apt_i;
	unsigned rct_c, apt_c, apt_w;
};

static bool reference_rct(struct reference *ref, uint64_t x)
{
	if (!ref->any || x != ref->rct_a) {
		ref->rct_a = x;
		ref->rct_b = 1;
		return true;
	}
	ref->rct_b++;
	return ref->rct_b < ref->rct_c;
}

static bool reference_apt(struct reference *ref, uint64_t x)
{
	if (ref->apt_i == 0) {
		ref->apt_a = x;
		ref->apt_b = 1;
	} else if (x == ref->apt_a) {
		ref->apt_b++;
	}
	ref->apt_i = ref->apt_i + 1 == ref->apt_w ? 0 : ref->apt_i + 1;
	return ref->apt_b < ref->apt_c;
}

/* All 65 sequences; true while none failed. */
static bool reference_test(struct reference refs[HEALTH_WORD_BITS + 1], uint64_t word)
{
	bool good = true;

	for (unsigned i = 0; i <= HEALTH_WORD_BITS; i++) {
		uint64_t x = i == HEALTH_WORD_BITS ? word : word >> i & 1;

		good &= reference_rct(&refs[i], x);
		good &= reference_apt(&refs[i], x);
		refs[i].any = true;
	}
	return good;
}

static void reference_init(struct reference refs[HEALTH_WORD_BITS + 1])
{
	for (unsigned i = 0; i <= HEALTH_WORD_BITS; i++)
		refs[i] = i == HEALTH_WORD_BITS
			      ? (struct reference){.rct_c = 2, .apt_c = 2, .apt_w = 512}
			      : (struct reference){.rct_c = 61, .apt_c = 810, .apt_w = 1024};
}

/* Sources that fail sooner or later, each in its own way. */
static uint64_t one_value_in_half(struct generator *generator, unsigned i)
{
	(void)i;
	return next_word(generator) & 1 ? 0x5ca1ab1e : next_word(generator);
}

static uint64_t one_value_in_hundred(struct generator *generator, unsigned i)
{
	(void)i;
	return next_word(generator) % 100 == 0 ? 0 : next_word(generator);
}

static uint64_t alternating(struct generator *generator, unsigned i)
{
	(void)generator;
	return i & 1 ? 0xaaaaaaaaaaaaaaaau : 0x5555555555555555u;
}

static uint64_t low_byte_stuck(struct generator *generator, unsigned i)
{
	(void)i;
	return next_word(generator) & ~0xffull;
}

static uint64_t high_bit_stuck(struct generator *generator, unsigned i)
{
	(void)i;
	return next_word(generator) | 1ull << 63;
}

/* 7 of 8, and never long the same: what only the proportion of the bits shows. */
static uint64_t bit_biased(struct generator *generator, unsigned i)
{
	uint64_t set = i % 31 != 0 && next_word(generator) % 8 != 0;

	return (next_word(generator) & ~(1ull << 17)) | set << 17;
}

static uint64_t few_values(struct generator *generator, unsigned i)
{
	(void)i;
	return (next_word(generator) % 1000) * 0x9e3779b97f4a7c15u;
}

static uint64_t counter(struct generator *generator, unsigned i)
{
	(void)generator;
	return 0xffee + i;
}

struct bad_source {
	uint64_t (*word)(struct generator *generator, unsigned i);
	int error;      /* the test that finds it; 0: more than one may */
	unsigned words; /* at most so many until one does */
};

static const struct bad_source bad_sources[] = {
    {one_value_in_half, 0, 64},
    {one_value_in_hundred, 0, 512 * 5000},
    {alternating, HEALTH_E_WORD_FREQUENT, 3 + BATCH_WORDS},
    {low_byte_stuck, HEALTH_E_BIT_REPEATED, 61},
    {high_bit_stuck, HEALTH_E_BIT_REPEATED, 61},
    {bit_biased, HEALTH_E_BIT_FREQUENT, 1024 * 200},
    {few_values, 0, 512 * 4},
    {counter, HEALTH_E_BIT_REPEATED, 61},
};

/* Each word alone: the same verdict at the same word as the standard's text. */
START_TEST(verdicts_are_the_standards)
{
	const struct bad_source *source = &bad_sources[_i];
	struct reference refs[HEALTH_WORD_BITS + 1];

	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct generator generator = {seed};
		bool good = true;
		unsigned i = 0;

		setup();
		reference_init(refs);
		for (; good; i++) {
			uint64_t word = source->word(&generator, i);

			ck_assert_uint_lt(i, source->words);
			good = reference_test(refs, word);
			ck_assert_msg((health_test_words(&health, &word, 1) == 0) == good,
				      "seed %u, word %u", (unsigned)seed, i);
		}
		if (source->error)
			ck_assert_int_eq(health.failed, source->error);
	}
}
END_TEST

/* As a reseed feeds them: windows then begin with the last word of a batch. */
START_TEST(bad_source_fails_in_batches)
{
	const struct bad_source *source = &bad_sources[_i];

	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct generator generator = {seed};
		uint64_t words[BATCH_WORDS];
		unsigned i = 0;
		int err = 0;

		setup();
		while (!err) {
			ck_assert_uint_lt(i, source->words + BATCH_WORDS);
			for (unsigned j = 0; j < BATCH_WORDS; j++)
				words[j] = source->word(&generator, i++);
			err = health_test_words(&health, words, BATCH_WORDS);
		}
		if (source->error)
			ck_assert_int_eq(err, source->error);
	}
}
END_TEST

/* ---------------------------------------------------------------- exact edges */

START_TEST(stuck_word_fails_at_its_second)
{
	static const uint64_t stuck[] = {0, UINT64_MAX, 1, 0x0123456789abcdef};

	for (size_t i = 0; i < sizeof(stuck) / sizeof(stuck[0]); i++) {
		const uint64_t pair[] = {stuck[i], stuck[i]}, other = ~stuck[i] ^ 2;

		/* Over two calls, and in one. */
		setup();
		ck_assert_int_eq(health_test_words(&health, &other, 1), 0);
		ck_assert_int_eq(health_test_words(&health, &stuck[i], 1), 0);
		ck_assert_int_eq(health_test_words(&health, &stuck[i], 1), HEALTH_E_WORD_REPEATED);
		setup();
		ck_assert_int_eq(health_test_words(&health, &other, 1), 0);
		ck_assert_int_eq(health_test_words(&health, pair, 2), HEALTH_E_WORD_REPEATED);
		/* The very first word has none before it, not even zero. */
		setup();
		ck_assert_int_eq(health_test_words(&health, &stuck[i], 1), 0);
	}
}
END_TEST

/* Each bit by position, at each value: 60 in a row pass, the 61st fails. */
START_TEST(stuck_bit_fails_at_its_61st)
{
	for (unsigned bit = 0; bit < HEALTH_WORD_BITS; bit++) {
		for (uint64_t value = 0; value <= 1; value++) {
			for (unsigned length = 60; length <= 61; length++) {
				struct generator generator = {bit};
				int err = 0;

				setup();
				for (unsigned i = 0; i < 100 && !err; i++) {
					uint64_t set = (i < length) == (value == 1);
					uint64_t word = next_word(&generator);

					word = (word & ~(1ull << bit)) | set << bit;
					err = health_test_words(&health, &word, 1);
					if (err)
						ck_assert_uint_eq(i, 60);
					if (i == length)
						i = 100;
				}
				ck_assert_int_eq(err, length == 60 ? 0 : HEALTH_E_BIT_REPEATED);
			}
		}
	}
}
END_TEST

/* One window in which bit 5 equals its first so often, spread evenly; the window after is fair. */
static int window_with(unsigned matches)
{
	struct generator generator = {7};
	unsigned given = 0;
	int err = 0;

	setup();
	for (unsigned i = 0; i < HEALTH_BIT_WINDOW + 64 && !err; i++) {
		uint64_t word = next_word(&generator), set;

		set = i < HEALTH_BIT_WINDOW && given * HEALTH_BIT_WINDOW <= i * matches &&
		      given < matches;
		given += set != 0;
		word = (word & ~(1ull << 5)) | set << 5;
		if (i >= HEALTH_BIT_WINDOW)
			word = next_word(&generator);
		err = health_test_words(&health, &word, 1);
	}
	ck_assert(err || given == matches);
	return err;
}

START_TEST(proportion_of_a_bit_at_the_edge)
{
	ck_assert_int_eq(window_with(809), 0);
	ck_assert_int_eq(window_with(810), HEALTH_E_BIT_FREQUENT);
}
END_TEST

/* The window's first word again as its last one; and one word later, which is the next window's. */
START_TEST(window_of_words_ends)
{
	for (unsigned at = HEALTH_WORD_WINDOW - 1; at <= HEALTH_WORD_WINDOW; at++) {
		struct generator generator = {1};
		uint64_t first = next_word(&generator), word = first;
		int err = health_test_words(&health, &first, 1);

		for (unsigned i = 1; i <= at; i++) {
			ck_assert_int_eq(err, 0);
			word = i == at ? first : next_word(&generator);
			err = health_test_words(&health, &word, 1);
		}
		ck_assert_int_eq(err, at < HEALTH_WORD_WINDOW ? HEALTH_E_WORD_FREQUENT : 0);
		setup();
	}
}
END_TEST

START_TEST(failure_stays)
{
	const uint64_t stuck[] = {3, 3};
	struct generator generator = {0};

	ck_assert_int_eq(health_test_words(&health, stuck, 2), HEALTH_E_WORD_REPEATED);
	for (unsigned i = 0; i < 3000; i++) {
		uint64_t word = next_word(&generator);

		ck_assert_int_eq(health_test_words(&health, &word, 1), HEALTH_E_WORD_REPEATED);
	}
}
END_TEST

START_TEST(nothing_is_no_sample)
{
	const uint64_t word = 9;

	ck_assert_int_eq(health_test_words(&health, NULL, 0), 0);
	ck_assert_int_eq(health_test_words(&health, &word, 1), 0);
	ck_assert_int_eq(health_test_words(&health, NULL, 0), 0);
	ck_assert_int_eq(health_test_words(&health, &word, 1), HEALTH_E_WORD_REPEATED);
}
END_TEST

/* ---------------------------------------------------------------- good sources, and secrets */

START_TEST(good_source_passes)
{
	struct generator generator = {0x1234};
	uint64_t words[BATCH_WORDS];

	for (unsigned i = 0; i < GOOD_WORDS; i += BATCH_WORDS) {
		for (unsigned j = 0; j < BATCH_WORDS; j++)
			words[j] = next_word(&generator);
		ck_assert_msg(health_test_words(&health, words, BATCH_WORDS) == 0, "%s, at word %u",
			      health_error(health.failed), i);
	}
}
END_TEST

/* Each bit set in 5 of 8: min-entropy 0.68, where 0.5 is claimed. */
START_TEST(bias_within_the_claim_passes)
{
	struct generator generator = {99};

	for (unsigned i = 0; i < 100 * HEALTH_BIT_WINDOW; i++) {
		uint64_t word = next_word(&generator);

		word |= next_word(&generator) & next_word(&generator);
		ck_assert_msg(health_test_words(&health, &word, 1) == 0, "%s, at word %u",
			      health_error(health.failed), i);
	}
}
END_TEST

static bool holds(const void *memory, size_t bytes, uint64_t word)
{
	const uint8_t *at = memory;

	for (size_t i = 0; i + sizeof(word) <= bytes; i++)
		if (memcmp(at + i, &word, sizeof(word)) == 0)
			return true;
	return false;
}

/* Of each batch only the last word is kept, for as long as several windows. Bit 3 is set in no last
 * word and in all others: each value of it that is kept must come from a last one. */
START_TEST(only_the_last_word_is_kept)
{
	struct generator generator = {5};
	uint64_t words[BATCH_WORDS];

	for (unsigned i = 0; i < 2000; i++) {
		for (unsigned j = 0; j < BATCH_WORDS; j++)
			words[j] = next_word(&generator) | 1u << 3;
		words[BATCH_WORDS - 1] ^= 1u << 3;
		ck_assert_int_eq(health_test_words(&health, words, BATCH_WORDS), 0);
		for (unsigned j = 0; j < BATCH_WORDS - 1; j++)
			ck_assert(!holds(&health, sizeof(health), words[j]));
		ck_assert_uint_eq(health.words.last, words[BATCH_WORDS - 1]);
		ck_assert_uint_eq(health.words.head & 1u << 3, 0);
		ck_assert_uint_eq(health.bits[3].head, 0);
		for (unsigned bit = 0; bit < HEALTH_WORD_BITS; bit++)
			ck_assert_uint_eq(health.bits[bit].last, words[BATCH_WORDS - 1] >> bit & 1);
	}
}
END_TEST

/* A batch that fails leaves none of its words behind either. */
START_TEST(failure_keeps_no_word)
{
	struct generator generator = {6};
	const uint64_t kept = next_word(&generator), a = next_word(&generator),
		       b = next_word(&generator);
	const uint64_t stuck[] = {a, b, b, a, a}, again[] = {a, kept, b};

	ck_assert_int_eq(health_test_words(&health, &kept, 1), 0);
	ck_assert_int_eq(health_test_words(&health, stuck, 5), HEALTH_E_WORD_REPEATED);
	ck_assert(!holds(&health, sizeof(health), a) && !holds(&health, sizeof(health), b));
	setup();
	ck_assert_int_eq(health_test_words(&health, &kept, 1), 0);
	ck_assert_int_eq(health_test_words(&health, again, 3), HEALTH_E_WORD_FREQUENT);
	ck_assert(!holds(&health, sizeof(health), a) && !holds(&health, sizeof(health), b));
}
END_TEST

/* ---------------------------------------------------------------- whole outputs */

static uint8_t outputs[4][HEALTH_OUTPUT_BYTES];

static struct health_output output_health;

static int test_outputs(unsigned output, unsigned spare)
{
	return health_test_output(&output_health, outputs[output], outputs[spare]);
}

static void output_setup(void)
{
	memset(&output_health, 0, sizeof(output_health));
	for (unsigned i = 1; i < 4; i++)
		memset(outputs[i], 0x77, HEALTH_OUTPUT_BYTES);
	/* They differ in one bit: at the end, at the start. */
	outputs[2][HEALTH_OUTPUT_BYTES - 1] ^= 1;
	outputs[3][0] ^= 0x80;
}

START_TEST(output_must_not_repeat)
{
	output_setup();
	ck_assert_int_eq(test_outputs(1, 2), 0);
	ck_assert_mem_eq(output_health.spare, outputs[2], HEALTH_OUTPUT_BYTES);
	ck_assert_int_eq(test_outputs(1, 3), 0);
	ck_assert_int_eq(test_outputs(2, 1), 0);
	/* What was kept comes again. */
	ck_assert_int_eq(test_outputs(1, 2), HEALTH_E_OUTPUT_REPEATED);
	ck_assert_int_eq(test_outputs(3, 2), HEALTH_E_OUTPUT_REPEATED);

	output_setup();
	ck_assert_int_eq(test_outputs(1, 1), HEALTH_E_OUTPUT_REPEATED);
	ck_assert_int_eq(test_outputs(2, 3), HEALTH_E_OUTPUT_REPEATED);
	ck_assert(!output_health.has_spare);
}
END_TEST

START_TEST(output_must_not_be_zero)
{
	output_setup();
	ck_assert_int_eq(test_outputs(0, 1), HEALTH_E_OUTPUT_ZERO);
	output_setup();
	ck_assert_int_eq(test_outputs(1, 0), HEALTH_E_OUTPUT_ZERO);
	ck_assert_int_eq(test_outputs(2, 3), HEALTH_E_OUTPUT_ZERO);
	output_setup();
	outputs[0][31] = 1;
	ck_assert_int_eq(test_outputs(0, 1), 0);
	outputs[0][31] = 0;
}
END_TEST

START_TEST(errors_have_words)
{
	for (int i = 0; i <= HEALTH_E_OUTPUT_ZERO; i++) {
		ck_assert_ptr_nonnull(health_error(i));
		ck_assert_str_ne(health_error(i), "unknown");
	}
	ck_assert_str_eq(health_error(-1), "unknown");
	ck_assert_str_eq(health_error(HEALTH_E_OUTPUT_ZERO + 1), "unknown");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("health");
	TCase *tcase = tcase_create("health");
	SRunner *sr = srunner_create(suite);
	int failed, bad = sizeof(bad_sources) / sizeof(bad_sources[0]);

	tcase_set_timeout(tcase, 120); /* a million words under a sanitizer */
	tcase_add_checked_fixture(tcase, setup, NULL);
	tcase_add_test(tcase, cutoffs_follow_the_formulas);
	tcase_add_loop_test(tcase, verdicts_are_the_standards, 0, bad);
	tcase_add_loop_test(tcase, bad_source_fails_in_batches, 0, bad);
	tcase_add_test(tcase, stuck_word_fails_at_its_second);
	tcase_add_test(tcase, stuck_bit_fails_at_its_61st);
	tcase_add_test(tcase, proportion_of_a_bit_at_the_edge);
	tcase_add_test(tcase, window_of_words_ends);
	tcase_add_test(tcase, failure_stays);
	tcase_add_test(tcase, nothing_is_no_sample);
	tcase_add_test(tcase, good_source_passes);
	tcase_add_test(tcase, bias_within_the_claim_passes);
	tcase_add_test(tcase, only_the_last_word_is_kept);
	tcase_add_test(tcase, failure_keeps_no_word);
	tcase_add_test(tcase, output_must_not_repeat);
	tcase_add_test(tcase, output_must_not_be_zero);
	tcase_add_test(tcase, errors_have_words);
	suite_add_tcase(suite, tcase);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
