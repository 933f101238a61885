/*
 * check_conn - what it costs to wait for a turn, and what is counted: against the real daemon.
 * Owns: its connections. May touch: the daemon's socket and its line in /proc. Never does: count on
 * how fast a turn is.
 */
#include <check.h>
#include <poll.h>
#include <unistd.h>

#include "tests/get.h"
#include "tests/support.h"

#define LARGE_BYTES (8u * RNGD_PROTO_FRAME_DATA_BYTES)
#define WAITERS     3

static struct support_rngd rngd;

static void setup(void)
{
	/* A bucket of one turn, which half a minute fills. */
	const char *const options[] = {"--max-rate", "4096", "--request-timeout", "1", NULL};

	support_start(&rngd, options);
}

static void teardown(void)
{
	support_stop(&rngd);
	support_end(&rngd);
}

/*
 * Over its rate: its next turn is far away. What it writes meanwhile, and that it closes, is seen
 * by epoll and waits with it, without a look at each pass.
 */
START_TEST(waiting_costs_nothing)
{
	static uint8_t out[RNGD_PROTO_FRAME_DATA_BYTES];
	struct pollfd fds[WAITERS];
	int small = support_connect(&rngd);
	struct wire_reply head;

	for (int i = 0; i < WAITERS; i++) {
		fds[i] = (struct pollfd){.fd = support_connect(&rngd), .events = POLLIN};
		support_get(fds[i].fd, 1, LARGE_BYTES);
	}
	/* Who comes first has the bucket, the next overdraws it; then all want more. */
	for (int frames = 0; frames < 2;) {
		ck_assert_int_gt(poll(fds, WAITERS, 20000), 0);
		for (int i = 0; i < WAITERS && frames < 2; i++)
			if (fds[i].revents & POLLIN) {
				support_reply(fds[i].fd, &head, out, sizeof(out));
				frames++;
			}
	}
	for (int i = 1; i < WAITERS; i++)
		support_get(fds[i].fd, 2, 32);
	close(fds[0].fd);
	ck_assert(support_is_idle(rngd.pid, 200));
	/* And small requests pass by those that wait. */
	support_get_all(small, 3, out, 32);
	for (int i = 1; i < WAITERS; i++)
		close(fds[i].fd);
	close(small);
}
END_TEST

/* The rest of a GET waits for its rate: that is counted, and is no request half sent. */
START_TEST(waiting_is_counted_for_what_it_is)
{
	static uint8_t out[RNGD_PROTO_FRAME_DATA_BYTES];
	uint8_t request[GET_REQUEST_BYTES];
	int fd = support_connect(&rngd);
	struct wire_reply head;

	get_encode(request, LARGE_BYTES);
	support_write(fd, request, 5);
	(void)support_status(&rngd, "state"); /* it has been read */
	support_write(fd, request + 5, sizeof(request) - 5);
	/* What the bucket holds, and what may be overdrawn. */
	for (int i = 0; i < 2; i++)
		support_reply(fd, &head, out, sizeof(out));
	ck_assert(head.flags & RNGD_PROTO_FLAG_MORE);
	/* As long as it would take to notice. */
	ck_assert_int_eq(poll(NULL, 0, 2200), 0);
	ck_assert_uint_eq(support_status_number(&rngd, "peers.request_timeouts"), 0);
	ck_assert_uint_gt(support_status_number(&rngd, "peers.turns_put_off"), 0);
	close(fd);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("conn");
	TCase *tcase = tcase_create("conn");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, waiting_costs_nothing);
	tcase_add_test(tcase, waiting_is_counted_for_what_it_is);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed > 0;
}
