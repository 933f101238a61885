/*
 * The local generator over seeds that are the test's own, so that every byte it may give is known:
 * what it computes, and that at each single machine instruction of a draw its page may be dropped,
 * the machine cloned, the process forked, or a signal handler draw as well.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "client/draw.h"
#include "client/local.h"
#include "client/rngclient.h"
#include "client/rngclient_local.h"
#include "host/cpu.h"

#define DRAW_BYTES  16u
#define LARGE_BYTES 300u /* straight into the caller's buffer */
#define KERNEL_BYTE 0xee /* what getrandom(2) is said to give */
#define NONCE       0x0123456789abcdefull
#define PATH        "/nowhere"

/* ---- seeds: the nth is known; shared with children, so that no two processes take the same ----
 */

struct world {
	uint64_t look_again;
	_Atomic uint64_t taken;  /* seeds so far */
	_Atomic uint64_t kernel; /* its generation */
	atomic_bool watched;
	_Atomic int err;        /* of seeds; 0: they are given */
	atomic_bool hold, held; /* a seed waits for hold to be false */
	/* What a child found. */
	uint8_t child[2][LARGE_BYTES];
	int child_err[2];
};

static struct world *world;
static uint64_t last_seed;      /* this process's */
static uint64_t last_kernel;    /* generation when it was taken */
static pid_t last_pid;          /* and in which process */
static const uint8_t *last_key; /* where it was written */
static bool nonce_is_there;

bool __wrap_cpu_has_rdrand(void);
bool __wrap_cpu_rdrand64(uint64_t *value);

bool __wrap_cpu_has_rdrand(void)
{
	return nonce_is_there;
}

bool __wrap_cpu_rdrand64(uint64_t *value)
{
	*value = NONCE;
	return true;
}

/* A call of the cipher: what stands here may be told to count it as one instruction. */
void __wrap_rng_fill(struct rng *rng, uint64_t nonce, void *out, size_t len);
void __real_rng_fill(struct rng *rng, uint64_t nonce, void *out, size_t len);

static void (*fill)(struct rng *rng, uint64_t nonce, void *out, size_t len) = __real_rng_fill;

void __wrap_rng_fill(struct rng *rng, uint64_t nonce, void *out, size_t len)
{
	fill(rng, nonce, out, len);
}

static void make_seed(uint64_t n, uint8_t key[LOCAL_SEED_BYTES])
{
	uint8_t kernel[LOCAL_SEED_BYTES];

	for (size_t i = 0; i < LOCAL_SEED_BYTES; i++) {
		key[i] = (uint8_t)i;
		kernel[i] = (uint8_t)(i * 7 + 0x80);
	}
	local_seed_mix(key, key, kernel);
	key[0] ^= (uint8_t)(n - 1); /* the first is that of the published vector */
	key[1] ^= (uint8_t)((n - 1) >> 8);
	key[2] ^= (uint8_t)((n - 1) >> 16);
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
	if (world->err)
		return world->err;
	*mark = (struct local_seed_mark){&world->look_again,
					 __atomic_load_n(&world->look_again, __ATOMIC_ACQUIRE)};
	last_kernel = world->kernel;
	last_pid = getpid();
	last_seed = ++world->taken;
	last_key = key;
	make_seed(last_seed, key);
	if (world->hold) {
		world->held = true;
		while (world->hold)
			sched_yield();
	}
	return 0;
}

bool local_seed_holds(struct local_seed *seed)
{
	(void)seed;
	return world->watched && world->kernel == last_kernel;
}

int local_seed_pause(int *pause_ms, int64_t deadline_ns)
{
	(void)deadline_ns;
	return ++*pause_ms > 50 ? -EAGAIN : 0;
}

bool local_seed_is_forked(const struct local_seed *seed)
{
	(void)seed;
	return getpid() != last_pid;
}

int local_seed_straight(struct local_seed *seed, void *out, size_t len)
{
	(void)seed;
	memset(out, 0, len);
	return -ENOSYS; /* of a handle over a descriptor; tests/check_rngclient_fd.c */
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

static void begin(void)
{
	world =
	    mmap(NULL, sizeof(*world), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(world, MAP_FAILED);
	world->look_again = 7;
	world->watched = true;
	world->kernel = 1;
	nonce_is_there = false;
}

static void end(void)
{
	munmap(world, sizeof(*world));
}

static struct rngclient_local *open_local(unsigned int options)
{
	struct rngclient_local *local = NULL;

	ck_assert_int_eq(rngclient_local_open(&local, PATH, 0, options), 0);
	ck_assert_ptr_nonnull(local);
	return local;
}

static bool all_are(const void *buf, uint8_t byte, size_t len)
{
	const uint8_t *at = buf;

	for (size_t i = 0; i < len; i++)
		if (at[i] != byte)
			return false;
	return true;
}

/* ---- what a generator with a known seed must give ---- */

struct model {
	struct rng rng;
	uint8_t batch[LOCAL_BATCH_BYTES];
	size_t at;
	uint64_t seed;
};

static void model_seed(struct model *model, uint64_t n)
{
	uint8_t key[LOCAL_SEED_BYTES];

	make_seed(n, key);
	memset(model, 0, sizeof(*model));
	rng_rekey(&model->rng, key);
	model->at = LOCAL_BATCH_BYTES;
	model->seed = n;
}

static void model_draw(struct model *model, uint8_t *out, size_t len)
{
	if (len > LOCAL_SMALL_BYTES) {
		rng_fill(&model->rng, 0, out, len);
		return;
	}
	if (len > LOCAL_BATCH_BYTES - model->at) {
		rng_fill(&model->rng, 0, model->batch, LOCAL_BATCH_BYTES);
		model->at = 0;
	}
	memcpy(out, model->batch + model->at, len);
	model->at += len;
}

/* Are these the next bytes of the stream, or the first of a seed after it? Follows them. */
static bool model_follow(struct model *model, const uint8_t *bytes, size_t len)
{
	struct model next = *model;
	uint8_t want[LARGE_BYTES];

	model_draw(&next, want, len);
	for (uint64_t n = model->seed + 1; memcmp(want, bytes, len) != 0; n++) {
		if (n > world->taken)
			return false;
		model_seed(&next, n);
		model_draw(&next, want, len);
	}
	*model = next;
	return true;
}

/* ---- what it computes ---- */

static void hex(const uint8_t *bytes, size_t len, char *text)
{
	for (size_t i = 0; i < len; i++)
		sprintf(text + 2 * i, "%02x", bytes[i]);
}

#define ASSERT_HEX(bytes, len, want)             \
	do {                                     \
		char text_[2 * 64 + 1];          \
		hex(bytes, len, text_);          \
		ck_assert_str_eq(text_, (want)); \
	} while (0)

/* doc/generator.md has these; they were computed by another program. */
START_TEST(known_answer)
{
	struct rngclient_local *local;
	uint8_t buf[300];
	uint64_t u64;
	uint32_t u32;

	nonce_is_there = true;
	local = open_local(0);
	ck_assert_int_eq(rngclient_local_bytes(local, buf, 16), 0);
	ASSERT_HEX(buf, 16, "64304f53e1a891e98036fc2e1e229816");
	ck_assert_int_eq(rngclient_local_u32(local, &u32), 0);
	ASSERT_HEX((uint8_t *)&u32, 4, "ac5d800c");
	ck_assert_int_eq(rngclient_local_u64(local, &u64), 0);
	ASSERT_HEX((uint8_t *)&u64, 8, "2457a97d916ca7fe");
	ck_assert_int_eq(rngclient_local_bytes(local, buf, 300), 0);
	ASSERT_HEX(buf, 16, "e87a6ee3dbe52d898bdec03838cb447f");
	ASSERT_HEX(buf + 284, 16, "d02aa76e9103344aeb27043026e2f3e1");
	ck_assert_int_eq(rngclient_local_bytes(local, buf, 200), 0);
	ASSERT_HEX(buf + 192, 8, "571ffabc5993a87e");
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(rngclient_local_bytes(local, buf, 256), 0);
	ASSERT_HEX(buf + 248, 8, "df226b03b602db01");
	ck_assert_int_eq(rngclient_local_bytes(local, buf, 32), 0); /* 28 are left: not enough */
	ASSERT_HEX(buf, 32, "291b335dc5acd03c857c401320d4bffa6ba346a9bd50b8c7b9bd1c6d2f41870c");
	ck_assert_uint_eq(world->taken, 1);
	rngclient_local_close(local);
}
END_TEST

/* Each half of a seed, each bit of it, and the nonce decide. */
START_TEST(local_seed_matters)
{
	uint8_t daemon[LOCAL_SEED_BYTES] = {0}, kernel[LOCAL_SEED_BYTES] = {0},
		key[LOCAL_SEED_BYTES], out[2][32];
	struct rng rng;

	for (size_t bit = 0; bit < 8 * LOCAL_SEED_BYTES; bit++) {
		daemon[bit / 8] = (uint8_t)(1 << bit % 8);
		local_seed_mix(key, daemon, kernel);
		ck_assert_mem_eq(key, daemon, LOCAL_SEED_BYTES);
		local_seed_mix(key, kernel, daemon);
		ck_assert_mem_eq(key, daemon, LOCAL_SEED_BYTES);
		local_seed_mix(key, daemon, daemon);
		ck_assert(all_are(key, 0, LOCAL_SEED_BYTES));
		daemon[bit / 8] = 0;
	}
	for (uint64_t nonce = 0; nonce < 2; nonce++) {
		make_seed(1, key);
		rng_rekey(&rng, key);
		rng_fill(&rng, nonce, out[nonce], 32);
	}
	ck_assert_mem_ne(out[0], out[1], 32);
}
END_TEST

START_TEST(bad_arguments)
{
	struct rngclient_local *local = (void *)&local;
	uint8_t byte = 1;
	uint64_t number = 1;
	double real = 1;

	ck_assert_int_eq(rngclient_local_open(NULL, PATH, 0, 0), -EINVAL);
	ck_assert_int_eq(rngclient_local_open(&local, "", 0, 0), -EINVAL);
	ck_assert_ptr_null(local);
	ck_assert_int_eq(rngclient_local_open(&local, PATH, -2, 0), -EINVAL);
	ck_assert_int_eq(rngclient_local_open(&local, PATH, 0, 2), -EINVAL);
	local = open_local(0);
	ck_assert_int_eq(rngclient_local_bytes(local, NULL, 1), -EINVAL);
	ck_assert_int_eq(rngclient_local_bytes(local, NULL, 0), 0);
	ck_assert_int_eq(rngclient_local_bytes(local, &byte, 0), 0);
	ck_assert_int_eq(byte, 1);
	ck_assert_int_eq(rngclient_local_u32(local, NULL), -EINVAL);
	ck_assert_int_eq(rngclient_local_u64(local, NULL), -EINVAL);
	ck_assert_int_eq(rngclient_local_below(local, 5, NULL), -EINVAL);
	ck_assert_int_eq(rngclient_local_below(local, 0, &number), -EINVAL);
	ck_assert_uint_eq(number, 0);
	ck_assert_int_eq(rngclient_local_double(local, NULL), -EINVAL);
	ck_assert_int_eq(rngclient_local_uuid(local, NULL), -EINVAL);
	ck_assert_int_eq(rngclient_local_shuffle(local, NULL, 2, 1), -EINVAL);
	ck_assert_int_eq(rngclient_local_shuffle(local, NULL, 0, 1), 0);
	ck_assert_int_eq(rngclient_local_shuffle(local, &byte, SIZE_MAX, 2), -EINVAL);
	world->err = -ETIMEDOUT;
	world->look_again++;
	number = 1;
	ck_assert_int_eq(rngclient_local_below(local, 5, &number), -ETIMEDOUT);
	ck_assert_uint_eq(number, 0);
	ck_assert_int_eq(rngclient_local_double(local, &real), -ETIMEDOUT);
	ck_assert(real == 0.0);
	rngclient_local_close(local);
	rngclient_local_close(NULL);
}
END_TEST

/* What was handed out is not there any more, and what is ahead is no more than said. */
START_TEST(nothing_stays)
{
	struct rngclient_local *local = open_local(0);
	struct local_state *state = local->page.data;
	uint8_t out[100];

	ck_assert_int_eq(rngclient_local_bytes(local, out, sizeof(out)), 0);
	ck_assert(all_are(state->batch, 0, sizeof(out)));
	ck_assert(all_are(state->rng.block, 0, sizeof(state->rng.block)));
	ck_assert_ptr_null(memmem(state, sizeof(*state), out, 8));
	ck_assert_uint_eq(local->left_bytes + local->aside_bytes, LOCAL_BATCH_BYTES - sizeof(out));
	ck_assert_uint_le(sizeof(state->batch), 1024);
	rngclient_local_close(local);
}
END_TEST

/* ---- when a seed is due ---- */

START_TEST(reasons)
{
	struct rngclient_local *local = open_local(0);
	static uint8_t big[3 * LOCAL_CHUNK_BYTES];
	struct model model;
	uint8_t out[DRAW_BYTES];

	model_seed(&model, 1);
	for (int i = 0; i < 1000; i++) {
		ck_assert_int_eq(rngclient_local_bytes(local, out, sizeof(out)), 0);
		ck_assert(model_follow(&model, out, sizeof(out)));
	}
	ck_assert_uint_eq(world->taken, 1);

	world->look_again++; /* at once */
	ck_assert_int_eq(rngclient_local_bytes(local, out, sizeof(out)), 0);
	ck_assert_uint_eq(world->taken, 2);
	world->look_again--; /* any other value */
	ck_assert_int_eq(rngclient_local_bytes(local, big, sizeof(big)), 0);
	ck_assert_uint_eq(world->taken, 3);

	world->kernel++; /* with the next batch, at the latest */
	for (size_t i = 0; i < LOCAL_BATCH_BYTES / sizeof(out) + 1; i++)
		ck_assert_int_eq(rngclient_local_bytes(local, out, sizeof(out)), 0);
	ck_assert_uint_eq(world->taken, 4);
	world->kernel++;
	ck_assert_int_eq(rngclient_local_bytes(local, big, sizeof(big)), 0);
	ck_assert_uint_eq(world->taken, 5);

	ck_assert_int_eq(rngclient_after_fork(0), 0);
	ck_assert_int_eq(rngclient_local_bytes(local, out, sizeof(out)), 0);
	ck_assert_uint_eq(world->taken, 6);

	world->watched = false; /* a batch may be used up, no more */
	ck_assert_int_eq(rngclient_local_bytes(local, big, sizeof(big)), -EAGAIN);
	ck_assert(all_are(big, 0, sizeof(big)));
	ck_assert_int_eq(rngclient_local_bytes(local, out, sizeof(out)), -EAGAIN);
	ck_assert(all_are(out, 0, sizeof(out)));
	world->watched = true;
	ck_assert_int_eq(rngclient_local_bytes(local, out, sizeof(out)), 0);
	model_seed(&model, world->taken);
	ck_assert(model_follow(&model, out, sizeof(out)));

	world->err = -ENODATA;
	world->look_again++;
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(rngclient_local_bytes(local, out, sizeof(out)), -ENODATA);
		ck_assert(all_are(out, 0, sizeof(out)));
	}
	rngclient_local_close(local);
}
END_TEST

START_TEST(kernel_alone)
{
	struct rngclient_local *local;
	uint8_t out[DRAW_BYTES];

	world->err = -ENOENT;
	ck_assert_int_eq(rngclient_local_open(&local, PATH, 0, 0), -ENOENT);
	ck_assert_ptr_null(local);
	local = open_local(RNGCLIENT_LOCAL_GETRANDOM);
	ck_assert_int_eq(rngclient_local_bytes(local, out, sizeof(out)), 0);
	ck_assert(all_are(out, KERNEL_BYTE, sizeof(out)));
	world->err = 0; /* left alone for a while */
	ck_assert_int_eq(rngclient_local_bytes(local, out, sizeof(out)), 0);
	ck_assert(all_are(out, KERNEL_BYTE, sizeof(out)));
	local->alone_until_ns = 1;
	ck_assert_int_eq(rngclient_local_bytes(local, out, sizeof(out)), 0);
	ck_assert(!all_are(out, KERNEL_BYTE, sizeof(out)));
	world->err = -ETIMEDOUT;
	world->look_again++;
	ck_assert_int_eq(rngclient_local_bytes(local, out, sizeof(out)), 0);
	ck_assert(all_are(out, KERNEL_BYTE, sizeof(out)));
	rngclient_local_close(local);
}
END_TEST

/* A daemon that is there and refuses knows of copies of the machine: no bytes of the kernel's. */
START_TEST(refusal_stays)
{
	struct rngclient_local *local;
	uint8_t out[DRAW_BYTES];

	world->err = -EAGAIN;
	local = open_local(RNGCLIENT_LOCAL_GETRANDOM);
	for (int i = 0; i < 2; i++) {
		for (int again = 0; again < 2; again++) { /* then it is left alone */
			memset(out, 1, sizeof(out));
			ck_assert_int_eq(rngclient_local_bytes(local, out, sizeof(out)), -EAGAIN);
			ck_assert(all_are(out, 0, sizeof(out)));
		}
		world->err = 0;
		local->alone_until_ns = 1;
		ck_assert_int_eq(rngclient_local_bytes(local, out, sizeof(out)), 0);
		ck_assert(!all_are(out, KERNEL_BYTE, sizeof(out)));
		world->err = -EAGAIN;
		world->look_again++;
	}
	world->err = -ENOENT; /* now it is gone */
	ck_assert_int_eq(rngclient_local_bytes(local, out, sizeof(out)), 0);
	ck_assert(all_are(out, KERNEL_BYTE, sizeof(out)));
	rngclient_local_close(local);

	world->err = -EAGAIN;
	local_thread_own = open_local(RNGCLIENT_LOCAL_GETRANDOM);
	memset(out, 0, sizeof(out));
	ck_assert_int_eq(rngclient_getrandom(out, sizeof(out), 0), sizeof(out));
	ck_assert(!all_are(out, 0, sizeof(out)));
	rngclient_local_close(local_thread_own);
	local_thread_own = NULL;
}
END_TEST

/* ---- at every single step ---- */

#if defined(__x86_64__) && !defined(RNGD_SANITIZER)

static void drop_page(void);

#define TRAP_FLAG 0x100
#define COUNTS    5
/* A draw's last check is so many instructions before its end, at most. */
#define TAIL_STEPS(where) ((where) == FAST && !stepped->page.shared ? 40 : 120)
/* A step takes some 20 us. Over the cipher, the first steps are all taken, later ones some. */
#define DENSE_STEPS 150
#define SPARSE      7
/* Through the cipher, which is thousands of steps. */
#define CIPHER_SPARSE      1021
#define CIPHER_SPARSE_LONG 13

static volatile long steps_left;
static volatile bool acted, stepping;
static bool over_cipher; /* it is one step */
static struct rngclient_local *stepped;
static size_t stepped_bytes; /* of the draw */
static uint64_t taken_then;  /* seeds, when it happened */
static void (*act)(void);

static void on_step(int sig, siginfo_t *info, void *context)
{
	ucontext_t *user = context;

	(void)sig;
	(void)info;
	if (!acted && steps_left-- > 0)
		return;
	user->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
	if (acted)
		return;
	acted = true;
	taken_then = world->taken;
	act();
}

/* The below is for functions, which keep nothing in the red zone. */
#define STEP_BEGIN()                                                                    \
	__asm__ volatile(                                                               \
	    "subq $128, %%rsp; pushfq; orq $0x100, (%%rsp); popfq; addq $128, %%rsp" :: \
		: "memory", "cc")
#define STEP_END()                                                                        \
	__asm__ volatile(                                                                 \
	    "subq $128, %%rsp; pushfq; andq $~0x100, (%%rsp); popfq; addq $128, %%rsp" :: \
		: "memory", "cc")

static void fill_unseen(struct rng *rng, uint64_t nonce, void *out, size_t len)
{
	if (stepping && over_cipher && !acted) {
		STEP_END();
		__real_rng_fill(rng, nonce, out, len);
		STEP_BEGIN();
	} else {
		__real_rng_fill(rng, nonce, out, len);
	}
}

/* Draws, and does something after so many instructions. Was it done before the end? */
static __attribute__((noinline)) bool step_draw(struct rngclient_local *local, long steps,
						void (*what)(void), uint8_t *out, int *err)
{
	act = what;
	acted = false;
	steps_left = steps;
	stepping = true;
	STEP_BEGIN();
	*err = rngclient_local_bytes(local, out, stepped_bytes);
	STEP_END();
	stepping = false;
	return acted;
}

static uint8_t handler_out[DRAW_BYTES];
static int handler_err;
static pid_t forked;

/* As the kernel does: all of it reads zero from now on. */
static void drop_page(void)
{
	struct statepage *page = &stepped->page;

	if (page->locked || madvise(page->data, page->map_bytes, MADV_DONTNEED) != 0)
		memset(page->data, 0, page->map_bytes);
}

static void clone_machine(void)
{
	world->look_again++;
}

static void draw_in_handler(void)
{
	handler_err = rngclient_local_bytes(stepped, handler_out, DRAW_BYTES);
}

/* The child goes on with the draw, and with the test behind it, while the parent waits. */
static void fork_here(void)
{
	int status;

	forked = (pid_t)syscall(SYS_fork);
	if (forked > 0 && (waitpid(forked, &status, 0) != forked || status != 0))
		abort();
}

static long count_steps(struct rngclient_local *local)
{
	uint8_t out[LARGE_BYTES];
	int err;

	ck_assert(!step_draw(local, 1l << 40, drop_page, out, &err));
	ck_assert_int_eq(err, 0);
	return (1l << 40) - steps_left;
}

static void install(void)
{
	struct sigaction action = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO};

	ck_assert_int_eq(sigaction(SIGTRAP, &action, NULL), 0);
	fill = fill_unseen;
}

enum where {
	FAST,   /* from the batch */
	REFILL, /* a new batch */
	RESEED, /* a new seed */
	LARGE,  /* past the batch, in one piece */
	KINDS,
};

/* The next draw of local will be of that kind; model is where it stands. */
static void set_stage(struct rngclient_local *local, enum where where, struct model *model)
{
	uint8_t out[DRAW_BYTES];

	stepped_bytes = where == LARGE ? LARGE_BYTES : DRAW_BYTES;
	clone_machine();
	ck_assert_int_eq(rngclient_local_bytes(local, out, DRAW_BYTES), 0);
	model_seed(model, world->taken);
	ck_assert(model_follow(model, out, DRAW_BYTES));
	while (where == REFILL && local->left_bytes + local->aside_bytes >= DRAW_BYTES) {
		ck_assert_int_eq(rngclient_local_bytes(local, out, DRAW_BYTES), 0);
		ck_assert(model_follow(model, out, DRAW_BYTES));
	}
	if (where == RESEED)
		clone_machine();
}

/*
 * How many steps such a draw takes. The least of a few: the clock in the vDSO reads again when the
 * kernel was setting it, and a count with that in it would put the tail of other draws too late.
 */
static long steps_of(enum where where, struct model *model)
{
	long least = 1l << 40;

	for (int i = 0; i < COUNTS; i++) {
		long steps;

		set_stage(stepped, where, model);
		steps = count_steps(stepped);
		least = steps < least ? steps : least;
	}
	return least;
}

/* Each step is taken one by one, so late ones are dear. */
static long next_step(long step)
{
	if (!over_cipher)
		return step + (getenv("RNGD_LONG") ? CIPHER_SPARSE_LONG : CIPHER_SPARSE);
	return step + (getenv("RNGD_LONG") || step < DENSE_STEPS ? 1 : SPARSE);
}

/*
 * For each step of each kind of draw: what, at that step; then the draw's bytes must be those of
 * the stream or of a later seed, and after one more draw the old stream must have ended (ends).
 * Old bytes may come out only if it happened in the draw's last few instructions.
 */
static void at_steps_of(enum where where, void (*what)(void), bool ends,
			bool (*check)(struct model *model, const uint8_t *out))
{
	uint8_t out[2][LARGE_BYTES];
	struct model model;
	uint64_t before;
	long steps;
	int err;

	steps = steps_of(where, &model);
	for (long step = 0; step < steps; step = next_step(step)) {
		set_stage(stepped, where, &model);
		before = model.seed;
		step_draw(stepped, step, what, out[0], &err);
		ck_assert_int_eq(err, 0);
		if (!acted) { /* no two draws are the same to the last instruction */
			ck_assert_int_gt(step, steps - steps / 8);
			break;
		}
		ck_assert_msg(check(&model, out[0]), "kind %d step %ld of %ld: no known bytes",
			      where, step, steps);
		if (ends && where != RESEED && model.seed == before)
			ck_assert_msg(step >= steps - TAIL_STEPS(where),
				      "kind %d step %ld of %ld: old bytes", where, step, steps);
		ck_assert_int_eq(rngclient_local_bytes(stepped, out[1], DRAW_BYTES), 0);
		ck_assert(model_follow(&model, out[1], DRAW_BYTES));
		if (ends)
			ck_assert_uint_gt(model.seed, taken_then);
	}
}

static void at_every_step(void (*what)(void), bool ends,
			  bool (*check)(struct model *model, const uint8_t *out))
{
	install();
	stepped = open_local(0);
	for (enum where where = FAST; where < KINDS; where++)
		for (int over = 1; over >= 0; over--) {
			over_cipher = over;
			at_steps_of(where, what, ends, check);
		}
	rngclient_local_close(stepped);
}

static bool follows(struct model *model, const uint8_t *out)
{
	return model_follow(model, out, stepped_bytes);
}

/* The handler came before the draw, or after it, or it was refused. */
static bool follows_both(struct model *model, const uint8_t *out)
{
	struct model first = *model;

	if (handler_err == -EDEADLK)
		return all_are(handler_out, 0, DRAW_BYTES) && follows(model, out);
	if (handler_err != 0)
		return false;
	if (model_follow(&first, handler_out, DRAW_BYTES) && follows(&first, out)) {
		*model = first;
		return true;
	}
	return follows(model, out) && model_follow(model, handler_out, DRAW_BYTES);
}

START_TEST(dropped_at_every_step)
{
	at_every_step(drop_page, true, follows);
}
END_TEST

START_TEST(cloned_at_every_step)
{
	at_every_step(clone_machine, true, follows);
}
END_TEST

START_TEST(signal_at_every_step)
{
	at_every_step(draw_in_handler, false, follows_both);
}
END_TEST

/* Neither has bytes that the other has, but if the fork came after the draw's last check. */
static void fork_at_step(enum where where, long step, long steps)
{
	uint8_t out[2][LARGE_BYTES];
	struct model model, of_child;
	int err;

	set_stage(stepped, where, &model);
	of_child = model;
	forked = -1;
	step_draw(stepped, step, fork_here, out[0], &err);
	if (forked == 0) { /* no assertions here: they belong to the parent */
		memcpy(world->child[0], out[0], stepped_bytes);
		world->child_err[0] = err;
		world->child_err[1] = rngclient_local_bytes(stepped, world->child[1], DRAW_BYTES);
		_exit(0);
	}
	if (!acted) {
		ck_assert_int_gt(step, steps - steps / 8);
		return;
	}
	ck_assert_int_gt(forked, 0);
	ck_assert_int_eq(err, 0);
	ck_assert_int_eq(rngclient_local_bytes(stepped, out[1], DRAW_BYTES), 0);
	ck_assert_int_eq(world->child_err[0], 0);
	ck_assert_int_eq(world->child_err[1], 0);
	ck_assert(model_follow(&model, out[0], stepped_bytes));
	ck_assert(model_follow(&model, out[1], DRAW_BYTES));
	ck_assert(model_follow(&of_child, world->child[0], stepped_bytes));
	ck_assert(model_follow(&of_child, world->child[1], DRAW_BYTES));
	if (step < steps - TAIL_STEPS(where))
		ck_assert_msg(memcmp(out[0], world->child[0], DRAW_BYTES) != 0,
			      "kind %d step %ld of %ld: the same bytes", where, step, steps);
	ck_assert_mem_ne(out[1], world->child[1], DRAW_BYTES);
	ck_assert_mem_ne(out[1], world->child[0], DRAW_BYTES);
	ck_assert_mem_ne(out[0], world->child[1], DRAW_BYTES);
	if (!stepped->page.shared) {
		/* The child had a seed of its own, which is none of the parent's. */
		ck_assert_uint_gt(of_child.seed, taken_then);
		ck_assert_uint_ne(of_child.seed, model.seed);
	}
}

START_TEST(forked_at_every_step)
{
	struct model model;
	long steps;

	stepped = open_local(0);
	install();
	over_cipher = true;
	for (enum where where = FAST; where < KINDS; where++) {
		steps = steps_of(where, &model);
		for (long step = 0; step < steps;) {
			fork_at_step(where, step, steps);
			step = next_step(step);
		}
	}
	rngclient_local_close(stepped);
}
END_TEST

#define STEP_TESTS

#endif

/* ---- forks ---- */

/* A child draws from what it inherited; its first draw and error go to the world. */
static void child_draws(struct rngclient_local *local)
{
	world->child_err[0] = rngclient_local_bytes(local, world->child[0], DRAW_BYTES);
	world->child_err[1] = rngclient_local_bytes(local, world->child[1], DRAW_BYTES);
}

static void wait_for(pid_t pid)
{
	int status;

	ck_assert_int_gt(pid, 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}

static void check_child(const struct model *before)
{
	struct model model = *before;

	ck_assert_int_eq(world->child_err[0], 0);
	ck_assert_int_eq(world->child_err[1], 0);
	ck_assert(model_follow(&model, world->child[0], DRAW_BYTES));
	ck_assert(model_follow(&model, world->child[1], DRAW_BYTES));
}

#define FORK_DEPTH 4

/* Every generation draws, then forks, then draws again: none has what another has. */
START_TEST(nested_forks)
{
	struct rngclient_local *local = open_local(0);
	uint8_t(*all)[DRAW_BYTES] =
	    mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	_Atomic uint32_t *count = (void *)((uint8_t *)all + 4096 - 64);
	pid_t children[FORK_DEPTH];
	pid_t self = getpid();
	int forks = 0;

	for (int depth = 0; depth < FORK_DEPTH; depth++) {
		children[forks] = fork();
		if (children[forks] == 0)
			forks = 0;
		else
			forks++;
		if (rngclient_local_bytes(local, all[(*count)++], DRAW_BYTES) != 0)
			_exit(1);
	}
	while (forks > 0)
		wait_for(children[--forks]);
	if (getpid() != self)
		_exit(0);
	/* 2 + 4 + 8 + 16 draws */
	ck_assert_uint_eq(*count, (2u << FORK_DEPTH) - 2);
	for (uint32_t i = 0; i < *count; i++)
		for (uint32_t k = 0; k < i; k++)
			ck_assert_mem_ne(all[i], all[k], DRAW_BYTES);
	munmap(all, 4096);
	rngclient_local_close(local);
}
END_TEST

static void *draw_while_held(void *arg)
{
	uint8_t out[DRAW_BYTES];

	world->look_again++;
	return (void *)(intptr_t)rngclient_local_bytes(arg, out, sizeof(out));
}

/* Another thread was in the middle of a draw, which no thread of the child will ever end. */
START_TEST(fork_beside_a_draw)
{
	struct rngclient_local *local = open_local(0);
	struct model model;
	pthread_t thread;
	void *err;
	pid_t pid;

	world->hold = true;
	ck_assert_int_eq(pthread_create(&thread, NULL, draw_while_held, local), 0);
	while (!world->held)
		sched_yield();
	model_seed(&model, world->taken);
	pid = fork();
	if (pid == 0) {
		world->hold = false;
		child_draws(local);
		_exit(0);
	}
	wait_for(pid);
	check_child(&model);
	ck_assert_int_eq(pthread_join(thread, &err), 0);
	ck_assert_ptr_null(err);
	rngclient_local_close(local);
}
END_TEST

#ifndef __SANITIZE_THREAD__ /* it makes no threads after a fork() beside others */
static void *draw_in_child(void *arg)
{
	child_draws(arg);
	return NULL;
}

/* The same, and the child's first thread gets the stack of the one that was left behind. */
START_TEST(thread_in_child)
{
	struct rngclient_local *local = open_local(0);
	struct model model;
	pthread_t thread;
	void *err;
	pid_t pid;

	world->hold = true;
	ck_assert_int_eq(pthread_create(&thread, NULL, draw_while_held, local), 0);
	while (!world->held)
		sched_yield();
	model_seed(&model, world->taken);
	pid = fork();
	if (pid == 0) {
		world->hold = false;
		_exit(pthread_create(&thread, NULL, draw_in_child, local) ||
		      pthread_join(thread, NULL));
	}
	wait_for(pid);
	check_child(&model);
	ck_assert_int_eq(pthread_join(thread, &err), 0);
	ck_assert_ptr_null(err);
	rngclient_local_close(local);
}
END_TEST
#endif

/* fork() is what the C library makes of it; the kernel's own call has no handlers at all. */
START_TEST(clone_without_vm)
{
	struct rngclient_local *local = open_local(0);
	struct model model;
	uint8_t out[DRAW_BYTES];
	pid_t pid;

	model_seed(&model, 1);
	pid = (pid_t)syscall(SYS_clone, SIGCHLD | 0x00000400 /* CLONE_FILES */, NULL, NULL, NULL,
			     NULL);
	if (pid == 0) {
		child_draws(local);
		_exit(0);
	}
	wait_for(pid);
	check_child(&model);
	ck_assert_int_eq(rngclient_local_bytes(local, out, sizeof(out)), 0);
	ck_assert(model_follow(&model, out, sizeof(out)));
	ck_assert_mem_ne(out, world->child[0], DRAW_BYTES);
	ck_assert_mem_ne(out, world->child[1], DRAW_BYTES);
	rngclient_local_close(local);
}
END_TEST

/* What a child finds of the parent's state: nothing, where the kernel can see to that. */
START_TEST(child_finds_nothing)
{
	struct rngclient_local *local = open_local(0);
	struct local_state *state = local->page.data;
	uint8_t key[RNG_KEY_BYTES], out[DRAW_BYTES];
	bool shared;
	pid_t pid;

	ck_assert_int_eq(rngclient_local_bytes(local, out, sizeof(out)), 0);
	ck_assert_ptr_eq(last_key, state->rng.key); /* never elsewhere */
	memcpy(key, state->rng.key, sizeof(key));
	shared = local->page.shared;
	pid = fork();
	if (pid == 0)
		_exit(all_are(state, 0, sizeof(*state)) ? 0 : 7);
	if (!shared) {
		wait_for(pid);
	} else { /* so both sides take another seed */
		int status;

		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert_int_eq(WEXITSTATUS(status), 7);
		ck_assert_int_eq(rngclient_after_fork(0), 0);
		ck_assert_int_eq(rngclient_local_bytes(local, out, sizeof(out)), 0);
		ck_assert_mem_ne(key, state->rng.key, sizeof(key));
		ck_assert_uint_eq(world->taken, 2);
	}
	rngclient_local_close(local);
}
END_TEST

/* ---- threads ---- */

struct ended {
	void *page;
	int err;
};

static void *draw_and_end(void *arg)
{
	struct ended *ended = arg;
	uint32_t number;

	ended->err = rngclient_local_open_thread(PATH, 0, 0);
	if (!ended->err)
		ended->err = rngclient_local_u32(NULL, &number);
	if (!ended->err && rngclient_local_open_thread(PATH, 0, 0) != -EALREADY)
		ended->err = -EPROTO;
	ended->page = local_thread_own ? local_thread_own->page.data : NULL;
	return NULL;
}

START_TEST(thread_exit_wipes)
{
	struct ended ended = {0};
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, draw_and_end, &ended), 0);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_int_eq(ended.err, 0);
	ck_assert_ptr_nonnull(ended.page);
	ck_assert_int_eq(msync(ended.page, 4096, MS_ASYNC), -1); /* no mapping there */
	ck_assert_int_eq(errno, ENOMEM);
	ck_assert_ptr_null(local_thread_own);
}
END_TEST

START_TEST(each_thread_its_own)
{
	uint8_t out[2][DRAW_BYTES];

	ck_assert_int_eq(rngclient_local_bytes(NULL, out[0], DRAW_BYTES), 0);
	ck_assert_uint_eq(world->taken, 1);
	ck_assert_int_eq(rngclient_after_fork(1), 0);
	ck_assert_uint_eq(world->taken, 2);
	ck_assert_int_eq(rngclient_getrandom(out[1], DRAW_BYTES, 0), DRAW_BYTES);
	ck_assert_mem_ne(out[0], out[1], DRAW_BYTES);
	ck_assert_uint_eq(world->taken, 2);
	world->err = -ENOENT; /* the system call itself */
	world->look_again++;
	errno = 77;
	ck_assert_int_eq(rngclient_getrandom(out[1], DRAW_BYTES, 0), DRAW_BYTES);
	ck_assert_int_eq(errno, 77);
	ck_assert(!all_are(out[1], 0, DRAW_BYTES));
	ck_assert_int_eq(rngclient_getrandom(out[1], DRAW_BYTES, 1u << 31), -1);
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_int_eq(rngclient_getrandom(NULL, 1, 0), -1);
	ck_assert_int_eq(errno, EFAULT);
	ck_assert_int_eq(rngclient_getrandom(NULL, 0, 0), 0);
	rngclient_local_close(local_thread_own);
	local_thread_own = NULL;
}
END_TEST

/* ---- draws ---- */

/* The first word from which on the number is at least this; UINT32_MAX + 1: none. */
static uint64_t first_word(uint32_t bound, uint32_t number)
{
	uint64_t low = 0, high = 1ull << 32;

	while (low < high) {
		uint64_t middle = (low + high) / 2;
		uint32_t got;

		draw_below_u32((uint32_t)middle, bound, &got);
		if (got >= number)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

/* Words between which the number is the same: some at the beginning are refused, no other. */
static uint64_t count_good(uint32_t bound, uint32_t number)
{
	uint64_t from = first_word(bound, number), to = first_word(bound, number + 1);
	uint64_t bad = 0;
	uint32_t got;

	while (from + bad < to && !draw_below_u32((uint32_t)(from + bad), bound, &got))
		bad++;
	for (uint64_t word = from + bad; word < to && word < from + bad + 4; word++)
		ck_assert(draw_below_u32((uint32_t)word, bound, &got) && got == number);
	ck_assert(draw_below_u32((uint32_t)(to - 1), bound, &got));
	return to - from - bad;
}

START_TEST(below_is_exact)
{
	static const uint32_t large[] = {1000003,        1u << 16, 1u << 31,
					 (1u << 31) + 1, 3u << 30, UINT32_MAX};
	uint64_t number64;
	uint32_t number;

	for (uint32_t bound = 1; bound <= 300; bound++)
		for (uint32_t i = 0; i < bound; i++)
			ck_assert_uint_eq(count_good(bound, i), (1ull << 32) / bound);
	for (size_t i = 0; i < sizeof(large) / sizeof(large[0]); i++)
		for (uint32_t k = 1; k <= 50; k++) {
			ck_assert_uint_eq(count_good(large[i], large[i] - k),
					  (1ull << 32) / large[i]);
			ck_assert_uint_eq(count_good(large[i], k - 1), (1ull << 32) / large[i]);
		}
	if (getenv("RNGD_LONG")) { /* every word there is */
		uint64_t counts[3] = {0};

		for (uint64_t word = 0; word < 1ull << 32; word++)
			if (draw_below_u32((uint32_t)word, 3, &number))
				counts[number]++;
		for (int i = 0; i < 3; i++)
			ck_assert_uint_eq(counts[i], (1ull << 32) / 3);
	}
	/* 2^64 mod 3 is 1: one word is refused, the first. */
	ck_assert(!draw_below_u64(0, 3, &number64));
	ck_assert(draw_below_u64(1, 3, &number64) && number64 == 0);
	ck_assert(draw_below_u64(UINT64_MAX, 3, &number64) && number64 == 2);
	ck_assert(draw_below_u64(0, 1ull << 63, &number64) && number64 == 0);
	ck_assert(draw_below_u64(UINT64_MAX, UINT64_MAX, &number64) && number64 == UINT64_MAX - 1);
	ck_assert(!draw_below_u64(0, UINT64_MAX, &number64));
}
END_TEST

#define CHI_DRAWS 200000
#define CHI_CELLS 100

/* Chi-square with 99 degrees of freedom: above 180 once in a million; these seeds are fixed. */
START_TEST(spread)
{
	struct rngclient_local *local = open_local(0);
	double chi = 0, real, lowest = 1, highest = 0, expected = (double)CHI_DRAWS / CHI_CELLS;
	uint64_t counts[2][CHI_CELLS] = {{0}}, number;

	for (int i = 0; i < CHI_DRAWS; i++) {
		ck_assert_int_eq(rngclient_local_below(local, CHI_CELLS, &number), 0);
		ck_assert_uint_lt(number, CHI_CELLS);
		counts[0][number]++;
		ck_assert_int_eq(rngclient_local_double(local, &real), 0);
		ck_assert(real >= 0 && real < 1);
		counts[1][(int)(real * CHI_CELLS)]++;
		lowest = real < lowest ? real : lowest;
		highest = real > highest ? real : highest;
	}
	for (int row = 0; row < 2; row++, chi = 0) {
		for (int i = 0; i < CHI_CELLS; i++)
			chi += ((double)counts[row][i] - expected) *
			       ((double)counts[row][i] - expected) / expected;
		ck_assert_msg(chi > 40 && chi < 180, "chi-square %f", chi);
	}
	ck_assert(lowest < 0.001 && highest > 0.999);
	ck_assert(draw_double(0) == 0.0);
	ck_assert(draw_double(UINT64_MAX) == 1.0 - 0x1p-53);
	ck_assert(draw_double(1ull << 11) == 0x1p-53);
	for (int i = 0; i < 1000; i++) {
		ck_assert_int_eq(rngclient_local_below(local, 1ull << 40, &number), 0);
		ck_assert_uint_lt(number, 1ull << 40);
		ck_assert_int_eq(rngclient_local_below(local, 1, &number), 0);
		ck_assert_uint_eq(number, 0);
	}
	rngclient_local_close(local);
}
END_TEST

START_TEST(uuid)
{
	struct rngclient_local *local = open_local(0);
	char text[2][RNGCLIENT_UUID_TEXT_BYTES + 1];
	uint8_t bytes[DRAW_UUID_BYTES] = {0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0xff, 0x77,
					  0xff, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff};

	draw_uuid(bytes);
	draw_uuid_text(bytes, text[0]);
	ck_assert_str_eq(text[0], "00112233-4455-4f77-bf99-aabbccddeeff");
	for (int i = 0; i < 100; i++) {
		text[i % 2][RNGCLIENT_UUID_TEXT_BYTES] = 'x';
		ck_assert_int_eq(rngclient_local_uuid(local, text[i % 2]), 0);
		ck_assert_int_eq(text[i % 2][RNGCLIENT_UUID_TEXT_BYTES], 'x');
		ck_assert_uint_eq(strlen(text[i % 2]), 36);
		ck_assert_uint_eq(strspn(text[i % 2], "0123456789abcdef-"), 36);
		ck_assert_int_eq(text[i % 2][14], '4');
		ck_assert_ptr_nonnull(strchr("89ab", text[i % 2][19]));
		ck_assert_str_ne(text[0], text[1]);
	}
	world->err = -ENOENT;
	world->look_again++;
	ck_assert_int_eq(rngclient_local_uuid(local, text[0]), -ENOENT);
	ck_assert(all_are(text[0], 0, RNGCLIENT_UUID_TEXT_BYTES));
	rngclient_local_close(local);
}
END_TEST

/* All 24 orders of four come as often as each other; big elements stay whole. */
START_TEST(shuffle)
{
	struct rngclient_local *local = open_local(0);
	struct {
		uint8_t bytes[200];
	} big[50], kept;
	int counts[256] = {0}, seen = 0;
	double chi = 0;

	for (int i = 0; i < 24000; i++) {
		uint8_t items[4] = {0, 1, 2, 3};

		ck_assert_int_eq(rngclient_local_shuffle(local, items, 4, 1), 0);
		ck_assert_int_eq(1 << items[0] | 1 << items[1] | 1 << items[2] | 1 << items[3], 15);
		counts[items[0] << 6 | items[1] << 4 | items[2] << 2 | items[3]]++;
	}
	for (int i = 0; i < 256; i++)
		if (counts[i]) {
			seen++;
			chi += (counts[i] - 1000.0) * (counts[i] - 1000.0) / 1000.0;
		}
	ck_assert_int_eq(seen, 24);
	ck_assert_msg(chi < 70, "chi-square %f", chi); /* 23 degrees: once in a million */
	for (int i = 0; i < 50; i++)
		memset(&big[i], i, sizeof(big[i]));
	ck_assert_int_eq(rngclient_local_shuffle(local, big, 50, sizeof(big[0])), 0);
	for (int i = 0, sum = 0; i < 50; i++) {
		memset(&kept, big[i].bytes[0], sizeof(kept));
		ck_assert_mem_eq(&kept, &big[i], sizeof(kept));
		sum += big[i].bytes[0];
		ck_assert(i < 49 || sum == 49 * 50 / 2);
	}
	world->err = -ENOENT;
	world->look_again++;
	ck_assert_int_eq(rngclient_local_shuffle(local, big, 50, sizeof(big[0])), -ENOENT);
	rngclient_local_close(local);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("local");
	TCase *tcase = tcase_create("local"), *steps = tcase_create("steps");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tcase, begin, end);
	/* An assertion is a system call, and spread has a million. */
	tcase_set_timeout(tcase, getenv("RNGD_LONG") ? 3600 : 60);
	tcase_add_test(tcase, known_answer);
	tcase_add_test(tcase, local_seed_matters);
	tcase_add_test(tcase, bad_arguments);
	tcase_add_test(tcase, nothing_stays);
	tcase_add_test(tcase, reasons);
	tcase_add_test(tcase, kernel_alone);
	tcase_add_test(tcase, refusal_stays);
	tcase_add_test(tcase, nested_forks);
	tcase_add_test(tcase, fork_beside_a_draw);
#ifndef __SANITIZE_THREAD__
	tcase_add_test(tcase, thread_in_child);
#endif
	tcase_add_test(tcase, clone_without_vm);
	tcase_add_test(tcase, child_finds_nothing);
	tcase_add_test(tcase, thread_exit_wipes);
	tcase_add_test(tcase, each_thread_its_own);
	tcase_add_test(tcase, below_is_exact);
	tcase_add_test(tcase, spread);
	tcase_add_test(tcase, uuid);
	tcase_add_test(tcase, shuffle);
	suite_add_tcase(suite, tcase);
#ifdef STEP_TESTS
	tcase_add_checked_fixture(steps, begin, end);
	tcase_set_timeout(steps, getenv("RNGD_LONG") ? 3600 : 120);
	tcase_add_test(steps, dropped_at_every_step);
	tcase_add_test(steps, cloned_at_every_step);
	tcase_add_test(steps, signal_at_every_step);
	tcase_add_test(steps, forked_at_every_step);
#else
	printf("SKIP: steps of a draw are counted on x86-64, without a sanitizer\n");
#endif
	suite_add_tcase(suite, steps);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
