/*
 * Owns: nothing. May touch: the caller's buffers. Never does: ask the locale, which differs between
 * those who write a line and those who read it.
 */
#include "client/text.h"

#include <stdbool.h>
#include <stdio.h>
#include <time.h>

#define TEXT_NS_PER_S  1000000000u
#define TEXT_NS_PER_MS 1000000u

/* Code points that move, hide or turn what stands beside them on a terminal. */
static bool is_harmless(uint32_t c)
{
	if (c < 0xa0)
		return c >= 0x20 && c < 0x7f;
	if (c >= 0xd800 && c <= 0xdfff)
		return false;
	if (c == 0xad || c == 0x61c || c == 0xfeff || (c >= 0x200b && c <= 0x200f))
		return false;
	return !(c >= 0x2028 && c <= 0x202e) && !(c >= 0x2060 && c <= 0x206f) && c <= 0x10ffff;
}

/* Bytes of the harmless character at text, of which len are there; 0: there is none. */
static size_t take_character(const unsigned char *text, size_t len)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000}; /* no longer than needed */
	size_t bytes = text[0] < 0x80 ? 1 : text[0] < 0xe0 ? 2 : text[0] < 0xf0 ? 3 : 4;
	uint32_t c = text[0];

	if (c >= 0x80 && (c < 0xc2 || c > 0xf4))
		return 0;
	if (bytes > len)
		return 0;
	if (bytes > 1)
		c &= 0x7fu >> bytes;
	for (size_t i = 1; i < bytes; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (text[i] & 0x3fu);
	}
	return c >= least[bytes] && is_harmless(c) ? bytes : 0;
}

void text_clean(char *text, size_t len)
{
	size_t taken;

	for (size_t at = 0; at < len; at += taken ? taken : 1) {
		taken = take_character((const unsigned char *)text + at, len - at);
		if (!taken)
			text[at] = '?';
	}
}

void text_time(char text[static TEXT_TIME_BYTES], uint64_t realtime_ns)
{
	time_t seconds = (time_t)(realtime_ns / TEXT_NS_PER_S);
	unsigned ms = (unsigned)(realtime_ns % TEXT_NS_PER_S / TEXT_NS_PER_MS);
	struct tm utc;
	size_t len;

	text[0] = '\0';
	if (!realtime_ns || !gmtime_r(&seconds, &utc))
		return;
	len = strftime(text, TEXT_TIME_BYTES, "%Y-%m-%dT%H:%M:%S", &utc);
	snprintf(text + len, TEXT_TIME_BYTES - len, ".%03uZ", ms);
}

void text_hex(char *text, const uint8_t *bytes, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	uint8_t any = 0;

	for (size_t i = 0; i < len; i++)
		any |= bytes[i];
	for (size_t i = 0; any && i < len; i++) {
		*text++ = digits[bytes[i] >> 4];
		*text++ = digits[bytes[i] & 15];
	}
	*text = '\0';
}
