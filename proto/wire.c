/*
 * Owns: nothing. May touch: the buffers it is given.
 * Never does: I/O, allocation, or read a byte past the length it was told.
 */
#include "proto/wire.h"

#include <string.h>

/* Offsets in a request, then in a reply; PROTOCOL.md draws both. */
enum {
	WIRE_AT_LENGTH = 0,
	WIRE_AT_OPCODE = 4,
	WIRE_AT_VERSION = 5,
	WIRE_AT_REQUEST_FLAGS = 6,
	WIRE_AT_REPLY_STATUS = 6,
	WIRE_AT_REPLY_FLAGS = 7,
	WIRE_AT_TAG = 8,
	WIRE_AT_GENERATION = 12,
};

#define WIRE_REQUEST_MIN (RNGD_PROTO_REQUEST_HEAD_BYTES - RNGD_PROTO_LENGTH_BYTES)
#define WIRE_REQUEST_MAX (RNGD_PROTO_REQUEST_MAX_BYTES - RNGD_PROTO_LENGTH_BYTES)
#define WIRE_REPLY_MIN   (RNGD_PROTO_REPLY_HEAD_BYTES - RNGD_PROTO_LENGTH_BYTES)
#define WIRE_REPLY_MAX   (WIRE_REPLY_MIN + RNGD_PROTO_FRAME_DATA_BYTES)

_Static_assert(RNGD_PROTO_STATUS_MAX_BYTES <= RNGD_PROTO_FRAME_DATA_BYTES, "one frame limit");

static void put_u16(uint8_t *at, uint16_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static uint16_t get_u16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

void wire_put_u32(uint8_t *at, uint32_t value)
{
	put_u16(at, (uint16_t)(value >> 16));
	put_u16(at + 2, (uint16_t)value);
}

uint32_t wire_get_u32(const uint8_t *at)
{
	return (uint32_t)get_u16(at) << 16 | get_u16(at + 2);
}

void wire_put_u64(uint8_t *at, uint64_t value)
{
	wire_put_u32(at, (uint32_t)(value >> 32));
	wire_put_u32(at + 4, (uint32_t)value);
}

uint64_t wire_get_u64(const uint8_t *at)
{
	return (uint64_t)wire_get_u32(at) << 32 | wire_get_u32(at + 4);
}

enum wire_result wire_decode_request(const uint8_t *buf, size_t len, struct wire_request *req,
				     size_t *used_bytes)
{
	uint32_t length;

	if (len < RNGD_PROTO_LENGTH_BYTES)
		return WIRE_E_SHORT;
	length = wire_get_u32(buf + WIRE_AT_LENGTH);
	if (length < WIRE_REQUEST_MIN || length > WIRE_REQUEST_MAX)
		return WIRE_E_LENGTH;
	if (len - RNGD_PROTO_LENGTH_BYTES < length)
		return WIRE_E_SHORT;

	req->opcode = buf[WIRE_AT_OPCODE];
	req->version = buf[WIRE_AT_VERSION];
	req->flags = get_u16(buf + WIRE_AT_REQUEST_FLAGS);
	req->tag = wire_get_u32(buf + WIRE_AT_TAG);
	req->body = buf + RNGD_PROTO_REQUEST_HEAD_BYTES;
	req->body_bytes = length - WIRE_REQUEST_MIN;
	*used_bytes = RNGD_PROTO_LENGTH_BYTES + length;
	return WIRE_OK;
}

size_t wire_encode_request(const struct wire_request *req, uint8_t *buf)
{
	wire_put_u32(buf + WIRE_AT_LENGTH, WIRE_REQUEST_MIN + req->body_bytes);
	buf[WIRE_AT_OPCODE] = req->opcode;
	buf[WIRE_AT_VERSION] = req->version;
	put_u16(buf + WIRE_AT_REQUEST_FLAGS, req->flags);
	wire_put_u32(buf + WIRE_AT_TAG, req->tag);
	if (req->body_bytes > 0)
		memcpy(buf + RNGD_PROTO_REQUEST_HEAD_BYTES, req->body, req->body_bytes);
	return RNGD_PROTO_REQUEST_HEAD_BYTES + req->body_bytes;
}

void wire_encode_reply(const struct wire_reply *reply, uint8_t head[RNGD_PROTO_REPLY_HEAD_BYTES])
{
	wire_put_u32(head + WIRE_AT_LENGTH, WIRE_REPLY_MIN + reply->body_bytes);
	head[WIRE_AT_OPCODE] = reply->opcode;
	head[WIRE_AT_VERSION] = reply->version;
	head[WIRE_AT_REPLY_STATUS] = reply->status;
	head[WIRE_AT_REPLY_FLAGS] = reply->flags;
	wire_put_u32(head + WIRE_AT_TAG, reply->tag);
	wire_put_u64(head + WIRE_AT_GENERATION, reply->generation);
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
