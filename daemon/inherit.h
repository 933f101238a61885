/*
 * daemon/inherit - puts in order what the process got from whoever started it: standard
 * descriptors, other descriptors, signals, the file mode mask.
 */
#ifndef DAEMON_INHERIT_H
#define DAEMON_INHERIT_H

/*
 * To be called first of all, before anything is opened or logged.
 *
 * Descriptors 0 to 2 that are closed are opened on /dev/null: else a client's connection could
 * become number 2, and log lines would go to it as if they were random bytes. Every
 * descriptor from first_foreign on is closed. The signal mask is emptied, SIGPIPE and SIGXFSZ are
 * ignored (a log that cannot be written must not end the service), the mode mask is 022.
 *
 * first_foreign: 3, or above it the number of descriptors a service manager passed.
 * 0, or a negative errno.
 */
int inherit_clean(int first_foreign);

#endif
