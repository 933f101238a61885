/*
 * Owns: the count of lines in this second, a socket to the journal. May touch: file descriptor 2,
 * JOURNAL_STREAM, the monotonic clock.
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
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/clock.h"

#define LOG_JOURNAL_SOCKET "/run/systemd/journal/socket"

/* Every line in the process ends at one descriptor, so there is one count. */
static struct {
	bool limited;
	int64_t since_ms; /* when this second began */
	unsigned shown;   /* lines in it */
	uint64_t hidden;  /* since it was last said */
} lines;

/* The journal's socket, connected, or -1: beside descriptor 2 the one place where lines end. */
static int journal_fd = -1;

/* Never to be reused: a catalog, and whoever filters by them, has them too. */
static const char *const event_ids[LOG_EVENTS] = {
    [LOG_EVENT_STARTED] = "07164f16e98b428f9e1277fe881895f3",
    [LOG_EVENT_STOPPING] = "1df6c3ff2bbb4da68b9671fcc2fd81d2",
    [LOG_EVENT_NOT_STARTED] = "2b4165616bf240ffb1f865e9278260d2",
    [LOG_EVENT_CLONED] = "e70555dbb2e3448eac61480924e5b99b",
    [LOG_EVENT_RESEED_FAILED] = "438dd618b11d43a28e687b529f1aa3ca",
    [LOG_EVENT_RESEED_RESUMED] = "811132bf6d6a42a4a2f899cb7806dcb7",
    [LOG_EVENT_SOURCE_BROKEN] = "acb6d70c678e448c941e2cc4eac1e8fb",
    [LOG_EVENT_ACCEPT_PAUSED] = "6351c57649f742fe930eb284d508d6eb",
};

/* Is stderr what systemd connected to the journal? It may have been redirected since. */
static bool is_journal(const struct stat *st)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	char end;

	return stream && sscanf(stream, "%llu:%llu%c", &device, &inode, &end) == 2 &&
	       device == st->st_dev && inode == st->st_ino;
}

static int open_journal(const struct stat *st)
{
	const struct sockaddr_un addr = {.sun_family = AF_UNIX, .sun_path = LOG_JOURNAL_SOCKET};
	int fd;

	if (!is_journal(st))
		return -1;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

void log_init(void)
{
	struct stat st;
	int fd;

	if (fstat(STDERR_FILENO, &st) < 0)
		return;
	journal_fd = open_journal(&st);
	if (!(S_ISFIFO(st.st_mode) || (S_ISCHR(st.st_mode) && isatty(STDERR_FILENO))))
		return;
	fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return;
	dup2(fd, STDERR_FILENO);
	close(fd);
}

bool log_has_journal(void)
{
	return journal_fd >= 0;
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

/* Longest that stands before the text: the journal's fields. */
#define LOG_HEAD_BYTES 128u

/*
 * A line as it is sent: the head is put in last, so that it ends where the text begins. The text is
 * counted as if it stood behind the head of a line on stderr.
 */
struct line {
	char bytes[LOG_HEAD_BYTES + LOG_LINE_BYTES];
	size_t end; /* of the text and its newline */
};

/* Where the line begins with this head. */
static char *put_head(struct line *line, const char *head, int head_bytes)
{
	char *begin = line->bytes + LOG_HEAD_BYTES - head_bytes;

	memcpy(begin, head, (size_t)head_bytes);
	return begin;
}

/* The journal's native protocol: a field is a line, and no text of ours has a newline in it. */
static bool to_journal(struct line *line, enum log_event event, enum log_level level)
{
	char head[LOG_HEAD_BYTES];
	const char *begin;
	int n;

	if (journal_fd < 0 || event == LOG_EVENT_NONE)
		return false;
	n = snprintf(head, sizeof(head),
		     "PRIORITY=%d\nSYSLOG_IDENTIFIER=rngd\nMESSAGE_ID=%s\nMESSAGE=", (int)level,
		     event_ids[event]);
	begin = put_head(line, head, n);
	return send(journal_fd, begin, (size_t)(line->bytes + line->end - begin),
		    MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
}

static void to_stderr(struct line *line, enum log_level level)
{
	char head[16];
	int n = getenv("JOURNAL_STREAM") ? snprintf(head, sizeof(head), "<%d>", (int)level)
					 : snprintf(head, sizeof(head), "rngd: ");
	const char *begin = put_head(line, head, n);

	write_line(begin, (size_t)(line->bytes + line->end - begin));
}

void log_event(enum log_event event, enum log_level level, const char *format, ...)
{
	struct line line;
	char *text = line.bytes + LOG_HEAD_BYTES;
	/* What is left beside the longest head of a line on stderr, and the newline. */
	const size_t room = LOG_LINE_BYTES - sizeof("rngd: ");
	int saved_errno = errno;
	va_list args;
	size_t len;
	int n;

	if (!may_show())
		return; /* errno is as it was: nothing was called that sets it */
	va_start(args, format);
	n = vsnprintf(text, room + 1, format, args);
	va_end(args);
	if (n >= 0) {
		len = (size_t)n > room ? room : (size_t)n; /* cut, never spilled over */
		for (size_t i = 0; i < len; i++)
			if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
				text[i] = '?';
		text[len++] = '\n';
		line.end = LOG_HEAD_BYTES + len;
		if (!to_journal(&line, event, level))
			to_stderr(&line, level);
	}
	errno = saved_errno;
}
