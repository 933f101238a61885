/*
 * Owns: the generator's state. May touch: the entropy sources, RDRAND, CLOCK_BOOTTIME.
 * Never does: hand out bytes from a state past its age, or keep a seed after it was mixed in.
 */
#include "daemon/reseed.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>
#include <time.h>

#include "crypto/rng.h"
#include "daemon/log.h"
#include "host/cpu.h"

struct reseed_secret {
	struct rng rng;
	uint8_t next_key[RNG_KEY_BYTES];
	uint8_t message[ENTROPY_MESSAGE_BYTES];
};

static const char *const reseed_reason_names[] = {
    [RESEED_NONE] = "none",     [RESEED_START] = "start",     [RESEED_AGE] = "age",
    [RESEED_VOLUME] = "volume", [RESEED_REQUEST] = "request",
};

static int64_t boottime_ms(void)
{
	struct timespec now;

	/* A clock that fails makes the state infinitely old: in doubt, reseed. */
	if (clock_gettime(CLOCK_BOOTTIME, &now) < 0)
		return INT64_MAX;
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static enum reseed_reason reseed_due(const struct reseed *reseed, int64_t now_ms)
{
	if (reseed->pending != RESEED_NONE)
		return reseed->pending;
	/* Before its own birth: the process was restored on a machine with a younger clock. */
	if (now_ms < reseed->seeded_at_ms || now_ms - reseed->seeded_at_ms >= reseed->interval_ms)
		return RESEED_AGE;
	if (reseed->bytes_since_seed >= RESEED_MAX_BYTES)
		return RESEED_VOLUME;
	return RESEED_NONE;
}

/* K = BLAKE2b-256(key = K, message): the old key stays in it, so a bad source cannot hurt. */
static int mix_seed(struct reseed *reseed, bool may_block)
{
	struct reseed_secret *secret = reseed->secret;
	size_t message_bytes;
	int err;

	err = entropy_gather(&reseed->entropy, may_block, secret->message, &message_bytes);
	if (err)
		goto out;
	if (crypto_generichash_blake2b(secret->next_key, sizeof(secret->next_key), secret->message,
				       message_bytes, secret->rng.key,
				       sizeof(secret->rng.key)) != 0) {
		err = -EIO;
		goto out;
	}
	rng_rekey(&secret->rng, secret->next_key);
out:
	wipe(secret->message, sizeof(secret->message));
	wipe(secret->next_key, sizeof(secret->next_key));
	cpu_wipe_vectors(); /* BLAKE2b is not ours: it leaves keys in them */
	wipe_stack();
	return err;
}

static void note_failure(struct reseed *reseed, int err, int64_t now_ms)
{
	if (reseed->error == 0)
		log_error("reseed failed: %s; no bytes are served until one succeeds",
			  strerror(-err));
	reseed->failures++;
	reseed->failures_in_a_row++;
	reseed->error = err;
	reseed->backoff_ms *= 2;
	if (reseed->backoff_ms < RESEED_BACKOFF_MIN_MS)
		reseed->backoff_ms = RESEED_BACKOFF_MIN_MS;
	if (reseed->backoff_ms > RESEED_BACKOFF_MAX_MS)
		reseed->backoff_ms = RESEED_BACKOFF_MAX_MS;
	reseed->retry_at_ms = now_ms + reseed->backoff_ms;
}

static void note_success(struct reseed *reseed, enum reseed_reason reason, int64_t now_ms)
{
	if (reseed->error != 0)
		log_notice("reseed succeeded after %llu failures; serving again",
			   (unsigned long long)reseed->failures_in_a_row);
	reseed->error = 0;
	reseed->failures_in_a_row = 0;
	reseed->backoff_ms = 0;
	reseed->pending = RESEED_NONE;
	reseed->seeded_at_ms = now_ms;
	reseed->bytes_since_seed = 0;
	reseed->last_reason = reason;
	reseed->count++;
}

int reseed_check(struct reseed *reseed)
{
	int64_t now_ms = boottime_ms();
	enum reseed_reason reason = reseed_due(reseed, now_ms);
	int err;

	if (reason == RESEED_NONE)
		return 0;
	if (reseed->error != 0 && now_ms < reseed->retry_at_ms)
		return RESEED_E_UNAVAILABLE;
	err = mix_seed(reseed, false);
	if (err) {
		note_failure(reseed, err, now_ms);
		return RESEED_E_UNAVAILABLE;
	}
	note_success(reseed, reason, now_ms);
	return 0;
}

int reseed_fill(struct reseed *reseed, void *out, size_t len, uint64_t *generation)
{
	uint64_t nonce = 0;

	if (reseed_check(reseed) != 0)
		return RESEED_E_UNAVAILABLE;
	if (reseed->use_rdrand)
		cpu_rdrand64(&nonce); /* 0 when it fails, which is safe */
	rng_fill(&reseed->secret->rng, nonce, out, len);
	wipe_stack();
	wipe(&nonce, sizeof(nonce));
	reseed->bytes_since_seed += len;
	*generation = reseed->generation;
	return 0;
}

int reseed_init(struct reseed *reseed, int64_t interval_ms, bool use_memfd_secret)
{
	int err;

	memset(reseed, 0, sizeof(*reseed));
	err = secmem_alloc(&reseed->mem, sizeof(struct reseed_secret), use_memfd_secret);
	if (err) {
		log_error("cannot lock memory for the generator: %s; raise the limit on locked "
			  "memory (ulimit -l, LimitMEMLOCK=)",
			  strerror(-err));
		return err;
	}
	reseed->secret = reseed->mem.data;
	reseed->interval_ms = interval_ms;
	reseed->use_rdrand = cpu_has_rdrand();
	reseed->generation = RESEED_FIRST_GENERATION;

	err = mix_seed(reseed, true);
	if (err) {
		log_error("no first seed: %s", strerror(-err));
		reseed_deinit(reseed);
		return err;
	}
	note_success(reseed, RESEED_START, boottime_ms());
	return 0;
}

void reseed_deinit(struct reseed *reseed)
{
	secmem_free(&reseed->mem);
	memset(reseed, 0, sizeof(*reseed));
}

void reseed_want(struct reseed *reseed, enum reseed_reason reason)
{
	reseed->pending = reason;
}

const char *reseed_reason_name(enum reseed_reason reason)
{
	return reseed_reason_names[reason];
}

int64_t reseed_age_ms(const struct reseed *reseed)
{
	return boottime_ms() - reseed->seeded_at_ms;
}
