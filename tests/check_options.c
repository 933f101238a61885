/*
 * check_options - every option, its bounds and what is said when it is wrong. Owns: the pipes that
 * stand in for stderr and stdout. May touch: descriptors 1 and 2. Never does: run a daemon.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/options.h"
#include "proto/rngd_proto.h"

#define ARGS_MAX   8
#define TEXT_BYTES 4096
#define PATH_BYTES (sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1)

/* What one parse did. */
struct outcome {
	struct options options;
	int err;
	char said[TEXT_BYTES]; /* on stderr */
};

/* Reads what is in the pipe and no more; the writing end is open. */
static void drain(int fd, char text[TEXT_BYTES])
{
	ssize_t n = read(fd, text, TEXT_BYTES - 1);

	ck_assert(n >= 0 || errno == EAGAIN);
	text[n > 0 ? n : 0] = '\0';
}

/* Puts a pipe in place of the descriptor; returns the end to read. */
static int tap(int replaced_fd)
{
	int fds[2];

	ck_assert_int_eq(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	ck_assert_int_eq(dup2(fds[1], replaced_fd), replaced_fd);
	close(fds[1]);
	return fds[0];
}

/* Parses "rngd" and the arguments up to NULL. */
static void parse(struct outcome *outcome, const char *const *args)
{
	int saved = dup(STDERR_FILENO), fd = tap(STDERR_FILENO), argc = 1;
	char *argv[ARGS_MAX + 2] = {(char[]){"rngd"}};

	for (; args[argc - 1]; argc++) {
		ck_assert_int_le(argc, ARGS_MAX);
		argv[argc] = (char *)(uintptr_t)args[argc - 1]; /* getopt only reorders */
	}
	memset(&outcome->options, 0xa5, sizeof(outcome->options));
	outcome->err = options_parse(&outcome->options, argc, argv);
	dup2(saved, STDERR_FILENO);
	close(saved);
	drain(fd, outcome->said);
	close(fd);
}

#define PARSE(outcome, ...) parse(outcome, (const char *const[]){__VA_ARGS__, NULL})

/* Taken, and nothing said. */
#define ACCEPT(outcome, ...)                                                       \
	do {                                                                       \
		PARSE(outcome, __VA_ARGS__);                                       \
		ck_assert_msg((outcome)->err == 0, "%s refused: %s", #__VA_ARGS__, \
			      (outcome)->said);                                    \
		ck_assert_str_eq((outcome)->said, "");                             \
	} while (0)

/* Refused in one line that names `about`. */
#define REFUSE(about, ...)                                                                \
	do {                                                                              \
		struct outcome refused;                                                   \
		PARSE(&refused, __VA_ARGS__);                                             \
		ck_assert_msg(refused.err == -EINVAL, "%s accepted", #__VA_ARGS__);       \
		ck_assert_msg(is_one_line(refused.said), "%s: said \"%s\"", #__VA_ARGS__, \
			      refused.said);                                              \
		ck_assert_msg(strstr(refused.said, about), "%s: \"%s\" does not name %s", \
			      #__VA_ARGS__, refused.said, about);                         \
	} while (0)

static bool is_one_line(const char *text)
{
	size_t len = strlen(text);

	return len > 0 && strchr(text, '\n') == text + len - 1;
}

START_TEST(defaults)
{
	struct outcome outcome;

	parse(&outcome, (const char *const[]){NULL});
	ck_assert_int_eq(outcome.err, 0);
	ck_assert_str_eq(outcome.said, "");
	ck_assert_int_eq(outcome.options.action, OPTIONS_RUN);
	ck_assert_str_eq(outcome.options.socket_path, RNGD_PROTO_DEFAULT_SOCKET);
	ck_assert_uint_eq(outcome.options.socket_mode, 0666);
	ck_assert_str_eq(outcome.options.user, "rngd");
	ck_assert_int_eq(outcome.options.reseed_interval_s, 60);
	ck_assert(outcome.options.memfd_secret);
}
END_TEST

START_TEST(all_at_once)
{
	struct outcome outcome;

	ACCEPT(&outcome, "--socket", "/tmp/x", "--socket-mode=0600", "--user", "somebody",
	       "--reseed-interval=5", "--no-memfd-secret");
	ck_assert_int_eq(outcome.options.action, OPTIONS_RUN);
	ck_assert_str_eq(outcome.options.socket_path, "/tmp/x");
	ck_assert_uint_eq(outcome.options.socket_mode, 0600);
	ck_assert_str_eq(outcome.options.user, "somebody");
	ck_assert_int_eq(outcome.options.reseed_interval_s, 5);
	ck_assert(!outcome.options.memfd_secret);
}
END_TEST

/* Nothing is left over from an earlier parse. */
START_TEST(parses_again)
{
	struct outcome outcome;

	ACCEPT(&outcome, "--no-memfd-secret", "--reseed-interval", "1");
	ACCEPT(&outcome, "--user", "u");
	ck_assert(outcome.options.memfd_secret);
	ck_assert_int_eq(outcome.options.reseed_interval_s, 60);
	REFUSE("--bad", "--user", "u", "--bad");
	ACCEPT(&outcome, "--user", "u");
}
END_TEST

START_TEST(last_one_counts)
{
	struct outcome outcome;

	ACCEPT(&outcome, "--reseed-interval", "1", "--reseed-interval", "2");
	ck_assert_int_eq(outcome.options.reseed_interval_s, 2);
}
END_TEST

START_TEST(socket_path_bounds)
{
	char longest[PATH_BYTES + 1], longer[PATH_BYTES + 2];
	struct outcome outcome;

	memset(longest, 'x', sizeof(longest));
	longest[0] = '/';
	longest[PATH_BYTES] = '\0';
	memset(longer, 'x', sizeof(longer));
	longer[PATH_BYTES + 1] = '\0';
	ck_assert_uint_eq(PATH_BYTES, 107);
	ACCEPT(&outcome, "--socket", longest);
	ck_assert_str_eq(outcome.options.socket_path, longest);
	ACCEPT(&outcome, "--socket", "x");
	REFUSE("--socket", "--socket", longer);
	REFUSE("--socket", "--socket", "");
	REFUSE("--socket", "--socket=");
	REFUSE("--socket", "--socket");
}
END_TEST

/* Also where one of them follows from the other. */
START_TEST(each_path_is_its_own)
{
	struct outcome outcome;

	REFUSE("each its own", "--socket", "/tmp/x", "--control", "/tmp/x");
	REFUSE("each its own", "--socket", "/tmp/x", "--epoch", "/tmp/x");
	REFUSE("each its own", "--control", "/tmp/x", "--epoch", "/tmp/x");
	REFUSE("each its own", "--control", RNGD_PROTO_DEFAULT_SOCKET);
	REFUSE("each its own", "--socket", "/tmp/x", "--epoch", "/tmp/x.control");
	ACCEPT(&outcome, "--socket", "/tmp/x", "--control", "/tmp/y", "--epoch", "/tmp/z");
}
END_TEST

START_TEST(socket_mode_bounds)
{
	static const struct {
		const char *text;
		mode_t mode;
	} good[] = {{"0", 0}, {"0777", 0777}, {"777", 0777}, {"0600", 0600}, {"00666", 0666}};
	static const char *const bad[] = {
	    "",     "8",    "0888", "1000", "01777", "-1", "+600",
	    " 600", "600 ", "0x1f", "rw",   "600k",  "-0", "99999999999999999999999"};
	struct outcome outcome;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		ACCEPT(&outcome, "--socket-mode", good[i].text);
		ck_assert_uint_eq(outcome.options.socket_mode, good[i].mode);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		REFUSE("--socket-mode", "--socket-mode", bad[i]);
	REFUSE("--socket-mode", "--socket-mode");
}
END_TEST

/* The state is never older than a minute, whatever is asked for. */
START_TEST(reseed_interval_bounds)
{
	static const char *const bad[] = {
	    "",   "0",   "61",  "-1", "+1",  "1s",         " 1",
	    "1 ", "0x1", "1.5", "-0", "inf", "4294967297", "18446744073709551617"};
	struct outcome outcome;
	char text[8];

	for (int s = 1; s <= 60; s++) {
		snprintf(text, sizeof(text), "%d", s);
		ACCEPT(&outcome, "--reseed-interval", text);
		ck_assert_int_eq(outcome.options.reseed_interval_s, s);
	}
	ACCEPT(&outcome, "--reseed-interval", "010"); /* not octal */
	ck_assert_int_eq(outcome.options.reseed_interval_s, 10);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		REFUSE("--reseed-interval", "--reseed-interval", bad[i]);
	REFUSE("--reseed-interval", "--reseed-interval");
}
END_TEST

/* Whether the account exists is for privdrop to say. */
START_TEST(user_is_a_text)
{
	struct outcome outcome;

	ACCEPT(&outcome, "--user", "4711");
	ck_assert_str_eq(outcome.options.user, "4711");
	REFUSE("--user", "--user", "");
	REFUSE("--user", "--user");
}
END_TEST

START_TEST(unknown_is_refused)
{
	REFUSE("--bogus", "--bogus");
	REFUSE("--bogus=1", "--bogus=1");
	REFUSE("-x", "-x");
	REFUSE("-x", "--user", "u", "-x");
	REFUSE("--no-memfd-secret=yes", "--no-memfd-secret=yes");
	/* An option that would make protection optional does not exist. */
	REFUSE("--no-sandbox", "--no-sandbox");
	REFUSE("--daemon", "--daemon");
}
END_TEST

START_TEST(operands_are_refused)
{
	REFUSE("start", "start");
	REFUSE("extra", "--socket", "/tmp/x", "extra");
	REFUSE("--socket", "--", "--socket");
	REFUSE("options only", "");
	REFUSE("options only", "-");
}
END_TEST

/* A text from outside cannot forge a second line. */
START_TEST(bad_text_stays_on_its_line)
{
	REFUSE("--bogus?rngd", "--bogus\nrngd: all is well");
	REFUSE("1?2", "--reseed-interval", "1\n2");
	REFUSE("a?b", "a\rb");
}
END_TEST

START_TEST(help_and_version)
{
	static const struct {
		const char *text;
		enum options_action action;
	} cases[] = {
	    {"--help", OPTIONS_HELP},
	    {"-h", OPTIONS_HELP},
	    {"--version", OPTIONS_VERSION},
	    {"-V", OPTIONS_VERSION},
	};
	struct outcome outcome;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ACCEPT(&outcome, cases[i].text);
		ck_assert_int_eq(outcome.options.action, cases[i].action);
	}
	/* The first that is not "run" decides; what came before it must be right. */
	ACCEPT(&outcome, "--help", "--bogus");
	ck_assert_int_eq(outcome.options.action, OPTIONS_HELP);
	REFUSE("--bogus", "--bogus", "--help");
	REFUSE("--help", "--help=x");
}
END_TEST

START_TEST(help_names_every_option)
{
	static const char *const names[] = {"--socket PATH",     "--socket-mode MODE",
					    "--user NAME",       "--reseed-interval S",
					    "--no-memfd-secret", "--help",
					    "--version",         RNGD_PROTO_DEFAULT_SOCKET};
	int saved = dup(STDOUT_FILENO), fd = tap(STDOUT_FILENO);
	int err = options_help();
	char text[TEXT_BYTES];

	dup2(saved, STDOUT_FILENO);
	close(saved);
	drain(fd, text);
	close(fd);
	ck_assert_int_eq(err, 0);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		ck_assert_msg(strstr(text, names[i]), "help does not say %s", names[i]);
	ck_assert_int_eq(text[strlen(text) - 1], '\n');
}
END_TEST

/* Help that did not arrive is a failure, not a success. */
START_TEST(help_that_cannot_be_written)
{
	int saved = dup(STDOUT_FILENO), full = open("/dev/full", O_WRONLY | O_CLOEXEC), err;

	ck_assert_int_ge(full, 0);
	dup2(full, STDOUT_FILENO);
	err = options_help();
	dup2(saved, STDOUT_FILENO);
	close(saved);
	close(full);
	ck_assert_int_eq(err, -EIO);
}
END_TEST

START_TEST(limits)
{
	struct outcome o;

	ACCEPT(&o, "--max-rate", "0");
	ck_assert_uint_eq(o.options.limits.connections, 0);
	ck_assert_uint_eq(o.options.limits.rate_bytes, 0);
	ck_assert_int_eq(o.options.limits.request_s, 10);
	ck_assert_int_eq(o.options.limits.reply_s, 30);
	ck_assert_int_eq(o.options.limits.idle_s, 0);
	ACCEPT(&o, "--max-connections", "1", "--max-connections-per-uid", "1048576", "--max-rate",
	       "4096");
	ck_assert_uint_eq(o.options.limits.connections, 1);
	ck_assert_uint_eq(o.options.limits.connections_per_uid, 1048576);
	ck_assert_uint_eq(o.options.limits.rate_bytes, 4096);
	ACCEPT(&o, "--request-timeout", "0", "--reply-timeout", "1", "--idle-timeout", "86400");
	ck_assert_int_eq(o.options.limits.request_s, 0);
	ck_assert_int_eq(o.options.limits.reply_s, 1);
	ck_assert_int_eq(o.options.limits.idle_s, 86400);
	REFUSE("--max-connections", "--max-connections", "0");
	REFUSE("--max-connections", "--max-connections", "1048577");
	REFUSE("--max-connections-per-uid", "--max-connections-per-uid", "0");
	REFUSE("--max-rate", "--max-rate", "4095");
	REFUSE("--max-rate", "--max-rate", "1099511627777");
	REFUSE("--max-rate", "--max-rate", "99999999999999999999");
	REFUSE("--request-timeout", "--request-timeout", "86401");
	REFUSE("--reply-timeout", "--reply-timeout", "-1");
	REFUSE("--idle-timeout", "--idle-timeout", "");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("options");
	TCase *tcase = tcase_create("options");
	SRunner *sr = srunner_create(suite);
	int failed;

	/* Lines are compared as a terminal would show them. */
	unsetenv("JOURNAL_STREAM");
	tcase_add_test(tcase, defaults);
	tcase_add_test(tcase, all_at_once);
	tcase_add_test(tcase, parses_again);
	tcase_add_test(tcase, last_one_counts);
	tcase_add_test(tcase, socket_path_bounds);
	tcase_add_test(tcase, each_path_is_its_own);
	tcase_add_test(tcase, socket_mode_bounds);
	tcase_add_test(tcase, reseed_interval_bounds);
	tcase_add_test(tcase, user_is_a_text);
	tcase_add_test(tcase, unknown_is_refused);
	tcase_add_test(tcase, operands_are_refused);
	tcase_add_test(tcase, bad_text_stays_on_its_line);
	tcase_add_test(tcase, help_and_version);
	tcase_add_test(tcase, help_names_every_option);
	tcase_add_test(tcase, help_that_cannot_be_written);
	tcase_add_test(tcase, limits);
	suite_add_tcase(suite, tcase);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
