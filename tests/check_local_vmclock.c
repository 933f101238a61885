/*
 * The local generator that was given the hypervisor's clock page: when it takes another seed, and
 * when it does not. Seeds are the test's own, and the page is a memfd that cannot shrink.
 */
#include <check.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/local.h"
#include "client/rngclient_local.h"

#define REAL_PATH    "/dev/vmclock0"
#define PAGE_NAME    "vmclock-page"
#define FLAG_COUNTER (UINT64_C(1) << 8)
#define DRAW_BYTES   16u
#define DRAWS        (LOCAL_BATCH_BYTES / DRAW_BYTES) /* of a batch */
#define CHUNKS       3u                               /* of a long draw */
#define KERNEL_BYTE  0xee

/* The kernel's struct vmclock_abi, as far as it matters here. */
struct page {
	uint32_t magic;
	uint32_t size;
	uint16_t version;
	uint8_t counter_id;
	uint8_t time_type;
	uint32_t sequence;
	uint64_t disruption;
	uint64_t flags;
	uint8_t clock[72];
	uint64_t counter;
};

_Static_assert(sizeof(struct page) == 112, "layout");

/* ---- seeds that can be counted ---- */

static uint64_t look_again = 7;
static unsigned int taken, fills;
static int seed_err;
static bool is_child;
static void (*while_asked)(void);        /* before a seed is given */
static void (*while_filled)(unsigned n); /* after the nth fill since it was set */

void __wrap_rng_fill(struct rng *rng, uint64_t nonce, void *out, size_t len);
void __real_rng_fill(struct rng *rng, uint64_t nonce, void *out, size_t len);

void __wrap_rng_fill(struct rng *rng, uint64_t nonce, void *out, size_t len)
{
	(void)nonce; /* what a seed gives can be said beforehand */
	__real_rng_fill(rng, 0, out, len);
	if (while_filled)
		while_filled(++fills);
}

int local_seed_connect(struct local_seed *seed, int timeout_ms)
{
	(void)seed;
	(void)timeout_ms;
	return 0;
}

int local_seed_take(struct local_seed *seed, uint8_t key[LOCAL_SEED_BYTES],
		    struct local_seed_mark *mark, int64_t deadline_ns)
{
	(void)seed;
	(void)deadline_ns;
	memset(key, 0, LOCAL_SEED_BYTES);
	if (seed_err)
		return seed_err;
	if (while_asked)
		while_asked();
	*mark = (struct local_seed_mark){&look_again, look_again};
	memset(key, (int)++taken, LOCAL_SEED_BYTES);
	return 0;
}

bool local_seed_holds(struct local_seed *seed)
{
	(void)seed;
	return true;
}

int local_seed_pause(int *pause_ms, int64_t deadline_ns)
{
	(void)deadline_ns;
	return ++*pause_ms > 20 ? -EAGAIN : 0;
}

bool local_seed_is_forked(const struct local_seed *seed)
{
	(void)seed;
	return is_child;
}

int local_seed_straight(struct local_seed *seed, void *out, size_t len)
{
	(void)seed;
	memset(out, 0, len);
	return -ENOSYS;
}

void local_seed_deinit(struct local_seed *seed)
{
	(void)seed;
}

int local_seed_kernel(void *buf, size_t len)
{
	memset(buf, KERNEL_BYTE, len);
	return 0;
}

/* ---- a page ---- */

static struct page *host; /* the hypervisor's view */
static int page_fd;
static struct rngclient_local *local;

static size_t page_bytes(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

static struct page *make_page(int *fd, size_t bytes, int seals)
{
	struct page *page;

	*fd = memfd_create(PAGE_NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	ck_assert_int_ge(*fd, 0);
	ck_assert_int_eq(ftruncate(*fd, (off_t)bytes), 0);
	ck_assert_int_eq(fcntl(*fd, F_ADD_SEALS, seals), 0);
	page = mmap(NULL, page_bytes(), PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
	ck_assert_ptr_ne(page, MAP_FAILED);
	*page = (struct page){
	    .magic = htole32(0x4b4c4356),
	    .size = htole32(4096),
	    .version = htole16(1),
	    .disruption = htole64(100),
	    .flags = htole64(FLAG_COUNTER),
	    .counter = htole64(200),
	};
	return page;
}

/* Mappings of such pages in this process, the hypervisor's own too. */
static int count_maps(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];
	int count = 0;

	ck_assert_ptr_nonnull(maps);
	while (fgets(line, sizeof(line), maps))
		count += strstr(line, PAGE_NAME) != NULL;
	fclose(maps);
	return count;
}

static void step(uint64_t *field)
{
	host->sequence = htole32(le32toh(host->sequence) + 1);
	*field = htole64(le64toh(*field) + 1);
	host->sequence = htole32(le32toh(host->sequence) + 1);
}

static void begin(void)
{
	host = make_page(&page_fd, page_bytes(), F_SEAL_SHRINK);
	ck_assert_int_eq(rngclient_local_open(&local, "/nowhere", 0, 0), 0);
	ck_assert_uint_eq(taken, 1);
}

static void end(void)
{
	rngclient_local_close(local);
	munmap(host, page_bytes());
	close(page_fd);
}

static void draw_good(void)
{
	uint8_t out[DRAW_BYTES];

	ck_assert_int_eq(rngclient_local_bytes(local, out, sizeof(out)), 0);
}

/* The generator is given the page, and its first draw is done. */
static void give(void)
{
	const unsigned int before = taken;

	ck_assert_int_eq(rngclient_local_vmclock(local, page_fd), 0);
	ck_assert_uint_eq(taken, before);
	draw_good();
	ck_assert_uint_eq(taken, before + 1);
}

/* The rest of a batch of which one draw was made, and no seed before the one after it. */
static void draw_rest(void)
{
	const unsigned int before = taken;

	for (unsigned int i = 1; i < DRAWS; i++)
		draw_good();
	ck_assert_uint_eq(taken, before);
}

static void next_batch_takes(unsigned int seeds)
{
	const unsigned int before = taken;

	draw_rest();
	draw_good();
	ck_assert_uint_eq(taken, before + seeds);
}

static void draw_fails(int err)
{
	uint8_t out[DRAW_BYTES];

	memset(out, 1, sizeof(out));
	ck_assert_int_eq(rngclient_local_bytes(local, out, sizeof(out)), err);
	for (size_t i = 0; i < sizeof(out); i++)
		ck_assert_uint_eq(out[i], 0);
}

/* ---- when a seed is due ---- */

/* What stands in the batch when the page is given is tied to nothing: it is thrown away. */
START_TEST(unmoved)
{
	draw_good();
	ck_assert_uint_eq(taken, 1);
	give();
	ck_assert_int_eq(close(page_fd), 0); /* not needed any more */
	for (int i = 0; i < 20; i++)
		next_batch_takes(0);
	host->sequence = htole32(8); /* written, and nothing came of it */
	next_batch_takes(0);
	page_fd = -1;
}
END_TEST

START_TEST(moved)
{
	give();
	step(&host->counter);
	next_batch_takes(1);
	next_batch_takes(0);
	step(&host->disruption);
	next_batch_takes(1);
	next_batch_takes(0);
	host->counter = htole64(1); /* also back */
	next_batch_takes(1);
	for (unsigned int bit = 0; bit < 64; bit += 9) {
		host->counter ^= htole64(UINT64_C(1) << bit);
		next_batch_takes(1);
		host->disruption ^= htole64(UINT64_C(1) << bit);
		next_batch_takes(1);
	}
}
END_TEST

START_TEST(counter_comes_and_goes)
{
	give();
	host->flags = 0;
	next_batch_takes(1);
	step(&host->counter); /* no counter, whatever is there */
	next_batch_takes(0);
	step(&host->disruption);
	next_batch_takes(1);
	host->flags = htole64(FLAG_COUNTER);
	next_batch_takes(1);
	step(&host->counter);
	next_batch_takes(1);
}
END_TEST

/* The daemon's own word is looked at before each draw, and stops the batch as ever. */
START_TEST(with_the_daemon_at_once)
{
	const unsigned int before = taken + 1;

	give();
	step(&host->counter);
	look_again++;
	draw_good();
	ck_assert_uint_eq(taken, before + 1);
	next_batch_takes(0);
}
END_TEST

static int moves_left;

static void move_while_asked(void)
{
	if (moves_left-- > 0)
		step(&host->counter);
}

/* It was read before the seed was asked for: a clone while the answer came is seen. */
START_TEST(moved_while_asked)
{
	unsigned int before;

	give();
	draw_rest();
	before = taken;
	while_asked = move_while_asked;
	moves_left = 2;
	step(&host->counter);
	draw_good();
	ck_assert_uint_eq(taken, before + 3);
	next_batch_takes(0);
	draw_rest();
	moves_left = 1000;
	step(&host->counter);
	draw_fails(-EAGAIN);
	moves_left = 0;
	draw_good();
}
END_TEST

static unsigned int move_at;

static void move_while_filled(unsigned int n)
{
	if (n == move_at)
		step(&host->counter);
}

/* Whenever the page moves in a long draw: all of it is of the seed after that. */
START_TEST(moved_in_long_draw)
{
	static uint8_t out[CHUNKS * LOCAL_CHUNK_BYTES], want[CHUNKS * LOCAL_CHUNK_BYTES];
	uint8_t key[LOCAL_SEED_BYTES];
	unsigned int before;
	struct rng rng;

	give();
	for (move_at = 1; move_at <= CHUNKS + 1; move_at++) {
		before = taken;
		fills = 0;
		while_filled = move_while_filled;
		ck_assert_int_eq(rngclient_local_bytes(local, out, sizeof(out)), 0);
		while_filled = NULL;
		/* The last time there are no more fills. */
		ck_assert_uint_eq(taken, before + (move_at <= CHUNKS));
		ck_assert_uint_eq(fills, move_at <= CHUNKS ? move_at + CHUNKS : CHUNKS);
		if (move_at > CHUNKS)
			continue;
		memset(key, (int)taken, sizeof(key));
		rng_rekey(&rng, key);
		for (size_t i = 0; i < CHUNKS; i++)
			rng_fill(&rng, 0, want + i * LOCAL_CHUNK_BYTES, LOCAL_CHUNK_BYTES);
		ck_assert_mem_eq(out, want, sizeof(out));
	}
}
END_TEST

/* Nothing can be said of a page that is being written, or is none: no byte by the deadline. */
START_TEST(unreadable)
{
	give();
	draw_rest();
	host->sequence = htole32(1);
	draw_fails(-EAGAIN);
	draw_fails(-EAGAIN);
	host->sequence = htole32(2);
	draw_good();
	next_batch_takes(0);
	draw_rest();
	host->magic = 0;
	draw_fails(-EAGAIN);
	host->magic = htole32(0x4b4c4356);
	host->version = htole16(2);
	draw_fails(-EAGAIN);
	host->version = htole16(1);
	draw_good();
	draw_rest();
	/* As where a device was: nothing answers. */
	memset(host, 0xff, sizeof(*host));
	draw_fails(-EAGAIN);
	ck_assert_int_eq(
	    fallocate(page_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)page_bytes()),
	    0);
	draw_fails(-EAGAIN);
}
END_TEST

static void end_update(void)
{
	host->sequence = htole32(2);
}

/* Begun in the midst of an update, the seed is tied to nothing, though the value looks the same. */
START_TEST(unsettled_at_first)
{
	const unsigned int before = taken;

	host->sequence = htole32(1);
	ck_assert_int_eq(rngclient_local_vmclock(local, page_fd), 0);
	while_asked = end_update;
	draw_good();
	ck_assert_uint_eq(taken, before + 2);
}
END_TEST

/* Copies whose pages move alike: the daemon refuses until something tells them apart. */
START_TEST(daemon_refuses)
{
	uint8_t out[DRAW_BYTES];

	give();
	draw_rest();
	seed_err = -EAGAIN;
	step(&host->disruption);
	draw_fails(-EAGAIN);
	draw_fails(-EAGAIN);
	seed_err = 0;
	draw_good();
	rngclient_local_close(local);
	ck_assert_int_eq(rngclient_local_open(&local, "/nowhere", 0, RNGCLIENT_LOCAL_GETRANDOM), 0);
	give();
	draw_rest();
	seed_err = -EAGAIN;
	step(&host->disruption);
	/* It is there, and says no: the kernel's bytes may be a sibling's as well. */
	memset(out, 1, sizeof(out));
	ck_assert_int_eq(rngclient_local_bytes(local, out, sizeof(out)), -EAGAIN);
	ck_assert_uint_eq(out[0], 0);
	ck_assert_uint_eq(out[DRAW_BYTES - 1], 0);
}
END_TEST

/* ---- what is taken ---- */

static void refused(int fd, int err)
{
	const int maps = count_maps();

	ck_assert_int_eq(rngclient_local_vmclock(local, fd), err);
	ck_assert_int_eq(count_maps(), maps);
}

static void refused_and_closed(int fd, int err)
{
	ck_assert_int_ge(fd, 0);
	refused(fd, err);
	ck_assert_int_eq(close(fd), 0);
}

START_TEST(refused_pages)
{
	give();
	host->magic++;
	refused(page_fd, -EINVAL);
	host->magic--;
	host->version = htole16(2);
	refused(page_fd, -EINVAL);
	host->version = htole16(1);
	host->size = htole32(31);
	refused(page_fd, -EINVAL);
	host->size = htole32(4096);
	/* The page it had is still the one. */
	next_batch_takes(0);
	step(&host->counter);
	next_batch_takes(1);
}
END_TEST

START_TEST(refused_files)
{
	char path[] = "/tmp/rngd-vmclock.XXXXXX";
	struct page *page;
	int fd, pipe_fds[2];

	refused(-1, -EBADF);
	page = make_page(&fd, page_bytes(), 0);
	refused(fd, -EINVAL);
	ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SEAL), 0);
	refused_and_closed(fd, -EINVAL);
	munmap(page, page_bytes());
	page = make_page(&fd, sizeof(*page), F_SEAL_SHRINK);
	refused_and_closed(fd, -EINVAL);
	munmap(page, page_bytes());
	fd = memfd_create(PAGE_NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	refused_and_closed(fd, -EINVAL); /* nothing there to be read */
	/* The same bytes in a file that anybody can shorten. */
	fd = mkostemp(path, O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, (off_t)page_bytes()), 0);
	ck_assert_int_eq(pwrite(fd, host, sizeof(*host), 0), sizeof(*host));
	refused(fd, -EINVAL);
	refused_and_closed(open(path, O_WRONLY | O_CLOEXEC), -EINVAL);
	close(fd);
	unlink(path);
	refused_and_closed(open("/", O_RDONLY | O_CLOEXEC), -EINVAL);
	refused_and_closed(open("/dev/zero", O_RDONLY | O_CLOEXEC), -EINVAL);
	refused_and_closed(open("/dev/null", O_RDONLY | O_CLOEXEC), -EINVAL);
	refused_and_closed(open("/dev/zero", O_WRONLY | O_CLOEXEC), -EACCES);
	ck_assert_int_eq(pipe2(pipe_fds, O_CLOEXEC), 0);
	refused_and_closed(pipe_fds[0], -EINVAL);
	close(pipe_fds[1]);
	draw_good();
	ck_assert_uint_eq(taken, 1);
}
END_TEST

START_TEST(another_page)
{
	struct page *first = host;
	int first_fd = page_fd;

	give();
	host = make_page(&page_fd, page_bytes(), F_SEAL_SHRINK);
	ck_assert_int_eq(count_maps(), 3);
	give();
	ck_assert_int_eq(count_maps(), 3);
	first->counter++;
	next_batch_takes(0);
	step(&host->counter);
	next_batch_takes(1);
	rngclient_local_close(local);
	local = NULL;
	ck_assert_int_eq(count_maps(), 2);
	munmap(first, page_bytes());
	close(first_fd);
}
END_TEST

/* ---- threads, signals, forks ---- */

static void *in_thread(void *arg)
{
	(void)arg;
	/* Made by this call. */
	ck_assert_int_eq(rngclient_local_vmclock(NULL, page_fd), 0);
	ck_assert_ptr_nonnull(local_thread_own);
	draw_good();
	step(&host->counter);
	next_batch_takes(1);
	return NULL;
}

/* NULL: the calling thread's own, whether it is there already or not. */
START_TEST(of_the_thread)
{
	pthread_t thread;

	rngclient_local_close(local);
	local = NULL;
	ck_assert_int_eq(rngclient_local_vmclock(NULL, -1), -EBADF);
	ck_assert_ptr_null(local_thread_own);
	seed_err = -ENOENT;
	refused(page_fd, -ENOENT);
	ck_assert_ptr_null(local_thread_own);
	seed_err = 0;
	draw_good();
	give();
	ck_assert_int_eq(pthread_create(&thread, NULL, in_thread, NULL), 0);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_int_eq(count_maps(), 2); /* that thread's is gone with it */
	next_batch_takes(1);
	rngclient_local_close(local_thread_own);
	local_thread_own = NULL;
}
END_TEST

START_TEST(inside_of_a_draw)
{
	give();
	local->in_use = local_thread_count(); /* as a signal handler finds it */
	refused(page_fd, -EDEADLK);
	local->in_use = local_thread_count() + 1;
	refused(page_fd, -EDEADLK);
	is_child = true; /* where that thread does not exist */
	ck_assert_int_eq(rngclient_local_vmclock(local, page_fd), 0);
	ck_assert_uint_eq(local->in_use, 0);
	local->bare = true;
	refused(page_fd, -EOPNOTSUPP);
	local->bare = false;
}
END_TEST

/* As many draws as a batch has, wherever in one they begin. */
static void draws_take(unsigned int seeds)
{
	const unsigned int before = taken;

	for (unsigned int i = 0; i < DRAWS; i++)
		draw_good();
	ck_assert_uint_eq(taken, before + seeds);
}

/*
 * The child's mapping is of the same page. (Whose batch goes on after the fork depends: where two
 * counters tell of it, on who draws first.)
 */
START_TEST(after_fork)
{
	int status;
	pid_t pid;

	give();
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		is_child = true;
		draw_good();
		step(&host->counter);
		draws_take(1);
		give();
		step(&host->counter);
		next_batch_takes(1);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	draws_take(1); /* the child moved it */
	draws_take(0);
}
END_TEST

START_TEST(the_real_device)
{
	int fd = open(REAL_PATH, O_RDONLY | O_CLOEXEC);

	if (fd < 0) {
		printf("SKIP: %s: %s\n", REAL_PATH, strerror(errno));
		return;
	}
	close(page_fd);
	page_fd = fd;
	give();
	next_batch_takes(0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("local_vmclock");
	TCase *tcase = tcase_create("local_vmclock");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tcase, begin, end);
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, unmoved);
	tcase_add_test(tcase, moved);
	tcase_add_test(tcase, counter_comes_and_goes);
	tcase_add_test(tcase, with_the_daemon_at_once);
	tcase_add_test(tcase, moved_while_asked);
	tcase_add_test(tcase, moved_in_long_draw);
	tcase_add_test(tcase, unreadable);
	tcase_add_test(tcase, unsettled_at_first);
	tcase_add_test(tcase, daemon_refuses);
	tcase_add_test(tcase, refused_pages);
	tcase_add_test(tcase, refused_files);
	tcase_add_test(tcase, another_page);
	tcase_add_test(tcase, of_the_thread);
	tcase_add_test(tcase, inside_of_a_draw);
	tcase_add_test(tcase, after_fork);
	tcase_add_test(tcase, the_real_device);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
