/*
 * Owns: the count of lines in this second. May touch: file descriptor 2, the monotonic clock.
 * Never does: allocate, buffer, or retry: a stuck log must not stop the service for long.
 */
#include "daemon/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/clock.h"

/* Every line in the process ends at one descriptor, so there is one count. */
static struct {
	bool limited;
	int64_t since_ms; /* when this second began */
	unsigned shown;   /* lines in it */
	uint64_t hidden;  /* since it was last said */
} lines;

void log_init(void)
{
	struct stat st;
	int fd;

	if (fstat(STDERR_FILENO, &st) < 0 ||
	    !(S_ISFIFO(st.st_mode) || (S_ISCHR(st.st_mode) && isatty(STDERR_FILENO))))
		return;
	fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return;
	dup2(fd, STDERR_FILENO);
	close(fd);
}

/* A socket (the journal's) must not block either, and has no description of ours to be had. */
static void write_line(const char *line, size_t len)
{
	ssize_t n = send(STDERR_FILENO, line, len, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0 && errno == ENOTSOCK)
		n = write(STDERR_FILENO, line, len);
	(void)n; /* nobody left to tell */
}

/* Is there a line left in this second? Else it counts as hidden. */
static bool may_show(void)
{
	int64_t now_ms;

	if (!lines.limited)
		return true;
	now_ms = clock_now_ms();
	if (now_ms - lines.since_ms >= 1000) {
		lines.since_ms = now_ms;
		lines.shown = 0;
	}
	if (lines.shown >= LOG_LINES_PER_S) {
		lines.hidden++;
		return false;
	}
	lines.shown++;
	return true;
}

void log_limit(void)
{
	lines.limited = true;
	lines.since_ms = clock_now_ms();
	lines.shown = 0;
	lines.hidden = 0;
}

void log_unlimit(void)
{
	lines.limited = false;
	log_tick();
}

void log_tick(void)
{
	uint64_t hidden = lines.hidden;
	bool limited = lines.limited;

	if (hidden == 0)
		return;
	lines.hidden = 0;
	lines.limited = false; /* beside the count, or it might hide itself */
	log_warning("%llu lines not shown", (unsigned long long)hidden);
	lines.limited = limited;
}

void log_line(enum log_level level, const char *format, ...)
{
	char line[LOG_LINE_BYTES];
	int saved_errno = errno;
	size_t room = sizeof(line) - 1; /* for the newline */
	size_t start, len;
	va_list args;
	int n;

	if (!may_show())
		return; /* errno is as it was: nothing was called that sets it */
	n = getenv("JOURNAL_STREAM") ? snprintf(line, room, "<%d>", (int)level)
				     : snprintf(line, room, "rngd: ");
	start = (size_t)n;
	va_start(args, format);
	n = vsnprintf(line + start, room - start, format, args);
	va_end(args);
	if (n >= 0) {
		len = start + (size_t)n;
		if (len >= room) /* cut, never spilled over */
			len = room - 1;
		for (size_t i = start; i < len; i++)
			if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
				line[i] = '?';
		line[len++] = '\n';
		write_line(line, len);
	}
	errno = saved_errno;
}
