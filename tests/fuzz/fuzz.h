/*
 * tests/fuzz/fuzz - what the fuzz targets share: a reader of the input, and a check that ends the
 * run.
 *
 * The targets link the product's own objects. System calls that would be slow, or that fail too
 * seldom, are replaced at the linker (--wrap): __wrap_NAME answers for FUZZ_FD and passes
 * everything else on.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A descriptor that is never open: it belongs to the target. */
#define FUZZ_FD 100000

/* libFuzzer's entry: returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_CHECK(condition)                                                                   \
	do {                                                                                    \
		if (!(condition)) {                                                             \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
			abort();                                                                \
		}                                                                               \
	} while (0)

/* What is left of the input. An input that is used up reads as zeroes. */
struct fuzz_input {
	const uint8_t *at;
	size_t left;
};

static inline uint8_t fuzz_u8(struct fuzz_input *input)
{
	if (input->left == 0)
		return 0;
	input->left--;
	return *input->at++;
}

static inline uint16_t fuzz_u16(struct fuzz_input *input)
{
	uint16_t low = fuzz_u8(input);

	return (uint16_t)(low | fuzz_u8(input) << 8);
}

static inline uint32_t fuzz_u32(struct fuzz_input *input)
{
	uint32_t low = fuzz_u16(input);

	return low | (uint32_t)fuzz_u16(input) << 16;
}

static inline uint64_t fuzz_u64(struct fuzz_input *input)
{
	uint64_t low = fuzz_u32(input);

	return low | (uint64_t)fuzz_u32(input) << 32;
}

/* Up to max bytes, in place: *bytes points at them. Returns how many. */
static inline size_t fuzz_take(struct fuzz_input *input, size_t max, const uint8_t **bytes)
{
	size_t n = max < input->left ? max : input->left;

	*bytes = input->at;
	input->at += n;
	input->left -= n;
	return n;
}

/* A copy of its own size on the heap, so that a read beyond it is seen. The caller frees it. */
static inline void *fuzz_copy(const void *bytes, size_t len)
{
	void *copy = malloc(len ? len : 1);

	FUZZ_CHECK(copy);
	if (len)
		memcpy(copy, bytes, len);
	return copy;
}

#endif
