/*
 * daemon/text - lines name=value in a buffer, as STATUS and SUBSCRIBERS answer them. Whole lines or
 * nothing: one that does not fit is left out.
 */
#ifndef DAEMON_TEXT_H
#define DAEMON_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct text {
	char *data; /* not ended by a NUL */
	size_t size;
	size_t len;
};

void text_put(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_number(struct text *text, const char *name, uint64_t value);
void text_flag(struct text *text, const char *name, bool value);

/* value: printable ASCII without double quotes and backslashes. */
void text_string(struct text *text, const char *name, const char *value);

#endif
