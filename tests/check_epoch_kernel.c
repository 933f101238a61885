/*
 * check_epoch_kernel - the detector over the kernel's own generation. Owns: a made-up vDSO
 * function. May touch: the kernel's generator, by adding to it. Never does: need a kernel that has
 * the vDSO function, but to say so.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "daemon/epoch.h"
#include "tests/support.h"

#define AT_GENERATION 128u

static struct epoch_detector detector;
static bool no_vdso;

/* Stands in for the C library's, so that there can be a kernel without a vDSO. */
unsigned long getauxval(unsigned long type)
{
	extern unsigned long __getauxval(unsigned long);

	return type == AT_SYSINFO_EHDR && no_vdso ? 0 : __getauxval(type);
}

static bool vdso_works(void)
{
	struct vdso vdso;
	bool works = vdso_init(&vdso) == 0;

	vdso_deinit(&vdso);
	return works;
}

static void setup(void)
{
	memset(&detector, 0, sizeof(detector));
	detector.ops = &epoch_kernel_ops;
	detector.fd = -1;
}

static void value_is(uint64_t generation)
{
	ck_assert_uint_eq(detector.value_bytes, sizeof(generation));
	ck_assert_mem_eq(detector.value, &generation, sizeof(generation));
}

/* What the made-up function leaves in its state, or the error it gives. */
static struct {
	uint64_t generation;
	ssize_t result;
} fake;

static ssize_t fake_getrandom(void *buf, size_t len, unsigned int flags, void *state,
			      size_t state_bytes)
{
	(void)flags;
	(void)state_bytes;
	if (fake.result < 0)
		return fake.result;
	memset(buf, 1, len);
	memcpy((uint8_t *)state + AT_GENERATION, &fake.generation, sizeof(fake.generation));
	return (ssize_t)len;
}

/* As after start(), with the made-up function in the vDSO's place. */
static void begin(uint64_t generation)
{
	static uint64_t state[144 / 8];
	ssize_t (*function)(void *, size_t, unsigned int, void *, size_t) = fake_getrandom;

	memset(state, 0, sizeof(state));
	fake.generation = generation;
	fake.result = 1;
	memcpy(&detector.own.kernel.vdso.call, &function, sizeof(function));
	detector.own.kernel.vdso.state = state;
	detector.own.kernel.generation = generation;
	detector.state = EPOCH_ACTIVE;
}

START_TEST(row)
{
	ck_assert_str_eq(epoch_kernel_ops.name, "kernel");
	ck_assert_uint_eq(epoch_kernel_ops.notifier, EPOCH_PAGE_KERNEL);
	ck_assert(!epoch_kernel_ops.says_cloned);
	ck_assert(epoch_kernel_ops.cheap);
	ck_assert_int_eq(epoch_kernel_ops.poll_ms, 100);
	ck_assert_ptr_null(epoch_kernel_ops.recall);
}
END_TEST

START_TEST(absent)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	size_t fds = support_fd_count(getpid());

	no_vdso = true;
	epoch_kernel_ops.start(&detector, fd, NULL);
	ck_assert_int_eq(detector.state, EPOCH_ABSENT);
	ck_assert_str_eq(detector.why, "this kernel has no vDSO getrandom");
	ck_assert_int_eq(detector.fd, -1);
	ck_assert_uint_eq(support_fd_count(getpid()), fds - 1); /* it is not needed, nor kept */
	ck_assert_uint_eq(detector.value_bytes, 0);
	epoch_kernel_ops.stop(&detector);
}
END_TEST

#ifndef RNGD_TEST_FALLBACK
START_TEST(moved_is_aged)
{
	begin(41);
	ck_assert_int_eq(epoch_kernel_ops.look(&detector, EPOCH_BEFORE), EPOCH_SAME);
	fake.generation = 42;
	ck_assert_int_eq(epoch_kernel_ops.look(&detector, EPOCH_BEFORE), EPOCH_AGED);
	value_is(42);
	ck_assert_int_eq(epoch_kernel_ops.look(&detector, EPOCH_BEFORE), EPOCH_SAME);
	fake.generation = 40; /* restored from an earlier picture of the machine */
	ck_assert_int_eq(epoch_kernel_ops.look(&detector, EPOCH_ALL), EPOCH_AGED);
	value_is(40);
	ck_assert_int_eq(epoch_kernel_ops.look(&detector, EPOCH_ALL), EPOCH_SAME);
	ck_assert_int_eq(detector.state, EPOCH_ACTIVE);
	ck_assert_uint_eq(detector.saved.bytes, 0);
}
END_TEST
#endif

/* getrandom(2) failed under it: that is said once, and how long it lasted nobody knows. */
START_TEST(fails_and_comes_back)
{
	begin(41);
	fake.result = -EPERM;
	ck_assert_int_eq(epoch_kernel_ops.look(&detector, EPOCH_BEFORE), EPOCH_AGED);
	ck_assert_int_eq(detector.state, EPOCH_FAILED);
	ck_assert_str_ne(detector.why, "");
	ck_assert(detector.retry);
	ck_assert_int_eq(epoch_kernel_ops.look(&detector, EPOCH_ALL), EPOCH_SAME);
	ck_assert(detector.retry);
#ifndef RNGD_TEST_FALLBACK
	fake.result = 1;
	ck_assert_int_eq(epoch_kernel_ops.look(&detector, EPOCH_ALL), EPOCH_AGED);
	ck_assert_int_eq(detector.state, EPOCH_ACTIVE);
	ck_assert(!detector.retry);
	value_is(41);
	ck_assert_int_eq(epoch_kernel_ops.look(&detector, EPOCH_BEFORE), EPOCH_SAME);
#endif
}
END_TEST

START_TEST(real)
{
	size_t fds = support_fd_count(getpid());

	epoch_kernel_ops.start(&detector, -ENOENT, NULL);
	ck_assert_int_eq(detector.state, EPOCH_ACTIVE);
	ck_assert(!detector.watch);
	ck_assert_int_eq(detector.fd, -1);
	ck_assert_uint_ne(detector.own.kernel.generation, 0);
	value_is(detector.own.kernel.generation);
	/* The first reading is no change, but for a reseed just now. */
	if (epoch_kernel_ops.look(&detector, EPOCH_BEFORE) != EPOCH_SAME)
		ck_assert_int_eq(epoch_kernel_ops.look(&detector, EPOCH_BEFORE), EPOCH_SAME);
	epoch_kernel_ops.stop(&detector);
	ck_assert_ptr_null(detector.own.kernel.vdso.state);
	ck_assert_uint_eq(support_fd_count(getpid()), fds);
}
END_TEST

START_TEST(real_reseed)
{
	uint64_t generation;

	epoch_kernel_ops.start(&detector, -ENOENT, NULL);
	for (int i = 0; i < 5; i++) {
		generation = detector.own.kernel.generation;
		ck_assert(support_reseed_kernel());
		ck_assert_int_eq(epoch_kernel_ops.look(&detector, EPOCH_BEFORE), EPOCH_AGED);
		ck_assert_uint_gt(detector.own.kernel.generation, generation);
		value_is(detector.own.kernel.generation);
	}
	epoch_kernel_ops.stop(&detector);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("epoch_kernel");
	TCase *tcase = tcase_create("epoch_kernel");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tcase);
	tcase_add_checked_fixture(tcase, setup, NULL);
	tcase_add_test(tcase, row);
	tcase_add_test(tcase, absent);
#ifndef RNGD_TEST_FALLBACK
	tcase_add_test(tcase, moved_is_aged);
#endif
	tcase_add_test(tcase, fails_and_comes_back);
	if (vdso_works()) {
		tcase_add_test(tcase, real);
		if (support_reseed_kernel())
			tcase_add_test(tcase, real_reseed);
		else
			printf("SKIP: a reseed of the kernel: not permitted\n");
	} else {
		printf("SKIP: vDSO getrandom: not in this kernel or build\n");
	}
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
