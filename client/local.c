/*
 * Owns: the generators: each one's page and source of seeds. May touch: the caller's buffers during
 * a call, RDRAND. Never does: give a byte of state that anything speaks against, or half an answer.
 */
#include "client/local.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "client/handle.h"
#include "client/transport.h"
#include "crypto/chacha20.h"
#include "host/cpu.h"

/* All there are. */
#define LOCAL_OPTIONS ((unsigned int)RNGCLIENT_LOCAL_GETRANDOM)

_Static_assert(LOCAL_SEED_BYTES == RNG_KEY_BYTES, "a seed is a key");
_Static_assert(LOCAL_SMALL_BYTES <= LOCAL_BATCH_BYTES, "a small request fits a batch");

/* What speaks against the state while bytes are made: they are thrown away and made anew. */
enum local_result {
	LOCAL_OK = 0,
	LOCAL_E_MOVED = 1,
};

/* One call's dealings with the daemon. */
struct local_try {
	int64_t deadline_ns; /* 0: not asked yet */
	int pause_ms;
	int count; /* of a bare one */
};

/*
 * Does nothing speak against what was read from the page before? Where two counters must tell of a
 * fork, this counts.
 */
static bool is_whole(struct rngclient_local *local)
{
	return local_is_current(&local->mark) && local_is_marked(local->page.data, local->marker) &&
	       local_vmclock_holds(&local->vmclock) && statepage_is_ours(&local->page);
}

/* May the state be used for another batch? */
static bool holds(struct rngclient_local *local)
{
	return local->mark.look_again && is_whole(local) &&
	       __atomic_load_n(&local_rekeys, __ATOMIC_RELAXED) == local->rekeys &&
	       local_seed_holds(&local->seed);
}

static uint64_t nonce(const struct rngclient_local *local)
{
	uint64_t value = 0;

	return local->has_rdrand && cpu_rdrand64(&value) ? value : 0;
}

/* No byte of the state can be used after this. */
static void forget(struct rngclient_local *local)
{
	struct local_state *state = local->page.data;

	local->left_bytes = local->aside_bytes = 0;
	local->mark.look_again = NULL; /* its mapping may go with the next question */
	explicit_bzero(state, sizeof(*state));
}

/*
 * State from a new seed. The marker first: a page that is dropped, or that a fork wipes, on the way
 * to the key loses it, and with it what parent and child would otherwise both have.
 */
static int new_state(struct rngclient_local *local, int64_t deadline_ns)
{
	struct local_state *state = local->page.data;
	struct local_seed_mark mark;
	int err;

	forget(local);
	local_vmclock_note(&local->vmclock);
	local->rekeys = __atomic_load_n(&local_rekeys, __ATOMIC_ACQUIRE);
	/* A bare one locks nothing, and needs not: in a child it gets no seed. */
	err = local->bare ? 0 : statepage_renew(&local->page);
	if (err)
		return err;
	local->marker++;
	__atomic_store_n(&state->marker, local->marker, __ATOMIC_RELEASE);
	local_fence();
	err = local_seed_take(&local->seed, state->rng.key, &mark, deadline_ns);
	if (err)
		return err;
	local_fence();
	local->mark = mark;
	return 0;
}

/* Fresh by being asked for now: without a clock nothing else says that somebody watches. */
static int reseed_bare(struct rngclient_local *local, struct local_try *try)
{
	int err =
	    try->count++ < LOCAL_BARE_TRIES ? new_state(local, TRANSPORT_NO_DEADLINE) : -EAGAIN;

	if (err)
		forget(local);
	return err;
}

/* Asks the daemon until what it gave holds. */
static int reseed(struct rngclient_local *local, struct local_try *try)
{
	int timeout_ms = local->timeout_ms;
	int err;

	if (local->bare)
		return reseed_bare(local, try);
	if (local->options & RNGCLIENT_LOCAL_GETRANDOM &&
	    (timeout_ms < 0 || timeout_ms > LOCAL_PATIENCE_MS))
		timeout_ms = LOCAL_PATIENCE_MS;
	if (try->deadline_ns == 0)
		try->deadline_ns = transport_deadline(timeout_ms);
	err = local_seed_connect(&local->seed, timeout_ms);
	while (!err) {
		err = local_seed_pause(&try->pause_ms, try->deadline_ns);
		if (!err)
			err = new_state(local, try->deadline_ns);
		if (!err && holds(local))
			return 0;
	}
	forget(local);
	return err;
}

/* Counted before and after; false as local_from_batch(). */
static bool from_batch(struct rngclient_local *local, void *out, size_t len)
{
	return statepage_is_ours(&local->page) && local_from_batch(local, out, len) &&
	       statepage_is_ours(&local->page);
}

/* Only when the state holds. */
static int small(struct rngclient_local *local, void *out, size_t len)
{
	struct local_state *state = local->page.data;

	rng_fill(&state->rng, nonce(local), state->batch, sizeof(state->batch));
	local->left_bytes = sizeof(state->batch);
	return from_batch(local, out, len) ? 0 : LOCAL_E_MOVED;
}

/* The same. What is in the batch stays there. */
static int large(struct rngclient_local *local, uint8_t *out, size_t len)
{
	struct local_state *state = local->page.data;
	size_t part;

	for (;;) {
		part = len < LOCAL_CHUNK_BYTES ? len : LOCAL_CHUNK_BYTES;
		rng_fill(&state->rng, nonce(local), out, part);
		local_fence();
		out += part;
		len -= part;
		if (len == 0)
			return is_whole(local) ? 0 : LOCAL_E_MOVED;
		if (!holds(local))
			return LOCAL_E_MOVED;
	}
}

static int produce(struct rngclient_local *local, void *out, size_t len)
{
	struct local_try try = {0};
	int err;

	local->left_bytes += local->aside_bytes;
	local->aside_bytes = 0;
	if (len <= LOCAL_SMALL_BYTES && local->left_bytes >= len && from_batch(local, out, len))
		return 0;
	if (local->bare && len > LOCAL_SMALL_BYTES)
		return local_seed_straight(&local->seed, out, len);
	do {
		err = !local->bare && holds(local) ? 0 : reseed(local, &try);
		if (!err)
			err = len > LOCAL_SMALL_BYTES ? large(local, out, len)
						      : small(local, out, len);
	} while (err == LOCAL_E_MOVED);
	return err;
}

/*
 * For who asked for the kernel's bytes when the daemon cannot give a seed: it is left alone for a
 * while. One that is there and refuses may know of a copy of this machine, and of a kernel that
 * gives the same there: then nothing is given.
 */
static void leave_alone(struct rngclient_local *local, int reason)
{
	local->alone_until_ns = transport_deadline(LOCAL_ALONE_MS);
	local->alone_err = reason == -EAGAIN ? reason : 0;
}

static int do_without(const struct rngclient_local *local, void *out, size_t len)
{
	return local->alone_err ? local->alone_err : local_seed_kernel(out, len);
}

static bool leaves_alone(const struct rngclient_local *local)
{
	return local->alone_until_ns != 0 && transport_deadline(0) < local->alone_until_ns;
}

int local_fill(struct rngclient_local *local, void *out, size_t len)
{
	int cancel_state, err;

	/* A thread cancelled half way would be inside for ever. */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	if (leaves_alone(local)) {
		err = do_without(local, out, len);
	} else {
		local->alone_until_ns = 0;
		err = produce(local, out, len);
		if (err && local->options & RNGCLIENT_LOCAL_GETRANDOM) {
			leave_alone(local, err);
			err = do_without(local, out, len);
		}
	}
	if (local->page.shared) { /* every draw must count, which the fast path does not */
		local->aside_bytes = local->left_bytes;
		local->left_bytes = 0;
	}
	if (err)
		explicit_bzero(out, len);
	local_leave(local);
	pthread_setcancelstate(cancel_state, NULL);
	return err;
}

/* Is who is inside a thread of the parent's, which does not come back? */
static bool is_left_behind(const struct rngclient_local *local, uintptr_t inside)
{
	return inside != local_thread_count() && local_seed_is_forked(&local->seed);
}

/*
 * Below this call there is another one on this thread, which a signal interrupted, and the state is
 * in its hands. Or there was one on a thread of the parent's: that one does not come back. Or the
 * thread had no number yet, and nothing is in the way.
 */
int local_refuse(struct rngclient_local *local, void *out, size_t len)
{
	const uintptr_t inside = __atomic_load_n(&local->in_use, __ATOMIC_RELAXED);
	int err = -EDEADLK;

	(void)local_thread_count();
	if (inside == 0) {
		local_enter(local);
		return local_fill(local, out, len);
	}
	if (is_left_behind(local, inside)) {
		local_enter(local);
		forget(local);
		return local_fill(local, out, len);
	}
	if (local->options & RNGCLIENT_LOCAL_GETRANDOM)
		err = local_seed_kernel(out, len);
	if (err)
		explicit_bzero(out, len);
	return err;
}

/* The cipher's dispatch is the process's, and constant once it is chosen. */
static void choose_cipher(void)
{
	chacha20_select((cpu_has_avx2() ? CHACHA20_ISA_AVX2 : 0u) |
			(cpu_has_avx512() ? CHACHA20_ISA_AVX512 : 0u));
}

int local_begin(struct rngclient_local *local)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct local_try try = {0};
	int err;

	pthread_once(&once, choose_cipher);
	local->has_rdrand = cpu_has_rdrand();
	err = statepage_init(&local->page, sizeof(struct local_state));
	if (err)
		return err;
	err = reseed(local, &try);
	if (err && local->options & RNGCLIENT_LOCAL_GETRANDOM) {
		leave_alone(local, err);
		err = 0;
	}
	return err;
}

RNGCLIENT_EXPORT int rngclient_local_open(struct rngclient_local **out, const char *socket_path,
					  int timeout_ms, unsigned int options)
{
	struct rngclient_local *local;
	int cancel_state, err;

	if (!out)
		return -EINVAL;
	*out = NULL;
	if (!socket_path)
		socket_path = RNGCLIENT_DEFAULT_SOCKET;
	if (*socket_path == '\0' || timeout_ms < -1 || options & ~LOCAL_OPTIONS)
		return -EINVAL;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	local = calloc(1, sizeof(*local));
	err = local ? 0 : -ENOMEM;
	if (!err) {
		local->timeout_ms = timeout_ms ? timeout_ms : RNGCLIENT_DEFAULT_TIMEOUT_MS;
		local->options = options;
		local->seed.path = strdup(socket_path);
		err = local->seed.path ? local_begin(local) : -ENOMEM;
	}
	if (err)
		rngclient_local_close(local);
	else
		*out = local;
	pthread_setcancelstate(cancel_state, NULL);
	return err;
}

RNGCLIENT_EXPORT void rngclient_local_close(struct rngclient_local *local)
{
	int saved_errno = errno;

	if (local && local->bare) {
		forget(local);
		local_seed_deinit(&local->seed);
	} else if (local) {
		statepage_deinit(&local->page);
		local_vmclock_unmap(&local->vmclock);
		local_seed_deinit(&local->seed);
		free((char *)(uintptr_t)local->seed.path);
		free(local);
	}
	errno = saved_errno;
}

/* given becomes the generator's on success, and there is no state that is not tied to it. */
static int take_vmclock(struct rngclient_local *local, const struct local_vmclock *given)
{
	uintptr_t inside = __atomic_load_n(&local->in_use, __ATOMIC_RELAXED);
	struct local_vmclock before;

	(void)local_thread_count(); /* local_enter() needs it */
	if (inside != 0 && !is_left_behind(local, inside))
		return -EDEADLK;
	local_enter(local);
	forget(local);
	before = local->vmclock;
	local->vmclock = *given;
	local_leave(local);
	local_vmclock_unmap(&before);
	return 0;
}

RNGCLIENT_EXPORT int rngclient_local_vmclock(struct rngclient_local *local, int fd)
{
	struct local_vmclock given;
	int err;

	local = local_meant(local);
	if (local && local->bare)
		return -EOPNOTSUPP;
	err = local_vmclock_map(&given, fd);
	if (err)
		return err;
	if (!local) {
		err = rngclient_local_open_thread(NULL, 0, 0);
		local = local_thread_own;
	}
	if (!err)
		err = take_vmclock(local, &given);
	if (err)
		local_vmclock_unmap(&given);
	return err;
}

RNGCLIENT_EXPORT LOCAL_FAST_CODE int rngclient_local_bytes(struct rngclient_local *local, void *buf,
							   size_t len)
{
	if (!buf && len > 0)
		return -EINVAL;
	if (len == 0)
		return 0;
	local = local_meant(local);
	if (!local)
		return local_thread_first(buf, len);
	if (len <= LOCAL_SMALL_BYTES)
		return local_draw(local, buf, len);
	if (local_is_refused(local))
		return local_refuse(local, buf, len);
	local_enter(local);
	return local_fill(local, buf, len);
}
