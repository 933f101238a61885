/*
 * check_privdrop_lookup - who the daemon would become. Owns: nothing. May touch: the account
 * database. Never does: need an account that not every system has; odd ones are made up below.
 */
#include <check.h>
#include <dlfcn.h>
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

#include "daemon/privdrop.h"

/* Stands in for the C library's, for accounts that no machine has; others it asks. */
int getpwnam_r(const char *name, struct passwd *entry, char *buf, size_t size,
	       struct passwd **found)
{
	__typeof__(&getpwnam_r) real = (__typeof__(&getpwnam_r))dlsym(RTLD_NEXT, "getpwnam_r");

	if (strncmp(name, "fake-", 5) != 0)
		return real(name, entry, buf, size, found);
	*found = NULL;
	if (strcmp(name, "fake-no-database") == 0)
		return ENOENT;
	if (strcmp(name, "fake-broken") == 0)
		return EIO;
	if (strcmp(name, "fake-endless") == 0 || (strcmp(name, "fake-large") == 0 && size < 300000))
		return ERANGE;
	*found = entry;
	entry->pw_uid = 1000;
	entry->pw_gid = strcmp(name, "fake-group0") == 0 ? 0 : 1001;
	return 0;
}

static const struct {
	const char *user;
	int result;
	struct privdrop_target target;
} lookups[] = {
    {"root", -EINVAL, {0}},
    {"0", -EINVAL, {0}},
    {"000", -EINVAL, {0}},
    {"fake-group0", -EINVAL, {0}},
    {"fake-large", 0, {1000, 1001, false}},
    {"fake-endless", -ERANGE, {0}},
    {"fake-broken", -EIO, {0}},
    {"fake-no-database", 0, {PRIVDROP_FALLBACK_ID, PRIVDROP_FALLBACK_ID, true}},
    {"no such account", 0, {PRIVDROP_FALLBACK_ID, PRIVDROP_FALLBACK_ID, true}},
    {"", 0, {PRIVDROP_FALLBACK_ID, PRIVDROP_FALLBACK_ID, true}},
    {"-1", 0, {PRIVDROP_FALLBACK_ID, PRIVDROP_FALLBACK_ID, true}},
    {"2147480001", 0, {2147480001, 2147480001, false}},
    {"4294967294", 0, {4294967294, 4294967294, false}},
    {"4294967295", -ERANGE, {0}},
    {"4294967296", -ERANGE, {0}},
    {"99999999999999999999", -ERANGE, {0}},
};

START_TEST(lookup)
{
	struct privdrop_target target;
	int result = privdrop_lookup(lookups[_i].user, &target);

	ck_assert_int_eq(result, lookups[_i].result);
	if (result != 0)
		return;
	ck_assert_uint_eq(target.uid, lookups[_i].target.uid);
	ck_assert_uint_eq(target.gid, lookups[_i].target.gid);
	ck_assert_int_eq(target.fallback, lookups[_i].target.fallback);
}
END_TEST

static struct passwd *unprivileged_account(void)
{
	struct passwd *entry;

	setpwent();
	do
		entry = getpwent();
	while (entry && (entry->pw_uid == 0 || entry->pw_gid == 0));
	ck_assert_ptr_nonnull(entry);
	return entry;
}

/* The same account by name and by number. */
START_TEST(lookup_real)
{
	struct privdrop_target by_name, by_uid;
	struct passwd *entry = unprivileged_account();
	char number[16];

	snprintf(number, sizeof(number), "%u", entry->pw_uid);
	ck_assert_int_eq(privdrop_lookup(entry->pw_name, &by_name), 0);
	ck_assert_int_eq(privdrop_lookup(number, &by_uid), 0);
	ck_assert_uint_eq(by_name.uid, entry->pw_uid);
	ck_assert_uint_eq(by_name.gid, entry->pw_gid);
	ck_assert_uint_eq(by_uid.uid, entry->pw_uid);
	ck_assert_uint_eq(by_uid.gid, entry->pw_gid);
	ck_assert(!by_name.fallback && !by_uid.fallback);
}
END_TEST

static Suite *lookup_suite(void)
{
	Suite *suite = suite_create("privdrop_lookup");
	TCase *tcase = tcase_create("lookup");

	tcase_add_loop_test(tcase, lookup, 0, sizeof(lookups) / sizeof(lookups[0]));
	tcase_add_test(tcase, lookup_real);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	SRunner *runner = srunner_create(lookup_suite());
	int failed;

	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
