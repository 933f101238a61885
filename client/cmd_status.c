/*
 * Owns: how the daemon's status is checked and shown.
 * May touch: standard output; NO_COLOR and TERM of the environment.
 * Never does: print a byte of the daemon's text before all of it was found to be in the
 * grammar. Whoever serves the socket could otherwise send terminal escapes or JSON.
 */
#include "client/rngcli.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/size.h"

/* The shortest line is "a=1\n". */
#define STATUS_MAX_LINES (RNGCLIENT_STATUS_BYTES / 4)
/* Digits of the largest 64-bit number. */
#define STATUS_MAX_DIGITS 20

#define COLOUR_BOLD   "\033[1m"
#define COLOUR_GOOD   "\033[32m"
#define COLOUR_NOTICE "\033[33m"
#define COLOUR_BAD    "\033[31m"
#define COLOUR_OFF    "\033[0m"

/* One line of the status; the parts point into its text and are not terminated. */
struct entry {
	const char *name;
	int name_len;
	int group_len; /* bytes of the name before its first dot, 0 if it has none */
	const char *value;
	int value_len; /* a string's quotes included */
};

/* ---------------------------------------------------------------- the grammar */

static const char name_first[] = "abcdefghijklmnopqrstuvwxyz";
static const char name_rest[] = "abcdefghijklmnopqrstuvwxyz0123456789_";
static const char digits[] = "0123456789";

/* name = word *("." word), a word starts with a letter. Its length, 0 if it is none. */
static size_t scan_name(const char *text)
{
	const char *p = text;

	for (;; p++) {
		if (!*p || !strchr(name_first, *p))
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

	if (len < 1 || len > STATUS_MAX_DIGITS || (text[sign] == '0' && len > 1))
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

static size_t scan_value(const char *text)
{
	size_t len = scan_integer(text);

	if (!len)
		len = scan_string(text);
	if (!len && !strncmp(text, "true", 4))
		len = 4;
	if (!len && !strncmp(text, "false", 5))
		len = 5;
	return len;
}

static bool same(const char *a, int a_len, const char *b, int b_len)
{
	return a_len == b_len && !memcmp(a, b, (size_t)a_len);
}

/* Reads one line into *entry. The text after it, NULL if it is malformed. */
static const char *parse_line(const char *text, struct entry *entry)
{
	size_t name_len = scan_name(text);
	size_t value_len;
	const char *dot;

	if (!name_len || text[name_len] != '=')
		return NULL;
	value_len = scan_value(text + name_len + 1);
	if (!value_len || text[name_len + 1 + value_len] != '\n')
		return NULL;
	dot = memchr(text, '.', name_len);
	*entry = (struct entry){
	    .name = text,
	    .name_len = (int)name_len,
	    .group_len = dot ? (int)(dot - text) : 0,
	    .value = text + name_len + 1,
	    .value_len = (int)value_len,
	};
	return text + name_len + 1 + value_len + 1;
}

/* All lines of text, each name once. The number of entries, 0 if any is malformed or none is there.
 */
static size_t parse_status(const char *text, struct entry entries[static STATUS_MAX_LINES])
{
	size_t count = 0;

	for (; *text; count++) {
		struct entry *entry = &entries[count];

		if (count == STATUS_MAX_LINES)
			return 0;
		text = parse_line(text, entry);
		if (!text)
			return 0;
		for (size_t i = 0; i < count; i++)
			if (same(entries[i].name, entries[i].name_len, entry->name,
				 entry->name_len))
				return 0;
	}
	return count;
}

/* ---------------------------------------------------------------- for programs */

/* Names and values are valid JSON as they stand: the grammar sees to it. */
static void print_json(const struct entry *entries, size_t count)
{
	for (size_t i = 0; i < count; i++)
		printf("%s\n  \"%.*s\": %.*s", i ? "," : "{", entries[i].name_len, entries[i].name,
		       entries[i].value_len, entries[i].value);
	puts("\n}");
}

/* ---------------------------------------------------------------- for people */

static bool want_colour(void)
{
	const char *no_color = getenv("NO_COLOR");
	const char *term = getenv("TERM");

	return isatty(STDOUT_FILENO) && !(no_color && *no_color) && term &&
	       strcmp(term, "dumb") != 0;
}

static const char *colour_of(const struct entry *entry)
{
	static const struct {
		const char *value;
		const char *colour;
	} rows[] = {
	    {"true", COLOUR_GOOD},         {"\"active\"", COLOUR_GOOD},
	    {"\"serving\"", COLOUR_GOOD},  {"false", COLOUR_NOTICE},
	    {"\"absent\"", COLOUR_NOTICE}, {"\"failed\"", COLOUR_BAD},
	    {"\"refusing\"", COLOUR_BAD},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (same(entry->value, entry->value_len, rows[i].value, (int)strlen(rows[i].value)))
			return rows[i].colour;
	return NULL;
}

/* What a name's last part says of its unit. */
static const struct unit {
	const char *suffix;
	enum { UNIT_NONE, UNIT_BYTES, UNIT_MS, UNIT_S } kind;
} units[] = {
    {"_bytes", UNIT_BYTES}, {"_ms", UNIT_MS}, {"_s", UNIT_S}, {"", UNIT_NONE}, /* fits every name */
};

static const struct unit *unit_of(const struct entry *entry)
{
	const struct unit *unit = units;

	for (;; unit++) {
		int len = (int)strlen(unit->suffix);

		if (entry->name_len > len &&
		    !memcmp(entry->name + entry->name_len - len, unit->suffix, (size_t)len))
			return unit;
	}
}

/* The value in human units; numbers too large for that, and all else, as they came. */
static int format_value(char text[static SIZE_TEXT_BYTES], const struct entry *entry,
			const struct unit *unit, const char **value)
{
	unsigned long long number;

	*value = entry->value;
	if (entry->value[0] == '"') {
		*value = entry->value + 1;
		return entry->value_len - 2;
	}
	errno = 0;
	number = strtoull(entry->value, NULL, 10);
	if (unit->kind == UNIT_NONE || !scan_integer(entry->value) || *entry->value == '-' ||
	    errno || (unit->kind == UNIT_S && number > UINT64_MAX / 1000))
		return entry->value_len;
	if (unit->kind == UNIT_BYTES)
		size_format(text, number);
	else
		size_format_ms(text, unit->kind == UNIT_S ? number * 1000 : number);
	*value = text;
	return (int)strlen(text);
}

/* The name within its group, words apart, without the unit that the value now shows. */
static int label_len(const struct entry *entry, const struct unit *unit)
{
	int skip = entry->group_len ? entry->group_len + 1 : 0;

	return entry->name_len - skip - (int)strlen(unit->suffix);
}

static void print_entry(const struct entry *entry, int width, bool colour)
{
	const struct unit *unit = unit_of(entry);
	const char *label = entry->name + (entry->group_len ? entry->group_len + 1 : 0);
	const char *paint = colour ? colour_of(entry) : NULL;
	char text[SIZE_TEXT_BYTES];
	const char *value;
	int len = label_len(entry, unit);
	int value_len = format_value(text, entry, unit, &value);

	fputs("  ", stdout);
	for (int i = 0; i < len; i++)
		putchar(label[i] == '_' || label[i] == '.' ? ' ' : label[i]);
	printf("%*s%s%.*s%s\n", width - len + 2, "", paint ? paint : "", value_len, value,
	       paint ? COLOUR_OFF : "");
}

/* The entries of one group, which the entry at first begins; with the heading of that group. */
static void print_group(const struct entry *entries, size_t count, size_t first, int width,
			bool colour)
{
	const struct entry *head = &entries[first];
	const char *title = head->group_len ? head->name : "rngd";
	int title_len = head->group_len ? head->group_len : (int)strlen(title);

	if (first)
		putchar('\n');
	printf("%s%.*s%s\n", colour ? COLOUR_BOLD : "", title_len, title, colour ? COLOUR_OFF : "");
	for (size_t i = first; i < count; i++)
		if (same(entries[i].name, entries[i].group_len, head->name, head->group_len))
			print_entry(&entries[i], width, colour);
}

static void print_text(const struct entry *entries, size_t count)
{
	bool colour = want_colour();
	int width = 0;

	for (size_t i = 0; i < count; i++) {
		int len = label_len(&entries[i], unit_of(&entries[i]));

		width = len > width ? len : width;
	}
	for (size_t i = 0; i < count; i++) {
		size_t j = 0;

		while (!same(entries[j].name, entries[j].group_len, entries[i].name,
			     entries[i].group_len))
			j++;
		if (j == i)
			print_group(entries, count, i, width, colour);
	}
}

int cmd_status(const struct rngcli_options *options)
{
	struct entry *entries = calloc(STATUS_MAX_LINES, sizeof(*entries));
	char *text = calloc(1, RNGCLIENT_STATUS_BYTES);
	struct rngclient *client = NULL;
	size_t count;
	int rc;

	if (!entries || !text) {
		rc = rngcli_explain(options, -ENOMEM);
		goto out;
	}
	rc = rngcli_connect(options, &client);
	if (rc)
		goto out;
	rc = rngclient_status(client, text, RNGCLIENT_STATUS_BYTES);
	if (rc) {
		rc = rngcli_explain(options, rc);
		goto out;
	}
	count = parse_status(text, entries);
	if (!count) {
		rngcli_error("%s sent a malformed status: it may not be an rngd",
			     options->socket_path);
		rc = RNGCLI_FAILURE;
		goto out;
	}
	if (options->json)
		print_json(entries, count);
	else
		print_text(entries, count);
	rc = rngcli_close_stdout();
out:
	rngclient_close(client);
	free(text);
	free(entries);
	return rc;
}
