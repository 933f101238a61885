/*
 * check_rng - the generator against the vectors published in doc/generator.md, and against what
 * that document promises. Owns: the vectors it read. May touch: that file, from the top of the
 * tree. Never does: compute an expected value with the code under test.
 */
#include <check.h>
#include <ctype.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/chacha20.h"
#include "crypto/rng.h"
#include "host/cpu.h"

#define DOCUMENT "doc/generator.md"

/* As many as the document has: a vector lost by the parser is a failure. */
#define FILL_VECTORS   16u
#define CHAIN_VECTORS  4u /* of them, the last ones: each begins with the key of the one before */
#define RESEED_VECTORS 4u
#define VECTORS_MAX    32u

#define FIELD_BYTES_MAX 512u
#define OUT_BYTES_MAX   8192u
#define DIGEST_BYTES    32u

struct field {
	uint8_t data[FIELD_BYTES_MAX];
	size_t len;
	bool seen;
};

struct vector {
	bool reseed;
	struct field key, nonce, newkey, out, digest, msg;
	size_t len;
};

static void add_hex(struct field *field, const char *text)
{
	char pair[3] = "";

	field->seen = true;
	for (; isxdigit((unsigned char)text[0]) && isxdigit((unsigned char)text[1]); text += 2) {
		memcpy(pair, text, 2);
		ck_assert_uint_lt(field->len, FIELD_BYTES_MAX);
		field->data[field->len++] = (uint8_t)strtoul(pair, NULL, 16);
	}
	ck_assert_msg(*text == '\0' || *text == '\n', "not hexadecimal: %s", text);
}

static struct field *field_named(struct vector *vector, const char *name)
{
	if (strcmp(name, "key") == 0)
		return &vector->key;
	if (strcmp(name, "nonce") == 0)
		return &vector->nonce;
	if (strcmp(name, "newkey") == 0)
		return &vector->newkey;
	if (strcmp(name, "out") == 0)
		return &vector->out;
	if (strcmp(name, "digest") == 0)
		return &vector->digest;
	if (strcmp(name, "msg") == 0)
		return &vector->msg;
	ck_abort_msg("unknown field %s", name);
	return NULL;
}

/* One line of a vector; *field is the one a continued line belongs to. */
static void read_line(struct vector *vector, struct field **field, char *line)
{
	char name[16];
	int value = 0;

	if (line[0] == ' ') {
		ck_assert_ptr_nonnull(*field);
		add_hex(*field, line + strspn(line, " "));
		return;
	}
	ck_assert_msg(sscanf(line, "%15[a-z] = %n", name, &value) == 1 && value > 0,
		      "not a field: %s", line);
	if (strcmp(name, "len") == 0) {
		vector->len = strtoul(line + value, NULL, 10);
		return;
	}
	*field = field_named(vector, name);
	add_hex(*field, line + value);
}

/* The vectors of the kind asked for, in the order of the document. Returns how many. */
static size_t read_vectors(struct vector *vectors, bool reseed)
{
	struct vector *vector = NULL;
	struct field *field = NULL;
	FILE *file = fopen(DOCUMENT, "re");
	char line[256];
	size_t count = 0;

	ck_assert_msg(file != NULL, "no " DOCUMENT ": run from the top of the tree");
	memset(vectors, 0, VECTORS_MAX * sizeof(*vectors));
	while (fgets(line, sizeof(line), file)) {
		bool starts_fill = strcmp(line, "fill\n") == 0;
		bool starts_reseed = strcmp(line, "reseed\n") == 0;

		if (starts_fill || starts_reseed) {
			ck_assert_uint_lt(count, VECTORS_MAX);
			vector = starts_reseed == reseed ? &vectors[count++] : NULL;
			field = NULL;
		} else if (line[0] == '\n' || line[0] == '`') {
			vector = NULL;
		} else if (vector) {
			read_line(vector, &field, line);
		}
	}
	fclose(file);
	return count;
}

static uint64_t nonce_of(const struct vector *vector)
{
	uint64_t nonce = 0;

	ck_assert_uint_eq(vector->nonce.len, sizeof(nonce));
	for (size_t i = 0; i < sizeof(nonce); i++)
		nonce = nonce << 8 | vector->nonce.data[i];
	return nonce;
}

/* Fills from the vector's key at the given misalignment and compares everything it states. */
static void compare_fill(const struct vector *vector, size_t misalign)
{
	static uint8_t buf[OUT_BYTES_MAX + 128];
	uint8_t *out = buf + 32 + misalign;
	uint8_t digest[DIGEST_BYTES];
	struct rng rng;

	ck_assert_uint_eq(vector->key.len, RNG_KEY_BYTES);
	ck_assert_uint_eq(vector->newkey.len, RNG_KEY_BYTES);
	ck_assert_uint_le(vector->len, OUT_BYTES_MAX);
	ck_assert(vector->out.seen != vector->digest.seen);

	memset(buf, 0xa5, sizeof(buf));
	rng_rekey(&rng, vector->key.data);
	rng_fill(&rng, nonce_of(vector), out, vector->len);
	ck_assert_mem_eq(rng.key, vector->newkey.data, RNG_KEY_BYTES);
	if (vector->out.seen) {
		ck_assert_uint_eq(vector->out.len, vector->len);
		ck_assert_mem_eq(out, vector->out.data, vector->len);
	} else {
		ck_assert_int_eq(
		    crypto_generichash_blake2b(digest, sizeof(digest), out, vector->len, NULL, 0),
		    0);
		ck_assert_uint_eq(vector->digest.len, sizeof(digest));
		ck_assert_mem_eq(digest, vector->digest.data, sizeof(digest));
	}
	for (size_t i = 0; i < sizeof(buf); i++)
		if (i < 32 + misalign || i >= 32 + misalign + vector->len)
			ck_assert_msg(buf[i] == 0xa5, "wrote outside of the buffer");
}

static unsigned usable_isa(void)
{
	return (cpu_has_avx2() ? CHACHA20_ISA_AVX2 : 0u) |
	       (cpu_has_avx512() ? CHACHA20_ISA_AVX512 : 0u);
}

/* With every implementation this processor can run. */
START_TEST(test_fill_vectors)
{
	static struct vector vectors[VECTORS_MAX];
	static const unsigned isas[] = {CHACHA20_ISA_NONE, CHACHA20_ISA_AVX2,
					CHACHA20_ISA_AVX2 | CHACHA20_ISA_AVX512};

	ck_assert_uint_eq(read_vectors(vectors, false), FILL_VECTORS);
	for (size_t i = 0; i < sizeof(isas) / sizeof(isas[0]); i++) {
		chacha20_select(isas[i] & usable_isa());
		for (size_t v = 0; v < FILL_VECTORS; v++)
			for (size_t misalign = 0; misalign < 4; misalign++)
				compare_fill(&vectors[v], misalign);
	}
	chacha20_select(usable_isa());
}
END_TEST

START_TEST(test_chain_vectors)
{
	static struct vector vectors[VECTORS_MAX];
	const struct vector *chain = vectors + FILL_VECTORS - CHAIN_VECTORS;
	uint8_t out[OUT_BYTES_MAX];
	struct rng rng;

	ck_assert_uint_eq(read_vectors(vectors, false), FILL_VECTORS);
	rng_rekey(&rng, chain[0].key.data);
	for (size_t i = 0; i < CHAIN_VECTORS; i++) {
		ck_assert_mem_eq(rng.key, chain[i].key.data, RNG_KEY_BYTES);
		rng_fill(&rng, nonce_of(&chain[i]), out, chain[i].len);
		ck_assert_uint_eq(chain[i].out.len, chain[i].len);
		ck_assert_mem_eq(out, chain[i].out.data, chain[i].len);
	}
	ck_assert_mem_eq(rng.key, chain[CHAIN_VECTORS - 1].newkey.data, RNG_KEY_BYTES);
}
END_TEST

/* The call that daemon/reseed makes; check_entropy compares the message it makes it with. */
START_TEST(test_reseed_vectors)
{
	static struct vector vectors[VECTORS_MAX];
	uint8_t key[RNG_KEY_BYTES];

	ck_assert_uint_eq(read_vectors(vectors, true), RESEED_VECTORS);
	for (size_t i = 0; i < RESEED_VECTORS; i++) {
		ck_assert_int_eq(crypto_generichash_blake2b(key, sizeof(key), vectors[i].msg.data,
							    vectors[i].msg.len, vectors[i].key.data,
							    sizeof(key)),
				 0);
		ck_assert_mem_eq(key, vectors[i].newkey.data, sizeof(key));
	}
}
END_TEST

/* A wrong key, nonce or byte order must not give a vector's answer: one bit changes all of it. */
START_TEST(test_one_bit_changes_everything)
{
	uint8_t key[RNG_KEY_BYTES] = {1, 2, 3};
	uint8_t out[RNG_KEY_BYTES], other_out[RNG_KEY_BYTES];
	const uint64_t nonce = 0x0123456789abcdef;
	struct rng rng, other;

	rng_rekey(&rng, key);
	rng_fill(&rng, nonce, out, sizeof(out));
	for (size_t bit = 0; bit < 8 * (RNG_KEY_BYTES + sizeof(nonce)); bit++) {
		uint64_t other_nonce = nonce;

		rng_rekey(&other, key);
		if (bit < 8 * RNG_KEY_BYTES)
			other.key[bit / 8] ^= (uint8_t)(1u << bit % 8);
		else
			other_nonce ^= 1ull << (bit - 8 * RNG_KEY_BYTES);
		rng_fill(&other, other_nonce, other_out, sizeof(other_out));
		ck_assert_mem_ne(other.key, rng.key, 16);
		ck_assert_mem_ne(other.key + 16, rng.key + 16, 16);
		ck_assert_mem_ne(other_out, out, 16);
		ck_assert_mem_ne(other_out + 16, out + 16, 16);
	}
}
END_TEST

START_TEST(test_new_key_does_not_depend_on_length)
{
	static const size_t lens[] = {0, 1, 31, 32, 33, 63, 64, 65, 255, 4096, OUT_BYTES_MAX};
	const uint8_t key[RNG_KEY_BYTES] = {7};
	uint8_t first[RNG_KEY_BYTES];
	uint8_t out[OUT_BYTES_MAX];
	struct rng rng;

	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		rng_rekey(&rng, key);
		rng_fill(&rng, 5, out, lens[i]);
		ck_assert_mem_ne(rng.key, key, sizeof(key));
		if (i == 0)
			memcpy(first, rng.key, sizeof(first));
		ck_assert_mem_eq(rng.key, first, sizeof(first));
	}
}
END_TEST

START_TEST(test_nonce_parts_copies_for_good)
{
	uint8_t out[64], copy_out[64];
	struct rng rng = {.key = {9}}, copy = rng;

	rng_fill(&rng, 1, out, sizeof(out));
	rng_fill(&copy, 2, copy_out, sizeof(copy_out));
	ck_assert_mem_ne(out, copy_out, sizeof(out));
	for (int i = 0; i < 100; i++) {
		ck_assert_mem_ne(rng.key, copy.key, RNG_KEY_BYTES);
		rng_fill(&rng, 0, out, sizeof(out));
		rng_fill(&copy, 0, copy_out, sizeof(copy_out));
		ck_assert_mem_ne(out, copy_out, 32);
		ck_assert_mem_ne(out + 32, copy_out + 32, 32);
	}
}
END_TEST

/* Any of the 16-byte pieces of `old` anywhere in the bytes? */
static bool has_piece(const uint8_t *bytes, size_t len, const uint8_t *old, size_t old_len)
{
	for (size_t i = 0; i + 16 <= old_len; i += 16)
		if (memmem(bytes, len, old + i, 16))
			return true;
	return false;
}

/*
 * Backtracking: from a captured state run forward, with the nonces that were used and with
 * others, and look at the raw keystream of every key on the way: nothing handed out before shows.
 */
START_TEST(test_captured_state_does_not_reproduce)
{
	static uint8_t early[8 * 96], later[96], stream[512];
	struct rng rng = {.key = {0x42}};

	for (size_t i = 0; i < 8; i++)
		rng_fill(&rng, i, early + i * 96, 96);
	for (uint64_t nonces = 0; nonces < 2; nonces++) {
		struct rng captured = rng;

		for (uint64_t i = 0; i < 2000; i++) {
			ck_assert(!has_piece(captured.key, RNG_KEY_BYTES, early, sizeof(early)));
			for (uint64_t nonce = 0; nonce < 8; nonce++) {
				chacha20_keystream(captured.key, nonce, 0, stream, 128);
				ck_assert(!has_piece(stream, 128, early, sizeof(early)));
			}
			rng_fill(&captured, nonces ? i % 8 : 0, later, sizeof(later));
			ck_assert(!has_piece(later, sizeof(later), early, sizeof(early)));
		}
	}
}
END_TEST

/* Nor does output show the key that is now in use, or that was. */
START_TEST(test_output_is_not_key)
{
	static uint8_t out[4096];
	struct rng rng = {.key = {0x17}};

	for (size_t len = 16; len <= sizeof(out); len *= 2) {
		struct rng before = rng;

		rng_fill(&rng, 0, out, len);
		ck_assert(!has_piece(out, len, rng.key, RNG_KEY_BYTES));
		ck_assert(!has_piece(out, len, before.key, RNG_KEY_BYTES));
	}
}
END_TEST

/* Between two fills the state is one key: what a fill worked with is gone. */
START_TEST(test_nothing_but_the_key_stays)
{
	static const uint8_t zero[2 * RNG_KEY_BYTES];
	static uint8_t out[1100];
	struct rng rng = {.key = {0x2a}};

	for (size_t len = 0; len <= sizeof(out); len++) {
		rng_fill(&rng, len, out, len);
		ck_assert_mem_eq(rng.block, zero, sizeof(rng.block));
	}
}
END_TEST

START_TEST(test_zero_length_touches_nothing)
{
	struct rng rng = {.key = {1}}, before = rng;

	rng_fill(&rng, 0, NULL, 0);
	ck_assert_mem_ne(rng.key, before.key, RNG_KEY_BYTES);
}
END_TEST

START_TEST(test_wipe)
{
	const struct rng zero = {.key = {0}};
	struct rng rng;

	memset(&rng, 0xff, sizeof(rng));
	rng_wipe(&rng);
	ck_assert_mem_eq(&rng, &zero, sizeof(rng));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("rng");
	TCase *tcase = tcase_create("rng");
	SRunner *runner = srunner_create(suite);
	int failed;

	if (sodium_init() < 0)
		return 1;
	chacha20_select(usable_isa());
	suite_add_tcase(suite, tcase);
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, test_fill_vectors);
	tcase_add_test(tcase, test_chain_vectors);
	tcase_add_test(tcase, test_reseed_vectors);
	tcase_add_test(tcase, test_one_bit_changes_everything);
	tcase_add_test(tcase, test_new_key_does_not_depend_on_length);
	tcase_add_test(tcase, test_nonce_parts_copies_for_good);
	tcase_add_test(tcase, test_captured_state_does_not_reproduce);
	tcase_add_test(tcase, test_output_is_not_key);
	tcase_add_test(tcase, test_nothing_but_the_key_stays);
	tcase_add_test(tcase, test_zero_length_touches_nothing);
	tcase_add_test(tcase, test_wipe);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
