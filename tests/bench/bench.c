/*
 * bench - how fast this is, next to a peer measured in the same run.
 *
 * Owns:       the directory of sockets, and the processes of the groups, one after the other.
 * May touch:  the file it is told to write.
 * Never does: judge. Figures decide nothing: the exit status is 0 unless something could not
 *             be run at all, or two sides do not compute the same.
 *
 *	bench [full|quick|smoke] [--json FILE] [GROUP...]
 *	bench list
 *
 * $BUILD is where rngd is (build). Each group has a process of its own, because OpenSSL reads
 * OPENSSL_ia32cap once, when it starts, and a thread makes its own generator once. To add rows,
 * add a group to one of the files beside this one.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/bench.h"

#define IA32CAP     "OPENSSL_ia32cap"
#define GROUP_WORD  "--apart" /* --apart SCALE DIR ROWS_FD GROUP: one group, in this process */
#define INTERRUPTED 130

static const struct measure_scale scales[] = {
    {.name = "full",
     .rounds = 15,
     .computing_ns = 2e6,
     .wall_ns = 40e6,
     .trips = 2000,
     .idle_ms = 2000,
     .processes = 9,
     .crowd = 4096,
     .pull_bytes = (size_t)4 << 30,
     .pull_peer_bytes = (size_t)512 << 20},
    {.name = "quick",
     .rounds = 9,
     .computing_ns = 1e6,
     .wall_ns = 10e6,
     .trips = 1000,
     .idle_ms = 1000,
     .processes = 9,
     .crowd = 1024,
     .pull_bytes = (size_t)128 << 20,
     .pull_peer_bytes = (size_t)32 << 20},
    {.name = "smoke", /* that everything runs; the figures mean nothing */
     .rounds = 3,
     .computing_ns = 1e4,
     .wall_ns = 2e5,
     .trips = 20,
     .idle_ms = 20,
     .processes = 3,
     .crowd = 64,
     .pull_bytes = (size_t)1 << 20,
     .pull_peer_bytes = (size_t)1 << 20},
};

static const struct group *const parts[] = {
    keystream_groups, local_groups, socket_groups, process_groups, others_groups, sweep_groups,
};

#define SCALES (sizeof(scales) / sizeof(scales[0]))
#define PARTS  (sizeof(parts) / sizeof(parts[0]))

static const struct measure_scale *find_scale(const char *name)
{
	for (size_t i = 0; i < SCALES; i++)
		if (strcmp(name, scales[i].name) == 0)
			return &scales[i];
	return NULL;
}

static const struct group *find_group(const char *name)
{
	for (size_t i = 0; i < PARTS; i++)
		for (const struct group *group = parts[i]; group->name; group++)
			if (strcmp(name, group->name) == 0)
				return group;
	return NULL;
}

static const char *build_dir(void)
{
	const char *build = getenv("BUILD");

	return build ? build : "build";
}

/* --apart SCALE DIR ROWS_FD GROUP */
static int run_here(char **args)
{
	struct bench bench = {
	    .scale = find_scale(args[0]),
	    .dir = args[1],
	    .rows = fdopen(atoi(args[2]), "a"),
	    .group = find_group(args[3]),
	    .build = build_dir(),
	};
	int err;

	if (!bench.scale || !bench.rows || !bench.group)
		return 2;
	fcntl(fileno(bench.rows), F_SETFD, FD_CLOEXEC); /* no server's business */
	report_begin(&bench);
	err = bench.group->run(&bench);
	if (err)
		report_skip(&bench, NULL, "it could not be run");
	return err ? 1 : 0;
}

/* In the child. The signals that its parent waits for are its own again. */
static void become(const struct bench *bench, const sigset_t *signals)
{
	char scale[16], dir[64], rows[16], group[64], word[] = GROUP_WORD, name[] = "bench";
	char *argv[] = {name, word, scale, dir, rows, group, NULL};

	snprintf(scale, sizeof(scale), "%s", bench->scale->name);
	snprintf(dir, sizeof(dir), "%s", bench->dir);
	snprintf(rows, sizeof(rows), "%d", fileno(bench->rows));
	snprintf(group, sizeof(group), "%s", bench->group->name);
	setpgid(0, 0); /* what it leaves behind can be ended by this number */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigprocmask(SIG_UNBLOCK, signals, NULL);
	if (bench->group->ia32cap)
		setenv(IA32CAP, bench->group->ia32cap, 1);
	else
		unsetenv(IA32CAP);
	execv("/proc/self/exe", argv);
	_exit(127);
}

/* 0, 1 if the group could not be run, or INTERRUPTED. Nothing that it started is left. */
static int run_apart(const struct bench *bench)
{
	sigset_t signals;
	int status = 0, signal;
	pid_t pid;

	sigemptyset(&signals);
	sigaddset(&signals, SIGCHLD);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	fflush(stdout);
	pid = fork();
	if (pid == 0)
		become(bench, &signals);
	if (pid < 0)
		return 1;
	setpgid(pid, pid); /* whichever of the two comes first */
	do {
		sigwait(&signals, &signal);
	} while (signal == SIGCHLD && waitpid(pid, &status, WNOHANG) == 0);
	kill(-pid, SIGKILL);
	if (signal != SIGCHLD) {
		waitpid(pid, NULL, 0);
		return INTERRUPTED;
	}
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : 1;
}

static int run_one(struct bench *bench, const struct group *group)
{
	const char *why = group->skip ? group->skip() : NULL;

	bench->group = group;
	if (!why)
		return run_apart(bench);
	printf("\n%s\n", group->title);
	report_skip(bench, NULL, why);
	return 0;
}

/* 0, 1 if one could not be run, or INTERRUPTED. names: ended by NULL; none: all there are. */
static int run_groups(struct bench *bench, char **names)
{
	int ret = 0, one = 0;

	for (char **name = names; *name && one != INTERRUPTED; name++) {
		one = run_one(bench, find_group(*name));
		ret |= one;
	}
	for (size_t i = 0; i < PARTS && !*names; i++) {
		for (const struct group *group = parts[i]; group->name; group++) {
			if (one != INTERRUPTED && !group->only_named)
				one = run_one(bench, group);
			ret |= one;
		}
	}
	return one == INTERRUPTED ? one : ret;
}

static void remove_dir(const char *dir)
{
	char path[512];
	struct dirent *entry;
	DIR *stream = opendir(dir);

	while (stream && (entry = readdir(stream))) {
		snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
		unlink(path); /* not "." and ".." */
	}
	if (stream)
		closedir(stream);
	rmdir(dir);
}

/* names: of groups, ended by NULL; none: all of them. */
static int run(const struct measure_scale *scale, const char *json, char **names)
{
	char dir[] = "/dev/shm/bench.XXXXXX"; /* an epoch page needs a tmpfs */
	struct bench bench = {.scale = scale, .rows = tmpfile(), .dir = dir, .build = build_dir()};
	int ret, err;

	if (!bench.rows || !mkdtemp(dir) || chmod(dir, 0755) < 0) {
		perror("bench");
		return 1;
	}
	report_machine();
	ret = run_groups(&bench, names);
	if (json && ret != INTERRUPTED) {
		err = report_json(json, scale->name, bench.rows);
		if (err)
			fprintf(stderr, "bench: %s: %s\n", json, strerror(-err));
		ret |= err != 0;
	}
	remove_dir(dir);
	return ret;
}

static int list(FILE *out)
{
	for (size_t i = 0; i < PARTS; i++)
		for (const struct group *group = parts[i]; group->name; group++)
			fprintf(out, "%-24s %s\n", group->name, group->title);
	return fflush(out) ? 1 : 0;
}

static int usage(void)
{
	fputs("usage: bench [full|quick|smoke] [--json FILE] [GROUP...]\n"
	      "       bench list\n",
	      stderr);
	return 2;
}

int main(int argc, char **argv)
{
	const struct measure_scale *scale = &scales[0];
	const char *json = NULL;

	if (argc == 6 && strcmp(argv[1], GROUP_WORD) == 0)
		return run_here(argv + 2);
	if (argc == 2 && strcmp(argv[1], "list") == 0)
		return list(stdout);
	argv++;
	if (*argv && find_scale(*argv))
		scale = find_scale(*argv++);
	if (argv[0] && argv[1] && strcmp(argv[0], "--json") == 0) {
		json = argv[1];
		argv += 2;
	}
	for (char **name = argv; *name; name++)
		if (!find_group(*name))
			return usage();
	return run(scale, json, argv);
}
