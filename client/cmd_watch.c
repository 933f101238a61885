/*
 * Owns: the watch command: the subscription, what of it is still to be done, the command that does
 * it. May touch: standard output, signal dispositions while a command may run. Never does:
 * acknowledge what was not printed, or not done.
 */
#include "client/rngcli.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/hook.h"
#include "client/text.h"

/* After an error of the connection that may pass. */
#define WATCH_RETRY_MS 1000

/* How long a line about the command waits for a standard error that nobody reads. */
#define WATCH_STDERR_MS 1000

#define WATCH_LINE_BYTES 256

struct watch {
	const struct rngcli_options *options;
	struct rngclient *client;
	int event_fd;
	int signal_fd; /* -1: printing, when signals do what they always do */
	struct rngclient_event next;
	bool has_next;
	struct rngclient_event current; /* the command is run for */
	struct hook hook;
	bool failed; /* the last command did */
	uint64_t count;
	int stop_signal;  /* 0: none came */
	int trouble;      /* the error said last; 0: all is well */
	int64_t retry_ms; /* 0: at once */
};

/* A line on standard error, unless that would hold up everything. */
#define say(...)                                   \
	do {                                       \
		if (can_say())                     \
			rngcli_error(__VA_ARGS__); \
	} while (0)

static bool can_say(void)
{
	struct pollfd wait = {.fd = STDERR_FILENO, .events = POLLOUT};

	return poll(&wait, 1, WATCH_STDERR_MS) > 0 && (wait.revents & POLLOUT);
}

/* ---------------------------------------------------------------- what is done for an event */

static const char *or_dash(const char *text)
{
	return *text ? text : "-";
}

/* 0 or a negative errno. */
static int print_event(const struct rngclient_event *event, bool json)
{
	char id[2 * sizeof(event->id) + 1];
	char when[TEXT_TIME_BYTES];
	char line[WATCH_LINE_BYTES];
	int n;

	text_time(when, event->realtime_ns);
	text_hex(id, event->id, sizeof(event->id));
	if (json)
		n = snprintf(line, sizeof(line),
			     "{\"time\":\"%s\",\"generation\":%" PRIu64
			     ",\"notifier\":\"%s\",\"id\":\"%s\"}\n",
			     when, event->generation, event->notifier_name, id);
	else
		n = snprintf(line, sizeof(line), "%s %" PRIu64 " %s %s\n", or_dash(when),
			     event->generation, or_dash(event->notifier_name), or_dash(id));
	return rngcli_write(STDOUT_FILENO, line, (size_t)n);
}

static void acknowledge(struct watch *watch, uint64_t generation)
{
	int rc = rngclient_event_ack(watch->client, generation);

	if (rc)
		say("generation %" PRIu64 " could not be acknowledged: %s", generation,
		    strerror(-rc));
}

/* It is told to end, or has what it was to count. */
static bool ends(const struct watch *watch)
{
	return watch->stop_signal ||
	       (watch->options->count && watch->count >= watch->options->count);
}

/* What became of the command. Who ends owes nothing: settle waits for no process that is gone. */
static void finish(struct watch *watch, int status)
{
	const uint64_t generation = watch->current.generation;
	char how[64];

	watch->count++;
	watch->failed = watch->hook.cut_short || !WIFEXITED(status) || WEXITSTATUS(status) != 0;
	if (!watch->failed) {
		acknowledge(watch, generation);
		return;
	}
	if (watch->stop_signal)
		snprintf(how, sizeof(how), "was ended, as rngcli was told to end");
	else if (watch->hook.cut_short)
		snprintf(how, sizeof(how), "was ended after %d.%03d s",
			 watch->options->exec_timeout_ms / 1000,
			 watch->options->exec_timeout_ms % 1000);
	else if (WIFEXITED(status))
		snprintf(how, sizeof(how), "ended with status %d", WEXITSTATUS(status));
	else
		snprintf(how, sizeof(how), "was ended by signal %d", WTERMSIG(status));
	say("the command for generation %" PRIu64 " %s: %s", generation, how,
	    ends(watch) ? "nothing runs it again"
			: "the event stays owed until it succeeds for a later one");
}

/* 0 or a negative errno, of standard output. */
static int begin(struct watch *watch)
{
	int rc;

	watch->current = watch->next;
	watch->has_next = false;
	if (!watch->options->exec) {
		rc = print_event(&watch->current, watch->options->json);
		if (rc)
			return rc;
		acknowledge(watch, watch->current.generation);
		watch->count++;
		return 0;
	}
	rc = hook_start(&watch->hook, watch->options->exec, &watch->current,
			watch->options->exec_timeout_ms);
	if (!rc)
		return 0;
	watch->count++;
	watch->failed = true;
	say("cannot run /bin/sh for generation %" PRIu64 ": %s: the event stays owed until the "
	    "command succeeds for a later one",
	    watch->current.generation, strerror(-rc));
	return 0;
}

/* ---------------------------------------------------------------- the loop */

/* 0, or a negative errno that will not pass. */
static int take_event(struct watch *watch)
{
	struct rngclient_event event = {.size = sizeof(event)};
	int rc = rngclient_event_next(watch->client, &event, 0);

	watch->retry_ms = 0;
	if (!rc) {
		watch->next = event;
		watch->has_next = true;
		watch->trouble = 0;
		return 0;
	}
	if (rc == -EAGAIN)
		return 0;
	if (rc == -EINVAL || rc == -ENOTCONN || rc == -ECHILD)
		return rc;
	if (rc != watch->trouble)
		say("%s: %s; trying again", watch->options->socket_path, strerror(-rc));
	watch->trouble = rc;
	watch->retry_ms = hook_now_ms() + WATCH_RETRY_MS;
	return 0;
}

static void take_signals(struct watch *watch)
{
	struct signalfd_siginfo info;

	while (read(watch->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		if (info.ssi_signo != SIGCHLD)
			watch->stop_signal = (int)info.ssi_signo;
	if (watch->stop_signal)
		hook_end(&watch->hook);
}

static bool is_over(const struct watch *watch)
{
	if (watch->hook.stage != HOOK_IDLE)
		return watch->stop_signal && watch->hook.stage == HOOK_STUCK;
	return ends(watch);
}

/* Milliseconds, -1 for ever. */
static int wait_ms(const struct watch *watch)
{
	int hook_ms = hook_wait_ms(&watch->hook);
	int64_t retry;

	if (!watch->retry_ms)
		return hook_ms;
	retry = watch->retry_ms - hook_now_ms();
	if (retry < 0)
		retry = 0;
	return hook_ms >= 0 && hook_ms < retry ? hook_ms : (int)retry;
}

/* 0, or a negative errno: of the library, or of standard output, as *of_output says. */
static int turn(struct watch *watch, bool *of_output)
{
	struct pollfd fds[] = {
	    {.fd = watch->retry_ms ? -1 : watch->event_fd, .events = POLLIN},
	    {.fd = watch->signal_fd, .events = POLLIN},
	    /* A reader that left would be noticed with the next event only, which can be years. */
	    {.fd = watch->options->exec ? -1 : STDOUT_FILENO},
	};
	int status, rc = 0;

	*of_output = false;
	if (poll(fds, sizeof(fds) / sizeof(fds[0]), wait_ms(watch)) < 0 && errno != EINTR)
		return -errno;
	if (fds[1].revents)
		take_signals(watch);
	if (fds[0].revents || (watch->retry_ms && hook_now_ms() >= watch->retry_ms))
		rc = take_event(watch);
	if (rc)
		return rc;
	if (hook_has_ended(&watch->hook, &status))
		finish(watch, status);
	hook_step(&watch->hook);
	*of_output = true;
	if (fds[2].revents & (POLLERR | POLLHUP))
		return -EPIPE;
	if (watch->has_next && watch->hook.stage == HOOK_IDLE && !is_over(watch))
		rc = begin(watch);
	return rc;
}

/* Signals become something to read, as the command's end is. 0 or a negative errno. */
static int take_over_signals(struct watch *watch)
{
	static const int ends[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT};
	struct sigaction old;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	signal(SIGCHLD, SIG_DFL); /* ignored, as it may be, children vanish with their status */
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		if (!sigaction(ends[i], NULL, &old) && old.sa_handler != SIG_IGN) /* nohup */
			sigaddset(&set, ends[i]);
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		return -errno;
	watch->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return watch->signal_fd < 0 ? -errno : 0;
}

/* Ends as the signal would have ended it, so that a shell that waits sees that. */
static void die_by(int signal_number)
{
	sigset_t set;

	signal(signal_number, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, signal_number);
	raise(signal_number);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

/* An exit code. */
static int check_usage(const struct rngcli_options *options)
{
	if (options->exec && options->json) {
		rngcli_error("--json is for printing, and --exec prints nothing");
		return RNGCLI_USAGE;
	}
	if (!options->exec && options->exec_timeout_ms != RNGCLI_EXEC_TIMEOUT_MS) {
		rngcli_error("--exec-timeout needs --exec");
		return RNGCLI_USAGE;
	}
	return RNGCLI_OK;
}

int cmd_watch(const struct rngcli_options *options)
{
	struct watch watch = {.options = options, .signal_fd = -1};
	bool of_output = false;
	int rc = check_usage(options);

	if (!rc)
		rc = rngcli_connect(options, &watch.client);
	if (rc)
		return rc;
	watch.event_fd = rngclient_event_fd(watch.client);
	rc = watch.event_fd < 0 ? watch.event_fd : 0;
	if (!rc && options->exec)
		rc = take_over_signals(&watch);
	while (!rc && !is_over(&watch))
		rc = turn(&watch, &of_output);
	rngclient_close(watch.client);
	if (watch.signal_fd >= 0)
		close(watch.signal_fd);
	if (rc)
		return of_output ? rngcli_write_failed(NULL, rc) : rngcli_explain(options, rc);
	if (watch.stop_signal)
		die_by(watch.stop_signal);
	return watch.failed ? RNGCLI_FAILURE : RNGCLI_OK;
}
