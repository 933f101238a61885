/*
 * Owns: a timerfd that never expires. May touch: clocks, by reading.
 * Never does: set a timer after start(), or say cloned: a clock is a hint and no proof.
 */
#include "daemon/epoch.h"

#include <errno.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

/* No machine sleeps for less, and reading two clocks never takes so long by itself. */
#define CLOCK_SLEPT_NS ((int64_t)100 * 1000 * 1000)
/* A pair of clock readings that took longer than this is taken again. */
#define CLOCK_CLOSE_NS ((int64_t)1000 * 1000)
#define CLOCK_TRIES    8
/* CLOCK_REALTIME of the year 2200. */
#define CLOCK_NEVER_S ((time_t)7258118400)

_Static_assert(sizeof(time_t) == 8, "the year 2200");

static int64_t now_ns(clockid_t clock)
{
	struct timespec now = {0};

	clock_gettime(clock, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/*
 * CLOCK_BOOTTIME minus CLOCK_MONOTONIC: the time the machine was suspended. Who is interrupted
 * between two readings sees a difference that is none, so the closest pair of some counts.
 */
static int64_t suspended_ns(void)
{
	int64_t best_ns = INT64_MAX, suspended = 0;

	for (int i = 0; i < CLOCK_TRIES && best_ns > CLOCK_CLOSE_NS; i++) {
		int64_t before_ns = now_ns(CLOCK_MONOTONIC);
		int64_t boot_ns = now_ns(CLOCK_BOOTTIME);
		int64_t took_ns = now_ns(CLOCK_MONOTONIC) - before_ns;

		if (took_ns < best_ns) {
			best_ns = took_ns;
			suspended = boot_ns - before_ns;
		}
	}
	return suspended;
}

/*
 * A timer that is cancelled when somebody sets the clock. ECANCELED here says that it was set
 * between the two calls; the timer is armed all the same (fs/timerfd.c).
 */
static int open_timer(void)
{
	const struct itimerspec never = {.it_value.tv_sec = CLOCK_NEVER_S};
	int fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC), err;

	if (fd < 0)
		return -errno;
	if (timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL) < 0 &&
	    errno != ECANCELED) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

static void start(struct epoch_detector *detector, int fd, const char *path)
{
	int timer = open_timer();

	(void)path;
	if (fd >= 0)
		close(fd);
	detector->fd = -1;
	detector->notifier = EPOCH_PAGE_CLOCK;
	if (timer < 0) {
		epoch_absent(detector, "timerfd: %s", strerror(-timer));
		return;
	}
	detector->fd = timer;
	detector->watch = true;
	detector->own.clock.suspended_ns = suspended_ns();
	detector->state = EPOCH_ACTIVE;
}

/*
 * 1: the clock was set since the last call. 0: it was not. A negative errno: that cannot be told.
 *
 * The read that gives ECANCELED also makes the timer watch for the next step, so that it need not
 * be set again: measured on 6.18 for a row of steps, and so written in timerfd_canceled() since
 * 3.0. Steps without a read in between, a step back among them, give one ECANCELED.
 */
static int was_set(int fd)
{
	uint64_t expiries;
	ssize_t n;

	do
		n = read(fd, &expiries, sizeof(expiries));
	while (n < 0 && errno == EINTR);
	if (n >= 0 || errno == ECANCELED)
		return 1; /* one that expired was set by a century or two */
	return errno == EAGAIN ? 0 : -errno;
}

/* Whichever way it moved: it can only go back where the process was put somewhere else. */
static bool has_slept(struct epoch_detector *detector)
{
	int64_t suspended = suspended_ns();
	int64_t grew_ns = suspended - detector->own.clock.suspended_ns;

	if (grew_ns <= CLOCK_SLEPT_NS && grew_ns >= -CLOCK_SLEPT_NS)
		return false;
	detector->own.clock.suspended_ns = suspended;
	return true;
}

static enum epoch_change look(struct epoch_detector *detector, enum epoch_depth depth)
{
	int set = was_set(detector->fd);
	bool slept = has_slept(detector);

	(void)depth;
	if (set < 0)
		epoch_failed(detector, "timerfd: %s", strerror(-set));
	return set != 0 || slept ? EPOCH_AGED : EPOCH_SAME;
}

const struct epoch_ops epoch_clock_ops = {
    .name = "clock",
    .notifier = EPOCH_PAGE_CLOCK,
    .says_cloned = false,
    .cheap = false,
    .poll_ms = 0,
    .start = start,
    .look = look,
};
