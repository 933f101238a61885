/*
 * crypto/chacha20 - the ChaCha20 keystream.
 *
 * The cipher is the original one (D. J. Bernstein, "ChaCha, a variant of
 * Salsa20", 2008): 256-bit key, 64-bit block counter in state words 12 and 13,
 * 64-bit nonce in words 14 and 15, all little-endian. RFC 8439's variant (32-bit
 * counter, 96-bit nonce) is the same function as long as word 12 does not wrap.
 *
 * Pure computation: no I/O, no clock, no allocation. One dispatch pointer is the
 * only state; chacha20_select() sets it once, before threads and before the
 * sandbox.
 */
#ifndef CRYPTO_CHACHA20_H
#define CRYPTO_CHACHA20_H

#include <stddef.h>
#include <stdint.h>

#define CHACHA20_KEY_BYTES   32u
#define CHACHA20_BLOCK_BYTES 64u

/* Instruction sets an implementation may need; the caller says which are usable. */
enum chacha20_isa {
	CHACHA20_ISA_NONE = 0,
	CHACHA20_ISA_AVX2 = 1u << 0,
	CHACHA20_ISA_AVX512 = 1u << 1, /* F + VL + BW, zmm and opmask state enabled in XCR0 */
};

/*
 * One implementation. blocks() writes nblocks * 64 bytes of keystream to out (any
 * alignment) for the block counters counter, counter + 1, ... (mod 2^64). It
 * leaves nothing of key or keystream in vector registers or in its own locals.
 */
struct chacha20_impl {
	const char *name;   /* "portable", "avx2", "avx512" */
	unsigned needs_isa; /* every bit must be usable */
	void (*blocks)(const uint8_t key[CHACHA20_KEY_BYTES], uint64_t nonce, uint64_t counter,
		       uint8_t *out, size_t nblocks);
};

/*
 * The implementations this build contains, best first, ended by name == NULL. The
 * portable one needs no instruction set and is always last.
 */
const struct chacha20_impl *chacha20_impls(void);

/*
 * Chooses the best implementation whose needs are within usable_isa (bits of enum
 * chacha20_isa). Before the first call the portable one is in use. Not thread-safe.
 * Returns the one chosen.
 */
const struct chacha20_impl *chacha20_select(unsigned usable_isa);

/*
 * Checks impl against known answers: RFC 8439 section 2.3.2, the 64-bit-nonce vector
 * of the original specification, and a digest-free comparison with the portable code
 * over enough blocks to reach every inner path, the carry into word 13 included.
 * Returns 0, or -EBADMSG when an answer differs.
 */
int chacha20_selftest(const struct chacha20_impl *impl);

/*
 * Writes len bytes (any length, any alignment) of keystream, from block `counter` on,
 * with the chosen implementation. When the last block is partial, up to eight last
 * blocks are produced in a local buffer that is wiped. key and out must not overlap.
 */
void chacha20_keystream(const uint8_t key[CHACHA20_KEY_BYTES], uint64_t nonce, uint64_t counter,
			void *out, size_t len);

#endif
