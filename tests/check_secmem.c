/*
 * check_secmem - what host/secmem promises, as the kernel sees it. Owns: its children. May touch:
 * /proc/self. Never does: believe a flag of struct secmem that it can look up.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host/secmem.h"

#define UNPRIVILEGED_ID 65534u
#define FLAGS_BYTES     256u

/* These sanitizers put an mlock() that does nothing before the C library's. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MLOCK_IS_FAKE true
#else
#define MLOCK_IS_FAKE false
#endif

#ifdef RNGD_TEST_FALLBACK
#define MARKER "rngd-secmem-mark"
#else
#define MARKER ""
#endif
#define MARKER_BYTES (sizeof(MARKER) - 1)

/* What munmap() below saw of the allocation that is being freed. */
struct watch {
	const uint8_t *data; /* NULL: not watching */
	size_t data_bytes;
	bool unmapped;
	size_t nonzero_bytes;
};

static struct watch watch;

/* Stands in for the C library's: the last moment at which freed memory can be looked at. */
int munmap(void *addr, size_t len)
{
	uintptr_t start = (uintptr_t)addr, data = (uintptr_t)watch.data;

	if (watch.data && data >= start && data < start + len) {
		watch.unmapped = true;
		for (size_t i = 0; i < watch.data_bytes; i++)
			watch.nonzero_bytes += watch.data[i] != 0;
		watch.data = NULL;
	}
	return (int)syscall(SYS_munmap, addr, len);
}

static size_t page_bytes(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

static bool kernel_has_memfd_secret(void)
{
#if defined(RNGD_TEST_FALLBACK) || !defined(SYS_memfd_secret)
	return false;
#else
	int fd = (int)syscall(SYS_memfd_secret, 0);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
#endif
}

/* Lines of /proc/self/maps that overlap the range; all of them for a range of everything. */
static size_t count_mappings(const void *data, size_t len)
{
	FILE *file = fopen("/proc/self/maps", "re");
	uintptr_t at = (uintptr_t)data;
	unsigned long start, end;
	char line[512];
	size_t n = 0;

	if (!file)
		return SIZE_MAX;
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2 && start < at + len && end > at)
			n++;
	fclose(file);
	return n;
}

static size_t count_fds(void)
{
	size_t n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* The VmFlags line of the mapping that begins at data. */
static void vm_flags(const void *data, char flags[FLAGS_BYTES])
{
	FILE *file = fopen("/proc/self/smaps", "re");
	unsigned long start = 0, end;
	char line[512];
	bool ours = false;

	ck_assert_ptr_nonnull(file);
	flags[0] = '\0';
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2 && strchr(line, '-'))
			ours = start == (uintptr_t)data;
		if (ours && strncmp(line, "VmFlags:", 8) == 0)
			snprintf(flags, FLAGS_BYTES, "%.*s", (int)FLAGS_BYTES - 1, line + 8);
	}
	fclose(file);
	ck_assert_msg(flags[0] != '\0', "no mapping begins at the data");
}

/* Exit status of fn(arg) in a child, or minus the signal that ended it. */
static int in_child(int (*fn)(void *), void *arg)
{
	pid_t pid = fork();
	int status;

	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		_exit(fn(arg));
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

/* Both ways of asking, a small and a larger allocation. */
struct wish {
	size_t bytes;
	bool use_memfd_secret;
};

static const struct wish wishes[] = {{1, true}, {1, false}, {81960, true}, {81960, false}};

START_TEST(test_properties)
{
	const struct wish *wish = &wishes[_i];
	static const char *const flags_wanted[] = {" dd ", " dc ", " rd ", " wr ", " lo "};
	struct secmem mem;
	char flags[FLAGS_BYTES];
	uint8_t *data;

	ck_assert_int_eq(secmem_alloc(&mem, wish->bytes, wish->use_memfd_secret), 0);
	data = mem.data;
	ck_assert_uint_ge(mem.data_bytes, wish->bytes);
	ck_assert_uint_lt(mem.data_bytes, wish->bytes + page_bytes());
	ck_assert_uint_eq((uintptr_t)data % page_bytes(), 0);
	for (size_t i = 0; i < mem.data_bytes - MARKER_BYTES; i++)
		ck_assert_uint_eq(data[i], 0);
	ck_assert_mem_eq(data + mem.data_bytes - MARKER_BYTES, MARKER, MARKER_BYTES);

	ck_assert(mem.locked && mem.dontdump && mem.dontfork);
	ck_assert_int_eq(mem.secret, wish->use_memfd_secret && kernel_has_memfd_secret());
	vm_flags(data, flags);
	for (size_t i = 0; i < sizeof(flags_wanted) / sizeof(flags_wanted[0]) - MLOCK_IS_FAKE; i++)
		ck_assert_msg(strstr(flags, flags_wanted[i]) != NULL, "no%sin%s", flags_wanted[i],
			      flags);
	secmem_free(&mem);
}
END_TEST

/* memfd_secret memory cannot be read from outside; the other can, which proves the reading. */
START_TEST(test_secret_is_unreadable)
{
	const struct wish *wish = &wishes[_i];
	char copy[8] = "";
	struct secmem mem;
	ssize_t n;
	int fd;

	ck_assert_int_eq(secmem_alloc(&mem, wish->bytes, wish->use_memfd_secret), 0);
	memcpy(mem.data, "secret!", 8);
	fd = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	n = pread(fd, copy, sizeof(copy), (off_t)(uintptr_t)mem.data);
	if (mem.secret) {
		ck_assert_int_eq(n, -1);
		ck_assert_int_eq(errno, EIO);
	} else {
		ck_assert_int_eq(n, sizeof(copy));
		ck_assert_str_eq(copy, "secret!");
	}
	close(fd);
	secmem_free(&mem);
}
END_TEST

static uint8_t *volatile fault_expected;

static void fault(int signal_number, siginfo_t *info, void *context)
{
	(void)signal_number;
	(void)context;
	_exit(info->si_addr == fault_expected ? 42 : 43);
}

struct touch {
	struct wish wish;
	bool after;
	bool write;
};

/* Allocates here: a mapping from before the fork would be gone anyway. */
static int touch_guard(void *arg)
{
	const struct sigaction action = {.sa_sigaction = fault, .sa_flags = SA_SIGINFO};
	const struct touch *touch = arg;
	volatile uint8_t *data;
	struct secmem mem;

	if (secmem_alloc(&mem, touch->wish.bytes, touch->wish.use_memfd_secret) != 0 ||
	    sigaction(SIGSEGV, &action, NULL) < 0)
		return 1;
	data = mem.data;
	data[0] = 1; /* the first and the last byte are ours ... */
	data[mem.data_bytes - 1] = 1;
	fault_expected = (uint8_t *)mem.data + (touch->after ? (ptrdiff_t)mem.data_bytes : -1);
	if (touch->write)
		*(volatile uint8_t *)fault_expected = 1; /* ... and their neighbours are not */
	else
		(void)*(volatile uint8_t *)fault_expected;
	return 2;
}

START_TEST(test_guard_pages)
{
	struct touch touch = {.wish = wishes[_i / 4], .after = _i & 1, .write = _i & 2};

	ck_assert_int_eq(in_child(touch_guard, &touch), 42);
}
END_TEST

static int look_at_inherited(void *arg)
{
	const struct sigaction action = {.sa_sigaction = fault, .sa_flags = SA_SIGINFO};
	const struct secmem *mem = arg;

	if (count_mappings(mem->data, mem->data_bytes) != 0)
		return 1;
	fault_expected = mem->data;
	if (sigaction(SIGSEGV, &action, NULL) < 0)
		return 2;
	(void)*(volatile uint8_t *)mem->data;
	return 3;
}

START_TEST(test_not_in_children)
{
	struct secmem mem;

	ck_assert_int_eq(secmem_alloc(&mem, wishes[_i].bytes, wishes[_i].use_memfd_secret), 0);
	ck_assert_uint_eq(count_mappings(mem.data, mem.data_bytes), 1);
	ck_assert_int_eq(in_child(look_at_inherited, &mem), 42);
	secmem_free(&mem);
}
END_TEST

START_TEST(test_wiped_when_freed)
{
	const struct secmem zero = {0};
	struct secmem mem;
	size_t mappings, fds;
	uint8_t *data;

	fds = count_fds();
	ck_assert_int_eq(secmem_alloc(&mem, wishes[_i].bytes, wishes[_i].use_memfd_secret), 0);
	ck_assert_uint_eq(count_fds(), fds);
	data = mem.data;
	memset(data, 0xee, mem.data_bytes);
	watch = (struct watch){.data = data, .data_bytes = mem.data_bytes};
	mappings = count_mappings(mem.map, mem.map_bytes);
	ck_assert_uint_ge(mappings, 3);
	secmem_free(&mem);
	ck_assert(watch.unmapped);
	ck_assert_uint_eq(watch.nonzero_bytes, 0);
	ck_assert_mem_eq(&mem, &zero, sizeof(mem));
	ck_assert_uint_eq(count_mappings(data - page_bytes(), 3 * page_bytes()), 0);
	secmem_free(&mem); /* a zeroed struct is allowed */
}
END_TEST

/* Fails, leaves *mem zeroed and leaks nothing: 0, or a number that says what was wrong. */
static int fails_cleanly(size_t bytes, bool use_memfd_secret, int err_a, int err_b)
{
	const struct secmem zero = {0};
	struct secmem mem;
	size_t mappings, fds;
	int err;

	memset(&mem, 0xff, sizeof(mem));
	count_mappings(NULL, SIZE_MAX); /* stdio allocates its buffer once */
	mappings = count_mappings(NULL, SIZE_MAX);
	fds = count_fds();
	err = secmem_alloc(&mem, bytes, use_memfd_secret);
	if (err != err_a && err != err_b)
		return 1;
	if (memcmp(&mem, &zero, sizeof(mem)) != 0)
		return 2;
	if (count_mappings(NULL, SIZE_MAX) != mappings)
		return 3;
	return count_fds() != fds ? 4 : 0;
}

START_TEST(test_bad_sizes)
{
	ck_assert_int_eq(fails_cleanly(0, _i, -EINVAL, -EINVAL), 0);
	ck_assert_int_eq(fails_cleanly(SIZE_MAX, _i, -EINVAL, -EINVAL), 0);
	ck_assert_int_eq(fails_cleanly(SIZE_MAX / 2, _i, -ENOMEM, -ENOMEM), 0);
}
END_TEST

static int without_memlock(void *arg)
{
	const struct rlimit none = {0, 0};
	const bool *use_memfd_secret = arg;

	if (setrlimit(RLIMIT_MEMLOCK, &none) < 0)
		return 10;
	if (geteuid() == 0 && (setresgid(UNPRIVILEGED_ID, UNPRIVILEGED_ID, UNPRIVILEGED_ID) < 0 ||
			       setresuid(UNPRIVILEGED_ID, UNPRIVILEGED_ID, UNPRIVILEGED_ID) < 0))
		return 11;
	return fails_cleanly(81960, *use_memfd_secret, -EPERM, -ENOMEM);
}

START_TEST(test_memory_that_cannot_be_locked)
{
	bool use_memfd_secret = _i;

	ck_assert_int_eq(in_child(without_memlock, &use_memfd_secret), 0);
}
END_TEST

START_TEST(test_wipe)
{
	uint8_t buf[64];

	memset(buf, 0xee, sizeof(buf));
	wipe(buf + 1, sizeof(buf) - 2);
	ck_assert_uint_eq(buf[0], 0xee);
	ck_assert_uint_eq(buf[sizeof(buf) - 1], 0xee);
	for (size_t i = 1; i < sizeof(buf) - 1; i++)
		ck_assert_uint_eq(buf[i], 0);
}
END_TEST

#ifndef RNGD_SANITIZER
#define SPILL_BYTES (SECMEM_STACK_BYTES - 512u)

static volatile uintptr_t spilled;

__attribute__((noinline)) static void spill(void)
{
	volatile uint8_t secret[SPILL_BYTES];

	for (size_t i = 0; i < sizeof(secret); i++)
		secret[i] = 0xee;
	spilled = (uintptr_t)secret;
}

/* Bytes of spill()'s dead frame that are still there. Calls nothing before it has counted. */
static size_t count_spilled(bool wipe_first)
{
	const volatile uint8_t *dead;
	size_t n = 0;

	spill();
	if (wipe_first)
		wipe_stack();
	dead = (const volatile uint8_t *)spilled;
	for (size_t i = 0; i < SPILL_BYTES; i++)
		n += dead[i] == 0xee;
	return n;
}

START_TEST(test_wipe_stack)
{
	ck_assert_uint_gt(count_spilled(false), SPILL_BYTES - 512); /* the probe sees it */
	ck_assert_uint_eq(count_spilled(true), 0);
}
END_TEST
#endif

int main(void)
{
	Suite *suite = suite_create("secmem");
	TCase *tcase = tcase_create("secmem");
	SRunner *runner = srunner_create(suite);
	int failed, n = sizeof(wishes) / sizeof(wishes[0]);

	suite_add_tcase(suite, tcase);
	tcase_add_loop_test(tcase, test_properties, 0, n);
	tcase_add_loop_test(tcase, test_secret_is_unreadable, 0, n);
	tcase_add_loop_test(tcase, test_guard_pages, 0, 4 * n);
	tcase_add_loop_test(tcase, test_not_in_children, 0, n);
	tcase_add_loop_test(tcase, test_wiped_when_freed, 0, n);
	tcase_add_loop_test(tcase, test_bad_sizes, 0, 2);
	if (!MLOCK_IS_FAKE)
		tcase_add_loop_test(tcase, test_memory_that_cannot_be_locked, 0, 2);
	else
		printf("SKIP: locked memory: mlock() is the sanitizer's\n");
	tcase_add_test(tcase, test_wipe);
#ifndef RNGD_SANITIZER
	tcase_add_test(tcase, test_wipe_stack);
#endif
	if (!kernel_has_memfd_secret())
		printf("SKIP: memfd_secret(2): %s\n",
		       MARKER_BYTES ? "refused in this build" : "not in this kernel");
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
