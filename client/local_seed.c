/*
 * Owns: one handle of the library's own. May touch: it, getrandom(2), the clock of the lease. Never
 * does: keep a copy of a seed, or give one that either source alone decides, but over a bare
 * client.
 */
#include "client/local_seed.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "client/errand.h"
#include "client/handle.h"
#include "client/rngclient.h"
#include "proto/epoch_page.h"

#define NS_PER_S 1000000000ull

/* What one getrandom(2) gives at most on any kernel. */
#define LOCAL_SEED_KERNEL_BYTES_MAX (1u << 24)

int local_seed_connect(struct local_seed *seed, int timeout_ms)
{
	return seed->client ? 0 : rngclient_open(&seed->client, seed->path, timeout_ms);
}

static int get_exchange(struct session *session, const struct errand *errand, int64_t deadline_ns)
{
	return session_ask_bytes(session, errand->out, errand->out_bytes, deadline_ns);
}

int local_seed_kernel(void *buf, size_t len)
{
	uint8_t *at = buf;

	while (len > 0) {
		size_t part = len < LOCAL_SEED_KERNEL_BYTES_MAX ? len : LOCAL_SEED_KERNEL_BYTES_MAX;
		ssize_t n = getrandom(at, part, 0);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			at += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

int local_seed_take(struct local_seed *seed, uint8_t key[LOCAL_SEED_BYTES],
		    struct local_seed_mark *mark, int64_t deadline_ns)
{
	uint8_t daemon[LOCAL_SEED_BYTES] = {0};
	const struct errand errand = {
	    .exchange = get_exchange,
	    .guarded = true,
	    .out = daemon,
	    .out_bytes = sizeof(daemon),
	};
	const struct guard *guard = &seed->client->session.guard;
	const bool bare = seed->client->bare.mark != NULL;
	/*
	 * What alone is a seed stands nowhere but at key: a fork in another thread copies this
	 * stack, where it finds the daemon's half. There is no getrandom(2) in a bare client.
	 */
	int err = bare ? bare_get(seed->client, key, LOCAL_SEED_BYTES)
		       : errand_run(seed->client, &errand, deadline_ns);

	if (!err && !bare)
		err = local_seed_kernel(key, LOCAL_SEED_BYTES);
	if (!err && !guard->page.map)
		err = -ENODATA;
	if (!err) {
		local_seed_mix(key, daemon, key); /* zeroes change nothing */
		/* Read before the daemon's last look: whatever moves after that is a difference. */
		*mark = (struct local_seed_mark){&guard->page.map->look_again,
						 guard->agreed.look_again};
	} else {
		explicit_bzero(key, LOCAL_SEED_BYTES);
	}
	explicit_bzero(daemon, sizeof(daemon));
	return err;
}

/* Time asleep counts: somebody who slept watched nothing. */
static bool is_watched(const struct epoch_page *page)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return epoch_page_lease_ns(page) > (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

bool local_seed_holds(struct local_seed *seed)
{
	struct guard *guard = &seed->client->session.guard;
	const struct guard_token now = guard_read(guard);

	return !guard_is_blind(guard, &now) && guard_agrees(guard, &now) &&
	       is_watched(guard->page.map);
}

int local_seed_pause(int *pause_ms, int64_t deadline_ns)
{
	return errand_pause(pause_ms, deadline_ns) ? -EAGAIN : 0;
}

bool local_seed_is_forked(const struct local_seed *seed)
{
	if (!seed->client)
		return false;
	return seed->client->bare.mark ? !bare_is_ours(&seed->client->bare)
				       : !turn_is_ours(&seed->client->turn);
}

int local_seed_straight(struct local_seed *seed, void *out, size_t len)
{
	return bare_get(seed->client, out, len);
}

void local_seed_deinit(struct local_seed *seed)
{
	rngclient_close(seed->client);
	seed->client = NULL;
}
