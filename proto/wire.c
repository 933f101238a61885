/*
 * Owns: nothing. May touch: the buffers it is given.
 * Never does: I/O, allocation, or read a byte past the length it was told.
 */
#include "proto/wire.h"

#include <string.h>

_Static_assert(RNGD_PROTO_STATUS_MAX_BYTES <= RNGD_PROTO_FRAME_DATA_BYTES, "one frame limit");

size_t wire_encode_request(const struct wire_request *req, uint8_t *buf)
{
	wire_put_u32(buf + WIRE_AT_LENGTH, WIRE_REQUEST_MIN + req->body_bytes);
	buf[WIRE_AT_OPCODE] = req->opcode;
	buf[WIRE_AT_VERSION] = req->version;
	wire_put_u16(buf + WIRE_AT_REQUEST_FLAGS, req->flags);
	wire_put_u32(buf + WIRE_AT_TAG, req->tag);
	if (req->body_bytes > 0)
		memcpy(buf + RNGD_PROTO_REQUEST_HEAD_BYTES, req->body, req->body_bytes);
	return RNGD_PROTO_REQUEST_HEAD_BYTES + req->body_bytes;
}

enum wire_result wire_decode_reply(const uint8_t head[RNGD_PROTO_REPLY_HEAD_BYTES],
				   struct wire_reply *reply)
{
	uint32_t length = wire_get_u32(head + WIRE_AT_LENGTH);

	if (length < WIRE_REPLY_MIN || length > WIRE_REPLY_MAX)
		return WIRE_E_LENGTH;
	reply->opcode = head[WIRE_AT_OPCODE];
	reply->version = head[WIRE_AT_VERSION];
	reply->status = head[WIRE_AT_REPLY_STATUS];
	reply->flags = head[WIRE_AT_REPLY_FLAGS];
	reply->tag = wire_get_u32(head + WIRE_AT_TAG);
	reply->generation = wire_get_u64(head + WIRE_AT_GENERATION);
	reply->body_bytes = length - WIRE_REPLY_MIN;
	return WIRE_OK;
}

enum {
	WIRE_AT_EVENT_NOTIFIER = 0,
	WIRE_AT_EVENT_REALTIME = 4,
	WIRE_AT_EVENT_BOOTTIME = 12,
	WIRE_AT_EVENT_ID = 20,
};

_Static_assert(WIRE_AT_EVENT_ID + RNGD_PROTO_EVENT_ID_BYTES == RNGD_PROTO_EVENT_BODY_BYTES,
	       "an event's fields fill its body");

void wire_encode_event(const struct wire_event *event, uint8_t out[RNGD_PROTO_EVENT_BODY_BYTES])
{
	wire_put_u32(out + WIRE_AT_EVENT_NOTIFIER, event->notifier);
	wire_put_u64(out + WIRE_AT_EVENT_REALTIME, event->realtime_ns);
	wire_put_u64(out + WIRE_AT_EVENT_BOOTTIME, event->boottime_ns);
	memcpy(out + WIRE_AT_EVENT_ID, event->id, sizeof(event->id));
}

void wire_decode_event(const uint8_t in[RNGD_PROTO_EVENT_BODY_BYTES], struct wire_event *event)
{
	event->notifier = wire_get_u32(in + WIRE_AT_EVENT_NOTIFIER);
	event->realtime_ns = wire_get_u64(in + WIRE_AT_EVENT_REALTIME);
	event->boottime_ns = wire_get_u64(in + WIRE_AT_EVENT_BOOTTIME);
	memcpy(event->id, in + WIRE_AT_EVENT_ID, sizeof(event->id));
}
