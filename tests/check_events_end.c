/*
 * check_events_end - the library's clone events from end to end: the real daemon in its sandbox,
 * killed and started again. Owns: a daemon. May touch: /dev/shm. Never does: need root; what only
 * root can try says SKIP.
 */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/rngclient.h"
#include "proto/epoch_page.h"
#include "proto/rngd_proto.h"
#include "tests/support.h"

#define LONG_MS  20000 /* of calls that shall not reach their deadline */
#define SHORT_MS 300

static struct support_rngd rngd;
static struct rngclient *control;
static const struct epoch_page *page;

/* ---- tools ---- */

static struct rngclient *open_at(const char *suffix, int timeout_ms)
{
	struct rngclient *client;
	char path[128];

	snprintf(path, sizeof(path), "%s%s", rngd.socket, suffix);
	ck_assert_int_eq(rngclient_open(&client, path, timeout_ms), 0);
	return client;
}

static void map_page(void)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s%s", rngd.socket, RNGCLIENT_EPOCH_SUFFIX);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	page = mmap(NULL, EPOCH_PAGE_BYTES, PROT_READ, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(page, MAP_FAILED);
	close(fd);
}

static void setup(void)
{
	support_start(&rngd, NULL);
	control = open_at(RNGCLIENT_CONTROL_SUFFIX, LONG_MS);
	map_page();
}

/* What is there besides the socket: pages, locks. */
static void empty_directory(void)
{
	DIR *dir = opendir(rngd.dir);
	struct dirent *entry;

	ck_assert_ptr_nonnull(dir);
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			unlinkat(dirfd(dir), entry->d_name, 0);
	closedir(dir);
}

static void teardown(void)
{
	uint8_t buf[32];

	ck_assert_int_eq(rngclient_get(control, buf, sizeof(buf)), 0);
	rngclient_close(control);
	munmap((void *)(uintptr_t)page, EPOCH_PAGE_BYTES);
	support_stop(&rngd);
	empty_directory();
	support_end(&rngd);
}

static uint64_t bump(void)
{
	static uint8_t bytes[RNGCLIENT_BUMP_MIN_BYTES];
	uint64_t generation;

	bytes[0]++;
	ck_assert_int_eq(rngclient_bump(control, bytes, sizeof(bytes), &generation), 0);
	return generation;
}

/* The value of a line of a text; NULL: no such line. Static storage. */
static const char *line_of(const char *text, const char *name)
{
	static char value[64];
	size_t len = strlen(name);

	for (; *text; text += strcspn(text, "\n") + 1) {
		if (strncmp(text, name, len) != 0 || text[len] != '=')
			continue;
		snprintf(value, sizeof(value), "%.*s", (int)strcspn(text + len + 1, "\n"),
			 text + len + 1);
		return value;
	}
	return NULL;
}

static const char *list(uint64_t *generation)
{
	static char text[RNGCLIENT_STATUS_BYTES];

	ck_assert_int_eq(rngclient_subscribers(control, generation, text, sizeof(text)), 0);
	return text;
}

static uint64_t listed(const char *name)
{
	const char *value = line_of(list(NULL), name);

	ck_assert_msg(value != NULL, "no %s", name);
	return strtoull(value, NULL, 10);
}

static uint64_t status_number(const char *name)
{
	static char text[RNGCLIENT_STATUS_BYTES];
	const char *value;

	ck_assert_int_eq(rngclient_status(control, text, sizeof(text)), 0);
	value = line_of(text, name);
	ck_assert_msg(value != NULL, "no %s", name);
	return strtoull(value, NULL, 10);
}

struct count {
	const char *name;
	uint64_t value;
};

static bool is_listed(void *arg)
{
	const struct count *count = arg;

	return listed(count->name) == count->value;
}

/* The daemon reads on its own time. */
static void must_list(const char *name, uint64_t value)
{
	struct count count = {name, value};

	ck_assert_msg(support_wait(is_listed, &count), "%s is not %llu:\n%s", name,
		      (unsigned long long)value, list(NULL));
}

static bool is_readable(int fd, int timeout_ms)
{
	struct pollfd pollfd = {.fd = fd, .events = POLLIN};

	return poll(&pollfd, 1, timeout_ms) == 1;
}

static int subscribe(struct rngclient *client)
{
	int fd = rngclient_event_fd(client);

	ck_assert_int_ge(fd, 0);
	return fd;
}

static int next(struct rngclient *client, struct rngclient_event *event, int timeout_ms)
{
	event->size = sizeof(*event);
	return rngclient_event_next(client, event, timeout_ms);
}

static void must_come(struct rngclient *client, uint64_t generation)
{
	struct rngclient_event event;

	ck_assert_int_eq(next(client, &event, LONG_MS), 0);
	ck_assert_uint_eq(event.generation, generation);
}

static void must_not_come(struct rngclient *client)
{
	struct rngclient_event event;

	ck_assert_int_eq(next(client, &event, 0), -EAGAIN);
}

struct care {
	struct rngclient *client;
	struct count count;
};

/* As an event loop would, where no event is due. */
static bool tend(void *arg)
{
	struct care *care = arg;

	if (is_readable(rngclient_event_fd(care->client), 0))
		must_not_come(care->client);
	return listed(care->count.name) == care->count.value;
}

static void tend_until(struct rngclient *client, const char *name, uint64_t value)
{
	struct care care = {client, {name, value}};

	ck_assert_msg(support_wait(tend, &care), "%s is not %llu:\n%s", name,
		      (unsigned long long)value, list(NULL));
}

static void check_owes_one(uint64_t acknowledged)
{
	const char *text = list(NULL);

	ck_assert_str_eq(line_of(text, "owing"), "1");
	ck_assert_str_eq(line_of(text, "owing_privileged"), "1");
	ck_assert_uint_eq(strtoull(line_of(text, "owes.1.acknowledged"), NULL, 10), acknowledged);
	ck_assert_str_eq(line_of(text, "owes.1.privileged"), "true");
}

/* ---- events ---- */

/* What is told is what the page tells, and that it was acted on is known to who asks. */
START_TEST(told_and_acknowledged)
{
	struct rngclient *client = open_at(_i ? RNGCLIENT_CONTROL_SUFFIX : "", LONG_MS);
	struct rngclient_event event;
	struct rngclient_epoch epoch = {.size = sizeof(epoch)};
	int fd = subscribe(client);
	uint64_t generation, at;

	must_list("subscribers", 1);
	ck_assert_uint_eq(listed("owing"), 0);
	must_not_come(client);
	ck_assert(!is_readable(fd, 0));
	ck_assert_uint_eq(rngclient_epoch(client), 1);
	ck_assert(rngclient_epoch_same(client, 1));

	generation = bump();
	ck_assert_uint_eq(generation, 2);
	ck_assert_uint_eq(rngclient_epoch(client), 2);
	ck_assert(!rngclient_epoch_same(client, 1));
	ck_assert_int_eq(rngclient_subscribers(control, &at, (char[1024]){0}, 1024), 0);
	ck_assert_uint_eq(at, 2);
	check_owes_one(1);
	ck_assert_uint_eq(status_number("events.owing"), 1);
	ck_assert(is_readable(fd, LONG_MS));
	ck_assert_int_eq(next(client, &event, 0), 0);
	ck_assert_int_eq(rngclient_epoch_info(client, &epoch), 0);
	ck_assert_uint_eq(event.generation, 2);
	ck_assert_uint_eq(event.generation, epoch.event_generation);
	ck_assert_uint_eq(event.realtime_ns, epoch.event_realtime_ns);
	ck_assert_uint_eq(event.boottime_ns, epoch.event_boottime_ns);
	ck_assert_uint_eq(event.notifier, EPOCH_PAGE_HOST);
	ck_assert_uint_eq(event.notifier, epoch.event_notifier);
	ck_assert_str_eq(event.notifier_name, epoch.event_notifier_name);
	ck_assert_mem_eq(event.id, epoch.event_id, sizeof(event.id));
	ck_assert_mem_eq(event.id, page->events[0].id, sizeof(event.id));
	ck_assert_uint_ne(event.realtime_ns, 0);
	must_not_come(client);

	/* Read is not acted on. */
	for (int i = 0; i < 100 && strcmp(line_of(list(NULL), "owes.1.taken"), "true") != 0; i++)
		poll(NULL, 0, 10);
	ck_assert_str_eq(line_of(list(NULL), "owes.1.taken"), "true");
	check_owes_one(1);
	ck_assert_int_eq(rngclient_event_ack(client, 3), -EINVAL);
	ck_assert_int_eq(rngclient_event_ack(client, 1), -EINVAL);
	check_owes_one(1);
	ck_assert_int_eq(rngclient_event_ack(client, 2), 0);
	must_list("owing", 0);
	ck_assert_uint_eq(listed("subscribers"), 1);
	rngclient_close(client);
	must_list("subscribers", 0);
}
END_TEST

static bool is_not_sent(void *arg)
{
	(void)arg;
	return strcmp(line_of(list(NULL), "owes.1.taken"), "false") == 0;
}

/* Those before the first was read become one; of those on their way at most one is not the last. */
START_TEST(coalesced)
{
	struct rngclient *client = open_at("", LONG_MS);
	struct rngclient_event event;
	uint64_t last = 0;
	int count = 0;

	subscribe(client);
	must_list("subscribers", 1);
	for (int i = 0; i < 50; i++)
		last = bump();
	ck_assert_uint_eq(last, 51);
	ck_assert(support_wait(is_not_sent, NULL));
	do {
		ck_assert_int_eq(next(client, &event, LONG_MS), 0);
		count++;
	} while (event.generation != last);
	ck_assert_int_le(count, 2);
	must_not_come(client);
	/* One for all. */
	ck_assert_int_eq(rngclient_event_ack(client, last), 0);
	must_list("owing", 0);
	rngclient_close(client);
}
END_TEST

struct actor {
	const char *path;
	uint64_t until;
	int events;
};

static void *act(void *arg)
{
	struct actor *actor = arg;
	struct rngclient_event event = {0};
	struct rngclient *client;

	ck_assert_int_eq(rngclient_open(&client, actor->path, LONG_MS), 0);
	subscribe(client);
	while (event.generation < actor->until) {
		uint64_t before = event.generation;

		ck_assert_int_eq(next(client, &event, LONG_MS), 0);
		ck_assert_uint_gt(event.generation, before);
		ck_assert_int_eq(rngclient_event_ack(client, event.generation), 0);
		actor->events++;
	}
	pause();
	return NULL;
}

/* A process of its own that subscribes and acts; it ends by a signal. */
static pid_t spawn_actor(uint64_t until)
{
	struct actor actor = {rngd.socket, until, 0};
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		act(&actor);
	return pid;
}

/* Everybody gets to the last one, and who dies of it stays on the list if it is trusted. */
START_TEST(several)
{
	enum { ACTORS = 5, BUMPS = 40 };
	pid_t pids[ACTORS];
	struct rngclient *client = open_at("", LONG_MS);

	for (int i = 0; i < ACTORS; i++)
		pids[i] = spawn_actor(1 + BUMPS);
	must_list("subscribers", ACTORS);
	for (int i = 0; i < BUMPS; i++)
		bump();
	must_list("owing", 0);
	ck_assert_uint_eq(listed("subscribers"), ACTORS);
	for (int i = 0; i < ACTORS; i++) {
		kill(pids[i], SIGSTOP);
		/* Or the kernel may still be on the way to it. */
		ck_assert_int_eq(waitpid(pids[i], NULL, WUNTRACED), pids[i]);
	}
	bump();
	must_list("owing", ACTORS);
	for (int i = 0; i < ACTORS; i++) {
		kill(pids[i], SIGKILL);
		ck_assert_int_eq(waitpid(pids[i], NULL, 0), pids[i]);
	}
	must_list("subscribers", 0);
	ck_assert_uint_eq(listed("owing_privileged"), ACTORS);
	ck_assert_str_eq(line_of(list(NULL), "owes.1.connected"), "false");
	rngclient_close(client);
}
END_TEST

/* Ends the connections to the public socket that this process has, as a fault would. */
static void break_connections(void)
{
	struct sockaddr_un addr;
	socklen_t len;

	for (int fd = 3; fd < 1024; fd++) {
		len = sizeof(addr);
		if (getpeername(fd, (struct sockaddr *)&addr, &len) == 0 &&
		    len > sizeof(addr.sun_family) && addr.sun_family == AF_UNIX &&
		    strcmp(addr.sun_path, rngd.socket) == 0)
			ck_assert_int_eq(shutdown(fd, SHUT_RDWR), 0);
	}
}

/* It is back under its name: not two of them owe. */
START_TEST(broken_and_back)
{
	struct rngclient *client = open_at("", LONG_MS);
	uint64_t generation;

	subscribe(client);
	generation = bump();
	must_come(client, generation);
	for (int i = 0; i < 3; i++) {
		break_connections();
		must_list("subscribers", 0);
		check_owes_one(generation - 1);
		ck_assert_str_eq(line_of(list(NULL), "owes.1.connected"), "false");
		tend_until(client, "subscribers", 1);
		check_owes_one(generation - 1);
		ck_assert_str_eq(line_of(list(NULL), "owes.1.connected"), "true");
	}
	ck_assert_int_eq(rngclient_event_ack(client, generation), 0);
	tend_until(client, "owing", 0);
	rngclient_close(client);
	must_list("subscribers", 0);
}
END_TEST

/* ---- the daemon ends ---- */

/* Starts a daemon in place of one that was killed. Its start may be a clone that nobody saw. */
static void again(void)
{
	support_restart(&rngd, NULL);
}

START_TEST(killed_and_back)
{
	struct rngclient *client = open_at("", LONG_MS);
	uint64_t generation;
	int fd = subscribe(client);

	generation = bump();
	must_come(client, generation);
	support_kill(&rngd);
	ck_assert(is_readable(fd, LONG_MS));
	must_not_come(client);
	again();
	ck_assert_uint_eq(epoch_page_generation(page), generation);
	tend_until(client, "subscribers", 1);
	ck_assert_int_eq(subscribe(client), fd);
	/* Owed to the new daemon too, which sends it; it is not given twice. */
	check_owes_one(generation - 1);
	tend_until(client, "owing", 1);
	for (int i = 0; i < 100 && strcmp(line_of(list(NULL), "owes.1.taken"), "true") != 0; i++) {
		if (is_readable(fd, 10))
			must_not_come(client);
	}
	ck_assert_str_eq(line_of(list(NULL), "owes.1.taken"), "true");
	check_owes_one(generation - 1);
	ck_assert_int_eq(rngclient_event_ack(client, generation), 0);
	must_list("owing", 0);
	/* And there it goes on. */
	generation = bump();
	ck_assert(is_readable(fd, LONG_MS));
	must_come(client, generation);
	ck_assert_int_eq(rngclient_event_ack(client, generation), 0);
	must_list("owing", 0);
	ck_assert_uint_eq(listed("subscribers"), 1);
	rngclient_close(client);
	must_list("subscribers", 0);
}
END_TEST

/* _i 0: not noticed before, 1: the program knows that the daemon is gone. */
START_TEST(acknowledged_meanwhile)
{
	struct rngclient *client = open_at("", LONG_MS);
	uint64_t generation;

	subscribe(client);
	generation = bump();
	must_come(client, generation);
	support_kill(&rngd);
	if (_i == 1)
		must_not_come(client);
	ck_assert_int_eq(rngclient_event_ack(client, generation), 0);
	again();
	tend_until(client, "subscribers", 1);
	ck_assert_uint_eq(listed("owing"), 0);
	must_not_come(client);
	rngclient_close(client);
}
END_TEST

/* What happened while the program had no connection is told when it has one. */
START_TEST(missed_meanwhile)
{
	struct rngclient *client = open_at("", LONG_MS);
	uint64_t generation;
	int fd = subscribe(client);

	for (int round = 0; round < 2; round++) {
		support_kill(&rngd);
		again();
		generation = bump(); /* it is not back before it is called */
		ck_assert_uint_eq(listed("subscribers"), 0);
		ck_assert(is_readable(fd, LONG_MS));
		must_come(client, generation);
		check_owes_one(generation - 1);
		ck_assert_int_eq(rngclient_event_ack(client, generation), 0);
		must_list("owing", 0);
	}
	rngclient_close(client);
}
END_TEST

/* A page that somebody removed: the count begins again, and the program is told. */
START_TEST(another_page)
{
	struct rngclient *client = open_at("", LONG_MS);
	uint64_t generation, token;
	uint8_t buf[8];
	char path[128];

	subscribe(client);
	generation = bump();
	must_come(client, generation);
	ck_assert_int_eq(rngclient_event_ack(client, generation), 0);
	must_list("owing", 0);
	token = rngclient_epoch(client);
	support_kill(&rngd);
	snprintf(path, sizeof(path), "%s%s", rngd.socket, RNGCLIENT_EPOCH_SUFFIX);
	ck_assert_int_eq(unlink(path), 0);
	again();
	must_come(client, 1);
	check_owes_one(0);
	ck_assert_int_eq(rngclient_event_ack(client, 1), 0);
	must_list("owing", 0);
	ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), 0);
	ck_assert_uint_ne(rngclient_epoch(client), token);
	ck_assert_uint_eq(rngclient_epoch(client) & 0xffffffff, 1);
	must_come(client, bump());
	rngclient_close(client);
}
END_TEST

/* ---- leaving ---- */

/* Owing, it leaves, and nobody waits for it: whether the event was read or not. */
START_TEST(left)
{
	struct rngclient *client = open_at("", LONG_MS);
	int fd = subscribe(client);
	uint64_t generation = bump();

	if (_i == 0) {
		must_come(client, generation);
	} else {
		ck_assert(is_readable(fd, LONG_MS));
	}
	check_owes_one(generation - 1);
	rngclient_close(client);
	must_list("subscribers", 0);
	ck_assert_uint_eq(listed("owing"), 0);
}
END_TEST

static int connect_to(const char *suffix)
{
	struct support_rngd other = rngd;

	snprintf(other.socket, sizeof(other.socket), "%.80s%s", rngd.socket, suffix);
	return support_connect(&other);
}

/* It left before the daemon knew of a clone, which it learns of at the same moment. */
START_TEST(left_as_it_happened)
{
	uint8_t bytes[RNGCLIENT_BUMP_MIN_BYTES] = {(uint8_t)_i};
	struct rngclient *client = open_at("", LONG_MS);
	int fd = connect_to(RNGCLIENT_CONTROL_SUFFIX);
	struct wire_reply reply;

	subscribe(client);
	must_list("subscribers", 1);
	kill(rngd.pid, SIGSTOP);
	ck_assert_int_eq(waitpid(rngd.pid, NULL, WUNTRACED), rngd.pid);
	if (_i % 2 == 0)
		support_request(fd, RNGD_PROTO_OP_BUMP, 1, bytes, sizeof(bytes));
	rngclient_close(client);
	if (_i % 2 == 1)
		support_request(fd, RNGD_PROTO_OP_BUMP, 1, bytes, sizeof(bytes));
	kill(rngd.pid, SIGCONT);
	support_reply(fd, &reply, bytes, 0);
	ck_assert_uint_eq(reply.status, RNGD_PROTO_OK);
	close(fd);
	must_list("subscribers", 0);
	ck_assert_uint_eq(listed("owing"), 0);
}
END_TEST

/* Without a word, it is waited for. */
START_TEST(died)
{
	pid_t pid = spawn_actor(UINT64_MAX);
	uint64_t generation;

	must_list("subscribers", 1);
	kill(pid, SIGSTOP);
	ck_assert_int_eq(waitpid(pid, NULL, WUNTRACED), pid);
	generation = bump();
	check_owes_one(generation - 1);
	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	must_list("subscribers", 0);
	check_owes_one(generation - 1);
}
END_TEST

/* The subscription is the parent's; the child's own is another. */
START_TEST(forked)
{
	struct rngclient *client = open_at("", LONG_MS);
	int fd = subscribe(client), status, own;
	struct rngclient_event event;
	uint64_t generation;
	pid_t pid;

	must_list("subscribers", 1);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		if (next(client, &event, -1) != -ECHILD ||
		    rngclient_event_ack(client, 1) != -ECHILD)
			_exit(1);
		if (_i == 1) {
			own = rngclient_event_fd(client);
			if (own < 0 || own == fd || next(client, &event, LONG_MS) != 0 ||
			    event.generation != 2 || rngclient_event_ack(client, 2) != 0)
				_exit(2);
		}
		rngclient_close(client);
		_exit(0);
	}
	if (_i == 1)
		must_list("subscribers", 2);
	generation = bump();
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	must_list("subscribers", 1);
	must_list("owing", 1);
	ck_assert_int_eq(subscribe(client), fd);
	must_come(client, generation);
	ck_assert_int_eq(rngclient_event_ack(client, generation), 0);
	must_list("owing", 0);
	rngclient_close(client);
	must_list("subscribers", 0);
}
END_TEST

/* ---- what else is asked ---- */

START_TEST(subscribers_is_for_the_control_socket)
{
	struct rngclient *client = open_at("", LONG_MS);
	char text[RNGCLIENT_STATUS_BYTES];
	uint64_t generation = 99;
	uint8_t buf[8];

	memset(text, 0xee, sizeof(text));
	ck_assert_int_eq(rngclient_subscribers(client, &generation, text, sizeof(text)), -EPERM);
	ck_assert_uint_eq(generation, 0);
	ck_assert_int_eq(text[0] | text[sizeof(text) - 1], 0);
	/* Neither refusal costs the handle its use. */
	ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), 0);
	generation = 99;
	memset(text, 0xee, sizeof(text));
	ck_assert_int_eq(rngclient_subscribers(control, &generation, text, 16), -EMSGSIZE);
	ck_assert_uint_eq(generation, 0);
	ck_assert_int_eq(text[0] | text[15], 0);
	ck_assert_int_eq((unsigned char)text[16], 0xee);
	ck_assert_int_eq(rngclient_subscribers(control, NULL, text, strlen(list(NULL))), -EMSGSIZE);
	ck_assert_int_eq(rngclient_subscribers(control, NULL, text, strlen(list(NULL)) + 1), 0);
	ck_assert_int_eq(rngclient_subscribers(control, NULL, NULL, 16), -EINVAL);
	ck_assert_int_eq(rngclient_subscribers(control, NULL, text, 0), -EINVAL);
	ck_assert_int_eq(rngclient_subscribers(NULL, NULL, text, sizeof(text)), -EINVAL);
	ck_assert_int_eq(rngclient_get(control, buf, sizeof(buf)), 0);
	rngclient_close(client);
}
END_TEST

START_TEST(contributed)
{
	uint8_t bytes[RNGCLIENT_CONTRIBUTE_MAX_BYTES + 1] = {1};
	struct rngclient *client = open_at("", LONG_MS);
	uint64_t count = 0;
	int64_t began_ms;
	int err = 0, taken = 0;

	ck_assert_int_eq(rngclient_contribute(NULL, bytes, 1), -EINVAL);
	ck_assert_int_eq(rngclient_contribute(client, NULL, 1), -EINVAL);
	ck_assert_int_eq(rngclient_contribute(client, bytes, 0), -EINVAL);
	ck_assert_int_eq(rngclient_contribute(client, bytes, sizeof(bytes)), -EINVAL);
	/* A reseed of another reason may come in between, but not each time. */
	for (int i = 0; i < 5 && count == 0; i++) {
		ck_assert_int_eq(rngclient_contribute(client, bytes, 100), 0);
		count = status_number("reseed.contributed");
	}
	ck_assert_uint_gt(count, 0);
	ck_assert_uint_eq(count % 100, 0);
	ck_assert_int_eq(rngclient_reseed(control), 0);
	ck_assert_uint_eq(status_number("reseed.contributed"), 0);

	ck_assert_int_eq(rngclient_set_timeout(client, SHORT_MS), 0);
	while (!err && taken < 100) {
		began_ms = support_now_ms();
		err = rngclient_contribute(client, bytes, sizeof(bytes) - 1);
		taken++;
	}
	ck_assert_int_eq(err, -EAGAIN);
	ck_assert_int_ge(support_now_ms() - began_ms, SHORT_MS);
	ck_assert_int_lt(support_now_ms() - began_ms, LONG_MS);
	/* With time it is taken. */
	ck_assert_int_eq(rngclient_set_timeout(client, LONG_MS), 0);
	ck_assert_int_eq(rngclient_contribute(client, bytes, sizeof(bytes) - 1), 0);
	rngclient_close(client);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("events_end");
	TCase *tcase = tcase_create("events_end");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(tcase, told_and_acknowledged, 0, 2);
	tcase_add_test(tcase, coalesced);
	tcase_add_test(tcase, several);
	tcase_add_test(tcase, broken_and_back);
	tcase_add_test(tcase, killed_and_back);
	tcase_add_loop_test(tcase, acknowledged_meanwhile, 0, 2);
	tcase_add_test(tcase, missed_meanwhile);
	tcase_add_test(tcase, another_page);
	tcase_add_loop_test(tcase, left, 0, 2);
	tcase_add_loop_test(tcase, left_as_it_happened, 0, 4);
	tcase_add_test(tcase, died);
	tcase_add_loop_test(tcase, forked, 0, 2);
	tcase_add_test(tcase, subscribers_is_for_the_control_socket);
	tcase_add_test(tcase, contributed);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	SRunner *runner = srunner_create(make_suite());
	int failed;

	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed > 0;
}
