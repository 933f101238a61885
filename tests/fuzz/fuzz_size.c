/*
 * fuzz_size - the byte counts of a command line: size_parse() against a second reading of the same
 * grammar in wider integers, and the texts that are made from any numbers.
 * Input: 26 bytes of numbers, then the text.
 */
#include <errno.h>
#include <string.h>

#include "client/size.h"
#include "tests/fuzz/fuzz.h"

/* 1000 digits cannot overflow a sum that stops growing here. */
#define HUGE_SUM ((unsigned __int128)1 << 100)

/* What size.h says, in another way: 0, -EINVAL or -ERANGE. */
static int expected(const char *text, uint64_t *value)
{
	static const char *const suffixes[] = {"", "K", "M", "G", "T", "P", "E"};
	unsigned __int128 sum = 0;
	size_t digit_count = strspn(text, "0123456789");
	char suffix[4] = "";
	const char *unit;
	size_t power;

	if (digit_count == 0)
		return -EINVAL;
	for (size_t i = 0; i < digit_count; i++)
		if (sum < HUGE_SUM)
			sum = sum * 10 + (unsigned)(text[i] - '0');
	text += digit_count;
	if (strlen(text) > 3)
		return -EINVAL;
	strcpy(suffix, text);
	if (suffix[0] == 'k')
		suffix[0] = 'K';
	unit = suffix[0] ? suffix + 1 : "";
	if (strcmp(unit, "") != 0 && strcmp(unit, "B") != 0 && strcmp(unit, "iB") != 0)
		return -EINVAL;
	for (power = 0; power < 7; power++)
		if (suffix[0] == suffixes[power][0])
			break;
	if (power == 7)
		return -EINVAL;
	for (; power > 0 && sum < HUGE_SUM; power--)
		sum *= strcmp(unit, "B") == 0 ? 1000 : 1024;
	if (sum > UINT64_MAX)
		return -ERANGE;
	*value = (uint64_t)sum;
	return 0;
}

static void parse(const uint8_t *bytes, size_t len)
{
	const uint64_t untouched = 0x5a5a5a5a5a5a5a5a;
	uint64_t got = untouched, want = untouched;
	char *text = malloc(len + 1);

	FUZZ_CHECK(text);
	if (len)
		memcpy(text, bytes, len);
	text[len] = '\0';
	FUZZ_CHECK(size_parse(text, &got) == expected(text, &want));
	FUZZ_CHECK(got == want);
	free(text);
}

static bool is_plain(const char *text)
{
	for (; *text; text++)
		if (*text < 0x20 || *text > 0x7e)
			return false;
	return true;
}

static void format(struct fuzz_input *input)
{
	char text[SIZE_TEXT_BYTES], line[SIZE_PROGRESS_BYTES];
	uint64_t done = fuzz_u64(input), total = fuzz_u64(input);
	int64_t elapsed_ms = (int64_t)fuzz_u64(input);
	unsigned columns = fuzz_u16(input);
	size_t len;

	size_format(text, done);
	FUZZ_CHECK(strlen(text) < sizeof(text) && is_plain(text));
	size_format_ms(text, total);
	FUZZ_CHECK(strlen(text) < sizeof(text) && is_plain(text));
	len = size_progress(line, columns, done, total, elapsed_ms);
	FUZZ_CHECK(len < sizeof(line) && line[len] == '\0' && strlen(line) == len);
	FUZZ_CHECK(is_plain(line));
	if (columns > 0)
		FUZZ_CHECK(len < columns);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};

	format(&input);
	parse(input.at, input.left);
	return 0;
}
