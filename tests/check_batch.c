/*
 * The accounting of half-sent batches: whatever a peer takes of each write, the stream it reads is
 * every reply whole, in order, once.
 */
#include <check.h>
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/batch.h"
#include "daemon/conn.h"
#include "daemon/reseed.h"
#include "proto/wire.h"
#include "tests/quiet_epoch.h"

#define STREAM_BYTES (8u << 20)
#define ROUNDS       3000

/* One side of the simulation: the connection, and what the peer has read so far. */
struct peer {
	struct quiet_epoch quiet;
	struct reseed reseed;
	struct conn_shared shared;
	struct conn conn;
	struct secmem scratch;
	uint8_t *stream;
	size_t stream_bytes;
	uint8_t requests[CONN_IN_BYTES];
	size_t requests_bytes;
};

static size_t fake_status(void *owner, const struct conn *conn, char *text, size_t size)
{
	(void)owner;
	ck_assert_ptr_nonnull(conn);
	memset(text, 's', size);
	return size; /* the longest there can be */
}

static struct peer *peer_new(void)
{
	struct peer *peer = calloc(1, sizeof(*peer));

	ck_assert_ptr_nonnull(peer);
	quiet_epoch_init(&peer->quiet);
	ck_assert_int_eq(reseed_init(&peer->reseed, &peer->quiet.epoch, 60000, true), 0);
	ck_assert_int_eq(secmem_alloc(&peer->scratch, CONN_SCRATCH_BYTES + CONN_IN_BYTES, true), 0);
	peer->stream = malloc(STREAM_BYTES);
	ck_assert_ptr_nonnull(peer->stream);
	peer->shared.reseed = &peer->reseed;
	peer->shared.scratch = peer->scratch.data;
	peer->shared.in = peer->shared.scratch + CONN_SCRATCH_BYTES;
	peer->shared.page_fd = -1;
	peer->shared.status_text = fake_status;
	peer->conn.shared = &peer->shared;
	peer->conn.room_bytes = SIZE_MAX;
	return peer;
}

static void peer_free(struct peer *peer)
{
	free(peer->conn.out);
	reseed_deinit(&peer->reseed);
	quiet_epoch_deinit(&peer->quiet);
	secmem_free(&peer->scratch);
	free(peer->stream);
	free(peer);
}

static void ask(struct peer *peer, uint8_t opcode, uint32_t tag, uint32_t count)
{
	uint8_t body[RNGD_PROTO_GET_BODY_BYTES];
	struct wire_request req = {.opcode = opcode, .version = 1, .tag = tag};

	if (opcode == RNGD_PROTO_OP_GET) {
		wire_put_u32(body, count);
		req.body = body;
		req.body_bytes = sizeof(body);
	}
	ck_assert_uint_le(peer->requests_bytes + 32, sizeof(peer->requests));
	peer->requests_bytes += wire_encode_request(&req, peer->requests + peer->requests_bytes);
}

static bool peer_idle(const struct peer *peer)
{
	const struct conn *conn = &peer->conn;

	return conn->out_bytes == 0 && conn->frame_owed == 0 && conn->progress.get_owed == 0 &&
	       conn->progress.in_used == peer->requests_bytes;
}

/* One turn in which the peer takes `take` bytes at most; what conn.c does with a batch. */
static int turn(struct peer *peer, size_t take)
{
	struct conn *conn = &peer->conn;
	struct batch batch;
	uint8_t *kept = NULL;
	int err;

	memcpy(peer->shared.in, peer->requests, peer->requests_bytes);
	err = batch_make(&batch, conn, peer->requests_bytes);
	if (err)
		return err;
	ck_assert_uint_le(batch.bytes, CONN_SCRATCH_BYTES);
	ck_assert_uint_le(batch.bytes, conn->room_bytes);
	if (take > batch.bytes)
		take = batch.bytes;
	ck_assert_uint_le(peer->stream_bytes + take, STREAM_BYTES);
	memcpy(peer->stream + peer->stream_bytes, peer->shared.scratch, take);
	peer->stream_bytes += take;
	batch_sent(&batch, take);
	ck_assert_uint_le(batch.unsent_bytes, CONN_CONTROL_BYTES);
	if (batch.unsent_bytes > 0) {
		kept = malloc(batch.unsent_bytes);
		ck_assert_ptr_nonnull(kept);
		memcpy(kept, peer->shared.scratch + batch.unsent_start, batch.unsent_bytes);
	}
	free(conn->out);
	conn->out = kept;
	conn->out_bytes = batch.unsent_bytes;
	conn->progress = batch.progress;
	conn->frame_owed = batch.frame_owed;
	conn->frame_generation = batch.generation;
	return 0;
}

/* The next reply of the stream must answer this request. */
static size_t expect(const struct peer *peer, size_t at, uint8_t opcode, uint32_t tag,
		     uint32_t count)
{
	struct wire_reply reply;
	bool more = true;

	while (more) {
		ck_assert_uint_le(at + RNGD_PROTO_REPLY_HEAD_BYTES, peer->stream_bytes);
		ck_assert_int_eq(wire_decode_reply(peer->stream + at, &reply), WIRE_OK);
		ck_assert_uint_eq(reply.opcode, opcode);
		ck_assert_uint_eq(reply.tag, tag);
		more = reply.flags & RNGD_PROTO_FLAG_MORE;
		if (more)
			ck_assert_uint_ge(reply.body_bytes, RNGD_PROTO_ONE_FRAME_BYTES);
		ck_assert_uint_le(reply.body_bytes, RNGD_PROTO_FRAME_DATA_BYTES);
		if (opcode == RNGD_PROTO_OP_GET) {
			ck_assert_uint_eq(reply.status, RNGD_PROTO_OK);
			ck_assert_uint_le(reply.body_bytes, count);
			count -= reply.body_bytes;
			ck_assert_int_eq(more, count > 0);
		}
		at += RNGD_PROTO_REPLY_HEAD_BYTES + reply.body_bytes;
	}
	return at;
}

static uint32_t pick(uint32_t below)
{
	return randombytes_uniform(below);
}

/* How much a peer takes: nothing, a few bytes, a part, or all. */
static size_t pick_take(void)
{
	switch (pick(6)) {
	case 0:
		return 0;
	case 1:
		return pick(30);
	case 2:
		return pick(100000);
	case 3:
		return pick(3000);
	default:
		return SIZE_MAX;
	}
}

/* How much room a turn has: a narrow connection's, what a socket has left, or no bound. */
static size_t pick_room(void)
{
	switch (pick(4)) {
	case 0:
		return UNREAD_TURN_BYTES;
	case 1:
		return 2 * RNGD_PROTO_ONE_FRAME_BYTES + pick(200000);
	default:
		return SIZE_MAX;
	}
}

static uint32_t pick_count(void)
{
	switch (pick(4)) {
	case 0:
		return 1 + pick(40);
	case 1:
		return RNGD_PROTO_FRAME_DATA_BYTES - 1 + pick(3);
	case 2:
		return 1 + pick(3 * RNGD_PROTO_FRAME_DATA_BYTES);
	default:
		return 1 + pick(5000);
	}
}

START_TEST(every_cut_keeps_the_stream_whole)
{
	struct request {
		uint8_t opcode;
		uint32_t count;
	} asked[20];
	struct peer *peer = peer_new();

	for (int round = 0; round < ROUNDS; round++) {
		uint32_t n = 1 + pick(20);
		uint32_t turns = 0;
		size_t at = 0;

		peer->stream_bytes = 0;
		peer->requests_bytes = 0;
		memset(&peer->conn.progress, 0, sizeof(peer->conn.progress));
		for (uint32_t i = 0; i < n; i++) {
			static const uint8_t opcodes[] = {RNGD_PROTO_OP_GET, RNGD_PROTO_OP_GET,
							  RNGD_PROTO_OP_STATUS, 99};

			asked[i].opcode = opcodes[pick(4)];
			asked[i].count = pick_count();
			ask(peer, asked[i].opcode, i, asked[i].count);
		}
		while (!peer_idle(peer)) {
			peer->conn.room_bytes = pick_room();
			ck_assert_int_eq(turn(peer, pick_take()), 0);
			ck_assert_uint_lt(turns++, 20000);
		}
		for (uint32_t i = 0; i < n; i++)
			at = expect(peer, at, asked[i].opcode, i, asked[i].count);
		ck_assert_uint_eq(at, peer->stream_bytes);
		ck_assert_uint_eq(peer->conn.progress.requests, n);
	}
	peer_free(peer);
}
END_TEST

/* Who takes as much as it was said to have room for is left no half of a frame. */
START_TEST(frames_end_where_the_room_does)
{
	struct peer *peer = peer_new();
	uint32_t counts[5];

	for (int round = 0; round < ROUNDS; round++) {
		size_t at = 0;

		peer->stream_bytes = 0;
		peer->requests_bytes = 0;
		memset(&peer->conn.progress, 0, sizeof(peer->conn.progress));
		for (uint32_t i = 0; i < 5; i++) {
			counts[i] = pick_count();
			ask(peer, RNGD_PROTO_OP_GET, i, counts[i]);
		}
		while (!peer_idle(peer)) {
			size_t before = peer->stream_bytes;

			peer->conn.room_bytes = pick_room();
			ck_assert_int_eq(turn(peer, SIZE_MAX), 0);
			ck_assert_uint_eq(peer->conn.frame_owed, 0);
			ck_assert_uint_eq(peer->conn.out_bytes, 0);
			ck_assert_uint_gt(peer->stream_bytes, before);
		}
		for (uint32_t i = 0; i < 5; i++)
			at = expect(peer, at, RNGD_PROTO_OP_GET, i, counts[i]);
		ck_assert_uint_eq(at, peer->stream_bytes);
	}
	peer_free(peer);
}
END_TEST

/* One byte at a time is the worst of all cuts. */
START_TEST(byte_by_byte)
{
	struct peer *peer = peer_new();
	size_t at = 0;

	ask(peer, RNGD_PROTO_OP_GET, 1, 100);
	ask(peer, 77, 2, 0);
	ask(peer, RNGD_PROTO_OP_GET, 3, 1);
	while (!peer_idle(peer))
		ck_assert_int_eq(turn(peer, 1), 0);
	at = expect(peer, at, RNGD_PROTO_OP_GET, 1, 100);
	at = expect(peer, at, 77, 2, 0);
	at = expect(peer, at, RNGD_PROTO_OP_GET, 3, 1);
	ck_assert_uint_eq(at, peer->stream_bytes);
	peer_free(peer);
}
END_TEST

/* A frame's bytes are of one generation, or the connection ends. */
START_TEST(a_begun_frame_does_not_outlive_its_generation)
{
	struct peer *peer = peer_new();

	ask(peer, RNGD_PROTO_OP_GET, 1, 1000);
	ck_assert_int_eq(turn(peer, 500), 0);
	ck_assert_uint_eq(peer->conn.frame_owed, 1000 + RNGD_PROTO_REPLY_HEAD_BYTES - 500);
	peer->quiet.epoch.generation++;
	ck_assert_int_eq(turn(peer, SIZE_MAX), -ECONNRESET);
	peer_free(peer);
}
END_TEST

/* Half a head is the beginning of a frame too: it names the generation. */
START_TEST(a_begun_head_does_not_outlive_its_generation)
{
	struct peer *peer = peer_new();

	ask(peer, RNGD_PROTO_OP_GET, 1, 1000);
	ck_assert_int_eq(turn(peer, 5), 0);
	ck_assert_uint_eq(peer->conn.out_bytes, RNGD_PROTO_REPLY_HEAD_BYTES - 5);
	peer->quiet.epoch.generation++;
	ck_assert_int_eq(turn(peer, SIZE_MAX), -ECONNRESET);
	peer_free(peer);
}
END_TEST

START_TEST(a_frame_not_begun_is_made_under_the_new_generation)
{
	struct peer *peer = peer_new();
	struct wire_reply reply;

	ask(peer, RNGD_PROTO_OP_GET, 1, 1000);
	ck_assert_int_eq(turn(peer, 0), 0);
	peer->quiet.epoch.generation++;
	ck_assert_int_eq(turn(peer, SIZE_MAX), 0);
	ck_assert_int_eq(wire_decode_reply(peer->stream, &reply), WIRE_OK);
	ck_assert_uint_eq(reply.generation, peer->quiet.epoch.generation);
	peer_free(peer);
}
END_TEST

/* What a peer did not take is made anew: the bytes of the first try are never seen. */
START_TEST(the_rest_of_a_frame_is_made_anew)
{
	struct peer *peer = peer_new();
	uint8_t first[200];

	ask(peer, RNGD_PROTO_OP_GET, 1, 200);
	ck_assert_int_eq(turn(peer, RNGD_PROTO_REPLY_HEAD_BYTES + 100), 0);
	memcpy(first, peer->shared.scratch + RNGD_PROTO_REPLY_HEAD_BYTES, sizeof(first));
	ck_assert_int_eq(turn(peer, SIZE_MAX), 0);
	ck_assert_uint_eq(peer->stream_bytes, RNGD_PROTO_REPLY_HEAD_BYTES + 200);
	ck_assert_mem_eq(peer->stream + RNGD_PROTO_REPLY_HEAD_BYTES, first, 100);
	ck_assert_mem_ne(peer->stream + RNGD_PROTO_REPLY_HEAD_BYTES + 100, first + 100, 100);
	peer_free(peer);
}
END_TEST

/* A stop lets out what has begun, and begins no event. */
START_TEST(a_stop_begins_no_event)
{
	const uint8_t body[RNGD_PROTO_SUBSCRIBE_BODY_BYTES] = {0};
	struct peer *peer = peer_new();
	const struct events_peer who = {.conn = &peer->conn, .version = 1, .tag = 9};
	uint64_t generation = peer->quiet.epoch.generation;
	struct wire_reply reply;
	struct events events;

	events_init(&events, generation, false, 0);
	peer->shared.events = &events;
	peer->conn.subscriber = events_subscribe(&events, &who, body, generation, 0);
	ask(peer, 77, 1, 0);
	ck_assert_int_eq(turn(peer, 5), 0);
	peer->quiet.epoch.generation++;
	peer->shared.stopping = true;
	ck_assert_int_eq(turn(peer, SIZE_MAX), 0);
	ck_assert_uint_eq(peer->stream_bytes, RNGD_PROTO_REPLY_HEAD_BYTES);
	ck_assert_int_eq(turn(peer, SIZE_MAX), 0);
	ck_assert_uint_eq(peer->stream_bytes, RNGD_PROTO_REPLY_HEAD_BYTES);
	peer->shared.stopping = false;
	ck_assert_int_eq(turn(peer, SIZE_MAX), 0);
	ck_assert_uint_eq(peer->stream_bytes,
			  2 * RNGD_PROTO_REPLY_HEAD_BYTES + RNGD_PROTO_EVENT_BODY_BYTES);
	ck_assert_int_eq(wire_decode_reply(peer->stream + RNGD_PROTO_REPLY_HEAD_BYTES, &reply),
			 WIRE_OK);
	ck_assert_uint_eq(reply.opcode, RNGD_PROTO_OP_SUBSCRIBE);
	ck_assert_uint_eq(reply.tag, 9);
	ck_assert_uint_eq(reply.generation, generation + 1);
	events_leave(&events, peer->conn.subscriber, generation + 1, 0);
	events_deinit(&events);
	peer_free(peer);
}
END_TEST

/* A daemon that cannot reseed answers every GET with an error, in the middle of one too. */
START_TEST(refusal)
{
	struct peer *peer = peer_new();
	struct wire_reply reply;
	size_t frame_bytes = RNGD_PROTO_REPLY_HEAD_BYTES + RNGD_PROTO_FRAME_DATA_BYTES;

	ask(peer, RNGD_PROTO_OP_GET, 1, 3 * RNGD_PROTO_FRAME_DATA_BYTES);
	ask(peer, RNGD_PROTO_OP_GET, 2, 10);
	ask(peer, RNGD_PROTO_OP_STATUS, 3, 0);
	ck_assert_int_eq(turn(peer, frame_bytes), 0);
	/* Due, failed, and not to be tried again for a day. */
	reseed_want(&peer->reseed, RESEED_REQUEST);
	peer->reseed.error = -EIO;
	peer->reseed.retry_at_ms = INT64_MAX;
	while (!peer_idle(peer))
		ck_assert_int_eq(turn(peer, SIZE_MAX), 0);
	ck_assert_int_eq(wire_decode_reply(peer->stream + frame_bytes, &reply), WIRE_OK);
	ck_assert_uint_eq(reply.tag, 1);
	ck_assert_uint_eq(reply.status, RNGD_PROTO_E_UNAVAILABLE);
	ck_assert_uint_eq(reply.body_bytes, 0);
	frame_bytes += RNGD_PROTO_REPLY_HEAD_BYTES;
	ck_assert_int_eq(wire_decode_reply(peer->stream + frame_bytes, &reply), WIRE_OK);
	ck_assert_uint_eq(reply.tag, 2);
	ck_assert_uint_eq(reply.status, RNGD_PROTO_E_UNAVAILABLE);
	frame_bytes += RNGD_PROTO_REPLY_HEAD_BYTES;
	frame_bytes = expect(peer, frame_bytes, RNGD_PROTO_OP_STATUS, 3, 0);
	ck_assert_uint_eq(frame_bytes, peer->stream_bytes);

	/* In the middle of a frame there is no way to say so. */
	peer->conn.frame_owed = 7;
	ck_assert_int_eq(turn(peer, SIZE_MAX), -ECONNRESET);
	peer_free(peer);
}
END_TEST

/* What the kernel would not pass has not been had: the next request for it is judged anew. */
START_TEST(refused_page_may_be_asked_for_again)
{
	struct peer *peer = peer_new();
	struct wire_reply reply;
	struct batch batch;

	peer->shared.page_fd = 0;
	ask(peer, RNGD_PROTO_OP_PAGE, 1, 0);
	memcpy(peer->shared.in, peer->requests, peer->requests_bytes);
	ck_assert_int_eq(batch_make(&batch, &peer->conn, peer->requests_bytes), 0);
	ck_assert(batch.with_page && batch.standing.page_asked);
	batch_refuse_page(&batch);
	ck_assert(!batch.with_page && !batch.standing.page_asked);
	ck_assert_int_eq(wire_decode_reply(peer->shared.scratch, &reply), WIRE_OK);
	ck_assert_uint_eq(reply.status, RNGD_PROTO_E_AGAIN);
	peer_free(peer);
}
END_TEST

START_TEST(stopping_finishes_the_frame_and_begins_none)
{
	struct peer *peer = peer_new();

	ask(peer, RNGD_PROTO_OP_GET, 1, 3 * RNGD_PROTO_FRAME_DATA_BYTES);
	ck_assert_int_eq(turn(peer, 1000), 0);
	peer->shared.stopping = true;
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(turn(peer, SIZE_MAX), 0);
	ck_assert_uint_eq(peer->stream_bytes,
			  RNGD_PROTO_REPLY_HEAD_BYTES + RNGD_PROTO_FRAME_DATA_BYTES);
	peer_free(peer);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("batch");
	TCase *tcase = tcase_create("batch");
	SRunner *runner;
	int failed;

	if (sodium_init() < 0)
		return 1;
	tcase_set_timeout(tcase, 300);
	tcase_add_test(tcase, every_cut_keeps_the_stream_whole);
	tcase_add_test(tcase, frames_end_where_the_room_does);
	tcase_add_test(tcase, byte_by_byte);
	tcase_add_test(tcase, a_begun_frame_does_not_outlive_its_generation);
	tcase_add_test(tcase, a_begun_head_does_not_outlive_its_generation);
	tcase_add_test(tcase, a_frame_not_begun_is_made_under_the_new_generation);
	tcase_add_test(tcase, the_rest_of_a_frame_is_made_anew);
	tcase_add_test(tcase, refusal);
	tcase_add_test(tcase, a_stop_begins_no_event);
	tcase_add_test(tcase, refused_page_may_be_asked_for_again);
	tcase_add_test(tcase, stopping_finishes_the_frame_and_begins_none);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed > 0;
}
