/*
 * client/lines - what is said to people about each field of a status, and in which order. Data
 * alone.
 */
#ifndef CLIENT_LINES_H
#define CLIENT_LINES_H

#include <stddef.h>

enum kind {
	KIND_TEXT,  /* a string */
	KIND_STATE, /* a string, in a column and a colour of its own */
	KIND_PLAIN, /* a number, here and below */
	KIND_COUNT, /* with the plural of what stands after it */
	KIND_BYTES,
	KIND_MS,
	KIND_FLAG, /* a boolean: what stands before it if it is true, else what stands after it */
};

/* One field within a line, and the words around its value. */
struct piece {
	const char *between; /* after the piece before, if there is one */
	const char *name;    /* behind the line's prefix */
	enum kind kind;
	const char *before, *after;
	/* This value, as the protocol has it, is said in these words; NULL: not at all. */
	const char *usual, *instead;
};

/* One line: prefix and names of the pieces make the fields' names. */
struct line {
	const char *label;
	const struct piece *pieces;
	size_t count;
};

/* Lines under one heading. */
struct section {
	const char *title;
	const struct line *lines;
	size_t count;
};

extern const struct line lines_head;

enum {
	LINES_STATE,
	LINES_LIMITS,
	LINES_USE,
	LINES_SECTIONS,
};

extern const struct section lines_sections[LINES_SECTIONS];

/* Of "detector.NAME", "source.NAME", "user.NAME"; no label: the name is. */
extern const struct line lines_active;   /* a detector that watches */
extern const struct line lines_inactive; /* one that does not */
extern const struct line lines_source;
extern const struct line lines_user;

#endif
