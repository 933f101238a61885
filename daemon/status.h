/*
 * daemon/status - the text of a STATUS reply (PROTOCOL.md lists the names), and one line for the
 * service manager.
 */
#ifndef DAEMON_STATUS_H
#define DAEMON_STATUS_H

#include <stddef.h>

/*
 * Writes lines "name=value\n" about the struct server `owner` to text, without a final NUL. Returns
 * their length, at most size; a line that does not fit is left out whole.
 */
size_t status_text(void *owner, char *text, size_t size);

struct server;

/* Writes the state of the server as one sentence for people, cut to size with its final NUL. */
void status_line(const struct server *server, char *text, size_t size);

#endif
