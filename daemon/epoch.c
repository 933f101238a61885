/*
 * Owns: the table of detectors and the counts they move. May touch: the epoch page, through its
 * file. Never does: touch the generator: what is found here is acted on by the next fill.
 */
#include "daemon/epoch.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/clock.h"
#include "daemon/epoch_file.h"
#include "daemon/epoch_since.h"
#include "daemon/hash.h"
#include "daemon/log.h"
#include "host/cpu.h"
#include "host/secmem.h"

/* Clone events in a storm share one line a second. */
#define EPOCH_LOG_MS 1000

/* In place of what a host brought. */
static const uint8_t no_host[HASH_BYTES];

static const struct epoch_ops *const epoch_table[EPOCH_ROWS] = {
    [EPOCH_ROW_VMGENID] = &epoch_vmgenid_ops, [EPOCH_ROW_VMCLOCK] = &epoch_vmclock_ops,
    [EPOCH_ROW_SOURCE] = &epoch_source_ops,   [EPOCH_ROW_KMSG] = &epoch_kmsg_ops,
    [EPOCH_ROW_KERNEL] = &epoch_kernel_ops,   [EPOCH_ROW_CLOCK] = &epoch_clock_ops,
};

static void explain(struct epoch_detector *detector, const char *format, va_list args)
{
	vsnprintf(detector->why, sizeof(detector->why), format, args);
	/* A path of the administrator's may be in it; STATUS has printable ASCII without quotes. */
	for (char *c = detector->why; *c; c++)
		if (*c < 0x20 || *c > 0x7e || *c == '"' || *c == '\\')
			*c = '?';
}

void epoch_absent(struct epoch_detector *detector, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	explain(detector, format, args);
	va_end(args);
	detector->state = EPOCH_ABSENT;
	detector->watch = false;
}

void epoch_failed(struct epoch_detector *detector, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	explain(detector, format, args);
	va_end(args);
	detector->state = EPOCH_FAILED;
	detector->watch = false;
}

void epoch_save(struct epoch_detector *detector, const void *value, size_t bytes)
{
	memset(&detector->saved, 0, sizeof(detector->saved));
	memcpy(detector->saved.value, value, bytes);
	detector->saved.bytes = (uint32_t)bytes;
}

/* After the event was published, not before: killed in between, the next start compares again. */
static void keep(struct epoch *epoch)
{
	for (size_t i = 0; i < EPOCH_ROWS; i++) {
		const struct epoch_detector *detector = &epoch->detectors[i];

		if (detector->ops->recall && detector->saved.bytes > 0)
			epoch_file_save(epoch->file, &detector->saved, detector->ops->notifier);
	}
}

/* Says what was not said yet, if it is time to. */
static void log_clones(struct epoch *epoch)
{
	int64_t now_ms = clock_now_ms();

	if (epoch->unlogged == 0 ||
	    (epoch->logged_at_ms != 0 && now_ms - epoch->logged_at_ms < EPOCH_LOG_MS))
		return;
	log_event(LOG_EVENT_CLONED, LOG_LEVEL_NOTICE,
		  "this machine was cloned or restored (%s): clone generation %llu",
		  epoch_page_notifier_name(epoch_page_epoch(epoch->file->page) >> 24),
		  (unsigned long long)epoch->generation);
	epoch->logged_at_ms = now_ms;
	epoch->unlogged = 0;
}

/*
 * An event's id, made of all that may tell siblings apart: right after a clone they share
 * getrandom()'s bytes. It is public, so it is a hash. Zero if there is no hash to be had.
 */
static void make_id(const struct epoch *epoch, const uint8_t host[HASH_BYTES],
		    uint8_t id[EPOCH_PAGE_ID_BYTES])
{
	struct {
		uint8_t kernel[HASH_BYTES];
		uint64_t rdrand[2];
		uint8_t values[EPOCH_VALUES_BYTES];
	} message = {0};
	uint8_t hash[HASH_BYTES] = {0};

	/* What cannot be had stays zero. The system call itself: see entropy.c. */
	if (syscall(SYS_getrandom, message.kernel, sizeof(message.kernel), GRND_NONBLOCK) < 0)
		memset(message.kernel, 0, sizeof(message.kernel));
	if (cpu_has_rdrand())
		for (size_t i = 0; i < 2; i++)
			cpu_rdrand64(&message.rdrand[i]);
	epoch_values(epoch, message.values);
	if (hash_256(hash, host, HASH_BYTES, &message, sizeof(message)) != 0)
		memset(hash, 0, sizeof(hash));
	memcpy(id, hash, EPOCH_PAGE_ID_BYTES);
	wipe(&message, sizeof(message));
}

static void publish_clone(struct epoch *epoch, uint32_t notifier, const uint8_t host[HASH_BYTES])
{
	uint8_t id[EPOCH_PAGE_ID_BYTES];

	make_id(epoch, host, id);
	epoch_file_cloned(epoch->file, notifier, id);
	epoch->generation = epoch_page_generation(epoch->file->page);
	epoch->moves++;
	epoch->mover = epoch_page_notifier_name(notifier);
	epoch->follow_until_ms = clock_now_ms() + EPOCH_FOLLOW_MS;
	epoch->unlogged++;
	log_clones(epoch);
}

static void publish_age(struct epoch *epoch, const char *mover)
{
	epoch_file_aged(epoch->file);
	epoch->moves++;
	epoch->mover = mover;
}

bool epoch_others_tell(const struct epoch *epoch)
{
	return epoch->detectors[EPOCH_ROW_VMGENID].state == EPOCH_ACTIVE ||
	       epoch->detectors[EPOCH_ROW_VMCLOCK].state == EPOCH_ACTIVE ||
	       epoch->detectors[EPOCH_ROW_SOURCE].state == EPOCH_ACTIVE;
}

/* What one pass over the detectors found. */
struct findings {
	uint32_t notifier;  /* the first row that says cloned, EPOCH_PAGE_NOBODY if none does */
	enum epoch_row row; /* of notifier */
	const char *aged;   /* the last that says aged, or NULL */
	bool fork_line;     /* the kernel logged a fork */
	bool kernel_moved;  /* the kernel's generator was reseeded */
};

static void look_at(struct epoch *epoch, enum epoch_row row, enum epoch_depth depth,
		    struct findings *found)
{
	struct epoch_detector *detector = &epoch->detectors[row];
	const bool was_active = detector->state == EPOCH_ACTIVE;
	enum epoch_change change;

	if (!was_active && !(detector->retry && depth == EPOCH_ALL))
		return;
	change = detector->ops->look(detector, depth);
	if (change == EPOCH_SAME)
		return;
	if (change == EPOCH_AGED) {
		detector->aged++;
		found->aged = detector->ops->name;
		/* One that fails or comes back saw no reseed, or not when it was. */
		found->kernel_moved |=
		    row == EPOCH_ROW_KERNEL && was_active && detector->state == EPOCH_ACTIVE;
	} else {
		detector->cloned++;
		found->fork_line |= row == EPOCH_ROW_KMSG && detector->own.kmsg.fork_read;
		if (found->notifier == EPOCH_PAGE_NOBODY || row < found->row) {
			found->notifier = detector->notifier;
			found->row = row;
		}
	}
}

/*
 * The kernel's notice comes after the host's identifier moved. Where that was an event already, it
 * is news of the kernel's reseed alone. Only in this direction: an identifier always says cloned.
 */
static bool is_late_notice(struct epoch *epoch, const struct findings *found)
{
	int64_t left_ms;

	if (!found->fork_line || epoch->same_clone_until_ms == 0)
		return false;
	if (found->notifier != EPOCH_PAGE_KMSG) {
		epoch->same_clone_until_ms = 0;
		return false;
	}
	left_ms = epoch->same_clone_until_ms - clock_now_ms();
	epoch->same_clone_until_ms = 0;
	return left_ms >= 0 && left_ms <= EPOCH_SAME_CLONE_MS;
}

/* The generation ID changed, and can still be read: it would tell of the next clone as well. */
static bool id_changed(const struct epoch *epoch, const struct findings *found)
{
	return found->notifier == EPOCH_PAGE_VMGENID &&
	       epoch->detectors[EPOCH_ROW_VMGENID].state == EPOCH_ACTIVE;
}

bool epoch_is_shared(uint32_t notifier)
{
	return notifier == EPOCH_PAGE_VMCLOCK || notifier == EPOCH_PAGE_VMCLOCK_DISRUPTION ||
	       notifier == EPOCH_PAGE_SOURCE;
}

static void publish(struct epoch *epoch, const struct findings *found)
{
	bool late = is_late_notice(epoch, found);

	if (found->notifier != EPOCH_PAGE_NOBODY && !late) {
		publish_clone(epoch, found->notifier, no_host);
		epoch->same_clone_until_ms = id_changed(epoch, found) && !found->fork_line
						 ? clock_now_ms() + EPOCH_SAME_CLONE_MS
						 : 0;
		epoch->twin = epoch_is_shared(found->notifier);
	} else if (late || found->aged) {
		publish_age(epoch, late ? epoch_kmsg_ops.name : found->aged);
		if (found->kernel_moved)
			epoch->follow_until_ms = 0;
	} else {
		return;
	}
	/* The kernel reseeds before it logs. */
	if (found->fork_line)
		epoch->follow_until_ms = 0;
}

void epoch_look(struct epoch *epoch, enum epoch_depth depth)
{
	struct findings found = {.notifier = EPOCH_PAGE_NOBODY};

	epoch->detectors[EPOCH_ROW_KMSG].own.kmsg.alone = !epoch_others_tell(epoch);
	for (int row = 0; row < EPOCH_ROWS; row++)
		if (depth == EPOCH_ALL || epoch->detectors[row].ops->cheap)
			look_at(epoch, (enum epoch_row)row, depth, &found);
	/* One clone, one event: whoever else knows of it is asked before it is published. */
	if (found.notifier != EPOCH_PAGE_NOBODY && depth != EPOCH_ALL)
		for (int row = 0; row < EPOCH_ROWS; row++)
			look_at(epoch, (enum epoch_row)row, EPOCH_ALL, &found);
	publish(epoch, &found);
	keep(epoch);
}

void epoch_bump(struct epoch *epoch, const void *bytes, size_t len)
{
	uint8_t host[HASH_BYTES] = {0};

	epoch->bumps++;
	epoch->twin = false;
	if (hash_256(host, NULL, 0, bytes, len) != 0)
		memset(host, 0, sizeof(host));
	publish_clone(epoch, EPOCH_PAGE_HOST, host);
	wipe(host, sizeof(host));
}

bool epoch_follows(const struct epoch *epoch)
{
	int64_t left_ms = epoch->follow_until_ms - clock_now_ms();

	return epoch->follow_until_ms != 0 && left_ms > 0 && left_ms <= EPOCH_FOLLOW_MS;
}

bool epoch_may_be_twin(const struct epoch *epoch)
{
	return epoch->twin && epoch_follows(epoch) &&
	       (epoch->detectors[EPOCH_ROW_KERNEL].state == EPOCH_ACTIVE ||
		epoch->detectors[EPOCH_ROW_KMSG].state == EPOCH_ACTIVE);
}

void epoch_renewed(struct epoch *epoch)
{
	epoch_file_aged(epoch->file);
}

void epoch_tick(struct epoch *epoch, bool serving)
{
	epoch_file_state(epoch->file, serving ? EPOCH_PAGE_SERVING : EPOCH_PAGE_REFUSING);
	epoch_file_lease(epoch->file, EPOCH_LEASE_S);
	log_clones(epoch);
}

size_t epoch_values(const struct epoch *epoch, uint8_t out[EPOCH_VALUES_BYTES])
{
	size_t used = 0;

	for (size_t i = 0; i < EPOCH_ROWS; i++) {
		const struct epoch_detector *detector = &epoch->detectors[i];

		if (detector->value_bytes == 0)
			continue;
		out[used] = (uint8_t)detector->ops->notifier;
		out[used + 1] = (uint8_t)detector->value_bytes;
		memcpy(out + used + 2, detector->value, detector->value_bytes);
		used += 2 + detector->value_bytes;
	}
	return used;
}

void epoch_init(struct epoch *epoch, struct epoch_file *file, const int fds[EPOCH_ROWS],
		const char *const paths[EPOCH_ROWS])
{
	uint32_t notifier = EPOCH_PAGE_NOBODY;

	memset(epoch, 0, sizeof(*epoch));
	epoch->file = file;
	epoch->mover = "none";
	for (size_t i = 0; i < EPOCH_ROWS; i++) {
		struct epoch_detector *detector = &epoch->detectors[i];

		detector->ops = epoch_table[i];
		detector->notifier = detector->ops->notifier;
		detector->fd = fds[i] >= 0 ? fds[i] : -1;
		detector->ops->start(detector, fds[i], paths[i]);
	}
	epoch->generation = epoch_page_generation(file->page);
	if (!file->fresh)
		notifier = epoch_since(epoch);
	if (notifier != EPOCH_PAGE_NOBODY)
		publish_clone(epoch, notifier, no_host);
	epoch_since_done(epoch);
	keep(epoch);
	epoch_since_follow(epoch);
}

void epoch_deinit(struct epoch *epoch)
{
	for (size_t i = 0; i < EPOCH_ROWS; i++) {
		struct epoch_detector *detector = &epoch->detectors[i];

		if (!detector->ops)
			continue;
		if (detector->ops->stop)
			detector->ops->stop(detector);
		if (detector->fd >= 0)
			close(detector->fd);
	}
	memset(epoch, 0, sizeof(*epoch));
}

int epoch_poll_ms(const struct epoch *epoch)
{
	int poll_ms = 0;

	for (size_t i = 0; i < EPOCH_ROWS; i++) {
		const struct epoch_detector *detector = &epoch->detectors[i];

		if (detector->state != EPOCH_ACTIVE || detector->watch ||
		    detector->ops->poll_ms == 0)
			continue;
		if (poll_ms == 0 || detector->ops->poll_ms < poll_ms)
			poll_ms = detector->ops->poll_ms;
	}
	return poll_ms;
}

const char *epoch_state_name(enum epoch_state state)
{
	static const char *const names[] = {
	    [EPOCH_ABSENT] = "absent",
	    [EPOCH_ACTIVE] = "active",
	    [EPOCH_FAILED] = "failed",
	};

	return names[state];
}
