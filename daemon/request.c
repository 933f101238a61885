/*
 * Owns: nothing. May touch: the generator's policy, the epoch, the peer's quota and subscription,
 * for requests that were judged good. Never does: I/O, or trust a peer for anything but the socket
 * it came by.
 */
#include "daemon/request.h"

#include "daemon/clock.h"

static bool body_fits(const struct wire_request *req)
{
	switch (req->opcode) {
	case RNGD_PROTO_OP_GET:
		return req->body_bytes == RNGD_PROTO_GET_BODY_BYTES && wire_get_u32(req->body) > 0;
	case RNGD_PROTO_OP_BUMP:
		return req->body_bytes == 0 || (req->body_bytes >= RNGD_PROTO_BUMP_MIN_BYTES &&
						req->body_bytes <= RNGD_PROTO_BUMP_MAX_BYTES);
	case RNGD_PROTO_OP_SUBSCRIBE:
		return req->body_bytes == RNGD_PROTO_SUBSCRIBE_BODY_BYTES;
	case RNGD_PROTO_OP_ACK:
		return req->body_bytes == RNGD_PROTO_ACK_BODY_BYTES;
	case RNGD_PROTO_OP_CONTRIBUTE:
		return req->body_bytes > 0 && req->body_bytes <= RNGD_PROTO_CONTRIBUTE_MAX_BYTES;
	default:
		return req->body_bytes == 0;
	}
}

/* What cannot be done here and now, although it is well asked. */
static enum rngd_proto_status judge_standing(const struct wire_request *req,
					     const struct request_standing *standing)
{
	/* One thing at a time: no event waits behind a reply, and no reply is cut by an event. */
	if (standing->subscribed != (req->opcode == RNGD_PROTO_OP_ACK))
		return RNGD_PROTO_E_PERMISSION;
	switch (req->opcode) {
	case RNGD_PROTO_OP_PAGE:
		if (standing->page_asked)
			return RNGD_PROTO_E_PERMISSION;
		return standing->has_page ? RNGD_PROTO_OK : RNGD_PROTO_E_NO_PAGE;
	case RNGD_PROTO_OP_BUMP:
		if (!standing->control)
			return RNGD_PROTO_E_PERMISSION;
		return req->body_bytes > 0 || standing->has_rdrand ? RNGD_PROTO_OK
								   : RNGD_PROTO_E_IDENTICAL;
	case RNGD_PROTO_OP_RESEED:
	case RNGD_PROTO_OP_SUBSCRIBERS:
		return standing->control ? RNGD_PROTO_OK : RNGD_PROTO_E_PERMISSION;
	default:
		return RNGD_PROTO_OK;
	}
}

enum rngd_proto_status request_judge(const struct wire_request *req,
				     const struct request_standing *standing)
{
	if (req->version < RNGD_PROTO_VERSION_MIN || req->version > RNGD_PROTO_VERSION_MAX)
		return RNGD_PROTO_E_VERSION;
	if (req->opcode == RNGD_PROTO_OP_NONE || req->opcode > RNGD_PROTO_OP_CONTRIBUTE)
		return RNGD_PROTO_E_OPCODE;
	if (req->flags != 0)
		return RNGD_PROTO_E_FLAGS;
	if (!body_fits(req))
		return RNGD_PROTO_E_BODY;
	return judge_standing(req, standing);
}

static enum rngd_proto_status contribute(const struct wire_request *req,
					 const struct request_context *context)
{
	if (!quota_contribute(context->user, req->body_bytes, clock_now_ms()))
		return RNGD_PROTO_E_AGAIN;
	return reseed_contribute(context->reseed, req->body, req->body_bytes)
		   ? RNGD_PROTO_E_UNAVAILABLE
		   : RNGD_PROTO_OK;
}

/* What asks the detectors, and reseeds if that is due. */
static enum rngd_proto_status look(const struct wire_request *req, struct reseed *reseed)
{
	/* The generation alone is asked for, which is known even where bytes cannot be had. */
	const bool needs_seed =
	    req->opcode == RNGD_PROTO_OP_BUMP || req->opcode == RNGD_PROTO_OP_RESEED;
	int err = 0;

	if (req->opcode == RNGD_PROTO_OP_BUMP) {
		if (req->body_bytes > 0)
			err = reseed_host(reseed, req->body, req->body_bytes);
		epoch_bump(reseed->epoch, req->body, req->body_bytes);
	} else if (req->opcode == RNGD_PROTO_OP_RESEED) {
		reseed_want(reseed, RESEED_REQUEST);
	}
	if (reseed_check(reseed, EPOCH_ALL) != 0 && needs_seed)
		err = RESEED_E_UNAVAILABLE;
	return err ? RNGD_PROTO_E_UNAVAILABLE : RNGD_PROTO_OK;
}

enum rngd_proto_status request_act(const struct wire_request *req,
				   const struct request_context *context)
{
	switch (req->opcode) {
	case RNGD_PROTO_OP_ACK:
		return events_ack(context->subscriber, req->body,
				  context->reseed->epoch->generation);
	case RNGD_PROTO_OP_CONTRIBUTE:
		return contribute(req, context);
	default:
		return look(req, context->reseed);
	}
}
