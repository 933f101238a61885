/*
 * Owns: the order of deadlines. May touch: the links inside the connections.
 * Never does: look at a clock, allocate, or close anything.
 */
#include "daemon/deadline.h"

#include <string.h>

void deadlines_init(struct deadlines *deadlines, const int64_t after_ms[DEADLINE_STATES],
		    int64_t now_ms)
{
	memset(deadlines, 0, sizeof(*deadlines));
	for (int i = 0; i < DEADLINE_STATES; i++) {
		list_init(&deadlines->lists[i]);
		deadlines->after_ms[i] = after_ms[i];
	}
	deadlines->ticked_ms = now_ms;
}

void deadline_init(struct deadline *deadline)
{
	list_init(&deadline->link);
	deadline->state = DEADLINE_NONE;
}

void deadline_clear(struct deadline *deadline)
{
	list_remove(&deadline->link);
	deadline->state = DEADLINE_NONE;
}

void deadline_set(struct deadlines *deadlines, struct deadline *deadline, enum deadline_state state,
		  int64_t now_ms)
{
	deadline_clear(deadline);
	deadline->state = state;
	if (state == DEADLINE_NONE || deadlines->after_ms[state] == 0)
		return;
	deadline->at_ms = now_ms - deadlines->lost_ms + deadlines->after_ms[state];
	list_append(&deadlines->lists[state], &deadline->link);
}

void deadline_keep(struct deadlines *deadlines, struct deadline *deadline,
		   enum deadline_state state, int64_t now_ms)
{
	if (deadline->state != state)
		deadline_set(deadlines, deadline, state, now_ms);
}

void deadlines_tick(struct deadlines *deadlines, int64_t now_ms)
{
	int64_t elapsed_ms = now_ms - deadlines->ticked_ms;

	if (elapsed_ms > DEADLINE_GAP_MS)
		deadlines->lost_ms += elapsed_ms;
	deadlines->ticked_ms = now_ms;
}

struct deadline *deadlines_next(struct deadlines *deadlines, int64_t now_ms)
{
	for (int i = 0; i < DEADLINE_STATES; i++) {
		struct list_link *first = deadlines->lists[i].next;
		struct deadline *deadline = LIST_OF(first, struct deadline, link);

		if (list_empty(&deadlines->lists[i]) ||
		    deadline->at_ms > now_ms - deadlines->lost_ms)
			continue;
		deadline_clear(deadline);
		deadlines->expired[i]++;
		return deadline;
	}
	return NULL;
}
