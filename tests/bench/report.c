/*
 * Owns: the layout of the table and of the JSON. May touch: standard output, the file it is told.
 * Never does: leave half a file behind, or let a bar decide anything.
 */
#include "tests/bench/report.h"

#include <errno.h>
#include <gnu/libc-version.h>
#include <math.h>
#include <openssl/crypto.h>
#include <sched.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "host/cpu.h"
#include "tests/bench/bench.h"

#define SCHEMA     1
#define TEXT_BYTES 256

struct machine {
	char cpu[TEXT_BYTES];
	long processors;
	struct utsname kernel;
	const char *instruction_sets; /* as JSON strings */
};

/* ------------------------------------------------------------------ JSON */

static void put_string(FILE *out, const char *text)
{
	putc('"', out);
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '"' || c == '\\')
			fprintf(out, "\\%c", c);
		else if (c < 0x20)
			fprintf(out, "\\u%04x", c);
		else
			putc(c, out);
	}
	putc('"', out);
}

static void put_text(FILE *out, const char *name, const char *value)
{
	fprintf(out, "\"%s\": ", name);
	if (value)
		put_string(out, value);
	else
		fputs("null", out);
	fputs(", ", out);
}

/* JSON knows no infinity and nothing that is not a number. */
static void put_number(FILE *out, const char *name, double value)
{
	fprintf(out, isfinite(value) ? "\"%s\": %.6g, " : "\"%s\": null, ", name, value);
}

/* Whole, whatever its size; null where there is none. */
static void put_count(FILE *out, const char *name, size_t count)
{
	if (count)
		fprintf(out, "\"%s\": %zu, ", name, count);
	else
		fprintf(out, "\"%s\": null, ", name);
}

/* ----------------------------------------------------------------- rows */

static const char *bar_text(enum report_bar bar_is)
{
	switch (bar_is) {
	case REPORT_RATIO_AT_LEAST:
		return "ratio>=";
	case REPORT_RATIO_AT_MOST:
		return "ratio<=";
	case REPORT_OURS_AT_MOST:
		return "ours<=";
	default:
		return NULL;
	}
}

static bool is_met(const struct report_row *row, const struct measure_figures *figures)
{
	if (row->bar_is == REPORT_RATIO_AT_LEAST)
		return figures->ratio >= row->bar;
	if (row->bar_is == REPORT_RATIO_AT_MOST)
		return figures->ratio <= row->bar;
	return figures->ours <= row->bar;
}

void report_begin(const struct bench *bench)
{
	printf("\n%s\n  %-29s %10s %9s %9s %-4s %7s  %-17s\n", bench->group->title, "", "bytes",
	       "ours", "peer", "", "ratio", "spread");
	fflush(stdout);
}

static void print_row(const struct report_row *row, const struct measure_figures *figures)
{
	char name[64], size[24] = "", ratio[16] = "-", spread[40] = "";

	if (row->connections)
		snprintf(name, sizeof(name), "%s of %zu : %s", row->name, row->connections,
			 row->peer);
	else
		snprintf(name, sizeof(name), "%s : %s", row->name, row->peer);
	if (row->size_bytes)
		snprintf(size, sizeof(size), "%zu", row->size_bytes);
	if (isfinite(figures->ratio)) {
		snprintf(ratio, sizeof(ratio), "%.2f", figures->ratio);
		snprintf(spread, sizeof(spread), "(%.2f..%.2f)", figures->ratio_low,
			 figures->ratio_high);
	}
	printf("  %-29s %10s %9.4g %9.4g %-4s %7s  %-17s", name, size, figures->ours,
	       figures->theirs, row->unit, ratio, spread);
	if (row->bar_is != REPORT_NO_BAR)
		printf("  bar %s %g: %s", bar_text(row->bar_is), row->bar,
		       is_met(row, figures) ? "met" : "missed");
	printf("\n");
	fflush(stdout);
}

void report_row(const struct bench *bench, const struct report_row *row,
		const struct measure_rounds *rounds)
{
	const struct measure_figures figures = measure_figures(rounds);
	bool bar = row->bar_is != REPORT_NO_BAR;

	print_row(row, &figures);
	fputs("R{", bench->rows);
	put_text(bench->rows, "name", row->name);
	put_text(bench->rows, "group", bench->group->name);
	put_count(bench->rows, "size_bytes", row->size_bytes);
	put_count(bench->rows, "connections", row->connections);
	put_text(bench->rows, "unit", row->unit);
	put_number(bench->rows, "ours", figures.ours);
	put_text(bench->rows, "peer_name", row->peer);
	put_number(bench->rows, "theirs", figures.theirs);
	put_number(bench->rows, "ratio", figures.ratio);
	put_number(bench->rows, "ratio_low", figures.ratio_low);
	put_number(bench->rows, "ratio_high", figures.ratio_high);
	put_count(bench->rows, "rounds", (size_t)rounds->count);
	put_text(bench->rows, "bar_is", bar_text(row->bar_is));
	put_number(bench->rows, "bar", bar ? row->bar : (double)NAN);
	fprintf(bench->rows, "\"met\": %s}\n",
		!bar                    ? "null"
		: is_met(row, &figures) ? "true"
					: "false");
	fflush(bench->rows);
}

void report_skip(const struct bench *bench, const char *name, const char *reason)
{
	printf("  SKIP: %s%s%s\n", name ? name : "", name ? ": " : "", reason);
	fflush(stdout);
	fputs("S{", bench->rows);
	put_text(bench->rows, "group", bench->group->name);
	put_text(bench->rows, "name", name);
	fputs("\"reason\": ", bench->rows);
	put_string(bench->rows, reason);
	fputs("}\n", bench->rows);
	fflush(bench->rows);
}

/* -------------------------------------------------------------- machine */

static void find_cpu(char *text, size_t size)
{
	char line[TEXT_BYTES], *colon;
	FILE *f = fopen("/proc/cpuinfo", "re");

	snprintf(text, size, "unknown");
	while (f && fgets(line, sizeof(line), f)) {
		if (strncmp(line, "model name", 10) != 0 || !(colon = strchr(line, ':')))
			continue;
		line[strcspn(line, "\n")] = '\0';
		snprintf(text, size, "%s", colon + 1 + strspn(colon + 1, " "));
		break;
	}
	if (f)
		fclose(f);
}

/* Processors that this process may use. */
static long count_processors(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		return CPU_COUNT(&set);
	return sysconf(_SC_NPROCESSORS_ONLN);
}

static void find_machine(struct machine *machine)
{
	*machine = (struct machine){.processors = count_processors()};
	find_cpu(machine->cpu, sizeof(machine->cpu));
	uname(&machine->kernel);
	machine->instruction_sets = cpu_has_avx512() ? "\"avx2\", \"avx512\""
				    : cpu_has_avx2() ? "\"avx2\""
						     : "";
}

void report_machine(void)
{
	struct machine machine;

	find_machine(&machine);
	printf("%s, %ld processors, %s %s\n", machine.cpu, machine.processors,
	       machine.kernel.sysname, machine.kernel.release);
	printf("%s, libsodium %s, glibc %s\n", OpenSSL_version(OPENSSL_VERSION),
	       sodium_version_string(), gnu_get_libc_version());
	printf("A ratio is ours to the peer's, the median of rounds in turn; the spread is that of "
	       "this "
	       "median\n");
}

static void put_machine(FILE *out)
{
	struct machine machine;

	find_machine(&machine);
	fputs("\"machine\": {", out);
	put_text(out, "cpu", machine.cpu);
	put_count(out, "processors", (size_t)machine.processors);
	put_text(out, "arch", machine.kernel.machine);
	put_text(out, "kernel", machine.kernel.release);
	fprintf(out, "\"instruction_sets\": [%s]},\n", machine.instruction_sets);
	fputs("\"libraries\": {", out);
	put_text(out, "openssl", OpenSSL_version(OPENSSL_VERSION));
	put_text(out, "libsodium", sodium_version_string());
	fputs("\"glibc\": ", out);
	put_string(out, gnu_get_libc_version());
	fputs("},\n", out);
}

/* Those lines that begin with kind, as a list. */
static void put_lines(FILE *out, FILE *rows, char kind)
{
	const char *separator = "";
	char *line = NULL;
	size_t size = 0;

	rewind(rows);
	while (getline(&line, &size, rows) > 0) {
		if (line[0] != kind)
			continue;
		line[strcspn(line, "\n")] = '\0';
		fprintf(out, "%s\n%s", separator, line + 1);
		separator = ",";
	}
	free(line);
}

int report_json(const char *path, const char *mode, FILE *rows)
{
	char temporary[4096], date[32];
	time_t now = time(NULL);
	struct tm utc;
	FILE *out;
	bool failed;

	if (snprintf(temporary, sizeof(temporary), "%s.new", path) >= (int)sizeof(temporary))
		return -ENAMETOOLONG;
	out = fopen(temporary, "we");
	if (!out)
		return -errno;
	strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
	fprintf(out, "{\"schema\": %d, \"date\": \"%s\", \"mode\": \"%s\",\n", SCHEMA, date, mode);
	put_machine(out);
	fputs("\"rows\": [", out);
	put_lines(out, rows, 'R');
	fputs("],\n\"skipped\": [", out);
	put_lines(out, rows, 'S');
	fputs("]}\n", out);
	failed = ferror(out) != 0;
	if (fclose(out) != 0 || failed || rename(temporary, path) < 0) {
		int err = errno ? -errno : -EIO;

		unlink(temporary);
		return err;
	}
	return 0;
}
