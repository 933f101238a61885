/*
 * daemon/parting - what a subscriber wrote before its connection ended, and nobody had read.
 *
 * One that acknowledges, or leaves, and closes waits for no answer. The first answer that is
 * written, or an event, then ends the connection on our side while the rest is still unread; what
 * it says counts all the same, or who settles would wait for somebody who is done.
 */
#ifndef DAEMON_PARTING_H
#define DAEMON_PARTING_H

#include "daemon/conn.h"

/* Reads at most, each of what the buffer has room for: more than the library writes. */
#define PARTING_READS 4

/*
 * Does the ACKs of a subscriber that were read and not yet answered, and those that can still be
 * read; what else is asked there is passed over. An ACK may have been done before. Works in
 * conn->shared->in, which is wiped.
 */
void parting_hear(const struct conn *conn);

#endif
