/*
 * crypto/chacha20_avx2 - ChaCha20 with AVX2.
 *
 * Owns:       nothing.
 * May touch:  the memory its caller passes.
 * Never does: run before the caller has seen that the instructions are usable; leave key or
 *             keystream in registers or on the stack.
 *
 * The layouts of chacha20_avx512.c at half the width: one block by the integer code, up to
 * four by rows of two blocks a register, more by columns of eight blocks: one state alone up
 * to eight blocks, two in turn above that. The 16 registers do not even hold one of them and
 * what it takes to rotate, so words go through memory, which costs less than waiting for
 * results would.
 */
#include <immintrin.h>

#include "crypto/chacha20_impl.h"

/* Blocks in one register of rows, and in one register of columns. */
#define ROWS_MAX      2u
#define ROW_BLOCKS    2u
#define COLUMN_BLOCKS 8u

/*
 * In place, on registers, for the reason given in chacha20_avx512.c. Rotates by whole bytes
 * take one instruction, others three.
 */
#define ADD(a, b) __asm__("vpaddd %1, %0, %0" : "+x"(a) : "x"(b))
#define XOR(a, b) __asm__("vpxor %1, %0, %0" : "+x"(a) : "x"(b))
#define ROTL16(a) __asm__("vpshufb %1, %0, %0" : "+x"(a) : "xm"(by16))
#define ROTL8(a)  __asm__("vpshufb %1, %0, %0" : "+x"(a) : "xm"(by8))
#define ROTL(a, n)                                \
	do {                                      \
		__m256i t;                        \
                                                  \
		__asm__("vpslld %2, %0, %1\n\t"   \
			"vpsrld %3, %0, %0\n\t"   \
			"vpor %1, %0, %0"         \
			: "+x"(a), "=&x"(t)       \
			: "i"(n), "i"(32 - (n))); \
	} while (0)
#define ROTL12(a) ROTL(a, 12)
#define ROTL7(a)  ROTL(a, 7)

static const __m256i rotate16 = {0x0504070601000302, 0x0d0c0f0e09080b0a, 0x0504070601000302,
				 0x0d0c0f0e09080b0a};
static const __m256i rotate8 = {0x0605040702010003, 0x0e0d0c0f0a09080b, 0x0605040702010003,
				0x0e0d0c0f0a09080b};

static const uint32_t sigma[4] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};

/*
 * Four words of the state. Not by memcpy: where it is a call, it may use vector registers
 * that this file does not know of.
 */
CHACHA20_INLINE __m128i load_row(const void *row)
{
	return _mm_loadu_si128((const __m128i *)row);
}

/* ------------------------------------------------------------------ columns */

/*
 * Eight blocks in columns, in memory. A half round works on b, c and d in registers; a stays
 * here, its next use being far enough away.
 */
struct column_state {
	__m256i a[4], b[4], c[4], d[4];
};

/* What two states start from; words 12 and 13, the counter, differ from lane to lane. */
struct columns_input {
	__m256i low[2];
	__m256i high[2];
	uint32_t word[16];
};

/* a += b, d ^= a, with a in memory */
#define ADD_XOR_A(q)                                                              \
	do {                                                                      \
		__m256i t;                                                        \
                                                                                  \
		__asm__("vpaddd %1, %2, %0" : "=x"(t) : "m"(s->a[q]), "x"(b[q])); \
		s->a[q] = t;                                                      \
		XOR(d[q], t);                                                     \
	} while (0)

CHACHA20_INLINE void column_half(struct column_state *s, int diag)
{
	__m256i by16 = rotate16, by8 = rotate8;
	__m256i b[4] CHACHA20_UNINITIALIZED, c[4] CHACHA20_UNINITIALIZED,
	    d[4] CHACHA20_UNINITIALIZED;

	CHACHA20_UNROLL
	for (int q = 0; q < 4; q++) {
		b[q] = s->b[(q + diag) % 4];
		c[q] = s->c[(q + 2 * diag) % 4];
		d[q] = s->d[(q + 3 * diag) % 4];
	}
	CHACHA20_EACH(q, 4, ADD_XOR_A(q));
	CHACHA20_EACH(q, 4, ROTL16(d[q]));
	CHACHA20_EACH(q, 4, ADD(c[q], d[q]));
	CHACHA20_EACH(q, 4, XOR(b[q], c[q]));
	CHACHA20_EACH(q, 4, ROTL12(b[q]));
	CHACHA20_EACH(q, 4, ADD_XOR_A(q));
	CHACHA20_EACH(q, 4, ROTL8(d[q]));
	CHACHA20_EACH(q, 4, ADD(c[q], d[q]));
	CHACHA20_EACH(q, 4, XOR(b[q], c[q]));
	CHACHA20_EACH(q, 4, ROTL7(b[q]));
	CHACHA20_UNROLL
	for (int q = 0; q < 4; q++) {
		s->b[(q + diag) % 4] = b[q];
		s->c[(q + 2 * diag) % 4] = c[q];
		s->d[(q + 3 * diag) % 4] = d[q];
	}
}

/* Keeps the words of s in memory, where the compiler would shuffle them among registers. */
#define IN_MEMORY(s) __asm__ volatile("" : "+m"(*(s)))

CHACHA20_INLINE void two_column_rounds(struct column_state *x, struct column_state *y)
{
	for (int i = 0; i < 10; i++) {
		IN_MEMORY(x);
		column_half(x, 0);
		IN_MEMORY(x);
		IN_MEMORY(y);
		column_half(y, 0);
		IN_MEMORY(y);
		IN_MEMORY(x);
		column_half(x, 1);
		IN_MEMORY(x);
		IN_MEMORY(y);
		column_half(y, 1);
		IN_MEMORY(y);
	}
}

/*
 * One state alone waits for results more than for anything else, so its registers are
 * assigned by hand: a in ymm0 to 3, b in ymm4 to 7, d in ymm8 to 11, half of c in ymm12 and
 * 13, the other half in memory, exchanged between pairs of quarter rounds; ymm14 and 15 for
 * the rotates. s is at %1, the rotate tables %2 and %3, the input
 * words at %4.
 */
/* clang-format off */
#define R(n)             "%%ymm" #n
#define WORD(n)          #n "*32(%1)"
#define MOVE(from, to)   "vmovdqa " from ", " to "\n\t"
#define BROADCAST(n, to) "vpbroadcastd " #n "*4(%4), " to "\n\t"
#define IN_PLACE(op, by, to) op " " by ", " R(to) ", " R(to) "\n\t"
#define PAIR_STEP(to0, to1, by0, by1, rot0, rot1)                           \
	IN_PLACE("vpaddd", R(by0), to0) IN_PLACE("vpaddd", R(by1), to1)     \
	IN_PLACE("vpxor", R(to0), rot0) IN_PLACE("vpxor", R(to1), rot1)
#define PAIR_BYTES(d0, d1, table) \
	IN_PLACE("vpshufb", table, d0) IN_PLACE("vpshufb", table, d1)
#define PAIR_BITS(b0, b1, left, right)                                      \
	"vpslld $" #left ", " R(b0) ", %%ymm14\n\t"                         \
	IN_PLACE("vpsrld", "$" #right, b0)                                  \
	IN_PLACE("vpor", "%%ymm14", b0)                                     \
	"vpslld $" #left ", " R(b1) ", %%ymm15\n\t"                         \
	IN_PLACE("vpsrld", "$" #right, b1)                                  \
	IN_PLACE("vpor", "%%ymm15", b1)
#define PAIR(a0, b0, d0, a1, b1, d1)      \
	PAIR_STEP(a0, a1, b0, b1, d0, d1) \
	PAIR_BYTES(d0, d1, "%2")          \
	PAIR_STEP(12, 13, d0, d1, b0, b1) \
	PAIR_BITS(b0, b1, 12, 20)         \
	PAIR_STEP(a0, a1, b0, b1, d0, d1) \
	PAIR_BYTES(d0, d1, "%3")          \
	PAIR_STEP(12, 13, d0, d1, b0, b1) \
	PAIR_BITS(b0, b1, 7, 25)
/* clang-format on */

CHACHA20_INLINE void one_column_rounds(struct column_state *s, const struct columns_input *in)
{
	s->c[2] = _mm256_set1_epi32((int)in->word[10]);
	s->c[3] = _mm256_set1_epi32((int)in->word[11]);
	/* clang-format off */
	__asm__ volatile(
	    BROADCAST(4, R(4)) BROADCAST(5, R(5)) BROADCAST(6, R(6)) BROADCAST(7, R(7))
	    BROADCAST(0, R(0)) BROADCAST(1, R(1)) BROADCAST(2, R(2)) BROADCAST(3, R(3))
	    MOVE("%5", R(8)) MOVE("%6", R(9)) BROADCAST(14, R(10)) BROADCAST(15, R(11))
	    BROADCAST(8, R(12)) BROADCAST(9, R(13))
	    "movl $10, %%eax\n"
	    "1:\n\t"
	    PAIR(0, 4, 8, 1, 5, 9)
	    MOVE(R(12), WORD(8)) MOVE(R(13), WORD(9)) MOVE(WORD(10), R(12)) MOVE(WORD(11), R(13))
	    PAIR(2, 6, 10, 3, 7, 11)
	    PAIR(0, 5, 11, 1, 6, 8)
	    MOVE(R(12), WORD(10)) MOVE(R(13), WORD(11)) MOVE(WORD(8), R(12)) MOVE(WORD(9), R(13))
	    PAIR(2, 7, 9, 3, 4, 10)
	    "decl %%eax\n\t"
	    "jnz 1b\n\t"
	    MOVE(R(0), WORD(0)) MOVE(R(1), WORD(1)) MOVE(R(2), WORD(2)) MOVE(R(3), WORD(3))
	    MOVE(R(4), WORD(4)) MOVE(R(5), WORD(5)) MOVE(R(6), WORD(6)) MOVE(R(7), WORD(7))
	    MOVE(R(12), WORD(8)) MOVE(R(13), WORD(9))
	    MOVE(R(8), WORD(12)) MOVE(R(9), WORD(13)) MOVE(R(10), WORD(14)) MOVE(R(11), WORD(15))
	    : "+m"(*s)
	    : "r"(s), "m"(rotate16), "m"(rotate8), "r"(in->word), "m"(in->low[0]), "m"(in->high[0])
	    : "memory", "cc", "eax", CHACHA20_LOW_VECTORS);
	/* clang-format on */
}

/* x[0..3], one word each for 8 blocks, becomes four words each of blocks 4 * lane + i. */
CHACHA20_INLINE void transpose_words(__m256i x[4])
{
	__m256i a = _mm256_unpacklo_epi32(x[0], x[1]);
	__m256i b = _mm256_unpackhi_epi32(x[0], x[1]);
	__m256i c = _mm256_unpacklo_epi32(x[2], x[3]);
	__m256i d = _mm256_unpackhi_epi32(x[2], x[3]);

	x[0] = _mm256_unpacklo_epi64(a, c);
	x[1] = _mm256_unpackhi_epi64(a, c);
	x[2] = _mm256_unpacklo_epi64(b, d);
	x[3] = _mm256_unpackhi_epi64(b, d);
}

CHACHA20_INLINE void store(uint8_t *to, __m256i v)
{
	_mm256_storeu_si256((__m256i_u *)(void *)to, v);
}

/* Half of each of the first nblocks of 8 blocks, from eight words of each. */
CHACHA20_INLINE void half_store(__m256i x[8], uint8_t *out, size_t nblocks)
{
	transpose_words(x);
	transpose_words(x + 4);
	CHACHA20_UNROLL
	for (int i = 0; i < 4; i++) {
		if ((size_t)i < nblocks)
			store(out + 64 * i, _mm256_permute2x128_si256(x[i], x[4 + i], 0x20));
	}
	CHACHA20_UNROLL
	for (int i = 0; i < 4; i++) {
		if ((size_t)i + 4 < nblocks)
			store(out + 64 * (i + 4), _mm256_permute2x128_si256(x[i], x[4 + i], 0x31));
	}
}

CHACHA20_INLINE void columns_store(const struct column_state *s, const struct columns_input *in,
				   int state, uint8_t *out, size_t nblocks)
{
	__m256i x[8] CHACHA20_UNINITIALIZED;

	CHACHA20_UNROLL
	for (int i = 0; i < 4; i++) {
		x[i] = _mm256_add_epi32(s->a[i], _mm256_set1_epi32((int)in->word[i]));
		x[4 + i] = _mm256_add_epi32(s->b[i], _mm256_set1_epi32((int)in->word[4 + i]));
	}
	half_store(x, out, nblocks);
	CHACHA20_UNROLL
	for (int i = 0; i < 4; i++)
		x[i] = _mm256_add_epi32(s->c[i], _mm256_set1_epi32((int)in->word[8 + i]));
	x[4] = _mm256_add_epi32(s->d[0], in->low[state]);
	x[5] = _mm256_add_epi32(s->d[1], in->high[state]);
	x[6] = _mm256_add_epi32(s->d[2], _mm256_set1_epi32((int)in->word[14]));
	x[7] = _mm256_add_epi32(s->d[3], _mm256_set1_epi32((int)in->word[15]));
	half_store(x, out + 32, nblocks);
}

CHACHA20_INLINE void columns_count(struct columns_input *in, uint64_t counter, int states)
{
	const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
	const __m256i sign = _mm256_set1_epi32(INT32_MIN);

	for (int i = 0; i < states; i++, counter += COLUMN_BLOCKS) {
		__m256i first = _mm256_set1_epi32((int)counter);
		__m256i low = _mm256_add_epi32(first, lane);
		/* -1 where the sum wrapped; the comparison is of signed numbers. */
		__m256i carry =
		    _mm256_cmpgt_epi32(_mm256_xor_si256(first, sign), _mm256_xor_si256(low, sign));

		in->low[i] = low;
		in->high[i] = _mm256_sub_epi32(_mm256_set1_epi32((int)(counter >> 32)), carry);
	}
}

CHACHA20_INLINE void columns_begin(struct columns_input *in, const uint8_t key[CHACHA20_KEY_BYTES],
				   uint64_t nonce)
{
	__m128i_u *row = (__m128i_u *)(void *)in->word;

	row[0] = load_row(sigma);
	row[1] = load_row(key);
	row[2] = load_row(key + 16);
	row[3] = _mm_set_epi64x((long long)nonce, 0);
}

CHACHA20_INLINE void columns_load(struct column_state *s, const struct columns_input *in, int state)
{
	CHACHA20_UNROLL
	for (int q = 0; q < 4; q++) {
		s->a[q] = _mm256_set1_epi32((int)in->word[q]);
		s->b[q] = _mm256_set1_epi32((int)in->word[4 + q]);
		s->c[q] = _mm256_set1_epi32((int)in->word[8 + q]);
	}
	s->d[0] = in->low[state];
	s->d[1] = in->high[state];
	s->d[2] = _mm256_set1_epi32((int)in->word[14]);
	s->d[3] = _mm256_set1_epi32((int)in->word[15]);
}

/* nblocks is a multiple of 2 * COLUMN_BLOCKS, not 0. */
CHACHA20_KERNEL static uintptr_t columns2(const uint8_t key[CHACHA20_KEY_BYTES], uint64_t nonce,
					  uint64_t counter, uint8_t *out, size_t nblocks)
{
	struct columns_input in CHACHA20_UNINITIALIZED;
	uintptr_t low;
	struct column_state x CHACHA20_UNINITIALIZED, y CHACHA20_UNINITIALIZED;

	columns_begin(&in, key, nonce);
	for (; nblocks; nblocks -= 2 * COLUMN_BLOCKS) {
		columns_count(&in, counter, 2);
		columns_load(&x, &in, 0);
		columns_load(&y, &in, 1);
		two_column_rounds(&x, &y);
		columns_store(&x, &in, 0, out, COLUMN_BLOCKS);
		columns_store(&y, &in, 1, out + COLUMN_BLOCKS * CHACHA20_BLOCK_BYTES,
			      COLUMN_BLOCKS);
		counter += 2 * COLUMN_BLOCKS;
		out += 2 * COLUMN_BLOCKS * CHACHA20_BLOCK_BYTES;
	}
	chacha20_wipe_vectors();
	CHACHA20_FRAME_LOW(low);
	return low;
}

/* nblocks is at most COLUMN_BLOCKS. */
CHACHA20_KERNEL static uintptr_t columns1(const uint8_t key[CHACHA20_KEY_BYTES], uint64_t nonce,
					  uint64_t counter, uint8_t *out, size_t nblocks)
{
	struct columns_input in CHACHA20_UNINITIALIZED;
	uintptr_t low;
	struct column_state x CHACHA20_UNINITIALIZED;

	columns_begin(&in, key, nonce);
	columns_count(&in, counter, 1);
	one_column_rounds(&x, &in);
	columns_store(&x, &in, 0, out, nblocks);
	chacha20_wipe_vectors();
	CHACHA20_FRAME_LOW(low);
	return low;
}

/* --------------------------------------------------------------------- rows */

#define TURN(a, order) __asm__("vpshufd %1, %0, %0" : "+x"(a) : "i"(order))

/* A quarter of a quarter round for n states side by side. */
#define ROWS_STEP(n, to, by, rot, rotate)                      \
	do {                                                   \
		CHACHA20_EACH(s, n, ADD(x[s][to], x[s][by]));  \
		CHACHA20_EACH(s, n, XOR(x[s][rot], x[s][to])); \
		CHACHA20_EACH(s, n, rotate(x[s][rot]));        \
	} while (0)

#define ROWS_ROUND(n)                          \
	do {                                   \
		ROWS_STEP(n, 0, 1, 3, ROTL16); \
		ROWS_STEP(n, 2, 3, 1, ROTL12); \
		ROWS_STEP(n, 0, 1, 3, ROTL8);  \
		ROWS_STEP(n, 2, 3, 1, ROTL7);  \
	} while (0)

/*
 * Between column and diagonal rounds rows 0, 2 and 3 are turned, rather than 1, 2 and 3: row
 * 1 is the last one ready and the first one needed.
 */
#define ROWS_TURN(n, order0, order2, order3)                \
	do {                                                \
		CHACHA20_EACH(s, n, TURN(x[s][0], order0)); \
		CHACHA20_EACH(s, n, TURN(x[s][3], order3)); \
		CHACHA20_EACH(s, n, TURN(x[s][2], order2)); \
	} while (0)

/* Writes the first nblocks of n states; n is a constant. */
CHACHA20_INLINE uintptr_t rows(const uint8_t key[CHACHA20_KEY_BYTES], uint64_t nonce,
			       uint64_t counter, uint8_t *out, size_t nblocks, int n)
{
	uintptr_t low;
	__m256i x[ROWS_MAX][4] CHACHA20_UNINITIALIZED, in[3] CHACHA20_UNINITIALIZED,
	    last[ROWS_MAX] CHACHA20_UNINITIALIZED;
	__m256i by16 = rotate16, by8 = rotate8;

	in[0] = _mm256_broadcastsi128_si256(load_row(sigma));
	in[1] = _mm256_broadcastsi128_si256(load_row(key));
	in[2] = _mm256_broadcastsi128_si256(load_row(key + 16));
	CHACHA20_UNROLL
	for (int s = 0; s < n; s++) {
		/* 64-bit lanes carry into word 13 by themselves. */
		last[s] = _mm256_add_epi64(_mm256_broadcastsi128_si256(_mm_set_epi64x(
					       (long long)nonce, (long long)counter)),
					   _mm256_setr_epi64x(2 * s, 0, 2 * s + 1, 0));
		CHACHA20_UNROLL
		for (int i = 0; i < 3; i++)
			x[s][i] = in[i];
		x[s][3] = last[s];
	}
	for (int i = 0; i < 10; i++) {
		ROWS_ROUND(n);
		ROWS_TURN(n, 0x93, 0x39, 0x4e);
		ROWS_ROUND(n);
		ROWS_TURN(n, 0x39, 0x93, 0x4e);
	}
	CHACHA20_UNROLL
	for (int s = 0; s < n; s++) {
		size_t done = (size_t)s * ROW_BLOCKS;
		uint8_t *to = out + done * CHACHA20_BLOCK_BYTES;
		size_t left = nblocks > done ? nblocks - done : 0;

		CHACHA20_UNROLL
		for (int i = 0; i < 3; i++)
			ADD(x[s][i], in[i]);
		ADD(x[s][3], last[s]);
		if (left > 0) {
			store(to, _mm256_permute2x128_si256(x[s][0], x[s][1], 0x20));
			store(to + 32, _mm256_permute2x128_si256(x[s][2], x[s][3], 0x20));
		}
		if (left > 1) {
			store(to + 64, _mm256_permute2x128_si256(x[s][0], x[s][1], 0x31));
			store(to + 96, _mm256_permute2x128_si256(x[s][2], x[s][3], 0x31));
		}
	}
	chacha20_wipe_vectors();
	CHACHA20_FRAME_LOW(low);
	return low;
}

#define DEFINE_ROWS(n)                                                                           \
	CHACHA20_KERNEL static uintptr_t rows##n(const uint8_t key[CHACHA20_KEY_BYTES],          \
						 uint64_t nonce, uint64_t counter, uint8_t *out, \
						 size_t nblocks)                                 \
	{                                                                                        \
		return rows(key, nonce, counter, out, nblocks, n);                               \
	}
DEFINE_ROWS(1)
DEFINE_ROWS(2)

/* At most COLUMN_BLOCKS blocks. */
static void few_blocks(const uint8_t key[CHACHA20_KEY_BYTES], uint64_t nonce, uint64_t counter,
		       uint8_t *out, size_t nblocks)
{
	uintptr_t low;

	if (nblocks == 1) {
		chacha20_blocks_portable(key, nonce, counter, out, 1);
		return;
	}
	if (nblocks <= ROW_BLOCKS)
		low = rows1(key, nonce, counter, out, nblocks);
	else if (nblocks <= 2 * ROW_BLOCKS)
		low = rows2(key, nonce, counter, out, nblocks);
	else
		low = columns1(key, nonce, counter, out, nblocks);
	chacha20_burn_stack(low);
}

void chacha20_blocks_avx2(const uint8_t key[CHACHA20_KEY_BYTES], uint64_t nonce, uint64_t counter,
			  uint8_t *out, size_t nblocks)
{
	size_t wide = nblocks - nblocks % (2 * COLUMN_BLOCKS);

	if (wide) {
		chacha20_burn_stack(columns2(key, nonce, counter, out, wide));
		counter += wide;
		out += wide * CHACHA20_BLOCK_BYTES;
		nblocks -= wide;
	}
	while (nblocks) {
		size_t n = nblocks < COLUMN_BLOCKS ? nblocks : COLUMN_BLOCKS;

		few_blocks(key, nonce, counter, out, n);
		counter += n;
		out += n * CHACHA20_BLOCK_BYTES;
		nblocks -= n;
	}
}
