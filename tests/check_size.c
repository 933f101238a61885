/*
 * Owns: the proof that sizes are read strictly and written right.
 * May touch: client/size. Never does: I/O.
 */
#include <check.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "client/size.h"

#define UNTOUCHED   0xdeadbeefu
#define ROWS(table) (sizeof(table) / sizeof((table)[0]))

static const struct {
	const char *text;
	uint64_t value;
} good[] = {
    {"0", 0},
    {"1", 1},
    {"32", 32},
    {"007", 7},
    {"1K", 1024},
    {"1k", 1024},
    {"1KiB", 1024},
    {"1KB", 1000},
    {"1kB", 1000},
    {"3M", 3ull << 20},
    {"3MiB", 3ull << 20},
    {"3MB", 3000000},
    {"2G", 2ull << 30},
    {"2GiB", 2ull << 30},
    {"2GB", 2000000000},
    {"1T", 1ull << 40},
    {"1TB", 1000000000000},
    {"1P", 1ull << 50},
    {"1PB", 1000000000000000},
    {"15E", 15ull << 60},
    {"18EB", 18000000000000000000u},
    {"0E", 0},
    {"18446744073709551615", UINT64_MAX},
    {"18014398509481983K", UINT64_MAX - 1023},
};

static const struct {
	const char *text;
	int error;
} bad[] = {
    {"", -EINVAL},
    {" 1", -EINVAL},
    {"1 ", -EINVAL},
    {"1 K", -EINVAL},
    {"+1", -EINVAL},
    {"-1", -EINVAL},
    {"K", -EINVAL},
    {"1.5K", -EINVAL},
    {"0x10", -EINVAL},
    {"1e3", -EINVAL},
    {"1m", -EINVAL},
    {"1b", -EINVAL},
    {"1B", -EINVAL},
    {"1i", -EINVAL},
    {"1Ki", -EINVAL},
    {"1KiBx", -EINVAL},
    {"1KBB", -EINVAL},
    {"1KK", -EINVAL},
    {"1Kb", -EINVAL},
    {"1Z", -EINVAL},
    {"1\n", -EINVAL},
    {"\xd9\xa1", -EINVAL},
    {"99999999999999999999x", -EINVAL},
    {"18446744073709551616", -ERANGE},
    {"99999999999999999999", -ERANGE},
    {"99999999999999999999K", -ERANGE},
    {"18014398509481984K", -ERANGE},
    {"16E", -ERANGE},
    {"19EB", -ERANGE},
};

START_TEST(parse_good)
{
	for (size_t i = 0; i < ROWS(good); i++) {
		uint64_t value = UNTOUCHED;

		ck_assert_msg(!size_parse(good[i].text, &value), "%s", good[i].text);
		ck_assert_msg(value == good[i].value, "%s: %llu", good[i].text,
			      (unsigned long long)value);
	}
}
END_TEST

START_TEST(parse_bad)
{
	for (size_t i = 0; i < ROWS(bad); i++) {
		uint64_t value = UNTOUCHED;
		int rc = size_parse(bad[i].text, &value);

		ck_assert_msg(rc == bad[i].error, "'%s': %d", bad[i].text, rc);
		ck_assert_uint_eq(value, UNTOUCHED);
	}
}
END_TEST

static const struct {
	uint64_t value;
	const char *text;
} sizes[] = {
    {0, "0 B"},
    {1023, "1023 B"},
    {1024, "1.0 KiB"},
    {1536, "1.5 KiB"},
    {(1u << 20) - 1, "1.0 MiB"},
    {1u << 20, "1.0 MiB"},
    {1ull << 30, "1.0 GiB"},
    {UINT64_MAX, "16.0 EiB"},
};

static const struct {
	uint64_t ms;
	const char *text;
} times[] = {
    {0, "0 ms"},
    {999, "999 ms"},
    {1000, "1.0 s"},
    {59999, "59.9 s"},
    {60000, "1 min 0 s"},
    {3599999, "59 min 59 s"},
    {3600000, "1 h 0 min"},
    {86399999, "23 h 59 min"},
    {86400000, "1 d 0 h"},
    {UINT64_MAX, "213503982334 d 14 h"},
};

START_TEST(format_sizes)
{
	char text[SIZE_TEXT_BYTES];

	for (size_t i = 0; i < ROWS(sizes); i++) {
		size_format(text, sizes[i].value);
		ck_assert_str_eq(text, sizes[i].text);
	}
}
END_TEST

START_TEST(format_times)
{
	char text[SIZE_TEXT_BYTES];

	for (size_t i = 0; i < ROWS(times); i++) {
		size_format_ms(text, times[i].ms);
		ck_assert_str_eq(text, times[i].text);
	}
}
END_TEST

/* Any width, any state: one line that fits, nothing but printable characters. */
static void check_line(unsigned columns, uint64_t done, uint64_t total, int64_t elapsed_ms)
{
	size_t most = columns ? columns - 1 : 79;
	char line[SIZE_PROGRESS_BYTES];
	size_t len = size_progress(line, columns, done, total, elapsed_ms);

	if (most > sizeof(line) - 1)
		most = sizeof(line) - 1;
	ck_assert_uint_eq(len, strlen(line));
	ck_assert_uint_le(len, most);
	if (columns == 0 || columns >= 70) /* wide enough for all: filled */
		ck_assert_uint_eq(len, most);
	for (const char *p = line; *p; p++)
		if (*p < ' ' || *p > '~')
			ck_abort_msg("unprintable at %u columns", columns);
}

START_TEST(progress_fits)
{
	static const uint64_t totals[] = {1, 1000, 1u << 30, UINT64_MAX};
	static const int64_t times_ms[] = {-1, 0, 1, 1500, INT64_MAX / 2};

	for (unsigned columns = 0; columns < 300; columns++) {
		for (size_t i = 0; i < ROWS(totals); i++) {
			for (size_t j = 0; j < ROWS(times_ms); j++) {
				check_line(columns, 0, totals[i], times_ms[j]);
				check_line(columns, totals[i] / 2, totals[i], times_ms[j]);
				check_line(columns, totals[i], totals[i], times_ms[j]);
			}
		}
	}
}
END_TEST

START_TEST(progress_text)
{
	char line[SIZE_PROGRESS_BYTES];

	size_progress(line, 81, 256u << 20, 1u << 30, 1000);
	ck_assert_str_eq(line, " 256.0 MiB of 1.0 GiB  25% "
			       "[======                    ]"
			       "  256.0 MiB/s ETA 0:00:03");
	size_progress(line, 81, 1u << 30, 1u << 30, 61000);
	ck_assert_ptr_nonnull(strstr(line, "100% [==="));
	ck_assert_ptr_nonnull(strstr(line, "===]"));
	ck_assert_ptr_nonnull(strstr(line, "in  0:01:01"));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("size");
	TCase *tcase = tcase_create("size");
	SRunner *sr = srunner_create(suite);
	int failed;

	tcase_add_test(tcase, parse_good);
	tcase_add_test(tcase, parse_bad);
	tcase_add_test(tcase, format_sizes);
	tcase_add_test(tcase, format_times);
	tcase_add_test(tcase, progress_fits);
	tcase_add_test(tcase, progress_text);
	suite_add_tcase(suite, tcase);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
