/*
 * Owns: nothing. May touch: the generator's policy and the epoch, for requests that were judged
 * good. Never does: I/O, or trust a peer for anything but the socket it came by.
 */
#include "daemon/request.h"

static bool body_fits(const struct wire_request *req)
{
	switch (req->opcode) {
	case RNGD_PROTO_OP_GET:
		return req->body_bytes == RNGD_PROTO_GET_BODY_BYTES && wire_get_u32(req->body) > 0;
	case RNGD_PROTO_OP_BUMP:
		return req->body_bytes == 0 || (req->body_bytes >= RNGD_PROTO_BUMP_MIN_BYTES &&
						req->body_bytes <= RNGD_PROTO_BUMP_MAX_BYTES);
	default:
		return req->body_bytes == 0;
	}
}

/* What cannot be done here and now, although it is well asked. */
static enum rngd_proto_status judge_standing(const struct wire_request *req,
					     const struct request_standing *standing)
{
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
	if (req->opcode == RNGD_PROTO_OP_NONE || req->opcode > RNGD_PROTO_OP_RESEED)
		return RNGD_PROTO_E_OPCODE;
	if (req->flags != 0)
		return RNGD_PROTO_E_FLAGS;
	if (!body_fits(req))
		return RNGD_PROTO_E_BODY;
	return judge_standing(req, standing);
}

enum rngd_proto_status request_act(const struct wire_request *req, struct reseed *reseed)
{
	int err = 0;

	if (req->opcode == RNGD_PROTO_OP_BUMP) {
		if (req->body_bytes > 0)
			err = reseed_host(reseed, req->body, req->body_bytes);
		epoch_bump(reseed->epoch, req->body, req->body_bytes);
	} else if (req->opcode == RNGD_PROTO_OP_RESEED) {
		reseed_want(reseed, RESEED_REQUEST);
	}
	/* LOOK asks for the generation alone, which is known even where bytes cannot be had. */
	if (reseed_check(reseed, EPOCH_ALL) != 0 && req->opcode != RNGD_PROTO_OP_LOOK)
		err = RESEED_E_UNAVAILABLE;
	return err ? RNGD_PROTO_E_UNAVAILABLE : RNGD_PROTO_OK;
}
