/*
 * Owns: the connection, the epoll instance and the timer. May touch: epoll, timerfd, getrandom.
 * Never does: wait, close a descriptor that has become the program's, or give an event that was
 * given.
 */
#include "client/subscription.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "client/errand.h"

#define NS_PER_MS 1000000ll
#define NS_PER_S  1000000000ll

/* Before a lost connection is made anew: the first pause, and the longest. */
#define SUBSCRIPTION_BACKOFF_MIN_MS 50
#define SUBSCRIPTION_BACKOFF_MAX_MS 1000

/* A connection that was on for so long begins with the first pause again. */
#define SUBSCRIPTION_STEADY_NS NS_PER_S

/* An answer that was begun, or is awaited after SUBSCRIBE, takes no longer. */
#define SUBSCRIPTION_ANSWER_NS (5 * NS_PER_S)

/* A peer that sends without an end gets no more of one call than so many frames. */
#define SUBSCRIPTION_FRAMES_MAX 64

void subscription_init(struct subscription *sub)
{
	*sub = (struct subscription){.epoll_fd = -1, .timer_fd = -1};
	feed_init(&sub->feed);
}

void subscription_forget(struct subscription *sub)
{
	feed_forget(&sub->feed);
	subscription_init(sub);
}

static int control(const struct subscription *sub, int op, int fd, uint32_t what)
{
	struct epoll_event event = {.events = what, .data.fd = fd};

	return epoll_ctl(sub->epoll_fd, op, fd, &event) < 0 ? -errno : 0;
}

/*
 * Only the timer that was put into this epoll instance can be changed in it: a program that closed
 * one and has another at its number is noticed.
 */
bool subscription_is_ours(const struct subscription *sub)
{
	return sub->epoll_fd >= 0 && control(sub, EPOLL_CTL_MOD, sub->timer_fd, EPOLLIN) == 0;
}

static int make_pair(struct subscription *sub)
{
	int err;

	sub->timer_ns = 0;
	sub->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (sub->epoll_fd < 0)
		return -errno;
	sub->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	err = sub->timer_fd < 0 ? -errno : control(sub, EPOLL_CTL_ADD, sub->timer_fd, EPOLLIN);
	if (!err)
		return 0;
	if (sub->timer_fd >= 0)
		close(sub->timer_fd);
	close(sub->epoll_fd);
	sub->epoll_fd = -1;
	sub->timer_fd = -1;
	return err;
}

/* Setting it also makes one that has run out unreadable. 0: to nothing. */
static void set_timer(struct subscription *sub, int64_t at_ns)
{
	const struct itimerspec at = {
	    .it_value = {.tv_sec = at_ns / NS_PER_S, .tv_nsec = at_ns % NS_PER_S}};

	if (sub->timer_ns != at_ns)
		timerfd_settime(sub->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
	sub->timer_ns = at_ns;
}

static void unlink_feed(struct subscription *sub, bool say_leave)
{
	/* A forked child may keep it open, and then it would stay in the instance. */
	if (transport_is_ours(&sub->feed.transport))
		(void)control(sub, EPOLL_CTL_DEL, sub->feed.transport.fd, 0);
	feed_end(&sub->feed, say_leave);
	sub->wants_room = false;
	sub->answer_ns = 0;
	sub->on_since_ns = 0;
}

static int link_feed(struct subscription *sub, const char *path, const struct turn *turn)
{
	int err = feed_open(&sub->feed, path, turn, sub->ledger.acknowledged.generation, sub->id);

	if (err)
		return err;
	ledger_connect(&sub->ledger);
	err = control(sub, EPOLL_CTL_ADD, sub->feed.transport.fd, EPOLLIN | EPOLLRDHUP);
	if (err)
		unlink_feed(sub, false);
	return err;
}

/*
 * The connection is of no use any more: another is made after a pause. -EAGAIN where that is
 * nothing that the program must know of, else err.
 */
static int lost(struct subscription *sub, int err)
{
	const int64_t now_ns = transport_deadline(0);

	if (sub->on_since_ns && now_ns - sub->on_since_ns >= SUBSCRIPTION_STEADY_NS)
		sub->backoff_ms = SUBSCRIPTION_BACKOFF_MIN_MS;
	unlink_feed(sub, false);
	sub->retry_ns = now_ns + sub->backoff_ms * NS_PER_MS;
	sub->backoff_ms = sub->backoff_ms * 2 < SUBSCRIPTION_BACKOFF_MAX_MS
			      ? sub->backoff_ms * 2
			      : SUBSCRIPTION_BACKOFF_MAX_MS;
	return errand_is_absence(err) || err == -ETIMEDOUT ? -EAGAIN : err;
}

/* One of the ACKs that may be due. */
static int send_due(struct subscription *sub, uint64_t *due, enum rngd_proto_stage stage)
{
	int err = *due ? feed_ack(&sub->feed, *due, stage) : 0;

	if (!err)
		*due = 0;
	return err;
}

/* 0: all were sent, or will be when there is room. */
static int send_all_due(struct subscription *sub)
{
	bool wants_room;
	int err;

	if (sub->feed.state != FEED_ON)
		return 0;
	err = send_due(sub, &sub->ledger.taken_due, RNGD_PROTO_STAGE_TAKEN);
	if (!err)
		err = send_due(sub, &sub->ledger.done_due, RNGD_PROTO_STAGE_DONE);
	if (err && err != -EAGAIN)
		return err;
	wants_room = err != 0;
	if (wants_room == sub->wants_room)
		return 0;
	sub->wants_room = wants_room;
	return control(sub, EPOLL_CTL_MOD, sub->feed.transport.fd,
		       EPOLLIN | EPOLLRDHUP | (wants_room ? (uint32_t)EPOLLOUT : 0));
}

/* Sees to it that the program is called when nothing comes, too. err: -EAGAIN, or what it was. */
static int rest(struct subscription *sub, int err)
{
	const int64_t now_ns = transport_deadline(0);

	if (sub->feed.state != FEED_CLOSED && !feed_is_waiting(&sub->feed)) {
		sub->answer_ns = 0;
	} else if (sub->feed.state != FEED_CLOSED) {
		if (sub->answer_ns == 0)
			sub->answer_ns = now_ns + SUBSCRIPTION_ANSWER_NS;
		if (now_ns >= sub->answer_ns)
			err = lost(sub, -ETIMEDOUT);
	}
	set_timer(sub, sub->feed.state == FEED_CLOSED ? sub->retry_ns : sub->answer_ns);
	return err;
}

/* Reads up to an event that is new. As subscription_read(). */
static int advance(struct subscription *sub, const char *path, const struct turn *turn,
		   struct feed_news *news)
{
	struct feed *feed = &sub->feed;
	int result, err;

	if (feed->state != FEED_CLOSED && !transport_is_ours(&feed->transport))
		(void)lost(sub, -ECONNRESET);
	for (int i = 0; i < SUBSCRIPTION_FRAMES_MAX; i++) {
		if (feed->state == FEED_CLOSED) {
			if (transport_deadline(0) < sub->retry_ns)
				return -EAGAIN;
			err = link_feed(sub, path, turn);
			if (err)
				return lost(sub, err);
		}
		err = send_all_due(sub);
		if (err)
			return lost(sub, err);
		result = feed_read(feed, news);
		if (result == -EAGAIN)
			return -EAGAIN;
		if (result < 0)
			return lost(sub, result);
		sub->answer_ns = 0;
		if (result == FEED_STARTED) {
			sub->on_since_ns = transport_deadline(0);
			ledger_begin(&sub->ledger, news->generation);
		} else if (result == FEED_EVENT &&
			   ledger_receive(&sub->ledger, news->generation, news->event.id)) {
			err = send_all_due(sub);
			if (err)
				(void)lost(sub, err); /* found out again where it matters */
			return 0;
		}
	}
	return -EAGAIN;
}

int subscription_read(struct subscription *sub, const char *path, const struct turn *turn,
		      struct feed_news *news)
{
	return rest(sub, advance(sub, path, turn, news));
}

int subscription_acknowledge(struct subscription *sub, uint64_t generation)
{
	int err = ledger_acknowledge(&sub->ledger, generation);

	/* Where it cannot be sent now, the next SUBSCRIBE carries it. */
	if (!err && sub->feed.state == FEED_ON &&
	    (!transport_is_ours(&sub->feed.transport) || send_all_due(sub) != 0)) {
		(void)lost(sub, -ECONNRESET);
		(void)rest(sub, -EAGAIN);
	}
	return err;
}

/* The descriptors, and a name of its own: in a child what was here was the parent's. */
static int make(struct subscription *sub)
{
	subscription_forget(sub);
	if (getrandom(sub->id, sizeof(sub->id), GRND_NONBLOCK) != (ssize_t)sizeof(sub->id))
		return -errno;
	return make_pair(sub);
}

int subscription_begin(struct subscription *sub, const char *path, const struct turn *turn)
{
	struct feed_news news;
	int err = subscription_is_ours(sub) ? 0 : make(sub);

	if (!err && !transport_is_ours(&sub->feed.transport))
		err = link_feed(sub, path, turn);
	if (err)
		return err;
	err = feed_read(&sub->feed, &news);
	if (err == -EAGAIN) {
		set_timer(sub, 0); /* who was to wake by it is awake */
		return SUBSCRIPTION_E_WAIT;
	}
	if (err < 0) {
		unlink_feed(sub, false);
		return err;
	}
	sub->backoff_ms = SUBSCRIPTION_BACKOFF_MIN_MS;
	sub->on_since_ns = transport_deadline(0);
	ledger_begin(&sub->ledger, news.generation);
	return 0;
}

void subscription_stop(struct subscription *sub)
{
	unlink_feed(sub, false);
}

void subscription_wake(struct subscription *sub)
{
	if (sub->timer_fd >= 0)
		set_timer(sub, 1);
}

void subscription_end(struct subscription *sub, bool say_leave)
{
	unlink_feed(sub, say_leave);
	if (subscription_is_ours(sub)) {
		close(sub->timer_fd);
		close(sub->epoll_fd);
	}
	subscription_init(sub);
}
