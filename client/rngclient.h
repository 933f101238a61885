/*
 * rngclient - random bytes from rngd, the randomness daemon.
 *
 * The bytes come from a fast-key-erasure ChaCha20 generator in a sandboxed process without
 * privileges.
 *
 * All calls
 *   - return 0 or a negative errno value;
 *   - are all or nothing: on failure the output buffer is all zero bytes;
 *   - never log, never read environment variables, never raise SIGPIPE;
 *   - retry on EINTR, so a signal does not end a call early; the deadline still holds;
 *   - need nothing but libc. Every descriptor they open is close-on-exec. A system call filter must
 *     let pass, besides socket calls, what malloc needs and clock_gettime: mmap, munmap, madvise,
 *     fstat, fstatfs, fcntl, close, poll, ppoll, clock_nanosleep, getpid, futex and getrandom; for
 *     events epoll_create1, epoll_ctl, timerfd_create and timerfd_settime, but no epoll_wait and
 *     no read. For who lets next to nothing pass there are handles that need read, write and close:
 *     rngclient_fd.h.
 *
 * Threads: a handle may be shared. Calls on one handle run one after another, each
 * waiting for its turn within its own deadline, in no particular order; handles are independent, so
 * a thread that wants no waiting opens its own. The calls for events are apart from that: none of
 * them waits for another call, but the first rngclient_event_fd(). rngclient_close() must be the
 * last call on a handle. No call is a cancellation point. Signal handlers: do not call from one,
 * and do not longjmp() out of one past a call. One may fork() in the middle of a call: both sides
 * go on with it, but that call may, seldom, end with -EPROTO or -ETIMEDOUT on either side.
 *
 * fork(): parent and child may both go on using the handle. The child notices (also
 * after clone() without CLONE_VM and CLONE_FILES), drops its copy of the connection and makes its
 * own, so the two never share a stream. A child of vfork(), or of clone() with CLONE_VM or
 * CLONE_FILES, must not call anything here before exec. If another thread was inside a call at the
 * moment of fork(), the child may still use the handle.
 */
#ifndef RNGCLIENT_H
#define RNGCLIENT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Random bytes that were not checked for are the classic mistake. */
#if defined(__GNUC__)
#define RNGCLIENT_MUST_CHECK __attribute__((warn_unused_result))
#else
#define RNGCLIENT_MUST_CHECK
#endif

#define RNGCLIENT_VERSION_STRING "0.1.0"

/* Where the daemon listens unless told otherwise, for everybody and for its administrator. */
#define RNGCLIENT_DEFAULT_SOCKET  "/run/rngd/rngd.sock"
#define RNGCLIENT_DEFAULT_CONTROL "/run/rngd/control"

/* Where its epoch page is. */
#define RNGCLIENT_DEFAULT_EPOCH "/run/rngd/epoch"

/* With another socket, both are at its path and these. */
#define RNGCLIENT_CONTROL_SUFFIX ".control"
#define RNGCLIENT_EPOCH_SUFFIX   ".epoch"

/* Deadline of every call unless told otherwise, in milliseconds. */
#define RNGCLIENT_DEFAULT_TIMEOUT_MS 5000

/* Bytes that hold every status text, its final NUL included. */
#define RNGCLIENT_STATUS_BYTES 16385

/* What rngclient_bump() takes, in bytes. */
#define RNGCLIENT_BUMP_MIN_BYTES 32
#define RNGCLIENT_BUMP_MAX_BYTES 1024

/* What rngclient_contribute() takes at most, in bytes. */
#define RNGCLIENT_CONTRIBUTE_MAX_BYTES 1024

struct rngclient; /* one connection to the daemon; opaque */

/*
 * Makes a handle and connects it.
 *
 * *out: the handle, to be given to rngclient_close(); NULL on failure.
 * socket_path: where the daemon listens; NULL means RNGCLIENT_DEFAULT_SOCKET. Copied. Give an
 * absolute path: it is looked up again whenever the connection is made anew.
 * The first rngclient_get() connects to it once more, to be given the daemon's epoch page: a
 * process that is about to lose its access to the path makes one before.
 *
 * timeout_ms: the deadline of this call and of each later one on the handle, counted from its
 * start: 1 or more milliseconds, 0 for RNGCLIENT_DEFAULT_TIMEOUT_MS, -1 for none.
 *
 *   -EINVAL        out is NULL, socket_path is empty, or timeout_ms is below -1
 *   -ENAMETOOLONG  socket_path does not fit a UNIX socket address (107 bytes)
 *   -ENOENT        no socket there: rngd was never started
 *   -ECONNREFUSED  a socket file, but no daemon behind it
 *   -EACCES        no permission to connect
 *   -ETIMEDOUT     the daemon did not accept the connection by the deadline
 *   -ENOMEM, -EMFILE, -ENFILE  the process or the system is out of resources
 *   or another errno of socket(2) or connect(2): -ENOTDIR and -ELOOP for a path that cannot be
 *   followed, -EPROTOTYPE for a socket that is not a stream, ...
 */
int rngclient_open(struct rngclient **out, const char *socket_path,
		   int timeout_ms) RNGCLIENT_MUST_CHECK;

/*
 * Sets the deadline of each later call on this handle: 1 or more milliseconds, or -1 for none.
 * Waits for its turn under the new deadline.
 *
 *   -EINVAL     client is NULL or timeout_ms is 0 or below -1
 *   -ETIMEDOUT  calls of other threads lasted longer than that; nothing is changed
 */
int rngclient_set_timeout(struct rngclient *client, int timeout_ms);

/*
 * Fills buf with len random bytes (any len, 0 included), all made under one clone
 * generation: if the machine is found to be cloned while they arrive, they are thrown away and
 * asked for anew. Two words are watched for that, at no cost in system calls: one in the daemon's
 * epoch page, if it publishes one, and the generation of the kernel's own generator, where the vDSO
 * shows it. When one of them moved, the daemon is asked to look for itself.
 *
 * When the daemon restarts or closes the connection, the call connects again and repeats
 * the whole request until its deadline. An abandoned call drops its connection, so its
 * late bytes can never be taken for another call's.
 *
 *   -EINVAL        client is NULL, or buf is NULL with len not 0
 *   -EAGAIN        the daemon is running but refuses: its last reseed failed, or after a clone it
 *                  may be in the same state as a sibling until the kernel's reseed is seen (see
 *                  its status), or until the deadline its state aged again and again while the
 *                  bytes were made; try again later
 *   -ETIMEDOUT     not done by the deadline
 *   -ENOENT, -ECONNREFUSED  the daemon is gone, and was not back by the deadline
 *   -EBUSY         the daemon has as many connections as it takes, in all or of this user, and had
 *                  no room by the deadline
 *   -EACCES        no permission to connect again
 *   -EPROTO        the peer does not speak this protocol, or gave something for its epoch page that
 *                  is none
 *   -EPROTONOSUPPORT, -EOPNOTSUPP  the daemon speaks no protocol version that this library does, or
 *                  does not know this operation
 *   -ENOMEM, -EMFILE, -ENFILE  out of resources while reconnecting
 *   or another errno of rngclient_open()
 */
int rngclient_get(struct rngclient *client, void *buf, size_t len) RNGCLIENT_MUST_CHECK;

/*
 * Writes the daemon's status to text, as lines "name=value\n" ended by a NUL; value is a decimal
 * integer, true, false, or a string in double quotes. Names are listed in the
 * protocol document; ignore those you do not know. size: the bytes at text,
 * RNGCLIENT_STATUS_BYTES is always enough.
 *
 *   -EINVAL     client or text is NULL, or size is 0
 *   -EMSGSIZE   size is too small
 *   and all of rngclient_get() but -EAGAIN
 */
int rngclient_status(struct rngclient *client, char *text, size_t size) RNGCLIENT_MUST_CHECK;

/*
 * Has the daemon ask everything that can tell it of a clone now, rather than when it would have,
 * and sets *generation (NULL: not wanted; 0 on failure) to the clone generation after that. It is 1
 * until the first clone since the machine booted is found, and goes up with each.
 *
 *   -EINVAL      client is NULL
 *   -EOPNOTSUPP  the daemon is too old to know this operation
 *   and all of rngclient_get()
 */
int rngclient_look(struct rngclient *client, uint64_t *generation);

/*
 * Tells the daemon that this machine was cloned, which the host or whoever runs the machine may
 * know better than the machine does: the clone generation goes up, the state is reseeded, everybody
 * who watches the epoch page sees it. client: opened on the control socket.
 *
 * bytes: len bytes that no other copy of the machine is given, RNGCLIENT_BUMP_MIN_BYTES to
 * RNGCLIENT_BUMP_MAX_BYTES, and no copy of them is kept here. They are what makes the copies
 * differ. Without (len 0) the daemon must have a source of its own that does. *generation: the new
 * one, NULL if not wanted, 0 on failure.
 *
 * If the connection is lost before the answer, the call is repeated like any other: the
 * generation may then have gone up twice, which does no harm.
 *
 *   -EINVAL    client is NULL, bytes is NULL with len not 0, or len is out of range
 *   -EPERM     client was not opened on the control socket
 *   -EAGAIN    the generation went up, but the reseed failed: the daemon refuses to give bytes
 *              until one succeeds
 *   -ENOTUNIQ  no bytes, and nothing else that would make this machine differ from its copies;
 *              nothing was done
 *   and all of rngclient_look()
 */
int rngclient_bump(struct rngclient *client, const void *bytes, size_t len,
		   uint64_t *generation) RNGCLIENT_MUST_CHECK;

/*
 * Has the daemon reseed its generator from all its sources now. client: opened on the control
 * socket. The daemon does so by itself too, as often as is needed.
 *
 *   -EINVAL  client is NULL
 *   -EPERM   client was not opened on the control socket
 *   -EAGAIN  it was tried and failed: the daemon refuses to give bytes until it succeeds
 *   and all of rngclient_look()
 */
int rngclient_reseed(struct rngclient *client) RNGCLIENT_MUST_CHECK;

/* What the daemon last said of itself in its page. */
enum rngclient_epoch_state {
	RNGCLIENT_EPOCH_STOPPED = 0,
	RNGCLIENT_EPOCH_SERVING = 1,
	RNGCLIENT_EPOCH_REFUSING = 2 /* watches for clones, but has no bytes to give */
};

/*
 * What the epoch page shows. The caller sets size. Later versions of the library may add
 * fields at the end; what one does not know is left zero.
 */
struct rngclient_epoch {
	size_t size;         /* in: sizeof(struct rngclient_epoch) */
	uint64_t generation; /* clone generation, 1 on a new page */
	uint64_t look_again; /* moves with it, and whenever else the state aged */
	int64_t lease_ms;    /* for which somebody watches from now on; 0: nobody does */
	uint32_t epoch;      /* the page's first word: notifier in bits 31-24, counter below */
	uint32_t state;      /* enum rngclient_epoch_state */
	/* The last clone; all zero when there was none. */
	uint64_t event_generation;  /* which it began */
	uint64_t event_realtime_ns; /* when it was noticed, CLOCK_REALTIME */
	uint64_t event_boottime_ns; /* CLOCK_BOOTTIME */
	uint32_t event_notifier;    /* who noticed, a number of the protocol document */
	char event_notifier_name[20];
	uint8_t event_id[16]; /* random, for this event alone */
};

/*
 * Reads the page of the daemon that client was last connected to: no question goes to it. While
 * lease_ms is 0 nobody watches, and nothing of it can be trusted; after a get it is the present
 * daemon's again. The event may be newer than the fields before it. On failure all of *epoch but
 * size is zero.
 *
 *   -EINVAL   client or epoch is NULL, or epoch->size is not that of any version of the struct
 *   -ENODATA  the daemon publishes no page, or cannot pass it at the moment
 *   and all of rngclient_get() but -EAGAIN
 */
int rngclient_epoch_info(struct rngclient *client,
			 struct rngclient_epoch *epoch) RNGCLIENT_MUST_CHECK;

/*
 * The same from the page's file, whether a daemon runs or not. path: NULL means
 * RNGCLIENT_DEFAULT_EPOCH.
 *
 *   -EINVAL  epoch is NULL, epoch->size is as above, or path is empty
 *   -EPROTO  there is a file, but no epoch page in it
 *   or an errno of open(2), fstat(2) or mmap(2)
 */
int rngclient_epoch_file(const char *path, struct rngclient_epoch *epoch) RNGCLIENT_MUST_CHECK;

/* ---------------------------------------------------------------- events: acting on a clone */

/*
 * What became known of a clone. The caller sets size. Later versions of the library may add fields
 * at the end.
 */
struct rngclient_event {
	size_t size;          /* in: sizeof(struct rngclient_event) */
	uint64_t generation;  /* clone generation that it began: what is to be acknowledged */
	uint64_t realtime_ns; /* when it was noticed, CLOCK_REALTIME; 0: not known */
	uint64_t boottime_ns; /* CLOCK_BOOTTIME */
	uint32_t notifier;    /* who noticed, a number of the protocol document */
	char notifier_name[20];
	uint8_t id[16]; /* random, for this event alone; all zero: not known */
};

/*
 * Subscribes the handle to clone events, over a connection of its own, and returns a descriptor
 * that is readable (poll, select, epoll, any event loop) whenever rngclient_event_next() should be
 * called: an event came, or the connection needs care. It stays the same descriptor until
 * rngclient_close(), also over restarts of the daemon; it is close-on-exec, belongs to the handle,
 * and is to be polled and nothing else. Called again it returns the same one.
 *
 * The first call waits for the daemon, until the handle's deadline, and has the epoch page passed
 * as rngclient_get() does. Events that happen after it returned are not missed, whatever becomes of
 * the daemon meanwhile: it is connected to again, after 50 ms and then at most once a second,
 * whenever rngclient_event_next() is called, and told what was acknowledged last. Several that
 * happen before the first of them is read become one, the newest.
 *
 * In a child after fork() the subscription is the parent's: _next and _ack say -ECHILD until the
 * child calls this for itself, which makes another descriptor (the inherited one stays open there
 * until exec or exit, and a timer of the library's with it).
 *
 *   -EINVAL      client is NULL
 *   -EOPNOTSUPP  the daemon is too old for events
 *   -EBUSY       as for rngclient_get()
 *   and all of rngclient_look()
 */
int rngclient_event_fd(struct rngclient *client) RNGCLIENT_MUST_CHECK;

/*
 * The next event, for which it waits at most timeout_ms: 0 not at all, -1 for ever. It keeps the
 * connection in order as well, so call it when the descriptor is readable even if no event is
 * expected. *event, but for its size, is zero on failure. Calls of several threads each get events
 * of their own.
 *
 * No event is given twice running: one that was given is not given again because the connection was
 * made anew, whether it was acknowledged or not. Generations are compared for equality alone: where
 * the daemon's page was removed and made anew they begin at 1 again, and that is an event too, of
 * which nothing but the generation is known.
 *
 * Acknowledge each event once what it calls for is done; the next one may come before that.
 *
 *   -EAGAIN      no event in that time
 *   -EINVAL      client or event is NULL, event->size is that of no version of the struct, or
 *                timeout_ms is below -1
 *   -ENOTCONN    rngclient_event_fd() was not called, or did not succeed
 *   -ECHILD      this is a child of the process that called it
 *   -EPROTO      the peer does not speak this protocol; it will be connected to anew
 *   -EOPNOTSUPP, -EPROTONOSUPPORT  a daemon that knows no events, or not this version of the
 *                protocol, took the place of the one before; it will be tried again
 *   -ENOMEM, -EMFILE, -ENFILE  out of resources while connecting again; it will be tried again
 *   or another errno of rngclient_open() while connecting again, likewise. Each is said once for
 *   each try. That the daemon is gone, or has no room, is no error: events come when it is back.
 */
int rngclient_event_next(struct rngclient *client, struct rngclient_event *event,
			 int timeout_ms) RNGCLIENT_MUST_CHECK;

/*
 * Says that everything the event of that generation calls for is done, and what earlier ones called
 * for: keys dropped, state reseeded. `rngcli settle` waits for it. If the connection is gone at the
 * moment it is said when it is back. Never waits; one that was acknowledged already is no error.
 *
 *   -EINVAL             client is NULL, or generation is none of the last 32 events given
 *   -ENOTCONN, -ECHILD  as above
 */
int rngclient_event_ack(struct rngclient *client, uint64_t generation);

/*
 * The clone generation, by one load from the epoch page: no system call, no lock, any thread, any
 * time between open and close. 0: not known, as the handle has no page yet. It is there after the
 * first rngclient_event_fd(), rngclient_get() or rngclient_epoch_info() that succeeded, if the
 * daemon publishes one.
 *
 * Keep it as a token beside what must not outlive a clone (keys, nonces, identifiers that were
 * made), and compare before use. Where the daemon's page was replaced by another file, which takes
 * somebody to remove it, the token differs from all earlier ones: its upper 16 bits count the pages
 * that the handle was given, from 0. The next rngclient_get() is given the new page; until then the
 * old one's lease has passed. After 15 replacements it stays 0: open another handle.
 */
uint64_t rngclient_epoch(const struct rngclient *client);

/*
 * Is it certain that no clone was noticed since rngclient_epoch() gave token? Two loads and a
 * clock: true only while the generation is still that, token is not 0, and somebody watches (the
 * page's lease has not passed). Any thread, any time.
 */
int rngclient_epoch_same(const struct rngclient *client, uint64_t token);

/*
 * Has the daemon ask every detector, then say who of the subscribers has not yet acknowledged the
 * present generation, which goes to *generation (NULL: not wanted): lines "name=value\n" ended by a
 * NUL, of the form of rngclient_status(); the names are listed in the protocol document. client:
 * opened on the control socket. text, size: as for rngclient_status().
 *
 *   -EPERM      client was not opened on the control socket
 *   and all of rngclient_status() and rngclient_look()
 */
int rngclient_subscribers(struct rngclient *client, uint64_t *generation, char *text,
			  size_t size) RNGCLIENT_MUST_CHECK;

/*
 * Gives the daemon bytes that the caller holds to be unpredictable. They go into its next seed
 * beside the kernel's, and can make it no worse; they count for nothing.
 *
 *   -EINVAL  client or bytes is NULL, or len is 0 or above RNGCLIENT_CONTRIBUTE_MAX_BYTES
 *   -EAGAIN  until the deadline this user had contributed as much as one may (4096 bytes at once,
 *            1024 more each second)
 *   and all of rngclient_look()
 */
int rngclient_contribute(struct rngclient *client, const void *bytes,
			 size_t len) RNGCLIENT_MUST_CHECK;

/*
 * Closes the connections and frees the handle: a subscription ends, and nothing is waited for from
 * it any more (which the daemon is told, if it can be without waiting). In a child the parent's
 * subscription goes on. NULL is allowed. errno is left alone.
 */
void rngclient_close(struct rngclient *client);

/* The version of the library in use, for example "0.1.0". Never NULL; static storage. */
const char *rngclient_version(void);

#ifdef __cplusplus
}
#endif

#endif
