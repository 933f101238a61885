/*
 * client/shelf - the pages that were shown to the program, kept for those who read them without a
 * lock. Private to the library.
 *
 * rngclient_epoch() may be reading a page in one thread while a get() in another is given a new
 * one, so no page that was shown is unmapped before the handle is closed. A daemon that restarts
 * passes the file it had, which is on the shelf already; there is another only where somebody
 * removed it. Where more than SHELF_PAGES were replaced none is shown any more, which says that
 * nothing is known.
 */
#ifndef CLIENT_SHELF_H
#define CLIENT_SHELF_H

#include <stdatomic.h>
#include <stdint.h>

#include "client/page.h"

#define SHELF_PAGES 16

/* All zero at first. Constant from when it is shown to shelf_deinit(). */
struct shelf_place {
	struct page page;
	uint64_t mark; /* what a token from here has besides the generation: its place, from 0 */
};

struct shelf {
	struct shelf_place places[SHELF_PAGES];
	_Atomic(struct shelf_place *) shown; /* NULL: none */
};

/*
 * Shows this page, or that there is none where page->map is NULL. A mapping that the shelf has not
 * got becomes the shelf's; one that it has takes the place of *page's, which is unmapped.
 * page_drop() then leaves it alone. One caller at a time.
 */
void shelf_show(struct shelf *shelf, struct page *page);

/*
 * The generation of the page that is shown, and its place in the upper 16 bits: equal generations
 * of two files are not the same. 0: none is shown. Any thread.
 */
uint64_t shelf_token(const struct shelf *shelf);

/* Is token what shelf_token() says now, not 0, and the page's lease in force? Any thread. */
bool shelf_is_current(const struct shelf *shelf, uint64_t token);

/* Unmaps all. Nobody may be reading. */
void shelf_deinit(struct shelf *shelf);

#endif
