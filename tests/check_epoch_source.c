/*
 * check_epoch_source - the detector over a word in a file. Owns: a file in /tmp, and what a kernel
 * with RNDEPOCH would answer. May touch: /dev/zero and /dev/urandom, by reading. Never does: write
 * to a device.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/epoch.h"
#include "tests/support.h"

#define RNDEPOCH _IO('R', 0x08)

/* What pread(), munmap() and ioctl() below do instead of the C library's. */
static struct {
	int pread_errno;    /* 0: the real one */
	int interrupted;    /* give EINTR so often first */
	int rndepoch;       /* a descriptor, a negative errno, or 0: ask the kernel */
	unsigned int asked; /* for RNDEPOCH */
	int unmapped;
} stage;

static struct epoch_detector detector;
static char path[64];
static size_t fds_before;

ssize_t pread(int fd, void *buf, size_t len, off_t offset)
{
	if (stage.interrupted > 0) {
		stage.interrupted--;
		errno = EINTR;
		return -1;
	}
	if (stage.pread_errno) {
		errno = stage.pread_errno;
		return -1;
	}
	return syscall(SYS_pread64, fd, buf, len, offset);
}

int munmap(void *addr, size_t len)
{
	stage.unmapped++;
	return (int)syscall(SYS_munmap, addr, len);
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list args;
	void *argument;

	va_start(args, request);
	argument = va_arg(args, void *);
	va_end(args);
	stage.asked += request == RNDEPOCH;
	if (request != RNDEPOCH || stage.rndepoch == 0)
		return (int)syscall(SYS_ioctl, fd, request, argument);
	if (stage.rndepoch > 0)
		return stage.rndepoch;
	errno = -stage.rndepoch;
	return -1;
}

static void reset(void)
{
	memset(&detector, 0, sizeof(detector));
	memset(&stage, 0, sizeof(stage));
	detector.ops = &epoch_source_ops;
	detector.fd = -1;
}

static void setup(void)
{
	int fd;

	strcpy(path, "/tmp/rngd-source.XXXXXX");
	fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	close(fd);
	fds_before = support_fd_count(getpid());
	reset();
}

static void teardown(void)
{
	unlink(path);
}

static void store(uint32_t word)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pwrite(fd, &word, sizeof(word), 0), sizeof(word));
	close(fd);
}

static void begin(void)
{
	epoch_source_ops.start(&detector, open(path, O_RDONLY | O_CLOEXEC), path);
}

static enum epoch_change look(void)
{
	return epoch_source_ops.look(&detector, EPOCH_BEFORE);
}

static void end(void)
{
	int maps = detector.own.source.word != NULL;

	epoch_source_ops.stop(&detector);
	ck_assert_int_eq(stage.unmapped, maps);
	if (detector.fd >= 0)
		close(detector.fd);
	ck_assert_ptr_null(detector.own.source.word);
	ck_assert_uint_eq(support_fd_count(getpid()), fds_before);
}

static void is_absent(const char *why)
{
	ck_assert_int_eq(detector.state, EPOCH_ABSENT);
	ck_assert_str_eq(detector.why, why);
	ck_assert_uint_eq(detector.saved.bytes, 0);
	end();
}

static void holds(uint32_t word)
{
	ck_assert_uint_eq(detector.value_bytes, sizeof(word));
	ck_assert_mem_eq(detector.value, &word, sizeof(word));
	ck_assert_uint_eq(detector.saved.bytes, sizeof(word));
	ck_assert_mem_eq(detector.saved.value, &word, sizeof(word));
	ck_assert_uint_eq(detector.notifier, EPOCH_PAGE_SOURCE);
}

START_TEST(row)
{
	ck_assert_str_eq(epoch_source_ops.name, "epoch_source");
	ck_assert_uint_eq(epoch_source_ops.notifier, EPOCH_PAGE_SOURCE);
	ck_assert(epoch_source_ops.says_cloned);
	ck_assert(epoch_source_ops.cheap);
	ck_assert_int_eq(epoch_source_ops.poll_ms, 100);
}
END_TEST

/* Read and, where the file cannot be read, mapped: one behaviour. */
START_TEST(changed_is_cloned)
{
	uint32_t word = 7;

	store(word);
	stage.pread_errno = _i ? EIO : 0;
	begin();
	ck_assert_int_eq(detector.state, EPOCH_ACTIVE);
	ck_assert_int_eq(detector.own.source.word != NULL, _i);
	ck_assert(!detector.watch);
	holds(word);
	ck_assert_int_eq(look(), EPOCH_SAME);
	/* Each byte counts, and 0 is a word like any. */
	for (unsigned int bit = 0; bit < 32; bit++) {
		word ^= 1u << bit;
		store(word);
		ck_assert_int_eq(look(), EPOCH_CLONED);
		holds(word);
		ck_assert_int_eq(look(), EPOCH_SAME);
	}
	store(0);
	ck_assert_int_eq(look(), EPOCH_CLONED);
	holds(0);
	end();
}
END_TEST

START_TEST(recalls)
{
	struct epoch_page_saved saved;

	store(0x01000005);
	begin();
	saved = detector.saved;
	ck_assert_int_eq(epoch_source_ops.recall(&detector, &saved), EPOCH_RECALL_SAME);
	for (size_t i = 0; i < sizeof(uint32_t); i++) {
		saved.value[i] ^= 1;
		ck_assert_int_eq(epoch_source_ops.recall(&detector, &saved), EPOCH_RECALL_CLONED);
		saved.value[i] ^= 1;
	}
	/* Nothing, and things saved by something else. */
	for (uint32_t bytes = 0; bytes <= EPOCH_PAGE_SAVED_BYTES; bytes++) {
		saved.bytes = bytes;
		ck_assert_int_eq(epoch_source_ops.recall(&detector, &saved),
				 bytes == 4 ? EPOCH_RECALL_SAME : EPOCH_RECALL_UNKNOWN);
	}
	saved.bytes = UINT32_MAX;
	ck_assert_int_eq(epoch_source_ops.recall(&detector, &saved), EPOCH_RECALL_UNKNOWN);
	end();
}
END_TEST

START_TEST(short_file)
{
	for (off_t bytes = 0; bytes < 4; bytes++) {
		reset();
		ck_assert_int_eq(truncate(path, bytes), 0);
		stage.pread_errno = _i ? EIO : 0;
		begin();
		is_absent("the file is shorter than its 4 bytes");
	}
	reset();
	ck_assert_int_eq(truncate(path, 4), 0);
	begin();
	ck_assert_int_eq(detector.state, EPOCH_ACTIVE);
	end();
}
END_TEST

/* Cut while it is watched: known and said, not the end of the process. */
START_TEST(truncated_file)
{
	store(7);
	begin();
	ck_assert_int_eq(truncate(path, 3), 0);
	ck_assert_int_eq(look(), EPOCH_CLONED);
	ck_assert_int_eq(detector.state, EPOCH_FAILED);
	ck_assert_str_eq(detector.why, "the file was cut short");
	end();
}
END_TEST

START_TEST(unreadable_later)
{
	store(7);
	begin();
	stage.interrupted = 5; /* no reason to give up */
	ck_assert_int_eq(look(), EPOCH_SAME);
	ck_assert_int_eq(stage.interrupted, 0);
	stage.pread_errno = EIO;
	ck_assert_int_eq(look(), EPOCH_CLONED);
	ck_assert_int_eq(detector.state, EPOCH_FAILED);
	end();
}
END_TEST

START_TEST(not_opened)
{
	epoch_source_ops.start(&detector, -EACCES, path);
	is_absent("open: Permission denied");
	reset();
	epoch_source_ops.start(&detector, -ENOENT, path); /* a path was given: that one or none */
	is_absent("open: No such file or directory");
	ck_assert_uint_eq(stage.asked, 0);
}
END_TEST

START_TEST(not_for_this)
{
	int fds[2];

	epoch_source_ops.start(&detector, open("/tmp", O_RDONLY | O_CLOEXEC), "/tmp");
	ck_assert_int_eq(detector.state, EPOCH_ABSENT);
	end();
	reset();
	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	close(fds[1]);
	epoch_source_ops.start(&detector, fds[0], "pipe");
	ck_assert_int_eq(detector.state, EPOCH_ABSENT);
	end();
	reset();
	epoch_source_ops.start(&detector, open(path, O_WRONLY | O_CLOEXEC), path);
	ck_assert_int_eq(detector.state, EPOCH_ABSENT);
	end();
}
END_TEST

/* Of the form of /dev/sysgenid: a device that maps. */
START_TEST(device)
{
	epoch_source_ops.start(&detector, open("/dev/zero", O_RDONLY | O_CLOEXEC), "/dev/zero");
	ck_assert_int_eq(detector.state, EPOCH_ACTIVE);
	ck_assert_ptr_nonnull(detector.own.source.word);
	holds(0);
	ck_assert_int_eq(look(), EPOCH_SAME);
	end();
}
END_TEST

START_TEST(rndepoch_today)
{
	epoch_source_ops.start(&detector, -ENOENT, NULL);
	ck_assert_uint_eq(stage.asked, 1);
	if (detector.state == EPOCH_ABSENT)
		is_absent("this kernel has no RNDEPOCH");
	else
		end(); /* a kernel that has it after all */
}
END_TEST

START_TEST(rndepoch_refused)
{
	stage.rndepoch = -EPERM;
	epoch_source_ops.start(&detector, -ENOENT, NULL);
	is_absent("RNDEPOCH: Operation not permitted");
	reset();
	stage.rndepoch = 1000; /* an answer that is no descriptor */
	epoch_source_ops.start(&detector, -ENOENT, NULL);
	ck_assert_int_eq(detector.state, EPOCH_ABSENT);
	ck_assert_int_eq(detector.fd, -1);
	end();
}
END_TEST

START_TEST(rndepoch_some_day)
{
	store(0x01000001);
	stage.rndepoch = open(path, O_RDONLY);
	epoch_source_ops.start(&detector, -ENOENT, NULL);
	ck_assert_int_eq(detector.state, EPOCH_ACTIVE);
	ck_assert_int_eq(detector.fd, stage.rndepoch);
	ck_assert(fcntl(detector.fd, F_GETFD) & FD_CLOEXEC);
	holds(0x01000001);
	store(0x01000002);
	ck_assert_int_eq(look(), EPOCH_CLONED);
	end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("epoch_source");
	TCase *tcase = tcase_create("epoch_source");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tcase);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, row);
	tcase_add_loop_test(tcase, changed_is_cloned, 0, 2);
	tcase_add_test(tcase, recalls);
	tcase_add_loop_test(tcase, short_file, 0, 2);
	tcase_add_test(tcase, truncated_file);
	tcase_add_test(tcase, unreadable_later);
	tcase_add_test(tcase, not_opened);
	tcase_add_test(tcase, not_for_this);
	tcase_add_test(tcase, device);
	tcase_add_test(tcase, rndepoch_today);
	tcase_add_test(tcase, rndepoch_refused);
	tcase_add_test(tcase, rndepoch_some_day);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
