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

/* The integer registers that a function used come back zero where the compiler can do that. */
#if defined(__has_attribute)
#if __has_attribute(zero_call_used_regs)
#define CRYPTO_CLEAR_REGISTERS __attribute__((zero_call_used_regs("used-gpr")))
#endif
#endif
#ifndef CRYPTO_CLEAR_REGISTERS
#define CRYPTO_CLEAR_REGISTERS
#endif

/* Any len and alignment; the two do not overlap. */
CRYPTO_INTEGER_ONLY CRYPTO_CLEAR_REGISTERS static __attribute__((noinline, unused)) void
crypto_copy(uint8_t *to, const uint8_t *from, size_t len)
{
	uint64_t word;

	for (; len >= sizeof(word); len -= sizeof(word)) {
		__builtin_memcpy(&word, from, sizeof(word)); /* one load, one store */
		__builtin_memcpy(to, &word, sizeof(word));
		from += sizeof(word);
		to += sizeof(word);
		__asm__ volatile("" ::: "memory"); /* else the loop becomes a call of memcpy() */
	}
	for (; len > 0; len--) {
		*to++ = *from++;
		__asm__ volatile("" ::: "memory");
	}
}

#endif
