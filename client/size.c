/*
 * Owns: nothing. May touch: what it is given.
 * Never does: depend on the locale; guess what a malformed number meant.
 */
#include "client/size.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* What a terminal that does not know its width is taken for, and the shortest useful bar. */
#define SIZE_DEFAULT_COLUMNS 80u
#define SIZE_BAR_MIN_COLUMNS 10u

/* The most that is shown: 999 hours, and a rate that fits 64 bits. */
#define SIZE_TIME_MAX_S (999.0 * 3600)
#define SIZE_RATE_MAX   1e18

static const char size_prefixes[] = "KMGTPE";

static int parse_digits(const char **text, uint64_t *value)
{
	const char *p = *text;
	uint64_t sum = 0;

	if (*p < '0' || *p > '9')
		return -EINVAL;
	for (; *p >= '0' && *p <= '9'; p++) {
		if (__builtin_mul_overflow(sum, 10u, &sum) ||
		    __builtin_add_overflow(sum, (uint64_t)(*p - '0'), &sum))
			return -ERANGE;
	}
	*text = p;
	*value = sum;
	return 0;
}

/* The suffix at text as base^power; false if it is none. */
static bool parse_suffix(const char *text, uint64_t *base, size_t *power)
{
	const char *prefix;

	*base = 1024;
	*power = 0;
	if (!*text)
		return true;
	prefix = strchr(size_prefixes, *text == 'k' ? 'K' : *text);
	if (!prefix)
		return false;
	*power = (size_t)(prefix - size_prefixes) + 1;
	if (!strcmp(text + 1, "B"))
		*base = 1000;
	return !text[1] || !strcmp(text + 1, "B") || !strcmp(text + 1, "iB");
}

int size_parse(const char *text, uint64_t *value)
{
	uint64_t sum, base;
	size_t power;
	bool overflow;
	int rc;

	rc = parse_digits(&text, &sum);
	overflow = rc == -ERANGE;
	if (overflow) /* "9999999999999999999999x" is malformed before it is too large */
		text += strspn(text, "0123456789");
	else if (rc)
		return rc;
	if (!parse_suffix(text, &base, &power))
		return -EINVAL;
	for (; power && !overflow; power--)
		overflow = __builtin_mul_overflow(sum, base, &sum);
	if (overflow)
		return -ERANGE;
	*value = sum;
	return 0;
}

void size_format(char text[static SIZE_TEXT_BYTES], uint64_t bytes)
{
	double value = (double)bytes;
	size_t power = 0;

	if (bytes < 1024) {
		snprintf(text, SIZE_TEXT_BYTES, "%u B", (unsigned)bytes);
		return;
	}
	/* 1023.95 and up would be printed as 1024.0 of the smaller unit. */
	while (value >= 1023.95 && power < sizeof(size_prefixes) - 1) {
		value /= 1024;
		power++;
	}
	snprintf(text, SIZE_TEXT_BYTES, "%.1f %ciB", value, size_prefixes[power - 1]);
}

void size_format_ms(char text[static SIZE_TEXT_BYTES], uint64_t ms)
{
	uint64_t s = ms / 1000;
	unsigned long long days = s / 86400;
	unsigned hours = (unsigned)(s / 3600 % 24), minutes = (unsigned)(s / 60 % 60);

	if (ms < 1000)
		snprintf(text, SIZE_TEXT_BYTES, "%u ms", (unsigned)ms);
	else if (s < 60)
		snprintf(text, SIZE_TEXT_BYTES, "%u.%u s", (unsigned)s, (unsigned)(ms / 100 % 10));
	else if (s < 3600)
		snprintf(text, SIZE_TEXT_BYTES, "%u min %u s", minutes, (unsigned)(s % 60));
	else if (s < 86400)
		snprintf(text, SIZE_TEXT_BYTES, "%u h %u min", hours, minutes);
	else
		snprintf(text, SIZE_TEXT_BYTES, "%llu d %u h", days, hours);
}

/* Fills the columns between head and tail with a bar, or with spaces where it would be tiny. */
static void draw_bar(char *bar, size_t columns, double share)
{
	size_t filled;

	memset(bar, ' ', columns);
	bar[columns] = '\0';
	if (columns < SIZE_BAR_MIN_COLUMNS)
		return;
	filled = (size_t)(share * (double)(columns - 2));
	bar[0] = '[';
	memset(bar + 1, '=', filled);
	bar[columns - 1] = ']';
}

size_t size_progress(char line[static SIZE_PROGRESS_BYTES], unsigned columns, uint64_t done,
		     uint64_t total, int64_t elapsed_ms)
{
	double elapsed_s = (double)(elapsed_ms > 0 ? elapsed_ms : 1) / 1000;
	double rate = (double)done / elapsed_s;
	double share = done < total ? (double)done / (double)total : 1;
	double time_s = elapsed_s;
	size_t width = (columns ? columns : SIZE_DEFAULT_COLUMNS) - 1;
	char done_text[SIZE_TEXT_BYTES], total_text[SIZE_TEXT_BYTES], rate_text[SIZE_TEXT_BYTES];
	char head[96], tail[96], bar[SIZE_PROGRESS_BYTES];
	size_t room;
	unsigned s;

	if (width > SIZE_PROGRESS_BYTES - 1)
		width = SIZE_PROGRESS_BYTES - 1;
	if (done < total)
		time_s = done ? (double)(total - done) / rate : SIZE_TIME_MAX_S;
	s = (unsigned)(time_s < SIZE_TIME_MAX_S ? time_s : SIZE_TIME_MAX_S);
	size_format(done_text, done);
	size_format(total_text, total);
	size_format(rate_text, (uint64_t)(rate < SIZE_RATE_MAX ? rate : SIZE_RATE_MAX));
	snprintf(head, sizeof(head), "%10s of %s %3u%% ", done_text, total_text,
		 (unsigned)(share * 100));
	snprintf(tail, sizeof(tail), " %10s/s %s %u:%02u:%02u", rate_text,
		 done < total ? "ETA" : "in ", s / 3600, s / 60 % 60, s % 60);
	room = strlen(head) + strlen(tail);
	draw_bar(bar, width > room ? width - room : 0, share);
	snprintf(line, width + 1, "%s%s%s", head, bar, tail);
	return strlen(line);
}
