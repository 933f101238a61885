/*
 * get - a GET on the wire, for the tools that speak the protocol by themselves.
 */
#ifndef TESTS_GET_H
#define TESTS_GET_H

#include <stddef.h>
#include <stdint.h>

#include "proto/wire.h"

#define GET_REQUEST_BYTES (RNGD_PROTO_REQUEST_HEAD_BYTES + RNGD_PROTO_GET_BODY_BYTES)

/* Asks for count bytes, with tag 0. Returns GET_REQUEST_BYTES. */
static inline size_t get_encode(uint8_t out[GET_REQUEST_BYTES], uint32_t count)
{
	uint8_t body[RNGD_PROTO_GET_BODY_BYTES];
	const struct wire_request get = {
	    .opcode = RNGD_PROTO_OP_GET,
	    .version = RNGD_PROTO_VERSION_MAX,
	    .body = body,
	    .body_bytes = sizeof(body),
	};

	wire_put_u32(body, count);
	return wire_encode_request(&get, out);
}

#endif
