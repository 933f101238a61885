/*
 * Owns: nothing. May touch: the ledger it is given.
 * Never does: go back behind an acknowledgement, or give an event twice running.
 */
#include "client/ledger.h"

#include <errno.h>
#include <string.h>

void ledger_connect(struct ledger *ledger)
{
	for (size_t i = 0; i < LEDGER_EVENTS; i++)
		ledger->given[i].on_link = false;
	ledger->taken_due = 0;
	ledger->done_due = 0;
}

void ledger_begin(struct ledger *ledger, uint64_t generation)
{
	if (ledger->acknowledged.generation == 0)
		ledger->acknowledged.generation = generation;
}

static bool has_id(const struct ledger_event *event)
{
	static const uint8_t none[RNGD_PROTO_EVENT_ID_BYTES];

	return memcmp(event->id, none, sizeof(none)) != 0;
}

static bool is_same(const struct ledger_event *a, const struct ledger_event *b)
{
	return a->generation == b->generation &&
	       (!has_id(a) || !has_id(b) || memcmp(a->id, b->id, sizeof(a->id)) == 0);
}

/* The nth event that was given, counted from 1. */
static struct ledger_event *nth(struct ledger *ledger, uint64_t n)
{
	return &ledger->given[(n - 1) % LEDGER_EVENTS];
}

bool ledger_receive(struct ledger *ledger, uint64_t generation,
		    const uint8_t id[RNGD_PROTO_EVENT_ID_BYTES])
{
	struct ledger_event event = {.generation = generation, .on_link = true};
	struct ledger_event *last =
	    ledger->given_count > 0 ? nth(ledger, ledger->given_count) : NULL;

	memcpy(event.id, id, sizeof(event.id));
	ledger->taken_due = generation;
	/* Acknowledged while the SUBSCRIBE was on its way: the daemon does not know it yet. */
	if (is_same(&ledger->acknowledged, &event))
		ledger->done_due = generation;
	if (last && is_same(last, &event)) {
		last->on_link = true;
		return false;
	}
	if (is_same(&ledger->acknowledged, &event))
		return false;
	*nth(ledger, ++ledger->given_count) = event;
	return true;
}

int ledger_acknowledge(struct ledger *ledger, uint64_t generation)
{
	for (uint64_t n = ledger->given_count; n > 0; n--) {
		const struct ledger_event *event = nth(ledger, n);

		if (ledger->given_count - n == LEDGER_EVENTS)
			break;
		if (event->generation != generation)
			continue;
		if (n <= ledger->acknowledged_count)
			return 0;
		ledger->acknowledged_count = n;
		ledger->acknowledged = *event;
		/* The daemon refuses to be told of another connection's. The next SUBSCRIBE says
		 * it. */
		if (event->on_link)
			ledger->done_due = generation;
		return 0;
	}
	return -EINVAL;
}
