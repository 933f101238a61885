/*
 * rngclient_local - the local generator of librngclient.
 *
 * A generator in the caller's own process: for many small draws, at a few nanoseconds each. Its
 * seed is 32 bytes of the daemon's XOR 32 of getrandom(2), so neither alone decides; it makes at
 * most 1 KiB in advance, zeroes bytes as they are handed out, and cannot go back to earlier ones.
 * (For sandboxed callers there is another, without getrandom(2): rngclient_local_open_fd() in
 * rngclient_fd.h, which says what is different there.)
 *
 * It is used only while nothing speaks against it. Before and after every draw the daemon's epoch
 * page must say what it said when the seed was made; before every KiB so must the kernel's
 * generation, and the page's lease must not have passed. Otherwise the daemon is asked for a new
 * seed before another byte is given, and if it is not there the call fails by its deadline: old
 * state is never used instead. What remains: bytes made before the daemon died without a word,
 * 1 KiB at most, are handed out after that, whenever they are drawn; if the machine is cloned while
 * no daemon runs, both copies hand them out. Who may open the hypervisor's clock page can have it
 * looked at as well: rngclient_local_vmclock().
 *
 * A draw takes no lock and no system call, but for the question to the daemon and what that needs:
 * once a minute or so, when the kernel reseeds.
 *
 * local: a handle, used by one thread at a time; or NULL for the calling thread's own generator,
 * which is made on first use (RNGCLIENT_DEFAULT_SOCKET, RNGCLIENT_DEFAULT_TIMEOUT_MS, no options)
 * and wiped when the thread ends. A thread that wants other settings calls
 * rngclient_local_open_thread() first.
 *
 * fork(): parent and child may both go on. The child takes a seed of its own, over a connection of
 * its own, before its first byte, also after clone() without CLONE_VM and CLONE_FILES, or when a
 * signal handler or another thread forked in the middle of a draw. (Where a handler forked while
 * the daemon was asked, that call may, seldom, end with -EPROTO or -ETIMEDOUT on either side.) It
 * finds nothing of any generator of the parent's. Before Linux 4.14 it does: then the two never
 * hand out the same bytes, but the child could read what the parent would give next, unless both
 * call rngclient_after_fork(). A child of vfork(), or of clone() with CLONE_VM or CLONE_FILES, must
 * not call anything here before exec.
 *
 * Signal handlers may draw from a generator that exists. If the signal came in the middle of a draw
 * from the same one it is left alone: -EDEADLK, or getrandom(2) where that is allowed. A handler
 * must not longjmp() out of a draw.
 *
 * All draws return 0 or
 *   -EINVAL   a pointer is NULL, or as said there
 *   -EDEADLK  this came in a signal handler, in the middle of another draw
 *   -ENODATA  the daemon publishes no epoch page
 *   -EAGAIN   the daemon refuses, or until the deadline nobody watched for clones
 *   -EPERM, -ENOMEM  memory cannot be locked (RLIMIT_MEMLOCK; before Linux 6.11 a page each)
 *   and all of rngclient_get(), and for a thread's first draw of rngclient_local_open().
 */
#ifndef RNGCLIENT_LOCAL_H
#define RNGCLIENT_LOCAL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

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

struct rngclient_local; /* one generator; opaque */

/* For options: 0, or */
enum rngclient_local_option {
	/*
	 * When the daemon cannot give a seed, getrandom(2) gives the bytes instead; but not when it
	 * is there and refuses, because copies of the machine may be identical: that is -EAGAIN, as
	 * without the option. A call waits for the daemon for 100 ms at most, and after it did so
	 * in vain none does for a second: each then ends as that one. A kernel that is not told of
	 * clones may give the same bytes in another copy of the machine, also after the daemon's
	 * page has moved.
	 */
	RNGCLIENT_LOCAL_GETRANDOM = 1
};

/* Bytes of a UUID as text, its final NUL included. */
#define RNGCLIENT_UUID_TEXT_BYTES 37

/*
 * Makes a generator and takes its first seed. *out, socket_path, timeout_ms: as for
 * rngclient_open(). With RNGCLIENT_LOCAL_GETRANDOM it succeeds without the daemon too.
 *
 *   -EINVAL  as rngclient_open(), or an unknown option
 *   -EMFILE, -ENFILE  out of resources
 *   and all of rngclient_open() and of the draws
 */
int rngclient_local_open(struct rngclient_local **out, const char *socket_path, int timeout_ms,
			 unsigned int options) RNGCLIENT_MUST_CHECK;

/*
 * Makes the calling thread's own.
 *
 *   -EALREADY  it has one
 *   -EDEADLK   in a signal handler, while it is being made
 *   and all of rngclient_local_open()
 */
int rngclient_local_open_thread(const char *socket_path, int timeout_ms,
				unsigned int options) RNGCLIENT_MUST_CHECK;

/*
 * Ties the generator to the hypervisor's clock page: fd is /dev/vmclock0, opened for reading. It
 * is root's by default: open it before privileges are dropped, or be handed it. fd stays the
 * caller's and may be closed after.
 *
 * From then on the page must say what it said before the seed was asked for: its generation counter
 * where it has one, and its disruption marker. The hypervisor moves them before a clone runs on,
 * when neither the kernel nor the daemon may have noticed. It is looked at by loads and without a
 * system call, before every KiB that is made; in a draw of more than 256 bytes, before and after
 * every 64 KiB, and all of the draw is made anew where it moved. What is left of a KiB, 1023 bytes
 * at most, stays good until the daemon has noticed.
 *
 * What was made before is thrown away: the next draw takes a seed. Another page takes the former's
 * place; on failure that stays. A child goes on with its parent's. While the page is being written,
 * or is none any more, there is no byte: -EAGAIN by the deadline.
 *
 * The page says that it is a copy, and not which: what makes the copies' seeds differ is the
 * daemon. With RDRAND it does so at once. Without, one that has the page too (--vmclock) refuses,
 * and draws end with -EAGAIN, until something tells the copies apart; one that has it not gives
 * what the others' daemons may give as well, until it notices.
 *
 *   -EINVAL      no vmclock page, or a file of another kind than those that can be read for as long
 *                as they are mapped: devices, and memfds with F_SEAL_SHRINK
 *   -EACCES      fd is not open for reading
 *   -EDEADLK     in a signal handler, in the middle of a draw
 *   -EOPNOTSUPP  the generator is rngclient_local_open_fd()'s, which takes a seed for every KiB
 *   -ENOMEM, or another error of fstat(2) or mmap(2)
 *   and with NULL, where the thread has none yet, all of rngclient_local_open_thread()
 */
int rngclient_local_vmclock(struct rngclient_local *local, int fd) RNGCLIENT_MUST_CHECK;

/* Fills buf with len random bytes, any len; on failure they are zero. */
int rngclient_local_bytes(struct rngclient_local *local, void *buf,
			  size_t len) RNGCLIENT_MUST_CHECK;

/* A number of 32 or 64 random bits; *out is 0 on failure. */
int rngclient_local_u32(struct rngclient_local *local, uint32_t *out) RNGCLIENT_MUST_CHECK;
int rngclient_local_u64(struct rngclient_local *local, uint64_t *out) RNGCLIENT_MUST_CHECK;

/*
 * A number from 0 to bound - 1, each as likely as the other, exactly; *out is 0 on failure.
 *
 *   -EINVAL  out is NULL or bound is 0
 */
int rngclient_local_below(struct rngclient_local *local, uint64_t bound,
			  uint64_t *out) RNGCLIENT_MUST_CHECK;

/* A multiple of 2^-53 from 0 up to, not including, 1, each as likely; *out is 0 on failure. */
int rngclient_local_double(struct rngclient_local *local, double *out) RNGCLIENT_MUST_CHECK;

/* A version-4 UUID in lower case with its NUL; all zero bytes on failure. */
int rngclient_local_uuid(struct rngclient_local *local,
			 char text[RNGCLIENT_UUID_TEXT_BYTES]) RNGCLIENT_MUST_CHECK;

/*
 * Puts the count elements of size bytes at base in a random order, each order as likely as a
 * generator with a 256-bit key can make it. On failure they are all there, in an order that must
 * not be taken for random.
 *
 *   -EINVAL  base is NULL with something to shuffle, or count times size is too much
 */
int rngclient_local_shuffle(struct rngclient_local *local, void *base, size_t count,
			    size_t size) RNGCLIENT_MUST_CHECK;

/*
 * getrandom(2), from the calling thread's own generator. It keeps that call's contract, because
 * who calls it never checks: the number of bytes (len, or 33554431 if that is less), or -1 and
 * errno. So it is the one call that always falls back: without the daemon, also when the daemon
 * refuses because copies of the machine may be identical, in a signal handler in the middle of a
 * draw, or with any flag it is the system call itself. A generator it makes has
 * RNGCLIENT_LOCAL_GETRANDOM. errno is left alone on success.
 */
ssize_t rngclient_getrandom(void *buf, size_t len, unsigned int flags);

/*
 * Has every generator of the process, of any thread and handle, take a new seed before its next
 * byte; the calling thread's own, if there is one, takes it now. To be called on both sides after
 * fork(); needed only before Linux 4.14, where a child can read what it inherited. in_child: 0 in
 * the parent. Takes no lock and may be called in the child of a process with threads.
 *
 * 0, or an error of the draws: then too the old state is not used any more.
 */
int rngclient_after_fork(int in_child);

/* Wipes and frees. NULL is allowed, and does nothing. errno is left alone. */
void rngclient_local_close(struct rngclient_local *local);

#ifdef __cplusplus
}
#endif

#endif
