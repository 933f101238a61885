/*
 * Owns: the mappings that were shown. May touch: the boot clock.
 * Never does: unmap one that a thread could be reading, or call a page current that nobody watches.
 */
#include "client/shelf.h"

/* A generation counts clones: it does not come near. */
#define SHELF_MARK_SHIFT 48

static bool is_same_file(const struct page *a, const struct page *b)
{
	return a->dev == b->dev && a->ino == b->ino;
}

/*
 * A mapping keeps its file, so that no other can have come by the same numbers. NULL: no room.
 */
static struct shelf_place *place_of(struct shelf *shelf, const struct page *page)
{
	for (size_t i = 0; i < SHELF_PAGES; i++) {
		struct shelf_place *place = &shelf->places[i];

		if (!place->page.map || is_same_file(&place->page, page))
			return place;
	}
	return NULL;
}

void shelf_show(struct shelf *shelf, struct page *page)
{
	struct shelf_place *place = page->map ? place_of(shelf, page) : NULL;

	if (place && !place->page.map) {
		page->shelved = true;
		place->page = *page;
		place->mark = (uint64_t)(place - shelf->places) << SHELF_MARK_SHIFT;
	} else if (place && place->page.map != page->map) {
		page_drop(page);
		*page = place->page;
	}
	atomic_store_explicit(&shelf->shown, place, memory_order_release);
}

static uint64_t token_of(const struct shelf_place *place)
{
	uint64_t generation = epoch_page_generation(place->page.map);

	return generation ? generation + place->mark : 0;
}

uint64_t shelf_token(const struct shelf *shelf)
{
	const struct shelf_place *place = atomic_load_explicit(&shelf->shown, memory_order_acquire);

	return place ? token_of(place) : 0;
}

bool shelf_is_current(const struct shelf *shelf, uint64_t token)
{
	const struct shelf_place *place = atomic_load_explicit(&shelf->shown, memory_order_acquire);

	/* The lease first: a clone that is noticed meanwhile is seen by the second. */
	return token != 0 && place && page_lease_left_ns(&place->page) > 0 &&
	       token_of(place) == token;
}

void shelf_deinit(struct shelf *shelf)
{
	atomic_store(&shelf->shown, NULL);
	for (size_t i = 0; i < SHELF_PAGES; i++) {
		shelf->places[i].page.shelved = false;
		page_drop(&shelf->places[i].page);
	}
}
