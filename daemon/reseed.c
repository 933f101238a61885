/*
 * Owns: the generator's state. May touch: the entropy sources, RDRAND, CLOCK_BOOTTIME.
 * Never does: hand out bytes from a state past its age, or keep a seed after it was mixed in.
 */
#include "daemon/reseed.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "crypto/rng.h"
#include "daemon/hash.h"
#include "daemon/log.h"
#include "host/cpu.h"

struct reseed_secret {
	struct rng rng;
	uint8_t next_key[RNG_KEY_BYTES];
	uint8_t message[ENTROPY_MESSAGE_BYTES];
	/* Everything that bumps brought, hashed together; zero until there was one. */
	uint8_t host[HASH_BYTES];
	/* What clients contributed since the last reseed, hashed together. */
	uint8_t pool[HASH_BYTES];
	uint8_t next_digest[HASH_BYTES];
};

_Static_assert(3 + EPOCH_VALUES_BYTES + 2 * (3 + HASH_BYTES) <= ENTROPY_GIVEN_MAX_BYTES,
	       "rows given");

static const char *const reseed_reason_names[] = {
    [RESEED_NONE] = "none",     [RESEED_START] = "start",     [RESEED_AGE] = "age",
    [RESEED_VOLUME] = "volume", [RESEED_REQUEST] = "request", [RESEED_EPOCH] = "epoch",
    [RESEED_FOLLOW] = "follow",
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
	if (reseed->epoch->moves != reseed->moves_seen)
		return RESEED_EPOCH;
	if (reseed->pending != RESEED_NONE)
		return reseed->pending;
	/* Before its own birth: the process was restored on a machine with a younger clock. */
	if (now_ms < reseed->seeded_at_ms || now_ms - reseed->seeded_at_ms >= reseed->interval_ms)
		return RESEED_AGE;
	if (reseed->bytes_since_seed >= RESEED_MAX_BYTES)
		return RESEED_VOLUME;
	if (now_ms - reseed->seeded_at_ms >= RESEED_FOLLOW_MS && epoch_follows(reseed->epoch))
		return RESEED_FOLLOW;
	return RESEED_NONE;
}

/* K = BLAKE2b-256(key = K, message): the old key stays in it, so a bad source cannot hurt. */
static int mix_seed(struct reseed *reseed, bool may_block)
{
	struct reseed_secret *secret = reseed->secret;
	uint8_t values[EPOCH_VALUES_BYTES];
	const struct entropy_given given[] = {
	    {ENTROPY_ID_EPOCH, values, epoch_values(reseed->epoch, values)},
	    {ENTROPY_ID_HOST, secret->host, reseed->epoch->bumps > 0 ? sizeof(secret->host) : 0},
	    {ENTROPY_ID_POOL, secret->pool, reseed->contributed > 0 ? sizeof(secret->pool) : 0},
	};
	size_t message_bytes;
	int err;

	err = entropy_gather(&reseed->entropy, may_block, given, sizeof(given) / sizeof(given[0]),
			     secret->message, &message_bytes);
	if (err)
		goto out;
	/* One that repeats itself tells no siblings apart either. */
	if (entropy_dropped(&reseed->entropy, ENTROPY_ID_RDRAND))
		reseed->use_rdrand = false;
	err = hash_256(secret->next_key, secret->rng.key, sizeof(secret->rng.key), secret->message,
		       message_bytes);
	if (err)
		goto out;
	rng_rekey(&secret->rng, secret->next_key);
	wipe(secret->pool, sizeof(secret->pool));
	reseed->contributed = 0;
out:
	wipe(secret->message, sizeof(secret->message));
	wipe(secret->next_key, sizeof(secret->next_key));
	cpu_wipe_vectors(); /* BLAKE2b is not ours: it leaves keys in them */
	wipe_stack();
	return err;
}

static void note_failure(struct reseed *reseed, enum reseed_reason reason, int err, int64_t now_ms)
{
	if (reseed->error == 0)
		log_event(LOG_EVENT_RESEED_FAILED, LOG_LEVEL_ERROR,
			  "reseed failed: %s; no bytes are served until one succeeds",
			  strerror(-err));
	/* What made it due may pass by itself; that it failed does not. */
	if (reseed->pending == RESEED_NONE)
		reseed->pending = reason;
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

static void note_success(struct reseed *reseed, enum reseed_reason reason, uint64_t moves,
			 int64_t now_ms)
{
	if (reseed->error != 0)
		log_event(LOG_EVENT_RESEED_RESUMED, LOG_LEVEL_NOTICE,
			  "reseed succeeded after %llu failures; serving again",
			  (unsigned long long)reseed->failures_in_a_row);
	reseed->error = 0;
	reseed->failures_in_a_row = 0;
	reseed->backoff_ms = 0;
	reseed->pending = RESEED_NONE;
	reseed->seeded_at_ms = now_ms;
	reseed->bytes_since_seed = 0;
	reseed->moves_seen = moves;
	reseed->last_reason =
	    reason == RESEED_EPOCH ? reseed->epoch->mover : reseed_reason_names[reason];
	reseed->count++;
}

/* What the detectors say by now is `moves`; the state is renewed if that or anything else is due.
 */
static int renew(struct reseed *reseed, uint64_t moves)
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
		note_failure(reseed, reason, err, now_ms);
		return RESEED_E_UNAVAILABLE;
	}
	note_success(reseed, reason, moves, now_ms);
	if (reason != RESEED_EPOCH)
		epoch_renewed(reseed->epoch);
	return 0;
}

int reseed_check(struct reseed *reseed, enum epoch_depth depth)
{
	epoch_look(reseed->epoch, depth);
	return renew(reseed, reseed->epoch->moves);
}

/* Hashes bytes into digest, one of the two in the secret. 0 or -EIO. */
static int absorb(struct reseed_secret *secret, uint8_t digest[HASH_BYTES], const void *bytes,
		  size_t len)
{
	int err = hash_256(secret->next_digest, digest, HASH_BYTES, bytes, len);

	if (!err)
		memcpy(digest, secret->next_digest, HASH_BYTES);
	wipe(secret->next_digest, sizeof(secret->next_digest));
	cpu_wipe_vectors();
	wipe_stack();
	return err;
}

int reseed_host(struct reseed *reseed, const void *bytes, size_t len)
{
	return absorb(reseed->secret, reseed->secret->host, bytes, len);
}

int reseed_contribute(struct reseed *reseed, const void *bytes, size_t len)
{
	int err = absorb(reseed->secret, reseed->secret->pool, bytes, len);

	if (!err)
		reseed->contributed += len;
	return err;
}

/* Without RDRAND, what is made now may be made in a sibling as well. */
static bool is_twin(const struct reseed *reseed)
{
	return !reseed->use_rdrand && epoch_may_be_twin(reseed->epoch);
}

const char *reseed_refuses(const struct reseed *reseed)
{
	if (reseed->error != 0)
		return strerror(-reseed->error);
	return is_twin(reseed) ? "a sibling may be in the same state" : NULL;
}

/* Was there a nonce of RDRAND's in it? Without one it is as secret, but a twin makes the same. */
static bool make(struct reseed *reseed, void *out, size_t len)
{
	uint64_t nonce = 0;
	bool told_apart = reseed->use_rdrand && cpu_rdrand64(&nonce);

	rng_fill(&reseed->secret->rng, nonce, out, len);
	wipe_stack();
	wipe(&nonce, sizeof(nonce));
	reseed->bytes_since_seed += len;
	return told_apart;
}

int reseed_fill(struct reseed *reseed, void *out, size_t len, uint64_t *generation)
{
	for (int tries = 0; tries <= RESEED_RESTARTS; tries++) {
		/* The first time this asks the detectors; then they have just been asked. */
		int err = tries == 0 ? reseed_check(reseed, EPOCH_BEFORE)
				     : renew(reseed, reseed->epoch->moves);

		if (err)
			return err;
		if (is_twin(reseed))
			return RESEED_E_AGAIN;
		if (!make(reseed, out, len) && epoch_may_be_twin(reseed->epoch)) {
			wipe(out, len);
			return RESEED_E_AGAIN;
		}
		epoch_look(reseed->epoch, EPOCH_AFTER);
		if (reseed->epoch->moves == reseed->moves_seen) {
			*generation = reseed->epoch->generation;
			return 0;
		}
		wipe(out, len);
		reseed->restarts++;
	}
	return RESEED_E_AGAIN;
}

int reseed_init(struct reseed *reseed, struct epoch *epoch, int64_t interval_ms,
		bool use_memfd_secret)
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
	reseed->epoch = epoch;

	err = mix_seed(reseed, true);
	if (err) {
		log_error("no first seed: %s", strerror(-err));
		reseed_deinit(reseed);
		return err;
	}
	note_success(reseed, RESEED_START, epoch->moves, boottime_ms());
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

int64_t reseed_age_ms(const struct reseed *reseed)
{
	return boottime_ms() - reseed->seeded_at_ms;
}
