/*
 * client/ledger - which events were given to the program, which it acknowledged, and what the
 * daemon is still to be told. Pure: no I/O. Private to the library.
 *
 * Generations are compared for equality alone: where the daemon's page was made anew they begin at
 * 1 again. Two events of one generation are the same unless both have an id, and not the same.
 */
#ifndef CLIENT_LEDGER_H
#define CLIENT_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/rngd_proto.h"

/* Of so many events, the newest, it is known that they were given. */
#define LEDGER_EVENTS 32

struct ledger_event {
	uint64_t generation; /* 0: no event */
	uint8_t id[RNGD_PROTO_EVENT_ID_BYTES];
	bool on_link; /* came over the present connection: the daemon takes an ACK of it */
};

/* All zero at first. */
struct ledger {
	struct ledger_event
	    given[LEDGER_EVENTS]; /* the nth, counted from 0, at n % LEDGER_EVENTS */
	uint64_t given_count;
	uint64_t acknowledged_count;      /* the first so many of them */
	struct ledger_event acknowledged; /* last; what a SUBSCRIBE is to carry */
	/* Generations of which an ACK is to be sent; 0: none. A newer one says all an older did. */
	uint64_t taken_due;
	uint64_t done_due;
};

/* A connection begins, with a SUBSCRIBE that says what was acknowledged: nothing else is due. */
void ledger_connect(struct ledger *ledger);

/* The daemon named its generation. The first one ever counts as acknowledged. */
void ledger_begin(struct ledger *ledger, uint64_t generation);

/*
 * An event came, of a generation that is not 0. true: it is new, and counts as given. Else it is
 * the one given last, or the one acknowledged last.
 */
bool ledger_receive(struct ledger *ledger, uint64_t generation,
		    const uint8_t id[RNGD_PROTO_EVENT_ID_BYTES]);

/* The program is done with an event and with all given before it. 0, or -EINVAL: never given. */
int ledger_acknowledge(struct ledger *ledger, uint64_t generation);

#endif
