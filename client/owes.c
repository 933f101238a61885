/*
 * Owns: nothing. May touch: /proc, of the processes in the list. Never does: take a process for
 * gone on doubt: who waits for one too many is told so, who misses one is not.
 */
#include "client/owes.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define OWES_ROW_PREFIX "owes."

/* By so much a process's start may be behind what it did first: ticks, and the way of a reply. */
#define OWES_SLACK_MS 1000

/* Longer than any /proc/PID/stat. */
#define OWES_STAT_BYTES 2048

/* ---------------------------------------------------------------- the text */

static bool read_bool(const struct field *field)
{
	return field->type == FIELD_BOOLEAN && fields_same(field->value, field->value_len, "true");
}

/* The part of "owes.N.part" and N, from 1; NULL: the field is none of these. */
static const char *row_part(const struct field *field, size_t *n)
{
	const size_t prefix = strlen(OWES_ROW_PREFIX);
	const char *p = field->name + prefix;

	if ((size_t)field->name_len <= prefix || strncmp(field->name, OWES_ROW_PREFIX, prefix) != 0)
		return NULL;
	*n = 0;
	for (; *p >= '0' && *p <= '9' && *n <= OWES_ROWS_MAX; p++)
		*n = *n * 10 + (size_t)(*p - '0');
	return *p == '.' && *n >= 1 && *n <= OWES_ROWS_MAX ? p + 1 : NULL;
}

/* One field of a row. 0 or -EPROTO. */
static int set_row(struct owes_row *row, const struct field *field, const char *part)
{
	const struct {
		const char *name;
		uint64_t *number;
		bool *flag;
	} parts[] = {
	    {"uid", &row->uid, NULL},
	    {"pid", &row->pid, NULL},
	    {"acknowledged", &row->acknowledged, NULL},
	    {"for_ms", &row->for_ms, NULL},
	    {"taken", NULL, &row->taken},
	    {"connected", NULL, &row->connected},
	    {"privileged", NULL, &row->privileged},
	};
	int len = field->name_len - (int)(part - field->name);

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		if (!fields_same(part, len, parts[i].name))
			continue;
		if (parts[i].flag) {
			*parts[i].flag = read_bool(field);
			return field->type == FIELD_BOOLEAN ? 0 : -EPROTO;
		}
		return fields_number(field, parts[i].number) ? 0 : -EPROTO;
	}
	return 0;
}

/* The numbers that are always there. 0 or -EPROTO. */
static int read_sums(struct owes *owes, const struct field *fields, size_t count)
{
	const struct {
		const char *name;
		uint64_t *number;
	} sums[] = {
	    {"subscribers", &owes->subscribers},           {"owing", &owes->owing},
	    {"owing_privileged", &owes->owing_privileged}, {"forgotten", &owes->forgotten},
	    {"returning_ms", &owes->returning_ms},
	};
	size_t found = 0;

	for (size_t i = 0; i < count; i++)
		for (size_t j = 0; j < sizeof(sums) / sizeof(sums[0]); j++)
			if (fields_same(fields[i].name, fields[i].name_len, sums[j].name))
				found += fields_number(&fields[i], sums[j].number);
	return found == sizeof(sums) / sizeof(sums[0]) ? 0 : -EPROTO;
}

int owes_parse(struct owes *owes, const char *text, struct field fields[static FIELDS_MAX])
{
	size_t count = fields_parse(text, fields);
	int rc;

	memset(owes, 0, sizeof(*owes));
	rc = read_sums(owes, fields, count);
	for (size_t i = 0; i < count && !rc; i++) {
		size_t n;
		const char *part = row_part(&fields[i], &n);

		if (!part)
			continue;
		rc = set_row(&owes->rows[n - 1], &fields[i], part);
		if (n > owes->row_count)
			owes->row_count = n;
	}
	if (rc)
		memset(owes, 0, sizeof(*owes));
	return rc;
}

/* ---------------------------------------------------------------- the processes */

/* All of a small file of /proc/PID, a NUL after it. false: it cannot be had. */
static bool read_proc(uint64_t pid, const char *file, char *buf, size_t size)
{
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%llu/%s", (unsigned long long)pid, file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, buf, size - 1);
	close(fd);
	if (n < 0)
		return false;
	buf[n] = '\0';
	return n > 0;
}

void owes_name(char name[static OWES_NAME_BYTES], uint64_t pid)
{
	if (!pid || !read_proc(pid, "comm", name, OWES_NAME_BYTES))
		name[0] = '\0';
	name[strcspn(name, "\n")] = '\0';
}

bool owes_read_stat(const char *stat, bool *dead, uint64_t *start_ticks)
{
	/* The name before it may hold anything, a bracket too. */
	const char *p = strrchr(stat, ')');
	unsigned long long threads, start;
	char state;

	/* Fields 3, 20 and 22. */
	if (!p || sscanf(p,
			 ") %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
			 "%llu %*s %llu",
			 &state, &threads, &start) != 3)
		return false;
	/* The first thread may have ended before others, which live on. */
	*dead = (state == 'Z' || state == 'X') && threads <= 1;
	*start_ticks = start;
	return true;
}

/* Did it start after the subscriber with that number had been seen already? */
static bool started_later(uint64_t start_ticks, uint64_t for_ms)
{
	long ticks_per_s = sysconf(_SC_CLK_TCK);
	struct timespec now;
	uint64_t now_ms, start_ms;

	if (ticks_per_s <= 0 || clock_gettime(CLOCK_BOOTTIME, &now))
		return false;
	now_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
	if (start_ticks > UINT64_MAX / 1000 || for_ms > now_ms)
		return false;
	start_ms = start_ticks * 1000 / (uint64_t)ticks_per_s;
	return start_ms > now_ms - for_ms + OWES_SLACK_MS;
}

static bool is_gone(const struct owes_row *row)
{
	char stat[OWES_STAT_BYTES];
	uint64_t start_ticks;
	bool dead;

	if (row->connected || row->pid == 0 || row->pid > INT_MAX)
		return false;
	if (kill((pid_t)row->pid, 0) && errno == ESRCH)
		return true;
	if (!read_proc(row->pid, "stat", stat, sizeof(stat)) ||
	    !owes_read_stat(stat, &dead, &start_ticks))
		return false;
	return dead || started_later(start_ticks, row->for_ms);
}

void owes_judge(struct owes *owes)
{
	for (size_t i = 0; i < owes->row_count; i++)
		owes->rows[i].gone = is_gone(&owes->rows[i]);
}

uint64_t owes_waits(const struct owes *owes)
{
	uint64_t listed = 0, waits = 0;

	for (size_t i = 0; i < owes->row_count; i++) {
		listed += owes->rows[i].privileged;
		waits += owes->rows[i].privileged && !owes->rows[i].gone;
	}
	return waits + (owes->owing_privileged > listed ? owes->owing_privileged - listed : 0);
}
