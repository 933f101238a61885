/*
 * daemon/status - the text of a STATUS reply (PROTOCOL.md lists the names), and one line for the
 * service manager.
 */
#ifndef DAEMON_STATUS_H
#define DAEMON_STATUS_H

#include <stddef.h>

struct conn;

/* Users that are shown one by one, to those who may see them. */
#define STATUS_USERS 8u

/*
 * Writes lines "name=value\n" about the struct server `owner` to text, without a final NUL: what
 * the peer of conn may see. Returns their length, at most size; a line that does not fit is left
 * out whole.
 *
 * Root, the user who started the daemon, and the control socket see everything. Others see no
 * number that moves with what another user asks for: a sum would tell it too, less one's own share.
 */
size_t status_text(void *owner, const struct conn *conn, char *text, size_t size);

struct server;

/* Writes the state of the server as one sentence for people, cut to size with its final NUL. */
void status_line(const struct server *server, char *text, size_t size);

#endif
