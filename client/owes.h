/*
 * client/owes - who has not acted on the last clone: the text of rngclient_subscribers(), and what
 * the machine knows of the processes in it.
 */
#ifndef CLIENT_OWES_H
#define CLIENT_OWES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/fields.h"

/* The daemon lists no more. */
#define OWES_ROWS_MAX 64

/* What /proc tells of a process's name at most, and a NUL. */
#define OWES_NAME_BYTES 64

/* One subscriber that owes. */
struct owes_row {
	uint64_t uid;
	uint64_t pid; /* 0: not known */
	uint64_t acknowledged;
	uint64_t for_ms;
	bool taken;
	bool connected;
	bool privileged;
	bool gone; /* set by owes_judge() */
};

struct owes {
	uint64_t subscribers;
	uint64_t owing;
	uint64_t owing_privileged;
	uint64_t returning_ms;
	uint64_t forgotten; /* that owed */
	size_t row_count;
	struct owes_row rows[OWES_ROWS_MAX];
};

/*
 * Reads the text, which must outlive the fields. 0, or -EPROTO: it is not in the grammar, or lacks
 * what is always there, and *owes is zero. Fields and rows it does not know are passed over. Pure.
 */
int owes_parse(struct owes *owes, const char *text, struct field fields[static FIELDS_MAX]);

/*
 * Sets gone in each row whose connection ended and whose process does not exist any more, or is
 * another one by now. One that cannot be judged is not gone.
 */
void owes_judge(struct owes *owes);

/* For how many is to be waited, those that did not fit into the list included; after owes_judge().
 */
uint64_t owes_waits(const struct owes *owes);

/* The process's name as it says itself, unchecked; "" when it cannot be had. */
void owes_name(char name[static OWES_NAME_BYTES], uint64_t pid);

/*
 * From the contents of /proc/PID/stat: is the process a dead one that nobody has waited for, and in
 * which clock tick since boot did it start? false: not in the form that proc(5) describes. Pure.
 */
bool owes_read_stat(const char *stat, bool *dead, uint64_t *start_ticks);

#endif
