/*
 * crypto/rng - fast-key-erasure generator over ChaCha20 (D. J. Bernstein, "Fast-key-
 * erasure random-number generators", 2017). doc/generator.md gives the construction
 * and test vectors.
 *
 * The state is one 32-byte key. Each fill derives a new key, which replaces the old one
 * before a single output byte is written: what was handed out cannot be computed from
 * any later state (backtracking resistance). Pure computation; the caller keeps struct
 * rng in protected memory and says when to reseed.
 */
#ifndef CRYPTO_RNG_H
#define CRYPTO_RNG_H

#include <stddef.h>
#include <stdint.h>

#define RNG_KEY_BYTES 32u

struct rng {
	uint8_t key[RNG_KEY_BYTES];
	uint8_t block[2 * RNG_KEY_BYTES]; /* next key and B during a fill; zero outside of one */
};

/*
 * Replaces the key with `key`, which the caller derived from the old key and fresh
 * entropy. The caller wipes its copy.
 */
void rng_rekey(struct rng *rng, const uint8_t key[RNG_KEY_BYTES]);

/*
 * Writes len bytes to out (any alignment, must not overlap *rng). `nonce` is one
 * 64-bit value from RDRAND, or 0 where there is none or it failed; it goes into the
 * new key as well as into the output, and may be known to or chosen by an attacker
 * without harm. len == 0 still replaces the key.
 */
void rng_fill(struct rng *rng, uint64_t nonce, void *out, size_t len);

/* Wipes the key. */
void rng_wipe(struct rng *rng);

#endif
