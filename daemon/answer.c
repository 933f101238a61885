/*
 * Owns: nothing; it works on the shared scratch during one turn. May touch: the status text, the
 * detectors and what else request_act() does, the subscriptions. Never does: I/O, make a random
 * byte, or act in a batch that may be planned again.
 */
#include "daemon/answer.h"

#include <string.h>

#include "daemon/clock.h"
#include "daemon/epoch_file.h"
#include "daemon/events.h"
#include "daemon/request.h"
#include "proto/wire.h"

/* Bytes a control frame may still take. */
static size_t control_room(const struct batch *batch)
{
	return CONN_CONTROL_BYTES - batch->control_bytes;
}

/*
 * Puts a frame without random bytes; its body is already behind the place of its head. The
 * caller has looked at control_room().
 */
static void put_control(struct batch *batch, const struct wire_reply *reply)
{
	wire_encode_reply(reply, batch->shared->scratch + batch->bytes);
	batch->bytes += RNGD_PROTO_REPLY_HEAD_BYTES + reply->body_bytes;
	batch->control_bytes = batch->bytes;
}

/* Only "version" has a body: what we speak. */
bool answer_error(struct batch *batch, uint8_t opcode, uint8_t version, uint32_t tag,
		  enum rngd_proto_status status)
{
	uint8_t *body = batch->shared->scratch + batch->bytes + RNGD_PROTO_REPLY_HEAD_BYTES;
	struct wire_reply reply = {
	    .opcode = opcode,
	    .version = version,
	    .status = (uint8_t)status,
	    .tag = tag,
	    .generation = batch->shared->reseed->epoch->generation,
	};

	if (batch->frame_count > 0 ||
	    control_room(batch) < RNGD_PROTO_REPLY_HEAD_BYTES + RNGD_PROTO_ERROR_MAX_BYTES)
		return false;
	if (status == RNGD_PROTO_E_VERSION) {
		reply.version = RNGD_PROTO_VERSION_MAX;
		body[0] = RNGD_PROTO_VERSION_MIN;
		body[1] = RNGD_PROTO_VERSION_MAX;
		reply.body_bytes = 2;
	}
	put_control(batch, &reply);
	return true;
}

/* Has the batch room for a text? Then it is the first. */
static bool fits_text(const struct batch *batch)
{
	return batch->frame_count == 0 && control_room(batch) >= CONN_CONTROL_BYTES;
}

/* The text's body_bytes are behind the place of its head. */
static void put_text(struct batch *batch, const struct wire_request *req, size_t body_bytes)
{
	const struct wire_reply reply = {
	    .opcode = req->opcode,
	    .version = req->version,
	    .tag = req->tag,
	    .generation = batch->shared->reseed->epoch->generation,
	    .body_bytes = (uint32_t)body_bytes,
	};

	put_control(batch, &reply);
}

static char *text_place(const struct batch *batch)
{
	return (char *)batch->shared->scratch + batch->bytes + RNGD_PROTO_REPLY_HEAD_BYTES;
}

static bool plan_status(struct batch *batch, const struct wire_request *req)
{
	struct conn_shared *shared = batch->shared;

	if (!fits_text(batch))
		return false;
	put_text(batch, req,
		 shared->status_text(shared->owner, batch->conn, text_place(batch),
				     RNGD_PROTO_STATUS_MAX_BYTES));
	return true;
}

/* Has the batch room for one more frame without random bytes and without a body? */
static bool fits_plain(const struct batch *batch)
{
	return batch->frame_count == 0 && control_room(batch) >= RNGD_PROTO_REPLY_HEAD_BYTES;
}

static void put_plain(struct batch *batch, const struct wire_request *req,
		      enum rngd_proto_status status)
{
	const struct wire_reply reply = {
	    .opcode = req->opcode,
	    .version = req->version,
	    .status = (uint8_t)status,
	    .tag = req->tag,
	    .generation = batch->shared->reseed->epoch->generation,
	};

	put_control(batch, &reply);
}

/* The detectors are asked first, so that who has not heard of a clone yet is on the list. */
static bool plan_subscribers(struct batch *batch, const struct wire_request *req)
{
	const struct conn_shared *shared = batch->shared;
	const struct request_context context = {.reseed = shared->reseed};

	if (!fits_text(batch))
		return false;
	(void)request_act(req, &context);
	/* What has just moved must count from now, and not from when it is told to each. */
	(void)events_moved(shared->events, shared->reseed->epoch->generation, clock_now_ms());
	put_text(batch, req,
		 events_text(shared->events, shared->reseed->epoch->generation, clock_now_ms(),
			     text_place(batch), RNGD_PROTO_STATUS_MAX_BYTES));
	batch->acted = true;
	return true;
}

/* The first frame of a subscription; conn makes the subscriber before it is sent. */
static bool plan_subscribe(struct batch *batch, const struct wire_request *req)
{
	const struct wire_reply reply = {
	    .opcode = req->opcode,
	    .version = req->version,
	    .flags = RNGD_PROTO_FLAG_MORE,
	    .tag = req->tag,
	    .generation = batch->shared->reseed->epoch->generation,
	};

	if (!fits_plain(batch))
		return false;
	put_control(batch, &reply);
	batch->subscribe = req->body;
	batch->subscribe_version = req->version;
	batch->subscribe_tag = req->tag;
	batch->acted = true;
	return true;
}

void answer_event(struct batch *batch)
{
	const struct epoch *epoch = batch->shared->reseed->epoch;
	const struct subscriber *subscriber = batch->conn->subscriber;
	struct epoch_page_event known;
	struct wire_event event = {0};
	struct wire_reply reply = {
	    .opcode = RNGD_PROTO_OP_SUBSCRIBE,
	    .flags = RNGD_PROTO_FLAG_MORE,
	    .generation = epoch->generation,
	    .body_bytes = RNGD_PROTO_EVENT_BODY_BYTES,
	};

	if (!subscriber || batch->shared->stopping ||
	    !events_is_due(subscriber, epoch->generation) ||
	    control_room(batch) < RNGD_PROTO_REPLY_HEAD_BYTES + RNGD_PROTO_EVENT_BODY_BYTES)
		return;
	if (epoch_page_last_event(epoch->file->page, &known) &&
	    known.generation == epoch->generation) {
		event.notifier = known.notifier;
		event.realtime_ns = known.realtime_ns;
		event.boottime_ns = known.boottime_ns;
		memcpy(event.id, known.id, sizeof(event.id));
	}
	reply.version = subscriber->peer.version;
	reply.tag = subscriber->peer.tag;
	wire_encode_event(&event, (uint8_t *)text_place(batch));
	put_control(batch, &reply);
	batch->event = epoch->generation;
}

/* The descriptor goes with the first byte of a batch, so its frame must be the first. */
static bool plan_page(struct batch *batch, const struct wire_request *req)
{
	if (batch->bytes > 0)
		return false;
	batch->with_page = true;
	batch->standing.page_asked = true;
	put_plain(batch, req, RNGD_PROTO_OK);
	return true;
}

/*
 * LOOK, BUMP, RESEED, ACK, CONTRIBUTE: done here. They end the batch, so that it is never planned
 * again with them in it.
 */
static bool plan_act(struct batch *batch, const struct wire_request *req)
{
	const struct request_context context = {
	    .reseed = batch->shared->reseed,
	    .user = batch->conn->user,
	    .subscriber = batch->conn->subscriber,
	};

	if (!fits_plain(batch))
		return false;
	put_plain(batch, req, request_act(req, &context));
	batch->acted = true;
	return true;
}

bool answer_request(struct batch *batch, const struct wire_request *req)
{
	switch (req->opcode) {
	case RNGD_PROTO_OP_STATUS:
		return plan_status(batch, req);
	case RNGD_PROTO_OP_PAGE:
		return plan_page(batch, req);
	case RNGD_PROTO_OP_SUBSCRIBE:
		return plan_subscribe(batch, req);
	case RNGD_PROTO_OP_SUBSCRIBERS:
		return plan_subscribers(batch, req);
	default:
		return plan_act(batch, req);
	}
}
