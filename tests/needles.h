/*
 * tests/needles - bytes to search memory for: every run of 8 of them, as a hash set.
 *
 * By chance one run is found in fewer than one of 2^20 searches (2^19 needles, 2^24 places, 2^64
 * values).
 */
#ifndef TESTS_NEEDLES_H
#define TESTS_NEEDLES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

#include "crypto/rng.h"

#define NEEDLES_SLOT_BITS 21u
#define NEEDLES_SLOTS     (1u << NEEDLES_SLOT_BITS)

/* Start from zero. Holds half a million needles well. */
struct needles {
	uint64_t slots[NEEDLES_SLOTS]; /* 0: free */
};

static inline size_t needles_slot(const struct needles *needles, uint64_t needle)
{
	size_t slot = (size_t)((needle * 0x9e3779b97f4a7c15u) >> (64 - NEEDLES_SLOT_BITS));

	while (needles->slots[slot] != 0 && needles->slots[slot] != needle)
		slot = (slot + 1) % NEEDLES_SLOTS;
	return slot;
}

static inline void needles_add(struct needles *needles, const uint8_t *bytes, size_t len)
{
	uint64_t needle;

	for (size_t i = 0; i + sizeof(needle) <= len; i++) {
		memcpy(&needle, bytes + i, sizeof(needle));
		needles->slots[needles_slot(needles, needle)] = needle;
	}
}

/* A key, and its words as vector code spreads them over a register. */
static inline void needles_add_key(struct needles *needles, const uint8_t key[RNG_KEY_BYTES])
{
	uint8_t twice[8];

	needles_add(needles, key, RNG_KEY_BYTES);
	for (size_t i = 0; i < RNG_KEY_BYTES; i += 4) {
		memcpy(twice, key + i, 4);
		memcpy(twice + 4, key + i, 4);
		needles_add(needles, twice, sizeof(twice));
	}
}

/* Offset of the first needle in the bytes, or -1. */
static inline ssize_t needles_find(const struct needles *needles, const uint8_t *bytes, size_t len)
{
	uint64_t at;

	for (size_t i = 0; i + sizeof(at) <= len; i++) {
		memcpy(&at, bytes + i, sizeof(at));
		if (at != 0 && needles->slots[needles_slot(needles, at)] == at)
			return (ssize_t)i;
	}
	return -1;
}

#endif
