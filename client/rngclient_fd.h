/*
 * rngclient_fd - handles for sandboxed callers: everything is made ready beforehand, and from then
 * on a handle uses read(2), write(2) and close(2) of its descriptor and nothing else.
 *
 * For a process that gives up nearly all system calls before it meets what it does not trust
 * (seccomp, RLIMIT_NOFILE of 0): no poll, no clock (the vDSO's neither), no getrandom, no getpid,
 * and no memory is asked for or given back. So
 *
 *   int fd = rngclient_connect_fd(NULL, 0);                // or one that a parent connected
 *   signal(SIGPIPE, SIG_IGN);
 *   if (fd < 0 || rngclient_open_fd(&client, fd, 0) != 0)
 *           ...
 *   enter_sandbox();
 *   rngclient_get(client, key, sizeof(key));
 *
 * What such a handle is
 *   - It is made by the process that uses it, before the sandbox and after the last fork().
 *   - rngclient_get() and rngclient_close() work. rngclient_epoch() does too, and tells of the page
 *     as it was mapped at the open; rngclient_epoch_same() is always 0, for it needs a clock. All
 *     other calls on the handle give -EOPNOTSUPP.
 *   - A call is all or nothing: on failure the buffer is all zero bytes.
 *   - One thread at a time; a call while another is under way gives -EDEADLK.
 *   - There is one connection. When it is lost, or a reply does not come whole by its time, no
 *     later byte of it is taken for a reply: that call says why, and each one after it gives
 *     -ENOTCONN. Close the handle then; a new one takes a new descriptor. A daemon that restarts,
 *     or was given an --idle-timeout, ends the connection.
 *   - Time: timeout_ms bounds each wait, not the call: every answer (128 KiB at most) is waited for
 *     anew, as is one that comes in pieces for each piece, and after a signal that interrupted.
 *     The kernel ends a wait up to an eighth late.
 *   - SIGPIPE: a write(2) to a connection that the daemon has closed raises it, and nothing can
 *     turn that off for write(2). So the open is refused unless SIGPIPE is ignored, handled, or
 *     blocked in the calling thread; keep it so. The call then fails with -EPIPE.
 *   - The descriptor is the handle's. Whether somebody else closed it and its number has become
 *     another file's cannot be seen (fstat): call rngclient_close() before closefrom(3).
 *   - fork(): the handle is of the process that opened it. In a child each call gives -ECHILD and
 *     touches nothing; rngclient_close() there closes the child's copy of the descriptor, and the
 *     parent's goes on. The same after clone() without CLONE_VM and CLONE_FILES. A child of
 *     vfork(), or of clone() with one of them, must not call anything here.
 *   - rngclient_close() gives back the descriptor and wipes what is secret; some 4 pages and the
 *     mapping of the epoch page stay until the process ends.
 *
 * Clones: all bytes of a call are of one clone generation, which was the machine's, as far as
 * the daemon knew, when they had arrived: the epoch page, mapped at the open, is read before and
 * after, and where it moved, or none could be had at the open, the daemon is asked to look for
 * itself. Two things are missing that rngclient_get() otherwise has. The kernel's own generation is
 * not looked at (it is the vDSO's), so nothing but the daemon tells of a clone; and if the daemon's
 * page is replaced by another file, this handle goes on with the old one, whose daemon is gone with
 * its connection. What was returned before a clone is the caller's to throw away:
 * rngclient_epoch().
 */
#ifndef RNGCLIENT_FD_H
#define RNGCLIENT_FD_H

#ifdef __cplusplus
extern "C" {
#endif

/* As in rngclient.h, which this does not need. */
#ifndef RNGCLIENT_MUST_CHECK
#if defined(__GNUC__)
#define RNGCLIENT_MUST_CHECK __attribute__((warn_unused_result))
#else
#define RNGCLIENT_MUST_CHECK
#endif
#endif

struct rngclient;
struct rngclient_local;

/*
 * Connects to the daemon and returns the descriptor, for rngclient_open_fd() here or in a process
 * that it is handed to. It is close-on-exec. socket_path, timeout_ms and the errors: as for
 * rngclient_open(). The descriptor is the caller's.
 */
int rngclient_connect_fd(const char *socket_path, int timeout_ms) RNGCLIENT_MUST_CHECK;

/*
 * Makes a handle over fd: a connected UNIX stream socket that blocks, with the daemon at the other
 * end, over which nothing was asked yet. The daemon is asked for its epoch page. Needs much more
 * than three system calls; what comes later needs those alone.
 *
 * On success fd is the handle's. It is made close-on-exec, and its SO_RCVTIMEO and SO_SNDTIMEO are
 * set to timeout_ms (1 or more, 0 for RNGCLIENT_DEFAULT_TIMEOUT_MS, -1 for none), which bounds this
 * call too. On failure *out is NULL and fd still the caller's, who can only close it: an answer may
 * be on its way.
 *
 *   -EINVAL      out is NULL, timeout_ms is below -1, or fd does not block (O_NONBLOCK)
 *   -EBADF, -ENOTSOCK, -EPROTOTYPE  fd is not open, no socket, no UNIX stream socket
 *   -ENOTCONN    it is not connected
 *   -EPIPE       SIGPIPE would end this process, see above; nothing was done
 *   -EBUSY       the daemon had no room for this connection
 *   -ECONNRESET  the daemon has closed it, for want of room perhaps
 *   -ETIMEDOUT   no answer by the deadline
 *   -ECHILD      this is a child that a signal handler forked meanwhile; fd is the parent's
 *   -EPROTO      no daemon of this protocol, or fd was used before
 *   -EPROTONOSUPPORT  the daemon speaks no version of it that this library does
 *   -EOPNOTSUPP  the kernel cannot wipe memory in a child (Linux 4.14)
 *   -ENOMEM, -EMFILE, -ENFILE  out of resources
 */
int rngclient_open_fd(struct rngclient **out, int fd, int timeout_ms) RNGCLIENT_MUST_CHECK;

/*
 * rngclient_get() on such a handle:
 *
 *   -EINVAL      as ever
 *   -EAGAIN      the daemon refuses, or its state aged again and again; the handle is in order
 *   -ECHILD, -EDEADLK, -ENOTCONN  see above
 *   and with these the connection is lost:
 *   -ETIMEDOUT   no answer in time
 *   -ECONNRESET, -EPIPE  the daemon closed it
 *   -EPROTO      what came is not the answer
 *   or another error of rngclient_get(), or errno of read(2) and write(2)
 */

/*
 * A local generator over fd (rngclient_local.h), of which the same is true: each draw uses read,
 * write and close of fd, or nothing at all. fd, timeout_ms: as above, also on failure.
 *
 * It differs from others in what it is made of. getrandom(2) is not to be had, so its seeds are the
 * daemon's 32 bytes alone: here, and only here, the daemon by itself decides. There is no clock to
 * see by whether the page's lease has passed, so no seed lasts: each KiB takes a new one, and a
 * draw of more than 256 bytes is the daemon's own bytes. Before and after every draw the page must
 * say what it said when the seed was made, as ever.
 *
 * In a child a draw gives -ECHILD. When the connection is lost, what is left of the last KiB is
 * given out; what needs more fails as above. Page and state stay mapped (and wiped) after
 * rngclient_local_close().
 *
 *   -ENODATA  the daemon publishes no epoch page, or could not pass it
 *   and all of rngclient_open_fd(), rngclient_get() as above, and -EPERM, -ENOMEM where memory
 *   cannot be locked (RLIMIT_MEMLOCK; before Linux 6.11)
 */
int rngclient_local_open_fd(struct rngclient_local **out, int fd,
			    int timeout_ms) RNGCLIENT_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif
