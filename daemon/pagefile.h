/*
 * daemon/pagefile - the file of an epoch page: opens it, judges it, or makes it complete.
 */
#ifndef DAEMON_PAGEFILE_H
#define DAEMON_PAGEFILE_H

#include <sys/stat.h>

#include "proto/epoch_page.h"

/*
 * Opens the page at path read-write, made with mode 0644 where there is none: it then appears
 * whole. What is there is judged, as epoch_file_prepare() says, and never changed. A descriptor,
 * close-on-exec, the caller's; or a negative errno after a log line.
 */
int pagefile_open(const char *path);

/*
 * Is fd a regular file of EPOCH_PAGE_BYTES on a tmpfs? path: for messages. 0, and *st is filled;
 * or a negative errno after a log line.
 */
int pagefile_check(const char *path, int fd, struct stat *st);

/* Says what is wrong with the file at path, and what to do. Returns err. */
int pagefile_refuse(const char *path, int err, const char *flaw);

/* A page of generation 1, whose epoch counts from base. */
void pagefile_fill(struct epoch_page *page, uint32_t base);

#endif
