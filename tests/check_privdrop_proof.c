/*
 * check_privdrop_proof - the proof fails as long as anything at all is left. Owns: its children.
 * May touch: their credentials. Never does: drop by privdrop_forever(), which would leave nothing
 * to find.
 */
#include <check.h>
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/privdrop.h"

#define ID           12345u
#define OTHER_ID     12346u
#define PROVEN       42
#define REFUSED      43
#define PREPARE_FAIL 44

/* A call that should be refused and is not; NULL for none. */
static const char *granted;

static bool is_granted(const char *name)
{
	return granted == name;
}

static const char granted_setuid[] = "setuid";
static const char granted_setgroups[] = "setgroups";
static const char granted_setgid[] = "setgid";

/* These stand in for the C library's: a kernel that lets root back in cannot be had for a test. */
int setuid(uid_t uid)
{
	return is_granted(granted_setuid) ? 0 : (int)syscall(SYS_setuid, uid);
}

int setgid(gid_t gid)
{
	return is_granted(granted_setgid) ? 0 : (int)syscall(SYS_setgid, gid);
}

int setgroups(size_t count, const gid_t *groups)
{
	return is_granted(granted_setgroups) ? 0 : (int)syscall(SYS_setgroups, count, groups);
}

static bool caps_limit(uint64_t permitted, uint64_t inheritable)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct caps[2] = {
	    {0, (uint32_t)permitted, (uint32_t)inheritable},
	    {0, (uint32_t)(permitted >> 32), (uint32_t)(inheritable >> 32)},
	};

	return syscall(SYS_capset, &head, caps) == 0;
}

static bool set_flags(void)
{
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_DUMPABLE, 0) == 0;
}

static bool become(uid_t saved_uid, gid_t saved_gid)
{
	return setgroups(0, NULL) == 0 && setresgid(ID, ID, saved_gid) == 0 &&
	       setresuid(ID, ID, saved_uid) == 0;
}

static bool nothing_left(void)
{
	return become(ID, ID) && caps_limit(0, 0) && set_flags();
}

static bool root_left(void)
{
	return caps_limit(0, 0) && set_flags();
}

static bool saved_root_left(void)
{
	return become(0, ID) && caps_limit(0, 0) && set_flags();
}

static bool saved_user_left(void)
{
	return become(OTHER_ID, ID) && caps_limit(0, 0) && set_flags();
}

static bool saved_root_group_left(void)
{
	return become(ID, 0) && caps_limit(0, 0) && set_flags();
}

static bool saved_group_left(void)
{
	return become(ID, OTHER_ID) && caps_limit(0, 0) && set_flags();
}

/* One that helps with none of the attempts to become root. */
static bool permitted_left(void)
{
	return prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0 && become(ID, ID) &&
	       caps_limit(1ull << CAP_SYSLOG, 0) && set_flags();
}

static bool high_permitted_left(void)
{
	return prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0 && become(ID, ID) &&
	       caps_limit(1ull << CAP_WAKE_ALARM, 0) && set_flags();
}

static bool inheritable_left(void)
{
	return prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0 && become(ID, ID) &&
	       caps_limit(1ull << CAP_SYSLOG, 1ull << CAP_SYSLOG) &&
	       caps_limit(0, 1ull << CAP_SYSLOG) && set_flags();
}

static bool new_privs_left(void)
{
	return become(ID, ID) && caps_limit(0, 0) && prctl(PR_SET_DUMPABLE, 0) == 0;
}

static bool dumpable_left(void)
{
	return nothing_left() && prctl(PR_SET_DUMPABLE, 1) == 0;
}

static bool setuid_left(void)
{
	return nothing_left() && (granted = granted_setuid);
}

static bool setgid_left(void)
{
	return nothing_left() && (granted = granted_setgid);
}

static bool setgroups_left(void)
{
	return nothing_left() && (granted = granted_setgroups);
}

static int proof_in_child(bool (*prepare)(void))
{
	int status, result;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		if (!prepare())
			_exit(PREPARE_FAIL);
		result = privdrop_prove();
		_exit(result == 0 ? PROVEN : result == -EPERM ? REFUSED : 1);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}

START_TEST(proof_holds)
{
	ck_assert_int_eq(proof_in_child(nothing_left), PROVEN);
}
END_TEST

static bool (*const states[])(void) = {
    root_left,      saved_root_left,     saved_user_left,  saved_root_group_left, saved_group_left,
    permitted_left, high_permitted_left, inheritable_left, new_privs_left,        dumpable_left,
    setuid_left,    setgid_left,         setgroups_left,
};

START_TEST(proof_fails)
{
	ck_assert_int_eq(proof_in_child(states[_i]), REFUSED);
}
END_TEST

static Suite *proof_suite(void)
{
	Suite *suite = suite_create("privdrop_proof");
	TCase *tcase = tcase_create("proof");

	if (geteuid() == 0) {
		tcase_add_test(tcase, proof_holds);
		tcase_add_loop_test(tcase, proof_fails, 0, sizeof(states) / sizeof(states[0]));
	} else {
		puts("SKIP: what the proof finds: not started as root");
	}
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	SRunner *runner = srunner_create(proof_suite());
	int failed;

	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
