/*
 * crypto/chacha20_impl - what the implementations of ChaCha20 share. Private to
 * crypto/chacha20*.c.
 */
#ifndef CRYPTO_CHACHA20_IMPL_H
#define CRYPTO_CHACHA20_IMPL_H

#include <stddef.h>
#include <stdint.h>

#include "crypto/chacha20.h"
#include "crypto/copy.h"

/*
 * A kernel, the function that holds key and keystream words in registers, has a frame of
 * its own: what the compiler spilled there lies below the caller's frame when it returns.
 */
#define CHACHA20_KERNEL CRYPTO_CLEAR_REGISTERS __attribute__((noinline))

/* Part of a kernel: arguments stay in registers. */
#define CHACHA20_INLINE static inline __attribute__((always_inline))

/* No vector registers, so that none need wiping. */
#define CHACHA20_INTEGER_ONLY CRYPTO_INTEGER_ONLY

/*
 * For arrays of registers in kernels, which -ftrivial-auto-var-init would put in memory in
 * order to clear them. Every element is written before it is read.
 */
#if defined(__has_attribute)
#if __has_attribute(uninitialized)
#define CHACHA20_UNINITIALIZED __attribute__((uninitialized))
#endif
#endif
#ifndef CHACHA20_UNINITIALIZED
#define CHACHA20_UNINITIALIZED
#endif

/*
 * Sets low to what a kernel returns: the low end of its frame, with the 128 bytes below the
 * stack pointer that are in use too (the red zone; System V ABI for x86-64, 3.2.2). A macro,
 * as no function can be inline in both kinds of kernel.
 */
#if defined(__x86_64__)
#define CHACHA20_FRAME_LOW(low) __asm__ volatile("leaq -128(%%rsp), %0" : "=r"(low))
#else
#define CHACHA20_FRAME_LOW(low) ((low) = 0)
#endif

/*
 * Overwrites the stack from the caller's frame down to the low end of a kernel that was
 * called from there. Nothing lives below the stack pointer of a function that makes calls,
 * as the callers of this one do: a signal handler that runs meanwhile has returned when the
 * next store is done.
 */
#if defined(__x86_64__)
CHACHA20_INLINE void chacha20_burn_stack(uintptr_t low)
{
	uintptr_t at;

#if defined(__AVX2__)
	__asm__ volatile("movq %%rsp, %0\n\t"
			 "vpxor %%xmm0, %%xmm0, %%xmm0\n"
			 "1:\n\t"
			 "subq $64, %0\n\t"
			 "vmovdqu %%ymm0, (%0)\n\t"
			 "vmovdqu %%ymm0, 32(%0)\n\t"
			 "cmpq %1, %0\n\t"
			 "ja 1b"
			 : "=&r"(at)
			 : "r"(low)
			 : "memory", "cc", "xmm0");
#else
	__asm__ volatile("movq %%rsp, %0\n"
			 "1:\n\t"
			 "subq $16, %0\n\t"
			 "movq $0, (%0)\n\t"
			 "movq $0, 8(%0)\n\t"
			 "cmpq %1, %0\n\t"
			 "ja 1b"
			 : "=&r"(at)
			 : "r"(low)
			 : "memory", "cc");
#endif
}
#else
/* Elsewhere by a frame larger than what the portable kernel needs on any processor. */
static __attribute__((noinline)) void chacha20_burn_stack(uintptr_t low)
{
	volatile uint64_t area[128] CHACHA20_UNINITIALIZED;

	(void)low;
	for (size_t i = 0; i < sizeof(area) / sizeof(area[0]); i++)
		area[i] = 0;
	(void)area[0];
}
#endif

#if defined(__AVX2__)
#define CHACHA20_LOW_VECTORS                                                                     \
	"xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", \
	    "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"

#define CHACHA20_ZERO(n) "vpxord %%xmm" #n ", %%xmm" #n ", %%xmm" #n "\n\t"

/* Clears every vector register this file's code can have used. */
CHACHA20_INLINE void chacha20_wipe_vectors(void)
{
	__asm__ volatile("vzeroall" : : : "memory", CHACHA20_LOW_VECTORS);
#if defined(__AVX512VL__)
	/* clang-format off */
	__asm__ volatile(CHACHA20_ZERO(16) CHACHA20_ZERO(17) CHACHA20_ZERO(18) CHACHA20_ZERO(19)
			 CHACHA20_ZERO(20) CHACHA20_ZERO(21) CHACHA20_ZERO(22) CHACHA20_ZERO(23)
			 CHACHA20_ZERO(24) CHACHA20_ZERO(25) CHACHA20_ZERO(26) CHACHA20_ZERO(27)
			 CHACHA20_ZERO(28) CHACHA20_ZERO(29) CHACHA20_ZERO(30) CHACHA20_ZERO(31)
			 : : : "memory",
			   "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23",
			   "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31");
	/* clang-format on */
#endif
}
#endif

/* Before a loop over an array of registers, which only then stays in registers. */
#define CHACHA20_UNROLL _Pragma("GCC unroll 16")

/* The same loop in one statement. */
#define CHACHA20_EACH(i, n, statement)        \
	do {                                  \
		CHACHA20_UNROLL               \
		for (int i = 0; i < (n); i++) \
			statement;            \
	} while (0)

/* What is made at once when the last block is not whole: eight blocks. */
#define CHACHA20_GROUP_BYTES (8u * CHACHA20_BLOCK_BYTES)

/* Each has the contract of chacha20_impl.blocks. */
void chacha20_blocks_portable(const uint8_t key[CHACHA20_KEY_BYTES], uint64_t nonce,
			      uint64_t counter, uint8_t *out, size_t nblocks);
#if defined(__x86_64__)
void chacha20_blocks_avx2(const uint8_t key[CHACHA20_KEY_BYTES], uint64_t nonce, uint64_t counter,
			  uint8_t *out, size_t nblocks);
void chacha20_blocks_avx512(const uint8_t key[CHACHA20_KEY_BYTES], uint64_t nonce, uint64_t counter,
			    uint8_t *out, size_t nblocks);
#endif

#endif
