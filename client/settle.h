/*
 * client/settle - waits until all who must act on a clone have done so. Prints its own errors.
 */
#ifndef CLIENT_SETTLE_H
#define CLIENT_SETTLE_H

#include <stdint.h>

#include "client/control.h"

/* By when, on settle_now_ms()'s clock, a command that starts now must be done. */
int64_t settle_deadline(const struct rngcli_options *options);

/*
 * Waits until the generation is above after, every privileged subscriber has acknowledged it, and
 * the daemon has run for long enough to know all of them. Sets *generation to it. An exit code: not
 * by the deadline is RNGCLI_TEMPFAIL, and standard error says who is missing.
 */
int settle_wait(struct control *control, uint64_t after, int64_t deadline_ms, uint64_t *generation);

#endif
