/*
 * client/hook - a command that is run for an event, by /bin/sh -c, in a process group of its own.
 * Nothing here waits: the caller's loop asks when something is due. One at a time.
 */
#ifndef CLIENT_HOOK_H
#define CLIENT_HOOK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "client/rngclient.h"

/* Between SIGTERM, SIGKILL, and no longer waiting for what even that does not end. */
#define HOOK_GRACE_MS 5000

enum hook_stage {
	HOOK_IDLE = 0,
	HOOK_RUNNING,
	HOOK_TERMINATED, /* SIGTERM was sent */
	HOOK_KILLED,     /* SIGKILL was sent */
	HOOK_STUCK,      /* neither helped */
};

/* All zero: idle. */
struct hook {
	enum hook_stage stage;
	pid_t pid;
	int64_t due_ms; /* when the next stage begins, CLOCK_MONOTONIC; -1: never */
	bool cut_short; /* it was ended: whatever it says then, it did not do its work */
};

/* CLOCK_MONOTONIC in milliseconds, the clock of all here. */
int64_t hook_now_ms(void);

/*
 * Starts the command, with RNGD_EVENT_GENERATION, _NOTIFIER, _TIME and _ID in its environment,
 * which become this process's too, /dev/null as standard input, and no signal blocked, ignored or
 * caught. timeout_ms: after that it is ended; 0: never. 0, or a negative errno, and it is idle.
 */
int hook_start(struct hook *hook, const char *command, const struct rngclient_event *event,
	       int timeout_ms);

/* Does what is due: at the end of its time SIGTERM to its group, later SIGKILL. */
void hook_step(struct hook *hook);

/* Ends it now, in the same way. Nothing happens when it is idle, or is being ended. */
void hook_end(struct hook *hook);

/*
 * Has it ended? Then *status is what waitpid(2) says of it, and it is idle; cut_short stays. What
 * it left in the background goes on, unless its time was over or it was ended by hook_end().
 */
bool hook_has_ended(struct hook *hook, int *status);

/* Milliseconds until hook_step() has something to do, for poll(2); -1: none. */
int hook_wait_ms(const struct hook *hook);

#endif
