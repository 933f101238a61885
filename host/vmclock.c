/*
 * Owns: nothing. May touch: the page it is given, by loads. Never does: write, map, or wait for the
 * hypervisor.
 */
#include "host/vmclock.h"

#include <endian.h>

#define VMCLOCK_MAGIC         0x4b4c4356u
#define VMCLOCK_VERSION       1u
#define VMCLOCK_AT_MAGIC      0u
#define VMCLOCK_AT_SIZE       4u
#define VMCLOCK_AT_VERSION    8u
#define VMCLOCK_AT_SEQUENCE   12u
#define VMCLOCK_AT_DISRUPTION 16u
#define VMCLOCK_AT_FLAGS      24u
#define VMCLOCK_AT_COUNTER    104u
#define VMCLOCK_FLAG_COUNTER  (1u << 8)

/* The structure's size as it says itself, with the counter. */
#define VMCLOCK_COUNTER_BYTES 112u

/* An update takes the hypervisor some stores; it can be interrupted within. */
#define VMCLOCK_TRIES 1000

static uint16_t load_16(const uint8_t *page, size_t offset)
{
	return le16toh(
	    __atomic_load_n((const uint16_t *)(const void *)(page + offset), __ATOMIC_RELAXED));
}

static uint32_t load_32(const uint8_t *page, size_t offset)
{
	return le32toh(
	    __atomic_load_n((const uint32_t *)(const void *)(page + offset), __ATOMIC_RELAXED));
}

static uint64_t load_64(const uint8_t *page, size_t offset)
{
	return le64toh(
	    __atomic_load_n((const uint64_t *)(const void *)(page + offset), __ATOMIC_RELAXED));
}

const char *vmclock_refuse(const void *page, size_t page_bytes)
{
	uint32_t size_bytes = load_32(page, VMCLOCK_AT_SIZE);

	if (load_32(page, VMCLOCK_AT_MAGIC) != VMCLOCK_MAGIC)
		return "not a vmclock page";
	if (load_16(page, VMCLOCK_AT_VERSION) != VMCLOCK_VERSION)
		return "a version not known here";
	if (size_bytes < VMCLOCK_MIN_BYTES || page_bytes < VMCLOCK_COUNTER_BYTES)
		return "too short";
	return NULL;
}

struct vmclock_reading vmclock_read(const void *page)
{
	struct vmclock_reading reading = {.settled = false};
	uint32_t sequence;

	for (int i = 0; i < VMCLOCK_TRIES && !reading.settled; i++) {
		/* Odd while it is written: then the second look cannot find it equal. */
		sequence = load_32(page, VMCLOCK_AT_SEQUENCE) & ~1u;
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		reading.disruption = load_64(page, VMCLOCK_AT_DISRUPTION);
		reading.flags = load_64(page, VMCLOCK_AT_FLAGS);
		reading.counter = load_64(page, VMCLOCK_AT_COUNTER);
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		reading.settled = load_32(page, VMCLOCK_AT_SEQUENCE) == sequence;
	}
	reading.has_counter = (reading.flags & VMCLOCK_FLAG_COUNTER) &&
			      load_32(page, VMCLOCK_AT_SIZE) >= VMCLOCK_COUNTER_BYTES;
	return reading;
}
