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
 *   - need nothing but libc. Every descriptor they open is close-on-exec.
 *
 * Threads: a handle may be shared. Calls on one handle run one after another, each
 * waiting for its turn within its own deadline, in no particular order; handles are independent, so
 * a thread that wants no waiting opens its own. rngclient_close() must be the last call on a
 * handle. No call is a cancellation point. Signal handlers: do not call from one, and do not
 * longjmp() out of one into the code around a call.
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

/* Where the daemon listens unless told otherwise. */
#define RNGCLIENT_DEFAULT_SOCKET "/run/rngd/rngd.sock"

/* Deadline of every call unless told otherwise, in milliseconds. */
#define RNGCLIENT_DEFAULT_TIMEOUT_MS 5000

/* Bytes that hold every status text, its final NUL included. */
#define RNGCLIENT_STATUS_BYTES 16385

struct rngclient; /* one connection to the daemon; opaque */

/*
 * Makes a handle and connects it.
 *
 * *out: the handle, to be given to rngclient_close(); NULL on failure.
 * socket_path: where the daemon listens; NULL means RNGCLIENT_DEFAULT_SOCKET. Copied. Give an
 * absolute path: it is looked up again whenever the connection is made anew.
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
 * asked for anew.
 *
 * When the daemon restarts or closes the connection, the call connects again and repeats
 * the whole request until its deadline. An abandoned call drops its connection, so its
 * late bytes can never be taken for another call's.
 *
 *   -EINVAL        client is NULL, or buf is NULL with len not 0
 *   -EAGAIN        the daemon is running but refuses: its last reseed failed (see its
 *                  status); try again later
 *   -ETIMEDOUT     not done by the deadline
 *   -ENOENT, -ECONNREFUSED  the daemon is gone, and was not back by the deadline
 *   -EACCES        no permission to connect again
 *   -EPROTO        the peer does not speak this protocol
 *   -EPROTONOSUPPORT, -EOPNOTSUPP  the daemon speaks no protocol version that this library does,
 *                  or does not know this operation
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

/* Closes the connection and frees the handle. NULL is allowed. errno is left alone. */
void rngclient_close(struct rngclient *client);

/* The version of the library in use, for example "0.1.0". Never NULL; static storage. */
const char *rngclient_version(void);

#ifdef __cplusplus
}
#endif

#endif
