/*
 * crypto/chacha20 - the portable implementation, the table of implementations, the choice
 * among them and their self-test. Written from D. J. Bernstein, "ChaCha, a variant of
 * Salsa20" (2008), and RFC 8439.
 *
 * Owns:       the dispatch pointer, the only mutable state in crypto/.
 * May touch:  the memory its callers pass.
 * Never does: I/O, allocation, branches or loads that depend on key or keystream.
 */
#include <errno.h>
#include <string.h>

#include "crypto/chacha20.h"
#include "crypto/chacha20_impl.h"
#include "crypto/copy.h"

#define ROTL32(v, n) (((v) << (n)) | ((v) >> (32 - (n))))

#define QUARTER_ROUND(a, b, c, d)  \
	do {                       \
		a += b;            \
		d ^= a;            \
		d = ROTL32(d, 16); \
		c += d;            \
		b ^= c;            \
		b = ROTL32(b, 12); \
		a += b;            \
		d ^= a;            \
		d = ROTL32(d, 8);  \
		c += d;            \
		b ^= c;            \
		b = ROTL32(b, 7);  \
	} while (0)

#define LOAD32_LE(p) \
	((uint32_t)(p)[0] | (uint32_t)(p)[1] << 8 | (uint32_t)(p)[2] << 16 | (uint32_t)(p)[3] << 24)

#define STORE32_LE(p, v)                      \
	do {                                  \
		uint32_t v_ = (v);            \
		(p)[0] = (uint8_t)v_;         \
		(p)[1] = (uint8_t)(v_ >> 8);  \
		(p)[2] = (uint8_t)(v_ >> 16); \
		(p)[3] = (uint8_t)(v_ >> 24); \
	} while (0)

CHACHA20_INTEGER_ONLY CHACHA20_KERNEL static uintptr_t block(const uint8_t key[CHACHA20_KEY_BYTES],
							     uint64_t nonce, uint64_t counter,
							     uint8_t *out)
{
	uint32_t c0 = (uint32_t)counter, c1 = (uint32_t)(counter >> 32);
	uint32_t n0 = (uint32_t)nonce, n1 = (uint32_t)(nonce >> 32);
	uint32_t x0 = 0x61707865, x1 = 0x3320646e, x2 = 0x79622d32, x3 = 0x6b206574;
	uint32_t x4 = LOAD32_LE(key), x5 = LOAD32_LE(key + 4);
	uint32_t x6 = LOAD32_LE(key + 8), x7 = LOAD32_LE(key + 12);
	uint32_t x8 = LOAD32_LE(key + 16), x9 = LOAD32_LE(key + 20);
	uint32_t x10 = LOAD32_LE(key + 24), x11 = LOAD32_LE(key + 28);
	uint32_t x12 = c0, x13 = c1, x14 = n0, x15 = n1;
	uintptr_t low;

	for (int i = 0; i < 10; i++) {
		QUARTER_ROUND(x0, x4, x8, x12);
		QUARTER_ROUND(x1, x5, x9, x13);
		QUARTER_ROUND(x2, x6, x10, x14);
		QUARTER_ROUND(x3, x7, x11, x15);
		QUARTER_ROUND(x0, x5, x10, x15);
		QUARTER_ROUND(x1, x6, x11, x12);
		QUARTER_ROUND(x2, x7, x8, x13);
		QUARTER_ROUND(x3, x4, x9, x14);
	}

	STORE32_LE(out, x0 + 0x61707865);
	STORE32_LE(out + 4, x1 + 0x3320646e);
	STORE32_LE(out + 8, x2 + 0x79622d32);
	STORE32_LE(out + 12, x3 + 0x6b206574);
	STORE32_LE(out + 16, x4 + LOAD32_LE(key));
	STORE32_LE(out + 20, x5 + LOAD32_LE(key + 4));
	STORE32_LE(out + 24, x6 + LOAD32_LE(key + 8));
	STORE32_LE(out + 28, x7 + LOAD32_LE(key + 12));
	STORE32_LE(out + 32, x8 + LOAD32_LE(key + 16));
	STORE32_LE(out + 36, x9 + LOAD32_LE(key + 20));
	STORE32_LE(out + 40, x10 + LOAD32_LE(key + 24));
	STORE32_LE(out + 44, x11 + LOAD32_LE(key + 28));
	STORE32_LE(out + 48, x12 + c0);
	STORE32_LE(out + 52, x13 + c1);
	STORE32_LE(out + 56, x14 + n0);
	STORE32_LE(out + 60, x15 + n1);
	CHACHA20_FRAME_LOW(low);
	return low;
}

void chacha20_blocks_portable(const uint8_t key[CHACHA20_KEY_BYTES], uint64_t nonce,
			      uint64_t counter, uint8_t *out, size_t nblocks)
{
	uintptr_t low;

	if (!nblocks)
		return;
	do {
		low = block(key, nonce, counter++, out);
		out += CHACHA20_BLOCK_BYTES;
	} while (--nblocks);
	chacha20_burn_stack(low);
}

static const struct chacha20_impl impls[] = {
#if defined(__x86_64__)
    {"avx512", CHACHA20_ISA_AVX512, chacha20_blocks_avx512},
    {"avx2", CHACHA20_ISA_AVX2, chacha20_blocks_avx2},
#endif
    {"portable", CHACHA20_ISA_NONE, chacha20_blocks_portable},
    {NULL, CHACHA20_ISA_NONE, NULL},
};

static const struct chacha20_impl *chosen = &impls[sizeof(impls) / sizeof(impls[0]) - 2];

const struct chacha20_impl *chacha20_impls(void)
{
	return impls;
}

const struct chacha20_impl *chacha20_select(unsigned usable_isa)
{
	const struct chacha20_impl *impl = impls;

	/* Ends at the portable one at the latest: it needs nothing. */
	while (impl->needs_isa & ~usable_isa)
		impl++;
	chosen = impl;
	return impl;
}

/* Less than a group of blocks and not whole: all at once, as a few take hardly longer than one. */
static void keystream_end(const uint8_t key[CHACHA20_KEY_BYTES], uint64_t nonce, uint64_t counter,
			  uint8_t *out, size_t len)
{
	uint8_t end[CHACHA20_GROUP_BYTES] CHACHA20_UNINITIALIZED;
	size_t nblocks = len / CHACHA20_BLOCK_BYTES + 1;

	chosen->blocks(key, nonce, counter, end, nblocks);
	crypto_copy(out, end, len);
	explicit_bzero(end, nblocks * CHACHA20_BLOCK_BYTES);
}

void chacha20_keystream(const uint8_t key[CHACHA20_KEY_BYTES], uint64_t nonce, uint64_t counter,
			void *out, size_t len)
{
	size_t end_bytes = len % CHACHA20_BLOCK_BYTES ? len % CHACHA20_GROUP_BYTES : 0;
	size_t nblocks = (len - end_bytes) / CHACHA20_BLOCK_BYTES;
	uint8_t *to = out;

	if (nblocks)
		chosen->blocks(key, nonce, counter, to, nblocks);
	if (end_bytes)
		keystream_end(key, nonce, counter + nblocks, to + len - end_bytes, end_bytes);
}

struct known_answer {
	uint8_t key[CHACHA20_KEY_BYTES];
	uint64_t nonce;
	uint64_t counter;
	uint8_t keystream[CHACHA20_BLOCK_BYTES];
};

static const struct known_answer known_answers[] = {
    {
	/* RFC 8439 section 2.3.2: counter 1, nonce 00:00:00:09:00:00:00:4a:00:00:00:00. */
	.key = {0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a,
		0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15,
		0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f},
	.nonce = 0x000000004a000000,
	.counter = 0x0900000000000001,
	.keystream = {0x10, 0xf1, 0xe7, 0xe4, 0xd1, 0x3b, 0x59, 0x15, 0x50, 0x0f, 0xdd, 0x1f, 0xa3,
		      0x20, 0x71, 0xc4, 0xc7, 0xd1, 0xf4, 0xc7, 0x33, 0xc0, 0x68, 0x03, 0x04, 0x22,
		      0xaa, 0x9a, 0xc3, 0xd4, 0x6c, 0x4e, 0xd2, 0x82, 0x64, 0x46, 0x07, 0x9f, 0xaa,
		      0x09, 0x14, 0xc2, 0xd7, 0x05, 0xd9, 0x8b, 0x02, 0xa2, 0xb5, 0x12, 0x9c, 0xd1,
		      0xde, 0x16, 0x4e, 0xb9, 0xcb, 0xd0, 0x83, 0xe8, 0xa2, 0x50, 0x3c, 0x4e},
    },
    {
	/* draft-strombergson-chacha-test-vectors-00, TC7, 256-bit key, 20 rounds, block 0. */
	.key = {0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa,
		0xbb, 0xcc, 0xdd, 0xee, 0xff, 0xff, 0xee, 0xdd, 0xcc, 0xbb, 0xaa,
		0x99, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0x00},
	.nonce = 0x78695a4b3c2d1e0f,
	.counter = 0,
	.keystream = {0x9f, 0xad, 0xf4, 0x09, 0xc0, 0x08, 0x11, 0xd0, 0x04, 0x31, 0xd6, 0x7e, 0xfb,
		      0xd8, 0x8f, 0xba, 0x59, 0x21, 0x8d, 0x5d, 0x67, 0x08, 0xb1, 0xd6, 0x85, 0x86,
		      0x3f, 0xab, 0xbb, 0x0e, 0x96, 0x1e, 0xea, 0x48, 0x0f, 0xd6, 0xfb, 0x53, 0x2b,
		      0xfd, 0x49, 0x4b, 0x21, 0x51, 0x01, 0x50, 0x57, 0x42, 0x3a, 0xb6, 0x0a, 0x63,
		      0xfe, 0x4f, 0x55, 0xf7, 0xa2, 0x12, 0xe2, 0x16, 0x7c, 0xca, 0xb9, 0x31},
    },
};

/*
 * One more than twice the widest group (32 blocks) and every smaller count below it: each
 * inner path is entered, repeated and left at each of its lengths.
 */
#define SELFTEST_BLOCKS 65u

/*
 * Compares with the portable code for every count of blocks up to SELFTEST_BLOCKS, from a
 * counter on. The byte after the last block must stay as it was.
 */
static int compare_with_portable(const struct chacha20_impl *impl, uint64_t counter)
{
	const struct known_answer *in = &known_answers[1];
	uint8_t want[SELFTEST_BLOCKS * CHACHA20_BLOCK_BYTES];
	uint8_t got[SELFTEST_BLOCKS * CHACHA20_BLOCK_BYTES + 1];

	chacha20_blocks_portable(in->key, in->nonce, counter, want, SELFTEST_BLOCKS);
	for (size_t n = 0; n <= SELFTEST_BLOCKS; n++) {
		size_t len = n * CHACHA20_BLOCK_BYTES;

		memset(got, 0, len);
		got[len] = 0xa5;
		impl->blocks(in->key, in->nonce, counter, got, n);
		if (memcmp(got, want, len) || got[len] != 0xa5)
			return -EBADMSG;
	}
	return 0;
}

int chacha20_selftest(const struct chacha20_impl *impl)
{
	/* The carry into word 13 after 0 to 31 blocks falls into every lane of a group. */
	static const uint64_t counters[] = {0, 0xffffffef, 0x12345678fffffffd, UINT64_MAX - 4};
	uint8_t got[CHACHA20_BLOCK_BYTES];
	int ret = 0;

	for (size_t i = 0; i < sizeof(known_answers) / sizeof(known_answers[0]); i++) {
		const struct known_answer *ka = &known_answers[i];

		impl->blocks(ka->key, ka->nonce, ka->counter, got, 1);
#ifdef RNGD_TEST_BAD_VECTOR
		/* A build in which the answer is wrong for one of them: its daemon must not start.
		 */
		got[0] ^= strcmp(impl->name, RNGD_TEST_BAD_VECTOR) == 0;
#endif
		if (memcmp(got, ka->keystream, sizeof(got)))
			return -EBADMSG;
	}
	for (size_t i = 0; !ret && i < sizeof(counters) / sizeof(counters[0]); i++)
		ret = compare_with_portable(impl, counters[i]);
	return ret;
}
