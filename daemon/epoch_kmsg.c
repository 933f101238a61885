/*
 * Owns: nothing but the descriptor its detector holds. May touch: the kernel log, by read().
 * Never does: trust a line that user space could have written, block, or read without an end.
 *
 * One read() gives one record: "priority,sequence,microseconds,flags[,...];text\n KEY=value\n".
 * Facility 0 is the kernel's: what is written to /dev/kmsg gets another, and control characters
 * in its text are escaped.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "daemon/epoch.h"

#define KMSG_FORK_TEXT "random: crng reseeded due to virtual machine fork"

/* No record of any kernel is longer (CONSOLE_EXT_LOG_MAX). */
#define KMSG_RECORD_BYTES 8192u

/* Records read at one look, so that a flood cannot hold the daemon; and at the start. */
#define KMSG_LOOK_RECORDS  4096u
#define KMSG_START_RECORDS (1u << 20)

/* Priority: the facility is above the three bits of the level. */
#define KMSG_LEVEL_BITS 3u

struct kmsg_record {
	uint64_t sequence;
	uint64_t timestamp_us;
	bool fork;
};

/* What one pass over the log found. */
struct kmsg_found {
	bool forked;
	bool lost;  /* there were records that were not seen */
	bool more;  /* the pass ended before the log did */
	int errnum; /* of the read that ended it for good, else 0 */
};

/* Decimal digits and the comma after them. false: none, too many, or no comma. */
static bool take_number(const char **at, const char *end, uint64_t *number)
{
	const char *c = *at;
	uint64_t sum = 0;

	for (; c < end && *c >= '0' && *c <= '9'; c++)
		if (__builtin_mul_overflow(sum, 10, &sum) ||
		    __builtin_add_overflow(sum, (uint64_t)(*c - '0'), &sum))
			return false;
	if (c == *at || c == end || *c != ',')
		return false;
	*at = c + 1;
	*number = sum;
	return true;
}

/* From the timestamp on: is this the whole text the kernel logs? */
static bool is_fork_line(const char *at, const char *end, uint64_t *timestamp_us)
{
	static const char fork_text[] = KMSG_FORK_TEXT "\n";
	const size_t text_bytes = sizeof(fork_text) - 1;
	const char *text;

	if (!take_number(&at, end, timestamp_us))
		return false;
	text = memchr(at, ';', (size_t)(end - at));
	if (!text)
		return false;
	text++;
	return (size_t)(end - text) >= text_bytes && memcmp(text, fork_text, text_bytes) == 0;
}

/* false: no record with a place in the log. */
static bool parse(const char *bytes, size_t len, struct kmsg_record *record)
{
	const char *at = bytes, *end = bytes + len;
	uint64_t priority;

	memset(record, 0, sizeof(*record));
	if (!take_number(&at, end, &priority) || !take_number(&at, end, &record->sequence) ||
	    record->sequence == UINT64_MAX)
		return false;
	record->fork =
	    priority >> KMSG_LEVEL_BITS == 0 && is_fork_line(at, end, &record->timestamp_us);
	return true;
}

static void note_fork(struct epoch_detector *detector, const struct kmsg_record *record)
{
	detector->own.kmsg.forked = true;
	detector->own.kmsg.fork_sequence = record->sequence;
	memcpy(detector->value, &record->sequence, sizeof(record->sequence));
	memcpy(detector->value + sizeof(record->sequence), &record->timestamp_us,
	       sizeof(record->timestamp_us));
	detector->value_bytes = sizeof(record->sequence) + sizeof(record->timestamp_us);
}

static void take_record(struct epoch_detector *detector, const char *bytes, size_t len,
			struct kmsg_found *found)
{
	struct kmsg_record record;

	/* What cannot be read is missing from the sequence, and counts as lost there. */
	if (!parse(bytes, len, &record))
		return;
	/* Seen before: another holder of this descriptor moved its position back. */
	if (record.sequence < detector->own.kmsg.next_sequence)
		return;
	if (!detector->own.kmsg.placed) {
		detector->own.kmsg.whole_from = record.sequence;
	} else if (record.sequence != detector->own.kmsg.next_sequence) {
		detector->own.kmsg.whole_from = record.sequence;
		found->lost = true;
	}
	detector->own.kmsg.placed = true;
	detector->own.kmsg.next_sequence = record.sequence + 1;
	if (record.fork) {
		note_fork(detector, &record);
		found->forked = true;
	}
}

/* Reads to the end of the log, but not more than so many records. */
static void drain(struct epoch_detector *detector, uint32_t records, struct kmsg_found *found)
{
	char bytes[KMSG_RECORD_BYTES];
	ssize_t n;

	memset(found, 0, sizeof(*found));
	for (uint32_t i = 0; i < records; i++) {
		n = read(detector->fd, bytes, sizeof(bytes));
		if (n > 0) {
			take_record(detector, bytes, (size_t)n, found);
		} else if (n < 0 && errno == EAGAIN) {
			return;
		} else if (n < 0 && (errno == EPIPE || errno == EINVAL)) {
			/*
			 * Overwritten before they were read, or one too long for us. Counted here:
			 * the gap at the next record is the same loss.
			 */
			found->lost = true;
			detector->own.kmsg.placed = false;
		} else if (n == 0 || errno != EINTR) {
			found->errnum = n == 0 ? ENODATA : errno;
			return;
		}
	}
	found->more = true;
}

static void save(struct epoch_detector *detector)
{
	uint64_t next_sequence = detector->own.kmsg.next_sequence;

	/* Nothing read yet, or a loss whose extent is not known: what is saved stays true. */
	if (detector->own.kmsg.placed)
		epoch_save(detector, &next_sequence, sizeof(next_sequence));
}

static void give_up(struct epoch_detector *detector, const char *path, int errnum)
{
	epoch_absent(detector, "%s: %s", path, strerror(errnum));
	if (detector->fd >= 0)
		close(detector->fd);
	detector->fd = -1;
}

static void kmsg_start(struct epoch_detector *detector, int fd, const char *path)
{
	struct kmsg_found found;
	int flags;

	detector->fd = fd < 0 ? -1 : fd;
	if (fd < 0) {
		give_up(detector, path, -fd);
		return;
	}
	/* Whoever opened it: a read that waits would stop the daemon. */
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
		give_up(detector, path, errno);
		return;
	}
	/* From the first record, also when another holder of this descriptor has read some. */
	(void)lseek(fd, 0, SEEK_SET);
	drain(detector, KMSG_START_RECORDS, &found);
	if (found.errnum != 0) {
		give_up(detector, path, found.errnum);
		return;
	}
	/* Not at the end yet: what is still unread is unknown to recall(). */
	if (found.more)
		detector->own.kmsg.whole_from = detector->own.kmsg.next_sequence;
	save(detector);
	detector->watch = true;
	detector->state = EPOCH_ACTIVE;
}

static enum epoch_change kmsg_look(struct epoch_detector *detector, enum epoch_depth depth)
{
	enum epoch_change blind = detector->own.kmsg.alone ? EPOCH_CLONED : EPOCH_AGED;
	struct kmsg_found found;

	/* The look after the fill finds it as well, before a byte is given out. */
	if (depth == EPOCH_BEFORE)
		return EPOCH_SAME;
	drain(detector, KMSG_LOOK_RECORDS, &found);
	detector->own.kmsg.fork_read = found.forked;
	save(detector);
	if (found.errnum != 0)
		epoch_failed(detector, "cannot be read any more: %s", strerror(found.errnum));
	if (found.forked)
		return EPOCH_CLONED;
	if (found.lost || found.errnum != 0)
		return blind;
	return found.more ? EPOCH_AGED : EPOCH_SAME;
}

static enum epoch_recall kmsg_recall(struct epoch_detector *detector,
				     const struct epoch_page_saved *saved)
{
	uint64_t since;

	if (saved->bytes != sizeof(since))
		return EPOCH_RECALL_UNKNOWN;
	memcpy(&since, saved->value, sizeof(since));
	if (detector->own.kmsg.forked && detector->own.kmsg.fork_sequence >= since)
		return EPOCH_RECALL_CLONED;
	/* Beyond the end: the log of an earlier boot. */
	if (!detector->own.kmsg.placed || since < detector->own.kmsg.whole_from ||
	    since > detector->own.kmsg.next_sequence)
		return EPOCH_RECALL_UNKNOWN;
	return EPOCH_RECALL_SAME;
}

const struct epoch_ops epoch_kmsg_ops = {
    .name = "kmsg",
    .notifier = EPOCH_PAGE_KMSG,
    .says_cloned = true,
    .cheap = true,
    .poll_ms = 0,
    .start = kmsg_start,
    .look = kmsg_look,
    .recall = kmsg_recall,
};
