/*
 * Owns: the processes it starts. May touch: what /proc says of them. Never does: count what the
 * peer of a row is not given too.
 *
 * Start: from just before fork() to the message READY=1 on the socket of a service manager, which
 * both send when they can be connected to and would answer. Memory: VmRSS after some requests,
 * shared pages of the C library included. Idle: nanoseconds on a processor (/proc/PID/schedstat)
 * while nobody asks for anything.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/rngclient.h"
#include "tests/bench/bench.h"
#include "tests/bench/launch.h"

#define USED_BYTES (1u << 20)
#define SMALL_GETS 100

/* ------------------------------------------------------------------ pull */

struct pull {
	const struct bench *bench;
	const char *socket;
};

/* Runs it with its output to nowhere. 0, or -1: it failed. */
static int run_program(char *const argv[])
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

		if (fd < 0 || dup2(fd, STDOUT_FILENO) < 0)
			_exit(127);
		execvp(argv[0], argv);
		_exit(127);
	}
	if (pid < 0)
		return -1;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

static int run_rngcli(const struct pull *pull, uint64_t bytes)
{
	char program[256], flag[] = "--socket", socket[64], count[24];
	char *argv[] = {program, flag, socket, count, NULL};

	snprintf(program, sizeof(program), "%s/rngcli", pull->bench->build);
	snprintf(socket, sizeof(socket), "%s", pull->socket);
	snprintf(count, sizeof(count), "%llu", (unsigned long long)bytes);
	return run_program(argv);
}

static int run_head(uint64_t bytes)
{
	char program[] = "head", flag[] = "-c", count[24], file[] = "/dev/urandom";
	char *argv[] = {program, flag, count, file, NULL};

	snprintf(count, sizeof(count), "%llu", (unsigned long long)bytes);
	return run_program(argv);
}

/* Bytes a nanosecond of both sides, in a round. */
static int pull_round(const struct pull *pull, bool first, double *ours, double *theirs)
{
	const struct measure_scale *scale = pull->bench->scale;

	for (int turn = 0; turn < 2; turn++) {
		double start_ns = measure_now_ns(MEASURE_WALL);

		if (first == (turn == 0)) {
			if (run_rngcli(pull, scale->pull_bytes))
				return -1;
			*ours =
			    (double)scale->pull_bytes / (measure_now_ns(MEASURE_WALL) - start_ns);
		} else {
			if (run_head(scale->pull_peer_bytes))
				return -1;
			*theirs = (double)scale->pull_peer_bytes /
				  (measure_now_ns(MEASURE_WALL) - start_ns);
		}
	}
	return 0;
}

static int run_pull(const struct bench *bench)
{
	const struct report_row row = {.name = "rngcli",
				       .size_bytes = bench->scale->pull_bytes,
				       .unit = "GB/s",
				       .peer = "head -c /dev/urandom"};
	struct measure_rounds rounds = {.count = bench->scale->processes};
	struct launched rngd = {0};
	const struct pull pull = {.bench = bench, .socket = rngd.socket};
	int err = launch(bench, LAUNCH_RNGD, &rngd);

	for (int i = 0; i < rounds.count && !err; i++)
		err = pull_round(&pull, i % 2, &rounds.ours[i], &rounds.theirs[i]);
	if (!err)
		report_row(bench, &row, &rounds);
	launch_end(&rngd);
	return err;
}

/* ----------------------------------------------------------------- start */

/* The number behind name in a file of /proc; -1: none. */
static double read_number(pid_t pid, const char *file, const char *name)
{
	char path[64], line[256];
	double value = -1;
	FILE *stream;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
	stream = fopen(path, "re");
	while (stream && value < 0 && fgets(line, sizeof(line), stream))
		if (strncmp(line, name, strlen(name)) == 0)
			value = strtod(line + strlen(name), NULL);
	if (stream)
		fclose(stream);
	return value;
}

/* Some requests of either size: what a server has touched by then stays. */
static int use(const struct launched *server)
{
	uint8_t *out = malloc(USED_BYTES);
	struct rngclient *client = NULL;
	int err = out ? rngclient_open(&client, server->socket, 0) : -ENOMEM;

	if (!err)
		err = rngclient_get(client, out, USED_BYTES);
	for (int i = 0; i < SMALL_GETS && !err; i++)
		err = rngclient_get(client, out, 32);
	rngclient_close(client);
	free(out);
	return err;
}

static int start_one(const struct bench *bench, enum launch_kind kind, double *ready_ms,
		     double *rss_mib)
{
	struct launched server = {0};
	double ready_ns;
	int err = launch_timed(bench, kind, &server, &ready_ns);

	if (err)
		return -1;
	err = use(&server);
	if (err)
		printf("  %s: %s\n", server.socket, strerror(-err));
	*ready_ms = ready_ns / 1e6;
	*rss_mib = read_number(server.pid, "status", "VmRSS:") / 1024;
	launch_end(&server);
	return err || *rss_mib < 0 ? -1 : 0;
}

static int run_start(const struct bench *bench)
{
	const struct report_row ready_row = {.name = "exec to READY",
					     .unit = "ms",
					     .peer = "bare server",
					     .bar_is = REPORT_OURS_AT_MOST,
					     .bar = 30};
	const struct report_row rss_row = {.name = "memory",
					   .unit = "MiB",
					   .peer = "bare server",
					   .bar_is = REPORT_OURS_AT_MOST,
					   .bar = 5};
	struct measure_rounds ready = {.count = bench->scale->processes}, rss = ready;

	for (int i = 0; i < ready.count; i++) {
		if (start_one(bench, LAUNCH_RNGD, &ready.ours[i], &rss.ours[i]) ||
		    start_one(bench, LAUNCH_BARE, &ready.theirs[i], &rss.theirs[i]))
			return -1;
	}
	report_row(bench, &ready_row, &ready);
	report_row(bench, &rss_row, &rss);
	return 0;
}

/* ------------------------------------------------------------------ idle */

static double processor_ns(const struct launched *server)
{
	return read_number(server->pid, "schedstat", "");
}

static const char *without_schedstat(void)
{
	return access("/proc/self/schedstat", R_OK) == 0
		   ? NULL
		   : "this kernel does not count nanoseconds (no schedstat)";
}

/* Both are idle at the same time. */
static int run_idle_rounds(const struct bench *bench, const struct launched *rngd,
			   const struct launched *bare)
{
	const struct report_row row = {.name = "of a processor",
				       .unit = "%",
				       .peer = "bare server",
				       .bar_is = REPORT_OURS_AT_MOST,
				       .bar = 0.1};
	const struct timespec length = {.tv_sec = bench->scale->idle_ms / 1000,
					.tv_nsec = bench->scale->idle_ms % 1000 * 1000000L};
	struct measure_rounds rounds = {.count = bench->scale->processes};

	for (int i = 0; i < rounds.count; i++) {
		double start_ns = measure_now_ns(MEASURE_WALL), wall_ns;
		double ours_ns = processor_ns(rngd), theirs_ns = processor_ns(bare);

		nanosleep(&length, NULL);
		wall_ns = measure_now_ns(MEASURE_WALL) - start_ns;
		if (ours_ns < 0 || theirs_ns < 0)
			return -1;
		rounds.ours[i] = (processor_ns(rngd) - ours_ns) / wall_ns * 100;
		rounds.theirs[i] = (processor_ns(bare) - theirs_ns) / wall_ns * 100;
	}
	report_row(bench, &row, &rounds);
	return 0;
}

static int run_idle(const struct bench *bench)
{
	struct launched rngd = {0}, bare = {0};
	int err = launch(bench, LAUNCH_RNGD, &rngd);

	if (!err)
		err = launch(bench, LAUNCH_BARE, &bare);
	if (!err)
		err = use(&rngd) || use(&bare) ? -1 : 0;
	if (!err)
		err = run_idle_rounds(bench, &rngd, &bare);
	launch_end(&rngd);
	launch_end(&bare);
	return err;
}

const struct group process_groups[] = {
    {.name = "pull", .title = "rngcli to /dev/null", .run = run_pull},
    {.name = "start",
     .title = "Start, to READY=1, and memory after some requests",
     .run = run_start},
    {.name = "idle",
     .title = "Processor time while nobody asks",
     .skip = without_schedstat,
     .run = run_idle},
    {0},
};
