/*
 * crypto/chacha20_impl - what the implementations of ChaCha20 share. Private to
 * crypto/chacha20*.c.
 */
#ifndef CRYPTO_CHACHA20_IMPL_H
#define CRYPTO_CHACHA20_IMPL_H

#include <stddef.h>
#include <stdint.h>

#include "crypto/chacha20.h"

/*
 * A kernel, the function that holds key and keystream words in registers, has a frame of
 * its own: what the compiler spilled there lies below the caller's frame when it returns.
 * The integer registers it used come back zero where the compiler can do that.
 */
#if defined(__has_attribute)
#if __has_attribute(zero_call_used_regs)
#define CHACHA20_KERNEL __attribute__((noinline, zero_call_used_regs("used-gpr")))
#endif
#endif
#ifndef CHACHA20_KERNEL
#define CHACHA20_KERNEL __attribute__((noinline))
#endif

/* Part of a kernel: arguments stay in registers. */
#define CHACHA20_INLINE static inline __attribute__((always_inline))

/*
 * No vector registers, so that none need wiping. Other compilers and processors have
 * nothing in such a function worth a vector register.
 */
#if defined(__x86_64__) || (defined(__aarch64__) && !defined(__clang__))
#define CHACHA20_INTEGER_ONLY __attribute__((target("general-regs-only")))
#else
#define CHACHA20_INTEGER_ONLY
#endif

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
 * Defines a function that overwrites `bytes` of the stack below its caller's frame, by words
 * of the given type. Called from where a kernel was called, it covers that kernel's frame.
 */
#define CHACHA20_DEFINE_BURN(name, bytes, type)                                    \
	__attribute__((noinline)) static void name(void)                           \
	{                                                                          \
		volatile type area[(bytes) / sizeof(type)] CHACHA20_UNINITIALIZED; \
                                                                                   \
		for (size_t i = 0; i < (bytes) / sizeof(type); i++)                \
			area[i] = (type){0};                                       \
		(void)area[0];                                                     \
	}

/* Before a loop over an array of registers, which only then stays in registers. */
#define CHACHA20_UNROLL _Pragma("GCC unroll 16")

/* The same loop in one statement. */
#define CHACHA20_EACH(i, n, statement)        \
	do {                                  \
		CHACHA20_UNROLL               \
		for (int i = 0; i < (n); i++) \
			statement;            \
	} while (0)

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
