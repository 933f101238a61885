/*
 * Owns: nothing; the caller owns struct rng. May touch: the state and buffers it is given.
 * Never does: write output before the key that made it is gone, or keep a byte of it.
 */
#include "crypto/rng.h"

#include <string.h>

#include "crypto/chacha20.h"
#include "crypto/copy.h"

_Static_assert(RNG_KEY_BYTES == CHACHA20_KEY_BYTES, "the state is one ChaCha20 key");
_Static_assert(sizeof(((struct rng *)NULL)->block) == CHACHA20_BLOCK_BYTES, "one block");

void rng_rekey(struct rng *rng, const uint8_t key[RNG_KEY_BYTES])
{
	crypto_copy(rng->key, key, RNG_KEY_BYTES);
}

void rng_fill(struct rng *rng, uint64_t nonce, void *out, size_t len)
{
	const uint8_t *b = rng->block + RNG_KEY_BYTES;

	chacha20_keystream(rng->key, nonce, 0, rng->block, sizeof(rng->block));
	crypto_copy(rng->key, rng->block, RNG_KEY_BYTES);

	/* B is either the output or the key of a longer one, never both. */
	if (len > RNG_KEY_BYTES)
		chacha20_keystream(b, 0, 0, out, len);
	else if (len > 0)
		crypto_copy(out, b, len);
	explicit_bzero(rng->block, sizeof(rng->block));
}

void rng_wipe(struct rng *rng)
{
	explicit_bzero(rng, sizeof(*rng));
}
