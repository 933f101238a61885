/*
 * crypto/chacha20_avx2 - ChaCha20 with AVX2.
 *
 * Owns:       nothing.
 * May touch:  the memory its caller passes.
 * Never does: run before the caller has seen that the instructions are usable; leave key or
 *             keystream in registers or on the stack.
 *
 * The layouts of chacha20_avx512.c at half the width: up to six blocks by rows of two blocks a
 * register, more by columns of eight blocks, one group after the other. One block goes by rows too,
 * which takes less time than the integer code: that has 15 registers for its 16 words. Columns of
 * two groups at once would have to go through memory, and take longer on the processors that have
 * nothing better than AVX2 (doc/measurements.md).
 */
#include <immintrin.h>

#include "crypto/chacha20_impl.h"

/* Blocks in one register of rows, and in one register of columns. */
#define ROWS_MAX      3u
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

CHACHA20_INLINE __m256i broadcast(const void *word)
{
	return _mm256_broadcastd_epi32(_mm_loadu_si32(word));
}

CHACHA20_INLINE void store(uint8_t *to, __m256i v)
{
	_mm256_storeu_si256((__m256i_u *)(void *)to, v);
}

/* ------------------------------------------------------------------ columns */

/* Eight blocks: each register has one word of the state of all of them. */
struct column_state {
	__m256i a[4], b[4], c[4], d[4];
};

/* What differs from lane to lane: words 12 and 13, the counter. */
struct column_count {
	__m256i low, high;
};

/*
 * The rounds are one piece of assembly: there is no register to spare, and gcc 12 would move words
 * to memory and back. a, b and d are in registers, and that half of c whose turn it is: it changes
 * places with the other half, in memory, between pairs of quarter rounds. That leaves two registers
 * for the rotates.
 */
/* clang-format off */
#define R(name)              "%[" #name "]"
#define IN_PLACE(op, by, to) #op " " by ", " R(to) ", " R(to) "\n\t"
#define MOVE(from, to)       "vmovdqa " R(from) ", " R(to) "\n\t"
#define PAIR_STEP(to0, to1, by0, by1, rot0, rot1)                            \
	IN_PLACE(vpaddd, R(by0), to0) IN_PLACE(vpaddd, R(by1), to1)          \
	IN_PLACE(vpxor, R(to0), rot0) IN_PLACE(vpxor, R(to1), rot1)
#define PAIR_BYTES(d0, d1, table)                                            \
	IN_PLACE(vpshufb, R(table), d0) IN_PLACE(vpshufb, R(table), d1)
#define ROTATE(b, t, left, right)                                            \
	"vpslld $" #left ", " R(b) ", " R(t) "\n\t"                          \
	IN_PLACE(vpsrld, "$" #right, b)                                      \
	IN_PLACE(vpor, R(t), b)
#define PAIR(a0, b0, d0, a1, b1, d1)                                         \
	PAIR_STEP(a0, a1, b0, b1, d0, d1)                                    \
	PAIR_BYTES(d0, d1, by16)                                             \
	PAIR_STEP(c0, c1, d0, d1, b0, b1)                                    \
	ROTATE(b0, t0, 12, 20) ROTATE(b1, t1, 12, 20)                        \
	PAIR_STEP(a0, a1, b0, b1, d0, d1)                                    \
	PAIR_BYTES(d0, d1, by8)                                              \
	PAIR_STEP(c0, c1, d0, d1, b0, b1)                                    \
	ROTATE(b0, t0, 7, 25) ROTATE(b1, t1, 7, 25)
#define BROADCAST(at, n, to) "vpbroadcastd " #n "*4(" R(at) "), " R(to) "\n\t"

/* s->d[0] and s->d[1] are the counter; nonce is in memory. */
CHACHA20_INLINE void column_rounds(struct column_state *s, const uint8_t key[CHACHA20_KEY_BYTES],
				   const uint8_t nonce[8])
{
	__m256i t0, t1, kept[4] CHACHA20_UNINITIALIZED;
	int rounds;

	__asm__(BROADCAST(key, 6, t0) MOVE(t0, m2) BROADCAST(key, 7, t1) MOVE(t1, m3)
		BROADCAST(key, 0, b0) BROADCAST(key, 1, b1)
		BROADCAST(sigma, 0, a0) BROADCAST(sigma, 1, a1)
		BROADCAST(key, 4, c0) BROADCAST(key, 5, c1)
		BROADCAST(key, 2, b2) BROADCAST(key, 3, b3)
		BROADCAST(sigma, 2, a2) BROADCAST(sigma, 3, a3)
		BROADCAST(nonce, 0, d2) BROADCAST(nonce, 1, d3)
		"movl $10, %[rounds]\n\t"
		".p2align 5\n"
		"1:\n\t"
		PAIR(a0, b0, d0, a1, b1, d1)
		MOVE(c0, m0) MOVE(c1, m1) MOVE(m2, c0) MOVE(m3, c1)
		PAIR(a2, b2, d2, a3, b3, d3)
		PAIR(a0, b1, d3, a1, b2, d0)
		MOVE(c0, m2) MOVE(c1, m3) MOVE(m0, c0) MOVE(m1, c1)
		PAIR(a2, b3, d1, a3, b0, d2)
		"decl %[rounds]\n\t"
		"jnz 1b"
		: [a0] "=&x"(s->a[0]), [a1] "=&x"(s->a[1]), [a2] "=&x"(s->a[2]),
		  [a3] "=&x"(s->a[3]), [b0] "=&x"(s->b[0]), [b1] "=&x"(s->b[1]),
		  [b2] "=&x"(s->b[2]), [b3] "=&x"(s->b[3]), [c0] "=&x"(s->c[0]),
		  [c1] "=&x"(s->c[1]), [d0] "+&x"(s->d[0]), [d1] "+&x"(s->d[1]),
		  [d2] "=&x"(s->d[2]), [d3] "=&x"(s->d[3]), [t0] "=&x"(t0), [t1] "=&x"(t1),
		  [m0] "=m"(kept[0]), [m1] "=m"(kept[1]), [m2] "=m"(kept[2]),
		  [m3] "=m"(kept[3]), [rounds] "=&r"(rounds)
		: [key] "r"(key), [sigma] "r"(sigma), [nonce] "r"(nonce), [by16] "m"(rotate16),
		  [by8] "m"(rotate8)
		: "memory", "cc");
	s->c[2] = kept[2];
	s->c[3] = kept[3];
}
/* clang-format on */

/* What the rounds began with is added to what they gave. */
CHACHA20_INLINE void columns_add(struct column_state *s, const uint8_t key[CHACHA20_KEY_BYTES],
				 const uint8_t nonce[8], const struct column_count *count)
{
	CHACHA20_UNROLL
	for (int i = 0; i < 4; i++) {
		s->a[i] = _mm256_add_epi32(s->a[i], broadcast(sigma + i));
		s->b[i] = _mm256_add_epi32(s->b[i], broadcast(key + 4 * i));
		s->c[i] = _mm256_add_epi32(s->c[i], broadcast(key + 16 + 4 * i));
	}
	s->d[0] = _mm256_add_epi32(s->d[0], count->low);
	s->d[1] = _mm256_add_epi32(s->d[1], count->high);
	s->d[2] = _mm256_add_epi32(s->d[2], broadcast(nonce));
	s->d[3] = _mm256_add_epi32(s->d[3], broadcast(nonce + 4));
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

/* Half of each of the first nblocks of 8 blocks, from eight words of each. */
CHACHA20_INLINE void half_store(__m256i x[4], __m256i y[4], uint8_t *out, size_t nblocks)
{
	transpose_words(x);
	transpose_words(y);
	CHACHA20_UNROLL
	for (int i = 0; i < 4; i++) {
		/* One instruction that crosses lanes, not two: a processor has few units for it. */
		__m256i middle = _mm256_permute2x128_si256(x[i], y[i], 0x21);

		if ((size_t)i < nblocks)
			store(out + 64 * i, _mm256_blend_epi32(x[i], middle, 0xf0));
		if ((size_t)i + 4 < nblocks)
			store(out + 64 * (i + 4), _mm256_blend_epi32(middle, y[i], 0xf0));
	}
}

CHACHA20_INLINE void columns_count(struct column_count *count, uint64_t counter)
{
	const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
	__m256i first = _mm256_set1_epi32((int)counter);
	__m256i next = _mm256_set1_epi32((int)((counter >> 32) + 1));

	count->low = _mm256_add_epi32(first, lane);
	/* The comparison gives -1 where the sum did not wrap. */
	count->high = _mm256_add_epi32(
	    next, _mm256_cmpeq_epi32(_mm256_max_epu32(count->low, first), count->low));
}

/* nblocks is not 0. */
CHACHA20_KERNEL static uintptr_t columns(const uint8_t key[CHACHA20_KEY_BYTES], uint64_t nonce,
					 uint64_t counter, uint8_t *out, size_t nblocks)
{
	const uint8_t *nonce_bytes = (const uint8_t *)&nonce;
	uintptr_t low;

	for (;;) {
		struct column_state s CHACHA20_UNINITIALIZED;
		struct column_count count CHACHA20_UNINITIALIZED;

		columns_count(&count, counter);
		s.d[0] = count.low;
		s.d[1] = count.high;
		column_rounds(&s, key, nonce_bytes);
		columns_add(&s, key, nonce_bytes, &count);
		half_store(s.a, s.b, out, nblocks);
		half_store(s.c, s.d, out + 32, nblocks);
		if (nblocks <= COLUMN_BLOCKS)
			break;
		nblocks -= COLUMN_BLOCKS;
		counter += COLUMN_BLOCKS;
		out += COLUMN_BLOCKS * CHACHA20_BLOCK_BYTES;
	}
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
DEFINE_ROWS(3)

void chacha20_blocks_avx2(const uint8_t key[CHACHA20_KEY_BYTES], uint64_t nonce, uint64_t counter,
			  uint8_t *out, size_t nblocks)
{
	size_t few = nblocks % COLUMN_BLOCKS, wide;
	uintptr_t low;

	/* Seven blocks are as quick by columns as eight, and no quicker by rows. */
	if (few > ROWS_MAX * ROW_BLOCKS)
		few = 0;
	wide = nblocks - few;
	if (wide) {
		low = columns(key, nonce, counter, out, wide);
		chacha20_burn_stack(low);
	}
	if (!few)
		return;
	counter += wide;
	out += wide * CHACHA20_BLOCK_BYTES;
	if (few <= ROW_BLOCKS)
		low = rows1(key, nonce, counter, out, few);
	else if (few <= 2 * ROW_BLOCKS)
		low = rows2(key, nonce, counter, out, few);
	else
		low = rows3(key, nonce, counter, out, few);
	chacha20_burn_stack(low);
}
