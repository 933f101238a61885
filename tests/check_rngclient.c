/*
 * The library against a real daemon, and against servers that break the protocol.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/rngclient.h"
#include "tests/support.h"

#define TAIL 16 /* bytes after a buffer that must stay as they are */

static bool all_zero(const uint8_t *buf, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (buf[i] != 0)
			return false;
	return true;
}

static struct rngclient *open_client(const struct support_rngd *rngd)
{
	struct rngclient *client = NULL;

	ck_assert_int_eq(rngclient_open(&client, rngd->socket, 0), 0);
	ck_assert_ptr_nonnull(client);
	return client;
}

START_TEST(version)
{
	ck_assert_str_eq(rngclient_version(), RNGCLIENT_VERSION_STRING);
	ck_assert_str_eq(rngclient_version(), RNGD_VERSION);
}
END_TEST

START_TEST(open_errors)
{
	struct rngclient *client = (struct rngclient *)&client;
	char path[200], dir[] = "/tmp/rngd-check.XXXXXX";
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd;

	ck_assert_int_eq(rngclient_open(NULL, "/x", 0), -EINVAL);
	ck_assert_int_eq(rngclient_open(&client, "", 0), -EINVAL);
	ck_assert_ptr_null(client);
	ck_assert_int_eq(rngclient_open(&client, "/nonexistent/rngd.sock", 0), -ENOENT);
	memset(path, 'a', sizeof(path));
	path[0] = '/';
	path[108] = '\0';
	ck_assert_int_eq(rngclient_open(&client, path, 0), -ENAMETOOLONG);

	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/sock", dir);
	strcpy(addr.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	close(fd);
	ck_assert_int_eq(rngclient_open(&client, path, 0), -ECONNREFUSED);
	ck_assert_ptr_null(client);
	unlink(path);
	rmdir(dir);
	rngclient_close(NULL);
}
END_TEST

START_TEST(no_permission)
{
	const char *const options[] = {"--socket-mode", "0600", NULL};
	struct rngclient *client;
	struct support_rngd rngd;
	pid_t pid;
	int status;

	if (geteuid() != 0) {
		printf("SKIP: no_permission needs root, to become somebody else\n");
		return;
	}
	support_start(&rngd, options);
	pid = fork();
	if (pid == 0)
		_exit(setuid(65534) == 0 && rngclient_open(&client, rngd.socket, 0) == -EACCES ? 0
											       : 1);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	support_end(&rngd);
}
END_TEST

START_TEST(bad_arguments)
{
	struct support_rngd rngd;
	struct rngclient *client;
	char text[RNGCLIENT_STATUS_BYTES];
	uint8_t byte = 1;

	support_start(&rngd, NULL);
	client = open_client(&rngd);
	ck_assert_int_eq(rngclient_get(NULL, &byte, 1), -EINVAL);
	ck_assert_int_eq(rngclient_get(client, NULL, 1), -EINVAL);
	ck_assert_int_eq(rngclient_get(client, NULL, 0), 0);
	ck_assert_int_eq(rngclient_set_timeout(NULL, 1), -EINVAL);
	ck_assert_int_eq(rngclient_set_timeout(client, 0), -EINVAL);
	ck_assert_int_eq(rngclient_set_timeout(client, -2), -EINVAL);
	ck_assert_int_eq(rngclient_status(NULL, text, sizeof(text)), -EINVAL);
	ck_assert_int_eq(rngclient_status(client, NULL, 1), -EINVAL);
	ck_assert_int_eq(rngclient_status(client, text, 0), -EINVAL);
	memset(text, 'x', sizeof(text));
	ck_assert_int_eq(rngclient_status(client, text, 10), -EMSGSIZE);
	ck_assert(all_zero((uint8_t *)text, 10));
	ck_assert_int_eq(text[10], 'x');
	ck_assert_int_eq(rngclient_status(client, text, sizeof(text)), 0);
	ck_assert_ptr_nonnull(strstr(text, "state=\"serving\"\n"));
	rngclient_close(client);
	support_stop(&rngd);
	support_end(&rngd);
}
END_TEST

/* Every length around every limit; nothing beyond the end; no two answers alike. */
START_TEST(every_length)
{
	static const size_t lengths[] = {1,     31,     32,     33,     63,     64,
					 65,    4095,   4096,   4097,   65535,  65536,
					 65537, 131072, 131071, 131073, 262144, 262145,
					 65556, 65516,  8192,   250000, 1048577};
	struct support_rngd rngd;
	struct rngclient *client;
	uint8_t *buf, *last;

	support_start(&rngd, NULL);
	client = open_client(&rngd);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		size_t len = lengths[i];

		buf = malloc(len + TAIL);
		last = malloc(len);
		ck_assert(buf && last);
		memset(buf + len, 0x5a, TAIL);
		ck_assert_int_eq(rngclient_get(client, last, len), 0);
		ck_assert_int_eq(rngclient_get(client, buf, len), 0);
		for (size_t j = 0; j < TAIL; j++)
			ck_assert_uint_eq(buf[len + j], 0x5a);
		if (len >= 16) {
			ck_assert_mem_ne(buf, last, 16);
			ck_assert(!all_zero(buf + len - 16, 16));
		}
		free(buf);
		free(last);
	}
	rngclient_close(client);
	support_stop(&rngd);
	support_end(&rngd);
}
END_TEST

START_TEST(daemon_restarts)
{
	struct support_rngd rngd;
	struct rngclient *client;
	uint8_t first[32], second[32];

	support_start(&rngd, NULL);
	client = open_client(&rngd);
	ck_assert_int_eq(rngclient_get(client, first, sizeof(first)), 0);
	for (int i = 0; i < 3; i++) {
		support_kill(&rngd);
		support_restart(&rngd, NULL);
		ck_assert_int_eq(rngclient_get(client, second, sizeof(second)), 0);
		ck_assert_mem_ne(first, second, sizeof(first));
	}
	rngclient_close(client);
	support_stop(&rngd);
	support_end(&rngd);
}
END_TEST

START_TEST(daemon_gone)
{
	struct support_rngd rngd;
	struct rngclient *client;
	uint8_t buf[100];
	int64_t start_ms;

	support_start(&rngd, NULL);
	client = open_client(&rngd);
	ck_assert_int_eq(rngclient_set_timeout(client, 300), 0);
	support_kill(&rngd);
	memset(buf, 1, sizeof(buf));
	start_ms = support_now_ms();
	ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), -ECONNREFUSED);
	ck_assert_int_ge(support_now_ms() - start_ms, 290);
	ck_assert_int_le(support_now_ms() - start_ms, 5000);
	ck_assert(all_zero(buf, sizeof(buf)));
	unlink(rngd.socket);
	ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), -ENOENT);
	/* The handle is good again as soon as a daemon is there. */
	support_restart(&rngd, NULL);
	ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), 0);
	rngclient_close(client);
	support_end(&rngd);
}
END_TEST

/* A daemon that hangs: the deadline holds, and the late reply is nobody's. */
START_TEST(deadline)
{
	struct support_rngd rngd;
	struct rngclient *client;
	uint8_t buf[4096], other[4096];
	int64_t start_ms;

	support_start(&rngd, NULL);
	client = open_client(&rngd);
	ck_assert_int_eq(rngclient_set_timeout(client, 200), 0);
	kill(rngd.pid, SIGSTOP);
	for (int i = 0; i < 2; i++) {
		memset(buf, 1, sizeof(buf));
		start_ms = support_now_ms();
		ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), -ETIMEDOUT);
		ck_assert_int_ge(support_now_ms() - start_ms, 195);
		ck_assert_int_le(support_now_ms() - start_ms, 2000);
		ck_assert(all_zero(buf, sizeof(buf)));
	}
	kill(rngd.pid, SIGCONT);
	ck_assert_int_eq(rngclient_set_timeout(client, -1), 0);
	ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), 0);
	ck_assert_int_eq(rngclient_get(client, other, sizeof(other)), 0);
	ck_assert_mem_ne(buf, other, 16);
	rngclient_close(client);
	support_stop(&rngd);
	support_end(&rngd);
}
END_TEST

static atomic_int ticks;

static void tick(int signal_number)
{
	(void)signal_number;
	ticks++;
}

START_TEST(signals_do_not_end_a_call)
{
	const struct itimerval every = {{0, 500}, {0, 500}}, never = {{0, 0}, {0, 0}};
	struct sigaction action = {.sa_handler = tick}; /* without SA_RESTART */
	size_t len = 4u << 20;
	struct support_rngd rngd;
	struct rngclient *client;
	uint8_t *buf = malloc(len);

	ck_assert_ptr_nonnull(buf);
	support_start(&rngd, NULL);
	client = open_client(&rngd);
	ck_assert_int_eq(sigaction(SIGALRM, &action, NULL), 0);
	ck_assert_int_eq(setitimer(ITIMER_REAL, &every, NULL), 0);
	for (int i = 0; i < 40 || (ticks < 20 && i < 2000); i++)
		ck_assert_int_eq(rngclient_get(client, buf, len), 0);
	ck_assert_int_eq(setitimer(ITIMER_REAL, &never, NULL), 0);
	ck_assert_int_ge(ticks, 20);
	rngclient_close(client);
	support_stop(&rngd);
	support_end(&rngd);
	free(buf);
}
END_TEST

/* Puts what `other` is in the place of the client's connection; returns the number. */
static int replace_connection(int other)
{
	for (int fd = 3; fd < other; fd++) {
		struct stat st;

		if (fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode)) {
			ck_assert_int_eq(dup2(other, fd), fd);
			return fd;
		}
	}
	ck_abort_msg("no connection found");
	return -1;
}

/* A program may close all descriptors and reuse the number: its file or socket is not ours. */
START_TEST(descriptor_reused)
{
	char path[] = "/tmp/rngd-check.XXXXXX";
	struct support_rngd rngd;
	struct rngclient *client;
	int fd, other, pair[2];
	uint8_t buf[32];
	struct stat st;
	char byte;

	support_start(&rngd, NULL);
	client = open_client(&rngd);
	if (_i == 0) {
		other = mkstemp(path);
		unlink(path);
	} else {
		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
		other = pair[0];
	}
	fd = replace_connection(other);
	ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), 0);
	ck_assert(!all_zero(buf, sizeof(buf)));
	rngclient_close(client);
	ck_assert_int_eq(fstat(fd, &st), 0); /* still open, and nothing was written to it */
	if (_i == 0)
		ck_assert_int_eq(st.st_size, 0);
	else
		ck_assert_int_eq(recv(pair[1], &byte, 1, MSG_DONTWAIT), -1);
	support_stop(&rngd);
	support_end(&rngd);
}
END_TEST
#define REUSES 2

START_TEST(close_on_exec)
{
	struct support_rngd rngd;
	struct rngclient *client;
	int flags, found = 0;

	support_start(&rngd, NULL);
	client = open_client(&rngd);
	for (int fd = 3; fd < 64; fd++) {
		struct stat st;

		if (fstat(fd, &st) < 0 || !S_ISSOCK(st.st_mode))
			continue;
		flags = fcntl(fd, F_GETFD);
		ck_assert_int_eq(flags, FD_CLOEXEC);
		found++;
	}
	ck_assert_int_eq(found, 1);
	rngclient_close(client);
	support_end(&rngd);
}
END_TEST

#define FORK_CHILDREN 200

/* Parent and children go on with one handle; nobody reads another's bytes. */
static void fork_and_compare(struct rngclient *client)
{
	uint8_t(*out)[2][32];
	uint8_t key[32];
	int status;

	out = mmap(NULL, sizeof(*out) * FORK_CHILDREN, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(out, MAP_FAILED);
	for (int i = 0; i < FORK_CHILDREN; i++) {
		pid_t pid = fork();

		ck_assert_int_ge(pid, 0);
		if (pid == 0)
			_exit(rngclient_get(client, out[i][0], 32) == 0 ? 0 : 1);
		ck_assert_int_eq(rngclient_get(client, out[i][1], 32), 0);
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "child %d: %#x", i,
			      status);
	}
	for (int i = 0; i < 2 * FORK_CHILDREN; i++) {
		memcpy(key, out[i / 2][i % 2], sizeof(key));
		ck_assert(!all_zero(key, sizeof(key)));
		for (int j = 0; j < i; j++)
			ck_assert_mem_ne(key, out[j / 2][j % 2], sizeof(key));
	}
	munmap(out, sizeof(*out) * FORK_CHILDREN);
}

static unsigned long long accepted(const struct support_rngd *rngd)
{
	struct rngclient *client = open_client(rngd);
	char text[RNGCLIENT_STATUS_BYTES];
	const char *at;

	ck_assert_int_eq(rngclient_status(client, text, sizeof(text)), 0);
	rngclient_close(client);
	at = strstr(text, "server.accepted=");
	ck_assert_ptr_nonnull(at);
	return strtoull(at + strlen("server.accepted="), NULL, 10);
}

START_TEST(fork_makes_a_new_connection)
{
	struct support_rngd rngd;
	struct rngclient *client;
	unsigned long long before;

	support_start(&rngd, NULL);
	client = open_client(&rngd);
	before = accepted(&rngd);
	fork_and_compare(client);
	/* Two connections for each child, the epoch page's included; one of that for the parent,
	 * one to ask. */
	ck_assert_uint_eq(accepted(&rngd) - before, 2 * FORK_CHILDREN + 2);
	rngclient_close(client);
	support_stop(&rngd);
	support_end(&rngd);
}
END_TEST

struct loop {
	struct rngclient *client;
	atomic_bool stop;
	atomic_int failed;
	atomic_ullong calls;
};

static void *get_loop(void *arg)
{
	struct loop *loop = arg;
	uint8_t buf[1000], last[1000] = {0};

	while (!loop->stop) {
		if (rngclient_get(loop->client, buf, sizeof(buf)) != 0 ||
		    memcmp(buf, last, sizeof(buf)) == 0)
			loop->failed++;
		memcpy(last, buf, sizeof(last));
		loop->calls++;
	}
	return NULL;
}

#ifndef __SANITIZE_THREAD__ /* ThreadSanitizer does not follow fork() with threads */
/* The lock is mostly held by the other thread at the moment of fork(). */
START_TEST(fork_while_a_thread_is_inside)
{
	struct support_rngd rngd;
	struct loop loop = {0};
	pthread_t thread;

	support_start(&rngd, NULL);
	loop.client = open_client(&rngd);
	ck_assert_int_eq(pthread_create(&thread, NULL, get_loop, &loop), 0);
	fork_and_compare(loop.client);
	loop.stop = true;
	pthread_join(thread, NULL);
	ck_assert_int_eq(loop.failed, 0);
	rngclient_close(loop.client);
	support_stop(&rngd);
	support_end(&rngd);
}
END_TEST
#endif

#define THREADS 8

START_TEST(threads_share_a_handle)
{
	struct support_rngd rngd;
	struct loop loop = {0};
	pthread_t threads[THREADS];
	int64_t end_ms;

	support_start(&rngd, NULL);
	loop.client = open_client(&rngd);
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, get_loop, &loop), 0);
	end_ms = support_now_ms() + 10000;
	while (loop.calls < 20000 && support_now_ms() < end_ms) {
		ck_assert_int_eq(rngclient_set_timeout(loop.client, 5000), 0);
		poll(NULL, 0, 10);
	}
	loop.stop = true;
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_int_eq(loop.failed, 0);
	ck_assert_uint_gt(loop.calls, THREADS);
	rngclient_close(loop.client);
	support_stop(&rngd);
	support_end(&rngd);
}
END_TEST

/* While one thread's call hangs, another's deadline holds for its turn too. */
START_TEST(waiting_for_a_turn_has_a_deadline)
{
	struct support_rngd rngd;
	struct loop loop = {.stop = false};
	pthread_t thread;
	uint8_t buf[8];
	int64_t start_ms;

	support_start(&rngd, NULL);
	loop.client = open_client(&rngd);
	ck_assert_int_eq(rngclient_set_timeout(loop.client, 400), 0);
	kill(rngd.pid, SIGSTOP);
	ck_assert_int_eq(pthread_create(&thread, NULL, get_loop, &loop), 0);
	start_ms = support_now_ms();
	ck_assert_int_eq(rngclient_get(loop.client, buf, sizeof(buf)), -ETIMEDOUT);
	ck_assert_int_le(support_now_ms() - start_ms, 3000);
	kill(rngd.pid, SIGCONT);
	loop.stop = true;
	pthread_join(thread, NULL);
	rngclient_close(loop.client);
	support_stop(&rngd);
	support_end(&rngd);
}
END_TEST

/* ---- servers that break the protocol ---- */

struct fake {
	int listen_fd;
	char dir[32];
	char path[64];
	pthread_t thread;
	size_t (*answer)(const struct wire_request *req, int nth, uint8_t *out);
	atomic_bool stop;
	atomic_bool bytewise;          /* writes each byte by itself */
	atomic_size_t pause_at;        /* waits after so many bytes until they are read; 0: no */
	atomic_bool close_after_first; /* the first answer ends its connection */
	atomic_int asked;
};

static bool send_answer(const struct fake *fake, int fd, const uint8_t *out, size_t len)
{
	size_t step = fake->bytewise ? 1 : len;
	int unread = 1;

	if (fake->pause_at > 0) {
		if (send(fd, out, fake->pause_at, MSG_NOSIGNAL) != (ssize_t)fake->pause_at)
			return false;
		for (int i = 0; i < 1000 && unread > 0; i++) { /* until the client has it */
			poll(NULL, 0, 2);
			if (ioctl(fd, SIOCOUTQ, &unread) < 0)
				return false;
		}
		out += fake->pause_at;
		len -= fake->pause_at;
		step = len;
	}

	for (size_t at = 0; at < len; at += step)
		if (send(fd, out + at, step, MSG_NOSIGNAL) != (ssize_t)step)
			return false;
	return true;
}

static size_t frame(uint8_t *out, const struct wire_request *req, struct wire_reply reply);

/* One request from a connection. false: it is over. */
static bool fake_serve(struct fake *fake, int fd)
{
	static uint8_t out[300000];
	struct wire_request req;
	uint8_t in[64];
	size_t used, len;
	ssize_t n = recv(fd, in, sizeof(in), 0);

	if (n <= 0 || wire_decode_request(in, (size_t)n, &req, &used) != WIRE_OK)
		return false;
	/* It knows nothing of clones, like the first daemons. */
	if (req.opcode == RNGD_PROTO_OP_PAGE || req.opcode == RNGD_PROTO_OP_LOOK) {
		len = frame(out, &req,
			    (struct wire_reply){.version = 1, .status = RNGD_PROTO_E_OPCODE});
		return send(fd, out, len, MSG_NOSIGNAL) == (ssize_t)len;
	}
	len = fake->answer(&req, fake->asked++, out);
	if (len == 0 || !send_answer(fake, fd, out, len))
		return false;
	return !(fake->close_after_first && fake->asked == 1);
}

#define FAKE_PEERS 4

/* Reads one request at a time from each connection, writes what answer() says; nothing: closes. */
static void *fake_main(void *arg)
{
	struct pollfd fds[1 + FAKE_PEERS];
	struct fake *fake = arg;

	for (int i = 0; i <= FAKE_PEERS; i++)
		fds[i] = (struct pollfd){.fd = -1, .events = POLLIN};
	fds[0].fd = fake->listen_fd;
	while (!fake->stop && poll(fds, 1 + FAKE_PEERS, -1) > 0) {
		for (int i = 1; i <= FAKE_PEERS; i++) {
			if (fds[i].fd >= 0 && fds[i].revents && !fake_serve(fake, fds[i].fd)) {
				close(fds[i].fd);
				fds[i].fd = -1;
			}
		}
		for (int i = 1; fds[0].revents && i <= FAKE_PEERS; i++) {
			if (fds[i].fd >= 0)
				continue;
			fds[i].fd = accept(fake->listen_fd, NULL, NULL);
			if (fds[i].fd < 0)
				fake->stop = true;
			break;
		}
	}
	for (int i = 1; i <= FAKE_PEERS; i++)
		if (fds[i].fd >= 0)
			close(fds[i].fd);
	return NULL;
}

static struct rngclient *fake_start(struct fake *fake,
				    size_t (*answer)(const struct wire_request *, int, uint8_t *))
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct rngclient *client;

	memset(fake, 0, sizeof(*fake));
	fake->answer = answer;
	strcpy(fake->dir, "/tmp/rngd-check.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(fake->dir));
	snprintf(fake->path, sizeof(fake->path), "%s/sock", fake->dir);
	strcpy(addr.sun_path, fake->path);
	fake->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(fake->listen_fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	ck_assert_int_eq(listen(fake->listen_fd, 16), 0);
	ck_assert_int_eq(pthread_create(&fake->thread, NULL, fake_main, fake), 0);
	ck_assert_int_eq(rngclient_open(&client, fake->path, 0), 0);
	ck_assert_int_eq(rngclient_set_timeout(client, 20000), 0);
	return client;
}

static void fake_end(struct fake *fake, struct rngclient *client)
{
	rngclient_close(client);
	fake->stop = true;
	shutdown(fake->listen_fd, SHUT_RDWR);
	pthread_join(fake->thread, NULL);
	close(fake->listen_fd);
	unlink(fake->path);
	rmdir(fake->dir);
}

static size_t frame(uint8_t *out, const struct wire_request *req, struct wire_reply reply)
{
	reply.opcode = req->opcode;
	reply.tag += req->tag;
	if (reply.generation == 0)
		reply.generation = 1;
	wire_encode_reply(&reply, out);
	memset(out + RNGD_PROTO_REPLY_HEAD_BYTES, 'r', reply.body_bytes);
	return RNGD_PROTO_REPLY_HEAD_BYTES + reply.body_bytes;
}

#define FAKE_BYTES 100

static size_t answer_short_length(const struct wire_request *req, int nth, uint8_t *out)
{
	size_t n = frame(out, req, (struct wire_reply){.version = 1, .body_bytes = FAKE_BYTES});

	(void)nth;
	wire_put_u32(out, 15);
	return n;
}

static size_t answer_huge_length(const struct wire_request *req, int nth, uint8_t *out)
{
	size_t n = frame(out, req, (struct wire_reply){.version = 1, .body_bytes = FAKE_BYTES});

	(void)nth;
	wire_put_u32(out, UINT32_MAX);
	return n;
}

static size_t answer_other_tag(const struct wire_request *req, int nth, uint8_t *out)
{
	(void)nth;
	return frame(out, req,
		     (struct wire_reply){.version = 1, .tag = 1, .body_bytes = FAKE_BYTES});
}

static size_t answer_other_opcode(const struct wire_request *req, int nth, uint8_t *out)
{
	size_t n = frame(out, req, (struct wire_reply){.version = 1, .body_bytes = FAKE_BYTES});

	(void)nth;
	out[4] = 2;
	return n;
}

static size_t answer_other_version(const struct wire_request *req, int nth, uint8_t *out)
{
	(void)nth;
	return frame(out, req, (struct wire_reply){.version = 9, .body_bytes = FAKE_BYTES});
}

static size_t answer_less(const struct wire_request *req, int nth, uint8_t *out)
{
	(void)nth;
	return frame(out, req, (struct wire_reply){.version = 1, .body_bytes = FAKE_BYTES - 1});
}

static size_t answer_more(const struct wire_request *req, int nth, uint8_t *out)
{
	(void)nth;
	return frame(out, req, (struct wire_reply){.version = 1, .body_bytes = FAKE_BYTES + 1});
}

static size_t answer_nothing_but_more(const struct wire_request *req, int nth, uint8_t *out)
{
	(void)nth;
	return frame(out, req, (struct wire_reply){.version = 1, .flags = RNGD_PROTO_FLAG_MORE});
}

static size_t answer_all_and_more(const struct wire_request *req, int nth, uint8_t *out)
{
	(void)nth;
	return frame(out, req,
		     (struct wire_reply){
			 .version = 1, .flags = RNGD_PROTO_FLAG_MORE, .body_bytes = FAKE_BYTES});
}

/*
 * A short answer in two frames, the second as long as the whole: what is read ahead of its head
 * would end beyond the caller's buffer.
 */
static size_t answer_in_two(const struct wire_request *req, int nth, uint8_t *out)
{
	size_t n =
	    frame(out, req,
		  (struct wire_reply){
		      .version = 1, .flags = RNGD_PROTO_FLAG_MORE, .body_bytes = FAKE_BYTES - 1});

	(void)nth;
	return n + frame(out + n, req, (struct wire_reply){.version = 1, .body_bytes = FAKE_BYTES});
}

static size_t answer_generation_zero(const struct wire_request *req, int nth, uint8_t *out)
{
	size_t n = frame(out, req, (struct wire_reply){.version = 1, .body_bytes = FAKE_BYTES});

	(void)nth;
	memset(out + 12, 0, 8);
	return n;
}

static size_t answer_garbage(const struct wire_request *req, int nth, uint8_t *out)
{
	(void)req;
	(void)nth;
	memset(out, 0xff, 200);
	return 200;
}

static size_t answer_status_body(const struct wire_request *req, int nth, uint8_t *out)
{
	(void)nth;
	return frame(out, req, (struct wire_reply){.version = 1, .status = 200, .body_bytes = 200});
}

START_TEST(liars_are_refused)
{
	static size_t (*const answers[])(const struct wire_request *, int, uint8_t *) = {
	    answer_short_length,  answer_huge_length,
	    answer_other_tag,     answer_other_opcode,
	    answer_other_version, answer_less,
	    answer_more,          answer_nothing_but_more,
	    answer_all_and_more,  answer_generation_zero,
	    answer_garbage,       answer_status_body,
	};
	struct rngclient *client;
	struct fake fake;
	uint8_t buf[FAKE_BYTES + TAIL];

	client = fake_start(&fake, answers[_i]);
	memset(buf, 0x5a, sizeof(buf));
	ck_assert_int_eq(rngclient_get(client, buf, FAKE_BYTES), -EPROTO);
	ck_assert(all_zero(buf, FAKE_BYTES));
	ck_assert_uint_eq(buf[FAKE_BYTES], 0x5a);
	fake_end(&fake, client);
}
END_TEST
#define LIARS 12

#define LONG_BYTES 20000u

/* A longer answer: the daemon cuts it where it likes, but into no crumbs. Zero ends the row. */
static const struct cut {
	uint32_t frames[6];
	bool more_at_last;
	int err;
} cuts[] = {
    {{20000}, false, 0},
    {{4096, 15904}, false, 0},
    {{15904, 4096}, false, 0},
    {{19999, 1}, false, 0},
    {{4096, 4096, 4096, 4096, 3616}, false, 0},
    {{4095, 15905}, false, -EPROTO},
    {{4096, 1, 15903}, false, -EPROTO},
    {{4096, 4096, 4096, 4096, 3617}, false, -EPROTO},
    {{20000}, true, -EPROTO},
    {{4096, 15904}, true, -EPROTO},
    {{19999}, false, -EPROTO},
    {{20001}, false, -EPROTO},
    {{4096, 15903}, false, -EPROTO},
};

static const struct cut *cut;

static size_t answer_cut(const struct wire_request *req, int nth, uint8_t *out)
{
	size_t n = 0;

	(void)nth;
	for (size_t i = 0; i < 6 && cut->frames[i] > 0; i++) {
		const bool last = i == 5 || cut->frames[i + 1] == 0;

		struct wire_reply reply = {.version = 1, .body_bytes = cut->frames[i]};

		if (!last || cut->more_at_last)
			reply.flags = RNGD_PROTO_FLAG_MORE;
		n += frame(out + n, req, reply);
	}
	return n;
}

START_TEST(frames_of_a_long_answer)
{
	struct rngclient *client;
	struct fake fake;
	uint8_t *buf = malloc(LONG_BYTES + TAIL);

	ck_assert_ptr_nonnull(buf);
	cut = &cuts[_i];
	client = fake_start(&fake, answer_cut);
	memset(buf, 0x5a, LONG_BYTES + TAIL);
	ck_assert_int_eq(rngclient_get(client, buf, LONG_BYTES), cut->err);
	for (size_t i = 0; i < LONG_BYTES; i++)
		ck_assert_uint_eq(buf[i], cut->err ? 0 : 'r');
	ck_assert_uint_eq(buf[LONG_BYTES], 0x5a);
	fake_end(&fake, client);
	free(buf);
}
END_TEST

static size_t answer_status_with_nul(const struct wire_request *req, int nth, uint8_t *out)
{
	size_t n = frame(out, req, (struct wire_reply){.version = 1, .body_bytes = FAKE_BYTES});

	(void)nth;
	out[n - 50] = '\0';
	return n;
}

START_TEST(status_is_a_string)
{
	struct rngclient *client;
	struct fake fake;
	char text[RNGCLIENT_STATUS_BYTES];

	client = fake_start(&fake, answer_status_with_nul);
	memset(text, 'x', sizeof(text));
	ck_assert_int_eq(rngclient_status(client, text, sizeof(text)), -EPROTO);
	ck_assert(all_zero((uint8_t *)text, sizeof(text)));
	fake_end(&fake, client);
}
END_TEST

/* Bytes of a hostile server beyond the end of the caller's buffer would be worse than no bytes. */
START_TEST(nothing_beyond_the_buffer)
{
	struct rngclient *client;
	struct fake fake;
	uint8_t buf[3 * FAKE_BYTES], beyond[2 * FAKE_BYTES];

	client = fake_start(&fake, answer_in_two);
	fake.pause_at = RNGD_PROTO_REPLY_HEAD_BYTES + FAKE_BYTES - 1;
	memset(buf, 0x5a, sizeof(buf));
	memset(beyond, 0x5a, sizeof(beyond));
	ck_assert_int_eq(rngclient_get(client, buf, FAKE_BYTES), -EPROTO);
	ck_assert(all_zero(buf, FAKE_BYTES));
	ck_assert_mem_eq(buf + FAKE_BYTES, beyond, sizeof(beyond));
	fake_end(&fake, client);
}
END_TEST

/* No handle, no bytes: the buffer says so too. */
START_TEST(no_handle_leaves_zeroes)
{
	uint8_t buf[32];

	memset(buf, 1, sizeof(buf));
	ck_assert_int_eq(rngclient_get(NULL, buf, sizeof(buf)), -EINVAL);
	ck_assert(all_zero(buf, sizeof(buf)));
}
END_TEST

/* The wait of a call is bounded by its own deadline, whatever another thread sets meanwhile. */
static void *get_once(void *arg)
{
	struct loop *loop = arg;
	uint8_t byte;

	loop->failed = rngclient_get(loop->client, &byte, 1) == -ETIMEDOUT ? 0 : 1;
	return NULL;
}

static bool is_asked(void *arg)
{
	struct fake *fake = arg;

	return fake->asked > 0;
}

static size_t answer_never(const struct wire_request *req, int nth, uint8_t *out)
{
	(void)req;
	(void)nth;
	out[0] = 0; /* one byte of a head, then silence */
	return 1;
}

START_TEST(a_deadline_outlives_a_change)
{
	struct loop loop = {.stop = false};
	pthread_t first, second;
	struct fake fake;
	int64_t start_ms = support_now_ms();

	loop.client = fake_start(&fake, answer_never);
	ck_assert_int_eq(rngclient_set_timeout(loop.client, 500), 0);
	ck_assert_int_eq(pthread_create(&first, NULL, get_once, &loop), 0);
	ck_assert(support_wait(is_asked, &fake));
	ck_assert_int_eq(pthread_create(&second, NULL, get_once, &loop), 0);
	(void)rngclient_set_timeout(loop.client, -1);
	pthread_join(first, NULL);
	pthread_join(second, NULL);
	ck_assert_int_eq(loop.failed, 0);
	ck_assert_int_le(support_now_ms() - start_ms, 5000);
	fake_end(&fake, loop.client);
}
END_TEST

#ifndef __SANITIZE_THREAD__
static atomic_int forks;

/* fork() in a signal handler in the middle of a call: the child's call goes on by itself. */
static void fork_in_handler(int signal_number)
{
	(void)signal_number;
	if (forks++ == 0 && fork() == 0)
		forks = 100;
}

/* Put there by the linker: as if a handler had forked when the turn was taken, nothing sent yet. */
int __wrap_fstat(int fd, struct stat *st);
int __real_fstat(int fd, struct stat *st);
ssize_t __wrap_send(int fd, const void *data, size_t len, int flags);
ssize_t __real_send(int fd, const void *data, size_t len, int flags);

static bool fork_in_fstat;
static struct stat parents_socket;
static pid_t forked;

int __wrap_fstat(int fd, struct stat *st)
{
	int err = __real_fstat(fd, st);

	if (fork_in_fstat) {
		fork_in_fstat = false;
		parents_socket = *st;
		forked = fork();
	}
	return err;
}

ssize_t __wrap_send(int fd, const void *data, size_t len, int flags)
{
	struct stat st;

	/* What the child asks for goes over a connection of its own. */
	if (parents_socket.st_ino != 0 && forked == 0 && __real_fstat(fd, &st) == 0 &&
	    st.st_ino == parents_socket.st_ino)
		_exit(7);
	return __real_send(fd, data, len, flags);
}

START_TEST(fork_before_the_request)
{
	struct support_rngd rngd;
	struct rngclient *client;
	pid_t self = getpid();
	uint8_t buf[32];
	int err, status;

	support_start(&rngd, NULL);
	client = open_client(&rngd);
	ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), 0);
	fork_in_fstat = true;
	err = rngclient_get(client, buf, sizeof(buf));
	if (getpid() != self)
		_exit(err == 0 ? 0 : 1);
	ck_assert_int_eq(err, 0);
	ck_assert_int_gt(forked, 0);
	ck_assert_int_eq(waitpid(forked, &status, 0), forked);
	ck_assert_int_eq(status, 0);
	rngclient_close(client);
	support_end(&rngd);
}
END_TEST

START_TEST(fork_inside_a_call)
{
	struct sigaction action = {.sa_handler = fork_in_handler};
	struct support_rngd rngd;
	struct rngclient *client;
	uint8_t buf[32],
	    *child = mmap(NULL, 32, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned long long before;
	pid_t self = getpid();
	int status;

	support_start(&rngd, NULL);
	client = open_client(&rngd);
	ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), 0);
	before = accepted(&rngd);
	ck_assert_int_eq(sigaction(SIGUSR1, &action, NULL), 0);
	/* The daemon sleeps, so that the call is waiting for its reply when the signal comes. */
	kill(rngd.pid, SIGSTOP);
	if (fork() == 0) {
		poll(NULL, 0, 100);
		kill(self, SIGUSR1);
		poll(NULL, 0, 100);
		kill(rngd.pid, SIGCONT);
		_exit(0);
	}
	status = rngclient_get(client, buf, sizeof(buf));
	if (getpid() != self) {
		memcpy(child, buf, sizeof(buf));
		_exit(status == 0 ? 0 : 1);
	}
	ck_assert_int_eq(status, 0);
	for (int i = 0; i < 2; i++) {
		int ended;

		ck_assert_int_gt(wait(&ended), 0);
		ck_assert_int_eq(ended, 0);
	}
	ck_assert(!all_zero(child, 32));
	ck_assert_mem_ne(child, buf, 32);
	/*
	 * The child's bytes came over a connection of its own: that one, the one for its page, and
	 * the one to ask. The parent's two are new if the child ended the one they shared.
	 */
	ck_assert_uint_ge(accepted(&rngd) - before, 3);
	ck_assert_uint_le(accepted(&rngd) - before, 6);
	rngclient_close(client);
	support_end(&rngd);
}
END_TEST
#endif

static size_t answer_unavailable(const struct wire_request *req, int nth, uint8_t *out)
{
	(void)nth;
	return frame(out, req,
		     (struct wire_reply){.version = 1, .status = RNGD_PROTO_E_UNAVAILABLE});
}

static size_t answer_no_opcode(const struct wire_request *req, int nth, uint8_t *out)
{
	(void)nth;
	return frame(out, req, (struct wire_reply){.version = 1, .status = RNGD_PROTO_E_OPCODE});
}

static size_t answer_no_version(const struct wire_request *req, int nth, uint8_t *out)
{
	size_t n = frame(
	    out, req,
	    (struct wire_reply){.version = 7, .status = RNGD_PROTO_E_VERSION, .body_bytes = 2});

	(void)nth;
	out[n - 2] = 7;
	out[n - 1] = 7;
	return n;
}

static size_t answer_close(const struct wire_request *req, int nth, uint8_t *out)
{
	(void)req;
	(void)nth;
	(void)out;
	return 0;
}

static size_t answer_half(const struct wire_request *req, int nth, uint8_t *out)
{
	(void)nth;
	/* then silence */
	return frame(out, req, (struct wire_reply){.version = 1, .body_bytes = FAKE_BYTES}) - 1;
}

START_TEST(error_frames)
{
	static const struct {
		size_t (*answer)(const struct wire_request *, int, uint8_t *);
		int err;
	} cases[] = {
	    {answer_unavailable, -EAGAIN},
	    {answer_no_opcode, -EOPNOTSUPP},
	    {answer_no_version, -EPROTONOSUPPORT},
	    {answer_close, -ETIMEDOUT},
	    {answer_half, -ETIMEDOUT},
	};
	struct rngclient *client;
	struct fake fake;
	uint8_t buf[FAKE_BYTES];

	client = fake_start(&fake, cases[_i].answer);
	if (cases[_i].err == -ETIMEDOUT)
		ck_assert_int_eq(rngclient_set_timeout(client, 300), 0);
	memset(buf, 1, sizeof(buf));
	ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), cases[_i].err);
	ck_assert(all_zero(buf, sizeof(buf)));
	fake_end(&fake, client);
}
END_TEST
#define ERROR_FRAMES 5

/* Half a frame and the end of the connection; then a whole one of other bytes. */
static size_t answer_half_then_whole(const struct wire_request *req, int nth, uint8_t *out)
{
	size_t n = frame(out, req, (struct wire_reply){.version = 1, .body_bytes = FAKE_BYTES});

	memset(out + RNGD_PROTO_REPLY_HEAD_BYTES, nth == 0 ? 'a' : 'b', FAKE_BYTES);
	return nth == 0 ? n - FAKE_BYTES / 2 : n;
}

/* A daemon that ends inside a reply: what came of it is not part of the next one. */
START_TEST(end_inside_a_reply)
{
	struct rngclient *client;
	struct fake fake;
	uint8_t buf[FAKE_BYTES], want[FAKE_BYTES];

	client = fake_start(&fake, answer_half_then_whole);
	fake.close_after_first = true;
	memset(want, 'b', sizeof(want));
	ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), 0);
	ck_assert_mem_eq(buf, want, sizeof(buf));
	ck_assert_int_eq(fake.asked, 2);
	fake_end(&fake, client);
}
END_TEST

static size_t answer_well(const struct wire_request *req, int nth, uint8_t *out)
{
	uint32_t len = wire_get_u32(req->body);
	size_t n = 0;

	(void)nth;
	while (len > 0) {
		uint32_t part =
		    len < RNGD_PROTO_FRAME_DATA_BYTES ? len : RNGD_PROTO_FRAME_DATA_BYTES;

		len -= part;
		n += frame(out + n, req,
			   (struct wire_reply){.version = 1,
					       .flags = len > 0 ? RNGD_PROTO_FLAG_MORE : 0,
					       .body_bytes = part});
	}
	return n;
}

/* Replies that come in one byte at a time, heads split anywhere. */
START_TEST(one_byte_at_a_time)
{
	struct rngclient *client;
	struct fake fake;
	static uint8_t buf[RNGD_PROTO_FRAME_DATA_BYTES + 50], want[sizeof(buf)];
	static const size_t lengths[] = {1, 32, 4096, 4097, sizeof(buf)};

	memset(want, 'r', sizeof(want));
	client = fake_start(&fake, answer_well);
	fake.bytewise = true;
	ck_assert_int_eq(rngclient_set_timeout(client, 20000), 0);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		memset(buf, 0, sizeof(buf));
		ck_assert_int_eq(rngclient_get(client, buf, lengths[i]), 0);
		ck_assert_mem_eq(buf, want, lengths[i]);
	}
	fake_end(&fake, client);
}
END_TEST

#define TWO_FRAMES (RNGD_PROTO_FRAME_DATA_BYTES + 10)

/* The first answer changes its generation half way; the second is of one. */
static size_t answer_clone(const struct wire_request *req, int nth, uint8_t *out)
{
	size_t n = frame(out, req,
			 (struct wire_reply){.version = 1,
					     .flags = RNGD_PROTO_FLAG_MORE,
					     .generation = nth == 0 ? 1 : 2,
					     .body_bytes = RNGD_PROTO_FRAME_DATA_BYTES});

	memset(out + RNGD_PROTO_REPLY_HEAD_BYTES, nth == 0 ? 'a' : 'b', 20);
	return n + frame(out + n, req,
			 (struct wire_reply){.version = 1, .generation = 2, .body_bytes = 10});
}

START_TEST(one_get_is_of_one_generation)
{
	struct rngclient *client;
	struct fake fake;
	uint8_t *buf = malloc(TWO_FRAMES);

	ck_assert_ptr_nonnull(buf);
	client = fake_start(&fake, answer_clone);
	ck_assert_int_eq(rngclient_get(client, buf, TWO_FRAMES), 0);
	ck_assert_int_eq(fake.asked, 2);
	ck_assert_uint_eq(buf[0], 'b');
	fake_end(&fake, client);
	free(buf);
}
END_TEST

/* Nobody accepts, the queue is full: the connect is bounded too. */
START_TEST(full_backlog)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	char dir[] = "/tmp/rngd-check.XXXXXX";
	int listen_fd, fds[64], n = 0;
	struct rngclient *client;
	uint8_t buf[16];
	int64_t start_ms;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/sock", dir);
	listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(listen_fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	ck_assert_int_eq(listen(listen_fd, 1), 0);
	ck_assert_int_eq(rngclient_open(&client, addr.sun_path, 0), 0);
	ck_assert_int_eq(rngclient_set_timeout(client, 300), 0);
	close(accept(listen_fd, NULL, NULL)); /* the first call must connect again */
	for (;;) {
		fds[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (connect(fds[n], (struct sockaddr *)&addr, sizeof(addr)) != 0)
			break;
		ck_assert_int_lt(++n, 64);
	}
	start_ms = support_now_ms();
	ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), -ETIMEDOUT);
	ck_assert_int_ge(support_now_ms() - start_ms, 290);
	ck_assert_int_le(support_now_ms() - start_ms, 3000);
	rngclient_close(client);
	close(listen_fd);
	unlink(addr.sun_path);
	rmdir(dir);
}
END_TEST

static TCase *real_cases(void)
{
	TCase *tcase = tcase_create("real daemon");

	tcase_set_timeout(tcase, 120);
	tcase_add_test(tcase, version);
	tcase_add_test(tcase, open_errors);
	tcase_add_test(tcase, no_permission);
	tcase_add_test(tcase, bad_arguments);
	tcase_add_test(tcase, every_length);
	tcase_add_test(tcase, daemon_restarts);
	tcase_add_test(tcase, daemon_gone);
	tcase_add_test(tcase, deadline);
	tcase_add_test(tcase, signals_do_not_end_a_call);
	tcase_add_loop_test(tcase, descriptor_reused, 0, REUSES);
	tcase_add_test(tcase, close_on_exec);
	tcase_add_test(tcase, fork_makes_a_new_connection);
#ifndef __SANITIZE_THREAD__
	tcase_add_test(tcase, fork_while_a_thread_is_inside);
	tcase_add_test(tcase, fork_inside_a_call);
	tcase_add_test(tcase, fork_before_the_request);
#endif
	tcase_add_test(tcase, threads_share_a_handle);
	tcase_add_test(tcase, waiting_for_a_turn_has_a_deadline);
	return tcase;
}

int main(void)
{
	Suite *suite = suite_create("rngclient");
	TCase *tcase = tcase_create("lying server");
	SRunner *runner;
	int failed;

	suite_add_tcase(suite, real_cases());
	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, liars_are_refused, 0, LIARS);
	tcase_add_loop_test(tcase, frames_of_a_long_answer, 0, sizeof(cuts) / sizeof(cuts[0]));
	tcase_add_loop_test(tcase, error_frames, 0, ERROR_FRAMES);
	tcase_add_test(tcase, nothing_beyond_the_buffer);
	tcase_add_test(tcase, no_handle_leaves_zeroes);
	tcase_add_test(tcase, a_deadline_outlives_a_change);
	tcase_add_test(tcase, status_is_a_string);
	tcase_add_test(tcase, end_inside_a_reply);
	tcase_add_test(tcase, one_byte_at_a_time);
	tcase_add_test(tcase, one_get_is_of_one_generation);
	tcase_add_test(tcase, full_backlog);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed > 0;
}
