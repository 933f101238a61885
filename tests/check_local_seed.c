/*
 * What a seed is made of and for how long it holds, with a daemon and a kernel that say what the
 * test wants.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "client/errand.h"
#include "client/handle.h"
#include "client/local_seed.h"

static struct epoch_page page;
static struct rngclient client;
static struct local_seed seed;
static int daemon_err, kernel_err, interruptions;
static size_t kernel_gives;                        /* at a time */
static const uint8_t *kernel_wrote, *daemon_wrote; /* last */

int __wrap_errand_run(struct rngclient *asked, const struct errand *errand, int64_t deadline_ns);
ssize_t __wrap_getrandom(void *buf, size_t len, unsigned int flags);
int __wrap_bare_get(struct rngclient *asked, void *out, size_t len);

int __wrap_errand_run(struct rngclient *asked, const struct errand *errand, int64_t deadline_ns)
{
	ck_assert_ptr_eq(asked, &client);
	ck_assert(errand->guarded);
	ck_assert_uint_eq(errand->out_bytes, LOCAL_SEED_BYTES);
	ck_assert_int_eq(deadline_ns, 1234);
	if (!daemon_err)
		memset(errand->out, 0x5a, errand->out_bytes);
	daemon_wrote = errand->out;
	return daemon_err;
}

int __wrap_bare_get(struct rngclient *asked, void *out, size_t len)
{
	ck_assert_ptr_eq(asked, &client);
	memset(out, 0x5a, len);
	daemon_wrote = out;
	return 0;
}

ssize_t __wrap_getrandom(void *buf, size_t len, unsigned int flags)
{
	ck_assert_uint_eq(flags, 0);
	if (interruptions-- > 0 || kernel_err) {
		errno = kernel_err ? kernel_err : EINTR;
		return -1;
	}
	len = len < kernel_gives ? len : kernel_gives;
	memset(buf, 0x33, len);
	kernel_wrote = (uint8_t *)buf + len;
	return (ssize_t)len;
}

static uint64_t boottime_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void begin(void)
{
	page = (struct epoch_page){.look_again = 5, .lease_ns = boottime_ns() + 1000000000000};
	memset(&client, 0, sizeof(client));
	client.session.guard.page.map = &page;
	guard_agree(&client.session.guard, &(struct guard_token){.look_again = 5});
	/* Without the vDSO, whose word moves when it likes. */
	client.session.guard.vdso_tried = true;
	seed = (struct local_seed){.client = &client};
	daemon_err = kernel_err = interruptions = 0;
	kernel_gives = 256;
}

static void check_bytes(const uint8_t *bytes, uint8_t want)
{
	for (size_t i = 0; i < LOCAL_SEED_BYTES; i++)
		ck_assert_uint_eq(bytes[i], want);
}

START_TEST(both_decide)
{
	struct local_seed_mark mark = {0};
	uint8_t key[LOCAL_SEED_BYTES];

	kernel_gives = 7;
	interruptions = 3;
	ck_assert_int_eq(local_seed_take(&seed, key, &mark, 1234), 0);
	check_bytes(key, 0x5a ^ 0x33);
	ck_assert_ptr_eq(mark.look_again, &page.look_again);
	ck_assert_uint_eq(mark.was, 5);
}
END_TEST

/* On the stack, which a fork in another thread copies, there is never more than one half. */
START_TEST(whole_at_key_alone)
{
	const uint32_t here = BARE_HERE;
	struct local_seed_mark mark;
	uint8_t key[LOCAL_SEED_BYTES];

	ck_assert_int_eq(local_seed_take(&seed, key, &mark, 1234), 0);
	ck_assert_ptr_eq(kernel_wrote, key + sizeof(key));
	ck_assert_ptr_ne(daemon_wrote, key);
	kernel_err = ENOSYS; /* not asked */
	client.bare.mark = &here;
	ck_assert_int_eq(local_seed_take(&seed, key, &mark, 1234), 0);
	check_bytes(key, 0x5a);
	ck_assert_ptr_eq(daemon_wrote, key);
}
END_TEST

START_TEST(either_can_fail)
{
	struct local_seed_mark mark = {0};
	uint8_t key[LOCAL_SEED_BYTES];

	daemon_err = -ETIMEDOUT;
	memset(key, 1, sizeof(key));
	ck_assert_int_eq(local_seed_take(&seed, key, &mark, 1234), -ETIMEDOUT);
	check_bytes(key, 0);
	daemon_err = 0;
	kernel_err = ENOSYS;
	memset(key, 1, sizeof(key));
	ck_assert_int_eq(local_seed_take(&seed, key, &mark, 1234), -ENOSYS);
	check_bytes(key, 0);
	kernel_err = 0;
	client.session.guard.page.map = NULL;
	memset(key, 1, sizeof(key));
	ck_assert_int_eq(local_seed_take(&seed, key, &mark, 1234), -ENODATA);
	check_bytes(key, 0);
	ck_assert_ptr_null(mark.look_again);
}
END_TEST

START_TEST(how_long)
{
	ck_assert(local_seed_holds(&seed));
	page.look_again++;
	ck_assert(!local_seed_holds(&seed));
	page.look_again--;
	ck_assert(local_seed_holds(&seed));
	page.lease_ns = boottime_ns(); /* passes as it is read */
	ck_assert(!local_seed_holds(&seed));
	page.lease_ns = 0;
	ck_assert(!local_seed_holds(&seed));
	page.lease_ns = UINT64_MAX;
	ck_assert(local_seed_holds(&seed));
	client.session.guard.agreed.kernel = 1; /* it is not to be had now */
	ck_assert(!local_seed_holds(&seed));
	client.session.guard.agreed.kernel = 0;
	client.session.guard.page.map = NULL;
	ck_assert(!local_seed_holds(&seed));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("seed");
	TCase *tcase = tcase_create("seed");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tcase, begin, NULL);
	tcase_add_test(tcase, both_decide);
	tcase_add_test(tcase, whole_at_key_alone);
	tcase_add_test(tcase, either_can_fail);
	tcase_add_test(tcase, how_long);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
