/*
 * client/seed - random bytes that rngcli reads from standard input. Prints its own errors.
 */
#ifndef CLIENT_SEED_H
#define CLIENT_SEED_H

#include <stddef.h>
#include <stdint.h>

/* What every command takes at most. */
#define SEED_MAX_BYTES 1024

/* len 0: nothing. To be wiped by seed_wipe(). */
struct seed {
	uint8_t bytes[SEED_MAX_BYTES + 1]; /* one more, to see that there are too many */
	size_t len;
};

/*
 * Reads standard input to its end for the command of that name, which takes least to SEED_MAX_BYTES
 * bytes. hint: what the user may do instead where standard input is a terminal, or NULL. An exit
 * code.
 */
int seed_take(struct seed *seed, const char *command, size_t least, const char *hint);

void seed_wipe(struct seed *seed);

#endif
