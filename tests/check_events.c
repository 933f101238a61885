/*
 * check_events - subscribers: the registry alone, then SUBSCRIBE, ACK and SUBSCRIBERS against the
 * real daemon in its sandbox. Owns: one registry or one daemon at a time. May touch: /dev/shm, its
 * own effective user id. Never does: need root; what only root can try says SKIP.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/events.h"
#include "proto/epoch_page.h"
#include "tests/support.h"

#define TAKEN RNGD_PROTO_STAGE_TAKEN
#define DONE  RNGD_PROTO_STAGE_DONE
#define LEAVE RNGD_PROTO_STAGE_LEAVE

#define ALICE 1001u /* nobody in particular, and not root */
#define BOB   1002u

/* ---------------------------------------------------------------- the registry */

static struct events events;

/* A number is enough to tell connections apart: they are not looked into. */
static struct conn *conn_of(uintptr_t n)
{
	return (struct conn *)n;
}

static struct subscriber *join_as(uid_t uid, bool privileged, uint64_t id, uint64_t acknowledged,
				  uint64_t generation, int64_t now_ms)
{
	const struct events_peer peer = {.conn = conn_of(id + 1),
					 .uid = uid,
					 .pid = 77,
					 .privileged = privileged,
					 .version = 1,
					 .tag = 5};
	uint8_t body[RNGD_PROTO_SUBSCRIBE_BODY_BYTES] = {0};
	struct subscriber *subscriber;

	wire_put_u64(body, acknowledged);
	wire_put_u64(body + 8, id);
	subscriber = events_subscribe(&events, &peer, body, generation, now_ms);
	ck_assert_ptr_nonnull(subscriber);
	return subscriber;
}

static struct subscriber *join(uint64_t id, uint64_t acknowledged, uint64_t generation)
{
	return join_as(0, true, id, acknowledged, generation, 0);
}

static enum rngd_proto_status ack(struct subscriber *subscriber, uint64_t of, unsigned stage,
				  uint64_t generation)
{
	uint8_t body[RNGD_PROTO_ACK_BODY_BYTES];

	wire_put_u64(body, of);
	body[8] = (uint8_t)stage;
	return events_ack(subscriber, body, generation);
}

/* What announce does, for all at once: how many got the event. */
static unsigned tell_all(uint64_t generation, int64_t now_ms)
{
	struct subscriber *subscriber;
	unsigned told = 0;

	if (!events_moved(&events, generation, now_ms))
		return 0;
	while ((subscriber = events_next(&events))) {
		if (!events_is_due(subscriber, generation))
			continue;
		events_sent(subscriber, generation);
		told++;
	}
	return told;
}

static void expect_nobody_is_due(uint64_t generation)
{
	ck_assert(!events_moved(&events, generation, 0));
	ck_assert_ptr_null(events_next(&events));
}

/* The value of a line, in static storage; NULL: it is not there. */
static const char *line_of(const char *text, const char *name)
{
	static char value[64];
	char key[64];
	const char *at;

	snprintf(key, sizeof(key), "\n%s=", name);
	at = strstr(text, key);
	if (!at)
		return NULL;
	at += strlen(key);
	snprintf(value, sizeof(value), "%.*s", (int)strcspn(at, "\n"), at);
	return value;
}

static uint64_t number_of(const char *text, const char *name)
{
	const char *value = line_of(text, name);

	ck_assert_msg(value != NULL, "no %s in the text", name);
	return strtoull(value, NULL, 10);
}

/* The registry's text, with a line feed in front, for line_of(). Static storage. */
static const char *listed(uint64_t generation, int64_t now_ms)
{
	static char text[RNGD_PROTO_STATUS_MAX_BYTES + 2];
	size_t len = events_text(&events, generation, now_ms, text + 1, sizeof(text) - 2);

	ck_assert_uint_le(len, RNGD_PROTO_STATUS_MAX_BYTES);
	text[0] = '\n';
	text[1 + len] = '\0';
	return text;
}

static void leave_all(uint64_t generation)
{
	while (events.count > 0)
		events_leave(&events, LIST_OF(events.present.next, struct subscriber, link),
			     generation, 0);
}

static void registry_setup(void)
{
	events_init(&events, 5, false, 0);
}

static void registry_teardown(void)
{
	leave_all(5);
	ck_assert(list_empty(&events.due));
	events_deinit(&events);
	ck_assert_uint_eq(events.gone_count, 0);
	events_deinit(&events);
}

START_TEST(zeroed_registry_is_allowed)
{
	struct events none;

	memset(&none, 0, sizeof(none));
	events_deinit(&none);
}
END_TEST

START_TEST(who_begins_with_the_present_owes_nothing)
{
	struct subscriber *zero = join(1, 0, 5), *same = join(2, 5, 5);

	ck_assert(!events_is_due(zero, 5) && !events_is_due(same, 5));
	ck_assert(!events_is_awaited(zero) && !events_is_awaited(same));
	ck_assert_uint_eq(events_owing(&events, 5), 0);
	expect_nobody_is_due(5);
}
END_TEST

/* Of the past, or of another page's count. */
START_TEST(who_begins_with_another_gets_the_newest)
{
	struct subscriber *past = join(1, 4, 5), *future = join(2, 6, 5);
	struct subscriber *far = join(3, UINT64_MAX, 5);

	ck_assert(events_is_due(past, 5) && events_is_due(future, 5) && events_is_due(far, 5));
	ck_assert_uint_eq(past->acknowledged, 4);
	ck_assert_uint_eq(future->acknowledged, 0);
	ck_assert_uint_eq(far->acknowledged, 0);
	ck_assert_uint_eq(events_owing(&events, 5), 3);
	/* Number 6 comes, and who claimed it before owes it. */
	ck_assert_uint_eq(tell_all(6, 0), 3);
	ck_assert_uint_eq(events_owing(&events, 6), 3);
}
END_TEST

START_TEST(one_event_at_a_time_and_then_the_newest)
{
	struct subscriber *one = join(1, 0, 5);

	ck_assert_uint_eq(tell_all(6, 0), 1);
	ck_assert(events_is_awaited(one));
	for (uint64_t generation = 7; generation <= 20; generation++) {
		ck_assert_uint_eq(tell_all(generation, 0), 0);
		ck_assert(!events_is_due(one, generation));
	}
	ck_assert_int_eq(ack(one, 6, TAKEN, 20), RNGD_PROTO_OK);
	ck_assert(!events_is_awaited(one));
	ck_assert(events_is_due(one, 20));
	events_sent(one, 20);
	ck_assert(events_is_awaited(one) && !events_is_due(one, 20));
	/* Those between were never sent, and taking one of them again takes nothing. */
	ck_assert_int_eq(ack(one, 6, TAKEN, 20), RNGD_PROTO_OK);
	ck_assert_int_eq(ack(one, 13, TAKEN, 20), RNGD_PROTO_OK);
	ck_assert(events_is_awaited(one));
	ck_assert_int_eq(ack(one, 20, TAKEN, 20), RNGD_PROTO_OK);
	ck_assert(!events_is_awaited(one) && !events_is_due(one, 20));
	ck_assert_uint_eq(events_owing(&events, 20), 1); /* taken is not done */
	ck_assert_int_eq(ack(one, 20, DONE, 20), RNGD_PROTO_OK);
	ck_assert_uint_eq(events_owing(&events, 20), 0);
}
END_TEST

START_TEST(done_acknowledges_all_before_and_never_goes_back)
{
	struct subscriber *one = join(1, 0, 5);

	ck_assert_uint_eq(tell_all(6, 0), 1);
	/* It has seen by itself (the epoch page) that 8 began, and acted: nothing is to be taken.
	 */
	ck_assert_int_eq(ack(one, 8, DONE, 8), RNGD_PROTO_OK);
	ck_assert(!events_is_awaited(one));
	ck_assert(!events_is_due(one, 8));
	ck_assert_uint_eq(events_owing(&events, 8), 0);
	ck_assert_int_eq(ack(one, 6, DONE, 8), RNGD_PROTO_OK);
	ck_assert_uint_eq(one->acknowledged, 8);
	ck_assert_uint_eq(tell_all(8, 0), 0);
	ck_assert_uint_eq(tell_all(9, 0), 1);
	/* An old one done is the new one neither taken nor done. */
	ck_assert_int_eq(ack(one, 8, DONE, 9), RNGD_PROTO_OK);
	ck_assert(events_is_awaited(one));
	ck_assert_uint_eq(events_owing(&events, 9), 1);
}
END_TEST

START_TEST(what_was_not_yet_cannot_be_acknowledged)
{
	static const unsigned stages[] = {0, 4, 5, 127, 128, 255};
	struct subscriber *one = join(1, 0, 5);

	ck_assert_uint_eq(tell_all(6, 0), 1);
	for (size_t i = 0; i < sizeof(stages) / sizeof(stages[0]); i++)
		ck_assert_int_eq(ack(one, 6, stages[i], 6), RNGD_PROTO_E_BODY);
	ck_assert_int_eq(ack(one, 7, TAKEN, 6), RNGD_PROTO_E_BODY);
	ck_assert_int_eq(ack(one, 7, TAKEN, 7), RNGD_PROTO_E_BODY); /* it was not sent here */
	ck_assert_int_eq(ack(one, 7, DONE, 6), RNGD_PROTO_E_BODY);
	ck_assert_int_eq(ack(one, UINT64_MAX, TAKEN, 6), RNGD_PROTO_E_BODY);
	ck_assert_int_eq(ack(one, UINT64_MAX, DONE, 6), RNGD_PROTO_E_BODY);
	ck_assert_int_eq(ack(one, 0, TAKEN, 6), RNGD_PROTO_E_BODY);
	ck_assert_int_eq(ack(one, 0, DONE, 6), RNGD_PROTO_E_BODY);
	ck_assert(events_is_awaited(one));
	ck_assert_uint_eq(one->acknowledged, 5);
	ck_assert_uint_eq(events_owing(&events, 6), 1);
}
END_TEST

START_TEST(who_left_owes_and_gets_nothing)
{
	struct subscriber *one = join(1, 4, 5);

	ck_assert_uint_eq(events_owing(&events, 5), 1);
	ck_assert_int_eq(ack(one, 12345, LEAVE, 5), RNGD_PROTO_OK);
	ck_assert_uint_eq(events_owing(&events, 5), 0);
	ck_assert(!events_is_due(one, 5));
	ck_assert_uint_eq(tell_all(6, 0), 0);
	events_leave(&events, one, 6, 0);
	ck_assert_uint_eq(events.gone_count, 0);
}
END_TEST

START_TEST(privileged_ones_that_owe_are_remembered)
{
	struct subscriber *back;

	events_leave(&events, join(1, 4, 5), 5, 0);                     /* owes */
	events_leave(&events, join(2, 0, 5), 5, 0);                     /* does not */
	events_leave(&events, join_as(ALICE, false, 3, 4, 5, 0), 5, 0); /* not privileged */
	events_leave(&events, join_as(ALICE, true, 1, 4, 5, 0), 5, 0);  /* the same id, another's */
	ck_assert_uint_eq(events.count, 0);
	ck_assert_uint_eq(events.gone_count, 2);
	ck_assert_uint_eq(events_owing(&events, 5), 2);
	/* Another user cannot take one off the list, nor can another id. */
	events_leave(&events, join_as(BOB, false, 1, 5, 5, 0), 5, 0);
	events_leave(&events, join(9, 5, 5), 5, 0);
	ck_assert_uint_eq(events.gone_count, 2);
	back = join(1, 5, 5);
	ck_assert_uint_eq(events.gone_count, 1);
	ck_assert_uint_eq(events_owing(&events, 5), 1);
	ck_assert(!events_is_due(back, 5));
	back = join_as(ALICE, true, 1, 4, 5, 0); /* back, and still owes */
	ck_assert_uint_eq(events.gone_count, 0);
	ck_assert_uint_eq(events_owing(&events, 5), 1);
	ck_assert(events_is_due(back, 5));
}
END_TEST

/* The last byte of the id counts as the first. */
START_TEST(an_id_is_all_its_bytes)
{
	struct subscriber *gone = join(1, 4, 5);

	gone->id[RNGD_PROTO_SUBSCRIBER_ID_BYTES - 1] = 1;
	events_leave(&events, gone, 5, 0);
	join(1, 5, 5);
	ck_assert_uint_eq(events.gone_count, 1);
}
END_TEST

/*
 * A connection may outlive the one that was made after it (a forked child holds it, or its end is
 * seen late): it must not be remembered as one that owes when it ends.
 */
START_TEST(the_newest_connection_speaks_for_its_id)
{
	struct subscriber *older = join(1, 4, 5), *newer, *other = join_as(ALICE, true, 1, 4, 5, 0);

	events_sent(older, 5);
	ck_assert_int_eq(ack(older, 5, TAKEN, 5), RNGD_PROTO_OK);
	newer = join(1, 4, 5);
	ck_assert_uint_eq(events_owing(&events, 5), 2);
	ck_assert(!events_is_due(older, 5) && events_is_due(newer, 5));
	ck_assert_int_eq(ack(newer, 5, DONE, 5), RNGD_PROTO_OK);
	ck_assert_int_eq(ack(other, 5, DONE, 5), RNGD_PROTO_OK);
	ck_assert_uint_eq(events_owing(&events, 5), 0);
	events_leave(&events, older, 5, 0);
	ck_assert_uint_eq(events.gone_count, 0);
	ck_assert_uint_eq(tell_all(6, 0), 2);
}
END_TEST

START_TEST(since_when_it_owes)
{
	struct subscriber *one = join_as(0, true, 1, 0, 5, 100);

	ck_assert_int_eq(one->since_ms, 100);
	events_moved(&events, 6, 1000);
	ck_assert_int_eq(one->since_ms, 1000);
	events_moved(&events, 7, 2000); /* it owed before */
	ck_assert_int_eq(one->since_ms, 1000);
	events_leave(&events, one, 7, 3000);
	ck_assert_uint_eq(number_of(listed(7, 3500), "owes.1.for_ms"), 2500);
	one = join_as(0, true, 1, 5, 7, 4000); /* nor did it cease to when its connection broke */
	ck_assert_int_eq(one->since_ms, 1000);
	ck_assert_int_eq(ack(one, 7, DONE, 7), RNGD_PROTO_OK);
	events_moved(&events, 8, 5000);
	ck_assert_int_eq(one->since_ms, 5000);
	/* The connection breaks after the generation moved and before anybody was told. */
	ck_assert_int_eq(ack(one, 8, DONE, 8), RNGD_PROTO_OK);
	events_leave(&events, one, 9, 6000);
	ck_assert_uint_eq(number_of(listed(9, 6500), "owes.1.for_ms"), 500);
}
END_TEST

START_TEST(so_many_are_remembered_the_newest)
{
	for (uint64_t id = 0; id < 2 * EVENTS_GONE_MAX; id++) {
		events_leave(&events, join(id, 4, 5), 5, 0);
		ck_assert_uint_le(events.gone_count, EVENTS_GONE_MAX);
	}
	ck_assert_uint_eq(events.gone_count, EVENTS_GONE_MAX);
	ck_assert_uint_eq(events.forgotten, EVENTS_GONE_MAX);
	join(EVENTS_GONE_MAX - 1, 5, 5); /* was forgotten */
	ck_assert_uint_eq(events.gone_count, EVENTS_GONE_MAX);
	join(EVENTS_GONE_MAX, 5, 5);
	join(2 * EVENTS_GONE_MAX - 1, 5, 5);
	ck_assert_uint_eq(events.gone_count, EVENTS_GONE_MAX - 2);
	events_tick(&events, EVENTS_GONE_MS - 1);
	ck_assert_uint_eq(events.gone_count, EVENTS_GONE_MAX - 2);
	ck_assert_uint_eq(events.forgotten, EVENTS_GONE_MAX);
	events_tick(&events, EVENTS_GONE_MS);
	ck_assert_uint_eq(events.gone_count, 0);
	ck_assert_uint_eq(events.forgotten, 0);
}
END_TEST

/* Each keeps its place: else the first are told again and again, and the last never. */
START_TEST(fast_moves_starve_nobody)
{
	static struct subscriber *all[100];
	unsigned told[100] = {0};
	uint64_t generation = 5;

	for (uint64_t i = 0; i < 100; i++)
		all[i] = join(i, 0, 5);
	for (int round = 0; round < 100; round++) {
		ck_assert(events_moved(&events, ++generation, 0));
		for (int n = 0; n < 10; n++) {
			struct subscriber *next = events_next(&events);

			if (!next)
				break;
			if (!events_is_due(next, generation))
				continue;
			events_sent(next, generation);
			ck_assert_int_eq(ack(next, generation, TAKEN, generation), RNGD_PROTO_OK);
			for (int i = 0; i < 100; i++)
				told[i] += all[i] == next;
		}
	}
	for (int i = 0; i < 100; i++)
		ck_assert_msg(told[i] >= 5, "%d was told %u times", i, told[i]);
}
END_TEST

START_TEST(who_ends_while_in_the_queue_is_taken_out)
{
	struct subscriber *all[8];
	unsigned left = 0;

	for (uint64_t i = 0; i < 8; i++)
		all[i] = join_as(ALICE, i % 2, i, 0, 5, 0);
	ck_assert(events_moved(&events, 6, 0));
	ck_assert_ptr_eq(events_next(&events), all[0]);
	events_leave(&events, all[0], 6, 0);
	events_leave(&events, all[1], 6, 0); /* next in the queue; remembered */
	events_leave(&events, all[7], 6, 0);
	events_leave(&events, all[4], 6, 0);
	ck_assert_uint_eq(events.gone_count, 2);
	for (struct subscriber *next; (next = events_next(&events)); left++)
		ck_assert_ptr_nonnull(next->peer.conn);
	ck_assert_uint_eq(left, 4);
}
END_TEST

START_TEST(after_the_start_some_may_return)
{
	struct events other;

	ck_assert_uint_eq(number_of(listed(5, 0), "returning_ms"), 0);
	other = events;
	events_init(&events, 5, true, 100000);
	ck_assert_uint_eq(number_of(listed(5, 100000), "returning_ms"), EVENTS_RETURN_MS);
	ck_assert_uint_eq(number_of(listed(5, 100000 + EVENTS_RETURN_MS - 1), "returning_ms"), 1);
	ck_assert_uint_eq(number_of(listed(5, 100000 + EVENTS_RETURN_MS), "returning_ms"), 0);
	ck_assert_uint_eq(number_of(listed(5, INT64_MAX), "returning_ms"), 0);
	(void)other;
}
END_TEST

/* As many rows as there may be, each with the largest numbers there are: it fits, and is whole. */
START_TEST(text_has_so_many_rows_and_fits)
{
	const uint64_t generation = UINT64_MAX;
	const char *text;
	char name[32];

	for (uint64_t id = 0; id < 40; id++) {
		struct subscriber *one;

		one = join_as(UINT32_MAX - 1, false, id, UINT64_MAX - 1, generation, 0);
		one->peer.pid = INT32_MAX;
		one = join_as(UINT32_MAX - 1, true, 40 + id, UINT64_MAX - 1, generation, 0);
		one->peer.pid = INT32_MAX;
		if (id % 2)
			events_leave(&events, one, generation, 0);
	}
	text = listed(generation, INT64_MAX);
	printf("%u rows of the largest numbers: %zu bytes\n", EVENTS_ROWS_MAX, strlen(text) - 1);
	ck_assert_uint_eq(number_of(text, "subscribers"), 60);
	ck_assert_uint_eq(number_of(text, "owing"), 80);
	ck_assert_uint_eq(number_of(text, "owing_privileged"), 40);
	for (unsigned n = 1; n <= EVENTS_ROWS_MAX; n++) {
		static const char *const fields[] = {
		    "uid", "pid", "acknowledged", "taken", "connected", "privileged", "for_ms"};

		for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
			snprintf(name, sizeof(name), "owes.%u.%s", n, fields[i]);
			ck_assert_msg(line_of(text, name) != NULL, "no %s", name);
		}
		snprintf(name, sizeof(name), "owes.%u.privileged", n);
		ck_assert_str_eq(line_of(text, name), n <= 40 ? "true" : "false");
		snprintf(name, sizeof(name), "owes.%u.connected", n);
		ck_assert_str_eq(line_of(text, name), n <= 20 || n > 40 ? "true" : "false");
	}
	ck_assert_uint_eq(number_of(text, "owes.1.acknowledged"), UINT64_MAX - 1);
	ck_assert_uint_eq(number_of(text, "owes.1.for_ms"), INT64_MAX);
	snprintf(name, sizeof(name), "owes.%u.uid", EVENTS_ROWS_MAX + 1);
	ck_assert_ptr_null(line_of(text, name));
	ck_assert_int_eq(text[strlen(text) - 1], '\n');
	leave_all(generation);
}
END_TEST

/* Into less room than it needs: whole lines, and nothing behind the end. */
START_TEST(text_into_any_room)
{
	char text[512];

	for (uint64_t id = 0; id < 3; id++)
		join(id, 4, 5);
	for (size_t size = 0; size < 400; size++) {
		size_t len;

		memset(text, '#', sizeof(text));
		len = events_text(&events, 5, 0, text, size);
		ck_assert_uint_le(len, size);
		ck_assert(len == 0 || text[len - 1] == '\n');
		for (size_t i = len; i < sizeof(text); i++)
			ck_assert_int_eq(text[i], '#');
	}
}
END_TEST

START_TEST(text_says_who_took_it)
{
	struct subscriber *one = join(1, 0, 5);

	ck_assert_uint_eq(tell_all(6, 0), 1);
	ck_assert_str_eq(line_of(listed(6, 0), "owes.1.taken"), "false");
	ack(one, 6, TAKEN, 6);
	ck_assert_str_eq(line_of(listed(6, 0), "owes.1.taken"), "true");
	ck_assert_str_eq(line_of(listed(7, 0), "owes.1.taken"), "false"); /* not the newest */
	one->peer.pid = -1;
	ck_assert_str_eq(line_of(listed(6, 0), "owes.1.pid"), "0");
	ack(one, 6, DONE, 6);
	ck_assert_ptr_null(line_of(listed(6, 0), "owes.1.taken"));
}
END_TEST

/* ---------------------------------------------------------------- the wire */

#define SIGN_BYTES 64u

static struct support_rngd rngd;
static char sign_path[64];
static int sign_fd, control;
static const struct epoch_page *page;
static const char *const plain[] = {"--vmgenid", sign_path, NULL};

static void move_sign(void)
{
	uint64_t value;

	ck_assert_int_eq(pread(sign_fd, &value, sizeof(value), 0), sizeof(value));
	value++;
	ck_assert_int_eq(pwrite(sign_fd, &value, sizeof(value), 0), sizeof(value));
}

static void map_page(void)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s.epoch", rngd.socket);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	page = mmap(NULL, EPOCH_PAGE_BYTES, PROT_READ, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(page, MAP_FAILED);
	close(fd);
}

static int connect_control(void)
{
	struct support_rngd other = rngd;

	ck_assert_int_lt(snprintf(other.socket, sizeof(other.socket), "%.80s.control", rngd.socket),
			 (int)sizeof(other.socket));
	return support_connect(&other);
}

/* Who connects is who it is at that moment. */
static int connect_as(uid_t uid)
{
	int fd;

	ck_assert_int_eq(seteuid(uid), 0);
	fd = support_connect(&rngd);
	ck_assert_int_eq(seteuid(0), 0);
	return fd;
}

static bool is_root(const char *what)
{
	if (geteuid() == 0)
		return true;
	printf("SKIP: not root: %s\n", what);
	return false;
}

static void start_with(const char *const *options)
{
	support_start(&rngd, options);
	control = connect_control();
	map_page();
}

/* Whatever the test did to it, the daemon still serves and still stops cleanly. */
static void end(void)
{
	uint8_t buf[32];
	int fd = support_connect(&rngd);

	support_get_all(fd, 1, buf, sizeof(buf));
	close(fd);
	close(control);
	support_stop(&rngd);
	support_end(&rngd);
	munmap((void *)(uintptr_t)page, EPOCH_PAGE_BYTES);
}

static void wire_setup(void)
{
	uint8_t bytes[SIGN_BYTES] = {1};

	strcpy(sign_path, "/dev/shm/rngd-sign.XXXXXX");
	sign_fd = mkostemp(sign_path, O_CLOEXEC);
	ck_assert_int_ge(sign_fd, 0);
	ck_assert_int_eq(write(sign_fd, bytes, sizeof(bytes)), sizeof(bytes));
	start_with(plain);
}

static void wire_teardown(void)
{
	end();
	close(sign_fd);
	unlink(sign_path);
}

static unsigned ask(int fd, uint8_t opcode, const void *body, uint32_t body_bytes)
{
	static uint32_t tag = 1000;
	struct wire_reply reply;
	uint8_t none;

	support_request(fd, opcode, ++tag, body, body_bytes);
	support_reply(fd, &reply, &none, 0);
	ck_assert_uint_eq(reply.opcode, opcode);
	ck_assert_uint_eq(reply.tag, tag);
	ck_assert_uint_eq(reply.flags, 0);
	return reply.status;
}

static uint64_t generation_now(void)
{
	return epoch_page_generation(page);
}

static uint64_t bump(void)
{
	uint8_t host[32] = {7};

	ck_assert_uint_eq(ask(control, RNGD_PROTO_OP_BUMP, host, sizeof(host)), RNGD_PROTO_OK);
	return generation_now();
}

static void put_subscribe(uint8_t body[RNGD_PROTO_SUBSCRIBE_BODY_BYTES], uint64_t acknowledged,
			  uint64_t id)
{
	memset(body, 0, RNGD_PROTO_SUBSCRIBE_BODY_BYTES);
	wire_put_u64(body, acknowledged);
	wire_put_u64(body + 8, id);
}

static void send_subscribe(int fd, uint64_t acknowledged, uint64_t id)
{
	uint8_t body[RNGD_PROTO_SUBSCRIBE_BODY_BYTES];

	put_subscribe(body, acknowledged, id);
	support_request(fd, RNGD_PROTO_OP_SUBSCRIBE, (uint32_t)id, body, sizeof(body));
}

/* The first frame of a subscription: its generation. */
static uint64_t expect_first(int fd, uint64_t id)
{
	struct wire_reply reply;
	uint8_t none;

	support_reply(fd, &reply, &none, 0);
	ck_assert_uint_eq(reply.opcode, RNGD_PROTO_OP_SUBSCRIBE);
	ck_assert_uint_eq(reply.status, RNGD_PROTO_OK);
	ck_assert_uint_eq(reply.flags, RNGD_PROTO_FLAG_MORE);
	ck_assert_uint_eq(reply.tag, id);
	ck_assert_uint_eq(reply.version, 1);
	return reply.generation;
}

/* fd is a subscriber now. */
static int subscribed(int fd, uint64_t acknowledged, uint64_t id)
{
	send_subscribe(fd, acknowledged, id);
	ck_assert_uint_eq(expect_first(fd, id), generation_now());
	return fd;
}

static uint64_t read_event(int fd, uint64_t id, struct wire_event *event)
{
	uint8_t body[RNGD_PROTO_EVENT_BODY_BYTES];
	struct wire_reply reply;

	support_reply(fd, &reply, body, sizeof(body));
	ck_assert_uint_eq(reply.opcode, RNGD_PROTO_OP_SUBSCRIBE);
	ck_assert_uint_eq(reply.status, RNGD_PROTO_OK);
	ck_assert_uint_eq(reply.flags, RNGD_PROTO_FLAG_MORE);
	ck_assert_uint_eq(reply.tag, id);
	ck_assert_uint_eq(reply.version, 1);
	ck_assert_uint_eq(reply.body_bytes, sizeof(body));
	wire_decode_event(body, event);
	return reply.generation;
}

/* Something has come, and is left there. */
static void expect_something(int fd)
{
	struct pollfd ready = {.fd = fd, .events = POLLIN};

	ck_assert_int_eq(poll(&ready, 1, SUPPORT_TIMEOUT_S * 1000), 1);
}

static void expect_event(int fd, uint64_t id, uint64_t generation)
{
	struct wire_event event;

	ck_assert_uint_eq(read_event(fd, id, &event), generation);
}

static unsigned acknowledge(int fd, uint64_t generation, unsigned stage)
{
	uint8_t body[RNGD_PROTO_ACK_BODY_BYTES];

	wire_put_u64(body, generation);
	body[8] = (uint8_t)stage;
	return ask(fd, RNGD_PROTO_OP_ACK, body, sizeof(body));
}

/* Nothing has come, although the daemon has had passes enough for it to come. */
static void expect_silence(int fd)
{
	struct pollfd ready = {.fd = fd, .events = POLLIN};

	for (int i = 0; i < 5; i++)
		ck_assert_uint_eq(ask(control, RNGD_PROTO_OP_LOOK, NULL, 0), RNGD_PROTO_OK);
	ck_assert_int_eq(poll(&ready, 1, 0), 0);
}

/* A text with a line feed in front, for line_of(). Static storage. */
static const char *ask_text(int fd, uint8_t opcode)
{
	static char text[RNGD_PROTO_STATUS_MAX_BYTES + 2];
	struct wire_reply reply;

	support_request(fd, opcode, 3, NULL, 0);
	support_reply(fd, &reply, text + 1, sizeof(text) - 2);
	ck_assert_uint_eq(reply.status, RNGD_PROTO_OK);
	ck_assert_uint_eq(reply.opcode, opcode);
	text[0] = '\n';
	text[1 + reply.body_bytes] = '\0';
	return text;
}

static const char *subscribers(void)
{
	return ask_text(control, RNGD_PROTO_OP_SUBSCRIBERS);
}

/* So many subscribers, and so many that owe, as soon as the daemon has seen who went. */
struct count {
	uint64_t present, owing;
};

static bool is_count(void *arg)
{
	const struct count *count = arg;
	const char *text = subscribers();

	return number_of(text, "subscribers") == count->present &&
	       number_of(text, "owing") == count->owing;
}

static void expect_count(uint64_t present, uint64_t owing)
{
	struct count count = {present, owing};

	ck_assert_msg(support_wait(is_count, &count), "not %llu, %llu: %s",
		      (unsigned long long)present, (unsigned long long)owing, subscribers());
}

START_TEST(an_event_is_the_pages)
{
	int fd = subscribed(support_connect(&rngd), 0, 1);
	struct epoch_page_event known;
	struct wire_event event;

	for (int i = 0; i < 5; i++) {
		uint64_t generation = bump();

		ck_assert(epoch_page_last_event(page, &known));
		ck_assert_uint_eq(read_event(fd, 1, &event), generation);
		ck_assert_uint_eq(known.generation, generation);
		ck_assert_uint_eq(event.notifier, EPOCH_PAGE_HOST);
		ck_assert_uint_eq(event.notifier, known.notifier);
		ck_assert_uint_eq(event.realtime_ns, known.realtime_ns);
		ck_assert_uint_eq(event.boottime_ns, known.boottime_ns);
		ck_assert_mem_eq(event.id, known.id, sizeof(event.id));
		ck_assert_uint_eq(acknowledge(fd, generation, TAKEN), RNGD_PROTO_OK);
		ck_assert_uint_eq(acknowledge(fd, generation, DONE), RNGD_PROTO_OK);
	}
	expect_count(1, 0);
	close(fd);
	expect_count(0, 0);
}
END_TEST

/* What a detector saw comes as what a bump said does. */
START_TEST(a_detector_tells_subscribers_too)
{
	int fd = subscribed(support_connect(&rngd), 0, 1);
	struct wire_event event;

	move_sign();
	ck_assert_uint_eq(read_event(fd, 1, &event), generation_now());
	ck_assert_uint_eq(event.notifier, EPOCH_PAGE_VMGENID);
	close(fd);
}
END_TEST

START_TEST(no_event_on_record_is_zero)
{
	static const struct wire_event none;
	uint64_t generation = generation_now();
	int fd = subscribed(support_connect(&rngd), generation + 1000, 4);
	struct wire_event event;

	memset(&event, 0, sizeof(event)); /* what lies between its members is compared too */
	ck_assert_uint_eq(read_event(fd, 4, &event), generation);
	ck_assert_mem_eq(&event, &none, sizeof(none));
	ck_assert_uint_eq(number_of(subscribers(), "owes.1.acknowledged"), 0);
	close(fd);
}
END_TEST

START_TEST(events_coalesce_on_the_wire)
{
	int fd = subscribed(support_connect(&rngd), 0, 9);
	uint64_t first = bump(), last = first;

	for (int i = 0; i < 20; i++)
		last = bump();
	expect_event(fd, 9, first);
	expect_silence(fd);
	/* Not what it was not sent, nor what it cannot know. */
	ck_assert_uint_eq(acknowledge(fd, first + 1, TAKEN), RNGD_PROTO_E_BODY);
	ck_assert_uint_eq(acknowledge(fd, last, TAKEN), RNGD_PROTO_E_BODY);
	ck_assert_uint_eq(acknowledge(fd, last + 1, DONE), RNGD_PROTO_E_BODY);
	ck_assert_uint_eq(acknowledge(fd, UINT64_MAX, DONE), RNGD_PROTO_E_BODY);
	ck_assert_uint_eq(acknowledge(fd, 0, DONE), RNGD_PROTO_E_BODY);
	for (unsigned stage = 0; stage < 256; stage++)
		if (stage < TAKEN || stage > LEAVE)
			ck_assert_uint_eq(acknowledge(fd, first, stage), RNGD_PROTO_E_BODY);
	expect_silence(fd);
	ck_assert_uint_eq(acknowledge(fd, first, TAKEN), RNGD_PROTO_OK);
	expect_event(fd, 9, last);
	expect_silence(fd);
	expect_count(1, 1);
	ck_assert_str_eq(line_of(subscribers(), "owes.1.taken"), "false");
	ck_assert_uint_eq(acknowledge(fd, last, TAKEN), RNGD_PROTO_OK);
	ck_assert_str_eq(line_of(subscribers(), "owes.1.taken"), "true");
	ck_assert_uint_eq(acknowledge(fd, last, DONE), RNGD_PROTO_OK);
	expect_silence(fd);
	expect_count(1, 0);
	close(fd);
}
END_TEST

START_TEST(where_a_subscription_begins)
{
	uint64_t before = generation_now(), present = bump();
	int zero = subscribed(support_connect(&rngd), 0, 1);
	int same = subscribed(support_connect(&rngd), present, 2);
	int past = subscribed(support_connect(&rngd), before, 3);
	int future = subscribed(support_connect(&rngd), present + 1, 4);

	expect_event(past, 3, present);
	expect_event(future, 4, present);
	expect_silence(zero);
	expect_silence(same);
	expect_count(4, 2);
	close(zero);
	close(same);
	close(past);
	close(future);
}
END_TEST

START_TEST(a_subscriber_may_send_acks_alone)
{
	uint8_t body[64] = {0, 0, 0, 1}, good_ack[64] = {0};
	int fd = connect_control(), other = support_connect(&rngd);
	uint64_t generation = bump();

	wire_put_u64(good_ack, generation); /* but for its length */
	good_ack[8] = DONE;
	subscribed(fd, 0, 1);
	for (unsigned opcode = 0; opcode < 256; opcode++) {
		uint32_t bytes = opcode == RNGD_PROTO_OP_GET          ? 4
				 : opcode == RNGD_PROTO_OP_BUMP       ? 32
				 : opcode == RNGD_PROTO_OP_SUBSCRIBE  ? 24
				 : opcode == RNGD_PROTO_OP_CONTRIBUTE ? 64
								      : 0;

		if (opcode == RNGD_PROTO_OP_ACK)
			continue;
		ck_assert_uint_eq(ask(fd, (uint8_t)opcode, body, bytes),
				  opcode == 0 || opcode > RNGD_PROTO_OP_CONTRIBUTE
				      ? RNGD_PROTO_E_OPCODE
				      : RNGD_PROTO_E_PERMISSION);
	}
	ck_assert_uint_eq(generation_now(), generation);
	for (uint32_t bytes = 0; bytes <= sizeof(body); bytes++)
		if (bytes != RNGD_PROTO_ACK_BODY_BYTES)
			ck_assert_uint_eq(ask(fd, RNGD_PROTO_OP_ACK, good_ack, bytes),
					  RNGD_PROTO_E_BODY);
	for (uint32_t bytes = 0; bytes <= sizeof(body); bytes++)
		if (bytes != RNGD_PROTO_SUBSCRIBE_BODY_BYTES)
			ck_assert_uint_eq(ask(other, RNGD_PROTO_OP_SUBSCRIBE, body, bytes),
					  RNGD_PROTO_E_BODY);
	/* Without a subscription, and on the public socket. */
	ck_assert_uint_eq(acknowledge(other, generation, DONE), RNGD_PROTO_E_PERMISSION);
	ck_assert_uint_eq(acknowledge(control, generation, LEAVE), RNGD_PROTO_E_PERMISSION);
	ck_assert_uint_eq(ask(other, RNGD_PROTO_OP_SUBSCRIBERS, NULL, 0), RNGD_PROTO_E_PERMISSION);
	ck_assert_uint_eq(ask(other, RNGD_PROTO_OP_SUBSCRIBERS, body, 1), RNGD_PROTO_E_BODY);
	generation = bump();
	expect_event(fd, 1, generation);
	close(fd);
	close(other);
}
END_TEST

static size_t put_request(uint8_t *at, uint8_t opcode, uint32_t tag, const void *body,
			  uint32_t bytes)
{
	const struct wire_request req = {
	    .opcode = opcode, .version = 1, .tag = tag, .body = body, .body_bytes = bytes};

	return wire_encode_request(&req, at);
}

static size_t put_ack(uint8_t *at, uint32_t tag, uint64_t generation, unsigned stage)
{
	uint8_t body[RNGD_PROTO_ACK_BODY_BYTES];

	wire_put_u64(body, generation);
	body[8] = (uint8_t)stage;
	return put_request(at, RNGD_PROTO_OP_ACK, tag, body, sizeof(body));
}

static void expect_plain(int fd, uint8_t opcode, uint32_t tag, unsigned status)
{
	struct wire_reply reply;
	uint8_t none;

	support_reply(fd, &reply, &none, 0);
	ck_assert_uint_eq(reply.opcode, opcode);
	ck_assert_uint_eq(reply.tag, tag);
	ck_assert_uint_eq(reply.status, status);
}

/* All in one write, the whole or byte by byte: GET, SUBSCRIBE and what follows keep their order. */
START_TEST(a_subscription_in_a_pipeline)
{
	static uint8_t random[RNGD_PROTO_FRAME_DATA_BYTES];
	uint8_t buf[512], body[RNGD_PROTO_SUBSCRIBE_BODY_BYTES], count[4];
	uint64_t past = generation_now(), present = bump();
	int fd = support_connect(&rngd);
	struct wire_reply reply;
	size_t n = 0;

	wire_put_u32(count, 300000);
	n += put_request(buf + n, RNGD_PROTO_OP_GET, 1, count, sizeof(count));
	put_subscribe(body, past, 2);
	n += put_request(buf + n, RNGD_PROTO_OP_SUBSCRIBE, 2, body, sizeof(body));
	n += put_request(buf + n, RNGD_PROTO_OP_SUBSCRIBE, 3, body, sizeof(body));
	n += put_ack(buf + n, 4, present, 0);
	n += put_ack(buf + n, 5, present + 1, DONE);
	n += put_ack(buf + n, 6, present, DONE);
	n += put_request(buf + n, RNGD_PROTO_OP_GET, 7, count, sizeof(count));
	n += put_ack(buf + n, 8, 0, LEAVE);
	for (size_t at = 0; at < n && _i == 1; at++)
		support_write(fd, buf + at, 1);
	if (_i == 0)
		support_write(fd, buf, n);

	for (uint32_t left = 300000; left > 0; left -= reply.body_bytes) {
		support_reply(fd, &reply, random, sizeof(random));
		ck_assert_uint_eq(reply.opcode, RNGD_PROTO_OP_GET);
		ck_assert_uint_eq(reply.tag, 1);
		ck_assert_uint_le(reply.body_bytes, left);
	}
	ck_assert_uint_eq(expect_first(fd, 2), present);
	expect_event(fd, 2, present);
	expect_plain(fd, RNGD_PROTO_OP_SUBSCRIBE, 3, RNGD_PROTO_E_PERMISSION);
	expect_plain(fd, RNGD_PROTO_OP_ACK, 4, RNGD_PROTO_E_BODY);
	expect_plain(fd, RNGD_PROTO_OP_ACK, 5, RNGD_PROTO_E_BODY);
	expect_plain(fd, RNGD_PROTO_OP_ACK, 6, RNGD_PROTO_OK);
	expect_plain(fd, RNGD_PROTO_OP_GET, 7, RNGD_PROTO_E_PERMISSION);
	expect_plain(fd, RNGD_PROTO_OP_ACK, 8, RNGD_PROTO_OK);
	bump();
	expect_silence(fd);
	expect_count(1, 0);
	close(fd);
}
END_TEST

/* BUMP and SUBSCRIBERS in one write: who has not heard of it is on the list. */
/* A DONE that is there before its event goes out: the next event comes all the same. */
START_TEST(done_overtakes_its_event)
{
	uint64_t past = generation_now(), present = bump();
	uint8_t buf[256], body[RNGD_PROTO_SUBSCRIBE_BODY_BYTES];
	uint8_t done[RNGD_PROTO_ACK_BODY_BYTES];
	int fd = support_connect(&rngd);
	size_t n;

	put_subscribe(body, past, 8);
	wire_put_u64(done, present);
	done[8] = DONE;
	n = put_request(buf, RNGD_PROTO_OP_SUBSCRIBE, 8, body, sizeof(body));
	n += put_request(buf + n, RNGD_PROTO_OP_ACK, 9, done, sizeof(done));
	support_write(fd, buf, n);
	ck_assert_uint_eq(expect_first(fd, 8), present);
	expect_event(fd, 8, present);
	expect_plain(fd, RNGD_PROTO_OP_ACK, 9, RNGD_PROTO_OK);
	expect_count(1, 0);
	present = bump();
	expect_event(fd, 8, present);
	close(fd);
}
END_TEST

START_TEST(subscribers_right_behind_a_bump)
{
	static char text[RNGD_PROTO_STATUS_MAX_BYTES + 2];
	int fd = subscribed(support_connect(&rngd), 0, 1);
	uint8_t buf[512], host[32] = {1};
	struct wire_reply reply;
	size_t n;

	for (int i = 0; i < 50; i++) {
		n = put_request(buf, RNGD_PROTO_OP_BUMP, 1, host, sizeof(host));
		n += put_request(buf + n, RNGD_PROTO_OP_SUBSCRIBERS, 2, NULL, 0);
		support_write(control, buf, n);
		expect_plain(control, RNGD_PROTO_OP_BUMP, 1, RNGD_PROTO_OK);
		support_reply(control, &reply, text + 1, sizeof(text) - 2);
		text[0] = '\n';
		text[1 + reply.body_bytes] = '\0';
		ck_assert_uint_eq(number_of(text, "owing"), 1);
		ck_assert_uint_eq(number_of(text, "owes.1.acknowledged"), generation_now() - 1);
		expect_event(fd, 1, generation_now());
		ck_assert_uint_eq(acknowledge(fd, generation_now(), DONE), RNGD_PROTO_OK);
	}
	close(fd);
}
END_TEST

static bool has_passed(void *arg)
{
	return support_now_ms() > *(const int64_t *)arg;
}

/*
 * SUBSCRIBERS finds the clone itself (nothing else asks the detectors between two ticks, so it
 * often does): it is owed since then, and not since the subscription.
 */
START_TEST(subscribers_that_finds_the_clone)
{
	int fd = subscribed(support_connect(&rngd), 0, 1);
	int64_t until_ms = support_now_ms() + 1500;

	ck_assert(support_wait(has_passed, &until_ms));
	for (int i = 0; i < 20; i++) {
		const char *text;
		int64_t before_ms = support_now_ms();

		move_sign();
		text = subscribers();
		ck_assert_uint_eq(number_of(text, "owing"), 1);
		ck_assert_int_le((int64_t)number_of(text, "owes.1.for_ms"),
				 support_now_ms() - before_ms + 1);
		expect_event(fd, 1, generation_now());
		ck_assert_uint_eq(acknowledge(fd, generation_now(), DONE), RNGD_PROTO_OK);
	}
	close(fd);
}
END_TEST

START_TEST(who_is_waited_for)
{
	uint64_t past, present;
	int root, alice, leaver;

	if (!is_root("user ids"))
		return;
	root = subscribed(support_connect(&rngd), 0, 1);
	alice = subscribed(connect_as(ALICE), 0, 2);
	leaver = subscribed(support_connect(&rngd), 0, 3);
	past = generation_now();
	present = bump();
	expect_count(3, 3);
	ck_assert_uint_eq(number_of(subscribers(), "owing_privileged"), 2);
	ck_assert_str_eq(line_of(subscribers(), "owes.3.privileged"), "false");
	ck_assert_uint_eq(number_of(subscribers(), "owes.3.uid"), ALICE);
	ck_assert_uint_eq(number_of(subscribers(), "owes.3.pid"), (uint64_t)getpid());
	/* Its connection breaks half way in an ACK, one that says so, one that need not. */
	support_write(root, "\0\0\0\x11\x08\1\0\0\0\0", 10);
	close(root);
	expect_event(leaver, 3, present);
	ck_assert_uint_eq(acknowledge(leaver, 0, LEAVE), RNGD_PROTO_OK);
	close(leaver);
	close(alice);
	expect_count(0, 1);
	ck_assert_str_eq(line_of(subscribers(), "owes.1.connected"), "false");
	ck_assert_uint_eq(number_of(subscribers(), "owes.1.acknowledged"), past);
	alice = subscribed(connect_as(ALICE), 0, 1); /* another's id does not help */
	expect_count(1, 1);
	close(alice);
	root = subscribed(support_connect(&rngd), past, 1);
	expect_event(root, 1, present);
	expect_count(1, 1);
	ck_assert_str_eq(line_of(subscribers(), "owes.1.connected"), "true");
	ck_assert_uint_eq(acknowledge(root, present, DONE), RNGD_PROTO_OK);
	close(root);
	expect_count(0, 0);
}
END_TEST

/* The older connection is held open, as by a forked child, and ends last. */
START_TEST(a_second_connection_with_the_same_id)
{
	uint64_t past = generation_now(), present;
	int older = subscribed(support_connect(&rngd), 0, 1), newer;

	present = bump();
	expect_event(older, 1, present);
	ck_assert_uint_eq(acknowledge(older, present, TAKEN), RNGD_PROTO_OK);
	newer = subscribed(support_connect(&rngd), past, 1);
	expect_event(newer, 1, present);
	expect_count(2, 1);
	ck_assert_uint_eq(acknowledge(newer, present, DONE), RNGD_PROTO_OK);
	expect_count(2, 0);
	bump();
	expect_silence(older);
	expect_event(newer, 1, generation_now());
	ck_assert_uint_eq(acknowledge(newer, generation_now(), DONE), RNGD_PROTO_OK);
	close(older);
	expect_count(1, 0);
	close(newer);
}
END_TEST

START_TEST(a_restart_says_that_some_may_return)
{
	int64_t started_ms;
	uint64_t first;

	ck_assert_uint_eq(number_of(subscribers(), "returning_ms"), 0);
	close(control);
	support_stop(&rngd);
	started_ms = support_now_ms();
	support_restart(&rngd, plain);
	control = connect_control();
	first = number_of(subscribers(), "returning_ms");
	ck_assert_uint_le(first, EVENTS_RETURN_MS);
	if (support_now_ms() - started_ms < EVENTS_RETURN_MS)
		ck_assert_uint_gt(first, 0);
	for (int64_t end_ms = started_ms + SUPPORT_TIMEOUT_S * 1000;
	     number_of(subscribers(), "returning_ms") > 0;) {
		ck_assert_int_lt(support_now_ms(), end_ms);
		poll(NULL, 0, 20);
	}
	ck_assert_int_ge(support_now_ms() - started_ms, EVENTS_RETURN_MS);
}
END_TEST

START_TEST(a_stop_does_not_wait_for_subscribers)
{
	enum { MANY = 300 };
	int fds[MANY];
	int64_t began_ms;

	for (int i = 0; i < MANY; i++)
		fds[i] = subscribed(support_connect(&rngd), 0, (uint64_t)i + 1);
	for (int round = 0; round < 2; round++) {
		bump();
		for (int i = 0; i < MANY / 3; i++) {
			expect_event(fds[i], (uint64_t)i + 1, generation_now());
			acknowledge(fds[i], generation_now(), i % 2 ? DONE : TAKEN);
		}
	}
	for (int i = 0; i < MANY; i += 5) /* remembered, or half an ACK */
		close(fds[i]);
	for (int i = 1; i < MANY; i += 5)
		support_write(fds[i], "\0\0\0\x11\x08\1\0\0\0\0", 10);
	bump(); /* and some are just being told */
	close(control);
	began_ms = support_now_ms();
	support_stop(&rngd);
	ck_assert_int_lt(support_now_ms() - began_ms, 10000);
	for (int i = 0; i < MANY; i++)
		if (i % 5)
			close(fds[i]);
	support_restart(&rngd, plain);
	control = connect_control();
}
END_TEST

/* ---------------------------------------------------------------- those who do not take */

static size_t rss_anon_bytes(void)
{
	char path[64], line[128];
	unsigned long kib = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", rngd.pid);
	file = fopen(path, "re");
	ck_assert_ptr_nonnull(file);
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "RssAnon: %lu kB", &kib) == 1)
			break;
	fclose(file);
	ck_assert_uint_gt(kib, 0);
	return (size_t)kib << 10;
}

static void restart_with(const char *const *options)
{
	close(control);
	support_stop(&rngd);
	support_restart(&rngd, options);
	control = connect_control();
}

/* One event each, then the end, whatever goes on; and what they cost does not grow. */
START_TEST(who_does_not_take_is_closed)
{
	enum { MANY = 200, BUMPS = 2000 };
	const char *const options[] = {"--vmgenid", sign_path, "--reply-timeout", "2", NULL};
	int fds[MANY], keeper;
	size_t before, most = 0;
	uint64_t first = 0;
	int64_t began_ms;

	restart_with(options);
	keeper = subscribed(support_connect(&rngd), 0, 1000);
	for (int i = 0; i < MANY; i++)
		fds[i] = subscribed(support_connect(&rngd), 0, (uint64_t)i + 1);
	bump();
	expect_event(keeper, 1000, generation_now());
	ck_assert_uint_eq(acknowledge(keeper, generation_now(), TAKEN), RNGD_PROTO_OK);
	first = generation_now();
	/* So many in a pass: who is not reached before the next bump hears of that one alone. */
	for (int i = 0; i < MANY; i++)
		expect_something(fds[i]);
	before = rss_anon_bytes();
	began_ms = support_now_ms();
	for (int i = 0; i < BUMPS; i++) {
		bump();
		if (i % 100 == 0 && rss_anon_bytes() > most)
			most = rss_anon_bytes();
	}
	printf("%d subscribers that do not read: %zu KiB, after %d bumps in %lld ms %zu at most\n",
	       MANY, before >> 10, BUMPS, (long long)(support_now_ms() - began_ms), most >> 10);
	if (!getenv("SAN") || !*getenv("SAN"))
		ck_assert_uint_lt(most, before + (1u << 20));
	for (int i = 0; i < MANY; i++) {
		expect_event(fds[i], (uint64_t)i + 1, first);
		ck_assert(support_closed(fds[i]));
		close(fds[i]);
	}
	ck_assert_int_ge(support_now_ms() - began_ms, 1000);
	ck_assert_uint_ge(
	    number_of(ask_text(control, RNGD_PROTO_OP_STATUS), "peers.reply_timeouts"), MANY);
	/* Who took one and is not done stays; but it too must take the next. */
	support_read(keeper, (uint8_t[20 + RNGD_PROTO_EVENT_BODY_BYTES]){0},
		     20 + RNGD_PROTO_EVENT_BODY_BYTES);
	ck_assert(support_closed(keeper));
	close(keeper);
}
END_TEST

/* Nothing is closed that has nothing to take: it took the event, or there is none. */
START_TEST(who_took_it_may_be_silent)
{
	const char *const options[] = {"--vmgenid",
				       sign_path,
				       "--reply-timeout",
				       "1",
				       "--idle-timeout",
				       "1",
				       "--request-timeout",
				       "1",
				       NULL};
	int silent, working, idle, late;

	restart_with(options);
	silent = subscribed(support_connect(&rngd), generation_now(), 1);
	bump();
	expect_event(silent, 1, generation_now());
	ck_assert_uint_eq(acknowledge(silent, generation_now(), DONE), RNGD_PROTO_OK);
	working = subscribed(support_connect(&rngd), generation_now() - 1, 2);
	expect_event(working, 2, generation_now());
	ck_assert_uint_eq(acknowledge(working, generation_now(), TAKEN), RNGD_PROTO_OK);
	late = subscribed(support_connect(&rngd), generation_now() - 1, 3);
	expect_event(late, 3, generation_now());
	for (int round = 0; round < 2; round++) {
		idle = support_connect(&rngd);
		ck_assert(support_closed(idle));
		close(idle);
	}
	ck_assert(support_closed(late));
	close(late);
	close(control); /* idle too */
	control = connect_control();
	ck_assert_uint_eq(acknowledge(working, generation_now(), DONE), RNGD_PROTO_OK);
	bump();
	expect_event(silent, 1, generation_now());
	expect_event(working, 2, generation_now());
	/* And half an ACK is half a request. */
	ck_assert_uint_eq(acknowledge(working, generation_now(), DONE), RNGD_PROTO_OK);
	support_write(working, "\0\0\0\x11\x08\1\0\0\0\0", 10);
	ck_assert(support_closed(working));
	close(working);
	close(silent);
	close(control);
	control = connect_control();
}
END_TEST

/* ---------------------------------------------------------------- a crowd */

/* As somebody else: asks for bytes until told to end, and then says how slow the slowest was. */
static pid_t start_healthy(int from, int to)
{
	pid_t pid = fork();
	int64_t slowest_ms = 0;
	uint32_t asked = 0;
	uint8_t buf[32];
	int fd;

	ck_assert_int_ge(pid, 0);
	if (pid > 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (geteuid() == 0 && setresuid(BOB, BOB, BOB) != 0)
		_exit(1);
	fd = support_connect(&rngd);
	for (struct pollfd stop = {.fd = from, .events = POLLIN}; poll(&stop, 1, 0) == 0; asked++) {
		int64_t began_ms = support_now_ms(), ms;

		support_get_all(fd, asked, buf, sizeof(buf));
		ms = support_now_ms() - began_ms;
		slowest_ms = ms > slowest_ms ? ms : slowest_ms;
	}
	dprintf(to, "%u %lld\n", asked, (long long)slowest_ms);
	_exit(0);
}

static unsigned long raise_files(void)
{
	struct rlimit files;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &files), 0);
	files.rlim_cur = files.rlim_max;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &files), 0);
	return files.rlim_max;
}

static void subscribe_crowd(int *fds, int many, bool by_control)
{
	for (int i = 0; i < many; i++) {
		fds[i] = by_control ? connect_control() : connect_as(ALICE);
		send_subscribe(fds[i], 0, (uint64_t)i + 1);
	}
	for (int i = 0; i < many; i++)
		expect_first(fds[i], (uint64_t)i + 1);
}

static void send_ack(int fd, uint64_t generation, unsigned stage)
{
	uint8_t buf[64];

	support_write(fd, buf, put_ack(buf, 6, generation, stage));
}

/* 0: of one unprivileged user, as many as half of all there may be; 1: on the control socket. */
START_TEST(ten_thousand_of_one_user)
{
	static int fds[10000];
	const char *const options[] = {"--max-connections", "19900", "--max-connections-per-uid",
				       "9950", NULL};
	const int many = _i == 0 ? 9940 : 10000;
	int to_healthy[2], from_healthy[2];
	int64_t began_ms, joined_ms, told_ms;
	long long slowest_ms = -1;
	unsigned asked = 0;
	char line[64] = "";
	pid_t healthy;

	if (!is_root("user ids"))
		return;
	if (raise_files() < 20000) {
		printf("SKIP: fewer than 20000 descriptors: no 10,000 subscribers\n");
		return;
	}
	restart_with(options);
	ck_assert_int_eq(pipe2(to_healthy, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(from_healthy, O_CLOEXEC), 0);
	healthy = start_healthy(to_healthy[0], from_healthy[1]);
	began_ms = support_now_ms();
	subscribe_crowd(fds, many, _i == 1);
	joined_ms = support_now_ms();
	for (int round = 0; round < 3; round++) {
		uint64_t generation = bump();

		for (int i = 0; i < many; i++)
			expect_event(fds[i], (uint64_t)i + 1, generation);
		if (round == 0)
			expect_count((uint64_t)many, (uint64_t)many);
		for (int i = 0; i < many; i++)
			send_ack(fds[i], generation, i % 2 ? DONE : TAKEN);
		for (int i = 0; i < many; i++)
			expect_plain(fds[i], RNGD_PROTO_OP_ACK, 6, RNGD_PROTO_OK);
	}
	expect_count((uint64_t)many, (uint64_t)many / 2);
	told_ms = support_now_ms();
	ck_assert_int_eq(write(to_healthy[1], "x", 1), 1);
	ck_assert_int_gt(read(from_healthy[0], line, sizeof(line) - 1), 0);
	ck_assert_int_eq(waitpid(healthy, NULL, 0), healthy);
	ck_assert_int_eq(sscanf(line, "%u %lld", &asked, &slowest_ms), 2);
	printf("%d subscribers joined in %lld ms, 3 events to all and back in %lld ms; another "
	       "user's slowest of %u requests took %lld ms\n",
	       many, (long long)(joined_ms - began_ms), (long long)(told_ms - joined_ms), asked,
	       slowest_ms);
	ck_assert_int_lt(slowest_ms, 5000);
	ck_assert_uint_gt(asked, 100);
	for (int i = 0; i < many; i++)
		close(fds[i]);
	expect_count(0, _i == 1 ? EVENTS_GONE_MAX : 0);
	for (int i = 0; i < 2; i++) {
		close(to_healthy[i]);
		close(from_healthy[i]);
	}
}
END_TEST

START_TEST(one_subscriber_too_many)
{
	static int fds[20000];
	struct wire_reply reply;
	uint8_t none;
	int many, fd;

	if (!is_root("user ids"))
		return;
	raise_files();
	restart_with(plain);
	many = (int)number_of(ask_text(control, RNGD_PROTO_OP_STATUS), "limit.connections_per_uid");
	ck_assert_int_lt(many, 20000 - 100);
	subscribe_crowd(fds, many, false);
	fd = connect_as(ALICE);
	support_reply(fd, &reply, &none, 0);
	ck_assert_uint_eq(reply.status, RNGD_PROTO_E_BUSY);
	ck_assert_uint_eq(reply.opcode, RNGD_PROTO_OP_NONE);
	ck_assert(support_closed(fd));
	close(fd);
	fd = subscribed(connect_as(BOB), 0, 1);
	bump();
	expect_event(fd, 1, generation_now());
	close(fd);
	for (int i = 0; i < many; i++)
		close(fds[i]);
	expect_count(0, 0);
}
END_TEST

/* ---------------------------------------------------------------- what was contributed */

START_TEST(contributed_bytes)
{
	uint8_t body[RNGD_PROTO_CONTRIBUTE_MAX_BYTES + 1] = {5};
	int fd = support_connect(&rngd), other = support_connect(&rngd);
	unsigned taken = 0, status = RNGD_PROTO_OK;
	int64_t began_ms = support_now_ms();
	uint64_t contributed = 0;

	ck_assert_uint_eq(ask(fd, RNGD_PROTO_OP_CONTRIBUTE, body, 0), RNGD_PROTO_E_BODY);
	ck_assert_uint_eq(ask(fd, RNGD_PROTO_OP_CONTRIBUTE, body, sizeof(body)), RNGD_PROTO_E_BODY);
	for (; taken < 100; taken++) {
		status = ask(taken % 2 ? fd : other, RNGD_PROTO_OP_CONTRIBUTE, body, 1024);
		if (status != RNGD_PROTO_OK)
			break;
	}
	ck_assert_uint_eq(status, RNGD_PROTO_E_AGAIN);
	ck_assert_uint_ge(taken, 4);
	ck_assert_int_le((int64_t)taken, 5 + (support_now_ms() - began_ms) / 1000);
	close(fd);
	close(other);
	/* A reseed of another reason may come in between, but not each time. */
	for (int i = 0; i < 5 && contributed == 0; i++) {
		if (i > 0)
			poll(NULL, 0, 50);
		ask(control, RNGD_PROTO_OP_CONTRIBUTE, body, 1);
		contributed =
		    number_of(ask_text(control, RNGD_PROTO_OP_STATUS), "reseed.contributed");
	}
	ck_assert_uint_gt(contributed, 0);
	ck_assert_uint_eq(ask(control, RNGD_PROTO_OP_RESEED, NULL, 0), RNGD_PROTO_OK);
	ck_assert_uint_eq(number_of(ask_text(control, RNGD_PROTO_OP_STATUS), "reseed.contributed"),
			  0);
}
END_TEST

START_TEST(status_tells_of_events_to_root_alone)
{
	int fd, alice;

	if (!is_root("user ids"))
		return;
	alice = connect_as(ALICE);
	fd = subscribed(connect_as(ALICE), 0, 1);
	bump();
	ck_assert_uint_eq(number_of(ask_text(control, RNGD_PROTO_OP_STATUS), "events.subscribers"),
			  1);
	ck_assert_uint_eq(number_of(ask_text(control, RNGD_PROTO_OP_STATUS), "events.owing"), 1);
	ck_assert_ptr_null(strstr(ask_text(alice, RNGD_PROTO_OP_STATUS), "\nevents."));
	ck_assert_ptr_null(line_of(ask_text(alice, RNGD_PROTO_OP_STATUS), "reseed.contributed"));
	close(alice);
	close(fd);
}
END_TEST

static TCase *registry_tests(void)
{
	TCase *tcase = tcase_create("registry");

	tcase_add_checked_fixture(tcase, registry_setup, registry_teardown);
	tcase_add_test(tcase, zeroed_registry_is_allowed);
	tcase_add_test(tcase, who_begins_with_the_present_owes_nothing);
	tcase_add_test(tcase, who_begins_with_another_gets_the_newest);
	tcase_add_test(tcase, one_event_at_a_time_and_then_the_newest);
	tcase_add_test(tcase, done_acknowledges_all_before_and_never_goes_back);
	tcase_add_test(tcase, what_was_not_yet_cannot_be_acknowledged);
	tcase_add_test(tcase, who_left_owes_and_gets_nothing);
	tcase_add_test(tcase, privileged_ones_that_owe_are_remembered);
	tcase_add_test(tcase, an_id_is_all_its_bytes);
	tcase_add_test(tcase, the_newest_connection_speaks_for_its_id);
	tcase_add_test(tcase, since_when_it_owes);
	tcase_add_test(tcase, so_many_are_remembered_the_newest);
	tcase_add_test(tcase, fast_moves_starve_nobody);
	tcase_add_test(tcase, who_ends_while_in_the_queue_is_taken_out);
	tcase_add_test(tcase, after_the_start_some_may_return);
	tcase_add_test(tcase, text_has_so_many_rows_and_fits);
	tcase_add_test(tcase, text_into_any_room);
	tcase_add_test(tcase, text_says_who_took_it);
	return tcase;
}

static TCase *wire_tests(void)
{
	TCase *tcase = tcase_create("wire");

	tcase_set_timeout(tcase, 180);
	tcase_add_checked_fixture(tcase, wire_setup, wire_teardown);
	tcase_add_test(tcase, an_event_is_the_pages);
	tcase_add_test(tcase, a_detector_tells_subscribers_too);
	tcase_add_test(tcase, no_event_on_record_is_zero);
	tcase_add_test(tcase, events_coalesce_on_the_wire);
	tcase_add_test(tcase, where_a_subscription_begins);
	tcase_add_test(tcase, a_subscriber_may_send_acks_alone);
	tcase_add_loop_test(tcase, a_subscription_in_a_pipeline, 0, 2);
	tcase_add_test(tcase, done_overtakes_its_event);
	tcase_add_test(tcase, subscribers_right_behind_a_bump);
	tcase_add_test(tcase, subscribers_that_finds_the_clone);
	tcase_add_test(tcase, who_is_waited_for);
	tcase_add_test(tcase, a_second_connection_with_the_same_id);
	tcase_add_test(tcase, a_restart_says_that_some_may_return);
	tcase_add_test(tcase, a_stop_does_not_wait_for_subscribers);
	tcase_add_test(tcase, who_does_not_take_is_closed);
	tcase_add_test(tcase, who_took_it_may_be_silent);
	tcase_add_test(tcase, contributed_bytes);
	tcase_add_test(tcase, status_tells_of_events_to_root_alone);
	return tcase;
}

static TCase *crowd_tests(void)
{
	TCase *tcase = tcase_create("crowd");

	tcase_set_timeout(tcase, 180);
	tcase_add_checked_fixture(tcase, wire_setup, wire_teardown);
	tcase_add_loop_test(tcase, ten_thousand_of_one_user, 0, 2);
	tcase_add_test(tcase, one_subscriber_too_many);
	return tcase;
}

int main(void)
{
	Suite *suite = suite_create("events");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, registry_tests());
	suite_add_tcase(suite, wire_tests());
	suite_add_tcase(suite, crowd_tests());
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed > 0;
}
