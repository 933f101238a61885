/*
 * client/text - words for people: what others wrote made fit to print, times, ids. Pure: no I/O,
 * no allocation.
 */
#ifndef CLIENT_TEXT_H
#define CLIENT_TEXT_H

#include <stddef.h>
#include <stdint.h>

/* "2026-11-21T15:24:04.123Z" and its NUL, for any 64-bit time. */
#define TEXT_TIME_BYTES 32

/*
 * Makes text, of len bytes, one harmless line in place: every byte that is not part of a printable
 * character in UTF-8 becomes '?', among them control characters, also those of 8 bits, and the
 * characters that turn the direction of writing. The length stays.
 */
void text_clean(char *text, size_t len);

/* A CLOCK_REALTIME time as RFC 3339 has it, UTC, with milliseconds. 0, not known: "". */
void text_time(char text[static TEXT_TIME_BYTES], uint64_t realtime_ns);

/* Two digits a byte, and a NUL: 2 * len + 1 bytes at text. All bytes zero, not known: "". */
void text_hex(char *text, const uint8_t *bytes, size_t len);

#endif
