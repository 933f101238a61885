/*
 * Owns: nothing. May touch: the page it is given, by reading.
 * Never does: map, wait, or believe what it read while the page moved.
 */
#include "proto/epoch_page.h"

#include <string.h>

/* Each try copies 64 bytes; a second event within one is rare, and eight in a row are a storm. */
#define EPOCH_PAGE_TRIES 8

#define EPOCH_PAGE_FIRST_GENERATION 1u
#define EPOCH_PAGE_NOTIFIER_SHIFT   24u

bool epoch_page_valid(const struct epoch_page *page)
{
	return memcmp(page->magic, EPOCH_PAGE_MAGIC, EPOCH_PAGE_MAGIC_BYTES) == 0 &&
	       page->version == EPOCH_PAGE_VERSION;
}

uint32_t epoch_page_epoch(const struct epoch_page *page)
{
	return __atomic_load_n(&page->epoch, __ATOMIC_ACQUIRE);
}

uint64_t epoch_page_generation(const struct epoch_page *page)
{
	return __atomic_load_n(&page->generation, __ATOMIC_ACQUIRE);
}

uint64_t epoch_page_look_again(const struct epoch_page *page)
{
	return __atomic_load_n(&page->look_again, __ATOMIC_ACQUIRE);
}

uint64_t epoch_page_lease_ns(const struct epoch_page *page)
{
	return __atomic_load_n(&page->lease_ns, __ATOMIC_ACQUIRE);
}

uint32_t epoch_page_state(const struct epoch_page *page)
{
	return __atomic_load_n(&page->state, __ATOMIC_ACQUIRE);
}

uint32_t epoch_page_word(uint32_t notifier, uint32_t counter_base, uint64_t generation)
{
	uint32_t counter = counter_base + (uint32_t)generation;

	return notifier << EPOCH_PAGE_NOTIFIER_SHIFT | (counter & EPOCH_PAGE_COUNTER_MASK);
}

/*
 * Another process may be writing here. With acquire, because the generation must not be loaded
 * again before these were.
 */
static void copy_event(const struct epoch_page_event *from, struct epoch_page_event *to)
{
	memset(to, 0, sizeof(*to));
	to->generation = __atomic_load_n(&from->generation, __ATOMIC_ACQUIRE);
	to->realtime_ns = __atomic_load_n(&from->realtime_ns, __ATOMIC_ACQUIRE);
	to->boottime_ns = __atomic_load_n(&from->boottime_ns, __ATOMIC_ACQUIRE);
	to->notifier = __atomic_load_n(&from->notifier, __ATOMIC_ACQUIRE);
	for (size_t i = 0; i < EPOCH_PAGE_ID_BYTES; i++)
		to->id[i] = __atomic_load_n(&from->id[i], __ATOMIC_ACQUIRE);
}

/*
 * The slot of generation g is written again only for g + 2, after g + 1 was published: where the
 * generation is still g after the copy, nobody had begun. For that the writer must keep its next
 * stores to a slot behind the publication of the generation before (store with release, or after a
 * release fence).
 */
bool epoch_page_last_event(const struct epoch_page *page, struct epoch_page_event *event)
{
	for (int i = 0; i < EPOCH_PAGE_TRIES; i++) {
		uint64_t generation = epoch_page_generation(page);

		if (generation <= EPOCH_PAGE_FIRST_GENERATION)
			break;
		copy_event(&page->events[generation % 2], event);
		if (__atomic_load_n(&page->generation, __ATOMIC_RELAXED) == generation &&
		    event->generation == generation)
			return true;
	}
	memset(event, 0, sizeof(*event));
	return false;
}

const char *epoch_page_notifier_name(uint32_t notifier)
{
	static const char *const names[] = {
	    [EPOCH_PAGE_NOBODY] = "nobody",
	    [EPOCH_PAGE_VMGENID] = "vmgenid",
	    [EPOCH_PAGE_KMSG] = "kmsg",
	    [EPOCH_PAGE_VMCLOCK] = "vmclock",
	    [EPOCH_PAGE_VMCLOCK_DISRUPTION] = "vmclock_disruption",
	    [EPOCH_PAGE_SOURCE] = "epoch_source",
	    [EPOCH_PAGE_HOST] = "host",
	    [EPOCH_PAGE_START] = "start",
	    [EPOCH_PAGE_KERNEL] = "kernel",
	    [EPOCH_PAGE_CLOCK] = "clock",
	};

	return notifier < sizeof(names) / sizeof(names[0]) ? names[notifier] : "unknown";
}
