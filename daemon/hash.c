/*
 * Owns: nothing. May touch: the buffers it is given.
 * Never does: keep or wipe anything: only the caller knows what is secret.
 */
#include "daemon/hash.h"

#include <errno.h>
#include <sodium.h>

int hash_256(uint8_t out[HASH_BYTES], const void *key, size_t key_bytes, const void *data,
	     size_t bytes)
{
	return crypto_generichash_blake2b(out, HASH_BYTES, data, bytes, key, key_bytes) == 0 ? 0
											     : -EIO;
}
