/*
 * The local generator in a storm, with a real daemon behind it: forks of every kind, clones that
 * are told of, pages dropped, a daemon that is killed, stopped and hung, all while threads and
 * processes draw. Of all that any of them drew nothing may come twice, and nothing may be zero. The
 * short form is part of `make check`; RNGD_LONG makes it that of `make check-forks`.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/local.h" /* where the page is, and whether a seed was taken */
#include "client/rngclient.h"
#include "client/rngclient_local.h"
#include "proto/epoch_page.h"
#include "tests/support.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

#define DRAW_BYTES  32u
#define LARGE_BYTES 8192u /* past the batch; some microseconds */
#define TIMEOUT_MS  300
#define PATIENT_MS  20000 /* where no call may fail, on any machine */
#define SLACK_MS    5000  /* of a deadline on a busy machine */

#ifdef RNGD_SANITIZER
#define SHORT_PART 4 /* of the short form: all is dearer */
#else
#define SHORT_PART 1
#endif

static long many(long in_short, long in_long)
{
	return getenv("RNGD_LONG") ? in_long : in_short / SHORT_PART;
}

/* ---- all that was ever drawn, by whichever process ---- */

/* How much is drawn beside what is counted depends on the machine. */
#define PLACES_MIN (1u << 23)
/* More only in a set that is too full, which fails the test. */
#define PLACES_TRIED 1024

/*
 * A set with one word for each output: its first eight bytes, at a place that the next eight say.
 * A repetition meets itself. Two different ones are taken for the same, among 2^24 in 2^25 places,
 * once in some 2^38 runs.
 */
struct storm {
	_Atomic uint64_t outputs, repeats, zeros;
	_Atomic uint64_t forks, at_end, bumps, drops, calls, refused;
	_Atomic uint64_t errors; /* calls that had to succeed and did not */
	_Atomic int error;       /* one of them */
	uint64_t places;
	_Atomic uint64_t words[];
};

static struct support_rngd rngd;
static struct storm *storm;
static size_t storm_bytes;
static int64_t began_ms;

static void begin_storm(long outputs)
{
	uint64_t places = PLACES_MIN;

	while (places < 2 * (uint64_t)outputs)
		places *= 2;
	storm_bytes = sizeof(*storm) + places * sizeof(storm->words[0]);
	storm = mmap(NULL, storm_bytes, PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ck_assert_ptr_ne(storm, MAP_FAILED);
	storm->places = places;
	began_ms = support_now_ms();
}

static bool all_zero(const void *buf, size_t len)
{
	const uint8_t *at = buf;

	for (size_t i = 0; i < len; i++)
		if (at[i] != 0)
			return false;
	return true;
}

static void note(const uint8_t out[DRAW_BYTES])
{
	uint64_t word, place, there = 0;

	memcpy(&word, out, sizeof(word));
	memcpy(&place, out + sizeof(word), sizeof(place));
	storm->outputs++;
	if (all_zero(out, DRAW_BYTES))
		storm->zeros++;
	word |= word == 0; /* an empty place is 0 */
	for (uint64_t tries = 0; tries < PLACES_TRIED; tries++, there = 0) {
		if (atomic_compare_exchange_strong(
			&storm->words[(place + tries) & (storm->places - 1)], &there, word))
			return;
		if (there == word) {
			storm->repeats++;
			return;
		}
	}
}

static void note_error(int err)
{
	storm->errors++;
	storm->error = err;
}

/* One call that must succeed. local: NULL for the thread's own. */
static void draw(struct rngclient_local *local)
{
	uint8_t out[DRAW_BYTES];
	int err = rngclient_local_bytes(local, out, sizeof(out));

	if (err)
		note_error(err);
	else
		note(out);
}

/* From the handle, the thread's own, and that by another name. */
static void draw_one(struct rngclient_local *local, long which)
{
	uint8_t out[DRAW_BYTES];

	if (which % 3 < 2)
		draw(which % 3 ? NULL : local);
	else if (rngclient_getrandom(out, sizeof(out), 0) == sizeof(out))
		note(out);
	else
		note_error(-errno);
}

static void draw_all(struct rngclient_local *local)
{
	for (int which = 0; which < 3; which++)
		draw_one(local, which);
}

static void say_storm(const char *what)
{
	double seconds = (double)(support_now_ms() - began_ms) / 1000;

	printf("%s: forks=%lu at_end=%lu bumps=%lu drops=%lu calls=%lu refused=%lu outputs=%lu "
	       "repeated=%lu zero=%lu errors=%lu seconds=%.1f\n",
	       what, storm->forks, storm->at_end, storm->bumps, storm->drops, storm->calls,
	       storm->refused, storm->outputs, storm->repeats, storm->zeros, storm->errors,
	       seconds);
	fflush(stdout);
}

static void check_storm(const char *what)
{
	say_storm(what);
	ck_assert_msg(storm->errors == 0, "%lu calls failed, one with %d", storm->errors,
		      storm->error);
	ck_assert_uint_eq(storm->repeats, 0);
	ck_assert_uint_eq(storm->zeros, 0);
	/* Full, it would let repetitions pass, or be slow. */
	ck_assert_uint_lt(storm->outputs, storm->places / 4 * 3);
	munmap(storm, storm_bytes);
}

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

/* What would be said of a generator that repeats itself. */
START_TEST(repetition_is_seen)
{
	uint8_t out[DRAW_BYTES] = {0};

	begin_storm(100);
	for (int i = 0; i < 100; i++) { /* all at one place */
		out[0] = (uint8_t)i;
		note(out);
	}
	ck_assert_uint_eq(storm->zeros, 1);
	ck_assert_uint_eq(storm->repeats, 1); /* 0 stands for 1 */
	out[0] = 50;
	note(out);
	ck_assert_uint_eq(storm->repeats, 2);
	munmap(storm, storm_bytes);
}
END_TEST

/* ---- clones ---- */

static struct rngclient *open_control(void)
{
	struct rngclient *client;
	char control[128];

	snprintf(control, sizeof(control), "%s%s", rngd.socket, RNGCLIENT_CONTROL_SUFFIX);
	ck_assert_int_eq(rngclient_open(&client, control, PATIENT_MS), 0);
	return client;
}

/* The daemon's page, for as long as the test runs. */
static const struct epoch_page *map_page(void)
{
	char path[128];
	void *map;
	int fd;

	snprintf(path, sizeof(path), "%s.epoch", rngd.socket);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	map = mmap(NULL, sizeof(struct epoch_page), PROT_READ, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(map, MAP_FAILED);
	close(fd);
	return map;
}

static int bump(struct rngclient *control)
{
	const uint8_t bytes[RNGCLIENT_BUMP_MIN_BYTES] = {1};
	int err = rngclient_bump(control, bytes, sizeof(bytes), NULL);

	storm->bumps++;
	return err;
}

#define BUMP_THREADS 4
#define BUMP_DRAWS   16 /* by each thread, from one bump to the next */

struct bumped {
	pthread_mutex_t lock;
	pthread_cond_t moved;
	long bumps, drew[BUMP_THREADS]; /* drew: since that bump */
	uint64_t look_again;            /* the page's word when that one was answered */
	bool stop;
	_Atomic long stale; /* draws after a bump, of a seed before it */
};

struct bumped_thread {
	struct bumped *all;
	int number;
};

/* Are all of them past that bump? With the lock. */
static bool all_drew(const struct bumped *all)
{
	for (int i = 0; i < BUMP_THREADS; i++)
		if (all->drew[i] < all->bumps)
			return false;
	return true;
}

static void *draw_beside_bumps(void *arg)
{
	struct bumped_thread *thread = arg;
	struct bumped *all = thread->all;
	/* Every second one has a handle, which shows how old its seed is. */
	struct rngclient_local *local = thread->number % 2 ? open_local(PATIENT_MS, 0) : NULL;
	uint64_t look_again;
	long seen = -1;

	if (!local && rngclient_local_open_thread(rngd.socket, PATIENT_MS, 0) != 0)
		note_error(-1);
	pthread_mutex_lock(&all->lock);
	while (!all->stop) {
		if (all->bumps == seen) {
			pthread_cond_wait(&all->moved, &all->lock);
			continue;
		}
		seen = all->bumps;
		look_again = all->look_again;
		pthread_mutex_unlock(&all->lock);
		draw(local);
		if (local && local->mark.was < look_again)
			all->stale++;
		pthread_mutex_lock(&all->lock);
		all->drew[thread->number] = seen;
		pthread_cond_broadcast(&all->moved);
		pthread_mutex_unlock(&all->lock);
		/* Into the middle of the next bump. */
		for (int i = 1; i < BUMP_DRAWS; i++)
			draw(local);
		pthread_mutex_lock(&all->lock);
	}
	pthread_mutex_unlock(&all->lock);
	rngclient_local_close(local);
	return NULL;
}

START_TEST(clones)
{
	struct bumped all = {.lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER};
	struct bumped_thread threads[BUMP_THREADS];
	pthread_t ids[BUMP_THREADS];
	const struct epoch_page *page = map_page();
	struct rngclient *control;
	long bumps = many(400, 100000);

	begin_storm(bumps * BUMP_THREADS * BUMP_DRAWS);
	control = open_control();
	for (int i = 0; i < BUMP_THREADS; i++) {
		threads[i] = (struct bumped_thread){&all, i};
		ck_assert_int_eq(pthread_create(&ids[i], NULL, draw_beside_bumps, &threads[i]), 0);
	}
	for (long i = 0; i < bumps; i++) {
		pthread_mutex_lock(&all.lock);
		while (!all_drew(&all))
			pthread_cond_wait(&all.moved, &all.lock);
		pthread_mutex_unlock(&all.lock);
		ck_assert_int_eq(bump(control), 0);
		pthread_mutex_lock(&all.lock);
		ck_assert_uint_lt(all.look_again, epoch_page_look_again(page));
		all.look_again = epoch_page_look_again(page);
		all.bumps++;
		pthread_cond_broadcast(&all.moved);
		pthread_mutex_unlock(&all.lock);
	}
	pthread_mutex_lock(&all.lock);
	all.stop = true;
	pthread_cond_broadcast(&all.moved);
	pthread_mutex_unlock(&all.lock);
	for (int i = 0; i < BUMP_THREADS; i++)
		ck_assert_int_eq(pthread_join(ids[i], NULL), 0);
	rngclient_close(control);
	ck_assert_int_eq(all.stale, 0);
	check_storm("clones");
}
END_TEST

/* ---- forks ---- */

static void reap(pid_t pid)
{
	int status;

	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
		note_error(-ECHILD);
}

/* The child draws from one of them, whose seed is dear; the parent from all. Neither waits. */
static void forked(pid_t pid, struct rngclient_local *local, long n)
{
	if (pid == 0) {
		draw_one(local, n);
		draw_one(local, n);
		_exit(0);
	}
	draw_all(local);
	storm->forks++;
	reap(pid);
}

static void fork_plain(struct rngclient_local *local, long n)
{
	forked(fork(), local, n);
}

/* The system call itself, of which the C library knows nothing. */
static void fork_by_clone(struct rngclient_local *local, long n)
{
	forked((pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL), local, n);
}

#define TREE_DEPTH 4
#define TREE_FORKS ((1 << TREE_DEPTH) - 1)

/* Every process that there is forks, and draws before and after. */
static void fork_tree(struct rngclient_local *local, long n)
{
	pid_t children[TREE_DEPTH];
	bool is_root = true;
	int mine = 0;

	for (int depth = 0; depth < TREE_DEPTH; depth++) {
		children[mine] = fork();
		if (children[mine] == 0) {
			is_root = false;
			mine = 0;
		} else {
			storm->forks++;
			mine++;
		}
		draw_one(local, n);
	}
	while (mine > 0)
		reap(children[--mine]);
	if (!is_root)
		_exit(0);
}

/* ---- forks while other threads draw ---- */

#define FORK_THREADS 3
#define SHORT_NAP_NS 200000

static atomic_bool fork_stop;

static void nap(long ns)
{
	const struct timespec wait = {.tv_nsec = ns};

	nanosleep(&wait, NULL);
}

static void *draw_beside_forks(void *arg)
{
	static _Thread_local uint8_t large[LARGE_BYTES];
	struct rngclient_local *local = arg;
	int err = rngclient_local_open_thread(rngd.socket, PATIENT_MS, 0);

	if (err)
		note_error(err);
	while (!fork_stop) {
		draw_all(local);
		err = rngclient_local_bytes(local, large, sizeof(large));
		if (err)
			note_error(err);
		else
			note(large);
		nap(SHORT_NAP_NS);
	}
	return NULL;
}

/* The child has the generators of all threads, and they are in the middle of whatever it was. */
static void fork_beside_threads(struct rngclient_local *local, long forks)
{
	struct rngclient_local *locals[FORK_THREADS];
	pthread_t ids[FORK_THREADS];
	pid_t pid;

	fork_stop = false;
	for (int i = 0; i < FORK_THREADS; i++) {
		locals[i] = open_local(PATIENT_MS, 0);
		ck_assert_int_eq(pthread_create(&ids[i], NULL, draw_beside_forks, locals[i]), 0);
	}
	for (long n = 0; n < forks; n++) {
		pid = fork();
		draw_all(local);
		if (pid == 0) {
			for (int i = 0; i < FORK_THREADS; i++)
				draw(locals[i]);
			_exit(0);
		}
		storm->forks++;
		reap(pid);
	}
	fork_stop = true;
	for (int i = 0; i < FORK_THREADS; i++) {
		ck_assert_int_eq(pthread_join(ids[i], NULL), 0);
		rngclient_local_close(locals[i]);
	}
}

/* ---- forks in signal handlers, in the middle of a draw ---- */

static struct {
	volatile sig_atomic_t in_draw, is_child;
	volatile pid_t child;
	uint8_t *out; /* of the draw */
	uint8_t at_fork[DRAW_BYTES];
	struct rngclient_local *own; /* the handler's */
} handler;

static void fork_in_handler(int sig)
{
	int saved_errno = errno;
	pid_t pid;

	(void)sig;
	if (!handler.in_draw || handler.is_child || handler.child)
		return;
	memcpy(handler.at_fork, handler.out, DRAW_BYTES);
	pid = _Fork();
	if (pid == 0)
		handler.is_child = 1;
	else
		handler.child = pid;
	draw(handler.own);
	errno = saved_errno;
}

/*
 * Parent and child may have waited for one answer, and a few instructions before the wait nobody
 * sees it: then one of them can take a part that was the other's.
 */
static void note_torn(int err)
{
	if (err == -EPROTO || err == -ETIMEDOUT)
		storm->refused++;
	else
		note_error(err);
}

/*
 * One draw with a timer behind it. A fork that came after the draw's last check has left the same
 * bytes in both buffers, as one after its return does; the child gives up its copy then, and they
 * are counted. Where that check is, instruction for instruction, is check_local's to say.
 */
static void draw_with_timer(struct rngclient_local *local, size_t len, long us)
{
	static uint8_t out[LARGE_BYTES];
	/* Again and again: one that comes between two draws is of no use. */
	const struct itimerval timer = {{0, us}, {0, us}}, never = {{0, 0}, {0, 0}};
	int err;

	memset(out, 0, DRAW_BYTES);
	handler.out = out;
	handler.child = 0;
	setitimer(ITIMER_REAL, &timer, NULL);
	handler.in_draw = 1;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	do {
		err = rngclient_local_bytes(local, out, len);
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
		handler.in_draw = 0;
		if (err)
			note_torn(err);
		else if (handler.is_child && memcmp(out, handler.at_fork, DRAW_BYTES) == 0)
			storm->at_end++;
		else
			note(out);
		memset(out, 0, DRAW_BYTES);
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
		handler.in_draw = !handler.is_child && !handler.child;
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
	} while (handler.in_draw);
	setitimer(ITIMER_REAL, &never, NULL);
	draw_all(local);
	if (handler.is_child)
		_exit(0);
	storm->forks++;
	reap(handler.child);
}

static void fork_in_signals(struct rngclient_local *local, long forks)
{
	struct sigaction action = {.sa_handler = fork_in_handler}, before;
	static const size_t lengths[] = {DRAW_BYTES, LARGE_BYTES};

	handler.own = open_local(PATIENT_MS, 0);
	ck_assert_int_eq(sigaction(SIGALRM, &action, &before), 0);
	for (long n = 0; n < forks; n++) {
		if (n % 4 == 3) /* into the question to the daemon */
			ck_assert_int_eq(rngclient_after_fork(0), 0);
		draw_with_timer(local, lengths[n % 2], 20 + n % 97);
	}
	ck_assert_int_eq(sigaction(SIGALRM, &before, NULL), 0);
	rngclient_local_close(handler.own);
}

#define FORK_ROUNDS 50

/* Of each kind a share; now and then the machine is cloned. */
static void fork_rounds(long forks)
{
	struct rngclient_local *local = open_local(PATIENT_MS, 0);
	struct rngclient *control = open_control();
	long round = forks / FORK_ROUNDS;

	ck_assert_int_eq(rngclient_local_open_thread(rngd.socket, PATIENT_MS, 0), 0);
	for (int i = 0; i < FORK_ROUNDS; i++) {
		for (long n = 0; n < round * 50 / 100 + 1; n++)
			fork_plain(local, n);
		for (long n = 0; n < round * 12 / 100 + 1; n++)
			fork_by_clone(local, n);
		for (long n = 0; n < round * 30 / 100 / TREE_FORKS + 1; n++)
			fork_tree(local, n);
		fork_beside_threads(local, round * 5 / 100 + 1);
		fork_in_signals(local, round * 3 / 100 + 1);
		ck_assert_int_eq(bump(control), 0);
		if (getenv("RNGD_LONG"))
			say_storm("forks so far");
	}
	rngclient_close(control);
	rngclient_local_close(local);
}

/* By two processes, which are each other's load. */
START_TEST(forks)
{
	long all = many(2000, 1000000);
	pid_t pid;

	begin_storm(all * 20); /* some five each, more where threads draw meanwhile */
	pid = fork();
	fork_rounds(all / 2);
	if (pid == 0)
		_exit(0);
	reap(pid);
	ck_assert_uint_ge(storm->forks, (unsigned long)all);
	ck_assert_uint_le(storm->refused, storm->forks / 1000);
	check_storm("forks");
}
END_TEST

/* ---- pages dropped ---- */

#ifndef RNGD_TEST_FALLBACK /* there pages are locked */

#define DROP_THREADS 8

static atomic_bool drop_stop;

/* A cheap random number: which page, when, how. */
static uint32_t any(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

static void *draw_while_dropped(void *arg)
{
	static _Thread_local uint8_t large[LARGE_BYTES];
	struct rngclient_local *local = arg;
	int err;

	while (!drop_stop) {
		for (int i = 0; i < 4; i++)
			draw(local);
		err = rngclient_local_bytes(local, large, sizeof(large));
		if (err)
			note_error(err);
		else {
			note(large);
			note(large + sizeof(large) - DRAW_BYTES);
		}
		nap(1);
	}
	return NULL;
}

/* The kernel's own ways to take a page away: at once, and as when memory is short. */
static bool drop(const struct statepage *page, int how)
{
	struct local_state *state = page->data;
	uint64_t before = __atomic_load_n(&state->marker, __ATOMIC_ACQUIRE), after;

	if (madvise(page->data, page->map_bytes, how) != 0)
		return false;
	after = __atomic_load_n(&state->marker, __ATOMIC_ACQUIRE);
	return before != 0 && after != before;
}

START_TEST(drops)
{
	struct rngclient_local *locals[DROP_THREADS];
	pthread_t ids[DROP_THREADS];
	long all = many(4000, 200000), by_reclaim = 0, n;
	int64_t until = support_now_ms() + (getenv("RNGD_LONG") ? 3600000 : 60000);
	uint32_t state = 1;
	uint64_t dropped;

	begin_storm(all * 100);
	for (int i = 0; i < DROP_THREADS; i++) {
		locals[i] = open_local(PATIENT_MS, 0);
		/* A nonce would hide a key of zeroes behind other bytes each time. */
		locals[i]->has_rdrand = false;
	}
	if (locals[0]->page.locked) {
		printf("SKIP: drops: this kernel has no MAP_DROPPABLE\n");
		goto out;
	}
	drop_stop = false;
	for (int i = 0; i < DROP_THREADS; i++)
		ck_assert_int_eq(pthread_create(&ids[i], NULL, draw_while_dropped, locals[i]), 0);
	for (n = 0; storm->drops < (uint64_t)all && support_now_ms() < until; n++) {
		int how = n % 2 ? MADV_DONTNEED : MADV_PAGEOUT;

		for (uint32_t spin = any(&state) % 8192; spin > 0; spin--)
			__asm__ volatile("");
		if (drop(&locals[any(&state) % DROP_THREADS]->page, how)) {
			storm->drops++;
			by_reclaim += how == MADV_PAGEOUT;
		} else {
			sched_yield(); /* it has no state yet */
		}
	}
	drop_stop = true;
	for (int i = 0; i < DROP_THREADS; i++)
		ck_assert_int_eq(pthread_join(ids[i], NULL), 0);
	printf("drops: %ld of them by the kernel's reclaim\n", by_reclaim);
	dropped = storm->drops;
	check_storm("drops");
	ck_assert_uint_ge(dropped, (unsigned long)all);
	ck_assert_int_gt(by_reclaim, 0);
out:
	for (int i = 0; i < DROP_THREADS; i++)
		rngclient_local_close(locals[i]);
}
END_TEST

/* ---- memory that is short in earnest ---- */

#define SHORT_LIMIT  "33554432"
#define HOG_BYTES    (256u << 20)
#define HOG_STEP     (4u << 20)
#define PRESSED      64 /* generators: few pages fit a batch of what is taken away at a time */
#define DROPS_WANTED 100

static bool write_file(const char *dir, const char *name, const char *text)
{
	char path[512];
	ssize_t n = -1;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = write(fd, text, strlen(text));
		close(fd);
	}
	return n == (ssize_t)strlen(text);
}

/* A memory cgroup below the one we are in, with a limit. NULL: why there is none. */
static const char *make_cgroup(char dir[400])
{
	FILE *file = fopen("/proc/self/cgroup", "re");
	char line[256], first[300] = "", second[300] = "";

	while (file && fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = '\0';
		if (strstr(line, ":memory:"))
			snprintf(first, sizeof(first), "/sys/fs/cgroup/memory%s",
				 strstr(line, ":memory:") + 8);
		else if (strncmp(line, "0::", 3) == 0)
			snprintf(second, sizeof(second), "/sys/fs/cgroup%s", line + 3);
	}
	if (file)
		fclose(file);
	snprintf(dir, 400, "%s/rngd-check.%d", *first ? first : second, (int)getpid());
	if (mkdir(dir, 0755) != 0)
		return strerror(errno);
	if (write_file(dir, *first ? "memory.limit_in_bytes" : "memory.max", SHORT_LIMIT))
		return NULL;
	rmdir(dir);
	return "no memory controller there";
}

/* Memory that the kernel may take back without writing it anywhere, more than there is room for. */
static void press(char *hog, size_t *at)
{
	memset(hog + *at, 1, HOG_STEP);
	madvise(hog + *at, HOG_STEP, MADV_FREE);
	*at = (*at + HOG_STEP) % HOG_BYTES;
}

/* In the cgroup: what is dropped here nobody has asked for. */
static void draw_under_pressure(void)
{
	struct rngclient_local *locals[PRESSED];
	char *hog =
	    mmap(NULL, HOG_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int64_t until = support_now_ms() + SUPPORT_TIMEOUT_S * 1000;
	size_t at = 0;

	if (hog == MAP_FAILED)
		_exit(1);
	for (int i = 0; i < PRESSED; i++) {
		locals[i] = open_local(PATIENT_MS, 0);
		locals[i]->has_rdrand = false;
	}
	while (storm->drops < (uint64_t)many(DROPS_WANTED, 100 * DROPS_WANTED) &&
	       support_now_ms() < until) {
		for (int i = 0; i < 16; i++)
			press(hog, &at);
		for (int i = 0; i < PRESSED; i++) {
			struct local_state *state = locals[i]->page.data;

			storm->drops += state->marker == 0;
			draw(locals[i]);
		}
	}
	_exit(0);
}

START_TEST(memory_pressure)
{
	struct rngclient_local *local = open_local(PATIENT_MS, 0);
	bool is_locked = local->page.locked;
	const char *why;
	char dir[400], pid_text[32];
	int status;
	pid_t pid;

	rngclient_local_close(local);
	why = is_locked ? "this kernel has no MAP_DROPPABLE" : make_cgroup(dir);
	if (why) {
		printf("SKIP: memory_pressure: no memory cgroup: %s\n", why);
		return;
	}
	begin_storm(1000000);
	pid = fork();
	if (pid == 0) {
		snprintf(pid_text, sizeof(pid_text), "%d", (int)getpid());
		if (!write_file(dir, "cgroup.procs", pid_text))
			_exit(77);
		draw_under_pressure();
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(rmdir(dir), 0);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
		printf("SKIP: memory_pressure: a process cannot be moved into a cgroup\n");
		return;
	}
	ck_assert_int_eq(status, 0);
	ck_assert_uint_ge(storm->drops, (unsigned long)many(DROPS_WANTED, DROPS_WANTED));
	check_storm("memory_pressure");
}
END_TEST
#endif

/* ---- a daemon that is killed, stopped, hung ---- */

#define FAULT_THREADS 8
#define LEASE_MS      3000
/* With RNGCLIENT_LOCAL_GETRANDOM no call fails, and none waits longer than this. */
#define KERNEL_TOO(n) ((n) % 4 >= 2)

struct caller {
	int number;
	_Atomic long good; /* calls */
	_Atomic int64_t slowest_ns[2];
};

static atomic_bool fault_stop;

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* An answer in time, whichever: of an absent daemon, one that hangs, one that nobody watches for.
 */
static bool is_absence(int err)
{
	switch (-err) {
	case ENOENT:
	case ECONNREFUSED:
	case ECONNRESET:
	case EPIPE:
	case ETIMEDOUT:
	case EAGAIN:
		return true;
	default:
		return false;
	}
}

static int call(struct caller *caller, struct rngclient_local *local, uint8_t *out, size_t len)
{
	int64_t start = now_ns(), took;
	int err = 0;

	if (!local && KERNEL_TOO(caller->number))
		err = rngclient_getrandom(out, len, 0) == (ssize_t)len ? 0 : -EIO;
	else
		err = rngclient_local_bytes(local, out, len);
	took = now_ns() - start;
	if (took > caller->slowest_ns[err != 0])
		caller->slowest_ns[err != 0] = took;
	storm->calls++;
	return err;
}

/* The even ones have a handle, the odd ones their thread's own. */
static void *draw_beside_faults(void *arg)
{
	struct caller *caller = arg;
	unsigned int options = KERNEL_TOO(caller->number) ? RNGCLIENT_LOCAL_GETRANDOM : 0;
	struct rngclient_local *local = NULL;
	uint8_t out[2048];
	int err;

	if (caller->number % 2 == 0)
		local = open_local(TIMEOUT_MS, options);
	else if (rngclient_local_open_thread(rngd.socket, TIMEOUT_MS, options) != 0)
		note_error(-1);
	for (long n = 0; !fault_stop; n++) {
		size_t len = n % 4 ? DRAW_BYTES : sizeof(out);

		memset(out, 0xa5, sizeof(out));
		err = call(caller, local, out, len);
		if (!err) {
			note(out);
			caller->good++;
		} else {
			storm->refused++;
			if (options || !is_absence(err) || !all_zero(out, len))
				note_error(err);
		}
		nap(300000);
	}
	rngclient_local_close(local);
	return NULL;
}

struct progress {
	struct caller *callers;
	long then[FAULT_THREADS];
};

/* Have all of them got bytes since? */
static bool all_served(void *arg)
{
	struct progress *progress = arg;

	for (int i = 0; i < FAULT_THREADS; i++)
		if (progress->callers[i].good < progress->then[i] + 2)
			return false;
	return true;
}

/* What is asked of the daemon while it is not there; a batch would be used up first. */
static void ask_now(long pause_ms)
{
	ck_assert_int_eq(rngclient_after_fork(0), 0);
	nap(pause_ms % 1000 * 1000000);
	for (; pause_ms >= 1000; pause_ms -= 1000)
		sleep(1);
}

static void fault(long round)
{
	switch (round % 5) {
	case 0:
	case 1: /* back at once */
		support_kill(&rngd);
		break;
	case 2:
		support_kill(&rngd);
		ask_now(50);
		break;
	case 3:
		ck_assert_int_eq(kill(rngd.pid, SIGSTOP), 0);
		/* Now and then until the lease has passed. */
		ask_now(round % 50 == 48 ? LEASE_MS + 500 : TIMEOUT_MS + 50);
		ck_assert_int_eq(kill(rngd.pid, SIGCONT), 0);
		return;
	default:
		support_stop(&rngd);
		ask_now(20);
	}
	support_restart(&rngd, NULL);
}

START_TEST(daemon_faults)
{
	struct caller callers[FAULT_THREADS] = {0};
	struct progress progress = {.callers = callers};
	pthread_t ids[FAULT_THREADS];
	int64_t slowest[2][2] = {{0}};
	long rounds = many(50, 1000);

	begin_storm(rounds * 20000);
	fault_stop = false;
	for (int i = 0; i < FAULT_THREADS; i++) {
		callers[i].number = i;
		ck_assert_int_eq(pthread_create(&ids[i], NULL, draw_beside_faults, &callers[i]), 0);
	}
	for (long round = 0; round <= rounds; round++) {
		ck_assert_msg(support_wait(all_served, &progress),
			      "not all are served after fault %ld", round - 1);
		if (round < rounds)
			fault(round);
		for (int i = 0; i < FAULT_THREADS; i++)
			progress.then[i] = callers[i].good;
	}
	fault_stop = true;
	for (int i = 0; i < FAULT_THREADS; i++) {
		ck_assert_int_eq(pthread_join(ids[i], NULL), 0);
		for (int failed = 0; failed < 2; failed++) {
			int64_t *most = &slowest[KERNEL_TOO(i)][failed];

			if (callers[i].slowest_ns[failed] > *most)
				*most = callers[i].slowest_ns[failed];
		}
	}
	printf("daemon_faults: %ld rounds, slowest of deadline %d ms: %ld us good, %ld us refused; "
	       "with getrandom(2) %ld us\n",
	       rounds, TIMEOUT_MS, slowest[0][0] / 1000, slowest[0][1] / 1000,
	       slowest[1][0] / 1000);
	for (int i = 0; i < 4; i++)
		ck_assert_int_lt(slowest[i / 2][i % 2] / 1000000, TIMEOUT_MS + SLACK_MS);
	ck_assert_uint_gt(storm->refused, 0);
	check_storm("daemon_faults");
}
END_TEST

static void add(Suite *suite, const char *name, const TTest *test)
{
	TCase *tcase = tcase_create(name); /* each its own, to be chosen by CK_RUN_CASE */

	tcase_add_checked_fixture(tcase, begin, end);
	tcase_set_timeout(tcase, getenv("RNGD_LONG") ? 7200 : 120);
	tcase_add_test(tcase, test);
	suite_add_tcase(suite, tcase);
}

int main(void)
{
	Suite *suite = suite_create("local_storm");
	SRunner *runner = srunner_create(suite);
	int failed;

	add(suite, "repetition", repetition_is_seen);
	add(suite, "clones", clones);
	add(suite, "forks", forks);
#ifndef RNGD_TEST_FALLBACK
	add(suite, "drops", drops);
	add(suite, "pressure", memory_pressure);
#endif
	add(suite, "faults", daemon_faults);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
