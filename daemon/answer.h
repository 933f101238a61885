/*
 * daemon/answer - the frames of a batch that hold no random bytes: what a request is answered with,
 * errors, events.
 *
 * Each puts its frame at the end of the batch, or returns false: there is no room, or frames of
 * random bytes go before it, so it must wait for the next batch.
 */
#ifndef DAEMON_ANSWER_H
#define DAEMON_ANSWER_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/batch.h"
#include "proto/wire.h"

/* An error frame. */
bool answer_error(struct batch *batch, uint8_t opcode, uint8_t version, uint32_t tag,
		  enum rngd_proto_status status);

/* What a request that was judged good is answered with; not for a GET, whose frames are batch's. */
bool answer_request(struct batch *batch, const struct wire_request *req);

/* The newest event, if the peer subscribed and one is due. The first frame of its batch. */
void answer_event(struct batch *batch);

#endif
