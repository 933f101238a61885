/* SPDX-License-Identifier: ISC */
/*
 * uuid_maker - version-4 UUIDs made in batches, which are dropped when the machine was cloned.
 *
 *	cc -o uuid_maker uuid_maker.c -lrngclient && ./uuid_maker COUNT [SOCKET [BATCH]]
 *
 * Prints COUNT of them, one a line, each written at once; 0: without end. BATCH: how many are asked
 * of rngd at a time, 1 to 256.
 *
 * A batch is a stock of random bytes: whatever is in it when a snapshot is taken is in every
 * sibling of the machine. The epoch is what tells a program that its stock is not its own any more,
 * at the price of one load for each UUID, where a request to rngd costs some 20 microseconds.
 *
 * The price of the stock is the time between a clone and its being noticed: a tenth of a second or
 * more where nothing wakes rngd. Until then siblings that are let run hand out what is left of it.
 * Hold their work back until `rngcli settle` returns (guest-after-restore.sh), or use a BATCH of 1:
 * then each UUID is asked of rngd, which looks at everything that can tell of a clone before and
 * after it makes bytes. (One that is on its way to its reader when the snapshot is taken is in
 * every sibling all the same: nothing can take it back.)
 */
#include <err.h>
#include <errno.h>
#include <rngclient.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define UUID_BYTES     16
#define BATCH_MOST     256
#define AGAIN_AFTER_NS 100000000 /* 100 ms */

struct stock {
	struct rngclient *rng;
	unsigned char bytes[BATCH_MOST * UUID_BYTES];
	size_t batch;   /* UUIDs made at a time */
	size_t left;    /* of the present batch */
	uint64_t token; /* the epoch it was made in; 0: not known */
};

/* Fills the stock, or ends the program: there is no other place to take random bytes from. */
static void fill(struct stock *stock)
{
	const struct timespec pause = {.tv_nsec = AGAIN_AFTER_NS};
	int rc;

	for (;;) {
		/*
		 * The token before the bytes. If a clone comes in between, the bytes are newer than
		 * the token, which wastes a batch; the other way round would use one too many. The
		 * first token is 0, as the page comes with the first bytes: that wastes one too.
		 */
		stock->token = rngclient_epoch(stock->rng);
		rc = rngclient_get(stock->rng, stock->bytes, stock->batch * UUID_BYTES);
		if (!rc)
			break;
		/* rngd is there and has no bytes that are safe to give: wait, make up nothing. */
		if (rc != -EAGAIN)
			errx(1, "no random bytes: %s", strerror(-rc));
		nanosleep(&pause, NULL);
	}
	stock->left = stock->batch;
}

static void print_uuid(struct stock *stock)
{
	unsigned char *u;

	/* Also when nobody watches for clones any more: then a stock cannot be trusted either. */
	if (stock->left == 0 || !rngclient_epoch_same(stock->rng, stock->token))
		fill(stock);
	stock->left--;
	u = stock->bytes + stock->left * UUID_BYTES;
	u[6] = (unsigned char)((u[6] & 0x0f) | 0x40); /* version 4 */
	u[8] = (unsigned char)((u[8] & 0x3f) | 0x80); /* the variant of RFC 9562 */
	for (int i = 0; i < UUID_BYTES; i++)
		printf("%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", u[i]);
	putchar('\n');
	if (fflush(stdout))
		err(1, "standard output");
}

/* A number up to most; ends the program at anything else. */
static unsigned long long number(const char *text, unsigned long long most)
{
	char *end;
	unsigned long long value;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || value > most)
		errx(2, "'%s' is no number up to %llu", text, most);
	return value;
}

int main(int argc, char **argv)
{
	struct stock stock = {.batch = BATCH_MOST};
	unsigned long long count;
	int rc;

	if (argc < 2 || argc > 4)
		errx(2, "usage: uuid_maker COUNT [SOCKET [BATCH]]");
	count = number(argv[1], UINT64_MAX);
	if (argc > 3)
		stock.batch = (size_t)number(argv[3], BATCH_MOST);
	if (stock.batch == 0)
		errx(2, "a batch has at least one UUID");
	rc = rngclient_open(&stock.rng, argc > 2 ? argv[2] : NULL, 0);
	if (rc)
		errx(1, "no rngd: %s", strerror(-rc));
	for (unsigned long long n = 0; count == 0 || n < count; n++)
		print_uuid(&stock);
	rngclient_close(stock.rng);
	return 0;
}
