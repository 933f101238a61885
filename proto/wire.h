/*
 * proto/wire - the rngd protocol's frames as structs and back. Pure: no I/O, no allocation.
 *
 * What the daemon does for each of many small requests is inline: it takes less than a call does.
 */
#ifndef PROTO_WIRE_H
#define PROTO_WIRE_H

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "proto/rngd_proto.h"

struct wire_request {
	uint8_t opcode; /* enum rngd_proto_opcode, or one not known here */
	uint8_t version;
	uint16_t flags;
	uint32_t tag;
	const uint8_t *body; /* points into the decoded buffer */
	uint32_t body_bytes;
};

struct wire_reply {
	uint8_t opcode;
	uint8_t version;
	uint8_t status; /* enum rngd_proto_status */
	uint8_t flags;
	uint32_t tag;
	uint64_t generation;
	uint32_t body_bytes; /* the body follows the head */
};

/* What wire_decode_request() found, besides a request. */
enum wire_result {
	WIRE_OK = 0,
	WIRE_E_SHORT = 1,  /* not all there yet: read more */
	WIRE_E_LENGTH = 2, /* the length word is out of range: nothing after it can be trusted */
};

/* Big-endian integers at any alignment. */
static inline void wire_put_u16(uint8_t *at, uint16_t value)
{
	value = htobe16(value);
	memcpy(at, &value, sizeof(value));
}

static inline uint16_t wire_get_u16(const uint8_t *at)
{
	uint16_t value;

	memcpy(&value, at, sizeof(value));
	return be16toh(value);
}

static inline void wire_put_u32(uint8_t *at, uint32_t value)
{
	value = htobe32(value);
	memcpy(at, &value, sizeof(value));
}

static inline uint32_t wire_get_u32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return be32toh(value);
}

static inline void wire_put_u64(uint8_t *at, uint64_t value)
{
	value = htobe64(value);
	memcpy(at, &value, sizeof(value));
}

static inline uint64_t wire_get_u64(const uint8_t *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	return be64toh(value);
}

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

/* What a length word may say. */
#define WIRE_REQUEST_MIN (RNGD_PROTO_REQUEST_HEAD_BYTES - RNGD_PROTO_LENGTH_BYTES)
#define WIRE_REQUEST_MAX (RNGD_PROTO_REQUEST_MAX_BYTES - RNGD_PROTO_LENGTH_BYTES)
#define WIRE_REPLY_MIN   (RNGD_PROTO_REPLY_HEAD_BYTES - RNGD_PROTO_LENGTH_BYTES)
#define WIRE_REPLY_MAX   (WIRE_REPLY_MIN + RNGD_PROTO_FRAME_DATA_BYTES)

/*
 * Decodes one request from the first bytes of buf. WIRE_OK: *req is set and
 * *used_bytes is how many bytes the request takes, RNGD_PROTO_REQUEST_MAX_BYTES at most.
 * Looks at framing only: opcode, version, flags and body are the caller's to judge.
 * Refuses a bad length as soon as the four bytes of it are there.
 */
static inline enum wire_result wire_decode_request(const uint8_t *buf, size_t len,
						   struct wire_request *req, size_t *used_bytes)
    __attribute__((warn_unused_result));

static inline enum wire_result wire_decode_request(const uint8_t *buf, size_t len,
						   struct wire_request *req, size_t *used_bytes)
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
	req->flags = wire_get_u16(buf + WIRE_AT_REQUEST_FLAGS);
	req->tag = wire_get_u32(buf + WIRE_AT_TAG);
	req->body = buf + RNGD_PROTO_REQUEST_HEAD_BYTES;
	req->body_bytes = length - WIRE_REQUEST_MIN;
	*used_bytes = RNGD_PROTO_LENGTH_BYTES + length;
	return WIRE_OK;
}

/*
 * Encodes req->opcode, version, flags, tag and body_bytes bytes of body to buf, which holds at
 * least RNGD_PROTO_REQUEST_HEAD_BYTES + body_bytes. Returns the bytes written.
 */
size_t wire_encode_request(const struct wire_request *req, uint8_t *buf);

/* Encodes the head of a reply frame; the caller appends reply->body_bytes bytes. */
static inline void wire_encode_reply(const struct wire_reply *reply,
				     uint8_t head[RNGD_PROTO_REPLY_HEAD_BYTES])
{
	wire_put_u32(head + WIRE_AT_LENGTH, WIRE_REPLY_MIN + reply->body_bytes);
	head[WIRE_AT_OPCODE] = reply->opcode;
	head[WIRE_AT_VERSION] = reply->version;
	head[WIRE_AT_REPLY_STATUS] = reply->status;
	head[WIRE_AT_REPLY_FLAGS] = reply->flags;
	wire_put_u32(head + WIRE_AT_TAG, reply->tag);
	wire_put_u64(head + WIRE_AT_GENERATION, reply->generation);
}

/*
 * Decodes a reply's head. WIRE_OK, or WIRE_E_LENGTH when its length word cannot be
 * (smaller than a head, or larger than any frame of the protocol).
 */
enum wire_result wire_decode_reply(const uint8_t head[RNGD_PROTO_REPLY_HEAD_BYTES],
				   struct wire_reply *reply) __attribute__((warn_unused_result));

/* The body of an event's frame. Every value of every field can be; what it means is not judged. */
struct wire_event {
	uint32_t notifier;
	uint64_t realtime_ns;
	uint64_t boottime_ns;
	uint8_t id[RNGD_PROTO_EVENT_ID_BYTES];
};

void wire_encode_event(const struct wire_event *event, uint8_t out[RNGD_PROTO_EVENT_BODY_BYTES]);
void wire_decode_event(const uint8_t in[RNGD_PROTO_EVENT_BODY_BYTES], struct wire_event *event);

#endif
