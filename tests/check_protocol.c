/*
 * Every row of PROTOCOL.md's tables of errors and of bad peers, against the real daemon in its
 * sandbox.
 */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support.h"

static struct support_rngd rngd;

static void setup(void)
{
	support_start(&rngd, NULL);
}

/* Whatever the test did to it, the daemon still serves and still stops cleanly. */
static void teardown(void)
{
	uint8_t buf[32];
	int fd = support_connect(&rngd);

	support_get_all(fd, 1, buf, sizeof(buf));
	close(fd);
	support_stop(&rngd);
	support_end(&rngd);
}

static void expect_error(int fd, uint8_t opcode, uint32_t tag, enum rngd_proto_status status)
{
	struct wire_reply reply;
	uint8_t body[RNGD_PROTO_ERROR_MAX_BYTES];

	support_reply(fd, &reply, body, sizeof(body));
	ck_assert_uint_eq(reply.status, status);
	ck_assert_uint_eq(reply.opcode, opcode);
	ck_assert_uint_eq(reply.tag, tag);
	ck_assert_uint_eq(reply.flags, 0);
	ck_assert_uint_eq(reply.body_bytes, status == RNGD_PROTO_E_VERSION ? 2 : 0);
	if (status == RNGD_PROTO_E_VERSION) {
		ck_assert_uint_eq(body[0], RNGD_PROTO_VERSION_MIN);
		ck_assert_uint_eq(body[1], RNGD_PROTO_VERSION_MAX);
	}
}

/* The connection is still in step. */
static void expect_service(int fd)
{
	uint8_t buf[100];

	support_get_all(fd, 0xfeedbeef, buf, sizeof(buf));
}

START_TEST(bad_lengths_close)
{
	static const uint32_t lengths[] = {
	    0, 1, 7, RNGD_PROTO_REQUEST_MAX_BYTES - 3, 1u << 16, 1u << 31, UINT32_MAX};
	uint8_t length[RNGD_PROTO_LENGTH_BYTES];
	int fd = support_connect(&rngd);

	support_get(fd, 5, 40); /* what came before is still answered, first */
	wire_put_u32(length, lengths[_i]);
	support_write(fd, length, sizeof(length));
	{
		struct wire_reply reply;
		uint8_t body[40];

		support_reply(fd, &reply, body, sizeof(body));
		ck_assert_uint_eq(reply.tag, 5);
	}
	expect_error(fd, RNGD_PROTO_OP_NONE, 0, RNGD_PROTO_E_LENGTH);
	ck_assert(support_closed(fd));
	close(fd);
}
END_TEST
#define BAD_LENGTHS 7

START_TEST(longest_request)
{
	uint8_t body[RNGD_PROTO_REQUEST_MAX_BYTES - RNGD_PROTO_REQUEST_HEAD_BYTES] = {0};
	int fd = support_connect(&rngd);

	support_request(fd, 200, 9, body, sizeof(body));
	expect_error(fd, 200, 9, RNGD_PROTO_E_OPCODE);
	expect_service(fd);
	close(fd);
}
END_TEST

START_TEST(refused_requests_keep_the_connection)
{
	uint8_t body[8] = {0, 0, 0, 0, 0, 0, 0, 0}, one[4] = {0, 0, 0, 1}, buf[64];
	struct wire_request req = {.opcode = RNGD_PROTO_OP_GET, .version = 1, .tag = 3};
	int fd = support_connect(&rngd);

	for (unsigned opcode = 0; opcode < 256; opcode++) {
		if (opcode >= RNGD_PROTO_OP_GET && opcode <= RNGD_PROTO_OP_CONTRIBUTE)
			continue;
		support_request(fd, (uint8_t)opcode, opcode, body, opcode % 9);
		expect_error(fd, (uint8_t)opcode, opcode, RNGD_PROTO_E_OPCODE);
	}
	support_get(fd, 1, 0);
	expect_error(fd, RNGD_PROTO_OP_GET, 1, RNGD_PROTO_E_BODY);
	for (uint32_t n = 0; n <= sizeof(body); n++) {
		if (n == RNGD_PROTO_GET_BODY_BYTES)
			continue;
		support_request(fd, RNGD_PROTO_OP_GET, n, body, n);
		expect_error(fd, RNGD_PROTO_OP_GET, n, RNGD_PROTO_E_BODY);
	}
	support_request(fd, RNGD_PROTO_OP_STATUS, 2, body, 1);
	expect_error(fd, RNGD_PROTO_OP_STATUS, 2, RNGD_PROTO_E_BODY);
	/* The body is judged before anything else that is wrong with these. */
	for (uint8_t opcode = RNGD_PROTO_OP_BUMP; opcode <= RNGD_PROTO_OP_SUBSCRIBERS; opcode++) {
		support_request(fd, opcode, opcode, body, 1);
		expect_error(fd, opcode, opcode, RNGD_PROTO_E_BODY);
	}
	support_request(fd, RNGD_PROTO_OP_CONTRIBUTE, 2, NULL, 0);
	expect_error(fd, RNGD_PROTO_OP_CONTRIBUTE, 2, RNGD_PROTO_E_BODY);

	req.body = one;
	req.body_bytes = sizeof(one);
	for (unsigned bit = 0; bit < 16; bit++) {
		req.flags = (uint16_t)(1u << bit);
		support_write(fd, buf, wire_encode_request(&req, buf));
		expect_error(fd, RNGD_PROTO_OP_GET, 3, RNGD_PROTO_E_FLAGS);
	}
	req.flags = 0;
	for (unsigned version = 0; version < 256; version++) {
		req.version = (uint8_t)version;
		if (version == 1)
			continue;
		support_write(fd, buf, wire_encode_request(&req, buf));
		expect_error(fd, RNGD_PROTO_OP_GET, 3, RNGD_PROTO_E_VERSION);
	}
	expect_service(fd);
	close(fd);
}
END_TEST

START_TEST(one_byte_at_a_time)
{
	uint8_t buf[32], body[4], reply_body[70];
	struct wire_request req = {
	    .opcode = RNGD_PROTO_OP_GET, .version = 1, .tag = 8, .body = body, .body_bytes = 4};
	struct wire_reply reply;
	int fd = support_connect(&rngd);
	size_t n;

	wire_put_u32(body, sizeof(reply_body));
	n = wire_encode_request(&req, buf);
	for (int round = 0; round < 20; round++) {
		for (size_t i = 0; i < n; i++)
			support_write(fd, buf + i, 1);
		support_reply(fd, &reply, reply_body, sizeof(reply_body));
		ck_assert_uint_eq(reply.status, RNGD_PROTO_OK);
		ck_assert_uint_eq(reply.body_bytes, sizeof(reply_body));
	}
	close(fd);
}
END_TEST

START_TEST(half_a_request_then_silence)
{
	uint8_t half[6] = {0, 0, 0, 12, 1, 1};
	int silent[50];
	int fd;

	for (size_t i = 0; i < 50; i++) {
		silent[i] = support_connect(&rngd);
		support_write(silent[i], half, 1 + i % sizeof(half));
	}
	fd = support_connect(&rngd);
	expect_service(fd);
	close(fd);
	for (size_t i = 0; i < 50; i++)
		close(silent[i]);
}
END_TEST

START_TEST(half_a_request_then_end)
{
	uint8_t half[6] = {0, 0, 0, 12, 1, 1};
	int fd = support_connect(&rngd);

	support_write(fd, half, sizeof(half));
	shutdown(fd, SHUT_WR);
	ck_assert(support_closed(fd));
	close(fd);
}
END_TEST

START_TEST(requests_then_end_are_answered)
{
	uint8_t *buf = malloc(300000);
	int fd = support_connect(&rngd);
	struct wire_reply reply;
	size_t left = 300000;

	ck_assert_ptr_nonnull(buf);
	support_get(fd, 1, 300000);
	support_get(fd, 2, 10);
	shutdown(fd, SHUT_WR);
	while (left > 0) {
		support_reply(fd, &reply, buf, left);
		ck_assert_uint_eq(reply.tag, 1);
		left -= reply.body_bytes;
	}
	support_reply(fd, &reply, buf, 10);
	ck_assert_uint_eq(reply.tag, 2);
	ck_assert(support_closed(fd));
	close(fd);
	free(buf);
}
END_TEST

START_TEST(garbage)
{
	uint8_t junk[5000];
	uint32_t state = 1;
	int fd;

	for (int round = 0; round < 200; round++) {
		size_t len = 1 + (size_t)(round * 23);

		for (size_t i = 0; i < len; i++) {
			state = state * 1664525u + 1013904223u;
			junk[i] = (uint8_t)(state >> 24);
		}
		fd = support_connect(&rngd);
		/* The daemon may close at any point of it. */
		(void)!send(fd, junk, len, MSG_NOSIGNAL);
		close(fd);
	}
}
END_TEST

#define PIPELINED       100000u
#define PIPELINED_BYTES 24u

/*
 * A process that writes all the requests. It stays blocked, once the socket is full, until this one
 * begins to read.
 */
static pid_t start_writer(int fd, uint8_t opcode, uint32_t count)
{
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		for (uint32_t i = 0; i < count; i++) {
			if (opcode == RNGD_PROTO_OP_GET)
				support_get(fd, i, PIPELINED_BYTES);
			else
				support_request(fd, opcode, i, NULL, 0);
		}
		_exit(0);
	}
	return pid;
}

static void expect_written(pid_t pid)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}

START_TEST(a_hundred_thousand_requests_without_reading)
{
	struct wire_reply reply;
	uint8_t buf[PIPELINED_BYTES], last[PIPELINED_BYTES] = {0};
	int fd = support_connect(&rngd), other = support_connect(&rngd);
	size_t rss;
	pid_t pid;

	expect_service(other);
	rss = support_rss_bytes(rngd.pid);
	pid = start_writer(fd, RNGD_PROTO_OP_GET, PIPELINED);
	/* While that peer is stuck, others are served and the daemon keeps next to nothing. */
	for (int i = 0; i < 2000; i++)
		expect_service(other);
	ck_assert_uint_lt(support_rss_bytes(rngd.pid), rss + (256u << 10));
	for (uint32_t i = 0; i < PIPELINED; i++) {
		support_reply(fd, &reply, buf, sizeof(buf));
		ck_assert_uint_eq(reply.tag, i);
		ck_assert_uint_eq(reply.body_bytes, PIPELINED_BYTES);
		ck_assert_mem_ne(buf, last, sizeof(buf));
		memcpy(last, buf, sizeof(last));
	}
	expect_written(pid);
	ck_assert_uint_lt(support_rss_bytes(rngd.pid), rss + (256u << 10));
	close(fd);
	close(other);
}
END_TEST

START_TEST(status_pipelined_without_reading)
{
	static uint8_t body[RNGD_PROTO_STATUS_MAX_BYTES];
	struct wire_reply reply;
	int fd = support_connect(&rngd), other = support_connect(&rngd);
	pid_t pid = start_writer(fd, RNGD_PROTO_OP_STATUS, 3000);

	/* More than the socket holds: the daemon keeps the rest of one reply, no more. */
	for (int i = 0; i < 1000; i++)
		expect_service(other);
	for (uint32_t i = 0; i < 3000; i++) {
		support_reply(fd, &reply, body, sizeof(body));
		ck_assert_uint_eq(reply.tag, i);
		ck_assert_uint_eq(reply.status, RNGD_PROTO_OK);
		ck_assert_uint_gt(reply.body_bytes, 100);
	}
	expect_written(pid);
	close(fd);
	close(other);
}
END_TEST

START_TEST(status_grammar)
{
	static char text[RNGD_PROTO_STATUS_MAX_BYTES + 1];
	struct wire_reply reply;
	int fd = support_connect(&rngd), lines = 0;
	char *line, *rest = text, *value;

	support_request(fd, RNGD_PROTO_OP_STATUS, 1, NULL, 0);
	support_reply(fd, &reply, (uint8_t *)text, sizeof(text) - 1);
	ck_assert_int_eq(text[reply.body_bytes - 1], '\n');
	while ((line = strsep(&rest, "\n")) && *line) {
		size_t len;

		value = strchr(line, '=');
		ck_assert_ptr_nonnull(value);
		*value++ = '\0';
		ck_assert_uint_eq(strspn(line, "abcdefghijklmnopqrstuvwxyz0123456789_."),
				  strlen(line));
		len = strlen(value);
		ck_assert_uint_gt(len, 0);
		if (*value == '"') {
			ck_assert_int_eq(value[len - 1], '"');
			ck_assert_uint_eq(strcspn(value + 1, "\"\\"), len - 2);
		} else if (strcmp(value, "true") != 0 && strcmp(value, "false") != 0) {
			ck_assert_uint_eq(strspn(value, "0123456789"), len);
		}
		lines++;
	}
	ck_assert_int_gt(lines, 20);
	close(fd);
}
END_TEST

/* What STATUS says of its protections is what this build and these options give. */
START_TEST(status_tells_the_truth)
{
	static char text[RNGD_PROTO_STATUS_MAX_BYTES + 1];
	const char *const options[] = {"--no-memfd-secret", NULL};
	struct wire_reply reply;
	int fd;

	support_stop(&rngd);
	support_restart(&rngd, options);
	fd = support_connect(&rngd);
	support_request(fd, RNGD_PROTO_OP_STATUS, 1, NULL, 0);
	support_reply(fd, &reply, (uint8_t *)text, sizeof(text) - 1);
	text[reply.body_bytes] = '\0';
	ck_assert_ptr_nonnull(strstr(text, "memory.secret=false\n"));
	ck_assert_ptr_nonnull(strstr(text, "memory.locked=true\n"));
	ck_assert_ptr_nonnull(strstr(text, "memory.no_dump=true\n"));
	ck_assert_ptr_nonnull(strstr(text, "memory.no_fork=true\n"));
	ck_assert_ptr_nonnull(strstr(text, "memory.core_limit_zero=true\n"));
	ck_assert_ptr_nonnull(strstr(text, "memory.undumpable=true\n"));
	ck_assert_ptr_nonnull(strstr(text, "sandbox.seccomp=true\n"));
	ck_assert_ptr_nonnull(strstr(text, "sandbox.no_new_privs=true\n"));
#ifdef RNGD_TEST_FALLBACK
	ck_assert_ptr_nonnull(strstr(text, "sandbox.refuses_fds=false\n"));
#endif
	close(fd);
}
END_TEST

START_TEST(four_gigabytes_then_gone)
{
	uint8_t buf[65536 + 20];
	int fd = support_connect(&rngd);

	support_get(fd, 1, UINT32_MAX);
	for (int i = 0; i < 100; i++)
		support_read(fd, buf, sizeof(buf) - (size_t)i);
	close(fd);
}
END_TEST

static bool one_connection_left(void *arg)
{
	size_t *quiet = arg;

	return support_fd_count(rngd.pid) <= *quiet;
}

START_TEST(peers_that_vanish_leave_nothing)
{
	size_t quiet = support_fd_count(rngd.pid);
	uint8_t buf[1000];

	for (int i = 0; i < 300; i++) {
		int fd = support_connect(&rngd);

		support_get(fd, 1, 1000000);
		if (i % 3 == 0)
			support_read(fd, buf, sizeof(buf));
		if (i % 3 == 1)
			support_get(fd, 2, 5);
		close(fd);
	}
	ck_assert(support_wait(one_connection_left, &quiet));
}
END_TEST

/* A reader that stops in the middle of frames and goes on, again and again. */
START_TEST(slow_reader_gets_everything)
{
	uint32_t count = 3000000, left = count;
	uint8_t *buf = malloc(count);
	int fd = support_connect(&rngd), other = support_connect(&rngd);
	struct wire_reply reply;

	ck_assert_ptr_nonnull(buf);
	support_get(fd, 77, count);
	while (left > 0) {
		expect_service(other);
		support_reply(fd, &reply, buf, left);
		ck_assert_uint_eq(reply.tag, 77);
		left -= reply.body_bytes;
		ck_assert_int_eq(reply.flags & RNGD_PROTO_FLAG_MORE, left > 0);
	}
	close(fd);
	close(other);
	free(buf);
}
END_TEST

/* SIGTERM in the middle of a long reply: whole frames, then the end. */
START_TEST(stop_is_at_a_frame_boundary)
{
	static uint8_t body[RNGD_PROTO_FRAME_DATA_BYTES];
	uint8_t head[RNGD_PROTO_REPLY_HEAD_BYTES];
	int fd = support_connect(&rngd), frames = 0;
	struct wire_reply reply;
	ssize_t n;

	support_get(fd, 1, UINT32_MAX);
	support_reply(fd, &reply, body, sizeof(body));
	kill(rngd.pid, SIGTERM);
	while ((n = recv(fd, head, sizeof(head), MSG_WAITALL)) > 0) {
		ck_assert_int_eq(n, sizeof(head));
		ck_assert_int_eq(wire_decode_reply(head, &reply), WIRE_OK);
		support_read(fd, body, reply.body_bytes);
		ck_assert_int_lt(frames++, 1000);
	}
	ck_assert_int_eq(n, 0);
	close(fd);
	ck_assert_int_eq(waitpid(rngd.pid, &frames, 0), rngd.pid);
	ck_assert_int_eq(frames, 0);
	support_restart(&rngd, NULL);
}
END_TEST

/* A peer that does not read cannot hold up the stop for long. */
START_TEST(stop_does_not_wait_for_a_stuck_peer)
{
	int fd = support_connect(&rngd), status;
	int64_t start_ms;

	support_get(fd, 1, UINT32_MAX);
	expect_service((status = support_connect(&rngd)));
	close(status);
	start_ms = support_now_ms();
	kill(rngd.pid, SIGTERM);
	ck_assert_int_eq(waitpid(rngd.pid, &status, 0), rngd.pid);
	ck_assert_int_eq(status, 0);
	ck_assert_int_le(support_now_ms() - start_ms, 8000);
	close(fd);
	support_restart(&rngd, NULL);
}
END_TEST

/* A TCP connection whose close would linger for 30 s, with data that nobody will take. */
static int lingering_tcp(int *listen_fd, int *peer_fd)
{
	struct sockaddr_in addr = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const struct linger linger = {.l_onoff = 1, .l_linger = 30};
	socklen_t addr_bytes = sizeof(addr);
	static uint8_t data[1 << 16];
	int fd;

	*listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(*listen_fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	ck_assert_int_eq(listen(*listen_fd, 1), 0);
	ck_assert_int_eq(getsockname(*listen_fd, (struct sockaddr *)&addr, &addr_bytes), 0);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	*peer_fd = accept(*listen_fd, NULL, NULL);
	ck_assert_int_ge(*peer_fd, 0);
	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
	ck_assert_int_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	while (send(fd, data, sizeof(data), MSG_NOSIGNAL) > 0)
		;
	return fd;
}

static ssize_t pass_fd(int fd, int passed)
{
	char control[CMSG_SPACE(sizeof(int))] = {0};
	uint8_t byte = 0;
	struct iovec iov = {&byte, 1};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control,
			     .msg_controllen = sizeof(control)};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &passed, sizeof(int));
	return sendmsg(fd, &msg, MSG_NOSIGNAL);
}

/*
 * Refused at the sender, or (in the fallback build) dropped by the daemon without hanging for the
 * 30 s that the socket would like.
 */
START_TEST(passed_descriptors_do_not_stall)
{
	int listen_fd, peer_fd, tcp = lingering_tcp(&listen_fd, &peer_fd);
	int fd = support_connect(&rngd), other = support_connect(&rngd);
	int64_t start_ms;
	size_t fds;
	ssize_t n;

	expect_service(fd);
	expect_service(other);
	fds = support_fd_count(rngd.pid);
	kill(rngd.pid, SIGSTOP); /* else it may drop its reference while we still hold ours */
	n = pass_fd(fd, tcp);
#ifdef RNGD_TEST_FALLBACK
	ck_assert_int_eq(n, 1);
#else
	if (n < 0)
		ck_assert_int_eq(errno, EPERM);
	else
		printf("SKIP: this kernel has no SO_PASSRIGHTS; the daemon guards itself\n");
#endif
	if (n < 0) /* nobody else has it: it would linger here */
		setsockopt(tcp, SOL_SOCKET, SO_LINGER, &(struct linger){0}, sizeof(struct linger));
	close(tcp); /* the daemon now holds the last reference, if any */
	start_ms = support_now_ms();
	kill(rngd.pid, SIGCONT);
	for (int i = 0; i < 50; i++)
		expect_service(other);
	ck_assert_int_le(support_now_ms() - start_ms, 10000); /* and not 30 s */
	ck_assert_uint_le(support_fd_count(rngd.pid), fds);
	/* Who did it is dropped; whose attempt the kernel refused has done nothing. */
	if (n == 1)
		ck_assert(support_closed(fd));
	else
		expect_service(fd);
	close(fd);
	close(other);
	close(peer_fd);
	close(listen_fd);
}
END_TEST

START_TEST(many_connections_none_alike)
{
	enum { CONNECTIONS = 200 };
	static uint8_t out[CONNECTIONS][32];
	int fds[CONNECTIONS];

	for (int i = 0; i < CONNECTIONS; i++) {
		fds[i] = support_connect(&rngd);
		support_get(fds[i], 1, 32);
	}
	for (int i = 0; i < CONNECTIONS; i++) {
		struct wire_reply reply;

		support_reply(fds[i], &reply, out[i], 32);
		close(fds[i]);
		for (int j = 0; j < i; j++)
			ck_assert_mem_ne(out[i], out[j], 32);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("protocol");
	TCase *tcase = tcase_create("protocol");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tcase, 120);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(tcase, bad_lengths_close, 0, BAD_LENGTHS);
	tcase_add_test(tcase, longest_request);
	tcase_add_test(tcase, refused_requests_keep_the_connection);
	tcase_add_test(tcase, one_byte_at_a_time);
	tcase_add_test(tcase, half_a_request_then_silence);
	tcase_add_test(tcase, half_a_request_then_end);
	tcase_add_test(tcase, requests_then_end_are_answered);
	tcase_add_test(tcase, garbage);
	tcase_add_test(tcase, a_hundred_thousand_requests_without_reading);
	tcase_add_test(tcase, status_pipelined_without_reading);
	tcase_add_test(tcase, status_grammar);
	tcase_add_test(tcase, status_tells_the_truth);
	tcase_add_test(tcase, four_gigabytes_then_gone);
	tcase_add_test(tcase, peers_that_vanish_leave_nothing);
	tcase_add_test(tcase, slow_reader_gets_everything);
	tcase_add_test(tcase, stop_is_at_a_frame_boundary);
	tcase_add_test(tcase, stop_does_not_wait_for_a_stuck_peer);
	tcase_add_test(tcase, passed_descriptors_do_not_stall);
	tcase_add_test(tcase, many_connections_none_alike);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed > 0;
}
