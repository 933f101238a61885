/*
 * proto/epoch_page - the epoch page: what any process can map to know that its machine was cloned.
 * PROTOCOL.md draws the layout. Integers are native: a page never leaves its machine.
 *
 * The word at offset 0 has the form of the "RNG epoch" RFC for Linux (Chalios, Graf, Donenfeld and
 * others, 2023): the notifier in bits 31-24, a counter in bits 23-0. A program that knows only "a
 * u32 at offset 0 of a mapped file" needs no more.
 */
#ifndef PROTO_EPOCH_PAGE_H
#define PROTO_EPOCH_PAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EPOCH_PAGE_BYTES        4096u
#define EPOCH_PAGE_VERSION      1u
#define EPOCH_PAGE_MAGIC        "RNGDPAGE" /* 8 bytes, no NUL */
#define EPOCH_PAGE_MAGIC_BYTES  8u
#define EPOCH_PAGE_ID_BYTES     16u
#define EPOCH_PAGE_COUNTER_MASK 0x00ffffffu
#define EPOCH_PAGE_SAVED_BYTES  32u
#define EPOCH_PAGE_SAVED_ROWS   16u

/* Who noticed. Numbers are in the epoch word and in the page: never reuse one. */
enum epoch_page_notifier {
	EPOCH_PAGE_NOBODY = 0,  /* no clone since the page was made */
	EPOCH_PAGE_VMGENID = 1, /* the generation ID changed */
	EPOCH_PAGE_KMSG = 2,    /* the kernel logged a fork of its machine */
	EPOCH_PAGE_VMCLOCK = 3, /* vmclock's generation counter */
	EPOCH_PAGE_VMCLOCK_DISRUPTION =
	    4,                 /* vmclock's disruption marker: possibly a live migration */
	EPOCH_PAGE_SOURCE = 5, /* another epoch page */
	EPOCH_PAGE_HOST = 6,   /* the host's own word: a bump */
	EPOCH_PAGE_START = 7,  /* a clone while no daemon ran could not be ruled out */
	/* These age the state but say nothing of clones; they are never in the epoch word. */
	EPOCH_PAGE_KERNEL = 8, /* the kernel's generator was reseeded */
	EPOCH_PAGE_CLOCK = 9,  /* the machine slept, or a clock was set */
};

/* What the daemon says of itself. */
enum epoch_page_state {
	EPOCH_PAGE_STOPPED = 0, /* nobody watches */
	EPOCH_PAGE_SERVING = 1,
	EPOCH_PAGE_REFUSING = 2, /* watches, but has no bytes to give: a reseed failed */
};

/* One clone event. Immutable once its generation is published. */
struct epoch_page_event {
	uint64_t generation;  /* the clone generation it began */
	uint64_t realtime_ns; /* when it was noticed, CLOCK_REALTIME */
	uint64_t boottime_ns; /* and CLOCK_BOOTTIME */
	uint32_t notifier;    /* enum epoch_page_notifier */
	uint32_t reserved;
	uint8_t id[EPOCH_PAGE_ID_BYTES]; /* random, for this event alone */
	uint8_t padding[16];
};

/* What a detector saw last, for the daemon's next start. Nobody else's business. */
struct epoch_page_saved {
	uint32_t bytes; /* of value; 0: nothing saved */
	uint32_t reserved;
	uint8_t value[EPOCH_PAGE_SAVED_BYTES];
};

struct epoch_page {
	uint32_t epoch;   /* atomic; moves with `generation` */
	uint32_t version; /* EPOCH_PAGE_VERSION */
	uint8_t magic[EPOCH_PAGE_MAGIC_BYTES];
	uint64_t generation; /* atomic; clone generation, 1 at first, never wraps or goes back */
	uint64_t
	    look_again;    /* atomic; moves on every clone and on every other ageing of the state */
	uint64_t lease_ns; /* atomic; CLOCK_BOOTTIME until which somebody watches; 0: nobody */
	uint32_t state;    /* atomic; enum epoch_page_state */
	uint32_t counter_base; /* the epoch word's counter is this plus generation, modulo 2^24 */
	uint8_t reserved[16];
	struct epoch_page_event events[2]; /* of generation g: [g % 2] */
	uint8_t reserved_2[1024 - 64 - 128];
	struct epoch_page_saved saved[EPOCH_PAGE_SAVED_ROWS]; /* by notifier */
	uint8_t reserved_3[1024 - 640];
	uint8_t poke; /* written through the file after each event, to wake inotify */
	uint8_t reserved_4[2047];
};

#define EPOCH_PAGE_POKE_OFFSET 2048u

_Static_assert(sizeof(struct epoch_page_event) == 64, "layout");
_Static_assert(sizeof(struct epoch_page_saved) == 40, "layout");
_Static_assert(offsetof(struct epoch_page, magic) == 8, "layout");
_Static_assert(offsetof(struct epoch_page, generation) == 16, "layout");
_Static_assert(offsetof(struct epoch_page, look_again) == 24, "layout");
_Static_assert(offsetof(struct epoch_page, lease_ns) == 32, "layout");
_Static_assert(offsetof(struct epoch_page, state) == 40, "layout");
_Static_assert(offsetof(struct epoch_page, counter_base) == 44, "layout");
_Static_assert(offsetof(struct epoch_page, events) == 64, "layout");
_Static_assert(offsetof(struct epoch_page, saved) == 1024, "layout");
_Static_assert(offsetof(struct epoch_page, poke) == EPOCH_PAGE_POKE_OFFSET, "layout");
_Static_assert(sizeof(struct epoch_page) == EPOCH_PAGE_BYTES, "layout");

/*
 * Is this a page of ours, of a version this code reads? For one that was just mapped: its size must
 * have been checked, by fstat(), to be EPOCH_PAGE_BYTES at least.
 */
bool epoch_page_valid(const struct epoch_page *page);

/* Single words, with acquire: what was stored before them is seen after them. */
uint32_t epoch_page_epoch(const struct epoch_page *page);
uint64_t epoch_page_generation(const struct epoch_page *page);
uint64_t epoch_page_look_again(const struct epoch_page *page);
uint64_t epoch_page_lease_ns(const struct epoch_page *page);
uint32_t epoch_page_state(const struct epoch_page *page);

/* The epoch word that belongs to a generation and the notifier of the event that began it. */
uint32_t epoch_page_word(uint32_t notifier, uint32_t counter_base, uint64_t generation);

/*
 * Copies the event that began the present generation, whole and never a mix of two, with bounded
 * tries. true; false when there was no event yet (generation 1, all zero), or the page changed at
 * every try, which takes a storm of events: *event is then all zero.
 */
bool epoch_page_last_event(const struct epoch_page *page, struct epoch_page_event *event);

/* "vmgenid", "kmsg", ...; "unknown" for a number not known here. Static storage. */
const char *epoch_page_notifier_name(uint32_t notifier);

#endif
