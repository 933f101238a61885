/*
 * Owns: the entries of subscribers. May touch: nothing else. Never does: believe an acknowledgement
 * of what was not yet, or forget a privileged subscriber that owes because its connection broke.
 */
#include "daemon/events.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/text.h"
#include "proto/wire.h"

/* Offsets in the bodies; PROTOCOL.md draws them. */
enum {
	EVENTS_AT_SUBSCRIBE_GENERATION = 0,
	EVENTS_AT_SUBSCRIBE_ID = 8,
	EVENTS_AT_ACK_GENERATION = 0,
	EVENTS_AT_ACK_STAGE = 8,
};

static bool owes(const struct subscriber *subscriber, uint64_t generation)
{
	return !subscriber->left && subscriber->acknowledged != generation;
}

void events_init(struct events *events, uint64_t generation, bool returning, int64_t now_ms)
{
	memset(events, 0, sizeof(*events));
	list_init(&events->present);
	list_init(&events->gone);
	list_init(&events->due);
	events->generation = generation;
	events->returned_ms = returning ? now_ms + EVENTS_RETURN_MS : now_ms;
}

static void forget_gone(struct events *events, struct subscriber *subscriber)
{
	list_remove(&subscriber->link);
	events->gone_count--;
	free(subscriber);
}

void events_deinit(struct events *events)
{
	while (events->gone_count > 0)
		forget_gone(events, LIST_OF(events->gone.next, struct subscriber, link));
}

static bool is_same(const struct subscriber *one, const struct subscriber *other)
{
	return one->peer.uid == other->peer.uid && memcmp(one->id, other->id, sizeof(one->id)) == 0;
}

/*
 * The newest connection speaks for its id. The older may end later (a forked child holds it), and
 * remembered then it would owe for ever.
 */
static void take_place(struct events *events, const struct subscriber *back)
{
	struct list_link *link;

	for (link = events->present.next; link != &events->present; link = link->next) {
		struct subscriber *older = LIST_OF(link, struct subscriber, link);

		if (is_same(older, back))
			older->left = true;
	}
}

/* It is back over another connection: since when it owes. Or now_ms. */
static int64_t come_back(struct events *events, const struct subscriber *back, int64_t now_ms)
{
	for (struct list_link *link = events->gone.next; link != &events->gone; link = link->next) {
		struct subscriber *gone = LIST_OF(link, struct subscriber, link);
		int64_t since_ms = gone->since_ms;

		if (!is_same(gone, back))
			continue;
		forget_gone(events, gone);
		return since_ms;
	}
	return now_ms;
}

struct subscriber *events_subscribe(struct events *events, const struct events_peer *peer,
				    const uint8_t *body, uint64_t generation, int64_t now_ms)
{
	struct subscriber *subscriber = calloc(1, sizeof(*subscriber));
	uint64_t acknowledged = wire_get_u64(body + EVENTS_AT_SUBSCRIBE_GENERATION);

	if (!subscriber)
		return NULL;
	subscriber->peer = *peer;
	memcpy(subscriber->id, body + EVENTS_AT_SUBSCRIBE_ID, sizeof(subscriber->id));
	if (acknowledged == 0)
		acknowledged = generation;
	/* Of another page's count: what it acted on is not known. */
	subscriber->acknowledged = acknowledged <= generation ? acknowledged : 0;
	subscriber->taken = true;
	list_init(&subscriber->link);
	list_init(&subscriber->due);
	subscriber->since_ms = come_back(events, subscriber, now_ms);
	if (peer->privileged) /* only such are remembered, and it takes a walk */
		take_place(events, subscriber);
	list_append(&events->present, &subscriber->link);
	events->count++;
	return subscriber;
}

enum rngd_proto_status events_ack(struct subscriber *subscriber, const uint8_t *body,
				  uint64_t generation)
{
	uint64_t of = wire_get_u64(body + EVENTS_AT_ACK_GENERATION);

	switch (body[EVENTS_AT_ACK_STAGE]) {
	case RNGD_PROTO_STAGE_LEAVE:
		subscriber->left = true;
		return RNGD_PROTO_OK;
	case RNGD_PROTO_STAGE_TAKEN:
		if (of == 0 || of > subscriber->sent)
			return RNGD_PROTO_E_BODY;
		break;
	case RNGD_PROTO_STAGE_DONE:
		if (of == 0 || of > generation)
			return RNGD_PROTO_E_BODY;
		if (of > subscriber->acknowledged)
			subscriber->acknowledged = of;
		break;
	default:
		return RNGD_PROTO_E_BODY;
	}
	if (of >= subscriber->sent) /* a DONE may be of a newer one: what was sent is behind it */
		subscriber->taken = true;
	return RNGD_PROTO_OK;
}

void events_leave(struct events *events, struct subscriber *subscriber, uint64_t generation,
		  int64_t now_ms)
{
	events->count--;
	list_remove(&subscriber->link);
	list_remove(&subscriber->due);
	if (!subscriber->peer.privileged || !owes(subscriber, generation)) {
		free(subscriber);
		return;
	}
	if (subscriber->acknowledged == events->generation)
		subscriber->since_ms = now_ms; /* the move is not told of yet */
	subscriber->peer.conn = NULL;
	subscriber->gone_ms = now_ms;
	list_append(&events->gone, &subscriber->link);
	events->gone_count++;
	if (events->gone_count > EVENTS_GONE_MAX) {
		forget_gone(events, LIST_OF(events->gone.next, struct subscriber, link));
		events->forgotten++;
		events->forgotten_ms = now_ms;
	}
}

void events_tick(struct events *events, int64_t now_ms)
{
	if (now_ms - events->forgotten_ms >= EVENTS_GONE_MS)
		events->forgotten = 0;
	while (events->gone_count > 0) {
		struct subscriber *gone = LIST_OF(events->gone.next, struct subscriber, link);

		if (now_ms - gone->gone_ms < EVENTS_GONE_MS)
			return;
		forget_gone(events, gone);
	}
}

bool events_is_due(const struct subscriber *subscriber, uint64_t generation)
{
	return owes(subscriber, generation) && subscriber->taken && subscriber->sent != generation;
}

void events_sent(struct subscriber *subscriber, uint64_t generation)
{
	subscriber->sent = generation;
	/* Its DONE may have been in the same turn: then no other comes. */
	subscriber->taken = subscriber->acknowledged == generation;
	list_remove(&subscriber->due);
}

bool events_is_awaited(const struct subscriber *subscriber)
{
	return !subscriber->taken;
}

bool events_moved(struct events *events, uint64_t generation, int64_t now_ms)
{
	struct list_link *link;

	if (generation == events->generation)
		return !list_empty(&events->due);
	for (link = events->present.next; link != &events->present; link = link->next) {
		struct subscriber *subscriber = LIST_OF(link, struct subscriber, link);

		if (subscriber->acknowledged == events->generation)
			subscriber->since_ms = now_ms;
		/* Who is in it keeps the place, or generations that move fast starve the last. */
		if (events_is_due(subscriber, generation) && list_empty(&subscriber->due))
			list_append(&events->due, &subscriber->due);
	}
	events->generation = generation;
	return !list_empty(&events->due);
}

struct subscriber *events_next(struct events *events)
{
	struct subscriber *subscriber;

	if (list_empty(&events->due))
		return NULL;
	subscriber = LIST_OF(events->due.next, struct subscriber, due);
	list_remove(&subscriber->due);
	return subscriber;
}

static size_t count_owing(const struct list_link *head, uint64_t generation, bool privileged_alone)
{
	size_t count = 0;

	for (const struct list_link *link = head->next; link != head; link = link->next) {
		const struct subscriber *subscriber = LIST_OF(link, struct subscriber, link);

		count += owes(subscriber, generation) &&
			 (subscriber->peer.privileged || !privileged_alone);
	}
	return count;
}

size_t events_owing(const struct events *events, uint64_t generation)
{
	return count_owing(&events->present, generation, false) +
	       count_owing(&events->gone, generation, false);
}

static void put_row(struct text *text, size_t n, const struct subscriber *subscriber,
		    uint64_t generation, int64_t now_ms)
{
	char prefix[24];

	snprintf(prefix, sizeof(prefix), "owes.%zu", n);
	text_put(text, "%s.uid=%u\n", prefix, subscriber->peer.uid);
	text_put(text, "%s.pid=%d\n", prefix, subscriber->peer.pid > 0 ? subscriber->peer.pid : 0);
	text_put(text, "%s.acknowledged=%llu\n", prefix,
		 (unsigned long long)subscriber->acknowledged);
	text_put(text, "%s.taken=%s\n", prefix,
		 subscriber->sent == generation && subscriber->taken ? "true" : "false");
	text_put(text, "%s.connected=%s\n", prefix, subscriber->peer.conn ? "true" : "false");
	text_put(text, "%s.privileged=%s\n", prefix,
		 subscriber->peer.privileged ? "true" : "false");
	text_put(text, "%s.for_ms=%lld\n", prefix, (long long)(now_ms - subscriber->since_ms));
}

static void put_rows(struct text *text, size_t *rows, const struct list_link *head, bool privileged,
		     uint64_t generation, int64_t now_ms)
{
	for (const struct list_link *link = head->next; link != head; link = link->next) {
		const struct subscriber *subscriber = LIST_OF(link, struct subscriber, link);

		if (subscriber->peer.privileged == privileged && owes(subscriber, generation) &&
		    *rows < EVENTS_ROWS_MAX)
			put_row(text, ++*rows, subscriber, generation, now_ms);
	}
}

size_t events_text(const struct events *events, uint64_t generation, int64_t now_ms, char *data,
		   size_t size)
{
	struct text text = {.data = data, .size = size};
	int64_t returning_ms = events->returned_ms - now_ms;
	size_t rows = 0;

	text_number(&text, "subscribers", events->count);
	text_number(&text, "owing", events_owing(events, generation));
	text_number(&text, "owing_privileged",
		    count_owing(&events->present, generation, true) +
			count_owing(&events->gone, generation, true));
	text_number(&text, "forgotten", events->forgotten);
	text_number(&text, "returning_ms", returning_ms > 0 ? (uint64_t)returning_ms : 0);
	put_rows(&text, &rows, &events->present, true, generation, now_ms);
	put_rows(&text, &rows, &events->gone, true, generation, now_ms);
	put_rows(&text, &rows, &events->present, false, generation, now_ms);
	return text.len;
}
