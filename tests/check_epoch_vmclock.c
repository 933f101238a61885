/*
 * check_epoch_vmclock - the detector that reads the hypervisor's clock page. A file of the same
 * form stands for /dev/vmclock0: what a device alone can do, to wake, is not shown here. Owns: a
 * file in /tmp, and a thread that writes it. May touch: the real device, if there is one, reading.
 * Never does: need privilege.
 */
#include <check.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/epoch.h"
#include "tests/support.h"

#define REAL_PATH         "/dev/vmclock0"
#define PAGE_BYTES        4096u
#define FLAG_COUNTER      (UINT64_C(1) << 8)
#define FLAG_NOTIFICATION (UINT64_C(1) << 9)
#define STORM_ROUNDS      200000u

/* The kernel's struct vmclock_abi, as far as it matters here. */
struct page {
	uint32_t magic;
	uint32_t size;
	uint16_t version;
	uint8_t counter_id;
	uint8_t time_type;
	uint32_t sequence;
	uint64_t disruption;
	uint64_t flags;
	uint8_t clock[72];
	uint64_t counter;
	uint8_t rest[PAGE_BYTES - 112];
};

_Static_assert(offsetof(struct page, sequence) == 12, "layout");
_Static_assert(offsetof(struct page, flags) == 24, "layout");
_Static_assert(offsetof(struct page, counter) == 104, "layout");
_Static_assert(sizeof(struct page) == PAGE_BYTES, "layout");

static char path[64];
static struct page *host; /* the hypervisor's view */
static struct epoch_detector detector;
static size_t fds_before;

static void setup(void)
{
	int fd;

	fds_before = support_fd_count(getpid());
	strcpy(path, "/tmp/rngd-vmclock.XXXXXX");
	fd = mkostemp(path, O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, PAGE_BYTES), 0);
	host = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ck_assert(host != MAP_FAILED);
	close(fd);
	host->magic = htole32(0x4b4c4356);
	host->size = htole32(PAGE_BYTES);
	host->version = htole16(1);
	host->flags = htole64(FLAG_COUNTER);
	host->disruption = htole64(100);
	host->counter = htole64(200);
	memset(&detector, 0, sizeof(detector));
	detector.ops = &epoch_vmclock_ops;
	detector.fd = -1;
}

static void stop(void)
{
	detector.ops->stop(&detector);
	detector.ops->stop(&detector); /* twice does no harm */
	if (detector.fd >= 0)
		close(detector.fd);
	detector.fd = -1;
}

static void teardown(void)
{
	stop();
	ck_assert_uint_eq(support_fd_count(getpid()), fds_before);
	munmap(host, PAGE_BYTES);
	unlink(path);
}

static void start_at(int fd)
{
	stop();
	memset(&detector, 0, sizeof(detector));
	detector.ops = &epoch_vmclock_ops;
	detector.notifier = detector.ops->notifier;
	detector.ops->start(&detector, fd, path);
}

static void start(void)
{
	start_at(open(path, O_RDONLY | O_CLOEXEC));
	ck_assert_int_eq(detector.state, EPOCH_ACTIVE);
}

static void absent_at(int fd, const char *why)
{
	start_at(fd);
	ck_assert_int_eq(detector.state, EPOCH_ABSENT);
	ck_assert_msg(strstr(detector.why, why) != NULL, "%s", detector.why);
	ck_assert_int_eq(detector.fd, -1);
	ck_assert_ptr_null(detector.own.vmclock.page);
	ck_assert_uint_eq(support_fd_count(getpid()), fds_before);
}

static void absent(const char *why)
{
	absent_at(open(path, O_RDONLY | O_CLOEXEC), why);
}

/* What a hypervisor does: odd, write, even. */
static void update(uint64_t disruption, uint64_t counter)
{
	__atomic_store_n(&host->sequence, htole32(le32toh(host->sequence) + 1), __ATOMIC_SEQ_CST);
	__atomic_store_n(&host->disruption, htole64(disruption), __ATOMIC_SEQ_CST);
	__atomic_store_n(&host->counter, htole64(counter), __ATOMIC_SEQ_CST);
	__atomic_store_n(&host->sequence, htole32(le32toh(host->sequence) + 1), __ATOMIC_SEQ_CST);
}

static enum epoch_change look(void)
{
	return detector.ops->look(&detector, EPOCH_BEFORE);
}

START_TEST(row)
{
	ck_assert_str_eq(epoch_vmclock_ops.name, "vmclock");
	ck_assert_uint_eq(epoch_vmclock_ops.notifier, EPOCH_PAGE_VMCLOCK);
	ck_assert(epoch_vmclock_ops.says_cloned && epoch_vmclock_ops.cheap);
	ck_assert_int_gt(epoch_vmclock_ops.poll_ms, 0);
}
END_TEST

START_TEST(counter)
{
	uint64_t value[2];

	start();
	ck_assert_int_eq(look(), EPOCH_SAME);
	update(100, 201);
	ck_assert_int_eq(look(), EPOCH_CLONED);
	ck_assert_uint_eq(detector.notifier, EPOCH_PAGE_VMCLOCK);
	ck_assert_int_eq(look(), EPOCH_SAME);
	update(101, 200); /* and back, with the marker */
	ck_assert_int_eq(look(), EPOCH_CLONED);
	ck_assert_uint_eq(detector.notifier, EPOCH_PAGE_VMCLOCK);
	memcpy(value, detector.value, sizeof(value));
	ck_assert_uint_eq(detector.value_bytes, sizeof(value));
	ck_assert_uint_eq(value[0], 101);
	ck_assert_uint_eq(value[1], 200);
	ck_assert_uint_eq(detector.saved.bytes, sizeof(value));
	ck_assert_mem_eq(detector.saved.value, value, sizeof(value));
	for (unsigned int bit = 0; bit < 64; bit++) {
		update(101, le64toh(host->counter) ^ (UINT64_C(1) << bit));
		ck_assert_int_eq(look(), EPOCH_CLONED);
	}
}
END_TEST

/* The marker alone: with a counter that did not move, not a clone. */
START_TEST(marker)
{
	start();
	update(101, 200);
	ck_assert_int_eq(look(), EPOCH_AGED);
	ck_assert_int_eq(look(), EPOCH_SAME);

	host->flags = 0;
	start();
	ck_assert_uint_eq(detector.value_bytes, sizeof(uint64_t));
	update(102, 200);
	ck_assert_int_eq(look(), EPOCH_CLONED);
	ck_assert_uint_eq(detector.notifier, EPOCH_PAGE_VMCLOCK_DISRUPTION);
	ck_assert_int_eq(look(), EPOCH_SAME);
	update(102, 201); /* no counter, whatever is there */
	ck_assert_int_eq(look(), EPOCH_SAME);
}
END_TEST

/* The structure ends before the counter: the flag does not make one. */
START_TEST(short_structure)
{
	host->size = htole32(111);
	start();
	update(100, 201);
	ck_assert_int_eq(look(), EPOCH_SAME);
	update(101, 201);
	ck_assert_int_eq(look(), EPOCH_CLONED);
	ck_assert_uint_eq(detector.notifier, EPOCH_PAGE_VMCLOCK_DISRUPTION);

	host->size = htole32(112);
	start();
	update(101, 202);
	ck_assert_int_eq(look(), EPOCH_CLONED);
	ck_assert_uint_eq(detector.notifier, EPOCH_PAGE_VMCLOCK);
}
END_TEST

/* Another hypervisor under us, with a counter or without: in doubt, a clone. */
START_TEST(counter_comes_and_goes)
{
	start();
	host->flags = 0;
	ck_assert_int_eq(look(), EPOCH_CLONED);
	ck_assert_uint_eq(detector.notifier, EPOCH_PAGE_VMCLOCK_DISRUPTION);
	ck_assert_int_eq(look(), EPOCH_SAME);
	ck_assert_uint_eq(detector.saved.bytes, sizeof(uint64_t));
	host->flags = htole64(FLAG_COUNTER);
	ck_assert_int_eq(look(), EPOCH_CLONED);
	ck_assert_uint_eq(detector.notifier, EPOCH_PAGE_VMCLOCK);
	ck_assert_int_eq(look(), EPOCH_SAME);
}
END_TEST

/* An update that does not end: said once, and the fields are looked at all the same. */
START_TEST(update_that_does_not_end)
{
	start();
	host->sequence = htole32(1);
	ck_assert_int_eq(look(), EPOCH_AGED);
	ck_assert_int_eq(look(), EPOCH_SAME);
	host->counter = htole64(201);
	ck_assert_int_eq(look(), EPOCH_CLONED);
	ck_assert_int_eq(look(), EPOCH_SAME);
	host->sequence = htole32(2);
	ck_assert_int_eq(look(), EPOCH_SAME);
	host->sequence = htole32(3);
	ck_assert_int_eq(look(), EPOCH_AGED);

	start(); /* it begins so, and that is no change */
	ck_assert_int_eq(look(), EPOCH_SAME);
	host->counter = htole64(202);
	ck_assert_int_eq(look(), EPOCH_CLONED);
}
END_TEST

/* The two fields of one update are never seen apart. */
static void *storm(void *arg)
{
	(void)arg;
	for (uint64_t i = 1; i <= STORM_ROUNDS; i++)
		update(100 + i, 200 + i);
	return NULL;
}

START_TEST(updates_are_whole)
{
	uint64_t value[2] = {0}, settled = 0;
	pthread_t thread;

	start();
	ck_assert_int_eq(pthread_create(&thread, NULL, storm, NULL), 0);
	while (value[1] != 200 + STORM_ROUNDS) {
		(void)look();
		memcpy(value, detector.value, sizeof(value));
		if (detector.own.vmclock.unsettled)
			continue;
		settled++;
		ck_assert_uint_eq(value[1], value[0] + 100);
	}
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_uint_gt(settled, 0);
	ck_assert_int_eq(look(), EPOCH_SAME);
}
END_TEST

START_TEST(refused_pages)
{
	host->magic = htole32(0x4b4c4357);
	absent("not a vmclock page");
	host->magic = htole32(0x4b4c4356);
	host->version = htole16(2);
	absent("version");
	host->version = htole16(1);
	host->size = htole32(31);
	absent("too short");
	host->size = htole32(32);
	start();
}
END_TEST

/* Nothing is mapped whose end could come before the page's. */
START_TEST(refused_files)
{
	int pipe_fds[2];

	absent_at(-ENOENT, strerror(ENOENT));
	ck_assert_int_eq(truncate(path, PAGE_BYTES - 1), 0);
	absent("shorter than a page");
	ck_assert_int_eq(truncate(path, 112), 0);
	absent("shorter than a page");
	ck_assert_int_eq(truncate(path, 0), 0);
	absent("shorter than a page");
	ck_assert_int_eq(truncate(path, PAGE_BYTES), 0);
	ck_assert_int_eq(chmod(path, 0620), 0);
	absent("others may change");
	ck_assert_int_eq(chmod(path, 0602), 0);
	absent("others may change");
	ck_assert_int_eq(chmod(path, 0600), 0);
	absent("not a vmclock page");
	absent_at(open("/dev/zero", O_RDONLY | O_CLOEXEC), "not a vmclock page");
	absent_at(open("/dev/null", O_RDONLY | O_CLOEXEC), "");
	absent_at(open("/", O_RDONLY | O_CLOEXEC), "neither");
	absent_at(open(path, O_WRONLY | O_CLOEXEC), strerror(EACCES));
	ck_assert_int_eq(pipe2(pipe_fds, O_CLOEXEC), 0);
	start_at(pipe_fds[0]);
	ck_assert_int_eq(detector.state, EPOCH_ABSENT);
	close(pipe_fds[1]);
}
END_TEST

START_TEST(file_of_another_user)
{
	if (geteuid() != 0) {
		puts("SKIP: file_of_another_user: only root can make one");
		return;
	}
	ck_assert_int_eq(chown(path, 65534, 65534), 0);
	absent("others may change");
	ck_assert_int_eq(chown(path, 0, 0), 0);
	start();
}
END_TEST

/* A file cannot wake, whatever its flags say; and it can be looked at all the same. */
START_TEST(file_does_not_wake)
{
	host->flags = htole64(FLAG_COUNTER | FLAG_NOTIFICATION);
	start();
	ck_assert(!detector.watch);
	update(100, 201);
	ck_assert_int_eq(detector.ops->look(&detector, EPOCH_ALL), EPOCH_CLONED);
	/* Where it could, and the hypervisor takes that back, the device would wake for ever. */
	detector.watch = true;
	ck_assert_int_eq(detector.ops->look(&detector, EPOCH_ALL), EPOCH_SAME);
	ck_assert(detector.watch);
	host->flags = htole64(FLAG_COUNTER);
	ck_assert_int_eq(look(), EPOCH_SAME);
	ck_assert(!detector.watch);
}
END_TEST

START_TEST(recall)
{
	struct epoch_page_saved saved;

	start();
	saved = detector.saved;
	ck_assert_int_eq(detector.ops->recall(&detector, &saved), EPOCH_RECALL_SAME);
	update(101, 200); /* while no daemon ran: a live migration */
	start();
	ck_assert_int_eq(detector.ops->recall(&detector, &saved), EPOCH_RECALL_SAME);
	update(101, 201);
	start();
	ck_assert_int_eq(detector.ops->recall(&detector, &saved), EPOCH_RECALL_CLONED);
	ck_assert_uint_eq(detector.notifier, EPOCH_PAGE_VMCLOCK);

	host->flags = 0; /* then with a counter, now without */
	start();
	ck_assert_int_eq(detector.ops->recall(&detector, &saved), EPOCH_RECALL_UNKNOWN);
	saved = detector.saved;
	ck_assert_int_eq(detector.ops->recall(&detector, &saved), EPOCH_RECALL_SAME);
	update(102, 201);
	start();
	ck_assert_int_eq(detector.ops->recall(&detector, &saved), EPOCH_RECALL_CLONED);
	ck_assert_uint_eq(detector.notifier, EPOCH_PAGE_VMCLOCK_DISRUPTION);
	saved.bytes = UINT32_MAX;
	ck_assert_int_eq(detector.ops->recall(&detector, &saved), EPOCH_RECALL_UNKNOWN);
	saved.bytes = 0;
	ck_assert_int_eq(detector.ops->recall(&detector, &saved), EPOCH_RECALL_UNKNOWN);
}
END_TEST

START_TEST(the_real_device)
{
	int fd = open(REAL_PATH, O_RDONLY | O_CLOEXEC);

	if (fd < 0) {
		printf("SKIP: %s: %s\n", REAL_PATH, strerror(errno));
		return;
	}
	start_at(fd);
	ck_assert_int_eq(detector.state, EPOCH_ACTIVE);
	ck_assert_int_ne(detector.ops->look(&detector, EPOCH_ALL), EPOCH_CLONED);
	ck_assert_int_eq(detector.ops->recall(&detector, &detector.saved), EPOCH_RECALL_SAME);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("epoch_vmclock");
	TCase *tcase = tcase_create("epoch_vmclock");
	SRunner *sr = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 2 * SUPPORT_TIMEOUT_S);
	tcase_add_test(tcase, row);
	tcase_add_test(tcase, counter);
	tcase_add_test(tcase, marker);
	tcase_add_test(tcase, short_structure);
	tcase_add_test(tcase, counter_comes_and_goes);
	tcase_add_test(tcase, update_that_does_not_end);
	tcase_add_test(tcase, updates_are_whole);
	tcase_add_test(tcase, refused_pages);
	tcase_add_test(tcase, refused_files);
	tcase_add_test(tcase, file_of_another_user);
	tcase_add_test(tcase, file_does_not_wake);
	tcase_add_test(tcase, recall);
	tcase_add_test(tcase, the_real_device);
	suite_add_tcase(suite, tcase);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
