/*
 * daemon/accept - connections coming in: who it is, whether there is room, and what happens when
 * descriptors or memory run out.
 */
#ifndef DAEMON_ACCEPT_H
#define DAEMON_ACCEPT_H

#include "daemon/server.h"

/*
 * Watches the listeners of setup, whose loop and peers there are. 0, or the negative errno of what
 * guards against passed descriptors.
 */
int accept_init(struct server *server, const struct server_setup *setup);

/* No more for now, or for good. */
void accept_stop(struct server *server);

#endif
