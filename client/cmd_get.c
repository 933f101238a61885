/*
 * Owns: the random bytes on their way from the daemon to the output, the output file, the
 * progress bar.
 * May touch: the terminal, the output, signal dispositions while an unfinished file exists.
 * Never does: hand a random byte to stdio or the heap; leave an unfinished file behind.
 */
#include "client/rngcli.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "client/size.h"

#define GET_DEFAULT_BYTES 32
#define GET_UUID_BYTES    16
#define GET_UUID_CHARS    37 /* the newline included */

/* Bytes asked for at a time. Whole UUIDs, and whole base64 groups: no padding in the middle. */
#define GET_CHUNK_BYTES (768u * 1024)
/* What a chunk of len bytes needs at most as text: UUIDs take 37/16, one lone base64 group 4. */
#define GET_TEXT_BYTES(len) (3 * (len) + 4)

#define GET_PROGRESS_DELAY_MS    500 /* output done sooner shows no bar */
#define GET_PROGRESS_INTERVAL_MS 200

/* Where the bytes go. */
struct output {
	int fd;
	const char *path; /* NULL: standard output */
	char *temp_path;  /* the unfinished file that becomes path; NULL: written directly */
};

struct progress {
	bool enabled;
	bool drawn;
	uint64_t total_bytes;
	int64_t started_ms;
	int64_t drawn_ms;
};

/* For the signal handler: the file that must not outlive the process. */
static char *volatile unfinished_path;

static const int fatal_signals[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGTERM,
				    SIGALRM, SIGUSR1, SIGUSR2, SIGXCPU};

#define FATAL_SIGNALS (sizeof(fatal_signals) / sizeof(fatal_signals[0]))

/* ---------------------------------------------------------------- encodings */

/* Lookup tables within one cache line: which line is touched tells nothing of the byte. */
static const _Alignas(16) char hex_digits[16] __attribute__((nonstring)) = "0123456789abcdef";
static const _Alignas(64) char base64_digits[64]
    __attribute__((nonstring)) = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static size_t encode_hex(char *text, const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		*text++ = hex_digits[data[i] >> 4];
		*text++ = hex_digits[data[i] & 15];
	}
	return 2 * len;
}

/* RFC 4648 section 4; the padding falls in the last group of the last chunk. */
static size_t encode_base64(char *text, const uint8_t *data, size_t len)
{
	char *start = text;

	for (size_t i = 0; i < len; i += 3) {
		uint32_t group = (uint32_t)data[i] << 16;

		group |= i + 1 < len ? (uint32_t)data[i + 1] << 8 : 0;
		group |= i + 2 < len ? data[i + 2] : 0;
		*text++ = base64_digits[group >> 18];
		*text++ = base64_digits[group >> 12 & 63];
		*text++ = i + 1 < len ? base64_digits[group >> 6 & 63] : '=';
		*text++ = i + 2 < len ? base64_digits[group & 63] : '=';
	}
	return (size_t)(text - start);
}

/* RFC 9562 section 5.4: 122 random bits, 4 of version, 2 of variant. */
static size_t encode_uuid(char *text, const uint8_t *data, size_t len)
{
	char *start = text;

	for (size_t i = 0; i < len; i += GET_UUID_BYTES) {
		uint8_t uuid[GET_UUID_BYTES];

		memcpy(uuid, data + i, sizeof(uuid));
		uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x40);
		uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
		for (size_t j = 0; j < sizeof(uuid); j++) {
			if (j == 4 || j == 6 || j == 8 || j == 10)
				*text++ = '-';
			text += encode_hex(text, uuid + j, 1);
		}
		*text++ = '\n';
		explicit_bzero(uuid, sizeof(uuid));
	}
	return (size_t)(text - start);
}

/* ---------------------------------------------------------------- the output file */

static void remove_unfinished(int signal_number)
{
	if (unfinished_path)
		unlink(unfinished_path);
	signal(signal_number, SIG_DFL);
	raise(signal_number);
}

/* Called with these signals blocked. */
static void catch_fatal_signals(void)
{
	for (size_t i = 0; i < FATAL_SIGNALS; i++)
		if (signal(fatal_signals[i], remove_unfinished) == SIG_IGN)
			signal(fatal_signals[i], SIG_IGN); /* nohup */
}

/* A new file beside path, so that rename(2) can put it there in one step. */
static int output_create(struct output *output)
{
	const char *slash = strrchr(output->path, '/');
	int dir_len = slash ? (int)(slash - output->path) + 1 : 0;
	sigset_t fatal, old;
	int rc = 0;

	if (asprintf(&output->temp_path, "%.*s.rngcli-XXXXXX", dir_len, output->path) < 0) {
		output->temp_path = NULL;
		return -ENOMEM;
	}
	sigemptyset(&fatal);
	for (size_t i = 0; i < FATAL_SIGNALS; i++)
		sigaddset(&fatal, fatal_signals[i]);
	sigprocmask(SIG_BLOCK, &fatal, &old);
	output->fd = mkostemp(output->temp_path, O_CLOEXEC);
	if (output->fd < 0) {
		rc = -errno;
	} else {
		unfinished_path = output->temp_path;
		catch_fatal_signals();
	}
	sigprocmask(SIG_SETMASK, &old, NULL);
	if (!rc && fchmod(output->fd, 0600)) /* whatever the umask says */
		rc = -errno;
	return rc;
}

/* A device, a FIFO: there is nothing to replace. */
static int output_open_special(struct output *output)
{
	struct stat st;

	output->fd = open(output->path, O_WRONLY | O_NOCTTY | O_CLOEXEC);
	if (output->fd < 0 || fstat(output->fd, &st))
		return -errno;
	return S_ISREG(st.st_mode) ? -EBUSY : 0; /* it changed since stat() */
}

/* 0 or a negative errno; output_discard() or output_finish() must follow either. */
static int output_open(struct output *output, const char *path)
{
	struct stat st;

	*output = (struct output){.fd = path ? -1 : STDOUT_FILENO, .path = path};
	if (!path)
		return 0;
	if (!stat(path, &st)) {
		if (!S_ISREG(st.st_mode))
			return output_open_special(output);
		if (euidaccess(path, W_OK)) /* rename(2) would not ask */
			return -errno;
	} else if (errno != ENOENT) {
		return -errno;
	}
	/*
	 * Renaming would replace the link, in /dev/stdout's case a system's; following it would
	 * let whoever made it choose the file.
	 */
	if (!lstat(path, &st) && S_ISLNK(st.st_mode))
		return -ELOOP;
	return output_create(output);
}

static void output_discard(struct output *output)
{
	if (output->fd >= 0)
		close(output->fd);
	if (unfinished_path)
		unlink(unfinished_path);
	unfinished_path = NULL;
	free(output->temp_path);
	*output = (struct output){.fd = -1};
}

/* Makes what was written final. 0 or a negative errno; output_discard() must still follow. */
static int output_finish(struct output *output)
{
	int fd = output->fd;

	/* Before the rename: a crash must not leave an empty file in the place of a good one. */
	if (output->temp_path && fsync(fd))
		return -errno;
	output->fd = -1;
	if (close(fd) && errno != EINTR)
		return -errno;
	if (output->temp_path && rename(output->temp_path, output->path))
		return -errno;
	unfinished_path = NULL;
	return 0;
}

/* ---------------------------------------------------------------- progress */

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* A bar is shown for output that goes elsewhere, to a person in front of stderr. */
static void progress_init(struct progress *progress, bool quiet, uint64_t total, int fd)
{
	*progress = (struct progress){.total_bytes = total, .started_ms = now_ms()};
	progress->enabled = !quiet && isatty(STDERR_FILENO) && !isatty(fd);
	/* As if drawn then: the first bar is due after the delay. */
	progress->drawn_ms =
	    progress->started_ms + GET_PROGRESS_DELAY_MS - GET_PROGRESS_INTERVAL_MS;
}

static void progress_draw(struct progress *progress, uint64_t done)
{
	char line[1 + SIZE_PROGRESS_BYTES] = "\r";
	struct winsize window = {0};
	pid_t foreground = tcgetpgrp(STDERR_FILENO);
	int64_t now = now_ms();
	size_t width;

	if (foreground >= 0 && foreground != getpgrp())
		return; /* in the background: the line belongs to another program */
	ioctl(STDERR_FILENO, TIOCGWINSZ, &window);
	width = size_progress(line + 1, window.ws_col, done, progress->total_bytes,
			      now - progress->started_ms);
	progress->drawn = !rngcli_write(STDERR_FILENO, line, 1 + width);
	progress->enabled = progress->drawn;
	progress->drawn_ms = now;
}

static void progress_update(struct progress *progress, uint64_t done)
{
	if (progress->enabled && now_ms() - progress->drawn_ms >= GET_PROGRESS_INTERVAL_MS)
		progress_draw(progress, done);
}

/* Before anything else is said on standard error. */
static void progress_end(struct progress *progress, uint64_t done)
{
	if (!progress->drawn)
		return;
	progress_draw(progress, done);
	rngcli_write(STDERR_FILENO, "\n", 1);
}

/* ---------------------------------------------------------------- the stream */

/* Chunk and text buffers in one mapping of their own, out of core dumps and of swap. */
static uint8_t *buffers_new(size_t bytes)
{
	void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (map == MAP_FAILED)
		return NULL;
	madvise(map, bytes, MADV_DONTDUMP);
	/* As far as RLIMIT_MEMLOCK allows: the bytes are about to leave this process anyway. */
	mlock(map, bytes);
	return map;
}

static int write_encoded(int fd, enum rngcli_format format, char *text, const uint8_t *data,
			 size_t len)
{
	switch (format) {
	case RNGCLI_FORMAT_HEX:
		return rngcli_write(fd, text, encode_hex(text, data, len));
	case RNGCLI_FORMAT_BASE64:
		return rngcli_write(fd, text, encode_base64(text, data, len));
	case RNGCLI_FORMAT_UUID:
		return rngcli_write(fd, text, encode_uuid(text, data, len));
	default:
		return rngcli_write(fd, data, len);
	}
}

/*
 * Moves total bytes from the daemon to the output. 0 or a negative errno; *from_daemon tells
 * whose error it is.
 */
static int stream(const struct rngcli_options *options, struct rngclient *client, int fd,
		  uint64_t total, bool *from_daemon)
{
	size_t chunk = total < GET_CHUNK_BYTES ? (size_t)total : GET_CHUNK_BYTES;
	size_t buffer_bytes = chunk + GET_TEXT_BYTES(chunk);
	uint8_t *data = buffers_new(buffer_bytes);
	enum rngcli_format format = options->format;
	struct progress progress;
	uint64_t done = 0;
	int rc = 0;

	*from_daemon = false;
	if (!data)
		return -ENOMEM;
	if (format == RNGCLI_FORMAT_AUTO)
		format = isatty(fd) ? RNGCLI_FORMAT_HEX : RNGCLI_FORMAT_RAW;
	progress_init(&progress, options->quiet, total, fd);
	while (done < total) {
		size_t len = total - done < chunk ? (size_t)(total - done) : chunk;

		rc = rngclient_get(client, data, len);
		*from_daemon = rc != 0;
		if (!rc)
			rc = write_encoded(fd, format, (char *)data + chunk, data, len);
		if (rc)
			break;
		done += len;
		progress_update(&progress, done);
	}
	if (!rc && (format == RNGCLI_FORMAT_HEX || format == RNGCLI_FORMAT_BASE64))
		rc = rngcli_write(fd, "\n", 1);
	progress_end(&progress, done);
	explicit_bzero(data, buffer_bytes);
	munmap(data, buffer_bytes);
	return rc;
}

/* How many bytes the operand asks for. 0 or a negative errno. */
static int parse_count(const struct rngcli_options *options, uint64_t *bytes)
{
	bool uuid = options->format == RNGCLI_FORMAT_UUID;
	uint64_t count = uuid ? 1 : GET_DEFAULT_BYTES;
	int rc;

	if (options->arg_count) {
		rc = size_parse(options->args[0], &count);
		if (rc)
			return rc;
	}
	if (__builtin_mul_overflow(count, uuid ? GET_UUID_BYTES : 1u, bytes))
		return -ERANGE;
	return 0;
}

int cmd_get(const struct rngcli_options *options)
{
	struct rngclient *client;
	struct output output;
	bool from_daemon = false;
	uint64_t total;
	int rc;

	rc = parse_count(options, &total);
	if (rc) {
		rngcli_error(rc == -ERANGE ? "'%s' is too large"
					   : "'%s' is neither a command nor a size (32, 16K, 1GiB)",
			     options->args[0]);
		return RNGCLI_USAGE;
	}
	if (!total) { /* a script whose length came out as 0 must not go on with an empty key */
		rngcli_error("0 is nothing to print: ask for 1 or more");
		return RNGCLI_USAGE;
	}
	rc = rngcli_connect(options, &client);
	if (rc)
		return rc;
	rc = output_open(&output, options->out_path);
	if (!rc)
		rc = stream(options, client, output.fd, total, &from_daemon);
	if (!rc)
		rc = output_finish(&output);
	output_discard(&output);
	rngclient_close(client);
	if (!rc)
		return RNGCLI_OK;
	return from_daemon ? rngcli_explain(options, rc)
			   : rngcli_write_failed(options->out_path, rc);
}
