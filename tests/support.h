/*
 * tests/support - a private rngd for a test, and a raw client that speaks the wire. Every wait has
 * a bound; what goes wrong ends the test by a failed assertion of check.
 */
#ifndef TESTS_SUPPORT_H
#define TESTS_SUPPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/wire.h"

#define SUPPORT_TIMEOUT_S 20 /* bound of every wait */

struct support_rngd {
	pid_t pid;
	char dir[64];
	char socket[96];
	char log[96];
};

/*
 * Starts $DAEMON_BUILD/rngd (or $BUILD, or build/), deaf to the kernel's log, with the options
 * given (NULL-ended, or NULL).
 */
void support_start(struct support_rngd *rngd, const char *const *options);

/* Starts it again on the same socket after support_kill() or support_stop(). */
void support_restart(struct support_rngd *rngd, const char *const *options);

/* SIGTERM, and it must end with status 0. The directory stays until support_end(). */
void support_stop(struct support_rngd *rngd);

/* SIGKILL. */
void support_kill(struct support_rngd *rngd);

/* Kills it if it runs and removes its directory. */
void support_end(struct support_rngd *rngd);

/* A connected blocking socket with a receive timeout. */
int support_connect(const struct support_rngd *rngd);

void support_write(int fd, const void *data, size_t len);

/* Reads exactly len bytes. */
void support_read(int fd, void *data, size_t len);

/* true when the peer has closed (end of file or reset) and sent nothing before. */
bool support_closed(int fd);

/* Encodes and sends a request of version 1. */
void support_request(int fd, uint8_t opcode, uint32_t tag, const void *body, uint32_t body_bytes);
void support_get(int fd, uint32_t tag, uint32_t count);

/* Reads one reply frame; at most size bytes of body go to body (more is a failure). */
void support_reply(int fd, struct wire_reply *reply, void *body, size_t size);

/* A whole GET: asks, reads all frames, checks them. */
void support_get_all(int fd, uint32_t tag, void *out, uint32_t count);

/* What the status says of name, in static storage; a name it has not is a failure. */
const char *support_status(const struct support_rngd *rngd, const char *name);
uint64_t support_status_number(const struct support_rngd *rngd, const char *name);

/* Descriptors open in, and resident memory of, process pid. */
size_t support_fd_count(pid_t pid);
size_t support_rss_bytes(pid_t pid);

/*
 * Does it use less than a fifth of a processor, in one of up to three spans of this length? One
 * that spins does in none; a hypervisor that stands while it runs is no work of its.
 */
bool support_is_idle(pid_t pid, int ms);

/* Waits until condition(arg) or the bound; true when it came. */
bool support_wait(bool (*condition)(void *), void *arg);

/* Has the kernel's generator reseed, which every process can see. false: it may not be asked. */
bool support_reseed_kernel(void);

/* Milliseconds of CLOCK_MONOTONIC. */
int64_t support_now_ms(void);

#endif
