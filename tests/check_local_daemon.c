/*
 * The local generator with a real daemon behind it: clones that it tells of, a daemon that stops,
 * dies, hangs and comes back, forks, threads and signals.
 */
#include <check.h>
#include <dlfcn.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/local.h" /* a seed taken shows in the marker, nowhere else */
#include "client/rngclient.h"
#include "client/rngclient_local.h"
#include "tests/support.h"

#define TIMEOUT_MS 300
#define SLACK_MS   5000  /* of a deadline on a busy machine */
#define MORE_BYTES 2048u /* than a batch */

static struct support_rngd rngd;

static void begin(void)
{
	support_start(&rngd, NULL);
}

static void end(void)
{
	support_end(&rngd);
}

static struct rngclient_local *open_local(int timeout_ms, unsigned int options)
{
	struct rngclient_local *local = NULL;

	ck_assert_int_eq(rngclient_local_open(&local, rngd.socket, timeout_ms, options), 0);
	return local;
}

static void bump(void)
{
	static uint8_t bytes[RNGCLIENT_BUMP_MIN_BYTES];
	struct rngclient *client;
	char control[128];

	snprintf(control, sizeof(control), "%s%s", rngd.socket, RNGCLIENT_CONTROL_SUFFIX);
	bytes[0]++;
	ck_assert_int_eq(rngclient_open(&client, control, 0), 0);
	ck_assert_int_eq(rngclient_bump(client, bytes, sizeof(bytes), NULL), 0);
	rngclient_close(client);
}

static bool all_zero(const uint8_t *buf, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (buf[i] != 0)
			return false;
	return true;
}

/* No two pieces of 8 bytes are alike. */
static void check_distinct(const uint8_t *buf, size_t len)
{
	for (size_t i = 0; i < len; i += 8)
		for (size_t k = 0; k < i; k += 8)
			ck_assert_mem_ne(buf + i, buf + k, 8);
}

#ifndef RNGD_TEST_FALLBACK /* which builds no shared library */
/* Each name that the library promises is there. */
START_TEST(exports)
{
	FILE *map = fopen("client/librngclient.map", "re");
	char line[128], name[64], path[256];
	int names = 0;
	void *library;

	snprintf(path, sizeof(path), "%s/librngclient.so",
		 getenv("BUILD") ? getenv("BUILD") : "build");
	library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!library) {
		printf("SKIP: exports: %s\n", dlerror());
		return;
	}
	ck_assert_ptr_nonnull(map);
	while (fgets(line, sizeof(line), map))
		if (sscanf(line, " %63[a-z0-9_];", name) == 1 && strstr(name, "rngclient_")) {
			ck_assert_msg(dlsym(library, name) != NULL, "no %s", name);
			names++;
		}
	ck_assert_int_ge(names, 23);
	fclose(map);
	dlclose(library);
}
END_TEST
#endif

START_TEST(draws)
{
	struct rngclient_local *local = open_local(0, 0);
	static uint8_t big[300000];
	uint8_t buf[MORE_BYTES];
	size_t lengths[] = {1, 7, 8, 31, 255, 256, 257, 1023, 1024, 1025, sizeof(buf)};

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		memset(buf, 0, sizeof(buf));
		ck_assert_int_eq(rngclient_local_bytes(local, buf, lengths[i]), 0);
		ck_assert(all_zero(buf + lengths[i], sizeof(buf) - lengths[i]));
		ck_assert(lengths[i] < 8 || !all_zero(buf + lengths[i] - 8, 8));
		check_distinct(buf, lengths[i] / 8 * 8);
	}
	ck_assert_int_eq(rngclient_local_bytes(local, big, sizeof(big)), 0);
	for (size_t i = 64; i + 64 <= sizeof(big); i += 64)
		ck_assert_mem_ne(big + i, big + i - 64, 64);
	rngclient_local_close(local);
}
END_TEST

START_TEST(clones)
{
	struct rngclient_local *local = open_local(0, 0);
	uint8_t all[64 * 16];
	uint64_t seeds;

	for (int i = 0; i < 64; i++) {
		ck_assert_int_eq(rngclient_local_bytes(local, all + i % 64 * 16, 16), 0);
		seeds = local->marker;
		bump();
		ck_assert_int_eq(rngclient_local_bytes(local, all + i % 64 * 16, 16), 0);
		ck_assert_uint_gt(local->marker, seeds);
	}
	check_distinct(all, sizeof(all));
	rngclient_local_close(local);
}
END_TEST

/* A clone that only the hypervisor's page tells of: this daemon does not have it. */
START_TEST(clock_page)
{
	struct rngclient_local *local = open_local(0, 0);
	int fd = memfd_create("vmclock", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	const size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
	uint8_t buf[MORE_BYTES];
	uint32_t *page;
	uint64_t seeds;

	ck_assert_int_eq(ftruncate(fd, (off_t)page_bytes), 0);
	ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	page = mmap(NULL, page_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(page, MAP_FAILED);
	ck_assert_int_eq(rngclient_local_vmclock(local, fd), -EINVAL);
	page[0] = htole32(0x4b4c4356);
	page[1] = htole32(112);
	page[2] = htole32(1);      /* version */
	page[6] = htole32(1 << 8); /* there is a counter */
	ck_assert_int_eq(rngclient_local_vmclock(local, fd), 0);
	close(fd);
	for (int i = 0; i < 16; i++) {
		seeds = local->marker;
		page[26] = htole32((uint32_t)i + 1); /* the counter's low half */
		for (size_t k = 0; k < sizeof(buf); k += 256)
			ck_assert_int_eq(rngclient_local_bytes(local, buf + k, 256), 0);
		ck_assert_uint_gt(local->marker, seeds);
		check_distinct(buf, 256);
	}
	rngclient_local_close(local);
	munmap(page, page_bytes);
}
END_TEST

/* Orderly: the page says at once that nobody watches. Then it comes back. */
START_TEST(stopped_and_back)
{
	struct rngclient_local *local = open_local(TIMEOUT_MS, 0);
	struct rngclient_local *other = open_local(TIMEOUT_MS, RNGCLIENT_LOCAL_GETRANDOM);
	uint8_t buf[MORE_BYTES];
	int64_t start;
	int err;

	support_stop(&rngd);
	start = support_now_ms();
	memset(buf, 1, sizeof(buf));
	err = rngclient_local_bytes(local, buf, sizeof(buf));
	ck_assert_msg(err == -ENOENT || err == -ECONNREFUSED, "%d", err);
	ck_assert(all_zero(buf, sizeof(buf)));
	ck_assert_int_lt(support_now_ms() - start, TIMEOUT_MS + SLACK_MS);
	ck_assert_int_eq(rngclient_local_bytes(other, buf, sizeof(buf)), 0);
	check_distinct(buf, 256);
	ck_assert_int_ge(other->alone_until_ns, 1);
	support_restart(&rngd, NULL);
	ck_assert_int_eq(rngclient_local_bytes(local, buf, sizeof(buf)), 0);
	check_distinct(buf, 256);
	rngclient_local_close(local);
	rngclient_local_close(other);
	support_stop(&rngd);
	ck_assert_int_ne(rngclient_local_open(&local, rngd.socket, TIMEOUT_MS, 0), 0);
	ck_assert_ptr_null(local);
	ck_assert_int_eq(
	    rngclient_local_open(&local, rngd.socket, TIMEOUT_MS, RNGCLIENT_LOCAL_GETRANDOM), 0);
	ck_assert_int_eq(rngclient_local_bytes(local, buf, sizeof(buf)), 0);
	rngclient_local_close(local);
}
END_TEST

struct silence {
	struct rngclient_local *local;
	uint8_t buf[MORE_BYTES];
	int err;
};

static bool is_refused(void *arg)
{
	struct silence *silence = arg;

	silence->err = rngclient_local_bytes(silence->local, silence->buf, sizeof(silence->buf));
	return silence->err != 0;
}

/* Without a word: the lease passes, and what comes then is an error within the deadline. */
static void wait_for_silence(struct rngclient_local *local, int *err)
{
	struct silence silence = {.local = local};
	int64_t start;

	ck_assert(support_wait(is_refused, &silence));
	ck_assert(all_zero(silence.buf, sizeof(silence.buf)));
	start = support_now_ms();
	*err = rngclient_local_bytes(local, silence.buf, sizeof(silence.buf));
	ck_assert_int_ne(*err, 0);
	ck_assert_int_lt(support_now_ms() - start, TIMEOUT_MS + SLACK_MS);
}

START_TEST(killed)
{
	struct rngclient_local *local = open_local(TIMEOUT_MS, 0);
	int err;

	support_kill(&rngd);
	wait_for_silence(local, &err);
	ck_assert_msg(err == -ENOENT || err == -ECONNREFUSED, "%d", err);
	rngclient_local_close(local);
}
END_TEST

START_TEST(hung)
{
	struct rngclient_local *local = open_local(TIMEOUT_MS, 0);
	uint8_t byte;
	int err;

	ck_assert_int_eq(kill(rngd.pid, SIGSTOP), 0);
	wait_for_silence(local, &err);
	ck_assert_int_eq(err, -ETIMEDOUT);
	ck_assert_int_eq(kill(rngd.pid, SIGCONT), 0);
	rngclient_local_close(local);
	local = open_local(0, 0);
	ck_assert_int_eq(rngclient_local_bytes(local, &byte, 1), 0);
	rngclient_local_close(local);
}
END_TEST

#define FORK_BYTES 32

START_TEST(forks)
{
	struct rngclient_local *local = open_local(0, 0);
	uint8_t *seen = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint8_t *ours = seen, *theirs = seen + FORK_BYTES, *before = seen + 2 * FORK_BYTES;
	int status;
	pid_t pid;

	ck_assert_int_eq(rngclient_local_bytes(local, seen, (size_t)3 * FORK_BYTES), 0);
	for (int i = 0; i < 100; i++) {
		memcpy(before, theirs, FORK_BYTES);
		pid = fork();
		ck_assert_int_ge(pid, 0);
		if (pid == 0)
			_exit(rngclient_local_bytes(local, theirs, FORK_BYTES) == 0 ? 0 : 1);
		ck_assert_int_eq(rngclient_local_bytes(local, ours, FORK_BYTES), 0);
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert_int_eq(status, 0);
		check_distinct(seen, 3 * FORK_BYTES);
	}
	munmap(seen, 4096);
	rngclient_local_close(local);
}
END_TEST

/* ---- threads ---- */

#define THREADS 8

static atomic_bool stop;
static _Atomic int failures;

static void *draw_for_long(void *arg)
{
	uint64_t number, last = 0;
	int err = rngclient_local_open_thread(arg, 0, 0);

	while (!err && !stop) {
		err = rngclient_local_u64(NULL, &number);
		if (number == last)
			err = -EPROTO;
		last = number;
	}
	if (err)
		failures++;
	return NULL;
}

START_TEST(threads)
{
	pthread_t thread[THREADS];

	stop = false;
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&thread[i], NULL, draw_for_long, rngd.socket), 0);
	for (int i = 0; i < 10; i++) {
		bump();
		ck_assert_int_eq(rngclient_after_fork(0), 0);
	}
	stop = true;
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_join(thread[i], NULL), 0);
	ck_assert_int_eq(failures, 0);
}
END_TEST

/* ---- signals ---- */

static struct rngclient_local *in_signal;
static volatile sig_atomic_t signals, refused, odd;
static volatile uint64_t from_signal;

static void on_alarm(int sig)
{
	uint64_t number;
	int saved_errno = errno, err = rngclient_local_u64(in_signal, &number);

	(void)sig;
	signals++;
	if (err == -EDEADLK && number == 0)
		refused++;
	else if (err || number == from_signal)
		odd++;
	from_signal = number;
	errno = saved_errno;
}

START_TEST(signal_storm)
{
	const struct itimerval often = {{0, 200}, {0, 200}}, never = {{0, 0}, {0, 0}};
	struct sigaction action = {.sa_handler = on_alarm};
	int64_t until = support_now_ms() + 20000;
	static uint8_t big[100000];
	uint64_t number;

	in_signal = open_local(0, 0);
	ck_assert_int_eq(sigaction(SIGALRM, &action, NULL), 0);
	ck_assert_int_eq(setitimer(ITIMER_REAL, &often, NULL), 0);
	while ((signals < 500 || refused < 5) && support_now_ms() < until) {
		ck_assert_int_eq(rngclient_local_u64(in_signal, &number), 0);
		ck_assert_uint_ne(number, from_signal);
		ck_assert_int_eq(rngclient_local_bytes(in_signal, big, sizeof(big)), 0);
	}
	ck_assert_int_eq(setitimer(ITIMER_REAL, &never, NULL), 0);
	ck_assert_int_gt(signals, 0);
	ck_assert_int_gt(refused, 0);
	ck_assert_int_eq(odd, 0);
	rngclient_local_close(in_signal);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("local_daemon");
	TCase *tcase = tcase_create("local_daemon");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tcase, begin, end);
	tcase_set_timeout(tcase, 120);
#ifndef RNGD_TEST_FALLBACK
	tcase_add_test(tcase, exports);
#endif
	tcase_add_test(tcase, draws);
	tcase_add_test(tcase, clones);
	tcase_add_test(tcase, clock_page);
	tcase_add_test(tcase, stopped_and_back);
	tcase_add_test(tcase, killed);
	tcase_add_test(tcase, hung);
	tcase_add_test(tcase, forks);
	tcase_add_test(tcase, threads);
	tcase_add_test(tcase, signal_storm);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
