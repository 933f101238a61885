/*
 * check_entropy - the message a reseed hashes, and what becomes of it when a source gives nothing
 * or what no good source gives. Owns: a system call filter and the thread that answers for the
 * kernel behind it; what stands in for RDSEED and RDRAND (the linker's --wrap). May touch:
 * getrandom of a forked child, descriptor 2. Never does: replace a function of the daemon.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <linux/seccomp.h>

#include "daemon/entropy.h"
#include "host/cpu.h"

#define ITEM_HEAD_BYTES 3u
#define KERNEL_BYTES    32u
#define CALLS_MAX       8

/* One item of a message. */
struct item {
	bool present;
	const uint8_t *bytes;
	size_t len;
};

/* What the kernel is made to answer to one getrandom(): bytes given, or a negative errno. */
struct answer {
	int result;
	uint8_t fill;
};

/* What it was asked. */
struct call {
	uint64_t address;
	uint64_t len;
	uint64_t flags;
};

/* The kernel's part, played by a thread that was there before the filter. */
struct kernel {
	const struct answer *answers;
	size_t answer_count;
	struct call calls[CALLS_MAX];
	size_t call_count;
	int notify_fd;
	pthread_barrier_t ready;
	pthread_t thread;
};

static struct kernel kernel;

static uint8_t message[ENTROPY_MESSAGE_BYTES];

/* What plays an instruction. Without a word function it is the machine's own. */
struct unit {
	uint64_t (*word)(unsigned i);
	unsigned given; /* words so far */
	unsigned asked; /* and times that it was asked for one */
	unsigned dry_at;
	bool dry; /* gives nothing, once, in place of word dry_at */
	bool absent;
};

static struct unit units[2];

#define UNIT_RDSEED (&units[0])
#define UNIT_RDRAND (&units[1])

static const enum entropy_id unit_ids[] = {ENTROPY_ID_RDSEED, ENTROPY_ID_RDRAND};

bool __real_cpu_has_rdseed(void);
bool __real_cpu_has_rdrand(void);
bool __real_cpu_rdseed64(uint64_t *value);
bool __real_cpu_rdrand64(uint64_t *value);
bool __wrap_cpu_has_rdseed(void);
bool __wrap_cpu_has_rdrand(void);
bool __wrap_cpu_rdseed64(uint64_t *value);
bool __wrap_cpu_rdrand64(uint64_t *value);

bool __wrap_cpu_has_rdseed(void)
{
	return !UNIT_RDSEED->absent && (UNIT_RDSEED->word || __real_cpu_has_rdseed());
}

bool __wrap_cpu_has_rdrand(void)
{
	return !UNIT_RDRAND->absent && (UNIT_RDRAND->word || __real_cpu_has_rdrand());
}

static bool play_unit(struct unit *unit, uint64_t *value)
{
	unit->asked++;
	if (unit->dry && unit->given == unit->dry_at) {
		unit->dry = false;
		*value = 0;
		return false;
	}
	*value = unit->word(unit->given++);
	return true;
}

bool __wrap_cpu_rdseed64(uint64_t *value)
{
	return UNIT_RDSEED->word ? play_unit(UNIT_RDSEED, value) : __real_cpu_rdseed64(value);
}

bool __wrap_cpu_rdrand64(uint64_t *value)
{
	return UNIT_RDRAND->word ? play_unit(UNIT_RDRAND, value) : __real_cpu_rdrand64(value);
}

/* The i-th word of splitmix64, for a good unit. */
static uint64_t good_word(unsigned i)
{
	uint64_t z = (i + 1) * 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static void *play_kernel(void *arg)
{
	struct seccomp_notif_resp resp;
	struct seccomp_notif req;

	(void)arg;
	pthread_barrier_wait(&kernel.ready);
	for (size_t i = 0; i < kernel.answer_count; i++) {
		const struct answer *answer = &kernel.answers[i];

		memset(&req, 0, sizeof(req));
		if (ioctl(kernel.notify_fd, SECCOMP_IOCTL_NOTIF_RECV, &req) < 0)
			_exit(100);
		kernel.calls[kernel.call_count++] = (struct call){
		    .address = req.data.args[0],
		    .len = req.data.args[1],
		    .flags = req.data.args[2],
		};
		if (answer->result > 0)
			memset((void *)(uintptr_t)req.data.args[0], answer->fill,
			       (size_t)answer->result);
		resp = (struct seccomp_notif_resp){
		    .id = req.id,
		    .val = answer->result > 0 ? answer->result : 0,
		    .error = answer->result < 0 ? answer->result : 0,
		};
		if (ioctl(kernel.notify_fd, SECCOMP_IOCTL_NOTIF_SEND, &resp) < 0)
			_exit(101);
	}
	return NULL;
}

/*
 * From here on each getrandom() of this thread gets the next answer. A call too many or too few
 * waits for ever, and the time limit of the test ends it.
 */
static void take_kernel_away(const struct answer *answers, size_t count)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);

	ck_assert_uint_le(count, CALLS_MAX);
	kernel = (struct kernel){.answers = answers, .answer_count = count};
	ck_assert_int_eq(pthread_barrier_init(&kernel.ready, NULL, 2), 0);
	ck_assert_int_eq(pthread_create(&kernel.thread, NULL, play_kernel, NULL), 0);

	ck_assert_ptr_nonnull(ctx);
	ck_assert_int_eq(seccomp_rule_add(ctx, SCMP_ACT_NOTIFY, SCMP_SYS(getrandom), 0), 0);
	ck_assert_int_eq(seccomp_load(ctx), 0);
	kernel.notify_fd = dup(seccomp_notify_fd(ctx));
	ck_assert_int_ge(kernel.notify_fd, 0);
	seccomp_release(ctx);
	pthread_barrier_wait(&kernel.ready);
}

static void kernel_gone(void)
{
	if (kernel.answer_count > 0)
		pthread_join(kernel.thread, NULL);
}

#define ITEM_IDS (ENTROPY_ID_POOL + 1u)

/* Reads the message back as doc/generator.md says it is written. */
static void parse(size_t message_bytes, struct item items[ITEM_IDS])
{
	static const uint8_t tag[ENTROPY_TAG_BYTES] = "rngd reseed v1";
	size_t at = ENTROPY_TAG_BYTES, last_id = 0, id;

	memset(items, 0, (ITEM_IDS) * sizeof(*items));
	ck_assert_uint_ge(message_bytes, ENTROPY_TAG_BYTES);
	ck_assert_uint_le(message_bytes, ENTROPY_MESSAGE_BYTES);
	ck_assert_mem_eq(message, tag, sizeof(tag));
	while (at < message_bytes) {
		ck_assert_uint_le(at + ITEM_HEAD_BYTES, message_bytes);
		id = message[at];
		ck_assert_uint_gt(id, last_id);
		ck_assert_uint_lt(id, ITEM_IDS);
		last_id = id;
		items[id] = (struct item){
		    .present = true,
		    .bytes = message + at + ITEM_HEAD_BYTES,
		    .len = (size_t)(message[at + 1] << 8 | message[at + 2]),
		};
		at += ITEM_HEAD_BYTES + items[id].len;
	}
	ck_assert_uint_eq(at, message_bytes);
}

static void assert_wiped(void)
{
	for (size_t i = 0; i < sizeof(message); i++)
		ck_assert_msg(message[i] == 0, "byte %zu of the message is left", i);
}

static bool all_equal(const uint8_t *bytes, size_t len)
{
	for (size_t i = 1; i < len; i++)
		if (bytes[i] != bytes[0])
			return false;
	return true;
}

START_TEST(message_reads_back)
{
	struct item items[ITEM_IDS];
	struct entropy entropy = {0};
	struct timespec now, clocks[2];
	size_t message_bytes;

	memset(message, 0xee, sizeof(message));
	ck_assert_int_eq(entropy_gather(&entropy, true, NULL, 0, message, &message_bytes), 0);
	parse(message_bytes, items);
	ck_assert(items[ENTROPY_ID_KERNEL].present);
	ck_assert_uint_eq(items[ENTROPY_ID_KERNEL].len, KERNEL_BYTES);
	ck_assert(!all_equal(items[ENTROPY_ID_KERNEL].bytes, KERNEL_BYTES));
	ck_assert(items[ENTROPY_ID_CLOCKS].present);
	ck_assert_uint_eq(items[ENTROPY_ID_CLOCKS].len, sizeof(clocks));
	memcpy(clocks, items[ENTROPY_ID_CLOCKS].bytes, sizeof(clocks));
	clock_gettime(CLOCK_BOOTTIME, &now);
	ck_assert_int_ge(now.tv_sec, clocks[1].tv_sec);
	ck_assert_int_le(now.tv_sec - clocks[1].tv_sec, 60);
}
END_TEST

/* What the caller gives stands behind the sources, as an item of its own; an empty one is none. */
START_TEST(given_rows_are_items)
{
	const uint8_t host[32] = {1, 2, 3}, epoch[204] = {9, 8, 7}, pool[32] = {4, 5, 6};
	const struct entropy_given given[] = {
	    {ENTROPY_ID_EPOCH, epoch, sizeof(epoch)},
	    {ENTROPY_ID_HOST, host, sizeof(host)},
	    {ENTROPY_ID_POOL, pool, sizeof(pool)},
	};
	const struct entropy_given empty[] = {{ENTROPY_ID_EPOCH, epoch, 0},
					      {ENTROPY_ID_HOST, host, 1}};
	struct item items[ITEM_IDS];
	struct entropy entropy = {0};
	size_t message_bytes;

	ck_assert_int_eq(entropy_gather(&entropy, false, given, 3, message, &message_bytes), 0);
	parse(message_bytes, items);
	ck_assert(items[ENTROPY_ID_KERNEL].present);
	ck_assert_uint_eq(ENTROPY_ID_POOL, 8); /* hashed: for ever */
	ck_assert_uint_eq(items[ENTROPY_ID_POOL].len, sizeof(pool));
	ck_assert_mem_eq(items[ENTROPY_ID_POOL].bytes, pool, sizeof(pool));
	ck_assert_uint_eq(items[ENTROPY_ID_EPOCH].len, sizeof(epoch));
	ck_assert_mem_eq(items[ENTROPY_ID_EPOCH].bytes, epoch, sizeof(epoch));
	ck_assert_uint_eq(items[ENTROPY_ID_HOST].len, sizeof(host));
	ck_assert_mem_eq(items[ENTROPY_ID_HOST].bytes, host, sizeof(host));

	ck_assert_int_eq(entropy_gather(&entropy, false, empty, 2, message, &message_bytes), 0);
	parse(message_bytes, items);
	ck_assert(!items[ENTROPY_ID_EPOCH].present);
	ck_assert_uint_eq(items[ENTROPY_ID_HOST].len, 1);
}
END_TEST

/* Never cut: a seed that lacks what tells siblings apart is no seed. */
START_TEST(too_much_given_is_refused)
{
	const uint8_t much[ENTROPY_GIVEN_MAX_BYTES] = {0};
	struct entropy_given given[] = {{ENTROPY_ID_EPOCH, much, sizeof(much) - 3 - 4},
					{ENTROPY_ID_HOST, much, 1}};
	struct entropy entropy = {0};
	size_t message_bytes = 1;

	ck_assert_int_eq(entropy_gather(&entropy, false, given, 2, message, &message_bytes), 0);
	for (size_t bytes = 2; bytes < 40; bytes++) {
		given[1].bytes = bytes;
		memset(message, 0xee, sizeof(message));
		ck_assert_int_eq(entropy_gather(&entropy, false, given, 2, message, &message_bytes),
				 -EMSGSIZE);
		ck_assert_uint_eq(message_bytes, 0);
		assert_wiped();
	}
}
END_TEST

/* What the machine has answers and is in the message; what it has not is said to be absent. */
START_TEST(states_match_the_machine)
{
	const bool has[ENTROPY_SOURCES] = {true, cpu_has_rdseed(), cpu_has_rdrand(),
					   cpu_cycles() != 0, true};
	struct item items[ITEM_IDS];
	struct entropy entropy = {0};
	size_t message_bytes;

	ck_assert_int_eq(entropy_gather(&entropy, false, NULL, 0, message, &message_bytes), 0);
	parse(message_bytes, items);
	for (size_t i = 0; i < ENTROPY_SOURCES; i++) {
		enum entropy_state state = entropy.states[i];

		ck_assert_int_eq(state == ENTROPY_ABSENT, !has[i]);
		ck_assert_int_eq(state == ENTROPY_ACTIVE, items[i + 1].present);
		/* Only RDSEED may run dry. */
		ck_assert(state != ENTROPY_FAILED || i + 1 == ENTROPY_ID_RDSEED);
		if (!has[i])
			printf("SKIP: this machine has no %s\n", entropy_name(i));
	}
}
END_TEST

START_TEST(names_stand_in_the_order_of_ids)
{
	static const char *const names[] = {"kernel", "rdseed", "rdrand", "cycles", "clocks"};

	for (size_t i = 0; i < ENTROPY_SOURCES; i++)
		ck_assert_str_eq(entropy_name(i), names[i]);
}
END_TEST

START_TEST(no_source_repeats_itself)
{
	struct item first[ITEM_IDS], second[ITEM_IDS];
	uint8_t kept[ENTROPY_MESSAGE_BYTES];
	struct entropy entropy = {0};
	size_t message_bytes;

	ck_assert_int_eq(entropy_gather(&entropy, false, NULL, 0, message, &message_bytes), 0);
	memcpy(kept, message, sizeof(kept));
	parse(message_bytes, first);
	for (size_t id = 1; id <= ENTROPY_SOURCES; id++)
		if (first[id].present)
			first[id].bytes = kept + (first[id].bytes - message);
	ck_assert_int_eq(entropy_gather(&entropy, false, NULL, 0, message, &message_bytes), 0);
	parse(message_bytes, second);
	for (size_t id = 1; id <= ENTROPY_SOURCES; id++)
		if (first[id].present && second[id].present)
			ck_assert_msg(memcmp(first[id].bytes, second[id].bytes, first[id].len) != 0,
				      "%s gave the same twice", entropy_name(id - 1));
}
END_TEST

/* The kernel's bytes are in the message as it gave them; what it is asked next is for the test. */
START_TEST(kernel_bytes_are_taken_as_they_are)
{
	static const struct answer answers[] = {{KERNEL_BYTES, 0x5c}, {KERNEL_BYTES, 0x5d}};
	struct item items[ITEM_IDS];
	struct entropy entropy = {0};
	size_t message_bytes;

	take_kernel_away(answers, 2);
	ck_assert_int_eq(entropy_gather(&entropy, false, NULL, 0, message, &message_bytes), 0);
	parse(message_bytes, items);
	ck_assert_uint_eq(kernel.call_count, 2);
	ck_assert_uint_eq(kernel.calls[0].len, KERNEL_BYTES);
	ck_assert_uint_eq(kernel.calls[1].len, KERNEL_BYTES);
	ck_assert_uint_eq(items[ENTROPY_ID_KERNEL].len, KERNEL_BYTES);
	ck_assert_uint_eq(items[ENTROPY_ID_KERNEL].bytes[0], 0x5c);
	ck_assert(all_equal(items[ENTROPY_ID_KERNEL].bytes, KERNEL_BYTES));
}
END_TEST

/* Blocking is for the start alone: later it would stop every client. */
START_TEST(blocks_only_when_told)
{
	static const struct answer answers[] = {
	    {KERNEL_BYTES, 1}, {KERNEL_BYTES, 2}, {KERNEL_BYTES, 3}, {KERNEL_BYTES, 4}};
	struct entropy entropy = {0};
	size_t message_bytes;

	take_kernel_away(answers, 4);
	ck_assert_int_eq(entropy_gather(&entropy, true, NULL, 0, message, &message_bytes), 0);
	ck_assert_int_eq(entropy_gather(&entropy, false, NULL, 0, message, &message_bytes), 0);
	for (size_t i = 0; i < 4; i++)
		ck_assert_uint_eq(kernel.calls[i].flags, i < 2 ? 0 : GRND_NONBLOCK);
}
END_TEST

/* A signal and a short answer are no failures; what is missing is asked for, behind what is there.
 */
START_TEST(interruption_is_no_failure)
{
	static const struct answer answers[] = {
	    {-EINTR, 0}, {5, 0x11}, {-EINTR, 0}, {27, 0x22}, {KERNEL_BYTES, 0x33}};
	struct item items[ITEM_IDS];
	struct entropy entropy = {0};
	size_t message_bytes;

	take_kernel_away(answers, 5);
	ck_assert_int_eq(entropy_gather(&entropy, true, NULL, 0, message, &message_bytes), 0);
	ck_assert_uint_eq(kernel.call_count, 5);
	ck_assert_uint_eq(kernel.calls[1].len, KERNEL_BYTES);
	ck_assert_uint_eq(kernel.calls[3].len, KERNEL_BYTES - 5);
	ck_assert_uint_eq(kernel.calls[3].address, kernel.calls[0].address + 5);
	parse(message_bytes, items);
	ck_assert_uint_eq(items[ENTROPY_ID_KERNEL].len, KERNEL_BYTES);
	ck_assert(all_equal(items[ENTROPY_ID_KERNEL].bytes, 5));
	ck_assert(all_equal(items[ENTROPY_ID_KERNEL].bytes + 5, 27));
	ck_assert_uint_eq(items[ENTROPY_ID_KERNEL].bytes[31], 0x22);
}
END_TEST

struct failing {
	struct answer answers[2];
	size_t answer_count;
	int err;
};

static const struct failing failing[] = {
    {{{-EIO, 0}}, 1, -EIO},
    {{{-ENOSYS, 0}}, 1, -ENOSYS},
    {{{-EAGAIN, 0}}, 1, -EAGAIN},                     /* not initialised yet */
    {{{KERNEL_BYTES / 2, 0x33}, {-EIO, 0}}, 2, -EIO}, /* half a seed is none */
    {{{0, 0}}, 1, -EIO},                              /* asking on would spin */
    {{{KERNEL_BYTES, 0x33}, {-EIO, 0}}, 2, -EIO},     /* a seed that was not tested */
    {{{KERNEL_BYTES, 0x33}, {KERNEL_BYTES, 0x33}}, 2, -EBADMSG},
    {{{KERNEL_BYTES, 0}, {KERNEL_BYTES, 0x33}}, 2, -EBADMSG},
    {{{KERNEL_BYTES, 0x33}, {KERNEL_BYTES, 0}}, 2, -EBADMSG},
};

START_TEST(without_the_kernel_there_is_no_message)
{
	const struct failing *expected = &failing[_i];
	struct entropy entropy = {0};
	size_t message_bytes = 99;

	memset(message, 0xee, sizeof(message));
	take_kernel_away(expected->answers, expected->answer_count);
	ck_assert_int_eq(entropy_gather(&entropy, false, NULL, 0, message, &message_bytes),
			 expected->err);
	ck_assert_uint_eq(kernel.call_count, expected->answer_count);
	ck_assert_uint_eq(message_bytes, 0);
	assert_wiped();
	ck_assert_int_eq(entropy.states[0], ENTROPY_FAILED);
	/* The others are still looked at: STATUS shows what this machine has. */
	ck_assert_int_eq(entropy.states[ENTROPY_SOURCES - 1], ENTROPY_ACTIVE);
}
END_TEST

START_TEST(failure_is_not_remembered)
{
	static const struct answer answers[] = {
	    {-EIO, 0}, {KERNEL_BYTES, 0x44}, {KERNEL_BYTES, 0x45}};
	struct item items[ITEM_IDS];
	struct entropy entropy = {0};
	size_t message_bytes;

	take_kernel_away(answers, 3);
	ck_assert_int_eq(entropy_gather(&entropy, false, NULL, 0, message, &message_bytes), -EIO);
	ck_assert_int_eq(entropy_gather(&entropy, false, NULL, 0, message, &message_bytes), 0);
	ck_assert_int_eq(entropy.states[0], ENTROPY_ACTIVE);
	parse(message_bytes, items);
	ck_assert_uint_eq(items[ENTROPY_ID_KERNEL].bytes[0], 0x44);
}
END_TEST

/* ---------------------------------------------------------------- health */

/* What was logged, instead of shown. */
static int log_fd = -1;

static void take_log(void)
{
	log_fd = memfd_create("log", MFD_CLOEXEC);
	ck_assert_int_ge(log_fd, 0);
	ck_assert_int_eq(dup2(log_fd, STDERR_FILENO), STDERR_FILENO);
}

/* One line was logged, and it has this in it; or none, if text is NULL. */
static void expect_log(const char *text)
{
	char line[512] = "";
	ssize_t n = pread(log_fd, line, sizeof(line) - 1, 0);

	ck_assert_int_ge(n, 0);
	if (!text) {
		ck_assert_str_eq(line, "");
		return;
	}
	ck_assert_msg(strstr(line, text), "no %s in: %s", text, line);
	ck_assert_ptr_eq(strchr(line, '\n'), line + strlen(line) - 1);
}

static bool holds(const void *memory, size_t bytes, const void *what, size_t what_bytes)
{
	return memmem(memory, bytes, what, what_bytes) != NULL;
}

/* A gathering that succeeds, and its items. */
static void gather(struct entropy *entropy, struct item items[ITEM_IDS])
{
	size_t message_bytes;

	ck_assert_int_eq(entropy_gather(entropy, false, NULL, 0, message, &message_bytes), 0);
	parse(message_bytes, items);
}

static uint64_t zero(unsigned i)
{
	(void)i;
	return 0;
}

/* What RDRAND gave on some processors after a suspend. */
static uint64_t ones(unsigned i)
{
	(void)i;
	return UINT64_MAX;
}

static uint64_t some_word(unsigned i)
{
	(void)i;
	return 0x0123456789abcdef;
}

static uint64_t alternating(unsigned i)
{
	return i & 1 ? good_word(1) : good_word(2);
}

static uint64_t half_zero(unsigned i)
{
	return good_word(2 * i) & 1 ? 0 : good_word(2 * i + 1);
}

static uint64_t low_bits_stuck(unsigned i)
{
	return good_word(i) & ~0xfull;
}

/* One bit in 9 of 10 words; that shows in some window of the first few. */
static uint64_t bit_biased(unsigned i)
{
	uint64_t clear = good_word(2 * i) % 10 == 0;

	return (good_word(2 * i + 1) | 1ull << 40) & ~(clear << 40);
}

static uint64_t stuck_after_start(unsigned i)
{
	return i < HEALTH_START_WORDS ? good_word(i) : UINT64_MAX;
}

static uint64_t (*const bad_words[])(unsigned i) = {
    zero, ones, some_word, alternating, half_zero, low_bits_stuck, bit_biased, stuck_after_start,
};

#define BAD_WORDS (sizeof(bad_words) / sizeof(bad_words[0]))

/* One unit is bad from the start, the other is good. */
START_TEST(bad_unit_is_dropped)
{
	struct unit *bad = &units[_i % 2], *good = &units[1 - _i % 2];
	enum entropy_id bad_id = unit_ids[_i % 2], good_id = unit_ids[1 - _i % 2];
	struct item items[ITEM_IDS];
	struct entropy entropy = {0};
	unsigned asked;

	take_log();
	bad->word = bad_words[_i / 2];
	good->word = good_word;
	gather(&entropy, items);
	expect_log(bad_id == ENTROPY_ID_RDSEED ? "RDSEED is broken" : "RDRAND is broken");
	ck_assert(!items[bad_id].present);
	ck_assert(items[good_id].present && items[ENTROPY_ID_KERNEL].present);
	ck_assert_int_eq(entropy.states[bad_id - 1], ENTROPY_FAILED);
	ck_assert_int_eq(entropy.states[good_id - 1], ENTROPY_ACTIVE);
	ck_assert(entropy_dropped(&entropy, bad_id) && !entropy_dropped(&entropy, good_id));
	ck_assert_uint_le(bad->asked, HEALTH_START_WORDS + 5);

	/* For good, even if it is good from now on; and that is not said again. */
	asked = bad->asked;
	bad->word = good_word;
	for (unsigned i = 0; i < 10; i++)
		gather(&entropy, items);
	ck_assert(!items[bad_id].present && items[good_id].present);
	ck_assert_int_eq(entropy.states[bad_id - 1], ENTROPY_FAILED);
	ck_assert_uint_eq(bad->asked, asked);
	expect_log("is broken");
}
END_TEST

/* It breaks after some reseeds: the first seed with a repeated word in it is without it. */
START_TEST(unit_that_breaks_later_is_dropped)
{
	struct unit *unit = &units[_i];
	struct item items[ITEM_IDS];
	struct entropy entropy = {0};

	take_log();
	unit->word = good_word;
	for (unsigned i = 0; i < 20; i++) {
		gather(&entropy, items);
		ck_assert(items[unit_ids[_i]].present);
	}
	expect_log(NULL);
	unit->word = ones;
	gather(&entropy, items);
	ck_assert(!items[unit_ids[_i]].present);
	ck_assert(entropy_dropped(&entropy, unit_ids[_i]));
	expect_log("twice in a row");
}
END_TEST

/* A unit stuck at what it gave last, which is not in the message: it is still the one before. */
static uint64_t stuck_at_the_spare(unsigned i)
{
	return good_word(i == HEALTH_START_WORDS + 5 ? i - 1 : i);
}

START_TEST(samples_are_tested_over_reseeds)
{
	struct item items[ITEM_IDS];
	struct entropy entropy = {0};

	take_log();
	UNIT_RDSEED->word = stuck_at_the_spare;
	gather(&entropy, items);
	ck_assert(items[ENTROPY_ID_RDSEED].present);
	gather(&entropy, items);
	ck_assert(!items[ENTROPY_ID_RDSEED].present);
	ck_assert(entropy_dropped(&entropy, ENTROPY_ID_RDSEED));
}
END_TEST

/* 1024 words are tested and thrown away before the first is used; then one with each four. */
START_TEST(unit_is_tested_before_it_is_used)
{
	struct unit *unit = &units[_i];
	struct item items[ITEM_IDS];
	struct entropy entropy = {0};

	unit->word = good_word;
	for (unsigned n = 0; n < 3; n++) {
		unsigned first = HEALTH_START_WORDS + n * 5;

		gather(&entropy, items);
		ck_assert_uint_eq(unit->asked, first + 5);
		ck_assert_uint_eq(items[unit_ids[_i]].len, 4 * sizeof(uint64_t));
		for (unsigned i = 0; i < 4; i++)
			ck_assert_mem_eq(items[unit_ids[_i]].bytes + i * sizeof(uint64_t),
					 &(uint64_t){good_word(first + i)}, sizeof(uint64_t));
	}
}
END_TEST

/* Dry at once, amid the start-up test, at its end, in the seed, at the word that is not used. */
static const unsigned dry_at[] = {0,
				  500,
				  HEALTH_START_WORDS - 1,
				  HEALTH_START_WORDS,
				  HEALTH_START_WORDS + 3,
				  HEALTH_START_WORDS + 4};

#define DRY_AT (sizeof(dry_at) / sizeof(dry_at[0]))

START_TEST(dry_unit_is_asked_again)
{
	struct item items[ITEM_IDS];
	struct entropy entropy = {0};
	unsigned at = dry_at[_i], thrown = at > HEALTH_START_WORDS ? at - HEALTH_START_WORDS : 0;

	take_log();
	*UNIT_RDSEED = (struct unit){.word = good_word, .dry = true, .dry_at = at};
	gather(&entropy, items);
	ck_assert(!items[ENTROPY_ID_RDSEED].present);
	ck_assert_int_eq(entropy.states[1], ENTROPY_FAILED);
	ck_assert(!entropy_dropped(&entropy, ENTROPY_ID_RDSEED));
	ck_assert_uint_eq(UNIT_RDSEED->given, at);
	gather(&entropy, items);
	ck_assert(items[ENTROPY_ID_RDSEED].present);
	ck_assert_int_eq(entropy.states[1], ENTROPY_ACTIVE);
	/* What was tested is not tested anew. */
	ck_assert_uint_eq(UNIT_RDSEED->given, HEALTH_START_WORDS + thrown + 5);
	expect_log(NULL);
}
END_TEST

START_TEST(absent_unit_is_not_asked)
{
	struct item items[ITEM_IDS];
	struct entropy entropy = {0};

	units[_i] = (struct unit){.word = zero, .absent = true};
	gather(&entropy, items);
	ck_assert(!items[unit_ids[_i]].present);
	ck_assert_int_eq(entropy.states[unit_ids[_i] - 1], ENTROPY_ABSENT);
	ck_assert_uint_eq(units[_i].asked, 0);
	ck_assert(!entropy_dropped(&entropy, unit_ids[_i]));
}
END_TEST

/* The tests' state is in ordinary memory: no part of a seed may be in it. */
START_TEST(state_keeps_nothing_of_a_message)
{
	static const enum entropy_id ids[] = {ENTROPY_ID_KERNEL, ENTROPY_ID_RDSEED,
					      ENTROPY_ID_RDRAND};
	struct item items[ITEM_IDS];
	struct entropy entropy = {0};

	UNIT_RDSEED->word = UNIT_RDRAND->word = good_word;
	UNIT_RDRAND->given = 1u << 20;
	for (unsigned n = 0; n < 300; n++) {
		gather(&entropy, items);
		for (size_t i = 0; i < 3; i++)
			for (size_t at = 0; at < items[ids[i]].len; at += 8)
				ck_assert(
				    !holds(&entropy, sizeof(entropy), items[ids[i]].bytes + at, 8));
	}
}
END_TEST

/* What was kept to compare with is given again, a minute later. */
START_TEST(kernel_that_repeats_is_fatal)
{
	static const struct answer answers[] = {
	    {KERNEL_BYTES, 1}, {KERNEL_BYTES, 2}, {KERNEL_BYTES, 2}, {KERNEL_BYTES, 3}};
	struct entropy entropy = {0};
	size_t message_bytes = 1;

	take_log();
	take_kernel_away(answers, 4);
	ck_assert_int_eq(entropy_gather(&entropy, false, NULL, 0, message, &message_bytes), 0);
	expect_log(NULL);
	/* Later calls fail as well, and do not even ask: one more call would wait for ever. */
	for (unsigned i = 0; i < 3; i++) {
		memset(message, 0xee, sizeof(message));
		ck_assert_int_eq(entropy_gather(&entropy, true, NULL, 0, message, &message_bytes),
				 -EBADMSG);
		ck_assert_uint_eq(message_bytes, 0);
		assert_wiped();
		ck_assert_int_eq(entropy.states[0], ENTROPY_FAILED);
		ck_assert(entropy_dropped(&entropy, ENTROPY_ID_KERNEL));
	}
	ck_assert_uint_eq(kernel.call_count, 4);
	expect_log("the kernel's generator is broken");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("entropy");
	TCase *tcase = tcase_create("entropy");
	SRunner *sr = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tcase, NULL, kernel_gone);
	tcase_add_test(tcase, message_reads_back);
	tcase_add_test(tcase, given_rows_are_items);
	tcase_add_test(tcase, too_much_given_is_refused);
	tcase_add_test(tcase, states_match_the_machine);
	tcase_add_test(tcase, names_stand_in_the_order_of_ids);
	tcase_add_test(tcase, no_source_repeats_itself);
	tcase_add_test(tcase, kernel_bytes_are_taken_as_they_are);
	tcase_add_test(tcase, blocks_only_when_told);
	tcase_add_test(tcase, interruption_is_no_failure);
	tcase_add_loop_test(tcase, without_the_kernel_there_is_no_message, 0,
			    sizeof(failing) / sizeof(failing[0]));
	tcase_add_test(tcase, failure_is_not_remembered);
	tcase_add_loop_test(tcase, bad_unit_is_dropped, 0, 2 * BAD_WORDS);
	tcase_add_loop_test(tcase, unit_that_breaks_later_is_dropped, 0, 2);
	tcase_add_test(tcase, samples_are_tested_over_reseeds);
	tcase_add_loop_test(tcase, unit_is_tested_before_it_is_used, 0, 2);
	tcase_add_loop_test(tcase, dry_unit_is_asked_again, 0, DRY_AT);
	tcase_add_loop_test(tcase, absent_unit_is_not_asked, 0, 2);
	tcase_add_test(tcase, state_keeps_nothing_of_a_message);
	tcase_add_test(tcase, kernel_that_repeats_is_fatal);
	suite_add_tcase(suite, tcase);
	/* A filter cannot be taken off again: each test has a process of its own. */
	srunner_set_fork_status(sr, CK_FORK);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
