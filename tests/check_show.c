/*
 * client/show and client/fields: no field of a status is lost, whatever it is called, and what is
 * not in the grammar is refused. The text is what a daemon sends to root.
 */
#include "client/show.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/fields.h"

static const char full[] = "version=\"0.1.0\"\n"
			   "state=\"serving\"\n"
			   "generation=3\n"
			   "uptime_ms=12345678\n"
			   "keystream=\"avx2\"\n"
			   "reseed.count=17\n"
			   "reseed.last_reason=\"age\"\n"
			   "reseed.age_ms=1006\n"
			   "reseed.interval_ms=60000\n"
			   "reseed.failures=0\n"
			   "reseed.error=\"none\"\n"
			   "source.kernel=\"active\"\n"
			   "source.rdseed=\"absent\"\n"
			   "source.rdseed.why=\"this machine has none\"\n"
			   "epoch.published=true\n"
			   "epoch.word=12245195\n"
			   "epoch.look_again=2\n"
			   "epoch.mover=\"none\"\n"
			   "epoch.bumps=0\n"
			   "epoch.kernel_reseeded=true\n"
			   "epoch.clone_by=\"kmsg\"\n"
			   "epoch.clone_age_ms=90061000\n"
			   "detector.vmgenid.state=\"absent\"\n"
			   "detector.vmgenid.why=\"/sys/nothing: No such file or directory\"\n"
			   "detector.vmgenid.says=\"cloned\"\n"
			   "detector.vmgenid.cloned=0\n"
			   "detector.vmgenid.aged=0\n"
			   "detector.kmsg.state=\"active\"\n"
			   "detector.kmsg.says=\"cloned\"\n"
			   "detector.kmsg.cloned=2\n"
			   "detector.kmsg.aged=1\n"
			   "detector.kernel.state=\"active\"\n"
			   "detector.kernel.says=\"reseed\"\n"
			   "detector.kernel.aged=5\n"
			   "memory.secret=true\n"
			   "memory.locked=false\n"
			   "sandbox.seccomp=true\n"
			   "sandbox.landlock=7\n"
			   "sandbox.uid=65534\n"
			   "limit.connections=16384\n"
			   "limit.connections_per_uid=4096\n"
			   "limit.rate=0\n"
			   "limit.request_ms=10000\n"
			   "limit.reply_ms=30000\n"
			   "limit.idle_ms=0\n"
			   "caller.uid=0\n"
			   "caller.connections=1\n"
			   "caller.requests=4\n"
			   "caller.bytes=4096\n"
			   "caller.turns_put_off=0\n"
			   "caller.sees_all=true\n"
			   "reseed.output_bytes=0\n"
			   "reseed.restarts=0\n"
			   "server.connections=1\n"
			   "server.accepted=1\n"
			   "server.accept_pauses=0\n"
			   "served.requests=1\n"
			   "served.bytes=0\n"
			   "peers.uids=1\n"
			   "peers.refused=0\n"
			   "peers.refused_uid=0\n"
			   "peers.turns_put_off=0\n"
			   "peers.request_timeouts=0\n"
			   "peers.reply_timeouts=0\n"
			   "peers.idle_timeouts=0\n"
			   "user.uid1000.connections=3\n"
			   "user.uid1000.requests=1\n"
			   "user.uid1000.bytes=1048576\n"
			   "user.uid1000.turns_put_off=0\n";

/* As people see it; the caller frees it. NULL: refused. */
static char *show(const char *text, bool colour)
{
	struct field *fields = calloc(FIELDS_MAX, sizeof(*fields));
	char *shown = NULL;
	size_t count, bytes;
	FILE *out;

	ck_assert_ptr_nonnull(fields);
	count = fields_parse(text, fields);
	if (count > 0) {
		out = open_memstream(&shown, &bytes);
		ck_assert_ptr_nonnull(out);
		show_status(out, colour, fields, count);
		ck_assert_int_eq(fclose(out), 0);
		for (size_t i = 0; i < count; i++)
			ck_assert(fields[i].shown);
	}
	free(fields);
	return shown;
}

static void expect(const char *text, const char *words)
{
	char *shown = show(text, false);

	ck_assert_ptr_nonnull(shown);
	ck_assert_msg(strstr(shown, words), "\"%s\" is not in:\n%s", words, shown);
	free(shown);
}

/* `full` with the value of one line replaced. */
static char *with_value(const char *line, const char *value)
{
	const char *equals = strchr(line, '='), *end = strchr(line, '\n');
	char *text;

	ck_assert_int_gt(asprintf(&text, "%.*s%s%s", (int)(equals + 1 - full), full, value, end),
			 0);
	return text;
}

/* Each value is to be seen: another one makes another text. */
START_TEST(every_field_is_said)
{
	char *usual = show(full, false);

	ck_assert_ptr_nonnull(usual);
	ck_assert_ptr_null(strstr(usual, "Other"));
	for (const char *line = full; *line; line = strchr(line, '\n') + 1) {
		const char *value = strchr(line, '=') + 1;
		const char *other = *value == '"'   ? "\"another\""
				    : *value == 't' ? "false"
				    : *value == 'f' ? "true"
						    : "98765432109";
		char *text = with_value(line, other);
		char *shown = show(text, false);

		ck_assert_ptr_nonnull(shown);
		ck_assert_msg(strcmp(shown, usual) != 0, "lost: %.*s", (int)(value - line), line);
		free(shown);
		free(text);
	}
	free(usual);
}
END_TEST

/* Not of the type it is known by, or too large a number: by its name, then, as it came. */
START_TEST(odd_values_are_said)
{
	static const char *const odd[] = {"-5", "99999999999999999999", "true", "7", "\"seven\""};

	for (const char *line = full; *line; line = strchr(line, '\n') + 1)
		for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
			char *text = with_value(line, odd[i]);
			char *shown = show(text, false);

			ck_assert_ptr_nonnull(shown); /* and show() sees that each is shown */
			free(shown);
			free(text);
		}
	expect("uptime_ms=99999999999999999999\n", "uptime_ms     99999999999999999999");
	expect("generation=\"x\"\n", "generation    x");
}
END_TEST

START_TEST(unknown_names_are_said)
{
	static const struct {
		const char *line;
		const char *words;
	} rows[] = {
	    {"moon=\"full\"\n", "\nOther\n  moon          full\n"},
	    {"orbit.height_ms=5\n", "  orbit.height_ms 5\n"},
	    {"detector.kmsg.colour=\"red\"\n", "  detector.kmsg.colour red\n"},
	    {"detector.moon.state=\"absent\"\n", "  moon          absent\n"},
	    {"source.moon=\"failed\"\n", "  moon          failed\n"},
	    {"memory.frozen=false\n", "missing locked, frozen; there: secret"},
	    {"sandbox.moat=3\n", "good    seccomp, landlock 7, moat 3"},
	    {"sandbox.note=\"x\"\n", "  sandbox.note  x\n"},
	    {"user.uid1000=5\n", "  user.uid1000  5\n"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *text;

		ck_assert_int_gt(asprintf(&text, "%s%s", full, rows[i].line), 0);
		expect(text, rows[i].words);
		free(text);
	}
	expect("sandbox.landlock=0\n", "  sandbox       missing landlock\n");
	expect("moon=1\n", "Other\n  moon          1\n");
}
END_TEST

START_TEST(what_people_read)
{
	static const char *const words[] = {
	    "rngd 0.1.0: serving for 3 h 25 min, as uid 65534\n",
	    "generation 3; last clone 1 d 1 h ago, noticed by kmsg\n",
	    "  vmgenid       absent  /sys/nothing: No such file or directory\n",
	    "  kmsg          active  2 clones, 1 reseed\n",
	    "  kernel        active  5 reseeds; can tell of a reseed only\n",
	    "  kernel        active\n",
	    "  rdseed        absent  this machine has none\n",
	    "  memory        missing locked; there: secret\n",
	    "  sandbox       good    seccomp, landlock 7\n",
	    "16384 in all, 4096 a user; 0 refused, 0 for one user's share\n",
	    "  uid1000       3 connections, 1 request, 1.0 MiB\n",
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		expect(full, words[i]);
}
END_TEST

START_TEST(colour_is_asked_for)
{
	char *plain = show(full, false), *painted = show(full, true);

	ck_assert_ptr_null(strchr(plain, '\033'));
	ck_assert_ptr_nonnull(strstr(painted, "\033[32mserving\033[0m"));
	ck_assert_ptr_nonnull(strstr(painted, "\033[31mmissing\033[0m"));
	free(plain);
	free(painted);
}
END_TEST

START_TEST(no_grammar_no_fields)
{
	static const char *const bad[] = {
	    "",           "a",          "a=\n",        "a=1",          "=1\n",
	    "A=1\n",      "a.=1\n",     ".a=1\n",      "a..b=1\n",     "a._=1\n",
	    "1=1\n",      "1.a=1\n",    "a=01\n",      "a=+1\n",       "a=1 \n",
	    "a=truely\n", "a=\"\"\"\n", "a=\"\\n\"\n", "a=\"\t\"\n",   "a=\"x\n",
	    "a=1\na=2\n", "a=1\n\n",    "a=-\n",       "a=\"\x7f\"\n", "a=123456789012345678901\n",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(!show(bad[i], false), "taken: %s", bad[i]);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("show");
	TCase *tcase = tcase_create("show");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tcase);
	tcase_add_test(tcase, every_field_is_said);
	tcase_add_test(tcase, odd_values_are_said);
	tcase_add_test(tcase, unknown_names_are_said);
	tcase_add_test(tcase, what_people_read);
	tcase_add_test(tcase, colour_is_asked_for);
	tcase_add_test(tcase, no_grammar_no_fields);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
