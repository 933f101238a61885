/*
 * check_landlock - Landlock alone, without the filter: what it denies would work without it, what
 * is open goes on working, and older versions of it deny what they know. Owns: its children and a
 * directory of its own. May touch: the loopback's ports. Never does: let a call count as denied
 * that failed before.
 */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/service.h"
#include "seccomp/landlock.h"

#define TEST_TIMEOUT_S 30
#define PAGE_BYTES     4096

/* How a child ends, besides the result of an attempt (an errno, 0 for success). */
#define NOT_RESTRICTED 200
#define GOOD           201

/* What the attempts find in the directory and outside of it. */
struct place {
	char dir[64];
	struct sockaddr_un abstract_addr;
	socklen_t abstract_bytes;
	int abstract;  /* listens at that address */
	int tcp;       /* listens at the loopback */
	uint16_t port; /* there, in network order */
	pid_t outside; /* a process not restricted, which ignores what it is sent */
};

static void make_file(const char *name)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, "#!/bin/true\n", 12), 12);
	close(fd);
}

static void open_sockets(struct place *place)
{
	struct sockaddr_in loopback = {.sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t bytes = sizeof(loopback);

	place->abstract = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	place->abstract_addr.sun_family = AF_UNIX;
	ck_assert_int_eq(
	    bind(place->abstract, (struct sockaddr *)&place->abstract_addr, sizeof(sa_family_t)),
	    0);
	place->abstract_bytes = sizeof(place->abstract_addr);
	getsockname(place->abstract, (struct sockaddr *)&place->abstract_addr,
		    &place->abstract_bytes);
	ck_assert_int_eq(listen(place->abstract, 8), 0);
	place->tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(place->tcp, (struct sockaddr *)&loopback, sizeof(loopback)), 0);
	ck_assert_int_eq(listen(place->tcp, 8), 0);
	getsockname(place->tcp, (struct sockaddr *)&loopback, &bytes);
	place->port = loopback.sin_port;
}

static void open_place(struct place *place)
{
	memset(place, 0, sizeof(*place));
	strcpy(place->dir, "/tmp/check-landlock.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(place->dir));
	ck_assert_int_eq(chdir(place->dir), 0);
	make_file("file");
	make_file("script");
	ck_assert_int_eq(mkdir("empty", 0755), 0);
	ck_assert_int_eq(mkdir("other", 0755), 0);
	open_sockets(place);
	place->outside = fork();
	ck_assert_int_ge(place->outside, 0);
	if (place->outside == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
}

static void remove_names(void)
{
	static const char *const names[] = {"file", "script", "new", "other/file"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unlink(names[i]);
	rmdir("new");
	rmdir("empty");
	rmdir("other");
}

static void close_place(struct place *place)
{
	kill(place->outside, SIGKILL);
	waitpid(place->outside, NULL, 0);
	close(place->abstract);
	close(place->tcp);
	remove_names();
	ck_assert_int_eq(chdir("/"), 0);
	ck_assert_int_eq(rmdir(place->dir), 0);
}

/* The attempts: 0 or an errno. */
static int result_of(int result)
{
	return result < 0 ? errno : 0;
}

static int try_open_read(const struct place *place)
{
	(void)place;
	return result_of(open("file", O_RDONLY));
}

static int try_open_write(const struct place *place)
{
	(void)place;
	return result_of(open("file", O_WRONLY));
}

static int try_open_new(const struct place *place)
{
	(void)place;
	return result_of(open("new", O_RDONLY | O_CREAT, 0600));
}

static int try_tmpfile(const struct place *place)
{
	(void)place;
	return result_of(open(".", O_TMPFILE | O_RDWR, 0600));
}

static int try_open_proc(const struct place *place)
{
	(void)place;
	return result_of(open("/proc/self/maps", O_RDONLY));
}

static int try_open_device(const struct place *place)
{
	(void)place;
	return result_of(open("/dev/null", O_RDWR));
}

static int try_list(const struct place *place)
{
	(void)place;
	return result_of(open(".", O_RDONLY | O_DIRECTORY));
}

static int try_execute(const struct place *place)
{
	char *const argv[] = {NULL, NULL};

	(void)place;
	execv("/bin/true", argv);
	return errno;
}

static int try_mkdir(const struct place *place)
{
	(void)place;
	return result_of(mkdir("new", 0700));
}

static int try_rmdir(const struct place *place)
{
	(void)place;
	return result_of(rmdir("empty"));
}

static int try_unlink(const struct place *place)
{
	(void)place;
	return result_of(unlink("file"));
}

static int try_rename(const struct place *place)
{
	(void)place;
	return result_of(rename("file", "new"));
}

static int try_move(const struct place *place)
{
	(void)place;
	return result_of(rename("file", "other/file"));
}

static int try_link(const struct place *place)
{
	(void)place;
	return result_of(link("file", "new"));
}

static int try_symlink(const struct place *place)
{
	(void)place;
	return result_of(symlink("file", "new"));
}

static int try_fifo(const struct place *place)
{
	(void)place;
	return result_of(mknod("new", S_IFIFO | 0600, 0));
}

static int try_bind_path(const struct place *place)
{
	const struct sockaddr_un addr = {.sun_family = AF_UNIX, .sun_path = "new"};

	(void)place;
	return result_of(
	    bind(socket(AF_UNIX, SOCK_STREAM, 0), (const struct sockaddr *)&addr, sizeof(addr)));
}

static int try_truncate(const struct place *place)
{
	(void)place;
	return result_of(truncate("file", 0));
}

static int try_bind_tcp(const struct place *place)
{
	const struct sockaddr_in addr = {.sin_family = AF_INET,
					 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	(void)place;
	return result_of(
	    bind(socket(AF_INET, SOCK_STREAM, 0), (const struct sockaddr *)&addr, sizeof(addr)));
}

static int try_connect_tcp(const struct place *place)
{
	const struct sockaddr_in addr = {.sin_family = AF_INET,
					 .sin_port = place->port,
					 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	return result_of(
	    connect(socket(AF_INET, SOCK_STREAM, 0), (const struct sockaddr *)&addr, sizeof(addr)));
}

static int try_connect_abstract(const struct place *place)
{
	return result_of(connect(socket(AF_UNIX, SOCK_STREAM, 0),
				 (const struct sockaddr *)&place->abstract_addr,
				 place->abstract_bytes));
}

static int try_signal(const struct place *place)
{
	return result_of(kill(place->outside, SIGCONT));
}

static const struct attempt {
	const char *name;
	int (*run)(const struct place *place);
	int since; /* the first version that denies it */
	int denied;
} attempts[] = {
    {"open to read", try_open_read, 1, EACCES},
    {"open to write", try_open_write, 1, EACCES},
    {"make a file", try_open_new, 1, EACCES},
    {"make a file without a name", try_tmpfile, 1, EACCES},
    {"open in /proc", try_open_proc, 1, EACCES},
    {"open a device", try_open_device, 1, EACCES},
    {"list", try_list, 1, EACCES},
    {"execute", try_execute, 1, EACCES},
    {"make a directory", try_mkdir, 1, EACCES},
    {"remove a directory", try_rmdir, 1, EACCES},
    {"remove a file", try_unlink, 1, EACCES},
    {"rename", try_rename, 1, EACCES},
    {"move", try_move, 1, EACCES},
    {"link", try_link, 1, EACCES},
    {"make a symbolic link", try_symlink, 1, EACCES},
    {"make a fifo", try_fifo, 1, EACCES},
    {"bind to a path", try_bind_path, 1, EACCES},
    {"truncate", try_truncate, 3, EACCES},
    {"bind TCP", try_bind_tcp, 4, EACCES},
    {"connect TCP", try_connect_tcp, 4, EACCES},
    {"connect to an abstract address", try_connect_abstract, 6, EPERM},
    {"send a signal", try_signal, 6, EPERM},
};

#define ATTEMPTS (sizeof(attempts) / sizeof(attempts[0]))

/* A child restricted to a version, 0: not at all, makes the attempt in a new place. */
static int attempt_at(const struct attempt *attempt, int version)
{
	struct place place;
	int status;
	pid_t pid;

	open_place(&place);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		if (version > 0 && landlock_restrict(version) != 0)
			_exit(NOT_RESTRICTED);
		_exit(attempt->run(&place));
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	close_place(&place);
	ck_assert(WIFEXITED(status));
	ck_assert_int_ne(WEXITSTATUS(status), NOT_RESTRICTED);
	return WEXITSTATUS(status);
}

START_TEST(attempts_work_without)
{
	ck_assert_int_eq(attempt_at(&attempts[_i], 0), 0);
}
END_TEST

/* Under every version there is here, up to the kernel's own. */
START_TEST(attempts_are_denied)
{
	const struct attempt *attempt = &attempts[_i];

	for (int version = 1; version <= landlock_version(); version++) {
		int expected = version < attempt->since ? 0 : attempt->denied;
		int got = attempt_at(attempt, version);

		/* To another directory was always denied; the errno says by what. */
		if (attempt->run == try_move && got == EXDEV)
			got = EACCES;
		ck_assert_msg(got == expected, "version %d, %s: %s", version, attempt->name,
			      strerror(got));
	}
}
END_TEST

/* landlock_enter() takes all that kernel and table know, and says so; a second one changes nothing.
 */
START_TEST(entering)
{
	int version = landlock_version(), status;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		struct place place = {.outside = getppid()};

		if (version > LANDLOCK_NEWEST)
			version = LANDLOCK_NEWEST;
		if (landlock_enter() != version || landlock_enter() != version)
			_exit(NOT_RESTRICTED);
		if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
			_exit(1);
		if (try_open_proc(&place) != EACCES ||
		    try_signal(&place) != (version >= 6 ? EPERM : 0))
			_exit(2);
		_exit(GOOD);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), GOOD);
}
END_TEST

static struct sockaddr_un abstract_name(const char *what, socklen_t *bytes)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int len = snprintf(addr.sun_path + 1, sizeof(addr.sun_path) - 1, "check-landlock-%s-%d",
			   what, getpid());

	*bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len);
	return addr;
}

/* The manager's end: NOTIFY_SOCKET at an abstract address or at a path. */
static int open_manager(bool abstract, char *variable, size_t size)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	socklen_t bytes = sizeof(addr);

	if (abstract) {
		addr = abstract_name("notify", &bytes);
		snprintf(variable, size, "@%s", addr.sun_path + 1);
	} else {
		snprintf(addr.sun_path, sizeof(addr.sun_path), "/tmp/check-landlock-%d.sock",
			 getpid());
		snprintf(variable, size, "%s", addr.sun_path);
	}
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, bytes), 0);
	return fd;
}

START_TEST(manager_is_still_told)
{
	bool abstract = _i == 0;
	char variable[sizeof(((struct sockaddr_un *)0)->sun_path) + 1], state[64];
	int manager = open_manager(abstract, variable, sizeof(variable)), status;
	ssize_t n;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		struct sockaddr_un addr;
		socklen_t bytes = sizeof(addr);
		struct service service;

		setenv("NOTIFY_SOCKET", variable, 1);
		service_init(&service);
		if (service.notify_fd < 0 || landlock_enter() <= 0)
			_exit(NOT_RESTRICTED);
		service_notify(&service, "READY=1");
		if (service.pending)
			_exit(1);
		/* Only by the way that is open: to the same address there is no new one. */
		getpeername(service.notify_fd, (struct sockaddr *)&addr, &bytes);
		if (abstract && landlock_version() >= 6 &&
		    (sendto(socket(AF_UNIX, SOCK_DGRAM, 0), "X", 1, MSG_DONTWAIT,
			    (struct sockaddr *)&addr, bytes) >= 0 ||
		     errno != EPERM))
			_exit(2);
		_exit(GOOD);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), GOOD);
	n = recv(manager, state, sizeof(state), MSG_DONTWAIT);
	ck_assert_int_eq(n, 7);
	ck_assert_int_eq(memcmp(state, "READY=1", 7), 0);
	ck_assert_int_lt(recv(manager, state, sizeof(state), MSG_DONTWAIT), 0);
	close(manager);
	if (!abstract)
		unlink(variable);
}
END_TEST

/* What the daemon has open when it is restricted: a page, listeners, files, clocks. */
struct held {
	int page_fd, reader_fd, listeners[2], clients[2], epoll, timer, file;
	uint8_t *page;
};

static void hold_listener(struct held *held, int i, const struct sockaddr_un *addr, socklen_t bytes)
{
	struct epoll_event event = {.events = EPOLLIN};

	held->listeners[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(held->listeners[i], (const struct sockaddr *)addr, bytes), 0);
	ck_assert_int_eq(listen(held->listeners[i], 4), 0);
	ck_assert_int_eq(epoll_ctl(held->epoll, EPOLL_CTL_ADD, held->listeners[i], &event), 0);
	held->clients[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(connect(held->clients[i], (const struct sockaddr *)addr, bytes), 0);
	ck_assert_int_eq(send(held->clients[i], "?", 1, MSG_NOSIGNAL), 1);
}

static void hold(struct held *held)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX, .sun_path = "socket"};
	const uint8_t zeros[PAGE_BYTES] = {0};
	socklen_t bytes;

	held->epoll = epoll_create1(EPOLL_CLOEXEC);
	hold_listener(held, 0, &addr, sizeof(addr));
	addr = abstract_name("stream", &bytes);
	hold_listener(held, 1, &addr, bytes);
	held->page_fd = open("page", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	ck_assert_int_eq(write(held->page_fd, zeros, sizeof(zeros)), sizeof(zeros));
	held->reader_fd = open("page", O_RDONLY | O_CLOEXEC);
	held->page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, held->page_fd, 0);
	ck_assert_ptr_ne(held->page, MAP_FAILED);
	held->file = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(held->file, 0);
	held->timer = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
}

/* As the daemon passes the page's descriptor. */
static bool pass(int fd, int passed)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec iov = {(char[]){"!"}, 1};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.bytes,
			     .msg_controllen = sizeof(control.bytes)};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &passed, sizeof(int));
	return sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) == 1;
}

static bool serve(const struct held *held, int i)
{
	struct epoll_event event = {.events = EPOLLIN};
	int fd = accept4(held->listeners[i], NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct ucred peer;
	socklen_t bytes = sizeof(peer);
	char byte;

	return fd >= 0 && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) == 0 &&
	       epoll_ctl(held->epoll, EPOLL_CTL_ADD, fd, &event) == 0 &&
	       recv(fd, &byte, 1, MSG_DONTWAIT) == 1 && pass(fd, held->reader_fd) && close(fd) == 0;
}

/* 0, or which of it failed. */
static int use(struct held *held)
{
	struct epoll_event event;
	char text[64];
	uint64_t expiries;

	if (landlock_enter() <= 0)
		return NOT_RESTRICTED;
	if (epoll_wait(held->epoll, &event, 1, 1000) != 1)
		return 1;
	if (!serve(held, 0) || !serve(held, 1))
		return 2;
	held->page[0] = 'e';
	if (pwrite(held->page_fd, "", 1, 2048) != 1)
		return 3;
	if (pread(held->reader_fd, text, 1, 0) != 1 || text[0] != 'e')
		return 4;
	if (pread(held->file, text, sizeof(text), 0) <= 0)
		return 5;
	if (read(held->timer, &expiries, sizeof(expiries)) >= 0 || errno != EAGAIN)
		return 6;
	/* The page's holder could always cut it: truncate is a right of new descriptors. */
	return ftruncate(held->page_fd, 2L * PAGE_BYTES) == 0 ? GOOD : 7;
}

static int receive_fd(int fd)
{
	char byte, control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = {&byte, 1};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control,
			     .msg_controllen = sizeof(control)};
	int passed = -1;

	ck_assert_int_eq(recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC), 1);
	ck_assert_ptr_nonnull(CMSG_FIRSTHDR(&msg));
	memcpy(&passed, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(passed));
	return passed;
}

START_TEST(open_descriptors_go_on)
{
	int notify, status, passed;
	struct place place;
	struct held held;
	char byte;
	pid_t pid;

	open_place(&place);
	hold(&held);
	notify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	ck_assert_int_ge(inotify_add_watch(notify, "page", IN_MODIFY), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		_exit(use(&held));
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), GOOD);
	ck_assert_int_eq(poll(&(struct pollfd){.fd = notify, .events = POLLIN}, 1, 0), 1);
	for (int i = 0; i < 2; i++) {
		passed = receive_fd(held.clients[i]);
		ck_assert_int_eq(pread(passed, &byte, 1, 0), 1);
		ck_assert_int_eq(byte, 'e');
		close(passed);
	}
	unlink("page");
	unlink("socket");
	close_place(&place);
}
END_TEST

/* A kernel, or a filter around us, that answers so; `nr` alone is answered. */
static int enter_with(long nr, int answer)
{
	pid_t pid = fork();
	int status;

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
		int result, fds[2];

		if (seccomp_rule_add(ctx, SCMP_ACT_ERRNO((unsigned)answer), (int)nr, 0) != 0 ||
		    seccomp_load(ctx) != 0)
			_exit(NOT_RESTRICTED);
		fds[0] = dup(0);
		close(fds[0]);
		result = landlock_enter();
		fds[1] = dup(0);
		/* Nothing is left open, and nothing is in force. */
		if (fds[0] != fds[1] || open("/proc/self/maps", O_RDONLY) < 0)
			_exit(NOT_RESTRICTED);
		_exit(-result);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}

START_TEST(absent_and_refused)
{
	ck_assert_int_eq(enter_with(SYS_landlock_create_ruleset, ENOSYS), 0);
	ck_assert_int_eq(enter_with(SYS_landlock_create_ruleset, EOPNOTSUPP), 0);
	ck_assert_int_eq(enter_with(SYS_landlock_create_ruleset, EPERM), EPERM);
	ck_assert_int_eq(enter_with(SYS_landlock_create_ruleset, ENOMEM), ENOMEM);
	ck_assert_int_eq(enter_with(SYS_landlock_restrict_self, E2BIG), E2BIG);
	/* Says that it did: the root directory tells that it did not. */
	ck_assert_int_eq(enter_with(SYS_landlock_restrict_self, 0), EPERM);
}
END_TEST

/* A later version denies all that an earlier one does, and the kernel's takes exactly its rights.
 */
START_TEST(table_grows)
{
	struct landlock_rights none = landlock_rights(0), last = none, now;
	int version = landlock_version();
	long fd;

	ck_assert(none.fs == 0 && none.net == 0 && none.scoped == 0);
	for (int v = 1; v <= LANDLOCK_NEWEST; v++) {
		now = landlock_rights(v);
		ck_assert((last.fs & ~now.fs) == 0 && (last.net & ~now.net) == 0 &&
			  (last.scoped & ~now.scoped) == 0);
		ck_assert((now.net != 0) == (v >= 4) && (now.scoped != 0) == (v >= 6));
		last = now;
	}
	now = landlock_rights(LANDLOCK_NEWEST + 1);
	ck_assert_int_eq(memcmp(&now, &last, sizeof(now)), 0);
	now = landlock_rights(-1);
	ck_assert_int_eq(memcmp(&now, &none, sizeof(now)), 0);
	if (version == 0 || version > LANDLOCK_NEWEST)
		return;
	/* One bit more of any kind, and this kernel does not know it. */
	for (int kind = 0; kind < 3; kind++) {
		now = landlock_rights(version);
		if (kind == 0)
			now.fs = now.fs << 1 | 1;
		else if (kind == 1)
			now.net = now.net << 1 | 1;
		else
			now.scoped = now.scoped << 1 | 1;
		fd = syscall(SYS_landlock_create_ruleset, &now, sizeof(now), 0);
		ck_assert_msg(fd < 0, "version %d can deny more than the table has (%d)", version,
			      kind);
	}
}
END_TEST

static Suite *landlock_suite(void)
{
	Suite *suite = suite_create("landlock");
	TCase *tcase = tcase_create("alone");

	tcase_set_timeout(tcase, TEST_TIMEOUT_S);
	tcase_add_test(tcase, table_grows);
	if (landlock_version() <= 0) {
		puts("SKIP: all but the table: no Landlock here (none in this kernel, switched "
		     "off, or a sanitizer's or the fallback build)");
	} else {
		tcase_add_loop_test(tcase, attempts_work_without, 0, ATTEMPTS);
		tcase_add_loop_test(tcase, attempts_are_denied, 0, ATTEMPTS);
		tcase_add_test(tcase, entering);
		tcase_add_loop_test(tcase, manager_is_still_told, 0, 2);
		tcase_add_test(tcase, open_descriptors_go_on);
		tcase_add_test(tcase, absent_and_refused);
	}
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	SRunner *runner = srunner_create(landlock_suite());
	int failed;

	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
