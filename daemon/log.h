/*
 * daemon/log - one line to stderr, or to the journal, per event.
 *
 * Nothing here takes a buffer of bytes: what the daemon makes or reads can never be logged.
 * A line is one write(2) of at most LOG_LINE_BYTES; control characters in it are
 * replaced, so a name from outside cannot forge a second line. Under systemd (JOURNAL_STREAM
 * set) a line carries its syslog priority as "<N>".
 *
 * A line about something that an operator may want explained has a MESSAGE_ID besides, where the
 * journal's own socket can be had: `journalctl -x` then shows what systemd/rngd.catalog says of it.
 */
#ifndef DAEMON_LOG_H
#define DAEMON_LOG_H

#include <stdbool.h>

#define LOG_LINE_BYTES 512u

/* syslog(3) priorities */
enum log_level {
	LOG_LEVEL_ERROR = 3,
	LOG_LEVEL_WARNING = 4,
	LOG_LEVEL_NOTICE = 5,
	LOG_LEVEL_INFO = 6,
};

/* Things that happen; each has its MESSAGE_ID in log.c and its entry in systemd/rngd.catalog. */
enum log_event {
	LOG_EVENT_NONE,
	LOG_EVENT_STARTED,        /* the daemon serves */
	LOG_EVENT_STOPPING,       /* it was told to stop */
	LOG_EVENT_NOT_STARTED,    /* a step of the start failed */
	LOG_EVENT_CLONED,         /* this machine was cloned or restored */
	LOG_EVENT_RESEED_FAILED,  /* nothing is served until one succeeds */
	LOG_EVENT_RESEED_RESUMED, /* one succeeded again */
	LOG_EVENT_SOURCE_BROKEN,  /* an entropy source failed its tests and is left out */
	LOG_EVENT_ACCEPT_PAUSED,  /* no descriptor or memory for a connection */
	LOG_EVENTS,
};

/*
 * Where stderr is the journal (JOURNAL_STREAM names the very file), connects to the journal's
 * socket, for later the sandbox forbids that; without it lines go to stderr alone.
 *
 * Makes writing to stderr non-blocking where it is a pipe or a terminal: a reader that stalls then
 * loses lines and cannot stall the service. Opens a description of our own; the flags of the one we
 * share with others stay as they are. Where that is not permitted, nothing changes.
 */
void log_init(void);

/* Lines a second, once log_limit() was called. */
#define LOG_LINES_PER_S 10u

/*
 * From now on at most LOG_LINES_PER_S; log_tick() then says how many were not shown. To be called
 * when the daemon begins to serve: what a start has to say is bounded by itself.
 */
void log_limit(void);

/* As many lines as are asked for again; says first how many were not shown. */
void log_unlimit(void);

/* Do events go to the journal's own socket? */
bool log_has_journal(void);

/* Once a second or so: says how many lines were not shown, if any. */
void log_tick(void);

/*
 * Formats and writes one line. With an event it goes to the journal's socket, and to stderr only if
 * that does not take it. A line that cannot be written is lost; errno is kept.
 */
void log_event(enum log_event event, enum log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define log_line(level, ...) log_event(LOG_EVENT_NONE, level, __VA_ARGS__)
#define log_error(...)       log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...)     log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_notice(...)      log_line(LOG_LEVEL_NOTICE, __VA_ARGS__)
#define log_info(...)        log_line(LOG_LEVEL_INFO, __VA_ARGS__)

#endif
