/*
 * Owns: bytes on their way from standard input to whom they are for. May touch: standard input.
 * Never does: take them from a terminal, keep a copy of them, or make any up: what this machine
 * has, its clones may have too.
 */
#include "client/seed.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "client/rngcli.h"

_Static_assert(SEED_MAX_BYTES == RNGCLIENT_BUMP_MAX_BYTES, "one limit for all");
_Static_assert(SEED_MAX_BYTES == RNGCLIENT_CONTRIBUTE_MAX_BYTES, "one limit for all");

/* Reads until the end or until the buffer is full. 0 or a negative errno. */
static int read_all(struct seed *seed)
{
	struct pollfd wait = {.fd = STDIN_FILENO, .events = POLLIN};
	ssize_t n;

	while (seed->len < sizeof(seed->bytes)) {
		n = read(STDIN_FILENO, seed->bytes + seed->len, sizeof(seed->bytes) - seed->len);
		if (n == 0)
			break;
		if (n > 0)
			seed->len += (size_t)n;
		else if (errno == EAGAIN)
			poll(&wait, 1, -1);
		else if (errno != EINTR)
			return -errno;
	}
	return 0;
}

int seed_take(struct seed *seed, const char *command, size_t least, const char *hint)
{
	int rc;

	seed->len = 0;
	if (isatty(STDIN_FILENO)) {
		rngcli_error("%s reads random bytes, and standard input is a terminal: pipe %zu "
			     "byte%s or more%s%s",
			     command, least, least == 1 ? "" : "s", hint ? ", or " : "",
			     hint ? hint : "");
		return RNGCLI_USAGE;
	}
	rc = read_all(seed);
	if (rc) {
		rngcli_error("cannot read standard input: %s", strerror(-rc));
		return RNGCLI_FAILURE;
	}
	if (seed->len >= least && seed->len <= SEED_MAX_BYTES)
		return RNGCLI_OK;
	rngcli_error("%s takes %zu to %d bytes, and standard input has %s%zu", command, least,
		     SEED_MAX_BYTES, seed->len > SEED_MAX_BYTES ? "at least " : "", seed->len);
	return RNGCLI_USAGE;
}

void seed_wipe(struct seed *seed)
{
	explicit_bzero(seed, sizeof(*seed));
}
