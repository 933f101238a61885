/*
 * check_privdrop - the drop, seen from outside through /proc, and a proof that fails when it
 * should. Owns: its children. May touch: /proc. Never does: believe what the process says of
 * itself.
 */
#include <check.h>
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <pwd.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/privdrop.h"

#define STATUS_TEXT_BYTES 8192
#define PREPARE_FAILED    100
#define OTHER_ID          12345u /* has no account */
#define CAPS_ALL          (~0ull)
#define CAP_BIT(cap)      (1ull << (cap))

/* A child: brought into some state, then dropped. */
struct child {
	bool (*prepare)(void); /* may be NULL */
	struct privdrop_target target;
	pid_t pid;
	int fd;
	int result;
	char status[STATUS_TEXT_BYTES];
	uid_t owner; /* of its /proc/PID/environ: root's when it is not dumpable */
};

static void run_child(const struct child *child, int fd)
{
	int result = PREPARE_FAILED;
	char byte;

	if (!child->prepare || child->prepare())
		result = privdrop_forever(&child->target);
	if (write(fd, &result, sizeof(result)) == (ssize_t)sizeof(result) && read(fd, &byte, 1) < 0)
		_exit(1);
	_exit(0);
}

static void observe(struct child *child)
{
	char path[64];
	struct stat info;
	size_t len;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", child->pid);
	file = fopen(path, "re");
	ck_assert_ptr_nonnull(file);
	len = fread(child->status, 1, sizeof(child->status) - 1, file);
	child->status[len] = '\0';
	fclose(file);
	snprintf(path, sizeof(path), "/proc/%d/environ", child->pid);
	ck_assert_int_eq(stat(path, &info), 0);
	child->owner = info.st_uid;
}

/* Looks at it while it lives, and lets it end. */
static void examine(struct child *child)
{
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	child->pid = fork();
	ck_assert_int_ge(child->pid, 0);
	if (child->pid == 0) {
		close(pair[0]);
		run_child(child, pair[1]);
	}
	close(pair[1]);
	ck_assert_int_eq(recv(pair[0], &child->result, sizeof(child->result), MSG_WAITALL),
			 sizeof(child->result));
	observe(child);
	close(pair[0]);
	ck_assert_int_eq(waitpid(child->pid, NULL, 0), child->pid);
}

static void has_line(const struct child *child, const char *name, const char *value)
{
	char line[128];

	snprintf(line, sizeof(line), "\n%s:\t%s\n", name, value);
	ck_assert_msg(strstr(child->status, line) != NULL, "no \"%s: %s\" in %s", name, value,
		      child->status);
}

static void has_ids(const struct child *child, uid_t uid, gid_t gid)
{
	char ids[64];

	snprintf(ids, sizeof(ids), "%u\t%u\t%u\t%u", uid, uid, uid, uid);
	has_line(child, "Uid", ids);
	snprintf(ids, sizeof(ids), "%u\t%u\t%u\t%u", gid, gid, gid, gid);
	has_line(child, "Gid", ids);
}

/* All that holds however it was started; the bounding set and the groups depend on it. */
static void is_dropped(const struct child *child)
{
	static const char *const sets[] = {"CapInh", "CapPrm", "CapEff", "CapAmb"};

	ck_assert_int_eq(child->result, 0);
	for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++)
		has_line(child, sets[i], "0000000000000000");
	has_line(child, "NoNewPrivs", "1");
	ck_assert_uint_eq(child->owner, 0);
}

static bool set_caps(uint64_t permitted, uint64_t inheritable)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct caps[2];

	if (syscall(SYS_capget, &head, caps) < 0)
		return false;
	for (unsigned i = 0; i < 2; i++) {
		caps[i].permitted &= (uint32_t)(permitted >> (32 * i));
		caps[i].effective = caps[i].permitted;
		caps[i].inheritable = caps[i].permitted & (uint32_t)(inheritable >> (32 * i));
	}
	return syscall(SYS_capset, &head, caps) == 0;
}

/* Every kind of privilege that can be added to root's, and what would keep them over setuid(). */
static bool prepare_clinging(void)
{
	static const gid_t groups[] = {0, 4, 5, 27};

	return setgroups(4, groups) == 0 && set_caps(CAPS_ALL, CAPS_ALL) &&
	       prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_ADMIN, 0, 0) == 0 &&
	       prctl(PR_SET_SECUREBITS, SECBIT_KEEP_CAPS | SECBIT_NO_SETUID_FIXUP, 0, 0, 0) == 0;
}

static bool prepare_no_setpcap(void)
{
	return set_caps(~CAP_BIT(CAP_SETPCAP), 0);
}

static bool prepare_no_setuid(void)
{
	return set_caps(~CAP_BIT(CAP_SETUID), 0);
}

static bool prepare_no_setgid(void)
{
	return set_caps(~CAP_BIT(CAP_SETGID), 0);
}

/* As a service manager starts a service with User= and AmbientCapabilities=. */
static bool prepare_user_with_caps(void)
{
	const uint64_t caps = CAP_BIT(CAP_SYSLOG) | CAP_BIT(CAP_SETUID) | CAP_BIT(CAP_SETGID);

	return setgroups(0, NULL) == 0 && setresgid(OTHER_ID, OTHER_ID, OTHER_ID) == 0 &&
	       prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0 &&
	       setresuid(OTHER_ID, OTHER_ID, OTHER_ID) == 0 && set_caps(caps, caps) &&
	       prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SYSLOG, 0, 0) == 0;
}

/* As containers are often started: no root, but its group. */
static bool prepare_root_group(void)
{
	return setgroups(0, NULL) == 0 && setresgid(0, 0, 0) == 0 &&
	       setresuid(OTHER_ID, OTHER_ID, OTHER_ID) == 0;
}

/* Started by root through a program with another owner's set-user-id bit. */
static bool prepare_saved_root(void)
{
	return setresuid(OTHER_ID, OTHER_ID, 0) == 0;
}

static bool prepare_nobody(void)
{
	return setgroups(0, NULL) == 0 && setresgid(OTHER_ID, OTHER_ID, OTHER_ID) == 0 &&
	       setresuid(OTHER_ID, OTHER_ID, OTHER_ID) == 0 && prctl(PR_SET_DUMPABLE, 1) == 0;
}

static bool put_text(const char *path, const char *text)
{
	FILE *file = fopen(path, "we");
	bool good = file && fputs(text, file) >= 0;

	return file && fclose(file) == 0 && good;
}

/* In a user namespace where id 0 does not exist. */
static bool prepare_no_root_at_all(void)
{
	return prepare_root_group() && prctl(PR_SET_DUMPABLE, 1) == 0 &&
	       unshare(CLONE_NEWUSER) == 0 && put_text("/proc/self/setgroups", "deny") &&
	       put_text("/proc/self/uid_map", "12345 12345 1") &&
	       put_text("/proc/self/gid_map", "12345 0 1");
}

START_TEST(root_to_fallback)
{
	struct child child = {.target = {PRIVDROP_FALLBACK_ID, PRIVDROP_FALLBACK_ID, true}};

	examine(&child);
	is_dropped(&child);
	has_ids(&child, PRIVDROP_FALLBACK_ID, PRIVDROP_FALLBACK_ID);
	has_line(&child, "Groups", " ");
	has_line(&child, "CapBnd", "0000000000000000");
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

START_TEST(clinging_root_to_account)
{
	struct child child = {.prepare = prepare_clinging};
	struct passwd *entry = unprivileged_account();

	child.target.uid = entry->pw_uid;
	child.target.gid = entry->pw_gid;
	examine(&child);
	is_dropped(&child);
	has_ids(&child, entry->pw_uid, entry->pw_gid);
	has_line(&child, "Groups", " ");
	has_line(&child, "CapBnd", "0000000000000000");
}
END_TEST

START_TEST(root_stays_nothing)
{
	struct child root = {.target = {0, OTHER_ID, false}};
	struct child root_group = {.target = {OTHER_ID, 0, false}};

	examine(&root);
	ck_assert_int_eq(root.result, -EINVAL);
	examine(&root_group);
	ck_assert_int_eq(root_group.result, -EINVAL);
}
END_TEST

START_TEST(crippled_root)
{
	const struct privdrop_target other = {OTHER_ID, OTHER_ID, false};
	struct child no_setuid = {.prepare = prepare_no_setuid, .target = other};
	struct child no_setgid = {.prepare = prepare_no_setgid, .target = other};
	struct child no_setpcap = {.prepare = prepare_no_setpcap, .target = other};
	struct child saved_root = {.prepare = prepare_saved_root, .target = other};

	examine(&no_setuid);
	ck_assert_int_eq(no_setuid.result, -EPERM);
	examine(&no_setgid);
	ck_assert_int_eq(no_setgid.result, -EPERM);
	examine(&saved_root);
	ck_assert_int_eq(saved_root.result, -EPERM);
	/* Not an error: see the header. */
	examine(&no_setpcap);
	is_dropped(&no_setpcap);
	has_ids(&no_setpcap, OTHER_ID, OTHER_ID);
	has_line(&no_setpcap, "Groups", " ");
}
END_TEST

START_TEST(started_as_user)
{
	struct child with_caps = {.prepare = prepare_user_with_caps};
	struct child in_root_group = {.prepare = prepare_root_group};

	examine(&with_caps);
	is_dropped(&with_caps);
	has_ids(&with_caps, OTHER_ID, OTHER_ID);
	examine(&in_root_group);
	is_dropped(&in_root_group);
	has_ids(&in_root_group, OTHER_ID, 0);
}
END_TEST

START_TEST(no_root_at_all)
{
	struct child child = {.prepare = prepare_no_root_at_all};

	examine(&child);
	if (child.result == PREPARE_FAILED) {
		puts("SKIP: namespace without root: user namespaces cannot be made here");
		return;
	}
	is_dropped(&child);
	has_ids(&child, OTHER_ID, 0);
}
END_TEST

/* As whoever runs the test, or as nobody where that is root. */
START_TEST(unprivileged)
{
	struct child child = {0};

	if (geteuid() == 0)
		ck_assert(prepare_nobody());

	examine(&child);
	is_dropped(&child);
	has_ids(&child, geteuid(), getegid());
}
END_TEST

static Suite *privdrop_suite(void)
{
	Suite *suite = suite_create("privdrop");
	TCase *tcase = tcase_create("privdrop");

	tcase_add_test(tcase, unprivileged);
	if (geteuid() == 0) {
		tcase_add_test(tcase, root_to_fallback);
		tcase_add_test(tcase, clinging_root_to_account);
		tcase_add_test(tcase, root_stays_nothing);
		tcase_add_test(tcase, crippled_root);
		tcase_add_test(tcase, started_as_user);
		tcase_add_test(tcase, no_root_at_all);
	} else {
		puts("SKIP: dropping root's privileges: not started as root");
	}
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	SRunner *runner = srunner_create(privdrop_suite());
	int failed;

	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
