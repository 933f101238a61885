/*
 * daemon/hash - BLAKE2b-256 (RFC 7693) from libsodium, where the daemon needs a hash.
 */
#ifndef DAEMON_HASH_H
#define DAEMON_HASH_H

#include <stddef.h>
#include <stdint.h>

#define HASH_BYTES         32u
#define HASH_KEY_MAX_BYTES 64u

/*
 * out = BLAKE2b-256(key, data). key: NULL with key_bytes 0 for the unkeyed hash, else up to
 * HASH_KEY_MAX_BYTES. out may be part of neither. Leaves what it computed with in vector registers
 * and on the dead stack: who hashes secrets wipes both (cpu_wipe_vectors, wipe_stack).
 * 0; -EIO: libsodium refused, out is not written.
 */
int hash_256(uint8_t out[HASH_BYTES], const void *key, size_t key_bytes, const void *data,
	     size_t bytes) __attribute__((warn_unused_result));

#endif
