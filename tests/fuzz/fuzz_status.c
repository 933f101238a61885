/*
 * fuzz_status - "rngcli status" with a status text from anybody: shown if and only if a second
 * reading of the grammar takes it, and then nothing but its own bytes, in lines of printable ASCII.
 * Input: one byte of options, then the text. The library is replaced: see fuzz_client for it.
 */
#include <errno.h>
#include <stdarg.h>

#include "client/fields.h"
#include "client/rngcli.h"
#include "tests/fuzz/fuzz.h"

#define OUTPUT_BYTES (4u << 20)
#define TABLE_BYTES  (FIELDS_MAX * sizeof(struct field))

enum {
	OPTION_JSON = 1,
	OPTION_TERMINAL = 2,
};

static struct {
	const uint8_t *text;
	size_t text_bytes;
	bool terminal;
	bool refused; /* rngcli_error() was called */
	struct field *table;
	bool table_taken;
	size_t written_bytes;
	char written[OUTPUT_BYTES];
} run;

/* ---------------------------------------------------------------- in place of the library */

int rngcli_connect(const struct rngcli_options *options, struct rngclient **client)
{
	static char handle;

	(void)options;
	*client = (struct rngclient *)(void *)&handle;
	return RNGCLI_OK;
}

int rngclient_status(struct rngclient *client, char *text, size_t size)
{
	(void)client;
	/* What the library would refuse itself. */
	if (run.text_bytes >= size || memchr(run.text, 0, run.text_bytes)) {
		memset(text, 0, size);
		return -EPROTO;
	}
	memcpy(text, run.text, run.text_bytes);
	text[run.text_bytes] = '\0';
	return 0;
}

void rngclient_close(struct rngclient *client)
{
	(void)client;
}

int rngcli_explain(const struct rngcli_options *options, int error)
{
	(void)options;
	FUZZ_CHECK(error == -EPROTO);
	run.refused = true;
	return RNGCLI_FAILURE;
}

void rngcli_error(const char *format, ...)
{
	(void)format;
	run.refused = true;
}

int rngcli_close_stdout(void)
{
	return fflush(stdout) == 0 ? RNGCLI_OK : RNGCLI_FAILURE;
}

int __real_isatty(int fd);
int __wrap_isatty(int fd);

int __wrap_isatty(int fd)
{
	return fd == 1 ? run.terminal : __real_isatty(fd);
}

/*
 * The table of fields is so large that each run would have it mapped and unmapped: it is kept, with
 * the bounds of a real allocation, and what a run has used of it is zeroed again.
 */
void *__real_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void __real_free(void *memory);
void __wrap_free(void *memory);

void *__wrap_calloc(size_t count, size_t bytes)
{
	if (count * bytes != TABLE_BYTES)
		return __real_calloc(count, bytes);
	FUZZ_CHECK(!run.table_taken);
	if (!run.table)
		run.table = __real_calloc(count, bytes);
	run.table_taken = true;
	return run.table;
}

void __wrap_free(void *memory)
{
	size_t lines = 1;

	if (!memory || memory != run.table) {
		__real_free(memory);
		return;
	}
	FUZZ_CHECK(run.table_taken);
	run.table_taken = false;
	for (size_t i = 0; i < run.text_bytes; i++)
		lines += run.text[i] == '\n';
	lines = lines < FIELDS_MAX ? lines : FIELDS_MAX;
	memset(run.table, 0, lines * sizeof(struct field));
}

static ssize_t collect(void *cookie, const char *bytes, size_t len)
{
	(void)cookie;
	FUZZ_CHECK(len <= sizeof(run.written) - run.written_bytes);
	memcpy(run.written + run.written_bytes, bytes, len);
	run.written_bytes += len;
	return (ssize_t)len;
}

/* ---------------------------------------------------------------- the grammar, once more */

static bool is_letter(char c)
{
	return c >= 'a' && c <= 'z';
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_name(const char *at, size_t len)
{
	bool first = true;

	for (size_t i = 0; i < len; i++) {
		if (first ? !(is_letter(at[i]) || (i > 0 && is_digit(at[i])))
			  : !(is_letter(at[i]) || is_digit(at[i]) || at[i] == '_' || at[i] == '.'))
			return false;
		first = at[i] == '.';
	}
	return len > 0 && !first;
}

static bool is_value(const char *at, size_t len)
{
	size_t i;

	if (len >= 2 && at[0] == '"' && at[len - 1] == '"') {
		for (i = 1; i < len - 1; i++)
			if (at[i] < 0x20 || at[i] > 0x7e || at[i] == '"' || at[i] == '\\')
				return false;
		return true;
	}
	if ((len == 4 && memcmp(at, "true", 4) == 0) || (len == 5 && memcmp(at, "false", 5) == 0))
		return true;
	i = len > 0 && at[0] == '-';
	if (len - i < 1 || len - i > 20 || (at[i] == '0' && len - i > 1))
		return false;
	for (; i < len; i++)
		if (!is_digit(at[i]))
			return false;
	return true;
}

/* Names are compared by a walk over the lines before. */
static bool is_new(const char *text, const char *name, size_t len)
{
	while (text < name) {
		const char *end = memchr(text, '\n', (size_t)(name - text));

		if (strncmp(text, name, len) == 0 && text[len] == '=')
			return false;
		text = end + 1;
	}
	return true;
}

static bool is_status(const char *text, size_t len)
{
	const char *at = text, *end = text + len;

	while (at < end) {
		const char *line_end = memchr(at, '\n', (size_t)(end - at));
		const char *equals = memchr(at, '=', (size_t)(end - at));

		if (!line_end || !equals || equals > line_end ||
		    !is_name(at, (size_t)(equals - at)) ||
		    !is_value(equals + 1, (size_t)(line_end - equals - 1)) ||
		    !is_new(text, at, (size_t)(equals - at)))
			return false;
		at = line_end + 1;
	}
	return len > 0 && len < RNGCLIENT_STATUS_BYTES;
}

/* ---------------------------------------------------------------- what was written */

static size_t colour_bytes(const char *at, size_t left)
{
	static const char *const colours[] = {"\033[1m", "\033[31m", "\033[32m", "\033[33m",
					      "\033[0m"};

	for (size_t i = 0; i < sizeof(colours) / sizeof(colours[0]); i++)
		if (left >= strlen(colours[i]) && !memcmp(at, colours[i], strlen(colours[i])))
			return strlen(colours[i]);
	return 0;
}

static void check_written(bool colours)
{
	for (size_t i = 0; i < run.written_bytes;) {
		char c = run.written[i];
		size_t skip = c == '\n' || (c >= 0x20 && c <= 0x7e) ? 1 : 0;

		if (!skip && colours)
			skip = colour_bytes(run.written + i, run.written_bytes - i);
		FUZZ_CHECK(skip > 0);
		i += skip;
	}
}

/* Each line of JSON is a line of the status, with other marks around it. */
static void check_json(const char *text, size_t len)
{
	const char *at = run.written, *end = at + run.written_bytes;
	bool first = true;

	for (const char *line = text; line < text + len; first = false) {
		const char *line_end = memchr(line, '\n', (size_t)(text + len - line));
		const char *equals = memchr(line, '=', (size_t)(line_end - line));
		size_t name_len = (size_t)(equals - line);
		size_t value_len = (size_t)(line_end - equals - 1);

		FUZZ_CHECK((size_t)(end - at) > name_len + value_len + 8);
		FUZZ_CHECK(memcmp(at, first ? "{\n  \"" : ",\n  \"", 5) == 0);
		FUZZ_CHECK(memcmp(at + 5, line, name_len) == 0);
		FUZZ_CHECK(memcmp(at + 5 + name_len, "\": ", 3) == 0);
		FUZZ_CHECK(memcmp(at + 8 + name_len, equals + 1, value_len) == 0);
		at += 8 + name_len + value_len;
		line = line_end + 1;
	}
	FUZZ_CHECK(end - at == 3 && memcmp(at, "\n}\n", 3) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static FILE *sink;
	struct fuzz_input input = {data, size};
	uint8_t choice = fuzz_u8(&input);
	struct rngcli_options options = {.json = choice & OPTION_JSON, .socket_path = "/nowhere"};
	FILE *saved = stdout;
	char *text;
	bool good;
	int rc;

	if (!sink) {
		sink = fopencookie(NULL, "w", (cookie_io_functions_t){.write = collect});
		FUZZ_CHECK(sink);
		setenv("TERM", "xterm", 1);
		unsetenv("NO_COLOR");
	}
	text = fuzz_copy(input.at, input.left);
	run.text = (const uint8_t *)text;
	run.text_bytes = input.left;
	run.terminal = choice & OPTION_TERMINAL;
	run.refused = false;
	run.written_bytes = 0;
	stdout = sink;
	rc = cmd_status(&options);
	fflush(sink);
	stdout = saved;

	good = is_status(text, input.left);
	FUZZ_CHECK(!run.table_taken);
	FUZZ_CHECK(good == (rc == RNGCLI_OK) && good == !run.refused);
	FUZZ_CHECK(good || run.written_bytes == 0);
	check_written(run.terminal && !options.json);
	if (good && options.json)
		check_json(text, input.left);
	free(text);
	return 0;
}
