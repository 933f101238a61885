/*
 * Owns: nothing. May touch: the buffer it is given.
 * Never does: write a part of a line, or past the end.
 */
#include "daemon/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void text_put(struct text *text, const char *format, ...)
{
	char line[256];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	if (n < 0 || (size_t)n >= sizeof(line) || (size_t)n > text->size - text->len)
		return;
	memcpy(text->data + text->len, line, (size_t)n);
	text->len += (size_t)n;
}

void text_number(struct text *text, const char *name, uint64_t value)
{
	text_put(text, "%s=%llu\n", name, (unsigned long long)value);
}

void text_flag(struct text *text, const char *name, bool value)
{
	text_put(text, "%s=%s\n", name, value ? "true" : "false");
}

void text_string(struct text *text, const char *name, const char *value)
{
	text_put(text, "%s=\"%s\"\n", name, value);
}
