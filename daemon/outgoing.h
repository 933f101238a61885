/*
 * daemon/outgoing - a batch into its peer's socket, in one call, and the page's descriptor along
 * with it where that was asked for.
 */
#ifndef DAEMON_OUTGOING_H
#define DAEMON_OUTGOING_H

#include <stdbool.h>
#include <sys/types.h>

#include "daemon/batch.h"

/*
 * Sends the batch that is in the scratch. How many bytes of it the kernel took: 0 when it takes
 * none now. Or a negative errno: the connection is over. A page's descriptor that the kernel does
 * not pass is refused in the batch (batch_refuse_page()).
 */
ssize_t outgoing_send(const struct conn *conn, struct batch *batch);

/*
 * Has the peer hung up? For a connection without room, which nothing is sent to: epoll would report
 * it again and again, as writable or not, while what it was sent is unread.
 */
bool outgoing_ended(const struct conn *conn);

#endif
