/*
 * daemon/epoch_file - the published epoch page (proto/epoch_page.h): its file, its lock, its one
 * writer.
 *
 * The file is mapped by processes that outlive any daemon, so it keeps its inode and its size: it
 * appears complete, and is never truncated, replaced or removed. It must be on a tmpfs: gone after
 * a reboot, like all who mapped it, and never in a disk image that two machines start from.
 *
 * No word of a page goes back or takes a value it had before, across restarts and whenever the
 * writer is killed (but the epoch word's counter comes round after 2^24 clones).
 */
#ifndef DAEMON_EPOCH_FILE_H
#define DAEMON_EPOCH_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/epoch_page.h"

struct epoch_file {
	struct epoch_page *page; /* mapped read-write; never NULL after an open that succeeded */
	int fd;                  /* for the poke; -1 when the page is private */
	int lock_fd;             /* holds the lock for as long as it is open; -1 */
	int reader_fd;           /* O_RDONLY, for clients to be given; -1 */
	bool fresh;              /* no daemon published it before: nothing to compare with */
};

/*
 * Opens the page at path and "PATH.lock", made where there are none. For whoever may create files
 * in that directory, which must exist; takes no lock, so it may run while a daemon publishes there.
 * A page that is there must be a regular file of 4096 bytes on a tmpfs, of root or of our own user,
 * with one name, writable by its owner alone; it is refused otherwise, and left as it is.
 *
 * Waits for the kernel's generator when it makes one. 0, and two descriptors that the caller owns;
 * or a negative errno after a log line, and both are -1: -EPERM another's or open to others,
 * -EINVAL no epoch page, -EOPNOTSUPP no tmpfs, or what open(2) and linkat(2) say.
 */
int epoch_file_prepare(const char *path, int *page_fd, int *lock_fd);

/*
 * Takes the lock and maps the page; puts right what a killed writer left half done. Takes ownership
 * of both descriptors, in failure too. look_again moves: a new daemon has a new state. There is no
 * lease and the state is STOPPED until the caller says otherwise, which it should only do when
 * it knows what happened while no daemon ran.
 *
 * 0; or a negative errno after a log line: -EADDRINUSE when another rngd publishes there, -EINVAL
 * and -EOPNOTSUPP as above, -ESTALE when path leads to another file than page_fd. On failure
 * *file is as after epoch_file_close().
 */
int epoch_file_open(struct epoch_file *file, const char *path, int page_fd, int lock_fd);

/* A page that nobody else can see, so that the rest of the daemon need not care. 0; -errno. */
int epoch_file_open_private(struct epoch_file *file);

/*
 * Publishes a clone event: its record, then generation, look_again and the epoch word, then the
 * poke. notifier: enum epoch_page_notifier; id: of this event alone.
 */
void epoch_file_cloned(struct epoch_file *file, uint32_t notifier,
		       const uint8_t id[EPOCH_PAGE_ID_BYTES]);

/* The state aged, for another reason: look_again moves, then the poke. */
void epoch_file_aged(struct epoch_file *file);

/* Somebody watches for this many seconds from now; 0: nobody. More than 2^31 - 1 is that. */
void epoch_file_lease(struct epoch_file *file, int64_t seconds);

void epoch_file_state(struct epoch_file *file, enum epoch_page_state state);

/*
 * Keeps what a detector saw, for the next start. To be called after epoch_file_cloned() when what
 * it saw was a clone: killed in between, the next start finds it once more instead of never.
 * A writer killed within leaves nothing saved, and never a mix. notifier:
 * below EPOCH_PAGE_SAVED_ROWS, and saved->bytes at most EPOCH_PAGE_SAVED_BYTES; else no effect.
 */
void epoch_file_save(struct epoch_file *file, const struct epoch_page_saved *saved,
		     uint32_t notifier);

/* What was saved: never NULL, bytes at most EPOCH_PAGE_SAVED_BYTES. Valid until the next save. */
const struct epoch_page_saved *epoch_file_saved(const struct epoch_file *file, uint32_t notifier);

/* Says that nobody watches any more, and pokes. All that a process behind the filter can do. */
void epoch_file_stop(struct epoch_file *file);

/*
 * Says that nobody watches any more, pokes, unmaps, closes the descriptors. The file stays. What
 * was closed, or never opened, may be closed again if its page is NULL and its descriptors -1.
 */
void epoch_file_close(struct epoch_file *file);

#endif
