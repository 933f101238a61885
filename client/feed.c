/*
 * Owns: the connection. May touch: recv and send on it, neither of which waits here.
 * Never does: believe a frame that is not the next one due, or read beyond the frame it is in: what
 * was not read keeps the socket readable.
 */
#include "client/feed.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

/* Of the SUBSCRIBE, and with that of all events. ACKs have the ones after it, in turn. */
#define FEED_TAG 1u

#define FEED_VERSION 1u

_Static_assert(FEED_VERSION >= RNGD_PROTO_VERSION_MIN && FEED_VERSION <= RNGD_PROTO_VERSION_MAX,
	       "a version that is spoken");
_Static_assert(RNGD_PROTO_EVENT_BODY_BYTES <= RNGD_PROTO_ERROR_MAX_BYTES, "the longest body");

static uint32_t ack_tag(uint64_t n)
{
	return (uint32_t)(FEED_TAG + 1u + n % (UINT32_MAX - FEED_TAG));
}

void feed_init(struct feed *feed)
{
	*feed = (struct feed){.transport.fd = -1};
}

/* A request is so short that a socket takes it whole or not at all. */
static int send_request(struct feed *feed, const struct wire_request *req)
{
	uint8_t buf[RNGD_PROTO_REQUEST_HEAD_BYTES + RNGD_PROTO_SUBSCRIBE_BODY_BYTES];
	size_t len = wire_encode_request(req, buf);
	ssize_t n;

	do {
		n = send(feed->transport.fd, buf, len, MSG_NOSIGNAL | MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EWOULDBLOCK ? -EAGAIN : -errno;
	return (size_t)n == len ? 0 : -EPIPE;
}

int feed_open(struct feed *feed, const char *path, const struct turn *turn, uint64_t acknowledged,
	      const uint8_t id[RNGD_PROTO_SUBSCRIBER_ID_BYTES])
{
	uint8_t body[RNGD_PROTO_SUBSCRIBE_BODY_BYTES];
	const struct wire_request req = {
	    .opcode = RNGD_PROTO_OP_SUBSCRIBE,
	    .version = FEED_VERSION,
	    .tag = FEED_TAG,
	    .body = body,
	    .body_bytes = sizeof(body),
	};
	int err;

	feed_init(feed);
	err = transport_try(&feed->transport, path, turn);
	if (err)
		return err;
	wire_put_u64(body, acknowledged);
	memcpy(body + 8, id, RNGD_PROTO_SUBSCRIBER_ID_BYTES);
	err = send_request(feed, &req);
	if (err)
		feed_end(feed, false);
	else
		feed->state = FEED_ASKED;
	return err;
}

int feed_ack(struct feed *feed, uint64_t generation, enum rngd_proto_stage stage)
{
	uint8_t body[RNGD_PROTO_ACK_BODY_BYTES];
	const struct wire_request req = {
	    .opcode = RNGD_PROTO_OP_ACK,
	    .version = FEED_VERSION,
	    .tag = ack_tag(feed->acks_sent),
	    .body = body,
	    .body_bytes = sizeof(body),
	};
	int err;

	wire_put_u64(body, generation);
	body[8] = (uint8_t)stage;
	err = send_request(feed, &req);
	if (!err)
		feed->acks_sent++;
	return err;
}

/* The answer to SUBSCRIBE is a refusal. Later it has no meaning that we know. */
static int error_of(const struct feed *feed, const struct wire_reply *head)
{
	if (feed->state != FEED_ASKED || head->flags & RNGD_PROTO_FLAG_MORE)
		return -EPROTO;
	switch (head->status) {
	case RNGD_PROTO_E_OPCODE:
		return -EOPNOTSUPP;
	case RNGD_PROTO_E_VERSION:
		return -EPROTONOSUPPORT;
	default:
		return -EPROTO;
	}
}

static bool is_busy(const struct feed *feed, const struct wire_reply *head)
{
	return feed->state == FEED_ASKED && head->opcode == RNGD_PROTO_OP_NONE &&
	       head->status == RNGD_PROTO_E_BUSY && head->tag == 0 && head->body_bytes == 0;
}

/* What frame this is, as soon as its head is there: an enum feed_result, or why it is none. */
static int judge(const struct feed *feed, struct wire_reply *head)
{
	const bool asked = feed->state == FEED_ASKED;
	bool more;

	if (wire_decode_reply(feed->frame, head) != WIRE_OK ||
	    head->body_bytes > sizeof(feed->frame) - RNGD_PROTO_REPLY_HEAD_BYTES)
		return -EPROTO;
	more = head->flags & RNGD_PROTO_FLAG_MORE;
	if (is_busy(feed, head))
		return -EBUSY;
	if (head->tag == FEED_TAG && head->status != RNGD_PROTO_OK)
		return error_of(feed, head);
	if (head->status != RNGD_PROTO_OK || head->version != FEED_VERSION || head->generation == 0)
		return -EPROTO;
	if (head->tag == FEED_TAG && head->opcode == RNGD_PROTO_OP_SUBSCRIBE && more &&
	    head->body_bytes == (asked ? 0 : RNGD_PROTO_EVENT_BODY_BYTES))
		return asked ? FEED_STARTED : FEED_EVENT;
	if (feed->acks_answered < feed->acks_sent && head->tag == ack_tag(feed->acks_answered) &&
	    head->opcode == RNGD_PROTO_OP_ACK && !more && head->body_bytes == 0)
		return FEED_ACKED;
	return -EPROTO;
}

/* Until want bytes of the frame are there. */
static int read_to(struct feed *feed, size_t want)
{
	ssize_t n;

	while (feed->have < want) {
		n = recv(feed->transport.fd, feed->frame + feed->have, want - feed->have,
			 MSG_DONTWAIT);
		if (n > 0)
			feed->have += (size_t)n;
		else if (n == 0)
			return -ECONNRESET;
		else if (errno == EWOULDBLOCK)
			return -EAGAIN;
		else if (errno != EINTR)
			return -errno;
	}
	return 0;
}

int feed_read(struct feed *feed, struct feed_news *news)
{
	struct wire_reply head;
	int err, result;

	err = read_to(feed, RNGD_PROTO_REPLY_HEAD_BYTES);
	if (err)
		return err;
	result = judge(feed, &head);
	if (result < 0)
		return result;
	err = read_to(feed, RNGD_PROTO_REPLY_HEAD_BYTES + head.body_bytes);
	if (err)
		return err;
	feed->have = 0;
	feed->acks_answered += result == FEED_ACKED;
	if (result == FEED_STARTED)
		feed->state = FEED_ON;
	news->generation = head.generation;
	if (result == FEED_EVENT)
		wire_decode_event(feed->frame + RNGD_PROTO_REPLY_HEAD_BYTES, &news->event);
	return result;
}

bool feed_is_waiting(const struct feed *feed)
{
	return feed->state == FEED_ASKED || feed->have > 0;
}

/* What was not read would have the kernel tell the daemon of a reset rather than of an end. */
static void empty(int fd)
{
	uint8_t data[256];
	ssize_t n;

	do {
		n = recv(fd, data, sizeof(data), MSG_DONTWAIT);
	} while (n > 0 || (n < 0 && errno == EINTR));
}

void feed_end(struct feed *feed, bool leave)
{
	if (transport_is_ours(&feed->transport)) {
		if (leave && feed->state != FEED_CLOSED)
			(void)feed_ack(feed, 0, RNGD_PROTO_STAGE_LEAVE);
		if (shutdown(feed->transport.fd, SHUT_RDWR) == 0)
			empty(feed->transport.fd);
	}
	feed_forget(feed);
}

void feed_forget(struct feed *feed)
{
	transport_drop(&feed->transport);
	feed_init(feed);
}
