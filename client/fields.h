/*
 * client/fields - the lines of a STATUS reply. Pure: no I/O, no allocation. PROTOCOL.md has the
 * grammar.
 */
#ifndef CLIENT_FIELDS_H
#define CLIENT_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/rngclient.h"

/* The shortest line is "a=1\n". */
#define FIELDS_MAX (RNGCLIENT_STATUS_BYTES / 4)

enum field_type {
	FIELD_INTEGER,
	FIELD_BOOLEAN,
	FIELD_STRING,
};

/* One line; the parts point into the text and are not terminated. */
struct field {
	const char *name;
	int name_len;
	enum field_type type;
	const char *value;
	int value_len; /* a string's quotes included */
	bool shown;    /* for those who show them: false at first */
};

/*
 * Reads all lines of text, which must outlive the fields. How many; 0: a line is not in the
 * grammar, a name comes twice, or there is none.
 */
size_t fields_parse(const char *text, struct field fields[static FIELDS_MAX]);

/* Is the name, or value, of that many bytes this text? */
bool fields_same(const char *at, int len, const char *text);

/* The value of an integer that is not negative and has at most 64 bits; else false. */
bool fields_number(const struct field *field, uint64_t *number);

#endif
