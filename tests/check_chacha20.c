/*
 * check_chacha20 - every implementation this processor can run, against published vectors,
 * against libsodium and against the portable one.
 *
 * Owns:       nothing beyond one test's life.
 * May touch:  its own memory.
 * Never does: compute an expected value with the code under test, but for the wrap of the
 *             64-bit counter, where the portable code, one block at a time, is the measure.
 */
#include <check.h>
#include <errno.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/chacha20.h"
#include "host/cpu.h"

#define BLOCK      CHACHA20_BLOCK_BYTES
#define LEN_MAX    4096u
#define GUARD      64u
#define BLOCKS_MAX 72u /* twice the widest group and a few more */

/* Asked once: under a hypervisor each CPUID is a trip out of the guest. */
static unsigned usable_isa(void)
{
	static unsigned isa;
	static bool known;

	if (known)
		return isa;
	known = true;
	if (cpu_has_avx2())
		isa |= CHACHA20_ISA_AVX2;
	if (cpu_has_avx512())
		isa |= CHACHA20_ISA_AVX512;
	return isa;
}

static bool runs_here(const struct chacha20_impl *impl)
{
	return !(impl->needs_isa & ~usable_isa());
}

#define FOR_EACH_IMPL(impl)                                                           \
	for (const struct chacha20_impl *impl = chacha20_impls(); impl->name; impl++) \
		if (runs_here(impl))

/* What chacha20_keystream() should give, by libsodium. */
static void expect(uint8_t *out, size_t len, const uint8_t *key, uint64_t nonce, uint64_t counter)
{
	uint8_t n[8];

	for (size_t i = 0; i < sizeof(n); i++)
		n[i] = (uint8_t)(nonce >> (8 * i));
	memset(out, 0, len);
	ck_assert_int_eq(crypto_stream_chacha20_xor_ic(out, out, len, n, counter, key), 0);
}

/* A generator of test inputs that gives the same in every run (splitmix64, S. Vigna). */
static uint64_t next_u64(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static void next_key(uint64_t *state, uint8_t key[CHACHA20_KEY_BYTES])
{
	for (size_t i = 0; i < CHACHA20_KEY_BYTES; i += 8) {
		uint64_t word = next_u64(state);

		memcpy(key + i, &word, 8);
	}
}

/* ------------------------------------------------------------------ vectors */

#define ZERO_KEY "0000000000000000000000000000000000000000000000000000000000000000"

/* As published: nonce_bytes is 12 (RFC 8439, 32-bit counter) or 8 (the original cipher). */
struct vector {
	const char *source, *key, *nonce, *keystream;
	size_t nonce_bytes;
	uint32_t counter;
};

static const struct vector vectors[] = {
    {"RFC 8439 2.3.2", "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
     "000000090000004a00000000",
     "10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e"
     "d2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e",
     12, 1},
    {"RFC 8439 A.1 #1", ZERO_KEY, "000000000000000000000000",
     "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
     "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586",
     12, 0},
    {"RFC 8439 A.1 #2", ZERO_KEY, "000000000000000000000000",
     "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"
     "29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f",
     12, 1},
    {"RFC 8439 A.1 #3", "0000000000000000000000000000000000000000000000000000000000000001",
     "000000000000000000000000",
     "3aeb5224ecf849929b9d828db1ced4dd832025e8018b8160b82284f3c949aa5a"
     "8eca00bbb4a73bdad192b5c42f73f2fd4e273644c8b36125a64addeb006c13a0",
     12, 1},
    {"RFC 8439 A.1 #4", "00ff000000000000000000000000000000000000000000000000000000000000",
     "000000000000000000000000",
     "72d54dfbf12ec44b362692df94137f328fea8da73990265ec1bbbea1ae9af0ca"
     "13b25aa26cb4a648cb9b9d1be65b2c0924a66c54d545ec1b7374f4872e99f096",
     12, 2},
    {"RFC 8439 A.1 #5", ZERO_KEY, "000000000000000000000002",
     "c2c64d378cd536374ae204b9ef933fcd1a8b2288b3dfa49672ab765b54ee27c7"
     "8a970e0e955c14f3a88e741b97c286f75f8fc299e8148362fa198a39531bed6d",
     12, 0},
    /* draft-strombergson-chacha-test-vectors, 256-bit keys, 20 rounds, both blocks printed */
    {"draft TC7", "00112233445566778899aabbccddeeffffeeddccbbaa99887766554433221100",
     "0f1e2d3c4b5a6978",
     "9fadf409c00811d00431d67efbd88fba59218d5d6708b1d685863fabbb0e961e"
     "ea480fd6fb532bfd494b2151015057423ab60a63fe4f55f7a212e2167ccab931"
     "fbfd29cf7bc1d279eddf25dd316bb8843d6edee0bd1ef121d12fa17cbc2c574c"
     "ccab5e275167b08bd686f8a09df87ec3ffb35361b94ebfa13fec0e4889d18da5",
     8, 0},
    {"draft TC8", "c46ec1b18ce8a878725a37e780dfb7351f68ed2e194c79fbc6aebee1a667975d",
     "1ada31d5cf688221",
     "f63a89b75c2271f9368816542ba52f06ed49241792302b00b5e8f80ae9a473af"
     "c25b218f519af0fdd406362e8d69de7f54c604a6e00f353f110f771bdca8ab92",
     8, 0},
};

struct input {
	uint8_t key[CHACHA20_KEY_BYTES];
	uint64_t nonce, counter;
	uint8_t keystream[2 * BLOCK];
	size_t len;
};

static uint64_t load_le(const uint8_t *p, size_t bytes)
{
	uint64_t v = 0;

	for (size_t i = 0; i < bytes; i++)
		v |= (uint64_t)p[i] << (8 * i);
	return v;
}

/* The mapping crypto/chacha20.h gives: words 12 and 13 are the counter, 14 and 15 the nonce. */
static void parse(const struct vector *v, struct input *in)
{
	uint8_t nonce[12];
	size_t high = v->nonce_bytes - 8; /* bytes of an RFC nonce that stand in word 13 */

	ck_assert_int_eq(
	    sodium_hex2bin(in->key, sizeof(in->key), v->key, strlen(v->key), NULL, NULL, NULL), 0);
	ck_assert_int_eq(
	    sodium_hex2bin(nonce, v->nonce_bytes, v->nonce, 2 * v->nonce_bytes, NULL, NULL, NULL),
	    0);
	ck_assert_int_eq(sodium_hex2bin(in->keystream, sizeof(in->keystream), v->keystream,
					strlen(v->keystream), NULL, &in->len, NULL),
			 0);
	in->counter = v->counter | load_le(nonce, high) << 32;
	in->nonce = load_le(nonce + high, 8);
}

static bool answer_is(const struct chacha20_impl *impl, const struct input *in)
{
	uint8_t got[2 * BLOCK];

	impl->blocks(in->key, in->nonce, in->counter, got, in->len / BLOCK);
	return memcmp(got, in->keystream, in->len) == 0;
}

START_TEST(published_vectors)
{
	struct input in;

	FOR_EACH_IMPL(impl)
	{
		for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
			parse(&vectors[i], &in);
			ck_assert_msg(answer_is(impl, &in), "%s: %s", impl->name,
				      vectors[i].source);
		}
	}
}
END_TEST

/* Any one bit of key, nonce, counter or expected answer makes the difference. */
START_TEST(every_input_bit_counts)
{
	struct input good, in;

	parse(&vectors[6], &good);
	FOR_EACH_IMPL(impl)
	{
		for (size_t bit = 0; bit < 8 * CHACHA20_KEY_BYTES; bit++) {
			in = good;
			in.key[bit / 8] ^= (uint8_t)(1u << bit % 8);
			ck_assert_msg(!answer_is(impl, &in), "%s key bit %zu", impl->name, bit);
		}
		for (size_t bit = 0; bit < 64; bit++) {
			in = good;
			in.nonce ^= (uint64_t)1 << bit;
			ck_assert_msg(!answer_is(impl, &in), "%s nonce bit %zu", impl->name, bit);
			in = good;
			in.counter ^= (uint64_t)1 << bit;
			ck_assert_msg(!answer_is(impl, &in), "%s counter bit %zu", impl->name, bit);
		}
		for (size_t bit = 0; bit < 8 * good.len; bit++) {
			in = good;
			in.keystream[bit / 8] ^= (uint8_t)(1u << bit % 8);
			ck_assert_msg(!answer_is(impl, &in), "%s answer bit %zu", impl->name, bit);
		}
	}
}
END_TEST

/* ---------------------------------------------------------------- self-test */

static const struct chacha20_impl *portable(void)
{
	const struct chacha20_impl *impl = chacha20_impls();

	while (impl->needs_isa)
		impl++;
	return impl;
}

static void bit_wrong(const uint8_t *key, uint64_t nonce, uint64_t counter, uint8_t *out, size_t n)
{
	portable()->blocks(key, nonce, counter, out, n);
	if (n)
		out[0] ^= 1;
}

/* Equal to the portable code in all but one vector: the vector itself must be looked at. */
static void rfc_wrong(const uint8_t *key, uint64_t nonce, uint64_t counter, uint8_t *out, size_t n)
{
	portable()->blocks(key, nonce, counter, out, n);
	if (n && nonce == 0x4a000000)
		out[63] ^= 1;
}

static void last_wrong(const uint8_t *key, uint64_t nonce, uint64_t counter, uint8_t *out, size_t n)
{
	portable()->blocks(key, nonce, counter, out, n);
	if (n == 31)
		out[n * BLOCK - 1] ^= 0x80;
}

static void no_carry(const uint8_t *key, uint64_t nonce, uint64_t counter, uint8_t *out, size_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		uint32_t low = (uint32_t)counter + i;

		portable()->blocks(key, nonce, (counter & ~(uint64_t)UINT32_MAX) | low,
				   out + i * BLOCK, 1);
	}
}

static void no_nonce(const uint8_t *key, uint64_t nonce, uint64_t counter, uint8_t *out, size_t n)
{
	(void)nonce;
	portable()->blocks(key, 0, counter, out, n);
}

static void beyond(const uint8_t *key, uint64_t nonce, uint64_t counter, uint8_t *out, size_t n)
{
	portable()->blocks(key, nonce, counter, out, n);
	if (n == 17)
		out[n * BLOCK] ^= 1;
}

static void nothing(const uint8_t *key, uint64_t nonce, uint64_t counter, uint8_t *out, size_t n)
{
	(void)key, (void)nonce, (void)counter, (void)out, (void)n;
}

START_TEST(selftest_answers)
{
	const struct chacha20_impl broken[] = {
	    {"bit_wrong", 0, bit_wrong}, {"rfc_wrong", 0, rfc_wrong}, {"last_wrong", 0, last_wrong},
	    {"no_carry", 0, no_carry},   {"no_nonce", 0, no_nonce},   {"beyond", 0, beyond},
	    {"nothing", 0, nothing},
	};

	FOR_EACH_IMPL(impl)
	ck_assert_msg(chacha20_selftest(impl) == 0, "%s", impl->name);
	for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++)
		ck_assert_msg(chacha20_selftest(&broken[i]) == -EBADMSG, "%s", broken[i].name);
}
END_TEST

START_TEST(selects_what_is_usable)
{
	const struct chacha20_impl *impls = chacha20_impls();

	ck_assert_str_eq(chacha20_select(CHACHA20_ISA_NONE)->name, "portable");
	ck_assert_str_eq(portable()->name, "portable");
	ck_assert_ptr_null(portable()[1].name);
	for (const struct chacha20_impl *impl = impls; impl->name; impl++)
		ck_assert_ptr_eq(chacha20_select(impl->needs_isa), impl);
	ck_assert_ptr_eq(chacha20_select(CHACHA20_ISA_AVX2 | CHACHA20_ISA_AVX512), impls);
}
END_TEST

/* ----------------------------------------------------------------- equality */

/* Every length at every offset in turn; nothing written around it. */
START_TEST(every_length)
{
	static uint8_t want[LEN_MAX], buf[GUARD + 64 + LEN_MAX + GUARD];
	uint64_t state = 1;
	uint8_t key[CHACHA20_KEY_BYTES];

	next_key(&state, key);
	expect(want, LEN_MAX, key, 0x0123456789abcdef, 7);
	FOR_EACH_IMPL(impl)
	{
		ck_assert_ptr_eq(chacha20_select(impl->needs_isa), impl);
		for (size_t len = 0; len <= LEN_MAX; len++) {
			uint8_t *out = buf + GUARD + len * 5 % 64;
			size_t before = (size_t)(out - buf);

			memset(buf, 0xa5, sizeof(buf));
			chacha20_keystream(key, 0x0123456789abcdef, 7, out, len);
			ck_assert_msg(!memcmp(out, want, len), "%s length %zu", impl->name, len);
			for (size_t i = 0; i < sizeof(buf); i++)
				if ((i < before || i >= before + len) && buf[i] != 0xa5)
					ck_abort_msg("%s length %zu wrote at %zd", impl->name, len,
						     (ssize_t)(i - before));
		}
	}
}
END_TEST

/* The carry into word 13 before, in and after each lane, for every count of blocks. */
START_TEST(carries_in_every_lane)
{
	static uint8_t want[BLOCKS_MAX * BLOCK], got[BLOCKS_MAX * BLOCK];
	uint8_t key[CHACHA20_KEY_BYTES] = {1, 2, 3};

	for (uint64_t back = 0; back <= BLOCKS_MAX; back++) {
		uint64_t counter = 0x1200000000 - back;

		expect(want, sizeof(want), key, 99, counter);
		FOR_EACH_IMPL(impl)
		{
			for (size_t n = 1; n <= BLOCKS_MAX; n++) {
				impl->blocks(key, 99, counter, got, n);
				ck_assert_msg(!memcmp(got, want, n * BLOCK), "%s -%u, %zu blocks",
					      impl->name, (unsigned)back, n);
			}
		}
	}
}
END_TEST

START_TEST(wraps_at_the_end)
{
	static uint8_t want[BLOCKS_MAX * BLOCK], got[BLOCKS_MAX * BLOCK];
	uint8_t key[CHACHA20_KEY_BYTES] = {4, 5, 6};

	for (uint64_t back = 0; back <= BLOCKS_MAX; back++) {
		for (size_t i = 0; i < BLOCKS_MAX; i++)
			portable()->blocks(key, 1, i - back, want + i * BLOCK, 1);
		FOR_EACH_IMPL(impl)
		{
			impl->blocks(key, 1, 0 - back, got, BLOCKS_MAX);
			ck_assert_msg(!memcmp(got, want, sizeof(want)), "%s -%u", impl->name,
				      (unsigned)back);
		}
	}
}
END_TEST

#define RANDOM_ROUNDS 1000000u

/* Mostly short; one in 256 long enough for the widest paths. */
START_TEST(random_inputs)
{
	static uint8_t want[LEN_MAX], got[LEN_MAX];
	uint64_t state = 20260101;

	for (unsigned i = 0; i < RANDOM_ROUNDS; i++) {
		uint8_t key[CHACHA20_KEY_BYTES];
		uint64_t nonce = next_u64(&state), counter = next_u64(&state);
		size_t len = next_u64(&state) % (i % 256 ? 200 : LEN_MAX);

		next_key(&state, key);
		/* libsodium stops at the end of the counter. */
		if (counter > UINT64_MAX - LEN_MAX)
			counter = 0;
		expect(want, len, key, nonce, counter);
		FOR_EACH_IMPL(impl)
		{
			chacha20_select(impl->needs_isa);
			chacha20_keystream(key, nonce, counter, got, len);
			if (memcmp(got, want, len))
				ck_abort_msg("%s differs in round %u, length %zu", impl->name, i,
					     len);
		}
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("chacha20");
	TCase *tcase = tcase_create("chacha20");
	SRunner *sr = srunner_create(suite);
	int failed;

	if (sodium_init() < 0)
		return 1;
	for (const struct chacha20_impl *impl = chacha20_impls(); impl->name; impl++)
		if (!runs_here(impl))
			printf("SKIP: %s: this processor cannot run it\n", impl->name);
	tcase_set_timeout(tcase, 120);
	tcase_add_test(tcase, published_vectors);
	tcase_add_test(tcase, every_input_bit_counts);
	tcase_add_test(tcase, selftest_answers);
	tcase_add_test(tcase, selects_what_is_usable);
	tcase_add_test(tcase, every_length);
	tcase_add_test(tcase, carries_in_every_lane);
	tcase_add_test(tcase, wraps_at_the_end);
	tcase_add_test(tcase, random_inputs);
	suite_add_tcase(suite, tcase);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
