/*
 * check_epoch_kmsg - the detector that reads the kernel log. A SOCK_SEQPACKET pair stands for the
 * log where a test must write what only the kernel can: it keeps record boundaries and answers
 * EAGAIN at its end, as /dev/kmsg does. A system call filter stands for EPIPE and EINVAL.
 * Owns: both. May touch: the real /dev/kmsg, to which it writes a few lines of user space. Never
 * does: flood the real log.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/epoch.h"
#include "tests/support.h"

#define FORK        "random: crng reseeded due to virtual machine fork"
#define REAL_PATH   "/dev/kmsg"
#define EPIPE_FD    200 /* reading it gives EPIPE, for ever */
#define EINVAL_FD   201
#define EIO_FD      202
#define VALUE_BYTES 16u

static struct epoch_detector detector;
static int kernel = -1; /* the writing end */

static void setup(void)
{
	memset(&detector, 0, sizeof(detector));
	detector.ops = &epoch_kmsg_ops;
	detector.notifier = detector.ops->notifier;
	detector.fd = -1;
}

static void teardown(void)
{
	if (detector.fd >= 0)
		close(detector.fd);
	if (kernel >= 0)
		close(kernel);
}

static void record_bytes(const void *bytes, size_t len)
{
	ck_assert_int_eq(send(kernel, bytes, len, MSG_NOSIGNAL), (ssize_t)len);
}

static void record(const char *text)
{
	record_bytes(text, strlen(text));
}

static void line(unsigned int priority, uint64_t sequence, const char *text)
{
	char bytes[512];

	snprintf(bytes, sizeof(bytes), "%u,%" PRIu64 ",%" PRIu64 ",-;%s\n", priority, sequence,
		 1000 + sequence, text);
	record(bytes);
}

/* A log of the kernel's that holds the records of first to last, and the detector on it. */
static void open_log(uint64_t first, uint64_t last)
{
	int fds[2];

	if (kernel >= 0)
		close(kernel);
	if (detector.fd >= 0)
		close(detector.fd);
	setup();
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	kernel = fds[1];
	detector.fd = fds[0];
	for (uint64_t i = first; i <= last; i++)
		line(6, i, "something");
}

static void start(void)
{
	detector.ops->start(&detector, detector.fd, "the log");
	ck_assert_int_eq(detector.state, EPOCH_ACTIVE);
	ck_assert(detector.watch);
}

static enum epoch_change look(void)
{
	return detector.ops->look(&detector, EPOCH_AFTER);
}

static uint64_t saved_sequence(void)
{
	uint64_t sequence;

	ck_assert_uint_eq(detector.saved.bytes, sizeof(sequence));
	memcpy(&sequence, detector.saved.value, sizeof(sequence));
	return sequence;
}

static enum epoch_recall recall(uint64_t sequence)
{
	struct epoch_page_saved saved = {.bytes = sizeof(sequence)};

	memcpy(saved.value, &sequence, sizeof(sequence));
	return detector.ops->recall(&detector, &saved);
}

/* From here on reading these descriptors fails. They need not be open. */
static void break_reads(void)
{
	static const struct {
		int fd, errnum;
	} rules[] = {{EPIPE_FD, EPIPE}, {EINVAL_FD, EINVAL}, {EIO_FD, EIO}};
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);

	ck_assert_ptr_nonnull(filter);
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
		ck_assert_int_eq(seccomp_rule_add(filter, SCMP_ACT_ERRNO((uint32_t)rules[i].errnum),
						  SCMP_SYS(read), 1,
						  SCMP_A0(SCMP_CMP_EQ, (uint64_t)rules[i].fd)),
				 0);
	ck_assert_int_eq(seccomp_load(filter), 0);
	seccomp_release(filter);
}

static enum epoch_change look_at(int fd)
{
	int log = detector.fd;
	enum epoch_change change;

	detector.fd = fd;
	change = look();
	detector.fd = log;
	return change;
}

START_TEST(row)
{
	ck_assert_str_eq(epoch_kmsg_ops.name, "kmsg");
	ck_assert_uint_eq(epoch_kmsg_ops.notifier, EPOCH_PAGE_KMSG);
	ck_assert(epoch_kmsg_ops.says_cloned && epoch_kmsg_ops.cheap);
	ck_assert_int_eq(epoch_kmsg_ops.poll_ms, 0);
}
END_TEST

START_TEST(fork_line)
{
	uint64_t value[2];

	open_log(5, 9);
	start();
	ck_assert_uint_eq(detector.value_bytes, 0);
	ck_assert_uint_eq(saved_sequence(), 10);
	ck_assert_int_eq(look(), EPOCH_SAME);
	line(6, 10, "something else");
	ck_assert_int_eq(look(), EPOCH_SAME);
	ck_assert_uint_eq(saved_sequence(), 11);
	line(5, 11, FORK);
	ck_assert_int_eq(look(), EPOCH_CLONED);
	ck_assert_int_eq(look(), EPOCH_SAME); /* once */
	ck_assert_uint_eq(saved_sequence(), 12);
	ck_assert_uint_eq(detector.notifier, EPOCH_PAGE_KMSG);
	ck_assert_uint_eq(detector.value_bytes, VALUE_BYTES);
	memcpy(value, detector.value, sizeof(value));
	ck_assert_uint_eq(value[0], 11);
	ck_assert_uint_eq(value[1], 1011);
	ck_assert(!detector.own.kmsg.alone);
}
END_TEST

/* Among others, in one look; with what newer kernels add. */
START_TEST(fork_line_forms)
{
	static const struct {
		const char *before, *after; /* of the sequence number */
	} forms[] = {
	    {"5,", ",99,-;" FORK "\n"},
	    {"0,", ",0,-;" FORK "\n"},
	    {"7,", ",18446744073709551615,-;" FORK "\n"},
	    {"5,", ",99,-,caller=T1;" FORK "\n"},
	    {"5,", ",99,c;" FORK "\n"},
	    {"5,", ",99,-;" FORK "\n SUBSYSTEM=x\n DEVICE=+y:z\n"},
	};
	uint64_t sequence = 10;
	char bytes[256];

	open_log(0, 9);
	start();
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		line(6, sequence++, "before");
		snprintf(bytes, sizeof(bytes), "%s%" PRIu64 "%s", forms[i].before, sequence++,
			 forms[i].after);
		record(bytes);
		line(6, sequence++, "after");
		ck_assert_msg(look() == EPOCH_CLONED, "%s", bytes);
		ck_assert_uint_eq(saved_sequence(), sequence);
	}
}
END_TEST

/* What is not the kernel's line, whole and alone, is nothing; and it has its place in the log. */
START_TEST(look_alikes)
{
	static const struct {
		const char *before, *after; /* of the sequence number */
	} forms[] = {
	    {"13,", ",99,-;" FORK "\n"}, /* facility 1: user space */
	    {"8,", ",99,-;" FORK "\n"},
	    {"2048,", ",99,-;" FORK "\n"},
	    {"4294967301,", ",99,-;" FORK "\n"},
	    {"18446744073709551608,", ",99,-;" FORK "\n"},
	    {"5,", ",99,-; " FORK "\n"},
	    {"5,", ",99,-;x" FORK "\n"},
	    {"5,", ",99,-;" FORK " \n"},
	    {"5,", ",99,-;" FORK "ed\n"},
	    {"5,", ",99,-;" FORK ";" FORK "\n"},
	    {"5,", ",99,-;a;" FORK "\n"},
	    {"5,", ",99,-;Random: crng reseeded due to virtual machine fork\n"},
	    {"5,", ",99,-;random: crng reseeded due to virtual machine for\n"},
	    {"5,", ",99,-;crng reseeded due to virtual machine fork\n"},
	    {"5,", ",99,-;x\n" FORK "\n"},
	    {"5,", ",99,-;x\n;" FORK "\n"},
	    {"5,", ",99,-;x\\x0a" FORK "\n"},
	    {"5,", ",99,-;\n"},
	    {"5,", ",99,-;"},
	    {"5,", ",99,-"},
	    {"5,", ",99,-;" FORK}, /* cut short */
	    {"5,", ",;" FORK "\n"},
	    {"5,", ",-1,-;" FORK "\n"},
	    {"5,", ",99;" FORK "\n"},
	    {"5,", ",18446744073709551616,-;" FORK "\n"},
	    {"5,", ","},
	};
	uint64_t sequence = 10;
	char bytes[256];

	open_log(0, 9);
	start();
	detector.own.kmsg.alone = true;
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		snprintf(bytes, sizeof(bytes), "%s%" PRIu64 "%s", forms[i].before, sequence++,
			 forms[i].after);
		record(bytes);
		line(6, sequence++, "after");
		ck_assert_msg(look() == EPOCH_SAME, "%s", bytes);
		ck_assert_uint_eq(saved_sequence(), sequence);
	}
	ck_assert_uint_eq(detector.value_bytes, 0);
	line(5, sequence, FORK);
	ck_assert_int_eq(look(), EPOCH_CLONED);
}
END_TEST

/* Records without a place: ignored, and the log goes on where it was. */
START_TEST(malformed)
{
	static const char *const forms[] = {
	    "\n",
	    ";",
	    ",",
	    ",,,;",
	    FORK "\n",
	    "5",
	    "5,",
	    "5,;" FORK "\n",
	    "5;10,99,-;" FORK "\n",
	    ",10,99,-;" FORK "\n",
	    "x,10,99,-;" FORK "\n",
	    " 5,10,99,-;" FORK "\n",
	    "-5,10,99,-;" FORK "\n",
	    "+5,10,99,-;" FORK "\n",
	    "5,-1,99,-;" FORK "\n",
	    "5, 10,99,-;" FORK "\n",
	    "5,10",
	    "5,10;" FORK "\n",
	    "18446744073709551616,10,99,-;" FORK "\n",
	    "5,18446744073709551615,99,-;" FORK "\n",
	    "5,18446744073709551616,99,-;" FORK "\n",
	    "5,99999999999999999999999999999999999999,99,-;" FORK "\n",
	    "0x5,10,99,-;" FORK "\n",
	    "5,1e1,99,-;" FORK "\n",
	};
	char big[8192];

	open_log(0, 9);
	start();
	detector.own.kmsg.alone = true;
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		record(forms[i]);
		ck_assert_msg(look() == EPOCH_SAME, "%s", forms[i]);
		ck_assert_uint_eq(saved_sequence(), 10);
	}
	record_bytes("5,10\0,99,-;" FORK "\n", sizeof("5,10\0,99,-;" FORK "\n") - 1);
	ck_assert_int_eq(look(), EPOCH_SAME);
	memset(big, '9', sizeof(big)); /* as long as the buffer, and no end in it */
	record_bytes(big, sizeof(big));
	ck_assert_int_eq(look(), EPOCH_SAME);
	ck_assert_uint_eq(saved_sequence(), 10);
	line(6, 10, "goes on");
	ck_assert_int_eq(look(), EPOCH_SAME);
	/* Where the record that could not be read had a place, it was lost. */
	record("nonsense");
	line(6, 12, "goes on");
	ck_assert_int_eq(look(), EPOCH_CLONED);
}
END_TEST

/* The buffer still holds the record before: nothing of it belongs to a shorter one. */
START_TEST(what_the_buffer_held)
{
	open_log(0, 9);
	start();
	record("8,10,99,-;" FORK "\n");
	record("5,11,99,-;" FORK);
	record("6,12,99,-;x;" FORK "\n");
	record("5,13,99,-");
	record("6,14,99,-;something");
	record("5,");
	ck_assert_int_eq(look(), EPOCH_SAME);
	ck_assert_uint_eq(saved_sequence(), 15);
}
END_TEST

START_TEST(gap_in_the_sequence)
{
	open_log(0, 9);
	start();
	line(6, 12, "after a gap");
	ck_assert_int_eq(look(), EPOCH_AGED);
	ck_assert_int_eq(look(), EPOCH_SAME);
	detector.own.kmsg.alone = true; /* nobody else can tell: in doubt */
	line(6, 14, "after a gap");
	ck_assert_int_eq(look(), EPOCH_CLONED);
	ck_assert_int_eq(look(), EPOCH_SAME);
	ck_assert_uint_eq(saved_sequence(), 15);
	detector.own.kmsg.alone = false;
	line(6, 17, "after a gap");
	line(5, 18, FORK);
	ck_assert_int_eq(look(), EPOCH_CLONED);
}
END_TEST

/* EPIPE: overwritten before they were read. The gap that follows is the same loss. */
START_TEST(lost_records)
{
	open_log(0, 9);
	start();
	break_reads();
	ck_assert_int_eq(look_at(EPIPE_FD), EPOCH_AGED);
	ck_assert_int_eq(detector.state, EPOCH_ACTIVE);
	ck_assert_uint_eq(saved_sequence(), 10); /* a restart now must not believe in more */
	line(6, 50, "the first that is left");
	ck_assert_int_eq(look(), EPOCH_SAME);
	ck_assert_uint_eq(saved_sequence(), 51);
	line(6, 53, "another gap");
	ck_assert_int_eq(look(), EPOCH_AGED);

	detector.own.kmsg.alone = true;
	ck_assert_int_eq(look_at(EPIPE_FD), EPOCH_CLONED);
	line(6, 60, "the first that is left");
	ck_assert_int_eq(look(), EPOCH_SAME);
	ck_assert_int_eq(recall(59), EPOCH_RECALL_UNKNOWN);
	ck_assert_int_eq(recall(60), EPOCH_RECALL_SAME);
	ck_assert_int_eq(look_at(EPIPE_FD), EPOCH_CLONED);
	line(5, 70, FORK);
	ck_assert_int_eq(look(), EPOCH_CLONED);
}
END_TEST

/* EINVAL: a record longer than the buffer; the kernel goes on behind it. */
START_TEST(long_record)
{
	open_log(0, 9);
	start();
	break_reads();
	ck_assert_int_eq(look_at(EINVAL_FD), EPOCH_AGED);
	ck_assert_int_eq(detector.state, EPOCH_ACTIVE);
	line(6, 11, "behind it");
	ck_assert_int_eq(look(), EPOCH_SAME);
	detector.own.kmsg.alone = true;
	ck_assert_int_eq(look_at(EINVAL_FD), EPOCH_CLONED);
}
END_TEST

START_TEST(fails)
{
	open_log(0, 9);
	start();
	break_reads();
	ck_assert_int_eq(look_at(EIO_FD), EPOCH_AGED);
	ck_assert_int_eq(detector.state, EPOCH_FAILED);
	ck_assert_ptr_nonnull(strstr(detector.why, strerror(EIO)));
	ck_assert(!detector.watch);

	open_log(0, 9);
	start();
	detector.own.kmsg.alone = true;
	ck_assert_int_eq(look_at(EIO_FD), EPOCH_CLONED);
	ck_assert_int_eq(detector.state, EPOCH_FAILED);

	open_log(0, 9); /* its end */
	start();
	line(5, 10, FORK);
	close(kernel);
	kernel = -1;
	ck_assert_int_eq(look(), EPOCH_CLONED);
	ck_assert_int_eq(detector.state, EPOCH_FAILED);
}
END_TEST

/* Another holder of the descriptor moved it back: what was read is not read again. */
START_TEST(older_records)
{
	open_log(0, 9);
	start();
	line(5, 10, FORK);
	ck_assert_int_eq(look(), EPOCH_CLONED);
	line(5, 4, FORK);
	line(5, 10, FORK);
	ck_assert_int_eq(look(), EPOCH_SAME);
	ck_assert_uint_eq(saved_sequence(), 11);
	line(6, 11, "goes on");
	ck_assert_int_eq(look(), EPOCH_SAME);
}
END_TEST

/* A storm: one look ends, says so, and the next goes on. */
START_TEST(flood)
{
	const uint64_t bound = 4096;
	uint64_t sequence = 10, before;
	int size = 16 << 20, looks = 0;
	char text[64];

	open_log(0, 9);
	start();
	setsockopt(kernel, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	fcntl(kernel, F_SETFL, O_NONBLOCK);
	while (sequence < 10 + 2 * bound + 100) {
		snprintf(text, sizeof(text), "6,%" PRIu64 ",1,-;x\n", sequence);
		if (send(kernel, text, strlen(text), MSG_NOSIGNAL) < 0)
			break;
		sequence++;
	}
	if (sequence < 10 + 2 * bound) {
		printf("SKIP: a socket here holds only %" PRIu64 " records\n", sequence - 10);
		return;
	}
	do {
		before = saved_sequence();
		ck_assert_int_eq(look(),
				 saved_sequence() == before + bound ? EPOCH_AGED : EPOCH_SAME);
		ck_assert_uint_le(saved_sequence() - before, bound);
	} while (++looks < 10 && saved_sequence() != before);
	ck_assert_uint_eq(saved_sequence(), sequence);
	ck_assert_int_eq(looks, 4);
	line(5, sequence, FORK);
	ck_assert_int_eq(look(), EPOCH_CLONED);
}
END_TEST

/* What was logged before the start is history: no change, but it is known. */
START_TEST(start_reads_all)
{
	open_log(5, 9);
	line(5, 10, FORK);
	line(6, 11, "later");
	start();
	ck_assert_uint_eq(saved_sequence(), 12);
	ck_assert_uint_eq(detector.value_bytes, VALUE_BYTES);
	ck_assert_int_eq(look(), EPOCH_SAME);
	for (uint64_t since = 0; since <= 10; since++)
		ck_assert_int_eq(recall(since), EPOCH_RECALL_CLONED);
	ck_assert_int_eq(recall(11), EPOCH_RECALL_SAME);
	ck_assert_int_eq(recall(12), EPOCH_RECALL_SAME);    /* nothing since */
	ck_assert_int_eq(recall(13), EPOCH_RECALL_UNKNOWN); /* the log of another boot */
	ck_assert_int_eq(recall(UINT64_MAX), EPOCH_RECALL_UNKNOWN);
}
END_TEST

START_TEST(recall_of_a_lossy_log)
{
	struct epoch_page_saved saved = {.bytes = 4};

	open_log(5, 9); /* 0 to 4 were overwritten */
	line(6, 12, "after a gap");
	line(6, 13, "whole since");
	start();
	ck_assert_int_eq(recall(0), EPOCH_RECALL_UNKNOWN);
	ck_assert_int_eq(recall(5), EPOCH_RECALL_UNKNOWN);
	ck_assert_int_eq(recall(11), EPOCH_RECALL_UNKNOWN);
	ck_assert_int_eq(recall(12), EPOCH_RECALL_SAME);
	ck_assert_int_eq(recall(14), EPOCH_RECALL_SAME);
	ck_assert_int_eq(detector.ops->recall(&detector, &saved), EPOCH_RECALL_UNKNOWN);
	saved.bytes = 0;
	ck_assert_int_eq(detector.ops->recall(&detector, &saved), EPOCH_RECALL_UNKNOWN);
	saved.value[0] = 12; /* right, but for its length */
	saved.bytes = 9;
	ck_assert_int_eq(detector.ops->recall(&detector, &saved), EPOCH_RECALL_UNKNOWN);
	saved.bytes = UINT32_MAX;
	ck_assert_int_eq(detector.ops->recall(&detector, &saved), EPOCH_RECALL_UNKNOWN);
}
END_TEST

START_TEST(empty_log)
{
	open_log(1, 0);
	start();
	ck_assert_uint_eq(detector.saved.bytes, 0);
	ck_assert_int_eq(recall(0), EPOCH_RECALL_UNKNOWN);
	line(6, 77, "the first");
	ck_assert_int_eq(look(), EPOCH_SAME);
	ck_assert_uint_eq(saved_sequence(), 78);
}
END_TEST

START_TEST(absent)
{
	size_t fds = support_fd_count(getpid());

	detector.ops->start(&detector, -EPERM, REAL_PATH);
	ck_assert_int_eq(detector.state, EPOCH_ABSENT);
	ck_assert_ptr_nonnull(strstr(detector.why, strerror(EPERM)));
	/* Not a log: at its end at once, or not to be read. */
	detector.ops->start(&detector, open("/dev/null", O_RDONLY | O_CLOEXEC), REAL_PATH);
	ck_assert_int_eq(detector.state, EPOCH_ABSENT);
	detector.ops->start(&detector, open("/dev/null", O_WRONLY | O_CLOEXEC), REAL_PATH);
	ck_assert_int_eq(detector.state, EPOCH_ABSENT);
	detector.ops->start(&detector, open("/", O_RDONLY | O_CLOEXEC), REAL_PATH);
	ck_assert_int_eq(detector.state, EPOCH_ABSENT);
	ck_assert_int_eq(detector.fd, -1);
	ck_assert(!detector.watch);
	ck_assert_uint_eq(support_fd_count(getpid()), fds);
}
END_TEST

/* The real log, or -1. Blocking, as a service manager may hand it over, and read to its end. */
static int open_real(int flags)
{
	int fd = open(REAL_PATH, flags | O_CLOEXEC);

	if (fd < 0)
		printf("SKIP: %s: %s\n", REAL_PATH, strerror(errno));
	return fd;
}

/* Every record the kernel really writes is understood. */
START_TEST(the_real_log)
{
	uint64_t sequence, first = 0, last = 0, count = 0;
	int fd = open_real(O_RDONLY), other;
	char bytes[8193];
	ssize_t n;

	if (fd < 0)
		return;
	lseek(fd, 0, SEEK_END); /* somebody read it before us */
	detector.fd = fd;
	start();
	ck_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
	other = open_real(O_RDONLY | O_NONBLOCK);
	ck_assert_int_ge(other, 0);
	while ((n = read(other, bytes, sizeof(bytes) - 1)) > 0) {
		bytes[n] = '\0';
		ck_assert_int_eq(sscanf(bytes, "%*u,%" SCNu64 ",", &sequence), 1);
		if (count++ == 0)
			first = sequence;
		last = sequence;
	}
	ck_assert_int_eq(n, -1);
	ck_assert_int_eq(errno, EAGAIN);
	close(other);
	(void)look();
	ck_assert_uint_gt(count, 0);
	ck_assert_uint_le(detector.own.kmsg.whole_from, first);
	ck_assert_uint_gt(saved_sequence(), last);
	ck_assert_int_eq(detector.state, EPOCH_ACTIVE);
	/* Whatever happened here: no line of user space is a fork. */
	ck_assert(recall(saved_sequence()) == EPOCH_RECALL_SAME);
}
END_TEST

/* User space writes the line in every way it can: the kernel marks it, and the detector sees it. */
START_TEST(real_look_alikes)
{
	static const char *const lines[] = {
	    FORK,
	    "<0>" FORK,
	    "<5>" FORK "\n",
	    "<13>" FORK,
	    "<2048>" FORK, /* a facility beyond a byte */
	    "<4294967301>" FORK,
	    "rngd test\n" FORK "\n",
	    "5,1,1,-;" FORK "\n",
	};
	const size_t count = sizeof(lines) / sizeof(lines[0]);
	int fd = open_real(O_RDONLY), writer;
	uint64_t before;

	if (fd < 0)
		return;
	detector.fd = fd;
	start();
	detector.own.kmsg.alone = false;
	writer = open_real(O_WRONLY);
	if (writer < 0)
		return;
	before = saved_sequence();
	for (size_t i = 0; i < count; i++) {
		if (write(writer, lines[i], strlen(lines[i])) < 0)
			printf("SKIP: writing to %s: %s\n", REAL_PATH, strerror(errno));
		ck_assert_msg(look() == EPOCH_SAME, "%s", lines[i]);
	}
	close(writer);
	if (saved_sequence() < before + count)
		printf("SKIP: the kernel took only %" PRIu64 " of %zu lines of user space\n",
		       saved_sequence() - before, count);
	ck_assert_int_eq(detector.state, EPOCH_ACTIVE);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("epoch_kmsg");
	TCase *tcase = tcase_create("epoch_kmsg");
	SRunner *sr = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 2 * SUPPORT_TIMEOUT_S);
	tcase_add_test(tcase, row);
	tcase_add_test(tcase, fork_line);
	tcase_add_test(tcase, fork_line_forms);
	tcase_add_test(tcase, look_alikes);
	tcase_add_test(tcase, malformed);
	tcase_add_test(tcase, what_the_buffer_held);
	tcase_add_test(tcase, gap_in_the_sequence);
	tcase_add_test(tcase, lost_records);
	tcase_add_test(tcase, long_record);
	tcase_add_test(tcase, fails);
	tcase_add_test(tcase, older_records);
	tcase_add_test(tcase, flood);
	tcase_add_test(tcase, start_reads_all);
	tcase_add_test(tcase, recall_of_a_lossy_log);
	tcase_add_test(tcase, empty_log);
	tcase_add_test(tcase, absent);
	tcase_add_test(tcase, the_real_log);
	tcase_add_test(tcase, real_look_alikes);
	suite_add_tcase(suite, tcase);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
