/*
 * check_epoch_vmgenid - the detector that reads the generation ID. The ID itself is QEMU's; here
 * a file of the same form stands for it, under the real path's name. Owns: a directory in /tmp. May
 * touch: the real file, if there is one, reading. Never does: need privilege.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/epoch.h"
#include "daemon/hash.h"
#include "tests/support.h"

#define REAL_PATH   "/sys/firmware/qemu_fw_cfg/by_name/etc/vmgenid_guid/raw"
#define BLOB_BYTES  4096u
#define GUID_OFFSET 40u
#define GUID_BYTES  16u
#define FILE_NAME   "a file"

static char dir[64], path[96];
static size_t fds_before;
static struct epoch_detector detector;

static void setup(void)
{
	strcpy(dir, "/tmp/rngd-vmgenid.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/raw", dir);
	memset(&detector, 0, sizeof(detector));
	fds_before = support_fd_count(getpid());
}

static void teardown(void)
{
	if (detector.fd > 0)
		close(detector.fd);
	ck_assert_uint_eq(support_fd_count(getpid()), fds_before);
	unlink(path);
	ck_assert_int_eq(rmdir(dir), 0);
}

static void write_file(const void *bytes, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pwrite(fd, bytes, len, 0), (ssize_t)len);
	ck_assert_int_eq(ftruncate(fd, (off_t)len), 0);
	close(fd);
}

/* The blob with a GUID of this byte, the rest as QEMU has it: zero. */
static void write_guid(uint8_t byte)
{
	uint8_t blob[BLOB_BYTES] = {0};

	memset(blob + GUID_OFFSET, byte, GUID_BYTES);
	write_file(blob, sizeof(blob));
}

static void start(const char *name)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	detector.ops = &epoch_vmgenid_ops;
	detector.notifier = detector.ops->notifier;
	detector.fd = fd;
	detector.ops->start(&detector, fd, name);
}

static void start_active(const char *name)
{
	start(name);
	ck_assert_int_eq(detector.state, EPOCH_ACTIVE);
	ck_assert_int_ge(detector.fd, 0);
}

/* Absent, for this reason, and the descriptor is closed. */
static void start_absent(const char *name, const char *why)
{
	start(name);
	ck_assert_int_eq(detector.state, EPOCH_ABSENT);
	ck_assert_ptr_nonnull(strstr(detector.why, why));
	ck_assert_int_eq(detector.fd, -1);
	ck_assert_uint_eq(support_fd_count(getpid()), fds_before);
}

static enum epoch_change look(void)
{
	return detector.ops->look(&detector, EPOCH_ALL);
}

static void failed_once(const char *why)
{
	ck_assert_int_eq(look(), EPOCH_CLONED);
	ck_assert_int_eq(detector.state, EPOCH_FAILED);
	ck_assert_ptr_nonnull(strstr(detector.why, why));
}

START_TEST(row)
{
	ck_assert_str_eq(epoch_vmgenid_ops.name, "vmgenid");
	ck_assert_uint_eq(epoch_vmgenid_ops.notifier, EPOCH_PAGE_VMGENID);
	ck_assert(epoch_vmgenid_ops.says_cloned && epoch_vmgenid_ops.cheap);
	ck_assert_int_gt(epoch_vmgenid_ops.poll_ms, 0);
	ck_assert_ptr_nonnull(epoch_vmgenid_ops.recall);
}
END_TEST

START_TEST(change_is_a_clone)
{
	write_guid(1);
	start_active(REAL_PATH);
	ck_assert_int_eq(look(), EPOCH_SAME);
	write_guid(2);
	ck_assert_int_eq(look(), EPOCH_CLONED);
	ck_assert_int_eq(look(), EPOCH_SAME); /* once */
	write_guid(1);                        /* and back: a clone of the first state */
	ck_assert_int_eq(look(), EPOCH_CLONED);
	ck_assert_uint_eq(detector.notifier, EPOCH_PAGE_VMGENID);
}
END_TEST

/* Any single bit of the ID, and none behind it: QEMU's padding is not the ID. */
START_TEST(every_bit_counts)
{
	uint8_t blob[BLOB_BYTES] = {0};

	memset(blob + GUID_OFFSET, 0x5a, GUID_BYTES);
	write_file(blob, sizeof(blob));
	start_active(REAL_PATH);
	for (size_t bit = 0; bit < 8 * GUID_BYTES; bit++) {
		blob[GUID_OFFSET + bit / 8] ^= (uint8_t)(1u << (bit % 8));
		write_file(blob, sizeof(blob));
		ck_assert_int_eq(look(), EPOCH_CLONED);
	}
	blob[GUID_OFFSET + GUID_BYTES] = 1;
	write_file(blob, sizeof(blob));
	ck_assert_int_eq(look(), EPOCH_SAME);
}
END_TEST

/* Half of a new ID and half of the old is a change; the rest of it is another. */
START_TEST(torn_guid)
{
	uint8_t blob[BLOB_BYTES] = {0};

	write_guid(1);
	start_active(REAL_PATH);
	memset(blob + GUID_OFFSET, 2, GUID_BYTES / 2);
	memset(blob + GUID_OFFSET + GUID_BYTES / 2, 1, GUID_BYTES / 2);
	write_file(blob, sizeof(blob));
	ck_assert_int_eq(look(), EPOCH_CLONED);
	write_guid(2);
	ck_assert_int_eq(look(), EPOCH_CLONED);
}
END_TEST

/* Only the hash leaves: value and saved are on a page that anybody can read. */
START_TEST(the_id_does_not_leave)
{
	uint8_t blob[BLOB_BYTES] = {0}, digest[HASH_BYTES];
	const char *bytes = (const char *)&detector;

	memset(blob + GUID_OFFSET, 0x5a, GUID_BYTES);
	write_file(blob, sizeof(blob));
	start_active(REAL_PATH);
	ck_assert_int_eq(hash_256(digest, NULL, 0, blob, GUID_OFFSET + GUID_BYTES), 0);
	ck_assert_uint_eq(detector.value_bytes, HASH_BYTES);
	ck_assert_mem_eq(detector.value, digest, HASH_BYTES);
	ck_assert_uint_eq(detector.saved.bytes, HASH_BYTES);
	ck_assert_mem_eq(detector.saved.value, digest, HASH_BYTES);
	for (size_t i = 0; i + 4 <= sizeof(detector); i++)
		ck_assert(memcmp(bytes + i, "\x5a\x5a\x5a\x5a", 4) != 0);

	/* Both follow a change. */
	memset(blob + GUID_OFFSET, 0x5b, GUID_BYTES);
	write_file(blob, sizeof(blob));
	ck_assert_int_eq(look(), EPOCH_CLONED);
	ck_assert_int_eq(hash_256(digest, NULL, 0, blob, GUID_OFFSET + GUID_BYTES), 0);
	ck_assert_mem_eq(detector.value, digest, HASH_BYTES);
	ck_assert_mem_eq(detector.saved.value, digest, HASH_BYTES);
}
END_TEST

/* Around a fill: not more often than once a millisecond, but then it sees it. */
START_TEST(cheap_look)
{
	enum epoch_change change = EPOCH_SAME;
	int64_t deadline_ms;

	write_guid(1);
	start_active(REAL_PATH);
	write_guid(2);
	detector.own.vmgenid.read_ns = INT64_MAX - 2000000; /* a clock far behind: read */
	ck_assert_int_eq(detector.ops->look(&detector, EPOCH_BEFORE), EPOCH_CLONED);

	detector.own.vmgenid.read_ns = 0;
	write_guid(3);
	ck_assert_int_eq(detector.ops->look(&detector, EPOCH_BEFORE), EPOCH_CLONED);

	ck_assert_int_eq(look(), EPOCH_SAME);
	write_guid(4);
	deadline_ms = support_now_ms() + 1000 * SUPPORT_TIMEOUT_S;
	while (change == EPOCH_SAME && support_now_ms() < deadline_ms)
		change = detector.ops->look(&detector, EPOCH_BEFORE);
	ck_assert_int_eq(change, EPOCH_CLONED);
}
END_TEST

/* No read while the last is fresh: a descriptor that is gone is not missed. */
START_TEST(cheap_look_rests)
{
	int fd, fresh = 0;

	write_guid(1);
	start_active(REAL_PATH);
	fd = detector.fd;
	/* The machine may stop us for a millisecond between the two: one try of many is enough. */
	for (int i = 0; i < 1000 && fresh == 0; i++) {
		detector.fd = fd;
		ck_assert_int_eq(look(), EPOCH_SAME);
		detector.fd = -1;
		fresh += detector.ops->look(&detector, EPOCH_BEFORE) == EPOCH_SAME;
		detector.state = EPOCH_ACTIVE;
	}
	detector.fd = fd;
	ck_assert_int_gt(fresh, 0);
}
END_TEST

START_TEST(any_file)
{
	char big[BLOB_BYTES + 1];

	write_file("one", 3);
	start_active(FILE_NAME);
	write_file("one", 3);
	ck_assert_int_eq(look(), EPOCH_SAME);
	write_file("two", 3);
	ck_assert_int_eq(look(), EPOCH_CLONED);
	write_file("two\n", 4); /* its length is part of it */
	ck_assert_int_eq(look(), EPOCH_CLONED);
	write_file("two\0", 5);
	ck_assert_int_eq(look(), EPOCH_CLONED);
	memset(big, 'x', sizeof(big));
	write_file(big, BLOB_BYTES);
	ck_assert_int_eq(look(), EPOCH_CLONED);
	big[BLOB_BYTES - 1] = 'y'; /* the last byte that counts */
	write_file(big, BLOB_BYTES);
	ck_assert_int_eq(look(), EPOCH_CLONED);
	write_file(big, BLOB_BYTES + 1); /* and the first that does not */
	ck_assert_int_eq(look(), EPOCH_SAME);
}
END_TEST

/* All zero means something only in the real file. */
START_TEST(zero_is_none)
{
	uint8_t blob[BLOB_BYTES] = {0};

	write_guid(0);
	start_absent(REAL_PATH, "the hypervisor gives none");
	start_active(FILE_NAME);
	close(detector.fd);
	/* The padding does not make it an ID; one bit of it does. */
	blob[0] = 1;
	write_file(blob, sizeof(blob));
	start_absent(REAL_PATH, "the hypervisor gives none");
	blob[GUID_OFFSET + GUID_BYTES - 1] = 0x80;
	write_file(blob, sizeof(blob));
	start_active(REAL_PATH);
	/* Later on it is a change like another. */
	write_guid(0);
	ck_assert_int_eq(look(), EPOCH_CLONED);
	ck_assert_int_eq(detector.state, EPOCH_ACTIVE);
}
END_TEST

START_TEST(nothing_to_read)
{
	uint8_t blob[BLOB_BYTES] = {1};

	detector.ops = &epoch_vmgenid_ops;
	detector.ops->start(&detector, -EACCES, FILE_NAME);
	ck_assert_int_eq(detector.state, EPOCH_ABSENT);
	ck_assert_ptr_nonnull(strstr(detector.why, strerror(EACCES)));
	ck_assert_int_eq(detector.fd, -1);

	write_file("", 0);
	start_absent(FILE_NAME, "empty");
	start_absent(REAL_PATH, "empty");
	write_file(blob, GUID_OFFSET + GUID_BYTES - 1);
	start_absent(REAL_PATH, "cut short");
	write_file(blob, GUID_OFFSET + GUID_BYTES - 1);
	start_active(FILE_NAME);
}
END_TEST

/* What could block, or answers differently each time, is no file to compare. */
START_TEST(not_a_file)
{
	static const char *const others[] = {"/dev/zero", "/dev/urandom", "/"};
	int pipe_fds[2];

	detector.ops = &epoch_vmgenid_ops;
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		detector.ops->start(&detector, open(others[i], O_RDONLY | O_CLOEXEC), FILE_NAME);
		ck_assert_int_eq(detector.state, EPOCH_ABSENT);
		ck_assert_int_eq(detector.fd, -1);
	}
	ck_assert_int_eq(pipe2(pipe_fds, O_CLOEXEC), 0);
	detector.ops->start(&detector, pipe_fds[0], FILE_NAME);
	ck_assert_int_eq(detector.state, EPOCH_ABSENT);
	close(pipe_fds[1]);
}
END_TEST

/* Nothing more can be known: that is said once, as a clone. */
START_TEST(fails_once)
{
	uint8_t blob[BLOB_BYTES] = {1};
	int fd;

	write_guid(1);
	start_active(REAL_PATH);
	write_file("", 0);
	failed_once("empty");
	close(detector.fd);

	write_guid(1);
	start_active(REAL_PATH);
	write_file(blob, GUID_OFFSET + GUID_BYTES - 1);
	failed_once("cut short");
	close(detector.fd);

	write_file("x", 1);
	start_active(FILE_NAME);
	write_file("", 0);
	failed_once("empty");
	close(detector.fd);

	write_guid(1);
	start_active(REAL_PATH);
	fd = detector.fd;
	detector.fd = open(path, O_WRONLY | O_CLOEXEC);
	failed_once(strerror(EBADF));
	close(fd);
}
END_TEST

START_TEST(recall)
{
	struct epoch_page_saved saved;

	write_guid(1);
	start_active(REAL_PATH);
	saved = detector.saved;
	ck_assert_int_eq(detector.ops->recall(&detector, &saved), EPOCH_RECALL_SAME);
	close(detector.fd);

	write_guid(2); /* while no daemon ran */
	start_active(REAL_PATH);
	ck_assert_int_eq(detector.ops->recall(&detector, &saved), EPOCH_RECALL_CLONED);

	saved = detector.saved;
	saved.value[HASH_BYTES - 1] ^= 1;
	ck_assert_int_eq(detector.ops->recall(&detector, &saved), EPOCH_RECALL_CLONED);
	for (uint32_t bytes = 0; bytes < HASH_BYTES; bytes++) {
		saved.bytes = bytes;
		ck_assert_int_eq(detector.ops->recall(&detector, &saved), EPOCH_RECALL_UNKNOWN);
	}
	saved.bytes = UINT32_MAX;
	ck_assert_int_eq(detector.ops->recall(&detector, &saved), EPOCH_RECALL_UNKNOWN);
}
END_TEST

START_TEST(the_real_file)
{
	int fd = open(REAL_PATH, O_RDONLY | O_CLOEXEC);

	if (fd < 0) {
		printf("SKIP: %s: %s\n", REAL_PATH, strerror(errno));
		return;
	}
	detector.ops = &epoch_vmgenid_ops;
	detector.ops->start(&detector, fd, REAL_PATH);
	ck_assert_int_eq(detector.state, EPOCH_ACTIVE);
	ck_assert_int_eq(look(), EPOCH_SAME);
	ck_assert_int_eq(detector.ops->recall(&detector, &detector.saved), EPOCH_RECALL_SAME);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("epoch_vmgenid");
	TCase *tcase = tcase_create("epoch_vmgenid");
	SRunner *sr = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 2 * SUPPORT_TIMEOUT_S);
	tcase_add_test(tcase, row);
	tcase_add_test(tcase, change_is_a_clone);
	tcase_add_test(tcase, every_bit_counts);
	tcase_add_test(tcase, torn_guid);
	tcase_add_test(tcase, the_id_does_not_leave);
	tcase_add_test(tcase, cheap_look);
	tcase_add_test(tcase, cheap_look_rests);
	tcase_add_test(tcase, any_file);
	tcase_add_test(tcase, zero_is_none);
	tcase_add_test(tcase, nothing_to_read);
	tcase_add_test(tcase, not_a_file);
	tcase_add_test(tcase, fails_once);
	tcase_add_test(tcase, recall);
	tcase_add_test(tcase, the_real_file);
	suite_add_tcase(suite, tcase);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
