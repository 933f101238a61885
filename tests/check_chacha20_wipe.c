/*
 * check_chacha20_wipe - what the implementations of ChaCha20 leave behind in vector registers
 * and on the stack.
 *
 * Owns:       nothing beyond one test's life.
 * May touch:  its own memory, a stack of its own making, vector registers.
 * Never does: judge what an implementation computes.
 */
#include <check.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include "crypto/chacha20.h"
#include "host/cpu.h"

#define BLOCK      CHACHA20_BLOCK_BYTES
#define BLOCKS_MAX 72u /* twice the widest group and a few more */

/* Asked once: under a hypervisor each CPUID is a trip out of the guest. */
static unsigned usable_isa(void)
{
	static unsigned isa;
	static bool known;

	if (known)
		return isa;
	known = true;
	if (cpu_has_avx2())
		isa |= CHACHA20_ISA_AVX2;
	if (cpu_has_avx512())
		isa |= CHACHA20_ISA_AVX512;
	return isa;
}

static bool runs_here(const struct chacha20_impl *impl)
{
	return !(impl->needs_isa & ~usable_isa());
}

#define FOR_EACH_IMPL(impl)                                                           \
	for (const struct chacha20_impl *impl = chacha20_impls(); impl->name; impl++) \
		if (runs_here(impl))

/* ------------------------------------------------------- vector registers */

#if defined(__x86_64__)

struct vectors_seen {
	uint8_t reg[32][64];
};

#define EACH_LOW_REGISTER(op)                                                                   \
	op(0) op(1) op(2) op(3) op(4) op(5) op(6) op(7) op(8) op(9) op(10) op(11) op(12) op(13) \
	    op(14) op(15)
#define EACH_HIGH_REGISTER(op)                                                                     \
	op(16) op(17) op(18) op(19) op(20) op(21) op(22) op(23) op(24) op(25) op(26) op(27) op(28) \
	    op(29) op(30) op(31)
#define STORE_ZMM(n) "vmovdqu64 %%zmm" #n ", " #n "*64(%0)\n\t"
#define STORE_YMM(n) "vmovdqu %%ymm" #n ", " #n "*64(%0)\n\t"
#define CLEAR_ZMM(n) "vpxord %%zmm" #n ", %%zmm" #n ", %%zmm" #n "\n\t"

/* Macros, so that nothing runs between the call under test and the reading. */
#define CLEAR_VECTORS()                                                                 \
	do {                                                                            \
		__asm__ volatile("vzeroall" : : : "memory");                            \
		if (usable_isa() & CHACHA20_ISA_AVX512)                                 \
			__asm__ volatile(EACH_HIGH_REGISTER(CLEAR_ZMM) : : : "memory"); \
	} while (0)
#define READ_VECTORS(seen, wide)                                                                 \
	do {                                                                                     \
		if (wide)                                                                        \
			__asm__ volatile(EACH_LOW_REGISTER(STORE_ZMM)                            \
					     EACH_HIGH_REGISTER(STORE_ZMM)                       \
					 :                                                       \
					 : "r"(seen)                                             \
					 : "memory");                                            \
		else                                                                             \
			__asm__ volatile(EACH_LOW_REGISTER(STORE_YMM) : : "r"(seen) : "memory"); \
	} while (0)

static bool all_zero(const struct vectors_seen *seen)
{
	static const struct vectors_seen zero;

	return memcmp(seen, &zero, sizeof(zero)) == 0;
}

/* The reading itself must see what is there, in the first and last register. */
static void check_reading(bool wide)
{
	struct vectors_seen *seen = calloc(1, sizeof(*seen));

	CLEAR_VECTORS();
	READ_VECTORS(seen, wide);
	ck_assert(all_zero(seen));
	__asm__ volatile("vpcmpeqd %%ymm15, %%ymm15, %%ymm15" : : : "memory");
	READ_VECTORS(seen, wide);
	ck_assert(!all_zero(seen) && seen->reg[15][31]);
	CLEAR_VECTORS();
	if (wide) {
		__asm__ volatile("vpternlogd $0xff, %%zmm31, %%zmm31, %%zmm31" : : : "memory");
		READ_VECTORS(seen, wide);
		ck_assert(!all_zero(seen) && seen->reg[31][63]);
	}
	free(seen);
}

START_TEST(vector_registers_are_wiped)
{
	static uint8_t out[BLOCKS_MAX * BLOCK], key[CHACHA20_KEY_BYTES] = {7};
	struct vectors_seen *seen = calloc(1, sizeof(*seen));
	bool wide = usable_isa() & CHACHA20_ISA_AVX512;

	if (!(usable_isa() & CHACHA20_ISA_AVX2)) {
		puts("SKIP: vector_registers_are_wiped: no AVX2 to read them with");
		free(seen);
		return;
	}
	check_reading(wide);
	FOR_EACH_IMPL(impl)
	{
		chacha20_select(impl->needs_isa);
		for (size_t n = 1; n <= BLOCKS_MAX; n++) {
			CLEAR_VECTORS();
			impl->blocks(key, 3, 0, out, n);
			READ_VECTORS(seen, wide);
			ck_assert_msg(all_zero(seen), "%s, %zu blocks", impl->name, n);
		}
		for (size_t len = 1; len < sizeof(out); len++) {
			CLEAR_VECTORS();
			chacha20_keystream(key, 3, 0, out, len);
			READ_VECTORS(seen, wide);
			ck_assert_msg(all_zero(seen), "%s, %zu bytes", impl->name, len);
		}
	}
	free(seen);
}
END_TEST

#else

START_TEST(vector_registers_are_wiped)
{
	puts(
	    "SKIP: vector_registers_are_wiped: the registers of this processor are not known here");
}
END_TEST

#endif

/* --------------------------------------------------------------------- stack */

/*
 * A call runs on a stack of our own, twice, with all alike but the key: a byte of that stack
 * that differs afterwards was left there and depends on the key.
 */
#define STACK_BYTES 65536u

struct stack_job {
	void (*run)(const struct stack_job *job);
	const struct chacha20_impl *impl;
	uint8_t key[CHACHA20_KEY_BYTES];
	uint8_t out[BLOCKS_MAX * BLOCK];
	size_t nblocks;
	size_t shift_bytes; /* start of the stack, to try each alignment of frames */
	ucontext_t here, there;
};

static struct stack_job *stack_job;

static void stack_entry(void)
{
	stack_job->run(stack_job);
}

static void run_blocks(const struct stack_job *job)
{
	job->impl->blocks(job->key, 5, 6, stack_job->out, job->nblocks);
}

static void run_keystream(const struct stack_job *job)
{
	chacha20_keystream(job->key, 5, 6, stack_job->out, job->nblocks * BLOCK - 9);
}

/* Leaves its copy behind. */
static void run_leaking(const struct stack_job *job)
{
	volatile uint8_t copy[CHACHA20_KEY_BYTES];

	for (size_t i = 0; i < sizeof(copy); i++)
		copy[i] = job->key[i];
	stack_job->out[0] = copy[1];
}

static void run_on_stack(struct stack_job *job, uint8_t *stack, uint8_t key_byte)
{
	memset(job->key, key_byte, sizeof(job->key));
	memset(stack, 0xa5, STACK_BYTES);
	stack_job = job;
	ck_assert_int_eq(getcontext(&job->there), 0);
	job->there.uc_stack.ss_sp = stack;
	job->there.uc_stack.ss_size = STACK_BYTES - job->shift_bytes;
	job->there.uc_link = &job->here;
	makecontext(&job->there, stack_entry, 0);
	ck_assert_int_eq(swapcontext(&job->here, &job->there), 0);
}

/* How many bytes of the stack differ. */
static size_t left_on_stack(struct stack_job *job)
{
	static uint8_t stack[STACK_BYTES] __attribute__((aligned(64))), first[STACK_BYTES];
	size_t differ = 0;

	run_on_stack(job, stack, 0x11); /* once before, so that every symbol is bound */
	run_on_stack(job, stack, 0x11);
	memcpy(first, stack, sizeof(first));
	run_on_stack(job, stack, 0xee);
	for (size_t i = 0; i < STACK_BYTES; i++)
		differ += stack[i] != first[i];
	return differ;
}

START_TEST(stack_is_wiped)
{
	struct stack_job *job = calloc(1, sizeof(*job));

#if defined(RNGD_SANITIZER)
	puts("SKIP: stack_is_wiped: a sanitizer lays out frames of its own");
	free(job);
	return;
#endif
	job->run = run_leaking;
	ck_assert_uint_ge(left_on_stack(job),
			  CHACHA20_KEY_BYTES / 2); /* returning overwrites some */
	FOR_EACH_IMPL(impl)
	{
		chacha20_select(impl->needs_isa);
		job->impl = impl;
		for (job->shift_bytes = 0; job->shift_bytes < 64; job->shift_bytes += 16) {
			for (job->nblocks = 1; job->nblocks <= BLOCKS_MAX; job->nblocks++) {
				size_t left;

				job->run = run_blocks;
				left = left_on_stack(job);
				job->run = run_keystream;
				left += left_on_stack(job);
				ck_assert_msg(!left, "%s, %zu blocks: %zu bytes", impl->name,
					      job->nblocks, left);
			}
		}
	}
	free(job);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("chacha20_wipe");
	TCase *tcase = tcase_create("chacha20_wipe");
	SRunner *sr = srunner_create(suite);
	int failed;

	for (const struct chacha20_impl *impl = chacha20_impls(); impl->name; impl++)
		if (!runs_here(impl))
			printf("SKIP: %s: this processor cannot run it\n", impl->name);
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, vector_registers_are_wiped);
	tcase_add_test(tcase, stack_is_wiped);
	suite_add_tcase(suite, tcase);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
