/*
 * Owns: the mapping a bare handle lives in; its descriptor once the open has succeeded. May touch:
 * the caller's descriptor while it opens. Never does: close a descriptor that it did not take, or
 * leave anything to be asked of the kernel later but read, write and close.
 */
#include "client/rngclient_fd.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "client/handle.h"
#include "client/local.h"

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

RNGCLIENT_EXPORT int rngclient_connect_fd(const char *socket_path, int timeout_ms)
{
	struct transport transport;
	int cancel_state, err;

	if (!socket_path)
		socket_path = RNGCLIENT_DEFAULT_SOCKET;
	if (*socket_path == '\0' || timeout_ms < -1)
		return -EINVAL;
	timeout_ms = timeout_ms ? timeout_ms : RNGCLIENT_DEFAULT_TIMEOUT_MS;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	err = transport_connect(&transport, socket_path, NULL, timeout_ms,
				transport_deadline(timeout_ms));
	pthread_setcancelstate(cancel_state, NULL);
	return err ? err : transport.fd;
}

/* Would a SIGPIPE end the process? */
static bool pipe_kills(void)
{
	struct sigaction action;
	sigset_t blocked;

	return sigaction(SIGPIPE, NULL, &action) == 0 && !(action.sa_flags & SA_SIGINFO) &&
	       action.sa_handler == SIG_DFL &&
	       !(pthread_sigmask(SIG_BLOCK, NULL, &blocked) == 0 &&
		 sigismember(&blocked, SIGPIPE) == 1);
}

static int check_fd(int fd)
{
	int domain, type;
	socklen_t size = sizeof(domain);
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return -errno;
	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0)
		return -errno;
	if (domain != AF_UNIX || type != SOCK_STREAM)
		return -EPROTOTYPE;
	return flags & O_NONBLOCK ? -EINVAL : 0;
}

static int set_up_fd(int fd, int timeout_ms)
{
	struct timeval tv = {0};

	if (timeout_ms > 0)
		tv = (struct timeval){timeout_ms / 1000, timeout_ms % 1000 * 1000};
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) < 0 ||
	    fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return -errno;
	return 0;
}

static size_t page_bytes(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

/* A multiple of the page size that holds `bytes`. */
static size_t whole_pages(size_t bytes)
{
	return (bytes + page_bytes() - 1) / page_bytes() * page_bytes();
}

static void *map_zeroes(size_t bytes)
{
	void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return map == MAP_FAILED ? NULL : map;
}

/* The handle, then one page that a child finds zeroed. NULL: no memory. */
static struct rngclient *map_handle(void)
{
	const size_t handle_bytes = whole_pages(sizeof(struct rngclient));
	uint8_t *map = map_zeroes(handle_bytes + page_bytes());
	struct rngclient *client = (struct rngclient *)map;

	if (!map)
		return NULL;
	session_init(&client->session);
	client->bare.mark = (uint32_t *)(map + handle_bytes);
	return client;
}

/* The descriptor is left alone. */
static void unmap_handle(struct rngclient *client)
{
	if (!client)
		return;
	guard_deinit(&client->session.guard);
	munmap(client, whole_pages(sizeof(*client)) + page_bytes());
}

/* From here on a child is told apart. */
static int set_mark(struct rngclient *client)
{
	uint32_t *mark = (uint32_t *)(uintptr_t)client->bare.mark;

#ifdef RNGD_TEST_FALLBACK
	(void)mark;
	return -EOPNOTSUPP;
#else
	if (madvise(mark, page_bytes(), MADV_WIPEONFORK) < 0)
		return errno == EINVAL ? -EOPNOTSUPP : -errno;
	*mark = BARE_HERE;
	return 0;
#endif
}

/*
 * The one exchange with poll and a clock, which proves that a daemon is there as well. The
 * transport needs a turn for as long as it is not bare, and waits in slices of its own, between
 * which it looks whether a signal handler forked: set_up_fd() comes after it.
 */
static int greet(struct rngclient *client, int fd, int timeout_ms, int64_t deadline_ns)
{
	struct transport *transport = &client->session.transport;
	const struct page_question question = {
	    .version = client->session.version,
	    .deadline_ns = deadline_ns,
	};
	struct turn turn;
	int err = turn_init(&turn);

	if (err)
		return err;
	*transport = (struct transport){.fd = fd, .turn = &turn};
	err = transport_set_timeout(transport, timeout_ms);
	if (!err)
		err = guard_prepare_bare(&client->session.guard, transport, &question);
	turn_deinit(&turn);
	transport->turn = NULL;
	transport->bare = &client->bare;
	if (err == -ESTALE)
		return -ECHILD;
	/* That name is taken: here it means SIGPIPE. */
	return err == -EPIPE ? -ECONNRESET : err;
}

static int make(struct rngclient **out, int fd, int timeout_ms)
{
	const int64_t deadline_ns = transport_deadline(timeout_ms);
	struct rngclient *client = NULL;
	int err = check_fd(fd);

	if (!err && pipe_kills())
		err = -EPIPE;
	if (!err) {
		client = map_handle();
		err = client ? set_mark(client) : -ENOMEM;
	}
	if (!err)
		err = greet(client, fd, timeout_ms, deadline_ns);
	if (!err)
		err = set_up_fd(fd, timeout_ms);
	if (err)
		unmap_handle(client);
	else
		*out = client;
	return err;
}

RNGCLIENT_EXPORT int rngclient_open_fd(struct rngclient **out, int fd, int timeout_ms)
{
	int cancel_state, err;

	if (!out)
		return -EINVAL;
	*out = NULL;
	if (timeout_ms < -1)
		return -EINVAL;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	err = make(out, fd, timeout_ms ? timeout_ms : RNGCLIENT_DEFAULT_TIMEOUT_MS);
	pthread_setcancelstate(cancel_state, NULL);
	return err;
}

static int make_local(struct rngclient_local **out, int fd, int timeout_ms)
{
	const size_t bytes = whole_pages(sizeof(struct rngclient_local));
	struct rngclient_local *local = map_zeroes(bytes);
	int err;

	if (!local)
		return -ENOMEM;
	local->bare = true;
	err = make(&local->seed.client, fd, timeout_ms);
	if (!err)
		err = local_begin(local);
	if (err) {
		statepage_deinit(&local->page);
		unmap_handle(local->seed.client);
		munmap(local, bytes);
		return err;
	}
	*out = local;
	return 0;
}

RNGCLIENT_EXPORT int rngclient_local_open_fd(struct rngclient_local **out, int fd, int timeout_ms)
{
	int cancel_state, err;

	if (!out)
		return -EINVAL;
	*out = NULL;
	if (timeout_ms < -1)
		return -EINVAL;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	err = make_local(out, fd, timeout_ms ? timeout_ms : RNGCLIENT_DEFAULT_TIMEOUT_MS);
	pthread_setcancelstate(cancel_state, NULL);
	return err;
}
