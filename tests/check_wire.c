/*
 * check_wire - frames as bytes and back. Owns: a buffer that ends where readable memory ends. May
 * touch: nothing else. Never does: compare the encoder with the decoder alone: the bytes
 * are written out here too.
 */
#include <check.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "proto/wire.h"

#define LENGTH_MIN (RNGD_PROTO_REQUEST_HEAD_BYTES - RNGD_PROTO_LENGTH_BYTES)
#define LENGTH_MAX (RNGD_PROTO_REQUEST_MAX_BYTES - RNGD_PROTO_LENGTH_BYTES)

#define REPLY_LENGTH_MIN (RNGD_PROTO_REPLY_HEAD_BYTES - RNGD_PROTO_LENGTH_BYTES)
#define REPLY_LENGTH_MAX (REPLY_LENGTH_MIN + RNGD_PROTO_FRAME_DATA_BYTES)

/* Memory whose last byte is followed by a page that cannot be touched. */
struct edge {
	uint8_t *map;
	size_t map_bytes;
	uint8_t *end;
};

static struct edge edge;

static void edge_setup(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t data_bytes = (RNGD_PROTO_REQUEST_MAX_BYTES + page - 1) / page * page;

	edge.map_bytes = data_bytes + page;
	edge.map =
	    mmap(NULL, edge.map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(edge.map, MAP_FAILED);
	edge.end = edge.map + data_bytes;
	ck_assert_int_eq(mprotect(edge.end, page, PROT_NONE), 0);
}

static void edge_teardown(void)
{
	munmap(edge.map, edge.map_bytes);
}

/* A copy of the bytes that cannot be read past its end. */
static const uint8_t *at_edge(const void *bytes, size_t len)
{
	return memcpy(edge.end - len, bytes, len);
}

START_TEST(request_is_these_bytes)
{
	static const uint8_t expected[] = {
	    0x00, 0x00, 0x00, 0x0c, /* length */
	    0x01, 0x02,             /* opcode, version */
	    0x03, 0x04,             /* flags */
	    0x05, 0x06, 0x07, 0x08, /* tag */
	    0x09, 0x0a, 0x0b, 0x0c, /* body */
	};
	const struct wire_request req = {
	    .opcode = 1,
	    .version = 2,
	    .flags = 0x0304,
	    .tag = 0x05060708,
	    .body = expected + RNGD_PROTO_REQUEST_HEAD_BYTES,
	    .body_bytes = 4,
	};
	struct wire_request back;
	uint8_t buf[sizeof(expected) + 1];
	size_t used_bytes = 0;

	memset(buf, 0xee, sizeof(buf));
	ck_assert_uint_eq(wire_encode_request(&req, buf), sizeof(expected));
	ck_assert_mem_eq(buf, expected, sizeof(expected));
	ck_assert_uint_eq(buf[sizeof(expected)], 0xee);

	ck_assert_int_eq(wire_decode_request(expected, sizeof(expected), &back, &used_bytes),
			 WIRE_OK);
	ck_assert_uint_eq(used_bytes, sizeof(expected));
	ck_assert_uint_eq(back.opcode, 1);
	ck_assert_uint_eq(back.version, 2);
	ck_assert_uint_eq(back.flags, 0x0304);
	ck_assert_uint_eq(back.tag, 0x05060708);
	ck_assert_ptr_eq(back.body, expected + RNGD_PROTO_REQUEST_HEAD_BYTES);
	ck_assert_uint_eq(back.body_bytes, 4);
}
END_TEST

START_TEST(reply_is_these_bytes)
{
	static const uint8_t expected[RNGD_PROTO_REPLY_HEAD_BYTES] = {
	    0x00, 0x00, 0x01, 0x14,                         /* length: 16 + 0x104 */
	    0xa1, 0xb2, 0xc3, 0xd4,                         /* opcode, version, status, flags */
	    0xe5, 0xf6, 0x07, 0x18,                         /* tag */
	    0x81, 0x92, 0xa3, 0xb4, 0xc5, 0xd6, 0xe7, 0xf8, /* generation */
	};
	const struct wire_reply reply = {
	    .opcode = 0xa1,
	    .version = 0xb2,
	    .status = 0xc3,
	    .flags = 0xd4,
	    .tag = 0xe5f60718,
	    .generation = 0x8192a3b4c5d6e7f8,
	    .body_bytes = 0x104,
	};
	uint8_t head[RNGD_PROTO_REPLY_HEAD_BYTES + 1];
	struct wire_reply back;

	head[RNGD_PROTO_REPLY_HEAD_BYTES] = 0xee;
	wire_encode_reply(&reply, head);
	ck_assert_mem_eq(head, expected, sizeof(expected));
	ck_assert_uint_eq(head[RNGD_PROTO_REPLY_HEAD_BYTES], 0xee);

	ck_assert_int_eq(wire_decode_reply(expected, &back), WIRE_OK);
	ck_assert_uint_eq(back.opcode, reply.opcode);
	ck_assert_uint_eq(back.version, reply.version);
	ck_assert_uint_eq(back.status, reply.status);
	ck_assert_uint_eq(back.flags, reply.flags);
	ck_assert_uint_eq(back.tag, reply.tag);
	ck_assert_uint_eq(back.generation, reply.generation);
	ck_assert_uint_eq(back.body_bytes, reply.body_bytes);
}
END_TEST

/* Every field takes every bit, and none spills into its neighbour. */
START_TEST(each_bit_comes_back_alone)
{
	struct wire_reply reply, reply_back;
	struct wire_request req, back;
	uint8_t buf[RNGD_PROTO_REPLY_HEAD_BYTES];
	size_t used_bytes;

	for (unsigned i = 0; i < 64; i++) {
		req = (struct wire_request){
		    .opcode = (uint8_t)(i < 8 ? 1u << i : 0),
		    .version = (uint8_t)(i >= 8 && i < 16 ? 1u << (i - 8) : 0),
		    .flags = (uint16_t)(i >= 16 && i < 32 ? 1u << (i - 16) : 0),
		    .tag = i >= 32 ? 1u << (i - 32) : 0,
		};
		wire_encode_request(&req, buf);
		ck_assert_int_eq(
		    wire_decode_request(buf, RNGD_PROTO_REQUEST_HEAD_BYTES, &back, &used_bytes),
		    WIRE_OK);
		ck_assert_uint_eq(back.opcode, req.opcode);
		ck_assert_uint_eq(back.version, req.version);
		ck_assert_uint_eq(back.flags, req.flags);
		ck_assert_uint_eq(back.tag, req.tag);

		reply = (struct wire_reply){.generation = 1ull << i};
		wire_encode_reply(&reply, buf);
		ck_assert_int_eq(wire_decode_reply(buf, &reply_back), WIRE_OK);
		ck_assert_uint_eq(reply_back.generation, 1ull << i);
		ck_assert_uint_eq(reply_back.tag, 0);
	}
}
END_TEST

START_TEST(every_body_size_round_trips)
{
	uint8_t body[LENGTH_MAX - LENGTH_MIN], buf[RNGD_PROTO_REQUEST_MAX_BYTES];
	struct wire_request req, back;
	size_t used_bytes, len;

	for (size_t i = 0; i < sizeof(body); i++)
		body[i] = (uint8_t)(i * 7 + 1);
	for (uint32_t n = 0; n <= sizeof(body); n++) {
		req = (struct wire_request){.opcode = 1, .body = body, .body_bytes = n};
		len = wire_encode_request(&req, buf);
		ck_assert_uint_eq(len, RNGD_PROTO_REQUEST_HEAD_BYTES + n);
		ck_assert_int_eq(wire_decode_request(buf, len, &back, &used_bytes), WIRE_OK);
		ck_assert_uint_eq(used_bytes, len);
		ck_assert_uint_eq(back.body_bytes, n);
		ck_assert(memcmp(back.body, body, n) == 0);
	}
}
END_TEST

/* Each truncation lies at the edge: a read past what is there would be the end of this test. */
START_TEST(truncation_is_short_and_not_overread)
{
	uint8_t buf[RNGD_PROTO_REQUEST_MAX_BYTES], body[LENGTH_MAX - LENGTH_MIN] = {1, 2, 3};
	const struct wire_request reqs[] = {
	    {.opcode = 1, .version = 1},
	    {.opcode = 1, .version = 1, .body = body, .body_bytes = 4},
	    {.opcode = 1, .version = 1, .body = body, .body_bytes = sizeof(body)},
	};
	struct wire_request back;
	size_t used_bytes, len;

	for (size_t i = 0; i < sizeof(reqs) / sizeof(reqs[0]); i++) {
		len = wire_encode_request(&reqs[i], buf);
		for (size_t n = 0; n < len; n++)
			ck_assert_int_eq(
			    wire_decode_request(at_edge(buf, n), n, &back, &used_bytes),
			    WIRE_E_SHORT);
		ck_assert_int_eq(wire_decode_request(at_edge(buf, len), len, &back, &used_bytes),
				 WIRE_OK);
		ck_assert_ptr_eq(back.body + back.body_bytes, edge.end);
	}
}
END_TEST

/* What is missing or refused leaves the caller's struct alone. */
START_TEST(failure_sets_nothing)
{
	static const uint8_t part[] = {0, 0, 0, LENGTH_MIN, 1}, bad[] = {0, 0, 0, LENGTH_MIN - 1};
	struct wire_request req, before;
	size_t used_bytes = 77;

	memset(&before, 0xa5, sizeof(before));
	memset(&req, 0xa5, sizeof(req));
	ck_assert_int_eq(wire_decode_request(part, sizeof(part), &req, &used_bytes), WIRE_E_SHORT);
	ck_assert_int_eq(wire_decode_request(bad, sizeof(bad), &req, &used_bytes), WIRE_E_LENGTH);
	ck_assert_mem_eq(&req, &before, sizeof(req));
	ck_assert_uint_eq(used_bytes, 77);
}
END_TEST

/* With four bytes in hand and no more: the length word alone decides. */
START_TEST(request_length_word_is_judged_at_once)
{
	static const struct {
		uint32_t length;
		enum wire_result result;
	} cases[] = {
	    {0, WIRE_E_LENGTH},
	    {LENGTH_MIN - 1, WIRE_E_LENGTH},
	    {LENGTH_MIN, WIRE_E_SHORT},
	    {LENGTH_MAX, WIRE_E_SHORT},
	    {LENGTH_MAX + 1, WIRE_E_LENGTH},
	    {LENGTH_MAX + 4, WIRE_E_LENGTH},
	    {0x7fffffff, WIRE_E_LENGTH},
	    {0x80000000, WIRE_E_LENGTH},
	    {UINT32_MAX - 3, WIRE_E_LENGTH},
	    {UINT32_MAX, WIRE_E_LENGTH},
	    {LENGTH_MIN << 24, WIRE_E_LENGTH}, /* little-endian by mistake */
	};
	uint8_t word[RNGD_PROTO_LENGTH_BYTES];
	struct wire_request req;
	size_t used_bytes;

	ck_assert_uint_eq(LENGTH_MIN, 8);
	ck_assert_uint_eq(LENGTH_MAX, 4092);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		wire_put_u32(word, cases[i].length);
		ck_assert_msg(wire_decode_request(at_edge(word, sizeof(word)), sizeof(word), &req,
						  &used_bytes) == cases[i].result,
			      "length %#x", cases[i].length);
	}
}
END_TEST

START_TEST(reply_length_word_is_judged)
{
	static const struct {
		uint32_t length;
		enum wire_result result;
	} cases[] = {
	    {0, WIRE_E_LENGTH},
	    {REPLY_LENGTH_MIN - 1, WIRE_E_LENGTH},
	    {REPLY_LENGTH_MIN, WIRE_OK},
	    {REPLY_LENGTH_MAX, WIRE_OK},
	    {REPLY_LENGTH_MAX + 1, WIRE_E_LENGTH},
	    {0x80000000, WIRE_E_LENGTH},
	    {UINT32_MAX, WIRE_E_LENGTH},
	};
	uint8_t head[RNGD_PROTO_REPLY_HEAD_BYTES] = {0};
	struct wire_reply reply;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		wire_put_u32(head, cases[i].length);
		ck_assert_msg(wire_decode_reply(at_edge(head, sizeof(head)), &reply) ==
				  cases[i].result,
			      "length %#x", cases[i].length);
		if (cases[i].result == WIRE_OK)
			ck_assert_uint_eq(reply.body_bytes, cases[i].length - REPLY_LENGTH_MIN);
	}
}
END_TEST

/* Two requests in one buffer: the first says where the second begins, and no more is used. */
START_TEST(pipelined_requests_are_told_apart)
{
	uint8_t buf[64];
	const uint8_t body[4] = {0, 0, 0, 9};
	struct wire_request req = {.opcode = 1, .tag = 1, .body = body, .body_bytes = 4};
	size_t first = wire_encode_request(&req, buf), used_bytes, len;
	struct wire_request back;

	req = (struct wire_request){.opcode = 2, .tag = 2};
	len = first + wire_encode_request(&req, buf + first);
	ck_assert_int_eq(wire_decode_request(buf, len, &back, &used_bytes), WIRE_OK);
	ck_assert_uint_eq(used_bytes, first);
	ck_assert_uint_eq(back.tag, 1);
	ck_assert_int_eq(wire_decode_request(buf + first, len - first, &back, &used_bytes),
			 WIRE_OK);
	ck_assert_uint_eq(used_bytes, len - first);
	ck_assert_uint_eq(back.tag, 2);
	ck_assert_uint_eq(back.body_bytes, 0);
}
END_TEST

START_TEST(u32_is_big_endian_at_any_alignment)
{
	static const uint8_t expected[] = {0x80, 0x01, 0xfe, 0xff};
	uint8_t buf[8];

	for (size_t at = 0; at <= 4; at++) {
		memset(buf, 0, sizeof(buf));
		wire_put_u32(buf + at, 0x8001feff);
		ck_assert_mem_eq(buf + at, expected, sizeof(expected));
		ck_assert_uint_eq(wire_get_u32(buf + at), 0x8001feff);
	}
}
END_TEST

START_TEST(event_is_these_bytes)
{
	struct wire_event event = {
	    .notifier = 0x01020304,
	    .realtime_ns = 0x05060708090a0b0cull,
	    .boottime_ns = 0x0d0e0f1011121314ull,
	};
	uint8_t body[RNGD_PROTO_EVENT_BODY_BYTES];
	struct wire_event back;

	for (size_t i = 0; i < sizeof(event.id); i++)
		event.id[i] = (uint8_t)(0x15 + i);
	wire_encode_event(&event, body);
	for (size_t i = 0; i < sizeof(body); i++)
		ck_assert_uint_eq(body[i], i + 1);
	wire_decode_event(body, &back);
	ck_assert_uint_eq(back.notifier, event.notifier);
	ck_assert(back.realtime_ns == event.realtime_ns && back.boottime_ns == event.boottime_ns);
	ck_assert_mem_eq(back.id, event.id, sizeof(event.id));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("wire");
	TCase *tcase = tcase_create("wire");
	SRunner *sr = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tcase, edge_setup, edge_teardown);
	tcase_add_test(tcase, request_is_these_bytes);
	tcase_add_test(tcase, reply_is_these_bytes);
	tcase_add_test(tcase, each_bit_comes_back_alone);
	tcase_add_test(tcase, every_body_size_round_trips);
	tcase_add_test(tcase, truncation_is_short_and_not_overread);
	tcase_add_test(tcase, failure_sets_nothing);
	tcase_add_test(tcase, request_length_word_is_judged_at_once);
	tcase_add_test(tcase, reply_length_word_is_judged);
	tcase_add_test(tcase, pipelined_requests_are_told_apart);
	tcase_add_test(tcase, u32_is_big_endian_at_any_alignment);
	tcase_add_test(tcase, event_is_these_bytes);
	suite_add_tcase(suite, tcase);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
