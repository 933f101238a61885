/*
 * crypto/chacha20_avx512 - ChaCha20 with AVX-512 (F, VL, BW).
 *
 * Owns:       nothing.
 * May touch:  the memory its caller passes.
 * Never does: run before the caller has seen that the instructions are usable; leave key or
 *             keystream in registers or on the stack.
 *
 * Three layouts. One block: the integer code, whose operations have half the latency of
 * vector ones. Up to 24 blocks: "rows", a register holding one row of the 4x4 state for
 * four blocks. From 32 on: "columns", a register holding one word of the state for 16
 * blocks, two such states in all 32 registers: one alone would spend half its time waiting
 * for results, at four operations a cycle and a latency of two.
 */
#include <immintrin.h>

#include "crypto/chacha20_impl.h"

/* Blocks in one register of rows, and in one register of columns. */
#define ROWS_MAX      6u
#define ROW_BLOCKS    4u
#define COLUMN_BLOCKS 16u

/*
 * One instruction each, on registers, in place: left to intrinsics gcc 12 copies and spills
 * in the wide loop, which uses every register there is.
 */
#define ADD(a, b)  __asm__("vpaddd %1, %0, %0" : "+v"(a) : "v"(b))
#define XOR(a, b)  __asm__("vpxord %1, %0, %0" : "+v"(a) : "v"(b))
#define ROTL(a, n) __asm__("vprold %1, %0, %0" : "+v"(a) : "i"(n))
/* a += the word at p in every lane */
#define ADD_WORD(a, p) __asm__("vpaddd %1%{1to16%}, %0, %0" : "+v"(a) : "m"(*(p)))

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

/* Of both states x and y. */
#define ADD2(i, j)       \
	ADD(x[i], x[j]); \
	ADD(y[i], y[j])
#define XOR2(i, j)       \
	XOR(x[i], x[j]); \
	XOR(y[i], y[j])
#define ROTL2(i, n)    \
	ROTL(x[i], n); \
	ROTL(y[i], n)

/*
 * A quarter of a quarter round, a += b, d = (d ^ a) <<< n, in all four quarters: the words
 * a0 to a3 with b0 to b3 and d0 to d3.
 */
#define STEP(a0, a1, a2, a3, b0, b1, b2, b3, d0, d1, d2, d3, n) \
	ADD2(a0, b0);                                           \
	ADD2(a1, b1);                                           \
	ADD2(a2, b2);                                           \
	ADD2(a3, b3);                                           \
	XOR2(d0, a0);                                           \
	XOR2(d1, a1);                                           \
	XOR2(d2, a2);                                           \
	XOR2(d3, a3);                                           \
	ROTL2(d0, n);                                           \
	ROTL2(d1, n);                                           \
	ROTL2(d2, n);                                           \
	ROTL2(d3, n)

CHACHA20_INLINE void column_rounds(__m512i x[16], __m512i y[16])
{
	for (int i = 0; i < 10; i++) {
		STEP(0, 1, 2, 3, 4, 5, 6, 7, 12, 13, 14, 15, 16);
		STEP(8, 9, 10, 11, 12, 13, 14, 15, 4, 5, 6, 7, 12);
		STEP(0, 1, 2, 3, 4, 5, 6, 7, 12, 13, 14, 15, 8);
		STEP(8, 9, 10, 11, 12, 13, 14, 15, 4, 5, 6, 7, 7);
		STEP(0, 1, 2, 3, 5, 6, 7, 4, 15, 12, 13, 14, 16);
		STEP(10, 11, 8, 9, 15, 12, 13, 14, 5, 6, 7, 4, 12);
		STEP(0, 1, 2, 3, 5, 6, 7, 4, 15, 12, 13, 14, 8);
		STEP(10, 11, 8, 9, 15, 12, 13, 14, 5, 6, 7, 4, 7);
	}
}

/* x[0..3], one word each for 16 blocks, becomes four words each of blocks 4 * lane + i. */
CHACHA20_INLINE void transpose_words(__m512i x[4])
{
	__m512i a = _mm512_unpacklo_epi32(x[0], x[1]);
	__m512i b = _mm512_unpackhi_epi32(x[0], x[1]);
	__m512i c = _mm512_unpacklo_epi32(x[2], x[3]);
	__m512i d = _mm512_unpackhi_epi32(x[2], x[3]);

	x[0] = _mm512_unpacklo_epi64(a, c);
	x[1] = _mm512_unpackhi_epi64(a, c);
	x[2] = _mm512_unpacklo_epi64(b, d);
	x[3] = _mm512_unpackhi_epi64(b, d);
}

/* Stores the blocks 0, 4, 8 and 12 of the columns at out: one of each lane of the rows. */
CHACHA20_INLINE void store_lanes(__m512i r0, __m512i r1, __m512i r2, __m512i r3, uint8_t *out)
{
	__m512i a = _mm512_shuffle_i32x4(r0, r1, 0x44);
	__m512i b = _mm512_shuffle_i32x4(r2, r3, 0x44);
	__m512i c = _mm512_shuffle_i32x4(r0, r1, 0xee);
	__m512i d = _mm512_shuffle_i32x4(r2, r3, 0xee);

	_mm512_storeu_si512(out, _mm512_shuffle_i32x4(a, b, 0x88));
	_mm512_storeu_si512(out + 256, _mm512_shuffle_i32x4(a, b, 0xdd));
	_mm512_storeu_si512(out + 512, _mm512_shuffle_i32x4(c, d, 0x88));
	_mm512_storeu_si512(out + 768, _mm512_shuffle_i32x4(c, d, 0xdd));
}

/* What two states start from; words 12 and 13, the counter, differ from lane to lane. */
struct columns_input {
	__m512i low[2];
	__m512i high[2];
	uint32_t word[16];
};

CHACHA20_INLINE void columns_store(__m512i x[16], const struct columns_input *in, int state,
				   uint8_t *out)
{
	CHACHA20_UNROLL
	for (int i = 0; i < 12; i++)
		ADD_WORD(x[i], &in->word[i]);
	ADD(x[12], in->low[state]);
	ADD(x[13], in->high[state]);
	ADD_WORD(x[14], &in->word[14]);
	ADD_WORD(x[15], &in->word[15]);
	CHACHA20_UNROLL
	for (int i = 0; i < 4; i++)
		transpose_words(x + 4 * i);
	CHACHA20_UNROLL
	for (int i = 0; i < 4; i++)
		store_lanes(x[i], x[4 + i], x[8 + i], x[12 + i], out + 64 * i);
}

CHACHA20_INLINE void columns_count(struct columns_input *in, uint64_t counter)
{
	const __m512i lane =
	    _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);

	for (int i = 0; i < 2; i++, counter += COLUMN_BLOCKS) {
		__m512i high = _mm512_set1_epi32((int)(counter >> 32));
		__mmask16 carry;

		in->low[i] = _mm512_add_epi32(_mm512_set1_epi32((int)counter), lane);
		carry = _mm512_cmplt_epu32_mask(in->low[i], lane);
		in->high[i] = _mm512_mask_add_epi32(high, carry, high, _mm512_set1_epi32(1));
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

/* nblocks is a multiple of 2 * COLUMN_BLOCKS, not 0. */
CHACHA20_KERNEL static uintptr_t columns(const uint8_t key[CHACHA20_KEY_BYTES], uint64_t nonce,
					 uint64_t counter, uint8_t *out, size_t nblocks)
{
	struct columns_input in CHACHA20_UNINITIALIZED;
	uintptr_t low;
	__m512i x[16] CHACHA20_UNINITIALIZED, y[16] CHACHA20_UNINITIALIZED;

	columns_begin(&in, key, nonce);
	for (; nblocks; nblocks -= 2 * COLUMN_BLOCKS) {
		columns_count(&in, counter);
		CHACHA20_UNROLL
		for (int i = 0; i < 16; i++)
			x[i] = y[i] = _mm512_set1_epi32((int)in.word[i]);
		x[12] = in.low[0];
		x[13] = in.high[0];
		y[12] = in.low[1];
		y[13] = in.high[1];
		column_rounds(x, y);
		columns_store(x, &in, 0, out);
		columns_store(y, &in, 1, out + COLUMN_BLOCKS * CHACHA20_BLOCK_BYTES);
		counter += 2 * COLUMN_BLOCKS;
		out += 2 * COLUMN_BLOCKS * CHACHA20_BLOCK_BYTES;
	}
	chacha20_wipe_vectors();
	CHACHA20_FRAME_LOW(low);
	return low;
}

/* --------------------------------------------------------------------- rows */

/* In place, for the same reason as the three above. */
#define TURN(a, order) __asm__("vpshufd %1, %0, %0" : "+v"(a) : "i"(order))

/* A quarter of a quarter round for n states side by side. */
#define ROWS_STEP(n, to, by, rot, bits)                        \
	do {                                                   \
		CHACHA20_EACH(s, n, ADD(x[s][to], x[s][by]));  \
		CHACHA20_EACH(s, n, XOR(x[s][rot], x[s][to])); \
		CHACHA20_EACH(s, n, ROTL(x[s][rot], bits));    \
	} while (0)

#define ROWS_ROUND(n)                      \
	do {                               \
		ROWS_STEP(n, 0, 1, 3, 16); \
		ROWS_STEP(n, 2, 3, 1, 12); \
		ROWS_STEP(n, 0, 1, 3, 8);  \
		ROWS_STEP(n, 2, 3, 1, 7);  \
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
	__m512i x[ROWS_MAX][4] CHACHA20_UNINITIALIZED, in[3] CHACHA20_UNINITIALIZED,
	    last[ROWS_MAX] CHACHA20_UNINITIALIZED;

	in[0] = _mm512_broadcast_i32x4(load_row(sigma));
	in[1] = _mm512_broadcast_i32x4(load_row(key));
	in[2] = _mm512_broadcast_i32x4(load_row(key + 16));
	CHACHA20_UNROLL
	for (int s = 0; s < n; s++) {
		/* 64-bit lanes carry into word 13 by themselves. */
		last[s] = _mm512_add_epi64(
		    _mm512_broadcast_i32x4(_mm_set_epi64x((long long)nonce, (long long)counter)),
		    _mm512_setr_epi64(4 * s, 0, 4 * s + 1, 0, 4 * s + 2, 0, 4 * s + 3, 0));
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
		CHACHA20_UNROLL
		for (int i = 0; i < 3; i++)
			ADD(x[s][i], in[i]);
		ADD(x[s][3], last[s]);
	}
	CHACHA20_UNROLL
	for (int s = 0; s < n; s++) {
		__m512i a = _mm512_shuffle_i32x4(x[s][0], x[s][1], 0x44);
		__m512i b = _mm512_shuffle_i32x4(x[s][2], x[s][3], 0x44);
		__m512i c = _mm512_shuffle_i32x4(x[s][0], x[s][1], 0xee);
		__m512i d = _mm512_shuffle_i32x4(x[s][2], x[s][3], 0xee);
		size_t done = (size_t)s * ROW_BLOCKS;
		uint8_t *to = out + done * CHACHA20_BLOCK_BYTES;
		size_t left = nblocks > done ? nblocks - done : 0;

		if (left > 0)
			_mm512_storeu_si512(to, _mm512_shuffle_i32x4(a, b, 0x88));
		if (left > 1)
			_mm512_storeu_si512(to + 64, _mm512_shuffle_i32x4(a, b, 0xdd));
		if (left > 2)
			_mm512_storeu_si512(to + 128, _mm512_shuffle_i32x4(c, d, 0x88));
		if (left > 3)
			_mm512_storeu_si512(to + 192, _mm512_shuffle_i32x4(c, d, 0xdd));
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
DEFINE_ROWS(4)
DEFINE_ROWS(6)

/* At most ROWS_MAX * ROW_BLOCKS blocks. */
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
	else if (nblocks <= 4 * ROW_BLOCKS)
		low = rows4(key, nonce, counter, out, nblocks);
	else
		low = rows6(key, nonce, counter, out, nblocks);
	chacha20_burn_stack(low);
}

void chacha20_blocks_avx512(const uint8_t key[CHACHA20_KEY_BYTES], uint64_t nonce, uint64_t counter,
			    uint8_t *out, size_t nblocks)
{
	size_t wide = nblocks - nblocks % (2 * COLUMN_BLOCKS);

	if (wide) {
		chacha20_burn_stack(columns(key, nonce, counter, out, wide));
		counter += wide;
		out += wide * CHACHA20_BLOCK_BYTES;
		nblocks -= wide;
	}
	while (nblocks) {
		size_t most = ROWS_MAX * ROW_BLOCKS;
		size_t n = nblocks < most ? nblocks : most;

		few_blocks(key, nonce, counter, out, n);
		counter += n;
		out += n * CHACHA20_BLOCK_BYTES;
		nblocks -= n;
	}
}
