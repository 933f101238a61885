/*
 * Owns: the grammar of a status. May touch: the text it is given.
 * Never does: take a line that is not in the grammar, to the last byte.
 */
#include "client/fields.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Digits of the largest 64-bit number. */
#define FIELDS_MAX_DIGITS 20

static const char name_first[] = "abcdefghijklmnopqrstuvwxyz";
static const char word_first[] = "abcdefghijklmnopqrstuvwxyz0123456789";
static const char name_rest[] = "abcdefghijklmnopqrstuvwxyz0123456789_";
static const char digits[] = "0123456789";

/* name = word *("." word), the first of which starts with a letter. Its length, 0 if it is none. */
static size_t scan_name(const char *text)
{
	const char *p = text;

	if (!*p || !strchr(name_first, *p))
		return 0;
	for (;; p++) {
		if (!*p || !strchr(word_first, *p))
			return 0;
		p += strspn(p, name_rest);
		if (*p != '.')
			return (size_t)(p - text);
	}
}

/* An integer as JSON has it too: no plus sign, no leading zeros. */
static size_t scan_integer(const char *text)
{
	size_t sign = text[0] == '-' ? 1 : 0;
	size_t len = strspn(text + sign, digits);

	if (len < 1 || len > FIELDS_MAX_DIGITS || (text[sign] == '0' && len > 1))
		return 0;
	return sign + len;
}

static size_t scan_string(const char *text)
{
	const char *p = text + 1;

	if (*text != '"')
		return 0;
	while (*p >= 0x20 && *p <= 0x7e && *p != '"' && *p != '\\')
		p++;
	return *p == '"' ? (size_t)(p + 1 - text) : 0;
}

static size_t scan_value(const char *text, enum field_type *type)
{
	size_t len = scan_integer(text);

	*type = FIELD_INTEGER;
	if (len)
		return len;
	*type = FIELD_STRING;
	len = scan_string(text);
	if (len)
		return len;
	*type = FIELD_BOOLEAN;
	if (!strncmp(text, "true", 4))
		return 4;
	return strncmp(text, "false", 5) ? 0 : 5;
}

/* Reads one line into *field. The text after it, NULL if it is malformed. */
static const char *parse_line(const char *text, struct field *field)
{
	size_t name_len = scan_name(text);
	enum field_type type;
	size_t value_len;

	if (!name_len || text[name_len] != '=')
		return NULL;
	value_len = scan_value(text + name_len + 1, &type);
	if (!value_len || text[name_len + 1 + value_len] != '\n')
		return NULL;
	*field = (struct field){
	    .name = text,
	    .name_len = (int)name_len,
	    .type = type,
	    .value = text + name_len + 1,
	    .value_len = (int)value_len,
	};
	return text + name_len + 1 + value_len + 1;
}

static bool is_new(const struct field *fields, size_t count, const struct field *field)
{
	for (size_t i = 0; i < count; i++)
		if (fields[i].name_len == field->name_len &&
		    !memcmp(fields[i].name, field->name, (size_t)field->name_len))
			return false;
	return true;
}

size_t fields_parse(const char *text, struct field fields[static FIELDS_MAX])
{
	size_t count = 0;

	for (; *text; count++) {
		if (count == FIELDS_MAX)
			return 0;
		text = parse_line(text, &fields[count]);
		if (!text || !is_new(fields, count, &fields[count]))
			return 0;
	}
	return count;
}

bool fields_same(const char *at, int len, const char *text)
{
	return (size_t)len == strlen(text) && !memcmp(at, text, (size_t)len);
}

bool fields_number(const struct field *field, uint64_t *number)
{
	if (field->type != FIELD_INTEGER || field->value[0] == '-')
		return false;
	errno = 0;
	*number = strtoull(field->value, NULL, 10);
	return errno == 0;
}
