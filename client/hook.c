/*
 * Owns: one child process and its group. May touch: the environment, to hand it on. Never does:
 * wait for the child or anything it has open, or signal a number that may be another's by now: the
 * child is reaped after its group's last signal.
 */
#include "client/hook.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/text.h"

int64_t hook_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* 0 or a negative errno. */
static int set_environment(const struct rngclient_event *event)
{
	char id[2 * sizeof(event->id) + 1];
	char when[TEXT_TIME_BYTES];
	char generation[24];

	text_time(when, event->realtime_ns);
	text_hex(id, event->id, sizeof(event->id));
	snprintf(generation, sizeof(generation), "%" PRIu64, event->generation);
	if (setenv("RNGD_EVENT_GENERATION", generation, 1) ||
	    setenv("RNGD_EVENT_NOTIFIER", event->notifier_name, 1) ||
	    setenv("RNGD_EVENT_TIME", when, 1) || setenv("RNGD_EVENT_ID", id, 1))
		return -errno;
	return 0;
}

/* 0 or a negative errno. */
static int spawn(pid_t *pid, const char *command)
{
	char *argv[] = {(char[]){"sh"}, (char[]){"-c"}, (char *)(uintptr_t)command, NULL};
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attributes;
	sigset_t all, none;
	int rc;

	rc = posix_spawn_file_actions_init(&files);
	if (rc)
		return -rc;
	rc = posix_spawnattr_init(&attributes);
	if (rc)
		goto out_files;
	sigfillset(&all);
	sigemptyset(&none);
	rc = posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	if (!rc)
		rc = posix_spawnattr_setsigdefault(&attributes, &all);
	if (!rc)
		rc = posix_spawnattr_setsigmask(&attributes, &none);
	if (!rc)
		rc = posix_spawnattr_setpgroup(&attributes, 0);
	if (!rc)
		rc = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF |
							       POSIX_SPAWN_SETSIGMASK |
							       POSIX_SPAWN_SETPGROUP);
	if (!rc)
		rc = posix_spawn(pid, "/bin/sh", &files, &attributes, argv, environ);
	posix_spawnattr_destroy(&attributes);
out_files:
	posix_spawn_file_actions_destroy(&files);
	return -rc;
}

int hook_start(struct hook *hook, const char *command, const struct rngclient_event *event,
	       int timeout_ms)
{
	int rc = set_environment(event);

	*hook = (struct hook){.stage = HOOK_IDLE};
	if (!rc)
		rc = spawn(&hook->pid, command);
	if (rc)
		return rc;
	hook->stage = HOOK_RUNNING;
	hook->due_ms = timeout_ms ? hook_now_ms() + timeout_ms : -1;
	return 0;
}

void hook_end(struct hook *hook)
{
	if (hook->stage != HOOK_RUNNING)
		return;
	kill(-hook->pid, SIGTERM);
	hook->cut_short = true;
	hook->stage = HOOK_TERMINATED;
	hook->due_ms = hook_now_ms() + HOOK_GRACE_MS;
}

void hook_step(struct hook *hook)
{
	if (hook->stage == HOOK_IDLE || hook->due_ms < 0 || hook_now_ms() < hook->due_ms)
		return;
	switch (hook->stage) {
	case HOOK_RUNNING:
		hook_end(hook);
		break;
	case HOOK_TERMINATED:
		kill(-hook->pid, SIGKILL);
		hook->stage = HOOK_KILLED;
		hook->due_ms = hook_now_ms() + HOOK_GRACE_MS;
		break;
	default:
		hook->stage = HOOK_STUCK;
		hook->due_ms = -1;
		break;
	}
}

bool hook_has_ended(struct hook *hook, int *status)
{
	siginfo_t info = {.si_pid = 0};

	if (hook->stage == HOOK_IDLE)
		return false;
	if (waitid(P_PID, (id_t)hook->pid, &info, WEXITED | WNOHANG | WNOWAIT) || info.si_pid == 0)
		return false;
	if (hook->stage != HOOK_RUNNING)
		kill(-hook->pid, SIGKILL); /* those who did not heed SIGTERM */
	if (waitpid(hook->pid, status, 0) != hook->pid)
		return false;
	hook->stage = HOOK_IDLE;
	hook->due_ms = -1;
	return true;
}

int hook_wait_ms(const struct hook *hook)
{
	int64_t left;

	if (hook->stage == HOOK_IDLE || hook->due_ms < 0)
		return -1;
	left = hook->due_ms - hook_now_ms();
	if (left < 0)
		return 0;
	return left < INT_MAX ? (int)left : INT_MAX;
}
