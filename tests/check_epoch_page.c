/*
 * check_epoch_page - reading the epoch page, also while it is written. Owns: pages in memory and
 * the thread that writes them. May touch: nothing else. Never does: use the daemon's writer: this
 * one is the description of what a writer must do.
 */
#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/epoch_page.h"

#define HAMMER_READS 300000u

static struct epoch_page page __attribute__((aligned(EPOCH_PAGE_BYTES)));

static void setup(void)
{
	memset(&page, 0, sizeof(page));
	memcpy(page.magic, EPOCH_PAGE_MAGIC, EPOCH_PAGE_MAGIC_BYTES);
	page.version = EPOCH_PAGE_VERSION;
	page.generation = 1;
}

/* Every field of an event follows from its generation, so that a mix of two is seen. */
static uint8_t id_byte(uint64_t generation, size_t i)
{
	return (uint8_t)(generation * 167 + i);
}

/*
 * As a writer does it: the slot that nobody reads is filled, then its generation is published. With
 * release each, so that no store to a slot comes before the publication before it.
 */
static void write_event(uint64_t generation)
{
	struct epoch_page_event *slot = &page.events[generation % 2];

	__atomic_store_n(&slot->generation, generation, __ATOMIC_RELEASE);
	__atomic_store_n(&slot->realtime_ns, generation * 3, __ATOMIC_RELEASE);
	__atomic_store_n(&slot->boottime_ns, generation * 5, __ATOMIC_RELEASE);
	__atomic_store_n(&slot->notifier, (uint32_t)generation * 7, __ATOMIC_RELEASE);
	for (size_t i = 0; i < EPOCH_PAGE_ID_BYTES; i++)
		__atomic_store_n(&slot->id[i], id_byte(generation, i), __ATOMIC_RELEASE);
	__atomic_store_n(&page.generation, generation, __ATOMIC_RELEASE);
}

static bool is_whole(const struct epoch_page_event *event)
{
	uint64_t generation = event->generation;
	bool whole = event->realtime_ns == generation * 3 && event->boottime_ns == generation * 5 &&
		     event->notifier == (uint32_t)generation * 7 && event->reserved == 0;

	for (size_t i = 0; i < EPOCH_PAGE_ID_BYTES; i++)
		whole &= event->id[i] == id_byte(generation, i);
	return whole;
}

static void no_event(void)
{
	static const struct epoch_page_event none;
	struct epoch_page_event event;

	memset(&event, 0x5a, sizeof(event));
	ck_assert(!epoch_page_last_event(&page, &event));
	ck_assert_mem_eq(&event, &none, sizeof(none));
}

START_TEST(valid)
{
	uint8_t *bytes = (uint8_t *)&page;

	ck_assert(epoch_page_valid(&page));
	for (size_t i = 4; i < 16; i++) { /* version and magic */
		bytes[i] ^= 1;
		ck_assert(!epoch_page_valid(&page));
		bytes[i] ^= 1;
	}
	bytes[0] ^= 1;
	bytes[16] ^= 1;
	ck_assert(epoch_page_valid(&page));
	memset(&page, 0, sizeof(page));
	ck_assert(!epoch_page_valid(&page));
}
END_TEST

START_TEST(words)
{
	page.epoch = 0x03000102;
	page.generation = 0x1122334455667788;
	page.look_again = 0x99aabbccddeeff00;
	page.lease_ns = UINT64_MAX;
	page.state = EPOCH_PAGE_REFUSING;
	ck_assert_uint_eq(epoch_page_epoch(&page), 0x03000102);
	ck_assert_uint_eq(epoch_page_generation(&page), 0x1122334455667788);
	ck_assert_uint_eq(epoch_page_look_again(&page), 0x99aabbccddeeff00);
	ck_assert_uint_eq(epoch_page_lease_ns(&page), UINT64_MAX);
	ck_assert_uint_eq(epoch_page_state(&page), EPOCH_PAGE_REFUSING);
}
END_TEST

START_TEST(epoch_word)
{
	ck_assert_uint_eq(epoch_page_word(EPOCH_PAGE_NOBODY, 0, 1), 1);
	ck_assert_uint_eq(epoch_page_word(EPOCH_PAGE_VMGENID, 0, 2), 0x01000002);
	ck_assert_uint_eq(epoch_page_word(EPOCH_PAGE_HOST, 10, 2), 0x0600000c);
	/* The counter wraps in its 24 bits and leaves the notifier alone. */
	ck_assert_uint_eq(epoch_page_word(EPOCH_PAGE_KMSG, 0xffffff, 1), 0x02000000);
	ck_assert_uint_eq(epoch_page_word(EPOCH_PAGE_KMSG, UINT32_MAX, 2), 0x02000001);
	ck_assert_uint_eq(epoch_page_word(EPOCH_PAGE_KMSG, 1, UINT64_MAX), 0x02000000);
	ck_assert_uint_eq(epoch_page_word(EPOCH_PAGE_KMSG, 0, 0x123456789abcdef0), 0x02bcdef0);
	ck_assert_uint_eq(epoch_page_word(0x1ff, 0, 1), 0xff000001);
}
END_TEST

START_TEST(names)
{
	static const char *const all[] = {
	    "nobody",       "vmgenid", "kmsg",  "vmclock", "vmclock_disruption",
	    "epoch_source", "host",    "start", "kernel",  "clock"};

	for (uint32_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		ck_assert_str_eq(epoch_page_notifier_name(i), all[i]);
	ck_assert_str_eq(epoch_page_notifier_name(10), "unknown");
	ck_assert_str_eq(epoch_page_notifier_name(UINT32_MAX), "unknown");
}
END_TEST

START_TEST(events)
{
	struct epoch_page_event event;

	no_event();
	/* A page of the very first moment, or one that was never written. */
	page.generation = 0;
	no_event();
	page.generation = page.events[1].generation = 1; /* no event begins it */
	no_event();
	for (uint64_t generation = 2; generation < 100; generation++) {
		write_event(generation);
		ck_assert(epoch_page_last_event(&page, &event));
		ck_assert_uint_eq(event.generation, generation);
		ck_assert(is_whole(&event));
	}
}
END_TEST

/* A page that contradicts itself gives no event, and does not keep its reader. */
START_TEST(no_such_event)
{
	write_event(2);
	page.events[0].generation = 4;
	no_event();
	page.events[0].generation = 2;
	page.generation = 3;
	no_event();
	page.generation = UINT64_MAX;
	no_event();
}
END_TEST

/* Reserved bytes stay behind: a later version may put there what this reader does not know. */
START_TEST(reserved_bytes)
{
	struct epoch_page_event event;

	memset(&event, 0x5a, sizeof(event));
	write_event(2);
	memset(page.events[0].padding, 0xff, sizeof(page.events[0].padding));
	page.events[0].reserved = UINT32_MAX;
	ck_assert(epoch_page_last_event(&page, &event));
	ck_assert(is_whole(&event));
	for (size_t i = 0; i < sizeof(event.padding); i++)
		ck_assert_uint_eq(event.padding[i], 0);
}
END_TEST

struct writer {
	bool stop;
	unsigned int pause; /* turns between events */
};

static void *hammer(void *arg)
{
	struct writer *writer = arg;

	for (uint64_t generation = 2; !__atomic_load_n(&writer->stop, __ATOMIC_RELAXED);
	     generation++) {
		write_event(generation);
		for (unsigned int i = 0; i < writer->pause; i++)
			__atomic_signal_fence(__ATOMIC_SEQ_CST);
	}
	return NULL;
}

/* Events as fast as they go, and with pauses: whole, in order, and mostly had. */
START_TEST(never_a_mix)
{
	static const unsigned int pauses[] = {0, 20, 1000};
	struct writer writer = {.pause = pauses[_i]};
	unsigned int seen = 0, mixed = 0, back = 0, not_zero = 0;
	struct epoch_page_event event;
	uint64_t last = 0;
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, hammer, &writer), 0);
	while (epoch_page_generation(&page) < 2) /* the test's time limit bounds it */
		sched_yield();
	for (unsigned int i = 0; i < HAMMER_READS; i++) {
		uint64_t before = epoch_page_generation(&page);

		if (!epoch_page_last_event(&page, &event)) {
			not_zero += event.generation != 0 || event.notifier != 0;
			continue;
		}
		seen++;
		mixed += !is_whole(&event);
		back += event.generation < last || event.generation < before;
		last = event.generation;
	}
	__atomic_store_n(&writer.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(mixed, 0);
	ck_assert_uint_eq(back, 0);
	ck_assert_uint_eq(not_zero, 0);
	if (pauses[_i] >= 1000)
		ck_assert_uint_gt(seen, HAMMER_READS / 2);
	/* A test in which the two never met proves nothing. */
	ck_assert_uint_gt(last, 2);
	/* When it is quiet again the last one is there. */
	ck_assert(epoch_page_last_event(&page, &event));
	ck_assert_uint_eq(event.generation, page.generation);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("epoch_page");
	TCase *tcase = tcase_create("epoch_page");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tcase);
	tcase_add_checked_fixture(tcase, setup, NULL);
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, valid);
	tcase_add_test(tcase, words);
	tcase_add_test(tcase, epoch_word);
	tcase_add_test(tcase, names);
	tcase_add_test(tcase, events);
	tcase_add_test(tcase, no_such_event);
	tcase_add_test(tcase, reserved_bytes);
	tcase_add_loop_test(tcase, never_a_mix, 0, 3);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
