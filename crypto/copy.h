/*
 * crypto/copy - copies keys and keystream through integer registers. The C library's memcpy()
 * leaves what it copies in vector registers, from where a signal frame or a later spill brings it
 * to the stack (seen: a key in ymm17, on the stack after a signal).
 */
#ifndef CRYPTO_COPY_H
#define CRYPTO_COPY_H

#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__) || (defined(__aarch64__) && !defined(__clang__))
#define CRYPTO_INTEGER_ONLY __attribute__((target("general-regs-only")))
#else
#define CRYPTO_INTEGER_ONLY
#endif

CRYPTO_INTEGER_ONLY static __attribute__((noinline, unused)) void crypto_copy(uint8_t *to,
									      const uint8_t *from,
									      size_t len)
{
	for (size_t i = 0; i < len; i++) {
		to[i] = from[i];
		__asm__ volatile("" ::: "memory"); /* else the loop becomes a call of memcpy() */
	}
}

#endif
