/*
 * Owns: nothing. May touch: the caller's buffers, and a generator through client/local. Never does:
 * favour one number over another, or give one of a failed draw.
 */
#include "client/draw.h"

#include <errno.h>

#include "client/handle.h"
#include "client/local.h"

#define DRAW_SWAP_BYTES 64u

_Static_assert(RNGCLIENT_UUID_TEXT_BYTES == 37, "32 digits, 4 hyphens, NUL");

/*
 * word * bound, as a fixed-point number, has the result before its point. Of the 2^32 words, those
 * whose fraction is below 2^32 mod bound are the ones too many.
 */
bool draw_below_u32(uint32_t word, uint32_t bound, uint32_t *number)
{
	uint64_t product = (uint64_t)word * bound;

	*number = (uint32_t)(product >> 32);
	/* The remainder is smaller than bound: most of the time that saves the division. */
	return (uint32_t)product >= bound || (uint32_t)product >= -bound % bound;
}

bool draw_below_u64(uint64_t word, uint64_t bound, uint64_t *number)
{
#ifdef __SIZEOF_INT128__
	unsigned __int128 product = (unsigned __int128)word * bound;

	*number = (uint64_t)(product >> 64);
	return (uint64_t)product >= bound || (uint64_t)product >= -bound % bound;
#else
	/* The words below the largest multiple of bound. */
	*number = word % bound;
	return word - *number <= -bound;
#endif
}

double draw_double(uint64_t word)
{
	return (double)(word >> 11) * 0x1p-53;
}

void draw_uuid(uint8_t uuid[DRAW_UUID_BYTES])
{
	uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x40);
	uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
}

void draw_uuid_text(const uint8_t uuid[DRAW_UUID_BYTES], char text[37])
{
	static const char digits[] = "0123456789abcdef";

	for (unsigned int i = 0; i < DRAW_UUID_BYTES; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*text++ = '-';
		*text++ = digits[uuid[i] >> 4];
		*text++ = digits[uuid[i] & 15];
	}
	*text = '\0';
}

/* On a stack that is left. Plain stores, which the compiler may not leave out. */
static inline void wipe(void *data, size_t bytes)
{
	memset(data, 0, bytes);
	__asm__ volatile("" : : "r"(data) : "memory");
}

/* As the two calls after them, with out not NULL; inline in those that draw words. */
static inline __attribute__((always_inline)) int draw_u32(struct rngclient_local *local,
							  uint32_t *out)
{
	local = local_meant(local);
	return local ? local_draw(local, out, sizeof(*out)) : local_thread_first(out, sizeof(*out));
}

static inline __attribute__((always_inline)) int draw_u64(struct rngclient_local *local,
							  uint64_t *out)
{
	local = local_meant(local);
	return local ? local_draw(local, out, sizeof(*out)) : local_thread_first(out, sizeof(*out));
}

RNGCLIENT_EXPORT LOCAL_FAST_CODE int rngclient_local_u32(struct rngclient_local *local,
							 uint32_t *out)
{
	if (!out)
		return -EINVAL;
	return draw_u32(local, out);
}

RNGCLIENT_EXPORT LOCAL_FAST_CODE int rngclient_local_u64(struct rngclient_local *local,
							 uint64_t *out)
{
	if (!out)
		return -EINVAL;
	return draw_u64(local, out);
}

static int below_u32(struct rngclient_local *local, uint32_t bound, uint64_t *out)
{
	uint32_t word, number = 0;
	int err;

	do {
		err = draw_u32(local, &word);
	} while (!err && !draw_below_u32(word, bound, &number));
	wipe(&word, sizeof(word));
	*out = err ? 0 : number;
	return err;
}

static int below_u64(struct rngclient_local *local, uint64_t bound, uint64_t *out)
{
	uint64_t word, number = 0;
	int err;

	do {
		err = draw_u64(local, &word);
	} while (!err && !draw_below_u64(word, bound, &number));
	wipe(&word, sizeof(word));
	*out = err ? 0 : number;
	return err;
}

RNGCLIENT_EXPORT int rngclient_local_below(struct rngclient_local *local, uint64_t bound,
					   uint64_t *out)
{
	if (!out)
		return -EINVAL;
	*out = 0;
	if (bound == 0)
		return -EINVAL;
	return bound <= UINT32_MAX ? below_u32(local, (uint32_t)bound, out)
				   : below_u64(local, bound, out);
}

RNGCLIENT_EXPORT int rngclient_local_double(struct rngclient_local *local, double *out)
{
	uint64_t word;
	int err;

	if (!out)
		return -EINVAL;
	err = draw_u64(local, &word);
	*out = err ? 0.0 : draw_double(word);
	wipe(&word, sizeof(word));
	return err;
}

RNGCLIENT_EXPORT int rngclient_local_uuid(struct rngclient_local *local,
					  char text[RNGCLIENT_UUID_TEXT_BYTES])
{
	uint8_t uuid[DRAW_UUID_BYTES];
	int err;

	if (!text)
		return -EINVAL;
	memset(text, 0, RNGCLIENT_UUID_TEXT_BYTES);
	err = rngclient_local_bytes(local, uuid, sizeof(uuid));
	if (err)
		return err;
	draw_uuid(uuid);
	draw_uuid_text(uuid, text);
	wipe(uuid, sizeof(uuid));
	return 0;
}

static void swap(uint8_t *a, uint8_t *b, size_t len)
{
	uint8_t kept[DRAW_SWAP_BYTES];

	while (len > 0) {
		size_t part = len < sizeof(kept) ? len : sizeof(kept);

		memcpy(kept, a, part);
		memcpy(a, b, part);
		memcpy(b, kept, part);
		a += part;
		b += part;
		len -= part;
	}
	explicit_bzero(kept, sizeof(kept));
}

/* From the end on, each place takes one of those that are left (Fisher and Yates). */
RNGCLIENT_EXPORT int rngclient_local_shuffle(struct rngclient_local *local, void *base,
					     size_t count, size_t size)
{
	uint8_t *items = base;
	uint64_t other;
	size_t all;
	int err = 0;

	if (__builtin_mul_overflow(count, size, &all) || (!base && all > 0))
		return -EINVAL;
	for (size_t left = count; !err && left > 1; left--) {
		err = rngclient_local_below(local, left, &other);
		if (!err && other != left - 1)
			swap(items + (left - 1) * size, items + other * size, size);
	}
	return err;
}
