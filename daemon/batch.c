/*
 * Owns: nothing; it works on the shared scratch during one turn. May touch: the choke point
 * (reseed_fill) and the status text. Never does: I/O, allocation, or change the connection:
 * what a plan means for it is decided when it is known how much was sent.
 */
#include "daemon/batch.h"

#include <errno.h>
#include <string.h>

#include "daemon/answer.h"
#include "proto/wire.h"

_Static_assert(CONN_IN_BYTES <= UINT16_MAX, "a frame's in_used, and its requests, have 16 bits");

bool batch_has_request(const uint8_t *in, size_t len)
{
	struct wire_request req;
	size_t used_bytes;

	return len > 0 && wire_decode_request(in, len, &req, &used_bytes) != WIRE_E_SHORT;
}

/* Would the GET in progress make a small batch large? Its end alone is small again. */
static bool too_large(const struct batch *batch)
{
	return batch->small && batch->progress.get_owed > QUOTA_SMALL_BYTES - batch->random_bytes;
}

/* One more frame at random, and what stands before it. */
static inline void add_frame(struct batch *batch, size_t head_bytes, size_t data_bytes)
{
	const struct conn_progress *progress = &batch->progress;

	batch->shared->frames[batch->frame_count++] = (struct conn_frame){
	    .start = (uint32_t)batch->bytes,
	    .data_bytes = (uint32_t)data_bytes,
	    .head_bytes = (uint8_t)head_bytes,
	    .get_version = progress->get_version,
	    .in_used = (uint16_t)progress->in_used,
	    .requests = (uint16_t)(progress->requests - batch->conn->progress.requests),
	    .get_tag = progress->get_tag,
	    .get_owed = (uint32_t)progress->get_owed,
	};
	batch->bytes += head_bytes + data_bytes;
	batch->random_bytes += data_bytes;
}

/* What stands if not a byte of this frame is sent. */
static struct conn_progress before(const struct batch *batch, const struct conn_frame *frame)
{
	const struct conn_progress *begin = &batch->conn->progress;

	return (struct conn_progress){
	    .in_used = frame->in_used,
	    .get_owed = frame->get_owed,
	    .get_tag = frame->get_tag,
	    .get_version = frame->get_version,
	    .close_after = begin->close_after, /* once it is set, nothing is planned */
	    .requests = begin->requests + frame->requests,
	};
}

static size_t frame_end(const struct conn_frame *frame)
{
	return (size_t)frame->start + frame->head_bytes + frame->data_bytes;
}

/*
 * How much of the GET in progress its next frame has: the rest of it, or as much as the batch has
 * room for, so that the peer can take the whole frame. 0: it is to wait for the next batch.
 */
static size_t frame_data(const struct batch *batch)
{
	const size_t used_bytes = batch->bytes + RNGD_PROTO_REPLY_HEAD_BYTES;
	size_t most = batch->room_bytes > used_bytes ? batch->room_bytes - used_bytes : 0;

	if (most > RNGD_PROTO_FRAME_DATA_BYTES)
		most = RNGD_PROTO_FRAME_DATA_BYTES;
	if (batch->progress.get_owed <= most)
		return (size_t)batch->progress.get_owed;
	return most < RNGD_PROTO_ONE_FRAME_BYTES ? 0 : most;
}

/* The next frame of the GET in progress. */
static bool plan_frame(struct batch *batch)
{
	struct conn_progress *progress = &batch->progress;
	size_t data_bytes = frame_data(batch);

	if (too_large(batch)) {
		batch->held = true;
		return false;
	}
	if (batch->frame_count == CONN_BATCH_FRAMES || data_bytes == 0)
		return false;
	add_frame(batch, RNGD_PROTO_REPLY_HEAD_BYTES, data_bytes);
	progress->get_owed -= data_bytes;
	return true;
}

/* Goes on with the GET in progress. false: there is no room, or its error frame must wait. */
static bool plan_get(struct batch *batch, enum rngd_proto_status refusal)
{
	struct conn_progress *progress = &batch->progress;

	if (refusal == RNGD_PROTO_OK)
		return plan_frame(batch);
	if (!answer_error(batch, RNGD_PROTO_OP_GET, progress->get_version, progress->get_tag,
			  refusal))
		return false;
	progress->get_owed = 0;
	return true;
}

/* A well-framed request: its answer, or for a GET its start. false: it must wait. */
static bool plan_framed(struct batch *batch, const struct wire_request *req,
			enum rngd_proto_status refusal)
{
	struct conn_progress *progress = &batch->progress;
	enum rngd_proto_status status = request_judge(req, &batch->standing);

	if (status == RNGD_PROTO_OK && req->opcode == RNGD_PROTO_OP_GET)
		status = refusal;
	if (status != RNGD_PROTO_OK)
		return answer_error(batch, req->opcode, req->version, req->tag, status);
	if (req->opcode != RNGD_PROTO_OP_GET)
		return answer_request(batch, req);
	progress->get_owed = wire_get_u32(req->body);
	progress->get_tag = req->tag;
	progress->get_version = req->version;
	return true;
}

/* One request from the input. false: none is whole, or its answer must wait for the next batch. */
static bool plan_request(struct batch *batch, size_t in_bytes, enum rngd_proto_status refusal)
{
	struct conn_progress *progress = &batch->progress;
	const uint8_t *in = batch->shared->in;
	struct wire_request req;
	size_t used_bytes;

	switch (wire_decode_request(in + progress->in_used, in_bytes - progress->in_used, &req,
				    &used_bytes)) {
	case WIRE_E_SHORT:
		return false;
	case WIRE_E_LENGTH:
		/* Where the next request begins is unknown: say so and close. */
		progress->close_after = answer_error(
		    batch, RNGD_PROTO_OP_NONE, RNGD_PROTO_VERSION_MAX, 0, RNGD_PROTO_E_LENGTH);
		return false;
	case WIRE_OK:
		break;
	}
	if (!plan_framed(batch, &req, refusal))
		return false;
	progress->in_used += used_bytes;
	progress->requests++;
	return true;
}

/* refusal: why no random bytes can be had, so that every GET ends with an error frame; or OK. */
static void plan(struct batch *batch, const struct conn *conn, size_t in_bytes,
		 enum rngd_proto_status refusal)
{
	struct conn_progress *progress = &batch->progress;

	*batch = (struct batch){
	    .shared = conn->shared,
	    .conn = conn,
	    .progress = conn->progress,
	    .bytes = conn->out_bytes,
	    .control_bytes = conn->out_bytes,
	    .begun_owed = conn->frame_owed,
	    .generation = conn->frame_generation,
	    .with_page = conn->page_owed,
	    .room_bytes =
		conn->room_bytes < CONN_SCRATCH_BYTES ? conn->room_bytes : CONN_SCRATCH_BYTES,
	    .small = conn->small,
	    .standing = {.control = conn->control,
			 .has_page = conn->shared->page_fd >= 0,
			 .page_asked = conn->page_asked || conn->page_owed,
			 .has_rdrand = conn->shared->reseed->use_rdrand,
			 .subscribed = conn->subscriber != NULL},
	};
	if (conn->out_bytes > 0)
		memcpy(conn->shared->scratch, conn->out, conn->out_bytes);
	if (conn->frame_owed > 0)
		add_frame(batch, 0, (size_t)conn->frame_owed);
	answer_event(batch);
	while (!conn->shared->stopping && !batch->acted && !progress->close_after) {
		if (progress->get_owed == 0 && !plan_request(batch, in_bytes, refusal))
			break;
		if (progress->get_owed > 0 && !plan_get(batch, refusal))
			break;
	}
	/* A frame begun earlier, or a text, may be longer: as if the peer's buffer were full. */
	if (batch->bytes > batch->room_bytes)
		batch->bytes = batch->room_bytes;
}

static void put_heads(struct batch *batch)
{
	const struct conn_frame *frames = batch->shared->frames;
	uint8_t *scratch = batch->shared->scratch;

	for (size_t i = 0; i < batch->frame_count; i++) {
		const struct conn_frame *frame = &frames[i];
		struct wire_reply reply = {
		    .opcode = RNGD_PROTO_OP_GET,
		    .version = frame->get_version,
		    .flags = frame->get_owed > frame->data_bytes ? RNGD_PROTO_FLAG_MORE : 0,
		    .tag = frame->get_tag,
		    .generation = batch->generation,
		    .body_bytes = frame->data_bytes,
		};

		if (frame->head_bytes > 0)
			wire_encode_reply(&reply, scratch + frame->start);
	}
}

/* Plans, and makes what is at random in the plan. 0, or an error of the fill. */
static int make_once(struct batch *batch, const struct conn *conn, size_t in_bytes)
{
	const struct conn_shared *shared = conn->shared;
	size_t start, len;

	plan(batch, conn, in_bytes, RNGD_PROTO_OK);
	batch->cost.made_bytes = batch->bytes;
	start = shared->frames[0].start;
	if (batch->frame_count == 0 || batch->bytes <= start)
		return 0;
	len = batch->bytes - start;
	batch->cost.random_bytes = len < batch->random_bytes ? len : batch->random_bytes;
	return reseed_fill(shared->reseed, shared->scratch + start, len, &batch->generation);
}

int batch_make(struct batch *batch, const struct conn *conn, size_t in_bytes)
{
	int err = make_once(batch, conn, in_bytes);
	const struct quota_cost cost = batch->cost;

	if (err != 0) {
		if (conn->frame_owed > 0)
			return -ECONNRESET;
		plan(batch, conn, in_bytes,
		     err == RESEED_E_AGAIN ? RNGD_PROTO_E_AGAIN : RNGD_PROTO_E_UNAVAILABLE);
		batch->cost = cost;
		return 0;
	}
	if (cost.random_bytes == 0)
		return 0;
	if (conn->frame_owed > 0 && batch->generation != conn->frame_generation)
		return -ECONNRESET;
	put_heads(batch);
	return 0;
}

void batch_refuse_page(struct batch *batch)
{
	uint8_t *head = batch->shared->scratch;
	struct wire_reply reply;

	batch->with_page = false;
	batch->standing.page_asked = false;
	if (wire_decode_reply(head, &reply) != WIRE_OK)
		return; /* cannot be: we wrote it */
	reply.status = RNGD_PROTO_E_AGAIN;
	wire_encode_reply(&reply, head);
}

void batch_sent(struct batch *batch, size_t sent_bytes)
{
	const struct conn_frame *frames = batch->shared->frames;

	batch->unsent_start = sent_bytes;
	if (sent_bytes < batch->control_bytes) {
		batch->unsent_bytes = batch->control_bytes - sent_bytes;
		batch->frame_owed = batch->begun_owed;
		if (batch->frame_count > 0)
			batch->progress = before(batch, &frames[0]);
		return;
	}
	/* Mostly a peer takes all there is, and no frame need be looked at. */
	if (batch->frame_count == 0 || sent_bytes >= frame_end(&frames[batch->frame_count - 1])) {
		batch->random_sent = batch->random_bytes;
		return;
	}
	for (size_t i = 0; i < batch->frame_count; i++) {
		const struct conn_frame *frame = &frames[i];
		size_t end = frame_end(frame);
		size_t data_start = end - frame->data_bytes;

		if (sent_bytes >= end) {
			batch->random_sent += frame->data_bytes;
			continue;
		}
		if (sent_bytes == frame->start && frame->head_bytes > 0) {
			batch->progress = before(batch, frame); /* not begun: it can wait */
			return;
		}
		if (i + 1 < batch->frame_count)
			batch->progress = before(batch, &frames[i + 1]);
		batch->unsent_bytes = sent_bytes < data_start ? data_start - sent_bytes : 0;
		batch->frame_owed = sent_bytes < data_start ? frame->data_bytes : end - sent_bytes;
		batch->random_sent += frame->data_bytes - batch->frame_owed;
		return;
	}
}
