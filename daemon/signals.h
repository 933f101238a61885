/*
 * daemon/signals - the signals of a serving daemon: read as data, but for one handler that does
 * nothing.
 */
#ifndef DAEMON_SIGNALS_H
#define DAEMON_SIGNALS_H

/* Blocks SIGTERM, SIGINT and SIGHUP; they are read from the descriptor returned. Or -errno. */
int signals_open(void);

/*
 * Where a listener does not refuse them, a peer can pass us a TCP socket with SO_LINGER and unsent
 * data. The kernel drops it inside our recvmsg(), and waits there as long as the peer set. A signal
 * ends that wait, so a timer sends one regularly. Its frame on the stack can hold vector registers;
 * reseed_fill() wipes the stack after each use of them. 0 or -errno.
 */
int signals_guard_linger(void);

#endif
