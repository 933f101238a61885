/*
 * daemon/confine - the last step of the start: no privilege, no file, few system calls.
 */
#ifndef DAEMON_CONFINE_H
#define DAEMON_CONFINE_H

#include "daemon/epoch_file.h"
#include "daemon/privdrop.h"
#include "daemon/server.h"

/*
 * Gives up privileges (to target, if we have any), the file system, and every system call that
 * serving does not need. The filter knows the descriptors that setup, page and the detectors have
 * now: nothing is to be opened afterwards. Notes in server->facts what holds. 0, or a negative
 * errno after a log line: the process must end.
 */
int confine_forever(struct server *server, const struct server_setup *setup,
		    const struct epoch_file *page, const struct privdrop_target *target);

#endif
