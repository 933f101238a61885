/*
 * daemon/loop - the event loop, made so that the sandbox can know it.
 */
#ifndef DAEMON_LOOP_H
#define DAEMON_LOOP_H

#include <ev.h>

/*
 * *loop: for ev_loop_destroy(). *epoll_fd: the loop's own descriptor, which the filter must know. 0
 * or a negative errno; *loop is then NULL, or must be destroyed all the same.
 */
int loop_new(struct ev_loop **loop, int *epoll_fd);

#endif
