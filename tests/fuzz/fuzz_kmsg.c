/*
 * fuzz_kmsg - the detector of the kernel's log, with a log of any records and any errors. A fork
 * line is found if and only if a second reading of the record finds one, or it was not to be read
 * at all. Input: steps; those before the first look are the log that the start reads.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "tests/fuzz/fuzz_detector.h"

#define FORK_TEXT    "random: crng reseeded due to virtual machine fork\n"
#define RECORD_BYTES 8192u /* what a read asks for at most */
#define STEPS_MAX    256
#define LOOK_READS   4096u /* in one look at most: then it is the others' turn */
#define MANY_SIGNALS 0xfe  /* in place of an errno: as many EINTR as a look has reads */

enum step {
	STEP_RECORD,      /* u16 length, bytes */
	STEP_KERNEL_FORK, /* a true fork line, u8 beyond the next sequence number */
	STEP_KERNEL_LINE, /* another line of the kernel's; likewise */
	STEP_USER_FORK,   /* a fork line of user space: u16 priority of a facility above 0 */
	STEP_ERROR,       /* u8: which errno */
	STEP_END,         /* EAGAIN: the end for now */
	STEP_EOF,
	STEP_COUNT,
};

static struct {
	struct fuzz_input *input;
	int steps_left;
	/* What the log held, as the detector should see it. */
	uint64_t next_sequence;
	bool placed;
	bool forked; /* in this pass */
	bool lost;   /* in this pass: a gap or an error that means one */
	bool ended;  /* in this pass: by an error that is no loss */
	bool no_flags;
	unsigned reads;   /* in this pass */
	unsigned signals; /* EINTR that are still to come */
	bool had_signals;
	int closes;
} log_of;

/* ---------------------------------------------------------------- what a record means */

static bool read_number(const char **at, const char *end, uint64_t *number)
{
	unsigned __int128 sum = 0;
	const char *c = *at;

	for (; c < end && *c >= '0' && *c <= '9'; c++) {
		sum = sum * 10 + (unsigned)(*c - '0');
		if (sum > UINT64_MAX)
			return false;
	}
	if (c == *at || c >= end || *c != ',')
		return false;
	*at = c + 1;
	*number = (uint64_t)sum;
	return true;
}

static bool is_fork(const char *at, const char *end, uint64_t priority)
{
	uint64_t timestamp;

	if (priority > 7 || !read_number(&at, end, &timestamp))
		return false;
	while (at < end && *at != ';')
		at++;
	return at < end && (size_t)(end - at - 1) >= strlen(FORK_TEXT) &&
	       memcmp(at + 1, FORK_TEXT, strlen(FORK_TEXT)) == 0;
}

static void note_record(const char *bytes, size_t len)
{
	const char *at = bytes, *end = bytes + len;
	uint64_t priority, sequence;

	if (!read_number(&at, end, &priority) || !read_number(&at, end, &sequence) ||
	    sequence == UINT64_MAX || sequence < log_of.next_sequence)
		return;
	log_of.lost |= log_of.placed && sequence != log_of.next_sequence;
	log_of.placed = true;
	log_of.next_sequence = sequence + 1;
	log_of.forked |= is_fork(at, end, priority);
}

/* ---------------------------------------------------------------- the log */

static ssize_t give(char *to, size_t size, const void *bytes, size_t len)
{
	FUZZ_CHECK(len <= size);
	memcpy(to, bytes, len);
	note_record(to, len);
	return (ssize_t)len;
}

static ssize_t give_line(char *to, size_t size, unsigned priority, const char *text)
{
	char line[256];
	uint64_t sequence = log_of.next_sequence + fuzz_u8(log_of.input) % 3;
	int len = snprintf(line, sizeof(line), "%u,%llu,%u,-;%s", priority,
			   (unsigned long long)sequence, fuzz_u16(log_of.input), text);

	return give(to, size, line, (size_t)len);
}

static ssize_t give_error(void)
{
	static const int errors[] = {EPIPE, EINVAL, EINTR, EIO, EPERM, EBADF};
	uint8_t which = fuzz_u8(log_of.input);
	int error = errors[which % (sizeof(errors) / sizeof(errors[0]))];

	if (which == MANY_SIGNALS && !log_of.had_signals) {
		log_of.had_signals = true; /* they take their time */
		log_of.signals = LOOK_READS;
	}
	if (error == EPIPE || error == EINVAL) {
		log_of.lost = true;
		log_of.placed = false;
	} else if (error != EINTR) {
		log_of.ended = true;
	}
	errno = error;
	return -1;
}

static ssize_t read_log(char *to, size_t size)
{
	const uint8_t *bytes;
	size_t len;

	FUZZ_CHECK(size >= RECORD_BYTES);
	log_of.reads++;
	if (log_of.signals > 0) {
		log_of.signals--;
		errno = EINTR;
		return -1;
	}
	if (log_of.input->left == 0 || log_of.steps_left-- <= 0) {
		errno = EAGAIN;
		return -1;
	}
	switch ((enum step)(fuzz_u8(log_of.input) % STEP_COUNT)) {
	case STEP_RECORD:
		len = fuzz_u16(log_of.input) % RECORD_BYTES;
		len = fuzz_take(log_of.input, len, &bytes);
		if (len > 0)
			return give(to, size, bytes, len);
		break;
	case STEP_KERNEL_FORK:
		return give_line(to, size, fuzz_u8(log_of.input) % 8, FORK_TEXT);
	case STEP_KERNEL_LINE:
		return give_line(to, size, 6, "random: crng init done\n");
	case STEP_USER_FORK:
		return give_line(to, size, 8u + fuzz_u16(log_of.input), FORK_TEXT);
	case STEP_ERROR:
		return give_error();
	case STEP_EOF:
		log_of.ended = true;
		return 0;
	default:
		break;
	}
	errno = EAGAIN;
	return -1;
}

ssize_t __real_read(int fd, void *to, size_t size);
ssize_t __wrap_read(int fd, void *to, size_t size);
int __real_close(int fd);
int __wrap_close(int fd);
int __real_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, int argument);
off_t __real_lseek(int fd, off_t offset, int whence);
off_t __wrap_lseek(int fd, off_t offset, int whence);

ssize_t __wrap_read(int fd, void *to, size_t size)
{
	return fd == FUZZ_FD ? read_log(to, size) : __real_read(fd, to, size);
}

int __wrap_close(int fd)
{
	if (fd != FUZZ_FD)
		return __real_close(fd);
	log_of.closes++;
	return 0;
}

int __wrap_fcntl(int fd, int command, int argument)
{
	if (fd != FUZZ_FD)
		return __real_fcntl(fd, command, argument);
	errno = EIO;
	return log_of.no_flags ? -1 : 0;
}

off_t __wrap_lseek(int fd, off_t offset, int whence)
{
	return fd == FUZZ_FD ? 0 : __real_lseek(fd, offset, whence);
}

/* ---------------------------------------------------------------- the detector */

static void new_pass(void)
{
	log_of.forked = log_of.lost = log_of.ended = false;
	log_of.reads = 0;
}

static void look(struct epoch_detector *detector, bool alone)
{
	enum epoch_change change;

	new_pass();
	detector->own.kmsg.alone = alone;
	change = detector->ops->look(detector, EPOCH_ALL);
	check_detector(detector);
	FUZZ_CHECK(log_of.reads <= LOOK_READS);
	FUZZ_CHECK((detector->state == EPOCH_FAILED) == log_of.ended);
	if (log_of.forked)
		FUZZ_CHECK(change == EPOCH_CLONED);
	else if (log_of.lost || log_of.ended)
		FUZZ_CHECK(change == (alone ? EPOCH_CLONED : EPOCH_AGED));
	else if (log_of.reads == LOOK_READS) /* there may be more */
		FUZZ_CHECK(change == EPOCH_AGED);
	else
		FUZZ_CHECK(change == EPOCH_SAME);
}

/* What was saved just now, at the end of the log, must be found again there. */
static void recall(struct epoch_detector *detector, struct fuzz_input *input)
{
	struct epoch_page_saved saved = detector->saved;
	uint64_t sequence = fuzz_u64(input);
	enum epoch_recall found;

	if (saved.bytes > 0 && detector->own.kmsg.placed)
		FUZZ_CHECK(detector->ops->recall(detector, &saved) == EPOCH_RECALL_SAME);
	saved.bytes = fuzz_u8(input) % (EPOCH_PAGE_SAVED_BYTES + 1);
	memcpy(saved.value, &sequence, sizeof(sequence));
	found = detector->ops->recall(detector, &saved);
	FUZZ_CHECK(saved.bytes == sizeof(sequence) || found == EPOCH_RECALL_UNKNOWN);
	FUZZ_CHECK(found != EPOCH_RECALL_SAME || sequence <= log_of.next_sequence);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};
	struct epoch_detector detector = {.ops = &epoch_kmsg_ops, .fd = -1};
	uint8_t choice = fuzz_u8(&input);
	bool alone = choice & 1, has_fd = choice >> 4 != 0xf;

	memset(&log_of, 0, sizeof(log_of));
	log_of.input = &input;
	log_of.steps_left = STEPS_MAX;
	log_of.no_flags = choice >> 4 == 0xe;
	detector.ops->start(&detector, has_fd ? FUZZ_FD : -EACCES, "the log");
	check_detector(&detector);
	FUZZ_CHECK((detector.state == EPOCH_ABSENT) ==
		   (log_of.ended || log_of.no_flags || !has_fd));
	FUZZ_CHECK(detector.own.kmsg.forked == log_of.forked || !log_of.placed ||
		   detector.own.kmsg.forked);
	while (detector.state == EPOCH_ACTIVE && input.left > 0 && log_of.steps_left > 0)
		look(&detector, alone);
	if (detector.state == EPOCH_ACTIVE) {
		input = (struct fuzz_input){data, size};
		recall(&detector, &input);
	}
	FUZZ_CHECK(log_of.closes == (has_fd && detector.state == EPOCH_ABSENT));
	return 0;
}
