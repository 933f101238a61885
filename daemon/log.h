/*
 * daemon/log - one line to stderr per event.
 *
 * Nothing here takes a buffer of bytes: what the daemon makes or reads can never be logged.
 * A line is one write(2) of at most LOG_LINE_BYTES; control characters in it are
 * replaced, so a name from outside cannot forge a second line. Under systemd (JOURNAL_STREAM
 * set) a line carries its syslog priority as "<N>".
 */
#ifndef DAEMON_LOG_H
#define DAEMON_LOG_H

#define LOG_LINE_BYTES 512u

/* syslog(3) priorities */
enum log_level {
	LOG_LEVEL_ERROR = 3,
	LOG_LEVEL_WARNING = 4,
	LOG_LEVEL_NOTICE = 5,
	LOG_LEVEL_INFO = 6,
};

/*
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

/* Once a second or so: says how many lines were not shown, if any. */
void log_tick(void);

/* Formats and writes one line. A line that cannot be written is lost; errno is kept. */
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...)   log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_notice(...)  log_line(LOG_LEVEL_NOTICE, __VA_ARGS__)
#define log_info(...)    log_line(LOG_LEVEL_INFO, __VA_ARGS__)

#endif
