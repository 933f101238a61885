/*
 * daemon/epoch_since - was there a clone while no daemon ran? Private to epoch.
 */
#ifndef DAEMON_EPOCH_SINCE_H
#define DAEMON_EPOCH_SINCE_H

#include <stdint.h>

#include "daemon/epoch.h"

/*
 * Compares what the detectors saw at their start with what the page has of an earlier daemon's. Who
 * noticed a clone (EPOCH_PAGE_START: it cannot be ruled out), or EPOCH_PAGE_NOBODY.
 */
uint32_t epoch_since(struct epoch *epoch);

/* After that: what absent detectors saw once is no measure for a later start. */
void epoch_since_done(struct epoch *epoch);

/* The last clone on the page, if it is recent: its aftermath goes on in this process. */
void epoch_since_follow(struct epoch *epoch);

#endif
