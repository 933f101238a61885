/*
 * proto/wire - the rngd protocol's frames as structs and back. Pure: no I/O, no allocation.
 */
#ifndef PROTO_WIRE_H
#define PROTO_WIRE_H

#include <stddef.h>
#include <stdint.h>

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

/*
 * Decodes one request from the first bytes of buf. WIRE_OK: *req is set and
 * *used_bytes is how many bytes the request takes, RNGD_PROTO_REQUEST_MAX_BYTES at most.
 * Looks at framing only: opcode, version, flags and body are the caller's to judge.
 * Refuses a bad length as soon as the four bytes of it are there.
 */
enum wire_result wire_decode_request(const uint8_t *buf, size_t len, struct wire_request *req,
				     size_t *used_bytes) __attribute__((warn_unused_result));

/*
 * Encodes req->opcode, version, flags, tag and body_bytes bytes of body to buf, which holds at
 * least RNGD_PROTO_REQUEST_HEAD_BYTES + body_bytes. Returns the bytes written.
 */
size_t wire_encode_request(const struct wire_request *req, uint8_t *buf);

/* Encodes the head of a reply frame; the caller appends reply->body_bytes bytes. */
void wire_encode_reply(const struct wire_reply *reply, uint8_t head[RNGD_PROTO_REPLY_HEAD_BYTES]);

/*
 * Decodes a reply's head. WIRE_OK, or WIRE_E_LENGTH when its length word cannot be
 * (smaller than a head, or larger than any frame of the protocol).
 */
enum wire_result wire_decode_reply(const uint8_t head[RNGD_PROTO_REPLY_HEAD_BYTES],
				   struct wire_reply *reply) __attribute__((warn_unused_result));

/* Big-endian integers at any alignment. */
void wire_put_u32(uint8_t *at, uint32_t value);
uint32_t wire_get_u32(const uint8_t *at);
void wire_put_u64(uint8_t *at, uint64_t value);
uint64_t wire_get_u64(const uint8_t *at);

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
