/*
 * client/page - the daemon's epoch page: asked for, checked, mapped. Private to the library.
 *
 * A mapping of the daemon's file can be read for ever, whatever becomes of the daemon. Two things
 * remain in the power of whoever serves the socket: to shorten the file afterwards, which
 * ends the reader by SIGBUS, and to pass a file of a FUSE mount of its own, whose close() it can
 * hold.
 */
#ifndef CLIENT_PAGE_H
#define CLIENT_PAGE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "client/rngclient.h"
#include "proto/epoch_page.h"

struct transport;
struct turn;

struct page {
	const struct epoch_page *map; /* NULL: there is none */
	dev_t dev;                    /* of which file */
	ino_t ino;
	bool shelved; /* the mapping belongs to client/shelf */
};

/* Whom to ask, and how: as for transport_connect() and struct reply. */
struct page_question {
	const char *path;
	const struct turn *turn;
	int timeout_ms;
	uint8_t version;
	int64_t deadline_ns;
};

/*
 * Asks the daemon for its page over a connection of its own, which is closed again, and maps it in
 * place of the one before. 0: mapped, or the daemon has none (an older one does not know the
 * question): then page->map is NULL. -EPROTO: the answer brought no descriptor, several, or
 * something that is no page on a tmpfs; REPLY_E_AGAIN: it cannot be passed now; or an errno of the
 * connection. On failure page->map is NULL.
 */
int page_ask(struct page *page, const struct page_question *question);

/*
 * The same over a connection that is there and stays; it must be the first question on it. Of
 * *question, version and deadline_ns are read.
 */
int page_ask_on(struct page *page, struct transport *link, const struct page_question *question);

/*
 * Maps the page file at path. 0, -EPROTO: it is something else; or an errno of open(2), fstat(2),
 * mmap(2).
 */
int page_open(struct page *page, const char *path);

/* Sets all of *info from the page; page->map is not NULL. */
void page_read(const struct page *page, struct rngclient_epoch *info);

/* Is epoch->size that of any version of the struct? */
bool page_fits(const struct rngclient_epoch *epoch);

/*
 * Hands out as much of *known as the caller's version of the struct holds, or zeroes when err is
 * not 0; size stays. Returns err.
 */
int page_give(struct rngclient_epoch *epoch, const struct rngclient_epoch *known, int err);

/* How long the lease is in force from now on, in nanoseconds; 0: nobody watches. */
uint64_t page_lease_left_ns(const struct page *page);

/* Unmaps, unless it is shelved; a zeroed struct is allowed. */
void page_drop(struct page *page);

#endif
