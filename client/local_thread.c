/*
 * Owns: each thread's own generator. May touch: thread-specific data. Never does: let one thread
 * reach another's, or keep one after its thread.
 *
 * The state at file scope here is each thread's, but for three: the key whose destructor runs when
 * a thread ends, made once; a count of the times that everything was told to take a new seed, which
 * belongs to the process because a fork does; and the last number that was given to a thread.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/random.h>

#include "client/handle.h"
#include "client/local.h"

/* What one getrandom(2) gives at most (lib/iov_iter's limit in the kernel's generator). */
#define GETRANDOM_MAX_BYTES 33554431u

/* The key, and whether there is one. */
struct local_exit {
	pthread_key_t key;
	int err;
};

LOCAL_TLS _Thread_local struct rngclient_local *local_thread_own;
LOCAL_TLS _Thread_local uintptr_t local_thread_number;
static LOCAL_FAST_TLS _Thread_local bool making; /* a signal came while it was made */

LOCAL_HIDDEN uint32_t local_rekeys;

static struct local_exit local_exit;
static uintptr_t last_number;

/* A handler in between may take one for the thread too, and is over before this one counts. */
uintptr_t local_thread_count(void)
{
	if (local_thread_number == 0)
		local_thread_number = __atomic_add_fetch(&last_number, 1, __ATOMIC_RELAXED);
	return local_thread_number;
}

static void at_exit(void *own)
{
	local_thread_own = NULL;
	rngclient_local_close(own);
}

static void make_key(void)
{
	local_exit.err = pthread_key_create(&local_exit.key, at_exit);
}

static int open_own(const char *socket_path, int timeout_ms, unsigned int options)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct rngclient_local *own;
	int err;

	pthread_once(&once, make_key);
	if (local_exit.err)
		return -local_exit.err;
	err = rngclient_local_open(&own, socket_path, timeout_ms, options);
	if (err)
		return err;
	err = pthread_setspecific(local_exit.key, own);
	if (err) { /* nobody would wipe it */
		rngclient_local_close(own);
		return -err;
	}
	local_thread_own = own;
	return 0;
}

RNGCLIENT_EXPORT int rngclient_local_open_thread(const char *socket_path, int timeout_ms,
						 unsigned int options)
{
	int cancel_state, err;

	if (local_thread_own)
		return -EALREADY;
	if (making)
		return -EDEADLK;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	making = true;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	err = open_own(socket_path, timeout_ms, options);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	making = false;
	pthread_setcancelstate(cancel_state, NULL);
	return err;
}

int local_thread_first(void *out, size_t len)
{
	int err = rngclient_local_open_thread(NULL, 0, 0);

	if (!err)
		return rngclient_local_bytes(local_thread_own, out, len);
	explicit_bzero(out, len);
	return err;
}

RNGCLIENT_EXPORT int rngclient_after_fork(int in_child)
{
	uint8_t byte;
	int err;

	(void)in_child; /* what must be done is the same on both sides */
	__atomic_add_fetch(&local_rekeys, 1, __ATOMIC_RELEASE);
	if (!local_thread_own)
		return 0;
	err = rngclient_local_bytes(local_thread_own, &byte, sizeof(byte));
	explicit_bzero(&byte, sizeof(byte));
	return err;
}

static int draw(void *buf, size_t len)
{
	int err = 0;

	if (!local_thread_own)
		err = rngclient_local_open_thread(NULL, 0, RNGCLIENT_LOCAL_GETRANDOM);
	return err ? err : rngclient_local_bytes(local_thread_own, buf, len);
}

RNGCLIENT_EXPORT ssize_t rngclient_getrandom(void *buf, size_t len, unsigned int flags)
{
	int saved_errno = errno;
	ssize_t n;

	if (len > GETRANDOM_MAX_BYTES)
		len = GETRANDOM_MAX_BYTES;
	/* With any flag the caller wants something of the kernel: not to wait, another pool. */
	if (flags != 0 || (!buf && len > 0) || draw(buf, len) != 0)
		n = getrandom(buf, len, flags);
	else
		n = (ssize_t)len;
	if (n >= 0)
		errno = saved_errno;
	return n;
}
