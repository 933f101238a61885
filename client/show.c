/*
 * Owns: how each field of a status is said to people. May touch: the stream it is given.
 * Never does: leave a field out, but where a table below says that its value is the usual one.
 */
#include "client/show.h"

#include <string.h>

#include "client/lines.h"
#include "client/size.h"

#define COLOUR_BOLD   "\033[1m"
#define COLOUR_GOOD   "\033[32m"
#define COLOUR_NOTICE "\033[33m"
#define COLOUR_BAD    "\033[31m"
#define COLOUR_OFF    "\033[0m"

#define LABEL_COLUMNS 14
#define STATE_COLUMNS 8

struct view {
	FILE *out;
	bool colour;
	struct field *fields;
	size_t count;
	const char *title; /* of the section, until it is printed; then NULL */
	bool begun;        /* a section was printed */
	size_t pieces;     /* of the present line */
	int pad;           /* columns to leave before the next of them */
};

/* ---------------------------------------------------------------- finding */

static struct field *find(const struct view *view, const char *prefix, int prefix_len,
			  const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < view->count; i++) {
		struct field *field = &view->fields[i];

		if (field->name_len == prefix_len + (int)len &&
		    !memcmp(field->name, prefix, (size_t)prefix_len) &&
		    !memcmp(field->name + prefix_len, name, len))
			return field;
	}
	return NULL;
}

static bool fits(const struct field *field, enum kind kind)
{
	uint64_t number;

	switch (kind) {
	case KIND_TEXT:
	case KIND_STATE:
		return field->type == FIELD_STRING;
	case KIND_FLAG:
		return field->type == FIELD_BOOLEAN;
	default:
		return fields_number(field, &number);
	}
}

/* ---------------------------------------------------------------- printing */

static void put_painted(const struct view *view, const char *paint, const char *text, int len)
{
	bool painted = view->colour && paint;

	fprintf(view->out, "%s%.*s%s", painted ? paint : "", len, text, painted ? COLOUR_OFF : "");
}

static void put_bold(const struct view *view, const char *text)
{
	put_painted(view, COLOUR_BOLD, text, (int)strlen(text));
}

static int pad_to(int columns, int len)
{
	return len < columns ? columns - len : 1;
}

/* The section's title, once it is known that it has a line; and the line's label. */
static void begin_line(struct view *view, const char *label, int label_len)
{
	if (view->title) {
		fputs(view->begun ? "\n" : "", view->out);
		if (*view->title) {
			put_bold(view, view->title);
			fputc('\n', view->out);
		}
	}
	view->title = NULL;
	view->begun = true;
	view->pieces = 0;
	if (label_len > 0)
		fprintf(view->out, "  %.*s%*s", label_len, label, pad_to(LABEL_COLUMNS, label_len),
			"");
}

static const char *paint_of_state(const char *text, int len)
{
	static const struct {
		const char *text;
		const char *paint;
	} rows[] = {
	    {"active", COLOUR_GOOD},   {"serving", COLOUR_GOOD}, {"good", COLOUR_GOOD},
	    {"absent", COLOUR_NOTICE}, {"missing", COLOUR_BAD},  {"failed", COLOUR_BAD},
	    {"refusing", COLOUR_BAD},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (fields_same(text, len, rows[i].text))
			return rows[i].paint;
	return NULL;
}

static void put_number(const struct view *view, const struct piece *piece, uint64_t number)
{
	char text[SIZE_TEXT_BYTES];

	if (piece->kind == KIND_BYTES)
		size_format(text, number);
	else if (piece->kind == KIND_MS)
		size_format_ms(text, number);
	else
		snprintf(text, sizeof(text), "%llu", (unsigned long long)number);
	fputs(text, view->out);
}

/* "1 turn put off", "2 turns put off": the plural is the first word's, which a blank precedes. */
static void put_after(const struct view *view, const struct piece *piece, uint64_t number)
{
	int word;

	if (piece->kind != KIND_COUNT || number == 1) {
		fputs(piece->after, view->out);
		return;
	}
	word = 1 + (int)strcspn(piece->after + 1, " ");
	fprintf(view->out, "%.*ss%s", word, piece->after, piece->after + word);
}

static void put_value(const struct view *view, const struct piece *piece, const struct field *field)
{
	const char *text = field->value + 1;
	int len = field->value_len - 2;
	uint64_t number = 0;

	if (piece->kind == KIND_FLAG) {
		bool yes = fields_same(field->value, field->value_len, "true");
		const char *words = yes ? piece->before : piece->after;

		put_painted(view, yes ? NULL : COLOUR_NOTICE, words, (int)strlen(words));
		return;
	}
	fputs(piece->before, view->out);
	if (piece->kind == KIND_STATE) {
		put_painted(view, paint_of_state(text, len), text, len);
	} else if (piece->kind == KIND_TEXT) {
		fprintf(view->out, "%.*s", len, text);
	} else {
		fields_number(field, &number);
		put_number(view, piece, number);
	}
	put_after(view, piece, number);
}

static void put_piece(struct view *view, const struct piece *piece, struct field *field,
		      const char *label, int label_len)
{
	bool usual = piece->usual && fields_same(field->value, field->value_len, piece->usual);

	field->shown = true;
	if (usual && !piece->instead)
		return;
	if (view->pieces == 0)
		begin_line(view, label, label_len);
	else
		fprintf(view->out, "%*s%s", view->pad, "", view->pad ? "" : piece->between);
	view->pad = 0;
	if (usual)
		fputs(piece->instead, view->out);
	else
		put_value(view, piece, field);
	view->pieces++;
}

/* A line whose fields' names begin with prefix. Prints nothing if there are none. */
static void put_line(struct view *view, const struct line *line, const char *label, int label_len,
		     const char *prefix, int prefix_len)
{
	view->pieces = 0;
	for (size_t i = 0; i < line->count; i++) {
		const struct piece *piece = &line->pieces[i];
		struct field *field = find(view, prefix, prefix_len, piece->name);

		if (!field || !fits(field, piece->kind))
			continue;
		put_piece(view, piece, field, label, label_len);
		if (piece->kind == KIND_STATE && label_len > 0)
			view->pad = pad_to(STATE_COLUMNS, field->value_len - 2);
	}
	if (view->pieces > 0)
		fputc('\n', view->out);
}

static void put_section(struct view *view, const struct section *section)
{
	view->title = section->title;
	for (size_t i = 0; i < section->count; i++) {
		const struct line *line = &section->lines[i];

		put_line(view, line, line->label, (int)strlen(line->label), "", 0);
	}
}

static bool begins(const struct field *field, const char *group)
{
	return !strncmp(field->name, group, strlen(group));
}

/* A line for each NAME in "group.NAME...", where `active` is for those of that state. */
static void put_names(struct view *view, const char *group, const struct line *line,
		      const struct line *active)
{
	int group_len = (int)strlen(group);

	for (size_t i = 0; i < view->count; i++) {
		struct field *first = &view->fields[i], *state;
		int len = group_len + (int)strcspn(first->name + group_len, ".=");

		if (first->shown || !begins(first, group))
			continue;
		state = find(view, first->name, len, ".state");
		put_line(view,
			 state && fields_same(state->value, state->value_len, "\"active\"") ? active
											    : line,
			 first->name + group_len, len - group_len, first->name, len);
	}
}

/* ---------------------------------------------------------------- protection */

/* The name behind its group, words apart. */
static void put_words(const struct view *view, const struct field *field, int skip)
{
	for (int i = skip; i < field->name_len; i++)
		fputc(field->name[i] == '_' || field->name[i] == '.' ? ' ' : field->name[i],
		      view->out);
}

/* Is it there? A version of 0 is none. */
static bool has(const struct field *field)
{
	return !fields_same(field->value, field->value_len, "false") &&
	       !fields_same(field->value, field->value_len, "0");
}

/* Booleans and versions of this group, apart from the user's number. */
static bool is_protection(const struct field *field, const char *group)
{
	return begins(field, group) && field->type != FIELD_STRING &&
	       !fields_same(field->name, field->name_len, "sandbox.uid");
}

/* Those that are there, or those that are not. How many. */
static size_t put_protections(struct view *view, const char *group, bool there, const char *before)
{
	size_t count = 0;

	for (size_t i = 0; i < view->count; i++) {
		struct field *field = &view->fields[i];

		if (!is_protection(field, group) || has(field) != there)
			continue;
		fputs(count++ ? ", " : before, view->out);
		put_words(view, field, (int)strlen(group));
		if (there && field->type == FIELD_INTEGER)
			fprintf(view->out, " %.*s", field->value_len, field->value);
		field->shown = true;
	}
	return count;
}

static void put_protection(struct view *view, const char *label, const char *group)
{
	size_t all = 0, missing = 0;
	const char *verdict;

	for (size_t i = 0; i < view->count; i++)
		if (is_protection(&view->fields[i], group)) {
			all++;
			missing += !has(&view->fields[i]);
		}
	if (all == 0)
		return;
	verdict = missing ? "missing" : "good";
	begin_line(view, label, (int)strlen(label));
	put_painted(view, paint_of_state(verdict, (int)strlen(verdict)), verdict,
		    (int)strlen(verdict));
	fprintf(view->out, "%*s", pad_to(STATE_COLUMNS, (int)strlen(verdict)), "");
	put_protections(view, group, false, "");
	put_protections(view, group, true, missing ? "; there: " : "");
	fputc('\n', view->out);
}

/* ---------------------------------------------------------------- the rest */

static void put_other(struct view *view)
{
	view->title = "Other";
	for (size_t i = 0; i < view->count; i++) {
		struct field *field = &view->fields[i];
		bool string = field->type == FIELD_STRING;

		if (field->shown)
			continue;
		begin_line(view, field->name, field->name_len);
		fprintf(view->out, "%.*s\n", string ? field->value_len - 2 : field->value_len,
			string ? field->value + 1 : field->value);
		field->shown = true;
	}
}

void show_status(FILE *out, bool colour, struct field *fields, size_t count)
{
	struct view view = {.out = out, .colour = colour, .fields = fields, .count = count};

	view.title = "";
	put_line(&view, &lines_head, "", 0, "", 0);
	put_section(&view, &lines_sections[LINES_STATE]);
	view.title = "Clone detectors";
	put_names(&view, "detector.", &lines_inactive, &lines_active);
	view.title = "Entropy sources";
	put_names(&view, "source.", &lines_source, &lines_source);
	put_section(&view, &lines_sections[LINES_LIMITS]);
	put_section(&view, &lines_sections[LINES_USE]);
	put_names(&view, "user.", &lines_user, &lines_user);
	view.title = "Protection";
	put_protection(&view, "memory", "memory.");
	put_protection(&view, "sandbox", "sandbox.");
	put_other(&view);
}
