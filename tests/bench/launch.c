/*
 * Owns: the processes it started. May touch: the directory it is told. Never does: wait for one
 * without a bound, or leave one behind.
 */
#include "tests/bench/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define READY_MS       10000
#define PATH_MAX_BYTES 512

static int address(const char *path, struct sockaddr_un *addr)
{
	*addr = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(addr->sun_path))
		return -ENAMETOOLONG;
	memcpy(addr->sun_path, path, strlen(path) + 1);
	return 0;
}

int launch_connect(const char *path)
{
	struct sockaddr_un addr;
	int err = address(path, &addr), fd;

	if (err)
		return err;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0)
		return fd;
	err = -errno;
	close(fd);
	return err;
}

int launch_processors(int *client_cpu, int *server_cpu)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		return -errno;
	*client_cpu = *server_cpu = -1;
	for (int cpu = 0; cpu < CPU_SETSIZE && *client_cpu == *server_cpu; cpu++) {
		if (!CPU_ISSET((size_t)cpu, &set))
			continue;
		*server_cpu = cpu;
		if (*client_cpu < 0)
			*client_cpu = cpu;
	}
	return 0;
}

int launch_bind(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) < 0 ? -errno : 0;
}

/* In the child. */
static void become(const struct bench *bench, enum launch_kind kind, const struct launched *self,
		   const char *notify)
{
	char program[PATH_MAX_BYTES], log[PATH_MAX_BYTES], path[sizeof(self->socket)];
	char flag[] = "--socket", echo[] = "--echo";
	char *rngd[] = {program, flag, path, NULL};
	char *bare[] = {program, kind == LAUNCH_ECHO ? echo : path, path, NULL};
	int fd;

	memcpy(path, self->socket, sizeof(path));
	if (kind == LAUNCH_BARE)
		bare[2] = NULL;
	snprintf(program, sizeof(program), "%s/%s", bench->build,
		 kind == LAUNCH_RNGD ? "rngd" : "tests/bench/bare_server");
	snprintf(log, sizeof(log), "%s/log", bench->dir);
	fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0 || dup2(fd, STDERR_FILENO) < 0)
		_exit(127);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (notify)
		setenv("NOTIFY_SOCKET", notify, 1);
	else
		unsetenv("NOTIFY_SOCKET");
	execv(program, kind == LAUNCH_RNGD ? rngd : bare);
	_exit(127);
}

static int begin(const struct bench *bench, enum launch_kind kind, struct launched *launched,
		 const char *notify)
{
	static const char *const names[] = {"rngd", "bare", "echo"};

	snprintf(launched->socket, sizeof(launched->socket), "%s/%s", bench->dir, names[kind]);
	fflush(stdout);
	launched->pid = fork();
	if (launched->pid == 0)
		become(bench, kind, launched, notify);
	if (launched->pid > 0)
		return 0;
	launched->pid = 0;
	return -errno;
}

/* It is gone if it ended meanwhile. */
static bool ended(struct launched *launched)
{
	if (waitpid(launched->pid, NULL, WNOHANG) != launched->pid)
		return false;
	launched->pid = 0;
	return true;
}

/* Says so, with what was logged: the directory will be gone when somebody looks. */
static int fail(const struct bench *bench, struct launched *launched, int err)
{
	char path[PATH_MAX_BYTES], line[256];
	FILE *log;

	printf("  %s did not come up: %s\n", launched->socket, strerror(-err));
	snprintf(path, sizeof(path), "%s/log", bench->dir);
	log = fopen(path, "re");
	while (log && fgets(line, sizeof(line), log))
		printf("  | %s", line);
	if (log)
		fclose(log);
	launch_end(launched);
	return err;
}

int launch(const struct bench *bench, enum launch_kind kind, struct launched *launched)
{
	const struct timespec pause = {.tv_nsec = 5000000};
	double until_ns = measure_now_ns(MEASURE_WALL) + READY_MS * 1e6;
	int err = begin(bench, kind, launched, NULL), fd;

	if (err)
		return fail(bench, launched, err);
	while ((fd = launch_connect(launched->socket)) < 0) {
		if (ended(launched) || measure_now_ns(MEASURE_WALL) > until_ns)
			return fail(bench, launched, fd);
		nanosleep(&pause, NULL);
	}
	close(fd);
	return 0;
}

/* Where services say that they are ready. The path is bound in the directory. */
static int open_notify(const struct bench *bench, char *path, size_t size)
{
	struct sockaddr_un addr;
	int fd, err;

	snprintf(path, size, "%s/notify", bench->dir);
	unlink(path);
	err = address(path, &addr);
	if (err)
		return err;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0)
		return fd;
	err = -errno;
	close(fd);
	return err;
}

/* 0 when READY=1 came; other messages may come before. */
static int hear_ready(int fd)
{
	double until_ns = measure_now_ns(MEASURE_WALL) + READY_MS * 1e6;
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	char message[512];

	while (measure_now_ns(MEASURE_WALL) < until_ns) {
		ssize_t n;

		if (poll(&poll_fd, 1, READY_MS) <= 0)
			continue;
		n = recv(fd, message, sizeof(message) - 1, 0);
		message[n > 0 ? n : 0] = '\0';
		if (strstr(message, "READY=1"))
			return 0;
	}
	return -ETIMEDOUT;
}

int launch_timed(const struct bench *bench, enum launch_kind kind, struct launched *launched,
		 double *ready_ns)
{
	char path[64];
	int fd = open_notify(bench, path, sizeof(path)), err;
	double start_ns = measure_now_ns(MEASURE_WALL);

	if (fd < 0)
		return fail(bench, launched, fd);
	err = begin(bench, kind, launched, path);
	if (!err)
		err = hear_ready(fd);
	*ready_ns = measure_now_ns(MEASURE_WALL) - start_ns;
	close(fd);
	return err ? fail(bench, launched, err) : 0;
}

void launch_end(struct launched *launched)
{
	if (launched->pid > 0 && kill(launched->pid, SIGTERM) == 0)
		while (waitpid(launched->pid, NULL, 0) < 0 && errno == EINTR)
			;
	launched->pid = 0;
}
