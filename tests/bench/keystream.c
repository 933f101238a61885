/*
 * Owns: two buffers and a cipher context. May touch: OpenSSL and libsodium. Never does: compare two
 * sides that do not compute the same bytes.
 *
 * Ours is one call that sets up key and nonce and wipes what it used; so is libsodium's, but for
 * the wiping of registers. OpenSSL's is EVP_EncryptUpdate() of zeros, key and nonce already set.
 *
 * Which instructions OpenSSL uses can be told by its environment. libsodium cannot be told: it
 * takes the best of those it knows (AVX2 at most), or, before sodium_init(), integer registers.
 */
#include <openssl/evp.h>
#include <sodium.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/chacha20.h"
#include "host/cpu.h"
#include "tests/bench/bench.h"

#define SIZE_BYTES_MAX   262144u
#define FEW_BLOCKS_BYTES (8 * CHACHA20_BLOCK_BYTES)
#define BULK_BYTES       16384u

struct plan {
	const char *impl;
	bool sodium;      /* the peer is libsodium, not OpenSSL */
	bool sodium_best; /* with the best it has */
	double few_bar;   /* of 1 to 8 blocks; 0: none */
	double bulk_bar;  /* of BULK_BYTES; 0: none */
};

struct keystream {
	const struct chacha20_impl *impl;
	EVP_CIPHER_CTX *evp;
	uint8_t *out;
	uint8_t *zeros;
};

static const size_t sizes[] = {64,  128,  192,  256,   320,   384,   448,
			       512, 1024, 4096, 16384, 65536, 262144};

#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

static const uint8_t key[CHACHA20_KEY_BYTES] = "not a secret, only for measuring";

/* OpenSSL's IV is words 12 to 15: block counter 0, nonce 0. */
static int evp_restart(struct keystream *keystream)
{
	static const uint8_t iv[16];

	return EVP_EncryptInit_ex(keystream->evp, EVP_chacha20(), NULL, key, iv) == 1 ? 0 : -1;
}

static int run_ours(void *context, size_t size_bytes, unsigned long calls)
{
	const struct keystream *keystream = context;

	for (unsigned long i = 0; i < calls; i++)
		keystream->impl->blocks(key, 0, 0, keystream->out,
					size_bytes / CHACHA20_BLOCK_BYTES);
	return 0;
}

static int run_openssl(void *context, size_t size_bytes, unsigned long calls)
{
	const struct keystream *keystream = context;
	int len, fine = 1;

	for (unsigned long i = 0; i < calls; i++)
		fine &= EVP_EncryptUpdate(keystream->evp, keystream->out, &len, keystream->zeros,
					  (int)size_bytes);
	return fine == 1 ? 0 : -1;
}

static int run_sodium(void *context, size_t size_bytes, unsigned long calls)
{
	static const uint8_t nonce[crypto_stream_chacha20_NONCEBYTES];
	const struct keystream *keystream = context;

	for (unsigned long i = 0; i < calls; i++)
		crypto_stream_chacha20(keystream->out, size_bytes, nonce, key);
	return 0;
}

/* 0 when both sides give the same bytes. */
static int compare(struct keystream *keystream, const struct measure_side *theirs,
		   size_t size_bytes)
{
	uint8_t *copy = malloc(size_bytes);
	int differ = -1;

	if (copy && run_ours(keystream, size_bytes, 1) == 0) {
		memcpy(copy, keystream->out, size_bytes);
		memset(keystream->out, 0, size_bytes);
		if (evp_restart(keystream) == 0 && theirs->run(theirs->context, size_bytes, 1) == 0)
			differ = memcmp(copy, keystream->out, size_bytes);
	}
	free(copy);
	return differ;
}

static void report(const struct bench *bench, struct measure_task *task)
{
	const struct plan *plan = bench->group->plan;
	size_t size = task->size_bytes;
	struct report_row row = {
	    .name = "keystream",
	    .size_bytes = size,
	    .unit = "GB/s",
	    .peer = task->theirs->name,
	    .bar = size <= FEW_BLOCKS_BYTES ? plan->few_bar
		   : size == BULK_BYTES     ? plan->bulk_bar
					    : 0,
	};

	row.bar_is = row.bar > 0 ? REPORT_RATIO_AT_LEAST : REPORT_NO_BAR;
	measure_rates(&task->rounds, (double)size);
	report_row(bench, &row, &task->rounds);
}

static int run_sizes(const struct bench *bench, struct keystream *keystream)
{
	const struct plan *plan = bench->group->plan;
	const struct measure_side ours = {.run = run_ours, .context = keystream};
	const struct measure_side theirs = {
	    .name = plan->sodium ? "libsodium" : "OpenSSL",
	    .run = plan->sodium ? run_sodium : run_openssl,
	    .context = keystream,
	};
	struct measure_task tasks[SIZES];

	for (size_t i = 0; i < SIZES; i++) {
		tasks[i] =
		    (struct measure_task){.ours = &ours, .theirs = &theirs, .size_bytes = sizes[i]};
		if (compare(keystream, &theirs, sizes[i])) {
			printf("  %zu bytes: the two sides differ\n", sizes[i]);
			return -1;
		}
	}
	if (measure_tasks(bench->scale, MEASURE_COMPUTING, tasks, SIZES))
		return -1;
	for (size_t i = 0; i < SIZES; i++)
		report(bench, &tasks[i]);
	return 0;
}

static int run(const struct bench *bench)
{
	const struct plan *plan = bench->group->plan;
	struct keystream keystream = {
	    .impl = chacha20_impls(),
	    .evp = EVP_CIPHER_CTX_new(),
	    .out = aligned_alloc(64, SIZE_BYTES_MAX),
	    .zeros = aligned_alloc(64, SIZE_BYTES_MAX),
	};
	int err = -1;

	while (keystream.impl->name && strcmp(keystream.impl->name, plan->impl) != 0)
		keystream.impl++;
	if (keystream.impl->name && keystream.evp && keystream.out && keystream.zeros &&
	    evp_restart(&keystream) == 0 && (!plan->sodium_best || sodium_init() >= 0)) {
		memset(keystream.zeros, 0, SIZE_BYTES_MAX);
		err = run_sizes(bench, &keystream);
	}
	free(keystream.zeros);
	free(keystream.out);
	EVP_CIPHER_CTX_free(keystream.evp);
	return err;
}

#if defined(__x86_64__)
static const char *without_avx512(void)
{
	return cpu_has_avx512() ? NULL : "this processor has no AVX-512";
}

static const char *without_avx2(void)
{
	return cpu_has_avx2() ? NULL : "this processor has no AVX2";
}
#endif

const struct group keystream_groups[] = {
#if defined(__x86_64__)
    {.name = "chacha20-avx512",
     .title = "ChaCha20 keystream: ours avx512, OpenSSL with all it finds",
     .skip = without_avx512,
     .run = run,
     .plan = &(const struct plan){.impl = "avx512", .few_bar = 1.0, .bulk_bar = 1.15}},
    /* Clears, of CPUID leaf 7, AVX-512 F, DQ, IFMA, CD, BW and VL (bits 16, 17, 21, 28, 30, 31). */
    {.name = "chacha20-avx2",
     .title = "ChaCha20 keystream: ours avx2, OpenSSL held to AVX2",
     .ia32cap = "~0x0:~0xd0230000",
     .skip = without_avx2,
     .run = run,
     .plan = &(const struct plan){.impl = "avx2", .few_bar = 1.0, .bulk_bar = 0.95}},
    /* AVX2 (bit 5) too. Not one instruction set: no bar. */
    {.name = "chacha20-sse",
     .title = "ChaCha20 keystream: ours portable (integer registers), OpenSSL held to SSE",
     .ia32cap = "~0x0:~0xd0230020",
     .run = run,
     .plan = &(const struct plan){.impl = "portable"}},
    /* And of leaf 1 SSSE3 (bit 9 of ECX, the upper half of the first word). */
    {.name = "chacha20-integer",
     .title = "ChaCha20 keystream: ours portable, OpenSSL held to integer registers",
     .ia32cap = "~0x0000020000000000:~0xd0230020",
     .run = run,
     .plan = &(const struct plan){.impl = "portable", .few_bar = 1.0}},
    {.name = "chacha20-avx512-sodium",
     .title = "ChaCha20 keystream: ours avx512, libsodium with all it knows (AVX2)",
     .skip = without_avx512,
     .run = run,
     .plan = &(const struct plan){.impl = "avx512", .sodium = true, .sodium_best = true}},
    {.name = "chacha20-avx2-sodium",
     .title = "ChaCha20 keystream: ours avx2, libsodium with all it knows (AVX2)",
     .skip = without_avx2,
     .run = run,
     .plan = &(const struct plan){.impl = "avx2", .sodium = true, .sodium_best = true}},
#else
    {.name = "chacha20",
     .title = "ChaCha20 keystream: ours portable, OpenSSL with all it finds",
     .run = run,
     .plan = &(const struct plan){.impl = "portable"}},
#endif
    {.name = "chacha20-integer-sodium",
     .title = "ChaCha20 keystream: ours portable, libsodium's portable",
     .run = run,
     .plan = &(const struct plan){.impl = "portable", .sodium = true}},
    {0},
};
