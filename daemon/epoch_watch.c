/*
 * Owns: the watchers. May touch: the loop it was given.
 * Never does: read a detector's descriptor: that is the detector's, in look().
 */
#include "daemon/epoch_watch.h"

#include <string.h>

/* A detector that has failed meanwhile would leave its descriptor readable for ever. */
static void drop_failed(struct epoch_watch *watch)
{
	for (size_t i = 0; i < EPOCH_ROWS; i++)
		if (!watch->epoch->detectors[i].watch)
			ev_io_stop(watch->loop, &watch->wakers[i]);
}

static void woken(struct ev_loop *loop, ev_io *io, int events)
{
	struct epoch_watch *watch = io->data;

	/* The kernel will not watch it: libev would call again and again. The tick still looks. */
	if (events & (int)EV_ERROR)
		ev_io_stop(loop, io);
	watch->look(watch->owner);
	drop_failed(watch);
}

static void polled(struct ev_loop *loop, ev_timer *timer, int events)
{
	struct epoch_watch *watch = timer->data;

	(void)loop;
	(void)events;
	watch->look(watch->owner);
	drop_failed(watch);
}

void epoch_watch_start(struct epoch_watch *watch, struct ev_loop *loop, const struct epoch *epoch,
		       void (*look)(void *owner), void *owner)
{
	int poll_ms = epoch_poll_ms(epoch);

	*watch = (struct epoch_watch){.loop = loop, .epoch = epoch, .look = look, .owner = owner};
	for (size_t i = 0; i < EPOCH_ROWS; i++) {
		const struct epoch_detector *detector = &epoch->detectors[i];

		ev_io_init(&watch->wakers[i], woken, detector->fd, EV_READ);
		watch->wakers[i].data = watch;
		if (detector->watch && detector->fd >= 0)
			ev_io_start(loop, &watch->wakers[i]);
	}
	ev_timer_init(&watch->poll, polled, poll_ms / 1000., poll_ms / 1000.);
	watch->poll.data = watch;
	if (poll_ms > 0)
		ev_timer_start(loop, &watch->poll);
}

void epoch_watch_stop(struct epoch_watch *watch)
{
	if (!watch->loop)
		return;
	for (size_t i = 0; i < EPOCH_ROWS; i++)
		ev_io_stop(watch->loop, &watch->wakers[i]);
	ev_timer_stop(watch->loop, &watch->poll);
	memset(watch, 0, sizeof(*watch));
}
