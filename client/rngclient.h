/*
 * rngclient - random bytes from rngd, the randomness daemon.
 *
 * The bytes come from a fast-key-erasure ChaCha20 generator in a sandboxed process that
 * watches for every sign that this machine was cloned or restored from a snapshot.
 *
 * All calls
 *   - return 0 or a negative errno value;
 *   - are all or nothing: on failure the output buffer is all zero bytes;
 *   - never log, never read environment variables, never raise SIGPIPE;
 *   - retry on EINTR, so a signal does not end a call early; the deadline still holds;
 *   - need nothing but libc. Every descriptor they open is close-on-exec.
 *
 * Threads: a handle may be shared. Calls on one handle run one after another, each
 * waiting for its turn within its own deadline; handles are independent, so a thread
 * that wants no waiting opens its own. rngclient_close() must be the last call on a handle.
 * Signal handlers: do not call from one.
 *
 * fork(): parent and child may both go on using the handle. The child notices (also
 * after clone() without CLONE_VM), drops its copy of the connection and makes its own,
 * so the two never share a stream. A child of vfork(), or of clone() with CLONE_VM, must
 * not call anything here before exec. If another thread was inside a call at the moment of
 * fork(), the child may still use the handle.
 */
#ifndef RNGCLIENT_H
#define RNGCLIENT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RNGCLIENT_VERSION_STRING "0.1.0"

/* Where the daemon listens unless told otherwise. */
#define RNGCLIENT_DEFAULT_SOCKET "/run/rngd/rngd.sock"

/* Deadline of every call of a new handle, in milliseconds. */
#define RNGCLIENT_DEFAULT_TIMEOUT_MS 5000

/* Bytes that hold every status text, its final NUL included. */
#define RNGCLIENT_STATUS_BYTES 16385

struct rngclient; /* one connection to the daemon; opaque */

/*
 * Makes a handle and connects it.
 *
 * socket_path: where the daemon listens; NULL means RNGCLIENT_DEFAULT_SOCKET. Copied.
 * *out: the handle, to be given to rngclient_close(); NULL on failure.
 *
 *   -EINVAL        out is NULL or socket_path is empty
 *   -ENAMETOOLONG  socket_path does not fit a UNIX socket address (107 bytes)
 *   -ENOENT        no socket there: rngd was never started
 *   -ECONNREFUSED  a socket file, but no daemon behind it
 *   -EACCES        no permission to connect
 *   -ETIMEDOUT     the daemon did not accept the connection in
 *                  RNGCLIENT_DEFAULT_TIMEOUT_MS
 *   -ENOMEM, -EMFILE, -ENFILE  the process or the system is out of resources
 */
int rngclient_open(struct rngclient **out, const char *socket_path);

/*
 * Sets the deadline of each later call on this handle, counted from its start, in
 * milliseconds: 1 or more, or -1 for none.
 *
 *   -EINVAL  client is NULL or timeout_ms is 0 or below -1
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
 *   -ENOENT, -ECONNREFUSED, -EACCES  the daemon is gone, and was not back by the deadline
 *   -EPROTO        the peer does not speak this protocol
 *   -EPROTONOSUPPORT  the daemon speaks no protocol version that this library does
 *   -ENOMEM, -EMFILE, -ENFILE  out of resources while reconnecting
 */
int rngclient_get(struct rngclient *client, void *buf, size_t len);

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
int rngclient_status(struct rngclient *client, char *text, size_t size);

/* Closes the connection and frees the handle. NULL is allowed. errno is left alone. */
void rngclient_close(struct rngclient *client);

/* The version of the library in use, for example "0.1.0". Never NULL; static storage. */
const char *rngclient_version(void);

#ifdef __cplusplus
}
#endif

#endif
