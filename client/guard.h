/*
 * client/guard - has anything moved that moves when a machine is cloned? Private to the library.
 *
 * Two words are looked at, neither of which costs a system call: the daemon's look_again, in its
 * epoch page, and the generation of the kernel's generator. A move is no proof of a clone, only a
 * reason to ask the daemon, which knows (LOOK). Not moving is what lets bytes be used unasked.
 */
#ifndef CLIENT_GUARD_H
#define CLIENT_GUARD_H

#include <stdbool.h>
#include <stdint.h>

#include "client/page.h"
#include "client/shelf.h"
#include "host/vdso.h"

/* What was read at one moment. */
struct guard_token {
	uint64_t look_again; /* 0 where there is no page */
	uint64_t kernel;     /* 0: not available */
};

/* All zero at first. */
struct guard {
	struct page page;
	struct shelf shelf; /* of all that were in page */
	struct vdso vdso;
	bool vdso_tried;
	bool page_asked; /* over the present connection; whoever makes a new one resets it */
	bool no_look;    /* the daemon is too old to be asked */
	bool has_agreed;
	struct guard_token agreed; /* when the daemon was last known to have looked */
};

/*
 * Sees that the page is that of the daemon now connected to: asks for it unless it was asked for.
 * 0, or an error of page_ask().
 */
int guard_prepare(struct guard *guard, const struct page_question *question);

/*
 * The same at the start of a bare connection, over itself, and once for all: there is the page's
 * word alone from then on. *question: as for page_ask_on(). 0, or an error of it; no page is none.
 */
int guard_prepare_bare(struct guard *guard, struct transport *link,
		       const struct page_question *question);

/* Both words now. */
struct guard_token guard_read(struct guard *guard);

/*
 * Is there less to read than there should be: no page, or a kernel's word that was there and is
 * refused now? Then not moving means nothing, and the daemon is asked each time.
 */
bool guard_is_blind(const struct guard *guard, const struct guard_token *token);

/* Did either move between the two? */
bool guard_moved(const struct guard_token *a, const struct guard_token *b);

/* Is token what was agreed last? false when nothing was. */
bool guard_agrees(const struct guard *guard, const struct guard_token *token);

/* The daemon has looked since token was read. */
void guard_agree(struct guard *guard, const struct guard_token *token);

/* Unmaps everything; a zeroed struct is allowed. */
void guard_deinit(struct guard *guard);

#endif
