/*
 * Owns: the daemons it started and their directories. May touch: /dev/shm, /proc, the kernel's
 * generator. Never does: wait without a bound.
 */
#include "tests/support.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/random.h>

#define SUPPORT_OPTIONS_MAX 16

int64_t support_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

bool support_wait(bool (*condition)(void *), void *arg)
{
	int64_t end_ms = support_now_ms() + SUPPORT_TIMEOUT_S * 1000;

	while (!condition(arg)) {
		if (support_now_ms() > end_ms)
			return false;
		poll(NULL, 0, 5);
	}
	return true;
}

static int try_connect(const struct support_rngd *rngd)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_uint_lt(strlen(rngd->socket), sizeof(addr.sun_path));
	memcpy(addr.sun_path, rngd->socket, strlen(rngd->socket) + 1);
	if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0)
		return fd;
	close(fd);
	return -1;
}

static bool is_up(void *arg)
{
	const struct support_rngd *rngd = arg;
	uint8_t byte;
	int fd;

	ck_assert_msg(waitpid(rngd->pid, NULL, WNOHANG) == 0, "rngd ended while starting");
	fd = try_connect(rngd);
	if (fd < 0)
		return false;
	/* It listens before it has everything else: only an answer shows that it is up. */
	support_get_all(fd, 1, &byte, sizeof(byte));
	close(fd);
	return true;
}

static void exec_rngd(const struct support_rngd *rngd, const char *const *options)
{
	const char *argv[SUPPORT_OPTIONS_MAX + 6];
	const char *build = getenv("DAEMON_BUILD");
	char path[256];
	size_t n = 0;
	int log;

	if (!build)
		build = getenv("BUILD");
	snprintf(path, sizeof(path), "%s/rngd", build ? build : "build");
	argv[n++] = path;
	argv[n++] = "--socket";
	argv[n++] = rngd->socket;
	/* Records lost from the machine's log may be a clone: other tests flood it. */
	argv[n++] = "--kmsg";
	argv[n++] = "/nonexistent";
	for (size_t i = 0; options && options[i] && i < SUPPORT_OPTIONS_MAX; i++)
		argv[n++] = options[i];
	argv[n] = NULL;
	/* Whatever happens to the test, its daemon does not stay behind. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setenv("ASAN_OPTIONS", "detect_leaks=0:exitcode=99", 1);
	log = open(rngd->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	dup2(log, STDERR_FILENO);
	execv(path, (char *const *)(uintptr_t)argv);
	_exit(127);
}

void support_restart(struct support_rngd *rngd, const char *const *options)
{
	rngd->pid = fork();
	ck_assert_int_ge(rngd->pid, 0);
	if (rngd->pid == 0)
		exec_rngd(rngd, options);
	ck_assert_msg(support_wait(is_up, rngd), "rngd did not come up; see %s", rngd->log);
}

void support_start(struct support_rngd *rngd, const char *const *options)
{
	strcpy(rngd->dir, "/dev/shm/rngd-check.XXXXXX"); /* an epoch page needs a tmpfs */
	ck_assert_ptr_nonnull(mkdtemp(rngd->dir));
	ck_assert_int_eq(chmod(rngd->dir, 0755), 0);
	snprintf(rngd->socket, sizeof(rngd->socket), "%s/sock", rngd->dir);
	snprintf(rngd->log, sizeof(rngd->log), "%s/log", rngd->dir);
	support_restart(rngd, options);
}

struct ending {
	pid_t pid;
	int status;
};

static bool has_ended(void *arg)
{
	struct ending *ending = arg;

	return waitpid(ending->pid, &ending->status, WNOHANG) == ending->pid;
}

void support_stop(struct support_rngd *rngd)
{
	struct ending ending = {.pid = rngd->pid};

	kill(rngd->pid, SIGTERM);
	ck_assert_msg(support_wait(has_ended, &ending), "rngd does not stop");
	ck_assert_msg(WIFEXITED(ending.status) && WEXITSTATUS(ending.status) == 0,
		      "rngd ended with wait status %#x; see %s", ending.status, rngd->log);
	rngd->pid = 0;
}

void support_kill(struct support_rngd *rngd)
{
	kill(rngd->pid, SIGKILL);
	waitpid(rngd->pid, NULL, 0);
	rngd->pid = 0;
}

void support_end(struct support_rngd *rngd)
{
	static const char *const made[] = {"",       ".lock",      ".control", ".control.lock",
					   ".epoch", ".epoch.lock"};
	char path[128];

	if (rngd->pid > 0)
		support_kill(rngd);
	unlink(rngd->log);
	for (size_t i = 0; i < sizeof(made) / sizeof(made[0]); i++) {
		snprintf(path, sizeof(path), "%s%s", rngd->socket, made[i]);
		unlink(path);
	}
	rmdir(rngd->dir);
}

int support_connect(const struct support_rngd *rngd)
{
	const struct timeval timeout = {.tv_sec = SUPPORT_TIMEOUT_S};
	int fd = try_connect(rngd);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)), 0);
	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)), 0);
	return fd;
}

void support_write(int fd, const void *data, size_t len)
{
	const char *at = data;
	ssize_t n;

	while (len > 0) {
		n = send(fd, at, len, MSG_NOSIGNAL);
		ck_assert_msg(n > 0, "send: %s", strerror(errno));
		at += n;
		len -= (size_t)n;
	}
}

void support_read(int fd, void *data, size_t len)
{
	char *at = data;
	ssize_t n;

	while (len > 0) {
		n = recv(fd, at, len, 0);
		ck_assert_msg(n > 0, "recv: %s", n == 0 ? "end of file" : strerror(errno));
		at += n;
		len -= (size_t)n;
	}
}

bool support_closed(int fd)
{
	char byte;
	ssize_t n = recv(fd, &byte, 1, 0);

	return n == 0 || (n < 0 && errno == ECONNRESET);
}

void support_request(int fd, uint8_t opcode, uint32_t tag, const void *body, uint32_t body_bytes)
{
	uint8_t buf[RNGD_PROTO_REQUEST_MAX_BYTES];
	const struct wire_request req = {
	    .opcode = opcode,
	    .version = 1,
	    .tag = tag,
	    .body = body,
	    .body_bytes = body_bytes,
	};

	ck_assert_uint_le(RNGD_PROTO_REQUEST_HEAD_BYTES + body_bytes, sizeof(buf));
	support_write(fd, buf, wire_encode_request(&req, buf));
}

void support_get(int fd, uint32_t tag, uint32_t count)
{
	uint8_t body[RNGD_PROTO_GET_BODY_BYTES];

	wire_put_u32(body, count);
	support_request(fd, RNGD_PROTO_OP_GET, tag, body, sizeof(body));
}

void support_reply(int fd, struct wire_reply *reply, void *body, size_t size)
{
	uint8_t head[RNGD_PROTO_REPLY_HEAD_BYTES];

	support_read(fd, head, sizeof(head));
	ck_assert_int_eq(wire_decode_reply(head, reply), WIRE_OK);
	ck_assert_uint_le(reply->body_bytes, size);
	support_read(fd, body, reply->body_bytes);
}

void support_get_all(int fd, uint32_t tag, void *out, uint32_t count)
{
	uint8_t *at = out;
	struct wire_reply reply;

	support_get(fd, tag, count);
	while (count > 0) {
		support_reply(fd, &reply, at, count);
		ck_assert_uint_eq(reply.status, RNGD_PROTO_OK);
		ck_assert_uint_eq(reply.tag, tag);
		ck_assert_uint_eq(reply.opcode, RNGD_PROTO_OP_GET);
		at += reply.body_bytes;
		count -= reply.body_bytes;
		ck_assert_int_eq(reply.flags & RNGD_PROTO_FLAG_MORE, count > 0);
	}
}

const char *support_status(const struct support_rngd *rngd, const char *name)
{
	static char text[RNGD_PROTO_STATUS_MAX_BYTES + 2];
	struct wire_reply reply;
	int fd = support_connect(rngd);
	char key[64], *at;

	support_request(fd, RNGD_PROTO_OP_STATUS, 1, NULL, 0);
	text[0] = '\n';
	support_reply(fd, &reply, text + 1, sizeof(text) - 2);
	text[1 + reply.body_bytes] = '\0';
	close(fd);
	snprintf(key, sizeof(key), "\n%s=", name);
	at = strstr(text, key);
	ck_assert_msg(at != NULL, "no %s in STATUS", name);
	at += strlen(key);
	at[strcspn(at, "\n")] = '\0';
	return at;
}

uint64_t support_status_number(const struct support_rngd *rngd, const char *name)
{
	return strtoull(support_status(rngd, name), NULL, 10);
}

size_t support_fd_count(pid_t pid)
{
	char path[64];
	size_t n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	if (!dir)
		return 0;
	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 2;
}

size_t support_rss_bytes(pid_t pid)
{
	unsigned long total, resident = 0;
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/statm", pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	if (fscanf(file, "%lu %lu", &total, &resident) != 2)
		resident = 0;
	fclose(file);
	return resident * (size_t)sysconf(_SC_PAGESIZE);
}

static long cpu_ticks(pid_t pid)
{
	long user = 0, system = 0;
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "re");
	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(fscanf(file, "%*d %*s %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %ld %ld",
				&user, &system),
			 2);
	fclose(file);
	return user + system;
}

bool support_is_idle(pid_t pid, int ms)
{
	long most = sysconf(_SC_CLK_TCK) * ms / 5000, begin;

	for (int i = 0; i < 3; i++) {
		begin = cpu_ticks(pid);
		poll(NULL, 0, ms);
		if (cpu_ticks(pid) - begin <= most)
			return true;
	}
	return false;
}

/* Bytes are added first, as many as a seed has: the reseed is one like the kernel's own. */
bool support_reseed_kernel(void)
{
	struct {
		struct rand_pool_info info;
		uint8_t bytes[32];
	} pool = {.info = {.entropy_count = 256, .buf_size = 32}};
	int fd = open("/dev/urandom", O_RDWR | O_CLOEXEC);
	bool ok;

	if (fd < 0)
		return false;
	ok = getrandom(pool.bytes, sizeof(pool.bytes), 0) == sizeof(pool.bytes) &&
	     ioctl(fd, RNDADDENTROPY, &pool) == 0 && ioctl(fd, RNDRESEEDCRNG) == 0;
	close(fd);
	return ok;
}
