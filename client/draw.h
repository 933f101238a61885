/*
 * client/draw - numbers from random words. Pure computation; private to the library.
 */
#ifndef CLIENT_DRAW_H
#define CLIENT_DRAW_H

#include <stdbool.h>
#include <stdint.h>

#define DRAW_UUID_BYTES 16u

/*
 * Is word, a uniform one, good for a number below bound, which is not 0? *number is that number,
 * and each is made from equally many words. false: another word is needed; for less than one
 * word in two, and for small bounds next to none. (D. Lemire, "Fast random integer generation in an
 * interval", 2019.)
 */
bool draw_below_u32(uint32_t word, uint32_t bound, uint32_t *number);
bool draw_below_u64(uint64_t word, uint64_t bound, uint64_t *number);

/* The 53 highest bits of word as a number in [0, 1), every multiple of 2^-53 alike. */
double draw_double(uint64_t word);

/* Makes 16 random bytes a version-4 UUID (RFC 9562, 5.4), in the order in which it is written. */
void draw_uuid(uint8_t uuid[DRAW_UUID_BYTES]);

/* As text in lower case with its NUL: 37 bytes. */
void draw_uuid_text(const uint8_t uuid[DRAW_UUID_BYTES], char text[37]);

#endif
