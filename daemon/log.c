/*
 * Owns: nothing. May touch: file descriptor 2.
 * Never does: allocate, buffer, or retry: a stuck log must not stop the service for long.
 */
#include "daemon/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void log_line(enum log_level level, const char *format, ...)
{
	char line[LOG_LINE_BYTES];
	int saved_errno = errno;
	size_t room = sizeof(line) - 1; /* for the newline */
	size_t start, len;
	va_list args;
	int n;

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
		if (write(STDERR_FILENO, line, len) < 0) {
			/* nobody left to tell */
		}
	}
	errno = saved_errno;
}
