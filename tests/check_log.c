/*
 * check_log - what arrives on descriptor 2. Owns: a socket that stands in for stderr and keeps each
 * write apart, and one that stands in for the journal. May touch: descriptor 2, JOURNAL_STREAM;
 * /run in a mount namespace of its own. Never does: print while it is replaced.
 */
#include <check.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/clock.h"
#include "daemon/log.h"

/* More than a line can hold. */
#define LONG_TEXT_BYTES (4 * LOG_LINE_BYTES)

struct stderr_tap {
	int saved;
	int read_fd;
};

static struct stderr_tap tap;

/* A sequenced-packet socket: one write is one record, so two writes cannot pass for one. */
static void tap_setup(void)
{
	int fds[2];

	unsetenv("JOURNAL_STREAM");
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	tap.saved = dup(STDERR_FILENO);
	tap.read_fd = fds[0];
	ck_assert_int_ge(tap.saved, 0);
	ck_assert_int_eq(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
	close(fds[1]);
}

static void tap_teardown(void)
{
	dup2(tap.saved, STDERR_FILENO);
	close(tap.saved);
	close(tap.read_fd);
}

/* The one record that was written; its length. */
static size_t taken(char line[LONG_TEXT_BYTES])
{
	ssize_t n = recv(tap.read_fd, line, LONG_TEXT_BYTES - 1, MSG_DONTWAIT);

	ck_assert_msg(n > 0, "nothing was written");
	line[n] = '\0';
	ck_assert_msg(recv(tap.read_fd, (char[1]){0}, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN,
		      "more than one write");
	return (size_t)n;
}

static void expect(const char *expected)
{
	char line[LONG_TEXT_BYTES];

	ck_assert_uint_eq(taken(line), strlen(expected));
	ck_assert_str_eq(line, expected);
}

START_TEST(line_has_name_text_and_newline)
{
	log_error("cannot open %s: %d", "/x", 5);
	expect("rngd: cannot open /x: 5\n");
	log_info("%s", "");
	expect("rngd: \n");
	log_warning("100%%");
	expect("rngd: 100%\n");
}
END_TEST

START_TEST(journal_gets_the_priority)
{
	setenv("JOURNAL_STREAM", "8:1234", 1);
	log_error("a");
	expect("<3>a\n");
	log_warning("b");
	expect("<4>b\n");
	log_notice("c");
	expect("<5>c\n");
	log_info("d");
	expect("<6>d\n");
	unsetenv("JOURNAL_STREAM");
	log_info("e");
	expect("rngd: e\n");
}
END_TEST

/* A path with a newline in it cannot forge a second line, nor a terminal's escape sequence. */
START_TEST(control_characters_are_replaced)
{
	char text[0x80], expected[0x80 + 16];
	size_t n = 0;

	for (unsigned c = 1; c < 0x80; c++)
		text[n++] = (char)c;
	text[n] = '\0';
	n = (size_t)sprintf(expected, "rngd: ");
	for (unsigned c = 1; c < 0x80; c++)
		expected[n++] = c < 0x20 || c == 0x7f ? '?' : (char)c;
	strcpy(expected + n, "\n");
	log_error("%s", text);
	expect(expected);

	setenv("JOURNAL_STREAM", "8:1234", 1);
	log_error("%s", "/run/x\n<0>forged\r\x1b[2J");
	expect("<3>/run/x?<0>forged??[2J\n");
}
END_TEST

/* Names in other alphabets stay readable. */
START_TEST(utf8_stays)
{
	log_error("%s", "/tmp/\xc3\xa9t\xc3\xa9");
	expect("rngd: /tmp/\xc3\xa9t\xc3\xa9\n");
}
END_TEST

START_TEST(long_line_is_cut)
{
	char text[LONG_TEXT_BYTES], line[LONG_TEXT_BYTES];
	size_t prefix_bytes = strlen("rngd: "), len, shortest_cut = 0;

	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	for (size_t n = LOG_LINE_BYTES - 32; n < sizeof(text); n++) {
		log_error("%.*s", (int)n, text);
		len = taken(line);
		ck_assert_uint_le(len, LOG_LINE_BYTES);
		ck_assert_int_eq(line[len - 1], '\n');
		ck_assert_ptr_eq(strchr(line, '\n'), line + len - 1);
		ck_assert_uint_eq(strspn(line + prefix_bytes, "x"), len - prefix_bytes - 1);
		if (!shortest_cut && len < prefix_bytes + n + 1)
			shortest_cut = n;
	}
	/* Nothing is cut that would have fitted, give or take the two bytes of a string's end. */
	ck_assert_uint_ge(shortest_cut, LOG_LINE_BYTES - prefix_bytes - 2);
}
END_TEST

START_TEST(errno_is_kept)
{
	char line[LONG_TEXT_BYTES];

	errno = ENOTTY;
	log_error("x");
	ck_assert_int_eq(errno, ENOTTY);
	taken(line);

	close(STDERR_FILENO);
	errno = ERANGE;
	log_error("x");
	ck_assert_int_eq(errno, ERANGE);
}
END_TEST

START_TEST(closed_stderr_is_survived)
{
	close(STDERR_FILENO);
	for (int i = 0; i < 100; i++)
		log_error("nobody reads %d", i);
	ck_assert_int_lt(recv(tap.read_fd, (char[1]){0}, 1, MSG_DONTWAIT), 1);
}
END_TEST

/* A stuck reader loses lines; it never stops the writer when the descriptor is non-blocking. */
START_TEST(full_stderr_loses_lines)
{
	int fds[2], n = 0;
	char byte;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds),
			 0);
	ck_assert_int_eq(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
	for (int i = 0; i < 10000; i++)
		log_error("%d", i);
	while (recv(fds[0], &byte, 1, MSG_DONTWAIT) == 1)
		n++;
	ck_assert_int_gt(n, 0);
	ck_assert_int_lt(n, 10000);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

/* The journal's socket, on a /run that nobody else sees; -1 where that cannot be had. */
static int make_journal(void)
{
	const struct sockaddr_un addr = {.sun_family = AF_UNIX,
					 .sun_path = "/run/systemd/journal/socket"};
	int fd;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", "/run", "tmpfs", 0, NULL) < 0)
		return -1;
	mkdir("/run/systemd", 0755);
	mkdir("/run/systemd/journal", 0755);
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(fd, (const struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

/* offset: of the inode number, 0 for stderr's own. */
static void name_stream(unsigned long long offset)
{
	char stream[64];
	struct stat st;

	ck_assert_int_eq(fstat(STDERR_FILENO, &st), 0);
	snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev,
		 (unsigned long long)st.st_ino + offset);
	setenv("JOURNAL_STREAM", stream, 1);
}

/* Checks what the journal got up to the id, and that the message is this. */
static void expect_in_journal(int journal, const char *head, const char *message)
{
	char got[LONG_TEXT_BYTES];
	ssize_t n = recv(journal, got, sizeof(got) - 1, MSG_DONTWAIT);
	char *id, *end;

	ck_assert_int_gt(n, 0);
	got[n] = '\0';
	ck_assert_int_eq(strncmp(got, head, strlen(head)), 0);
	id = got + strlen(head);
	ck_assert_int_eq(strncmp(id, "MESSAGE_ID=", strlen("MESSAGE_ID=")), 0);
	id += strlen("MESSAGE_ID=");
	ck_assert_uint_eq(strspn(id, "0123456789abcdef"), 32);
	end = id + 32;
	ck_assert_int_eq(strncmp(end, "\nMESSAGE=", strlen("\nMESSAGE=")), 0);
	ck_assert_str_eq(end + strlen("\nMESSAGE="), message);
}

/* Every event; a line without one stays on stderr, and no text forges a field. */
START_TEST(events_reach_the_journal)
{
	char text[LONG_TEXT_BYTES], message[LONG_TEXT_BYTES] = {0};
	int journal = make_journal();

	if (journal < 0) {
		dprintf(tap.saved, "SKIP: events_reach_the_journal: no mount namespace\n");
		return;
	}
	name_stream(0);
	log_init();
	for (int event = LOG_EVENT_NONE + 1; event < LOG_EVENTS; event++) {
		log_event((enum log_event)event, LOG_LEVEL_NOTICE, "x\nMESSAGE_ID=%d", event);
		snprintf(message, sizeof(message), "x?MESSAGE_ID=%d\n", event);
		expect_in_journal(journal, "PRIORITY=5\nSYSLOG_IDENTIFIER=rngd\n", message);
	}
	log_warning("plain");
	expect("<4>plain\n");
	memset(text, 'y', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	log_event(LOG_EVENT_CLONED, LOG_LEVEL_ERROR, "%s", text);
	memcpy(message, text, LOG_LINE_BYTES - 7);
	strcpy(message + LOG_LINE_BYTES - 7, "\n");
	expect_in_journal(journal, "PRIORITY=3\nSYSLOG_IDENTIFIER=rngd\n", message);
	/* A journal that takes nothing: full, then gone. */
	for (int i = 0; i < 10000 && recv(tap.read_fd, text, 1, MSG_DONTWAIT) < 0; i++)
		log_event(LOG_EVENT_STARTED, LOG_LEVEL_INFO, "full");
	ck_assert_int_eq(text[0], '<');
	close(journal);
	log_event(LOG_EVENT_STARTED, LOG_LEVEL_INFO, "gone");
	expect("<6>gone\n");
}
END_TEST

/* JOURNAL_STREAM is inherited; who redirects stderr wants the lines there. */
START_TEST(stderr_that_is_not_the_journal)
{
	int journal = make_journal();

	if (journal < 0) {
		dprintf(tap.saved, "SKIP: stderr_that_is_not_the_journal: no mount namespace\n");
		return;
	}
	name_stream(1);
	log_init();
	log_event(LOG_EVENT_STARTED, LOG_LEVEL_INFO, "a");
	expect("<6>a\n");
	unsetenv("JOURNAL_STREAM");
	log_init();
	log_event(LOG_EVENT_STARTED, LOG_LEVEL_INFO, "b");
	expect("rngd: b\n");
	ck_assert_int_lt(recv(journal, &(char){0}, 1, MSG_DONTWAIT), 0);
}
END_TEST

/* Reads every record there is; counts them, and returns what the last "not shown" said, or 0. */
static unsigned drain(unsigned *hidden)
{
	char line[LONG_TEXT_BYTES];
	unsigned n = 0, said;
	ssize_t len;

	*hidden = 0;
	while ((len = recv(tap.read_fd, line, sizeof(line) - 1, MSG_DONTWAIT)) > 0) {
		line[len] = '\0';
		if (sscanf(line, "rngd: %u lines not shown", &said) == 1)
			*hidden += said;
		else
			n++;
	}
	return n;
}

/* No more than so many in each second that may have begun, and none is lost without a word. */
START_TEST(lines_a_second_are_bounded)
{
	unsigned shown, hidden;
	int64_t begin_ms = clock_now_ms();

	log_limit();
	errno = ERANGE;
	for (int i = 0; i < 100; i++)
		log_error("line %d", i);
	ck_assert_int_eq(errno, ERANGE);
	shown = drain(&hidden);
	ck_assert_uint_ge(shown, LOG_LINES_PER_S);
	ck_assert_uint_le(shown,
			  LOG_LINES_PER_S * (unsigned)(1 + (clock_now_ms() - begin_ms) / 1000));
	ck_assert_uint_eq(hidden, 0);
	log_tick();
	ck_assert_uint_eq(drain(&hidden), 0);
	ck_assert_uint_eq(hidden, 100 - shown);
	log_tick(); /* said once */
	ck_assert_uint_eq(drain(&hidden) + hidden, 0);
	log_unlimit();
	for (int i = 0; i < 30; i++)
		log_error("line %d", i);
	ck_assert_uint_eq(drain(&hidden), 30);
}
END_TEST

/* Another second, another ten lines. */
START_TEST(the_next_second_has_lines_again)
{
	int64_t end_ms = clock_now_ms() + 20000;
	unsigned shown = 0, hidden;

	log_limit();
	while (shown < 2 * LOG_LINES_PER_S && clock_now_ms() < end_ms) {
		log_error("again");
		shown += drain(&hidden);
	}
	ck_assert_uint_eq(shown, 2 * LOG_LINES_PER_S);
	log_unlimit();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("log");
	TCase *tcase = tcase_create("log");
	SRunner *sr = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tcase, tap_setup, tap_teardown);
	tcase_add_test(tcase, line_has_name_text_and_newline);
	tcase_add_test(tcase, journal_gets_the_priority);
	tcase_add_test(tcase, control_characters_are_replaced);
	tcase_add_test(tcase, utf8_stays);
	tcase_add_test(tcase, events_reach_the_journal);
	tcase_add_test(tcase, stderr_that_is_not_the_journal);
	tcase_add_test(tcase, lines_a_second_are_bounded);
	tcase_add_test(tcase, the_next_second_has_lines_again);
	tcase_add_test(tcase, long_line_is_cut);
	tcase_add_test(tcase, errno_is_kept);
	tcase_add_test(tcase, closed_stderr_is_survived);
	tcase_add_test(tcase, full_stderr_loses_lines);
	suite_add_tcase(suite, tcase);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
