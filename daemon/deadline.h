/*
 * daemon/deadline - how long a connection may be in a state, for any number of connections.
 *
 * All that are in one state may stay equally long, so each state's list is in the order of its
 * deadlines by itself: who enters goes to the end. Every step takes constant time.
 *
 * The clock is the caller's, less the time in which the daemon did not run (it was stopped, or its
 * machine was): peers are not blamed for that.
 */
#ifndef DAEMON_DEADLINE_H
#define DAEMON_DEADLINE_H

#include <stdint.h>

#include "daemon/list.h"

enum deadline_state {
	DEADLINE_IDLE,    /* nothing asked, nothing owed */
	DEADLINE_REQUEST, /* half a request has come */
	DEADLINE_REPLY,   /* the peer does not take what it asked for */
	DEADLINE_STATES,
	DEADLINE_NONE = DEADLINE_STATES, /* the daemon's move */
};

/* Ticks further apart than this mean that the daemon did not run in between. */
#define DEADLINE_GAP_MS 3000

struct deadline {
	struct list_link link;
	enum deadline_state state;
	int64_t at_ms;
};

struct deadlines {
	struct list_link lists[DEADLINE_STATES];
	int64_t after_ms[DEADLINE_STATES]; /* 0: for ever */
	int64_t ticked_ms;
	int64_t lost_ms; /* in which the daemon did not run */
	uint64_t expired[DEADLINE_STATES];
};

/* after_ms: how long each state may last; 0: for ever. */
void deadlines_init(struct deadlines *deadlines, const int64_t after_ms[DEADLINE_STATES],
		    int64_t now_ms);

/* A deadline that is in no list yet. */
void deadline_init(struct deadline *deadline);

/* In this state since now, whatever it was before. */
void deadline_set(struct deadlines *deadlines, struct deadline *deadline, enum deadline_state state,
		  int64_t now_ms);

/* As deadline_set(), but if it is in this state already, since when it was. */
void deadline_keep(struct deadlines *deadlines, struct deadline *deadline,
		   enum deadline_state state, int64_t now_ms);

/* Out of its list; before the struct is freed. */
void deadline_clear(struct deadline *deadline);

/* To be called every second or so. */
void deadlines_tick(struct deadlines *deadlines, int64_t now_ms);

/* Takes out one that has passed, and counts it. NULL: none (more). */
struct deadline *deadlines_next(struct deadlines *deadlines, int64_t now_ms);

#endif
