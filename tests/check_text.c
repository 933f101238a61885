/* client/text: what others wrote cannot move a cursor, and what is legible stays so. */
#include "client/text.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

START_TEST(what_is_harmful_is_replaced)
{
	static const struct {
		const char *dirty;
		const char *clean;
	} rows[] = {
	    {"", ""},
	    {"plain ~", "plain ~"},
	    {"a\nb\r\t\033[2J\x7f", "a?b???[2J?"},
	    {"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x8e\xb2",
	     "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x8e\xb2"},
	    {"\x9b"
	     "2J\xc2\x9b"
	     "2J",
	     "?2J??2J"},
	    {"\xe2\x80\xaeright", "???right"},
	    {"\xe2\x80\xa8\xe2\x81\xa6", "??????"},
	    {"\xc0\xaf\xe0\x80\xaf\xf0\x80\x80\xaf", "?????????"},
	    {"\xed\xa0\x80\xf4\x90\x80\x80\xff", "????????"},
	    {"\xe2\x82", "??"},
	    {"\xc3", "?"},
	    {"\xc3(", "?("},
	    {"\xad\xc2\xad", "???"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[64];

		strcpy(text, rows[i].dirty);
		text_clean(text, strlen(text));
		ck_assert_str_eq(text, rows[i].clean);
	}
}
END_TEST

/* Nothing behind the length is read or written. */
START_TEST(the_length_holds)
{
	char text[] = "\xe2\x82\xac\n";

	text_clean(text, 2);
	ck_assert_str_eq(text, "??\xac\n");
}
END_TEST

START_TEST(times)
{
	char text[TEXT_TIME_BYTES];

	text_time(text, 0);
	ck_assert_str_eq(text, "");
	text_time(text, 1);
	ck_assert_str_eq(text, "1970-01-01T00:00:00.000Z");
	text_time(text, 1700000000123456789u);
	ck_assert_str_eq(text, "2023-11-14T22:13:20.123Z");
	text_time(text, UINT64_MAX);
	ck_assert_str_eq(text, "2554-07-21T23:34:33.709Z");
}
END_TEST

START_TEST(ids)
{
	const uint8_t none[4] = {0}, some[4] = {0, 0x1f, 0xa0, 0xff};
	char text[9];

	text_hex(text, none, sizeof(none));
	ck_assert_str_eq(text, "");
	text_hex(text, some, sizeof(some));
	ck_assert_str_eq(text, "001fa0ff");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("text");
	TCase *tcase = tcase_create("text");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tcase);
	tcase_add_test(tcase, what_is_harmful_is_replaced);
	tcase_add_test(tcase, the_length_holds);
	tcase_add_test(tcase, times);
	tcase_add_test(tcase, ids);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
