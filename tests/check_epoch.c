/*
 * check_epoch - what becomes of what the detectors find: one event for one clone, nothing lost over
 * a restart, nothing claimed that nobody saw. The detectors are real, over files and a log of the
 * form of the kernel's (a socket that keeps records apart), which a test moves.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/epoch.h"
#include "daemon/epoch_file.h"

#define FORK_LINE "random: crng reseeded due to virtual machine fork"
#define DIR       "/dev/shm"

static struct epoch epoch;
static struct epoch_file file;
static char dir[64], page_path[96], id_path[96], source_path[96];
static int log_fd; /* the kernel's side of the log */
static uint64_t sequence;

static void write_file(const char *path, const void *data, size_t bytes)
{
	int fd = open(path, O_WRONLY | O_CREAT, 0644);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pwrite(fd, data, bytes, 0), (ssize_t)bytes);
	close(fd);
}

static void set_id(char c)
{
	char id[16];

	memset(id, c, sizeof(id));
	write_file(id_path, id, sizeof(id));
}

static void set_source(uint32_t word)
{
	uint32_t page[1024] = {word};

	write_file(source_path, page, sizeof(page));
}

static void say(const char *text)
{
	char line[256];
	int n = snprintf(line, sizeof(line), "6,%llu,%llu,-;%s\n", (unsigned long long)sequence,
			 (unsigned long long)sequence * 10, text);

	sequence++;
	ck_assert_int_eq(send(log_fd, line, (size_t)n, 0), n);
}

static void setup(void)
{
	ck_assert_int_ge(sodium_init(), 0);
	strcpy(dir, DIR "/rngd-epoch.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(page_path, sizeof(page_path), "%s/page", dir);
	snprintf(id_path, sizeof(id_path), "%s/id", dir);
	snprintf(source_path, sizeof(source_path), "%s/source", dir);
	sequence = 100;
	log_fd = -1;
}

static void teardown(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", dir);
	ck_assert_int_eq(system(command), 0);
}

enum { ID = 1, SOURCE = 2, LOG = 4 };

/* A daemon's start, with these detectors. `missed`: what the log says before it reads. */
static void start_with(int detectors, const char *const *missed)
{
	const char *const paths[EPOCH_ROWS] = {[EPOCH_ROW_VMGENID] = id_path,
					       [EPOCH_ROW_SOURCE] = source_path,
					       [EPOCH_ROW_KMSG] = "log"};
	int fds[EPOCH_ROWS], pair[2], page_fd, lock_fd;

	for (size_t i = 0; i < EPOCH_ROWS; i++)
		fds[i] = -ENOENT;
	if (detectors & ID)
		fds[EPOCH_ROW_VMGENID] = open(id_path, O_RDONLY);
	if (detectors & SOURCE)
		fds[EPOCH_ROW_SOURCE] = open(source_path, O_RDONLY);
	if (detectors & LOG) {
		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
		log_fd = pair[0];
		fds[EPOCH_ROW_KMSG] = pair[1];
		while (missed && *missed)
			say(*missed++);
	}
	ck_assert_int_eq(epoch_file_prepare(page_path, &page_fd, &lock_fd), 0);
	ck_assert_int_eq(epoch_file_open(&file, page_path, page_fd, lock_fd), 0);
	epoch_init(&epoch, &file, fds, paths);
	/* These two see the real machine; what they say of it is no part of a count here. */
	epoch_absent(&epoch.detectors[EPOCH_ROW_CLOCK], "not here");
	epoch_absent(&epoch.detectors[EPOCH_ROW_KERNEL], "not here");
}

static void stop(void)
{
	epoch_deinit(&epoch);
	epoch_file_close(&file);
	if (log_fd >= 0)
		close(log_fd);
	log_fd = -1;
}

/* Everything moved as one clone event moves it, by whom, or nothing did. */
static void expect_event(uint64_t generation, uint32_t notifier)
{
	ck_assert_uint_eq(epoch.generation, generation);
	ck_assert_uint_eq(epoch_page_generation(file.page), generation);
	ck_assert_uint_eq(epoch_page_epoch(file.page) >> 24, notifier);
}

static const char *const ordinary[] = {"hello", "world", NULL};

START_TEST(one_clone_is_one_event_however_many_see_it)
{
	uint64_t moves, look_again;

	set_id('a');
	set_source(7);
	start_with(ID | SOURCE | LOG, ordinary);
	expect_event(1, EPOCH_PAGE_NOBODY);
	moves = epoch.moves;
	look_again = epoch_page_look_again(file.page);
	set_id('b');
	set_source(8);
	say(FORK_LINE);
	epoch_look(&epoch, EPOCH_BEFORE);
	expect_event(2, EPOCH_PAGE_VMGENID);
	ck_assert_uint_eq(epoch.moves, moves + 1);
	ck_assert_uint_eq(epoch_page_look_again(file.page), look_again + 1);
	ck_assert_uint_eq(epoch.detectors[EPOCH_ROW_SOURCE].cloned, 1);
	ck_assert_uint_eq(epoch.detectors[EPOCH_ROW_KMSG].cloned, 1);
	ck_assert(!epoch_follows(&epoch)); /* the kernel reseeds before it logs */
	epoch_look(&epoch, EPOCH_ALL);
	expect_event(2, EPOCH_PAGE_VMGENID);
	ck_assert_uint_eq(epoch.moves, moves + 1);
	stop();
}
END_TEST

/* The kernel's notice comes later: news of its reseed, no second event. */
START_TEST(a_late_notice_is_no_second_event)
{
	uint64_t moves;

	set_id('a');
	start_with(ID | LOG, ordinary);
	set_id('b');
	epoch_look(&epoch, EPOCH_ALL);
	expect_event(2, EPOCH_PAGE_VMGENID);
	ck_assert(epoch_follows(&epoch));
	moves = epoch.moves;
	say(FORK_LINE);
	epoch_look(&epoch, EPOCH_ALL);
	expect_event(2, EPOCH_PAGE_VMGENID);
	ck_assert_uint_eq(epoch.moves, moves + 1);
	ck_assert_str_eq(epoch.mover, "kmsg");
	ck_assert(!epoch_follows(&epoch));
	/* But a second one is. */
	say(FORK_LINE);
	epoch_look(&epoch, EPOCH_ALL);
	expect_event(3, EPOCH_PAGE_KMSG);
	/* And an identifier that moves always is, however soon. */
	set_id('c');
	epoch_look(&epoch, EPOCH_ALL);
	expect_event(4, EPOCH_PAGE_VMGENID);
	set_id('d');
	epoch_look(&epoch, EPOCH_ALL);
	expect_event(5, EPOCH_PAGE_VMGENID);
	stop();
}
END_TEST

/*
 * A counter can be the same in siblings, and an identifier that was lost tells nothing: after those
 * the kernel's line is news of a clone.
 */
START_TEST(only_an_identifier_makes_a_line_its_notice)
{
	set_source(7);
	start_with(SOURCE | LOG, ordinary);
	set_source(8);
	epoch_look(&epoch, EPOCH_ALL);
	expect_event(2, EPOCH_PAGE_SOURCE);
	say(FORK_LINE);
	epoch_look(&epoch, EPOCH_ALL);
	expect_event(3, EPOCH_PAGE_KMSG);
	stop();
	ck_assert_int_eq(unlink(page_path), 0);

	sequence = 100;
	set_id('a');
	start_with(ID | LOG, ordinary);
	ck_assert_int_eq(truncate(id_path, 0), 0);
	epoch_look(&epoch, EPOCH_ALL);
	expect_event(2, EPOCH_PAGE_VMGENID);
	say(FORK_LINE);
	epoch_look(&epoch, EPOCH_ALL);
	expect_event(3, EPOCH_PAGE_KMSG);
	stop();
}
END_TEST

/* Seeded from what a sibling may have too, until the kernel's reseed is seen. */
START_TEST(a_counter_leaves_a_twin)
{
	set_id('a');
	set_source(7);
	start_with(ID | SOURCE | LOG, ordinary);
	ck_assert(!epoch_may_be_twin(&epoch));
	set_source(8);
	epoch_look(&epoch, EPOCH_ALL);
	ck_assert(epoch_may_be_twin(&epoch));
	say(FORK_LINE);
	epoch_look(&epoch, EPOCH_ALL);
	ck_assert(!epoch_may_be_twin(&epoch));

	set_source(9);
	epoch_look(&epoch, EPOCH_ALL);
	ck_assert(epoch_may_be_twin(&epoch));
	epoch.follow_until_ms -= EPOCH_FOLLOW_MS; /* never for ever */
	ck_assert(!epoch_may_be_twin(&epoch));

	set_source(10);
	epoch_look(&epoch, EPOCH_ALL);
	epoch_bump(&epoch, "the host's own bytes", 20);
	ck_assert(!epoch_may_be_twin(&epoch));
	set_id('b');
	epoch_look(&epoch, EPOCH_ALL);
	ck_assert(!epoch_may_be_twin(&epoch));
	stop();

	/* Where the kernel's reseed cannot be seen there is nothing to wait for. */
	start_with(SOURCE, NULL);
	set_source(11);
	epoch_look(&epoch, EPOCH_ALL);
	ck_assert(!epoch_may_be_twin(&epoch));
	stop();
}
END_TEST

/* A restart in between, or a clone that only the start finds, changes nothing of that. */
START_TEST(a_restart_keeps_the_aftermath)
{
	set_source(7);
	start_with(SOURCE | LOG, ordinary);
	set_source(8);
	epoch_look(&epoch, EPOCH_ALL);
	ck_assert(epoch_may_be_twin(&epoch));
	stop();
	sequence = 100;
	start_with(SOURCE | LOG, ordinary);
	ck_assert(epoch_follows(&epoch));
	ck_assert(epoch_may_be_twin(&epoch));
	say(FORK_LINE);
	epoch_look(&epoch, EPOCH_ALL);
	ck_assert(!epoch_may_be_twin(&epoch));
	stop();

	set_source(9);
	sequence = 100;
	start_with(SOURCE | LOG, (const char *const[]){"hello", "world", FORK_LINE, NULL});
	ck_assert_uint_eq(epoch_page_epoch(file.page) >> 24, EPOCH_PAGE_SOURCE);
	ck_assert(epoch_may_be_twin(&epoch));
	stop();
}
END_TEST

START_TEST(a_notice_too_late_is_an_event)
{
	set_id('a');
	start_with(ID | LOG, ordinary);
	set_id('b');
	epoch_look(&epoch, EPOCH_ALL);
	epoch.same_clone_until_ms -= EPOCH_SAME_CLONE_MS + 1000;
	say(FORK_LINE);
	epoch_look(&epoch, EPOCH_ALL);
	expect_event(3, EPOCH_PAGE_KMSG);
	stop();
}
END_TEST

/* A bump may come at any time: no detector's finding is taken for it, or it for one. */
START_TEST(a_bump_is_always_an_event)
{
	set_id('a');
	start_with(ID | LOG, ordinary);
	epoch_bump(&epoch, NULL, 0);
	expect_event(2, EPOCH_PAGE_HOST);
	ck_assert(epoch_follows(&epoch));
	say(FORK_LINE);
	epoch_look(&epoch, EPOCH_ALL);
	expect_event(3, EPOCH_PAGE_KMSG);
	set_id('b');
	epoch_look(&epoch, EPOCH_ALL);
	expect_event(4, EPOCH_PAGE_VMGENID);
	epoch_bump(&epoch, NULL, 0);
	expect_event(5, EPOCH_PAGE_HOST);
	ck_assert_uint_eq(epoch.bumps, 2);
	stop();
}
END_TEST

START_TEST(what_is_no_clone_moves_no_generation)
{
	uint64_t moves, look_again;
	uint32_t word;

	start_with(LOG, ordinary);
	moves = epoch.moves;
	word = epoch_page_epoch(file.page);
	look_again = epoch_page_look_again(file.page);
	say("random: crng init done");
	epoch_look(&epoch, EPOCH_ALL);
	ck_assert_uint_eq(epoch.moves, moves);
	/* Lost records, and an identifier that could tell: not here, so it counts as a clone. */
	sequence += 5;
	say("after a gap");
	epoch_look(&epoch, EPOCH_ALL);
	expect_event(2, EPOCH_PAGE_KMSG);
	stop();

	set_id('a');
	start_with(ID | LOG, ordinary);
	moves = epoch.moves;
	word = epoch_page_epoch(file.page);
	look_again = epoch_page_look_again(file.page);
	sequence += 5;
	say("after a gap");
	epoch_look(&epoch, EPOCH_ALL);
	ck_assert_uint_eq(epoch.moves, moves + 1);
	ck_assert_uint_eq(epoch_page_look_again(file.page), look_again + 1);
	ck_assert_uint_eq(epoch_page_epoch(file.page), word);
	stop();
}
END_TEST

START_TEST(following_ends_by_itself)
{
	start_with(0, NULL);
	ck_assert(!epoch_follows(&epoch));
	epoch_bump(&epoch, NULL, 0);
	ck_assert(epoch_follows(&epoch));
	epoch.follow_until_ms -= EPOCH_FOLLOW_MS;
	ck_assert(!epoch_follows(&epoch));
	stop();
}
END_TEST

#ifndef RNGD_TEST_FALLBACK
/* What a made-up vDSO leaves in its state; 0: its getrandom(2) fails. */
static uint64_t kernel_generation;

static ssize_t fake_getrandom(void *buf, size_t len, unsigned int flags, void *state,
			      size_t state_bytes)
{
	(void)flags;
	(void)state_bytes;
	if (kernel_generation == 0)
		return -EPERM;
	memset(buf, 1, len);
	memcpy((uint8_t *)state + 128, &kernel_generation, sizeof(kernel_generation));
	return (ssize_t)len;
}

static void fake_kernel(uint64_t generation)
{
	static uint64_t state[144 / 8];
	ssize_t (*function)(void *, size_t, unsigned int, void *, size_t) = fake_getrandom;
	struct epoch_detector *detector = &epoch.detectors[EPOCH_ROW_KERNEL];

	vdso_deinit(&detector->own.kernel.vdso);
	memset(state, 0, sizeof(state));
	kernel_generation = generation;
	memcpy(&detector->own.kernel.vdso.call, &function, sizeof(function));
	detector->own.kernel.vdso.state = state;
	detector->own.kernel.generation = generation;
	detector->state = EPOCH_ACTIVE;
}

/* Whether the kernel reseeded while its detector was blind, and before the clone or after, is not
 * known. */
START_TEST(a_blind_detector_saw_no_reseed)
{
	start_with(0, NULL);
	fake_kernel(41);
	epoch_bump(&epoch, NULL, 0);
	kernel_generation = 0;
	epoch_look(&epoch, EPOCH_ALL);
	ck_assert_int_eq(epoch.detectors[EPOCH_ROW_KERNEL].state, EPOCH_FAILED);
	ck_assert(epoch_follows(&epoch));
	kernel_generation = 41;
	epoch_look(&epoch, EPOCH_ALL);
	ck_assert_int_eq(epoch.detectors[EPOCH_ROW_KERNEL].state, EPOCH_ACTIVE);
	ck_assert_uint_eq(epoch.detectors[EPOCH_ROW_KERNEL].aged, 2);
	ck_assert(epoch_follows(&epoch));
	kernel_generation = 42;
	epoch_look(&epoch, EPOCH_BEFORE);
	ck_assert(!epoch_follows(&epoch));
	stop();
}
END_TEST
#endif

/* What a daemon left, what happened while there was none, and what the next one says. */
struct down {
	const char *what;
	int before, after; /* detectors */
	bool new_id, new_source, fork, gap;
	uint32_t notifier; /* EPOCH_PAGE_NOBODY: no event */
};

static const struct down downs[] = {
    {"nothing happened", ID | SOURCE | LOG, ID | SOURCE | LOG, .notifier = EPOCH_PAGE_NOBODY},
    {"no detector ever", 0, 0, .notifier = EPOCH_PAGE_NOBODY},
    {"another identifier", ID | LOG, ID | LOG, .new_id = true, .notifier = EPOCH_PAGE_VMGENID},
    {"another word", SOURCE, SOURCE, .new_source = true, .notifier = EPOCH_PAGE_SOURCE},
    {"a fork line", LOG, LOG, .fork = true, .notifier = EPOCH_PAGE_KMSG},
    {"a fork line, same identifier", ID | LOG, ID | LOG, .fork = true, .notifier = EPOCH_PAGE_KMSG},
    {"log alone, records lost", LOG, LOG, .gap = true, .notifier = EPOCH_PAGE_START},
    {"log with losses, identifier same", ID | LOG, ID | LOG, .gap = true,
     .notifier = EPOCH_PAGE_NOBODY},
    {"the identifier is gone", ID, 0, .notifier = EPOCH_PAGE_START},
    {"the identifier is gone, the log is whole", ID | LOG, LOG, .notifier = EPOCH_PAGE_START},
    {"the log is gone, identifier same", ID | LOG, ID, .notifier = EPOCH_PAGE_NOBODY},
    {"a detector for the first time", 0, ID, .notifier = EPOCH_PAGE_START},
    {"one more detector", ID, ID | SOURCE, .notifier = EPOCH_PAGE_NOBODY},
};

START_TEST(clones_while_nobody_watched)
{
	static const char *const forked[] = {"one", FORK_LINE, "two", NULL};
	const struct down *down = &downs[_i];

	set_id('a');
	set_source(7);
	start_with(down->before, ordinary);
	expect_event(1, EPOCH_PAGE_NOBODY); /* a fresh page: nobody can have mapped it */
	stop();
	if (down->new_id)
		set_id('b');
	if (down->new_source)
		set_source(8);
	if (down->gap)
		sequence += 5;
	else
		sequence = 100; /* the log as the kernel keeps it, from its first record */
	if (!down->gap)
		start_with(down->after, down->fork ? (const char *const[]){"hello", "world", "one",
									   FORK_LINE, NULL}
						   : ordinary);
	else
		start_with(down->after, forked + 2);
	ck_assert_msg(epoch.generation == (down->notifier ? 2 : 1), "%s: generation %llu",
		      down->what, (unsigned long long)epoch.generation);
	expect_event(down->notifier ? 2 : 1, down->notifier);
	stop();
	/* Said once: the next start compares with this one. */
	if (down->gap)
		return;
	sequence = 100;
	start_with(down->after,
		   down->fork ? (const char *const[]){"hello", "world", "one", FORK_LINE, NULL}
			      : ordinary);
	ck_assert_uint_eq(epoch.generation, down->notifier ? 2 : 1);
	stop();
}
END_TEST

/* Killed between the event and keeping what was seen: said again rather than never. */
START_TEST(a_value_is_kept_after_its_event)
{
	struct epoch_page_saved before;

	set_id('a');
	start_with(ID, NULL);
	before = *epoch_file_saved(&file, EPOCH_PAGE_VMGENID);
	ck_assert_uint_gt(before.bytes, 0);
	set_id('b');
	epoch_look(&epoch, EPOCH_ALL);
	ck_assert_mem_ne(epoch_file_saved(&file, EPOCH_PAGE_VMGENID)->value, before.value,
			 before.bytes);
	stop();
	start_with(ID, NULL);
	expect_event(2, EPOCH_PAGE_VMGENID);
	stop();
}
END_TEST

/* Siblings that differ in what their detectors saw differ in what they seed from. */
START_TEST(values_tell_siblings_apart)
{
	uint8_t one[EPOCH_VALUES_BYTES], two[EPOCH_VALUES_BYTES];
	size_t bytes;

	set_id('a');
	set_source(7);
	start_with(ID | SOURCE, NULL);
	bytes = epoch_values(&epoch, one);
	ck_assert_uint_gt(bytes, 0);
	ck_assert_uint_eq(epoch_values(&epoch, two), bytes);
	ck_assert_mem_eq(one, two, bytes);
	set_id('b');
	epoch_look(&epoch, EPOCH_ALL);
	ck_assert_uint_eq(epoch_values(&epoch, two), bytes);
	ck_assert_mem_ne(one, two, bytes);
	memcpy(one, two, bytes);
	set_source(8);
	epoch_look(&epoch, EPOCH_ALL);
	ck_assert_uint_eq(epoch_values(&epoch, two), bytes);
	ck_assert_mem_ne(one, two, bytes);
	stop();
}
END_TEST

/* A file that can no longer be read leaves its doubt behind, once. */
START_TEST(a_detector_that_fails_is_an_event)
{
	set_id('a');
	start_with(ID, NULL);
	ck_assert_int_eq(truncate(id_path, 0), 0);
	epoch_look(&epoch, EPOCH_ALL);
	expect_event(2, EPOCH_PAGE_VMGENID);
	ck_assert_int_eq(epoch.detectors[EPOCH_ROW_VMGENID].state, EPOCH_FAILED);
	ck_assert_uint_gt(strlen(epoch.detectors[EPOCH_ROW_VMGENID].why), 0);
	epoch_look(&epoch, EPOCH_ALL);
	expect_event(2, EPOCH_PAGE_VMGENID);
	/* It was only being rewritten: what it says now cannot be compared with anything. */
	set_id('a');
	epoch_look(&epoch, EPOCH_BEFORE);
	expect_event(2, EPOCH_PAGE_VMGENID);
	epoch_look(&epoch, EPOCH_ALL);
	expect_event(3, EPOCH_PAGE_VMGENID);
	ck_assert_int_eq(epoch.detectors[EPOCH_ROW_VMGENID].state, EPOCH_ACTIVE);
	epoch_look(&epoch, EPOCH_ALL);
	expect_event(3, EPOCH_PAGE_VMGENID);
	stop();
}
END_TEST

/* After a fill the identifier is read, however fresh the last reading seems: clocks stop with the
 * machine. */
START_TEST(after_a_fill_the_identifier_is_read)
{
	set_id('a');
	start_with(ID, NULL);
	set_id('b');
	epoch_look(&epoch, EPOCH_ALL);
	expect_event(2, EPOCH_PAGE_VMGENID);
	set_id('c');
	epoch.detectors[EPOCH_ROW_VMGENID].own.vmgenid.read_ns = INT64_MAX / 2; /* just now */
	epoch_look(&epoch, EPOCH_AFTER);
	expect_event(3, EPOCH_PAGE_VMGENID);
	stop();
}
END_TEST

START_TEST(the_lease_and_the_state_are_kept_up)
{
	start_with(0, NULL);
	ck_assert_uint_eq(epoch_page_state(file.page), EPOCH_PAGE_STOPPED);
	ck_assert_uint_eq(epoch_page_lease_ns(file.page), 0);
	epoch_tick(&epoch, true);
	ck_assert_uint_eq(epoch_page_state(file.page), EPOCH_PAGE_SERVING);
	ck_assert_uint_gt(epoch_page_lease_ns(file.page), 0);
	epoch_tick(&epoch, false);
	ck_assert_uint_eq(epoch_page_state(file.page), EPOCH_PAGE_REFUSING);
	stop();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("epoch");
	TCase *tcase = tcase_create("epoch");
	SRunner *sr = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 20);
	tcase_add_test(tcase, one_clone_is_one_event_however_many_see_it);
	tcase_add_test(tcase, a_late_notice_is_no_second_event);
	tcase_add_test(tcase, only_an_identifier_makes_a_line_its_notice);
	tcase_add_test(tcase, a_counter_leaves_a_twin);
	tcase_add_test(tcase, a_restart_keeps_the_aftermath);
	tcase_add_test(tcase, after_a_fill_the_identifier_is_read);
	tcase_add_test(tcase, a_notice_too_late_is_an_event);
	tcase_add_test(tcase, a_bump_is_always_an_event);
	tcase_add_test(tcase, what_is_no_clone_moves_no_generation);
	tcase_add_test(tcase, following_ends_by_itself);
#ifndef RNGD_TEST_FALLBACK
	tcase_add_test(tcase, a_blind_detector_saw_no_reseed);
#endif
	tcase_add_loop_test(tcase, clones_while_nobody_watched, 0,
			    sizeof(downs) / sizeof(downs[0]));
	tcase_add_test(tcase, a_value_is_kept_after_its_event);
	tcase_add_test(tcase, values_tell_siblings_apart);
	tcase_add_test(tcase, a_detector_that_fails_is_an_event);
	tcase_add_test(tcase, the_lease_and_the_state_are_kept_up);
	suite_add_tcase(suite, tcase);
	srunner_set_fork_status(sr, CK_FORK);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
