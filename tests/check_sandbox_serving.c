/*
 * check_sandbox_serving - what the daemon needs still works behind the filter, the way the C
 * library does it. Owns: its children. May touch: /proc. Never does: test what is refused
 * (check_sandbox).
 */
#include <check.h>
#include <linux/random.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "tests/confined.h"

#define TEST_TIMEOUT_S    60
#define STATUS_TEXT_BYTES 8192
#define CANNOT            45 /* a child's end: the kernel cannot do it */

/* A connected pair, the listener it came through, and an epoll that watches the latter. */
struct serving {
	int listener, client, epoll;
};

static void open_serving(struct serving *serving)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct epoll_event event = {.events = EPOLLIN};
	socklen_t addr_bytes = sizeof(addr);

	serving->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	serving->client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	serving->epoll = epoll_create1(EPOLL_CLOEXEC);
	/* A bare family makes the kernel choose an abstract name. */
	ck_assert_int_eq(bind(serving->listener, (struct sockaddr *)&addr, sizeof(sa_family_t)), 0);
	ck_assert_int_eq(listen(serving->listener, 1), 0);
	getsockname(serving->listener, (struct sockaddr *)&addr, &addr_bytes);
	ck_assert_int_eq(connect(serving->client, (struct sockaddr *)&addr, addr_bytes), 0);
	ck_assert_int_eq(epoll_ctl(serving->epoll, EPOLL_CTL_ADD, serving->listener, &event), 0);
	ck_assert_int_eq(send(serving->client, "?", 1, MSG_NOSIGNAL), 1);
}

/* What the daemon would give of this; signals are not read here. */
static struct policy_given given_of(const struct serving *serving)
{
	struct policy_given given = {0};

	policy_give(&given, POLICY_FD_LOOP, serving->epoll);
	policy_give(&given, POLICY_FD_LISTEN, serving->listener);
	policy_give(&given, POLICY_FD_READ, serving->client);
	return given;
}

/* One byte, as the daemon reads: without room for descriptors. */
static ssize_t receive(int fd, char *byte)
{
	struct iovec iov = {byte, 1};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	return recvmsg(fd, &msg, MSG_DONTWAIT);
}

/* As the daemon does it, through the C library. */
static bool serve_once(const struct serving *serving)
{
	struct epoll_event event = {.events = EPOLLIN};
	struct ucred peer;
	socklen_t peer_bytes = sizeof(peer);
	char byte;
	int fd;

	if (epoll_wait(serving->epoll, &event, 1, 1000) != 1)
		return false;
	fd = accept4(serving->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	return fd >= 0 && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &peer_bytes) == 0 &&
	       epoll_ctl(serving->epoll, EPOLL_CTL_ADD, fd, &event) == 0 &&
	       receive(fd, &byte) == 1 && send(fd, "!", 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1 &&
	       epoll_ctl(serving->epoll, EPOLL_CTL_DEL, fd, &event) == 0 && close(fd) == 0 &&
	       read(serving->client, &byte, 1) == 1 && byte == '!';
}

static bool use_heap(size_t bytes)
{
	char *data = malloc(bytes), *larger;

	if (!data)
		return false;
	larger = realloc(data, 2 * bytes);
	free(larger ? larger : data);
	return larger != NULL;
}

START_TEST(serving_works)
{
	static const clockid_t clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME};
	struct policy_given given;
	struct serving serving;
	struct timespec now;
	uint8_t seed[32];
	bool good;
	pid_t pid;

	open_serving(&serving);
	given = given_of(&serving);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		mallopt(M_MMAP_MAX, 0);
		confine(&given);
		good = serve_once(&serving) && use_heap(1 << 20) &&
		       syscall(SYS_getrandom, seed, sizeof(seed), GRND_NONBLOCK) == sizeof(seed) &&
		       write(STDERR_FILENO, "", 0) == 0;
		for (size_t i = 0; i < sizeof(clocks) / sizeof(clocks[0]); i++)
			good = good && syscall(SYS_clock_gettime, clocks[i], &now) == 0;
		leave(good ? SURVIVED : WRONG_RESULT);
	}
	ck_assert_int_eq(wait_status(pid), EXITED(SURVIVED));
	close(serving.listener);
	close(serving.client);
	close(serving.epoll);
}
END_TEST

#ifndef RNGD_SANITIZER
/* brk() refused: malloc() turns to mmap(), and when that is refused too the daemon must live on. */
START_TEST(no_memory_is_no_death)
{
	const struct rlimit little = {1 << 20, 1 << 20};
	const struct policy_given nothing = {0};
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		mallopt(M_MMAP_MAX, 0);
		setrlimit(RLIMIT_DATA, &little);
		confine(&nothing);
		leave(use_heap(64 << 20) ? WRONG_RESULT : SURVIVED);
	}
	ck_assert_int_eq(wait_status(pid), EXITED(SURVIVED));
}
END_TEST
#endif

static volatile sig_atomic_t signals_seen;

static void count_signal(int signal_number)
{
	(void)signal_number;
	signals_seen++;
}

static void check_status(pid_t pid, const char *line)
{
	char path[64], text[STATUS_TEXT_BYTES];
	size_t len;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	file = fopen(path, "re");
	ck_assert_ptr_nonnull(file);
	len = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[len] = '\0';
	ck_assert_msg(strstr(text, line) != NULL, "no %s in %s", line, text);
}

/* A handler returns, a stop and its end pass: neither needs a call that is not allowed. */
START_TEST(signals_and_status)
{
	const struct sigaction action = {.sa_handler = count_signal};
	struct epoll_event event = {.events = EPOLLIN};
	int epoll = epoll_create1(EPOLL_CLOEXEC), pair[2];
	struct policy_given given = {.handler = true};
	char byte;
	pid_t pid;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	ck_assert_int_eq(epoll_ctl(epoll, EPOLL_CTL_ADD, pair[1], &event), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		policy_give(&given, POLICY_FD_LOOP, epoll);
		sigaction(SIGUSR1, &action, NULL);
		confine(&given);
		send(pair[1], "?", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
		while (receive(pair[1], &byte) != 1)
			epoll_wait(epoll, &event, 1, 1000);
		leave(signals_seen == 1 ? SURVIVED : WRONG_RESULT);
	}
	ck_assert_int_eq(recv(pair[0], &byte, 1, 0), 1);
	check_status(pid, "Seccomp:\t2\n");
	check_status(pid, "NoNewPrivs:\t1\n");
	kill(pid, SIGUSR1);
	kill(pid, SIGSTOP);
	ck_assert_int_eq(waitpid(pid, NULL, WUNTRACED), pid);
	kill(pid, SIGCONT);
	ck_assert_int_eq(send(pair[0], "!", 1, MSG_NOSIGNAL), 1);
	ck_assert_int_eq(wait_status(pid), EXITED(SURVIVED));
	close(pair[0]);
	close(pair[1]);
	close(epoll);
}
END_TEST

#ifndef RNGD_SANITIZER
/* Without a handler the way back from one is closed: a frame made by hand is not taken either. */
START_TEST(no_handler_no_return)
{
	const struct sigaction action = {.sa_handler = count_signal};
	struct policy_given given = {0};
	int pair[2];
	pid_t pid;
	char byte;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		sigaction(SIGUSR1, &action, NULL);
		policy_give(&given, POLICY_FD_READ, pair[1]);
		confine(&given);
		send(pair[1], "?", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
		while (read(pair[1], &byte, 1) != 1)
			;
		leave(SURVIVED);
	}
	ck_assert_int_eq(recv(pair[0], &byte, 1, 0), 1);
	kill(pid, SIGUSR1);
	ck_assert(killed(wait_status(pid)));
	close(pair[0]);
	close(pair[1]);
}
END_TEST

static void *thread_started_before(void *arg)
{
	const int *pair = arg;
	char byte;

	if (read(pair[1], &byte, 1) == 1)
		syscall(SYS_getppid);
	leave(SURVIVED);
	return NULL;
}

START_TEST(older_threads_are_inside)
{
	struct policy_given given = {0};
	pthread_t thread;
	int pair[2];
	pid_t pid;
	char byte;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		if (pthread_create(&thread, NULL, thread_started_before, pair) != 0)
			leave(NOT_CONFINED);
		policy_give(&given, POLICY_FD_READ, pair[0]);
		policy_give(&given, POLICY_FD_READ, pair[1]);
		confine(&given);
		send(pair[0], "!", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
		while (read(pair[0], &byte, 1) != 1)
			;
		leave(WRONG_RESULT);
	}
	ck_assert(killed(wait_status(pid)));
	close(pair[0]);
	close(pair[1]);
}
END_TEST
#endif

/* Works without the filter, fails once the kernel was told. */
static bool can_gain_exec(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	void *both, *plain;

	both = mmap(NULL, page, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		    0);
	plain = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return plain == MAP_FAILED || both != MAP_FAILED ||
	       mprotect(plain, page, PROT_READ | PROT_EXEC) == 0;
}

START_TEST(no_exec_gain)
{
	pid_t pid = fork();
	int status;

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		int refused;

		if (!can_gain_exec())
			leave(NOT_CONFINED); /* proves nothing: somebody refuses it already */
		refused = sandbox_refuse_exec();
		if (refused == 0)
			leave(CANNOT);
		/* A second time finds it done. */
		if (refused != 1 || sandbox_refuse_exec() != 1)
			leave(WRONG_RESULT);
		leave(can_gain_exec() ? WRONG_RESULT : SURVIVED);
	}
	status = wait_status(pid);
	if (status == EXITED(CANNOT)) {
		puts("SKIP: executable memory: this kernel cannot refuse it (before 6.3, or the "
		     "fallback build)");
		return;
	}
	ck_assert_int_eq(status, EXITED(SURVIVED));
}
END_TEST

static Suite *serving_suite(void)
{
	Suite *suite = suite_create("sandbox_serving");
	TCase *tcase = tcase_create("serving");

	tcase_set_timeout(tcase, TEST_TIMEOUT_S);
	tcase_add_test(tcase, serving_works);
	tcase_add_test(tcase, signals_and_status);
	tcase_add_test(tcase, no_exec_gain);
#ifdef RNGD_SANITIZER
	puts("SKIP: no memory, no handler, older threads: a sanitizer's runtime maps and locks for "
	     "itself");
#else
	tcase_add_test(tcase, no_memory_is_no_death);
	tcase_add_test(tcase, no_handler_no_return);
	tcase_add_test(tcase, older_threads_are_inside);
#endif
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	SRunner *runner = srunner_create(serving_suite());
	int failed;

	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
