/*
 * Owns: the descriptor it was given. May touch: read, write and close of it, and the caller's
 * buffer during a call. Never does: make any other system call, look at a clock, read on after a
 * reply that did not come whole, or leave a byte of the parent's in a child.
 */
#include "client/bare.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "client/handle.h"

/* Without a clock, a number: how often bytes that a clone overtook are asked for anew in a call. */
#define BARE_TRIES 4

int bare_write(const struct bare *bare, int fd, const void *data, size_t len)
{
	const char *at = data;
	ssize_t n;

	while (len > 0) {
		if (!bare_is_ours(bare))
			return -ECHILD;
		n = write(fd, at, len);
		if (n > 0) {
			at += n;
			len -= (size_t)n;
		} else if (n == 0 || errno == EAGAIN) {
			return -ETIMEDOUT;
		} else if (errno != EINTR) {
			return -errno;
		}
	}
	return 0;
}

int bare_read(const struct bare *bare, int fd, struct iovec *iov, int iov_count, size_t *received)
{
	ssize_t n;

	while (iov_count > 1 && iov->iov_len == 0) {
		iov++;
		iov_count--;
	}
	for (;;) {
		if (!bare_is_ours(bare))
			return -ECHILD;
		n = read(fd, iov->iov_base, iov->iov_len);
		if (n > 0)
			break;
		if (n == 0)
			return -ECONNRESET;
		if (errno == EAGAIN)
			return -ETIMEDOUT;
		if (errno != EINTR)
			return -errno;
	}
	*received = (size_t)n;
	iov->iov_base = (char *)iov->iov_base + n;
	iov->iov_len -= (size_t)n;
	return 0;
}

/* One caller at a time. Whatever may have left something in the stream is the end of it. */
static int ask(struct rngclient *client, void *out, size_t len)
{
	int err = SESSION_E_MOVED;

	if (client->bare.broken)
		return -ENOTCONN;
	for (int i = 0; i < BARE_TRIES && err == SESSION_E_MOVED; i++)
		err = session_ask_bytes(&client->session, out, len, TRANSPORT_NO_DEADLINE);
	/* A handler may have forked when the last read was over: what came is the parent's. */
	if (!bare_is_ours(&client->bare))
		err = -ECHILD;
	/* These came as whole frames. A timeout is never -EAGAIN here, but -ETIMEDOUT. */
	if (err == SESSION_E_MOVED || err == SESSION_E_AGAIN || err == -EAGAIN)
		return -EAGAIN;
	client->bare.broken = err != 0;
	return err;
}

int bare_get(struct rngclient *client, void *out, size_t len)
{
	struct bare *bare = &client->bare;
	int cancel_state, err;

	if (!bare_is_ours(bare)) { /* first: in a child in_use may be that of a thread it has not */
		err = -ECHILD;
	} else if (__atomic_exchange_n(&bare->in_use, true, __ATOMIC_ACQUIRE)) {
		err = -EDEADLK;
	} else {
		/* A thread cancelled half way would be inside for ever. */
		pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
		err = ask(client, out, len);
		__atomic_store_n(&bare->in_use, false, __ATOMIC_RELEASE);
		pthread_setcancelstate(cancel_state, NULL);
	}
	if (err)
		explicit_bzero(out, len);
	return err;
}

void bare_close(struct rngclient *client)
{
	struct transport *transport = &client->session.transport;

	client->bare.broken = true;
	if (transport->fd >= 0)
		close(transport->fd);
	transport->fd = -1;
}
