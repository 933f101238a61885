/* client/args: numbers and times to the last digit, and every option's letter. */
#include "client/args.h"

#include <check.h>
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

static int errors;

/* The program's own writes to standard error. */
void rngcli_error(const char *format, ...)
{
	(void)format;
	errors++;
}

START_TEST(seconds)
{
	static const struct {
		const char *text;
		int ms; /* -1: none */
	} rows[] = {
	    {"5", 5000},
	    {"0.25", 250},
	    {"0.001", 1},
	    {"1.5", 1500},
	    {"2147483.647", 2147483647},
	    {"2147483.648", -1},
	    {"99999999999999999999", -1},
	    {"", -1},
	    {".5", -1},
	    {"1.", -1},
	    {"1..2", -1},
	    {"1.2345", -1},
	    {"-1", -1},
	    {"+1", -1},
	    {" 1", -1},
	    {"1s", -1},
	    {"0", -1},
	    {"0.000", -1},
	};
	int ms;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		ms = -7;
		ck_assert_int_eq(args_seconds(rows[i].text, 1, &ms), rows[i].ms < 0 ? -EINVAL : 0);
		ck_assert_int_eq(ms, rows[i].ms < 0 ? -7 : rows[i].ms);
	}
	ck_assert_int_eq(args_seconds("0", 0, &ms), 0);
	ck_assert_int_eq(ms, 0);
	ck_assert_int_eq(args_seconds("", 0, &ms), -EINVAL);
}
END_TEST

START_TEST(numbers)
{
	static const char *const bad[] = {"",
					  "-1",
					  "+1",
					  " 1",
					  "1 ",
					  "0x1",
					  "1K",
					  "1e3",
					  "18446744073709551616",
					  "99999999999999999999"};
	uint64_t number = 7;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ck_assert_int_eq(args_number(bad[i], &number), -EINVAL);
		ck_assert_uint_eq(number, 7);
	}
	ck_assert_int_eq(args_number("18446744073709551615", &number), 0);
	ck_assert_uint_eq(number, UINT64_MAX);
	ck_assert_int_eq(args_number("007", &number), 0);
	ck_assert_uint_eq(number, 7);
}
END_TEST

/* getopt_long() takes words that may be written to; options point into them. */
static char words_copy[8][32];

/* Up to six words. */
static enum args_result parse(struct rngcli_options *options, struct args_given *given,
			      const char *const words[])
{
	char *argv[8] = {(char[]){"rngcli"}};
	int argc = 1;

	for (; words[argc - 1]; argc++)
		argv[argc] = strcpy(words_copy[argc], words[argc - 1]);
	*options = (struct rngcli_options){.socket_path = "default"};
	*given = (struct args_given){.letter = {false}};
	errors = 0;
	optind = 0;
	return args_parse(argc, argv, options, given);
}

START_TEST(options_of_events)
{
	struct rngcli_options options;
	struct args_given given;

	ck_assert_int_eq(parse(&options, &given,
			       (const char *const[]){"settle", "--after", "41", "-t", "2", NULL}),
			 ARGS_COMMAND);
	ck_assert_uint_eq(options.after, 41);
	ck_assert_int_eq(options.timeout_ms, 2000);
	ck_assert_int_eq(options.arg_count, 1);
	ck_assert_ptr_null(args_not_accepted(&given, "at"));
	ck_assert_str_eq(args_not_accepted(&given, "t"), "after");
	ck_assert_int_eq(parse(&options, &given,
			       (const char *const[]){"watch", "--exec=true", "--exec-timeout=0",
						     "--count", "2", NULL}),
			 ARGS_COMMAND);
	ck_assert_str_eq(options.exec, "true");
	ck_assert_int_eq(options.exec_timeout_ms, 0);
	ck_assert_uint_eq(options.count, 2);
	ck_assert_int_eq(parse(&options, &given,
			       (const char *const[]){"bump", "--settle", "--stdin", "--no-daemon",
						     "--no-bytes", NULL}),
			 ARGS_COMMAND);
	ck_assert(options.settle && options.from_stdin && options.no_daemon && options.no_bytes);
	ck_assert_int_eq(errors, 0);
}
END_TEST

START_TEST(wrong_values)
{
	static const char *const rows[][3] = {
	    {"--after", "-1"},
	    {"--after", "x"},
	    {"--after", ""},
	    {"--count", "0"},
	    {"--count", "1.5"},
	    {"--exec", ""},
	    {"--timeout", "0"},
	    {"--exec-timeout", "-1"},
	    {"--socket", ""},
	    {"--control", ""},
	    {"--out", ""},
	    {"--settle=1"},
	    {"--reason", "why"},
	    {"--after"},
	    {"-Z"},
	};
	struct rngcli_options options;
	struct args_given given;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		ck_assert_int_eq(parse(&options, &given, rows[i]), ARGS_WRONG);
		ck_assert_int_eq(errors, 1);
	}
	ck_assert_int_eq(parse(&options, &given, (const char *const[]){"--out", "-", NULL}),
			 ARGS_COMMAND);
	ck_assert_ptr_null(options.out_path);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("args");
	TCase *tcase = tcase_create("args");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tcase);
	tcase_add_test(tcase, seconds);
	tcase_add_test(tcase, numbers);
	tcase_add_test(tcase, options_of_events);
	tcase_add_test(tcase, wrong_values);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
