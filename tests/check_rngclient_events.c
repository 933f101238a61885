/*
 * Clone events in the library, against a server that sends what the test wants and keeps a record
 * of what it was told.
 */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/rngclient.h"
#include "proto/epoch_page.h"
#include "proto/wire.h"
#include "tests/support.h"

#define PEERS       16
#define LONG_MS     20000 /* of calls that shall not reach their deadline */
#define SHORT_MS    300
#define RECORD_MAX  4096
#define FRAME_BYTES (RNGD_PROTO_REPLY_HEAD_BYTES + RNGD_PROTO_EVENT_BODY_BYTES)

/* ---- the server ---- */

/* How SUBSCRIBE is answered. */
enum first {
	FIRST_GOOD,
	FIRST_NONE, /* the test does, or nobody */
	FIRST_BROKEN,
	FIRST_NO_MORE,
	FIRST_BODY,
	FIRST_ZERO,
	FIRST_TAG,
	FIRST_OPCODE,
	FIRST_VERSION,
	FIRST_EVENT, /* an event's frame instead */
	FIRST_OLD,
	FIRST_OTHER_VERSION,
	FIRST_REFUSED, /* another status */
	FIRST_BUSY,
	FIRST_CLOSE,
};

struct told {
	uint8_t opcode, stage;
	uint64_t generation;
	uint8_t id[RNGD_PROTO_SUBSCRIBER_ID_BYTES];
};

struct fake {
	char dir[32];
	char path[64];
	char page_path[80];
	struct epoch_page *page;
	int page_fd, listen_fd;
	pthread_t thread;
	atomic_bool stop, deaf; /* deaf: to read nothing from the subscriber */
	atomic_bool deaf_by_now;
	_Atomic uint64_t generation;
	_Atomic enum first first;
	atomic_bool no_page, wrong_ack;
	atomic_int fd;                  /* of the subscriber; -1: none */
	atomic_uint tag;                /* of its SUBSCRIBE */
	struct told record[RECORD_MAX]; /* SUBSCRIBE and ACK */
	atomic_size_t recorded;
};

static void add_page(struct fake *fake)
{
	struct epoch_page page = {.version = EPOCH_PAGE_VERSION,
				  .generation = 1,
				  .look_again = 1,
				  .state = EPOCH_PAGE_SERVING};

	memcpy(page.magic, EPOCH_PAGE_MAGIC, EPOCH_PAGE_MAGIC_BYTES);
	fake->page_fd = open(fake->page_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	ck_assert_int_ge(fake->page_fd, 0);
	ck_assert_int_eq(write(fake->page_fd, &page, sizeof(page)), sizeof(page));
	fake->page = mmap(NULL, sizeof(page), PROT_READ | PROT_WRITE, MAP_SHARED, fake->page_fd, 0);
	ck_assert_ptr_ne(fake->page, MAP_FAILED);
}

static void put_head(uint8_t *out, const struct wire_request *req, uint64_t generation)
{
	wire_encode_reply(
	    &(struct wire_reply){
		.opcode = req->opcode, .version = 1, .tag = req->tag, .generation = generation},
	    out);
}

/* Tells ThreadSanitizer that who sends is done with a descriptor before the server closes it. */
static atomic_uint sent;

static bool say(int fd, const void *bytes, size_t len)
{
	bool whole = send(fd, bytes, len, MSG_NOSIGNAL) == (ssize_t)len;

	sent++;
	return whole;
}

static bool answer_page(const struct fake *fake, int to, const struct wire_request *req)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {.bytes = {0}};
	uint8_t out[RNGD_PROTO_REPLY_HEAD_BYTES];
	struct iovec iov = {out, sizeof(out)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	struct cmsghdr *header;

	put_head(out, req, fake->generation);
	if (fake->no_page) {
		out[6] = RNGD_PROTO_E_NO_PAGE;
	} else {
		msg.msg_control = control.bytes;
		msg.msg_controllen = sizeof(control.bytes);
		header = CMSG_FIRSTHDR(&msg);
		*header = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)),
					   .cmsg_level = SOL_SOCKET,
					   .cmsg_type = SCM_RIGHTS};
		memcpy(CMSG_DATA(header), &fake->page_fd, sizeof(int));
	}
	return sendmsg(to, &msg, MSG_NOSIGNAL) == (ssize_t)sizeof(out);
}

static bool answer_subscribe(struct fake *fake, int fd, const struct wire_request *req)
{
	uint8_t out[FRAME_BYTES] = {0};
	size_t len = RNGD_PROTO_REPLY_HEAD_BYTES;

	put_head(out, req, fake->generation);
	out[7] = RNGD_PROTO_FLAG_MORE;
	switch (fake->first) {
	case FIRST_GOOD:
		break;
	case FIRST_NONE:
		return true;
	case FIRST_BROKEN:
		out[3] = 3;
		break;
	case FIRST_NO_MORE:
		out[7] = 0;
		break;
	case FIRST_BODY:
		out[3]++;
		len++;
		break;
	case FIRST_ZERO:
		memset(out + 12, 0, 8);
		break;
	case FIRST_TAG:
		out[11] ^= 1;
		break;
	case FIRST_OPCODE:
		out[4] = RNGD_PROTO_OP_ACK;
		break;
	case FIRST_VERSION:
		out[5] = 2;
		break;
	case FIRST_EVENT:
		len = sizeof(out);
		out[3] = (uint8_t)(len - 4);
		break;
	case FIRST_OLD:
		out[6] = RNGD_PROTO_E_OPCODE;
		out[7] = 0;
		break;
	case FIRST_OTHER_VERSION:
		out[6] = RNGD_PROTO_E_VERSION;
		out[7] = 0;
		out[5] = 7;
		out[3] = (uint8_t)(out[3] + 2);
		len += 2;
		break;
	case FIRST_REFUSED:
		out[6] = RNGD_PROTO_E_PERMISSION;
		out[7] = 0;
		break;
	case FIRST_BUSY:
		memset(out + 4, 0, sizeof(out) - 4);
		out[5] = 1;
		out[6] = RNGD_PROTO_E_BUSY;
		break;
	case FIRST_CLOSE:
		return false;
	}
	return say(fd, out, len);
}

/* One request; false: the connection is over. */
static bool serve(struct fake *fake, int fd)
{
	uint8_t in[RNGD_PROTO_REQUEST_MAX_BYTES], out[RNGD_PROTO_REPLY_HEAD_BYTES + 64] = {0};
	struct wire_request req;
	struct told *told;
	ssize_t got;
	size_t used;
	bool more;

	got = recv(fd, in, RNGD_PROTO_REQUEST_HEAD_BYTES, MSG_PEEK);
	if (got != RNGD_PROTO_REQUEST_HEAD_BYTES)
		return false;
	got = recv(fd, in, 4 + wire_get_u32(in), MSG_WAITALL);
	if (got <= 0 || wire_decode_request(in, (size_t)got, &req, &used) != WIRE_OK)
		return false;
	put_head(out, &req, fake->generation);
	if (req.opcode == RNGD_PROTO_OP_PAGE)
		return answer_page(fake, fd, &req);
	if (req.opcode == RNGD_PROTO_OP_GET) {
		used = wire_get_u32(req.body);
		ck_assert_uint_le(used, 64);
		out[3] = (uint8_t)(out[3] + used);
		return say(fd, out, RNGD_PROTO_REPLY_HEAD_BYTES + used);
	}
	if (req.opcode != RNGD_PROTO_OP_SUBSCRIBE && req.opcode != RNGD_PROTO_OP_ACK)
		return say(fd, out, RNGD_PROTO_REPLY_HEAD_BYTES);
	ck_assert_uint_lt(fake->recorded, RECORD_MAX);
	told = &fake->record[fake->recorded];
	*told = (struct told){.opcode = req.opcode, .generation = wire_get_u64(req.body)};
	if (req.opcode == RNGD_PROTO_OP_SUBSCRIBE) {
		ck_assert_uint_eq(req.body_bytes, RNGD_PROTO_SUBSCRIBE_BODY_BYTES);
		memcpy(told->id, req.body + 8, sizeof(told->id));
		fake->tag = req.tag;
		fake->fd = fd;
		more = answer_subscribe(fake, fd, &req);
		fake->recorded++; /* the test may send an event from here on */
		return more;
	}
	ck_assert_uint_eq(req.body_bytes, RNGD_PROTO_ACK_BODY_BYTES);
	told->stage = req.body[8];
	if (fake->wrong_ack)
		out[6] = RNGD_PROTO_E_BODY;
	more = say(fd, out, RNGD_PROTO_REPLY_HEAD_BYTES) || told->stage == RNGD_PROTO_STAGE_LEAVE;
	fake->recorded++;
	return more;
}

static void *fake_main(void *arg)
{
	struct pollfd fds[1 + PEERS];
	struct fake *fake = arg;

	for (int i = 0; i <= PEERS; i++)
		fds[i] = (struct pollfd){.fd = -1, .events = POLLIN};
	fds[0].fd = fake->listen_fd;
	while (!fake->stop) {
		struct pollfd now[1 + PEERS];
		bool deaf = fake->deaf;

		memcpy(now, fds, sizeof(now));
		for (int i = 1; i <= PEERS; i++)
			if (deaf && now[i].fd == fake->fd)
				now[i].fd = -1;
		fake->deaf_by_now = deaf;
		poll(now, 1 + PEERS, deaf ? 5 : 50);
		for (int i = 1; i <= PEERS; i++) {
			if (now[i].fd < 0 || !now[i].revents || serve(fake, fds[i].fd))
				continue;
			(void)atomic_load(&sent);
			if (fake->fd == fds[i].fd)
				fake->fd = -1;
			close(fds[i].fd);
			fds[i].fd = -1;
		}
		for (int i = 1; now[0].revents && i <= PEERS; i++) {
			if (fds[i].fd >= 0)
				continue;
			fds[i].fd = accept4(fake->listen_fd, NULL, NULL, SOCK_CLOEXEC);
			break;
		}
	}
	fake->fd = -1;
	for (int i = 1; i <= PEERS; i++)
		if (fds[i].fd >= 0)
			close(fds[i].fd);
	return NULL;
}

static void fake_up(struct fake *fake)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	strcpy(addr.sun_path, fake->path);
	fake->stop = false;
	fake->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ck_assert_int_eq(bind(fake->listen_fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	ck_assert_int_eq(listen(fake->listen_fd, 16), 0);
	ck_assert_int_eq(pthread_create(&fake->thread, NULL, fake_main, fake), 0);
}

static void fake_down(struct fake *fake)
{
	fake->stop = true;
	unlink(fake->path);
	pthread_join(fake->thread, NULL);
	close(fake->listen_fd);
}

static bool is_deaf(void *arg)
{
	const struct fake *fake = arg;

	return fake->deaf_by_now;
}

/* From here on nothing that the subscriber writes is read, until `deaf` is taken back. */
static void be_deaf(struct fake *fake)
{
	fake->deaf = true;
	ck_assert(support_wait(is_deaf, fake));
}

static struct rngclient *fake_start(struct fake *fake)
{
	struct rngclient *client;

	memset(fake, 0, sizeof(*fake));
	fake->generation = 1;
	fake->fd = -1;
	strcpy(fake->dir, "/dev/shm/rngd-check.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(fake->dir));
	snprintf(fake->path, sizeof(fake->path), "%s/sock", fake->dir);
	snprintf(fake->page_path, sizeof(fake->page_path), "%s.epoch", fake->path);
	add_page(fake);
	fake_up(fake);
	ck_assert_int_eq(rngclient_open(&client, fake->path, LONG_MS), 0);
	return client;
}

static void fake_end(struct fake *fake, struct rngclient *client)
{
	rngclient_close(client);
	fake_down(fake);
	munmap(fake->page, sizeof(*fake->page));
	close(fake->page_fd);
	unlink(fake->page_path);
	rmdir(fake->dir);
}

struct goal {
	struct fake *fake;
	size_t count;
};

static bool has_recorded(void *arg)
{
	const struct goal *goal = arg;

	return goal->fake->recorded >= goal->count;
}

/* The nth thing the server was told, counted from 1; waits for it, and for there to be no more. */
static const struct told *told(struct fake *fake, size_t n)
{
	struct goal goal = {fake, n};

	ck_assert_msg(support_wait(has_recorded, &goal), "told %zu things, not %zu",
		      (size_t)fake->recorded, n);
	return &fake->record[n - 1];
}

static void check_ack(struct fake *fake, size_t n, enum rngd_proto_stage stage, uint64_t generation)
{
	const struct told *ack = told(fake, n);

	ck_assert_uint_eq(ack->opcode, RNGD_PROTO_OP_ACK);
	ck_assert_uint_eq(ack->stage, stage);
	if (stage != RNGD_PROTO_STAGE_LEAVE)
		ck_assert_uint_eq(ack->generation, generation);
}

static const struct told *check_subscribe(struct fake *fake, size_t n, uint64_t generation)
{
	const struct told *subscribe = told(fake, n);

	ck_assert_uint_eq(subscribe->opcode, RNGD_PROTO_OP_SUBSCRIBE);
	ck_assert_uint_eq(subscribe->generation, generation);
	return subscribe;
}

/* An event's frame. mark: its id's bytes; 0: none on record. */
static void make_event(const struct fake *fake, uint8_t out[FRAME_BYTES], uint64_t generation,
		       uint8_t mark)
{
	struct wire_event event = {0};

	if (mark) {
		event = (struct wire_event){.notifier = EPOCH_PAGE_HOST,
					    .realtime_ns = 1000 + generation,
					    .boottime_ns = 500 + generation};
		memset(event.id, mark, sizeof(event.id));
	}
	wire_encode_reply(&(struct wire_reply){.opcode = RNGD_PROTO_OP_SUBSCRIBE,
					       .version = 1,
					       .flags = RNGD_PROTO_FLAG_MORE,
					       .tag = fake->tag,
					       .generation = generation,
					       .body_bytes = RNGD_PROTO_EVENT_BODY_BYTES},
			  out);
	wire_encode_event(&event, out + RNGD_PROTO_REPLY_HEAD_BYTES);
}

static void send_event(struct fake *fake, uint64_t generation, uint8_t mark)
{
	uint8_t out[FRAME_BYTES];

	make_event(fake, out, generation, mark);
	fake->generation = generation;
	ck_assert(say(fake->fd, out, sizeof(out)));
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

static uint64_t must_come(struct rngclient *client)
{
	struct rngclient_event event;

	ck_assert_int_eq(next(client, &event, LONG_MS), 0);
	return event.generation;
}

static void must_not_come(struct rngclient *client)
{
	struct rngclient_event event;

	ck_assert_int_eq(next(client, &event, 0), -EAGAIN);
}

struct call {
	struct rngclient *client;
	struct fake *fake;
	size_t count;
};

/* As an event loop would: calls when the descriptor is readable, until so much was told. */
static bool tend(void *arg)
{
	struct call *call = arg;

	if (is_readable(rngclient_event_fd(call->client), 0))
		must_not_come(call->client);
	return call->fake->recorded >= call->count;
}

static void tend_until(struct rngclient *client, struct fake *fake, size_t count)
{
	struct call call = {client, fake, count};

	ck_assert_msg(support_wait(tend, &call), "told %zu things, not %zu", (size_t)fake->recorded,
		      count);
}

static bool is_quiet(void *arg)
{
	struct call *call = arg;

	tend(arg);
	return !is_readable(rngclient_event_fd(call->client), 0);
}

static bool is_closed(void *arg)
{
	return ((struct fake *)arg)->fd == -1;
}

/* ---- what is said, and when ---- */

START_TEST(an_event)
{
	struct rngclient_event event;
	struct rngclient *client;
	struct call call;
	struct fake fake;
	uint8_t id[16];
	int fd;

	client = fake_start(&fake);
	fd = subscribe(client);
	call = (struct call){client, &fake, 0};
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	ck_assert_int_eq(subscribe(client), fd);
	check_subscribe(&fake, 1, 0);
	must_not_come(client);
	ck_assert(!is_readable(fd, 0));

	send_event(&fake, 2, 0xab);
	ck_assert(is_readable(fd, LONG_MS));
	memset(&event, 0xee, sizeof(event));
	ck_assert_int_eq(next(client, &event, 0), 0);
	memset(id, 0xab, sizeof(id));
	ck_assert_uint_eq(event.size, sizeof(event));
	ck_assert_uint_eq(event.generation, 2);
	ck_assert_uint_eq(event.realtime_ns, 1002);
	ck_assert_uint_eq(event.boottime_ns, 502);
	ck_assert_uint_eq(event.notifier, EPOCH_PAGE_HOST);
	ck_assert_str_eq(event.notifier_name, "host");
	ck_assert_mem_eq(event.id, id, sizeof(id));
	check_ack(&fake, 2, RNGD_PROTO_STAGE_TAKEN, 2);
	must_not_come(client);

	ck_assert_int_eq(rngclient_event_ack(client, 3), -EINVAL);
	ck_assert_int_eq(rngclient_event_ack(client, 1), -EINVAL);
	ck_assert_int_eq(rngclient_event_ack(client, 0), -EINVAL);
	ck_assert_int_eq(rngclient_event_ack(client, 2), 0);
	check_ack(&fake, 3, RNGD_PROTO_STAGE_DONE, 2);
	ck_assert_int_eq(rngclient_event_ack(client, 2), 0);
	ck_assert(support_wait(is_quiet, &call));
	ck_assert_uint_eq(fake.recorded, 3);
	rngclient_close(client);
	check_ack(&fake, 4, RNGD_PROTO_STAGE_LEAVE, 0);
	ck_assert(support_wait(is_closed, &fake));
	fake_end(&fake, NULL);
}
END_TEST

START_TEST(each_once_in_order)
{
	struct rngclient *client;
	struct fake fake;

	client = fake_start(&fake);
	subscribe(client);
	send_event(&fake, 2, 2);
	send_event(&fake, 2, 2);
	send_event(&fake, 4, 4);
	ck_assert_uint_eq(must_come(client), 2);
	ck_assert_uint_eq(must_come(client), 4);
	must_not_come(client);
	check_ack(&fake, 2, RNGD_PROTO_STAGE_TAKEN, 2);
	check_ack(&fake, 3, RNGD_PROTO_STAGE_TAKEN, 2);
	check_ack(&fake, 4, RNGD_PROTO_STAGE_TAKEN, 4);
	ck_assert_int_eq(rngclient_event_ack(client, 4), 0);
	check_ack(&fake, 5, RNGD_PROTO_STAGE_DONE, 4);
	/* It says all that this would. */
	ck_assert_int_eq(rngclient_event_ack(client, 2), 0);
	/* What was acknowledged does not come again, but the daemon is answered. */
	send_event(&fake, 4, 4);
	tend_until(client, &fake, 7);
	check_ack(&fake, 6, RNGD_PROTO_STAGE_TAKEN, 4);
	check_ack(&fake, 7, RNGD_PROTO_STAGE_DONE, 4);
	fake_end(&fake, client);
}
END_TEST

/* A page that was made anew: the count begins again, and may come by the same number again. */
START_TEST(a_generation_is_only_a_name)
{
	struct rngclient_event event;
	struct rngclient *client;
	struct fake fake;

	client = fake_start(&fake);
	fake.generation = 6;
	subscribe(client);
	send_event(&fake, 7, 7);
	ck_assert_uint_eq(must_come(client), 7);
	ck_assert_int_eq(rngclient_event_ack(client, 7), 0);
	send_event(&fake, 1, 0);
	ck_assert_int_eq(next(client, &event, LONG_MS), 0);
	ck_assert_uint_eq(event.generation, 1);
	ck_assert_uint_eq(event.realtime_ns, 0);
	ck_assert_int_eq(rngclient_event_ack(client, 1), 0);
	send_event(&fake, 7, 8);
	ck_assert_uint_eq(must_come(client), 7);
	send_event(&fake, 7, 9);
	ck_assert_uint_eq(must_come(client), 7);
	send_event(&fake, 7, 0);
	send_event(&fake, 7, 9);
	send_event(&fake, 8, 8);
	ck_assert_uint_eq(must_come(client), 8);
	fake_end(&fake, client);
}
END_TEST

/* ---- connections that end ---- */

START_TEST(gone_and_back)
{
	struct rngclient_event event;
	struct rngclient *client;
	const struct told *told;
	uint8_t id[16];
	struct fake fake;
	int fd;

	client = fake_start(&fake);
	fd = subscribe(client);
	memcpy(id, check_subscribe(&fake, 1, 0)->id, sizeof(id));
	fake_down(&fake);
	ck_assert(is_readable(fd, LONG_MS));
	ck_assert_int_eq(next(client, &event, 120), -EAGAIN);
	fake.generation = 2;
	fake_up(&fake);
	tend_until(client, &fake, 2);
	ck_assert_int_eq(subscribe(client), fd);
	told = check_subscribe(&fake, 2, 1); /* the first frame's */
	ck_assert_mem_eq(told->id, id, sizeof(id));
	send_event(&fake, 2, 2);
	ck_assert(is_readable(fd, LONG_MS));
	ck_assert_uint_eq(must_come(client), 2);
	check_ack(&fake, 3, RNGD_PROTO_STAGE_TAKEN, 2);
	/* Not given again, since it was; but it can be acknowledged there. */
	fake_down(&fake);
	fake_up(&fake);
	tend_until(client, &fake, 4);
	check_subscribe(&fake, 4, 1);
	send_event(&fake, 2, 2);
	tend_until(client, &fake, 5);
	check_ack(&fake, 5, RNGD_PROTO_STAGE_TAKEN, 2);
	ck_assert_int_eq(rngclient_event_ack(client, 2), 0);
	check_ack(&fake, 6, RNGD_PROTO_STAGE_DONE, 2);
	fake_end(&fake, client);
}
END_TEST

START_TEST(done_while_the_daemon_is_gone)
{
	struct rngclient *client;
	struct fake fake;

	client = fake_start(&fake);
	subscribe(client);
	send_event(&fake, 2, 2);
	ck_assert_uint_eq(must_come(client), 2);
	check_ack(&fake, 2, RNGD_PROTO_STAGE_TAKEN, 2);
	fake_down(&fake);
	if (_i == 0)
		must_not_come(client);
	ck_assert_int_eq(rngclient_event_ack(client, 2), 0);
	fake_up(&fake);
	tend_until(client, &fake, 3);
	check_subscribe(&fake, 3, 2);
	ck_assert_uint_eq(fake.recorded, 3);
	fake_end(&fake, client);
}
END_TEST

/* Sent, and never read. */
START_TEST(done_lost_on_its_way)
{
	struct rngclient *client;
	struct fake fake;

	client = fake_start(&fake);
	subscribe(client);
	send_event(&fake, 2, 2);
	ck_assert_uint_eq(must_come(client), 2);
	check_ack(&fake, 2, RNGD_PROTO_STAGE_TAKEN, 2);
	be_deaf(&fake);
	ck_assert_int_eq(rngclient_event_ack(client, 2), 0);
	fake_down(&fake);
	ck_assert_uint_eq(fake.recorded, 2);
	fake.deaf = false;
	fake_up(&fake);
	tend_until(client, &fake, 3);
	check_subscribe(&fake, 3, 2);
	fake_end(&fake, client);
}
END_TEST

/* Acknowledged after the SUBSCRIBE that does not say so: the daemon is told when it asks. */
START_TEST(done_while_subscribing)
{
	uint8_t out[RNGD_PROTO_REPLY_HEAD_BYTES] = {0};
	struct rngclient *client;
	struct fake fake;

	client = fake_start(&fake);
	subscribe(client);
	send_event(&fake, 2, 2);
	ck_assert_uint_eq(must_come(client), 2);
	check_ack(&fake, 2, RNGD_PROTO_STAGE_TAKEN, 2);
	fake_down(&fake);
	fake.first = FIRST_NONE;
	fake_up(&fake);
	tend_until(client, &fake, 3);
	check_subscribe(&fake, 3, 1);
	ck_assert_int_eq(rngclient_event_ack(client, 2), 0);
	put_head(out, &(struct wire_request){.opcode = RNGD_PROTO_OP_SUBSCRIBE, .tag = fake.tag},
		 2);
	out[7] = RNGD_PROTO_FLAG_MORE;
	ck_assert(say(fake.fd, out, sizeof(out)));
	send_event(&fake, 2, 2);
	tend_until(client, &fake, 5);
	check_ack(&fake, 4, RNGD_PROTO_STAGE_TAKEN, 2);
	check_ack(&fake, 5, RNGD_PROTO_STAGE_DONE, 2);
	fake_end(&fake, client);
}
END_TEST

/* The daemon refuses to hear of an event that it did not send on this connection. */
START_TEST(done_of_another_connection)
{
	struct rngclient *client;
	struct fake fake;

	client = fake_start(&fake);
	subscribe(client);
	send_event(&fake, 2, 2);
	ck_assert_uint_eq(must_come(client), 2);
	check_ack(&fake, 2, RNGD_PROTO_STAGE_TAKEN, 2);
	fake_down(&fake);
	fake_up(&fake);
	tend_until(client, &fake, 3);
	send_event(&fake, 3, 3);
	ck_assert_uint_eq(must_come(client), 3);
	check_ack(&fake, 4, RNGD_PROTO_STAGE_TAKEN, 3);
	ck_assert_int_eq(rngclient_event_ack(client, 2), 0);
	ck_assert_int_eq(rngclient_event_ack(client, 3), 0);
	check_ack(&fake, 5, RNGD_PROTO_STAGE_DONE, 3);
	fake_end(&fake, client);
}
END_TEST

/* What a socket has no room for is said when it has; only the last of it matters. */
START_TEST(a_daemon_that_does_not_read)
{
	enum { EVENTS = 1000 };
	struct rngclient *client;
	struct fake fake;

	client = fake_start(&fake);
	subscribe(client);
	be_deaf(&fake);
	for (uint64_t i = 2; i < EVENTS; i++) {
		send_event(&fake, i, 1);
		ck_assert_uint_eq(must_come(client), i);
		ck_assert_int_eq(rngclient_event_ack(client, i), 0);
	}
	must_not_come(client);
	ck_assert(!is_readable(rngclient_event_fd(client), 0));
	fake.deaf = false;
	for (size_t n = 0;; n++) {
		tend_until(client, &fake, n + 1);
		if (fake.record[n].stage == RNGD_PROTO_STAGE_DONE &&
		    fake.record[n].generation == EVENTS - 1)
			break;
	}
	ck_assert_uint_lt(fake.recorded, EVENTS);
	fake_end(&fake, client);
}
END_TEST

/* ---- frames ---- */

START_TEST(one_byte_at_a_time)
{
	uint8_t out[FRAME_BYTES];
	struct rngclient *client;
	struct fake fake;
	int fd;

	client = fake_start(&fake);
	fd = subscribe(client);
	for (uint64_t generation = 2; generation < 4; generation++) {
		make_event(&fake, out, generation, 7);
		for (size_t i = 0; i < sizeof(out); i++) {
			must_not_come(client);
			ck_assert(say(fake.fd, out + i, 1));
			ck_assert(is_readable(fd, LONG_MS));
		}
		ck_assert_uint_eq(must_come(client), generation);
		told(&fake, generation); /* the answer to its ACK is not to come in between */
	}
	fake_end(&fake, client);
}
END_TEST

/* An answer that was not begun, as to SUBSCRIBE. */
START_TEST(no_answer)
{
	struct rngclient *client;
	struct fake fake;
	int64_t start_ms;

	client = fake_start(&fake);
	subscribe(client);
	fake.first = FIRST_NONE;
	shutdown(fake.fd, SHUT_RDWR);
	tend_until(client, &fake, 2);
	start_ms = support_now_ms();
	tend_until(client, &fake, 3);
	ck_assert_int_ge(support_now_ms() - start_ms, 4500);
	fake_end(&fake, client);
}
END_TEST

/* Half a frame and no more: another connection in the end. */
START_TEST(half_a_frame)
{
	uint8_t out[FRAME_BYTES];
	struct rngclient *client;
	struct fake fake;
	int64_t start_ms;

	client = fake_start(&fake);
	subscribe(client);
	make_event(&fake, out, 2, 7);
	start_ms = support_now_ms();
	ck_assert(say(fake.fd, out, 30));
	tend_until(client, &fake, 2);
	ck_assert_int_ge(support_now_ms() - start_ms, 4500);
	fake_end(&fake, client);
}
END_TEST

struct damage {
	size_t at; /* byte of the frame */
	uint8_t with;
};

static const struct damage damages[] = {
    {0, 1},  {1, 1},  {2, 1},  {3, 0xff}, /* lengths out of range or of no event */
    {3, 1},  {3, 8},  {3, 20},            /* 16 + 37, 16 + 44, 16 + 16 */
    {3, 36},                              /* 16: no body */
    {4, 1},  {4, 15},                     /* opcodes 6 and 8 */
    {5, 3},                               /* version 2 */
    {6, 1},  {6, 2},  {6, 11},            /* statuses LENGTH, OPCODE, BUSY */
    {7, 1},                               /* no MORE */
    {8, 1},  {11, 2},                     /* tags; 11: an ACK's that was not sent */
    {19, 2},                              /* generation 0 */
};
#define DAMAGES ((int)(sizeof(damages) / sizeof(damages[0])))

START_TEST(a_malformed_frame)
{
	uint8_t out[FRAME_BYTES];
	struct rngclient_event event;
	struct rngclient *client;
	struct fake fake;
	int fd;

	client = fake_start(&fake);
	fd = subscribe(client);
	make_event(&fake, out, 2, 7);
	out[damages[_i].at] ^= damages[_i].with;
	ck_assert(say(fake.fd, out, sizeof(out)));
	ck_assert(is_readable(fd, LONG_MS));
	memset(&event, 0xee, sizeof(event));
	ck_assert_int_eq(next(client, &event, LONG_MS), -EPROTO);
	ck_assert_uint_eq(event.generation, 0);
	must_not_come(client);
	tend_until(client, &fake, 2);
	check_subscribe(&fake, 2, 1);
	send_event(&fake, 2, 2);
	ck_assert_uint_eq(must_come(client), 2);
	fake_end(&fake, client);
}
END_TEST

/* An answer to an ACK that is a refusal, or that nothing was asked for. */
START_TEST(a_wrong_answer_to_an_ack)
{
	uint8_t out[RNGD_PROTO_REPLY_HEAD_BYTES] = {0};
	struct rngclient_event event;
	struct rngclient *client;
	struct fake fake;

	client = fake_start(&fake);
	fake.wrong_ack = _i == 0;
	subscribe(client);
	send_event(&fake, 2, 7);
	ck_assert_uint_eq(must_come(client), 2);
	check_ack(&fake, 2, RNGD_PROTO_STAGE_TAKEN, 2);
	if (_i == 1) {
		put_head(out, &(struct wire_request){.opcode = RNGD_PROTO_OP_ACK, .tag = 9}, 2);
		ck_assert(say(fake.fd, out, sizeof(out)));
	}
	ck_assert_int_eq(next(client, &event, LONG_MS), -EPROTO);
	must_not_come(client);
	fake_end(&fake, client);
}
END_TEST

static const struct {
	enum first first;
	int err;
} firsts[] = {
    {FIRST_NONE, -ETIMEDOUT}, {FIRST_BROKEN, -EPROTO},    {FIRST_NO_MORE, -EPROTO},
    {FIRST_BODY, -EPROTO},    {FIRST_ZERO, -EPROTO},      {FIRST_TAG, -EPROTO},
    {FIRST_OPCODE, -EPROTO},  {FIRST_VERSION, -EPROTO},   {FIRST_EVENT, -EPROTO},
    {FIRST_OLD, -EOPNOTSUPP}, {FIRST_REFUSED, -EPROTO},   {FIRST_OTHER_VERSION, -EPROTONOSUPPORT},
    {FIRST_BUSY, -EBUSY},     {FIRST_CLOSE, -ECONNRESET},
};
#define FIRSTS ((int)(sizeof(firsts) / sizeof(firsts[0])))

START_TEST(a_bad_beginning)
{
	struct rngclient_event event;
	struct rngclient *client;
	struct fake fake;
	size_t fds;
	int fd;

	client = fake_start(&fake);
	fake.first = firsts[_i].first;
	ck_assert_int_eq(rngclient_look(client, NULL), 0);
	ck_assert_int_eq(rngclient_set_timeout(client, SHORT_MS), 0);
	fds = support_fd_count(getpid());
	fd = rngclient_event_fd(client);
	if (fd == -ETIMEDOUT && firsts[_i].err != fd) { /* a loaded machine */
		ck_assert_int_eq(rngclient_set_timeout(client, LONG_MS), 0);
		fd = rngclient_event_fd(client);
	}
	ck_assert_int_eq(fd, firsts[_i].err);
	ck_assert_int_eq(next(client, &event, 0), -ENOTCONN);
	ck_assert_int_eq(rngclient_event_ack(client, 1), -ENOTCONN);
	ck_assert_uint_le(support_fd_count(getpid()), fds + 3); /* epoll, timer, the server's end */
	fake.first = FIRST_GOOD;
	ck_assert_int_eq(rngclient_set_timeout(client, LONG_MS), 0);
	subscribe(client);
	send_event(&fake, 2, 2);
	ck_assert_uint_eq(must_come(client), 2);
	fake_end(&fake, client);
}
END_TEST

/* Later, what is no fault of the protocol is waited out in silence. */
START_TEST(a_bad_return)
{
	const int err = firsts[_i].err;
	struct rngclient_event event;
	struct rngclient *client;
	struct fake fake;
	int got;

	if (firsts[_i].first == FIRST_NONE)
		return;
	client = fake_start(&fake);
	subscribe(client);
	fake_down(&fake);
	fake.first = firsts[_i].first;
	fake_up(&fake);
	if (err == -EBUSY || err == -ECONNRESET) {
		tend_until(client, &fake, 3);
	} else {
		got = next(client, &event, LONG_MS);
		ck_assert_int_eq(got, err);
		ck_assert_int_eq(next(client, &event, 0), -EAGAIN);
		ck_assert_int_eq(next(client, &event, LONG_MS), err);
	}
	fake_down(&fake);
	fake.first = FIRST_GOOD;
	fake_up(&fake);
	tend_until(client, &fake, fake.recorded + 1);
	send_event(&fake, 2, 2);
	ck_assert_uint_eq(must_come(client), 2);
	fake_end(&fake, client);
}
END_TEST

/* A daemon that takes each connection and closes it does not keep the program busy. */
START_TEST(a_daemon_that_closes_at_once)
{
	enum { FOR_MS = 1000, PAUSE_MS = 50 };
	struct rngclient_event event;
	struct rngclient *client;
	struct fake fake;
	int64_t start_ms, tries;
	int fd, wakes = 0;

	client = fake_start(&fake);
	fd = subscribe(client);
	fake.first = FIRST_CLOSE;
	shutdown(fake.fd, SHUT_RDWR);
	start_ms = support_now_ms();
	if (_i == 0) {
		ck_assert_int_eq(next(client, &event, FOR_MS), -EAGAIN);
	} else {
		while (support_now_ms() - start_ms < FOR_MS) {
			if (!is_readable(fd, PAUSE_MS))
				continue;
			must_not_come(client);
			wakes++;
		}
	}
	tries = (int64_t)fake.recorded - 1;
	ck_assert_int_ge(tries, 1);
	ck_assert_int_le(tries, 1 + (support_now_ms() - start_ms) / PAUSE_MS);
	if (support_now_ms() - start_ms < 2 * FOR_MS) /* 50, 100, 200, 400, 800 ms */
		ck_assert_int_le(tries, 6);
	ck_assert_int_le(wakes, 2 * (tries + 2)); /* one to connect, one for the end */
	fake_end(&fake, client);
}
END_TEST

/* ---- processes, threads, descriptors ---- */

START_TEST(bad_arguments)
{
	struct rngclient_event event = {.size = sizeof(event)};
	struct {
		struct rngclient_event known;
		uint8_t more[32];
	} longer;
	struct rngclient *client;
	struct fake fake;

	client = fake_start(&fake);
	ck_assert_int_eq(rngclient_event_fd(NULL), -EINVAL);
	ck_assert_int_eq(rngclient_event_ack(NULL, 1), -EINVAL);
	ck_assert_int_eq(next(client, &event, 0), -ENOTCONN);
	ck_assert_int_eq(rngclient_event_ack(client, 1), -ENOTCONN);
	subscribe(client);
	ck_assert_int_eq(rngclient_event_next(NULL, &event, 0), -EINVAL);
	ck_assert_int_eq(rngclient_event_next(client, NULL, 0), -EINVAL);
	ck_assert_int_eq(next(client, &event, -2), -EINVAL);
	event.size = 8;
	event.generation = 99;
	ck_assert_int_eq(rngclient_event_next(client, &event, 0), -EINVAL);
	ck_assert_uint_eq(event.generation, 99);
	event.size = 5000;
	ck_assert_int_eq(rngclient_event_next(client, &event, 0), -EINVAL);
	ck_assert_uint_eq(rngclient_epoch(NULL), 0);
	ck_assert(!rngclient_epoch_same(NULL, 1));
	/* A program that was built with a later version of the struct. */
	memset(&longer, 0xee, sizeof(longer));
	longer.known.size = sizeof(longer);
	send_event(&fake, 2, 2);
	ck_assert_int_eq(rngclient_event_next(client, &longer.known, LONG_MS), 0);
	ck_assert_uint_eq(longer.known.size, sizeof(longer));
	ck_assert_uint_eq(longer.known.generation, 2);
	ck_assert_uint_eq(longer.more[0] | longer.more[31], 0);
	fake_end(&fake, client);
}
END_TEST

#ifndef __SANITIZE_THREAD__ /* no threads may be there at a fork() under it */
START_TEST(a_forked_child)
{
	struct rngclient *client;
	uint8_t id[16];
	struct fake fake;
	pid_t pid;
	int status, fd;

	client = fake_start(&fake);
	fd = subscribe(client);
	memcpy(id, check_subscribe(&fake, 1, 0)->id, sizeof(id));
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		struct rngclient_event event;
		int own;

		/* The program may put something else at the numbers of what it inherited. */
		if (_i == 1)
			for (int i = fd; i < fd + 4; i++)
				dup2(STDERR_FILENO, i);
		if (next(client, &event, -1) != -ECHILD ||
		    rngclient_event_ack(client, 1) != -ECHILD)
			_exit(1);
		own = _i == 2 ? -1 : rngclient_event_fd(client);
		if (_i != 2 && (own < 0 || own == fd || next(client, &event, 0) != -EAGAIN))
			_exit(2);
		if (_i == 1)
			for (int i = fd; i < fd + 4; i++)
				if (fcntl(i, F_GETFD) < 0)
					_exit(3);
		rngclient_close(client);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	if (_i != 2) {
		ck_assert_mem_ne(check_subscribe(&fake, 2, 0)->id, id, sizeof(id));
		check_ack(&fake, 3, RNGD_PROTO_STAGE_LEAVE, 0);
	}
	/* The parent's goes on, over the connection that it had. */
	ck_assert_int_eq(subscribe(client), fd);
	must_not_come(client);
	ck_assert_uint_eq(fake.recorded, _i == 2 ? 1 : 3);
	fake_end(&fake, client);
}
END_TEST

/* A child that goes on holding a copy of the connection does not keep it alive. */
START_TEST(a_copy_in_a_child)
{
	uint8_t out[FRAME_BYTES];
	struct rngclient_event event;
	struct rngclient *client;
	struct call call;
	struct fake fake;
	pid_t pid;
	int fd;

	client = fake_start(&fake);
	fd = subscribe(client);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		pause();
		_exit(0);
	}
	make_event(&fake, out, 2, 7);
	out[5] = 9;
	ck_assert(say(fake.fd, out, sizeof(out)));
	ck_assert_int_eq(next(client, &event, LONG_MS), -EPROTO);
	ck_assert(support_wait(is_closed, &fake));
	tend_until(client, &fake, 2);
	call = (struct call){client, &fake, 0};
	ck_assert(support_wait(is_quiet, &call)); /* nothing of the old one is left in it */
	poll(NULL, 0, 20);
	ck_assert(!is_readable(fd, 0));
	rngclient_close(client);
	check_ack(&fake, 3, RNGD_PROTO_STAGE_LEAVE, 0);
	ck_assert(support_wait(is_closed, &fake));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	fake_end(&fake, NULL);
}
END_TEST
#endif

static void *next_forever(void *arg)
{
	uint64_t last = 0;

	while (last < 20) {
		last = must_come(arg);
		ck_assert_int_eq(rngclient_event_ack(arg, last), 0);
	}
	return NULL;
}

struct asking {
	struct rngclient *client;
	atomic_bool stop;
};

static void *get_forever(void *arg)
{
	struct asking *asking = arg;
	uint8_t buf[32];

	while (!asking->stop) {
		uint64_t token = rngclient_epoch(asking->client);

		ck_assert_int_eq(rngclient_get(asking->client, buf, sizeof(buf)), 0);
		rngclient_epoch_same(asking->client, token);
	}
	return NULL;
}

START_TEST(threads)
{
	struct asking asking = {0};
	pthread_t waits, asks[2];
	struct rngclient *client;
	struct fake fake;
	size_t n;

	client = fake_start(&fake);
	asking.client = client;
	subscribe(client);
	told(&fake, 1); /* counted after it was answered */
	ck_assert_int_eq(pthread_create(&waits, NULL, next_forever, client), 0);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&asks[i], NULL, get_forever, &asking), 0);
	for (uint64_t i = 2; i <= 20; i++) {
		n = fake.recorded;
		if (i % 5 == 0) {
			fake_down(&fake);
			fake_up(&fake);
			told(&fake, n + 1);
			n = fake.recorded;
		}
		send_event(&fake, i, (uint8_t)i);
		/* While that one waits, this one need not. */
		(void)rngclient_event_ack(client, 1);
		check_ack(&fake, n + 2, RNGD_PROTO_STAGE_DONE, i);
	}
	pthread_join(waits, NULL);
	asking.stop = true;
	for (int i = 0; i < 2; i++)
		pthread_join(asks[i], NULL);
	fake_end(&fake, client);
}
END_TEST

START_TEST(in_a_nested_epoll)
{
	struct epoll_event event = {.events = EPOLLIN};
	struct rngclient *client;
	struct fake fake;
	int64_t start_ms;
	int outer = epoll_create1(EPOLL_CLOEXEC);
	int fd;

	client = fake_start(&fake);
	fd = subscribe(client);
	ck_assert_int_eq(epoll_ctl(outer, EPOLL_CTL_ADD, fd, &event), 0);
	ck_assert_int_eq(epoll_wait(outer, &event, 1, 0), 0);
	send_event(&fake, 2, 2);
	ck_assert_int_eq(epoll_wait(outer, &event, 1, LONG_MS), 1);
	ck_assert_uint_eq(must_come(client), 2);
	check_ack(&fake, 2, RNGD_PROTO_STAGE_TAKEN, 2);
	fake_down(&fake);
	fake_up(&fake);
	start_ms = support_now_ms();
	while (fake.recorded < 3) { /* which is counted after the answer has gone out */
		ck_assert_int_lt(support_now_ms() - start_ms, LONG_MS);
		if (epoll_wait(outer, &event, 1, 50) == 1)
			must_not_come(client);
	}
	close(outer);
	fake_end(&fake, client);
}
END_TEST

static size_t count_maps(const char *name)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];
	size_t count = 0;

	while (fgets(line, sizeof(line), maps))
		count += strstr(line, name) != NULL;
	fclose(maps);
	return count;
}

/* Descriptors that a program to be executed would have. */
static size_t count_inherited(void)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	size_t count = 0;

	while ((entry = readdir(dir)))
		count += !(fcntl(atoi(entry->d_name), F_GETFD) & FD_CLOEXEC);
	closedir(dir);
	return count;
}

START_TEST(nothing_is_left_behind)
{
	struct rngclient *client;
	struct fake fake;
	size_t fds, maps;
	uint8_t buf[8];
	size_t inherited = count_inherited();

	client = fake_start(&fake);
	subscribe(client);
	fds = support_fd_count(getpid());
	maps = count_maps("sock.epoch");
	for (size_t i = 0; i < 1000; i++) {
		/* Each time another connection, and now and then another daemon. */
		if (i % 100 == 0) {
			fake_down(&fake);
			fake_up(&fake);
			ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), 0);
		} else {
			shutdown(fake.fd, SHUT_RDWR);
		}
		fake.recorded = 0;
		if (i % 10 != 0) { /* not to wait for the pause: another handle */
			rngclient_close(client);
			ck_assert_int_eq(rngclient_open(&client, fake.path, LONG_MS), 0);
			subscribe(client);
			fake.recorded = 0;
		} else {
			tend_until(client, &fake, 1);
		}
	}
	ck_assert_uint_eq(count_maps("sock.epoch"), maps);
	for (int i = 0; i < 200 && support_fd_count(getpid()) > fds; i++)
		poll(NULL, 0, 10); /* for the server to close its ends */
	ck_assert_uint_le(support_fd_count(getpid()), fds);
	ck_assert_uint_eq(count_inherited(), inherited);
	fake_end(&fake, client);
}
END_TEST

#ifndef __SANITIZE_THREAD__
static bool can_connect(void *arg)
{
	struct call *call = arg;
	struct rngclient_event event;
	int err = next(call->client, &event, 0);

	ck_assert(err == -EAGAIN || err == -EMFILE);
	return call->fake->recorded >= call->count;
}

struct fd_goal {
	size_t count;
};

static bool fds_are(void *arg)
{
	return support_fd_count(getpid()) == ((struct fd_goal *)arg)->count;
}

/* At each step in turn: an error, nothing lost, and it works once there is room. */
START_TEST(out_of_descriptors)
{
	struct rngclient_event event;
	struct rngclient *client;
	struct rlimit old, few;
	struct fd_goal goal;
	struct fake fake;
	struct call call;
	int fd, highest, fill[32];

	client = fake_start(&fake);
	call = (struct call){client, &fake, 0};
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
	ck_assert_int_eq(rngclient_look(client, NULL), 0);
	goal.count = support_fd_count(getpid());
	/* The page needs three for a moment (the server takes one): have it before. */
	ck_assert_int_eq(rngclient_get(client, (uint8_t[8]){0}, 8), 0);
	ck_assert(support_wait(fds_are, &goal));
	for (size_t i = 0; i < sizeof(fill) / sizeof(fill[0]); i++) /* no gaps */
		fill[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	highest = fill[sizeof(fill) / sizeof(fill[0]) - 1];
	/* Epoll instance, timer, socket; what was made of the first two together stays. */
	for (int room = 0; room < 3; room++) {
		few = old;
		few.rlim_cur = (rlim_t)(highest + 1 + room);
		ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
		fd = rngclient_event_fd(client);
		ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
		ck_assert_int_eq(fd, -EMFILE);
		ck_assert_int_eq(next(client, &event, 0), -ENOTCONN);
	}
	for (size_t i = 0; i < sizeof(fill) / sizeof(fill[0]); i++)
		close(fill[i]);
	fd = subscribe(client);
	call.count = fake.recorded + 1;
	shutdown(fake.fd, SHUT_RDWR);
	ck_assert(is_readable(fd, LONG_MS));
	must_not_come(client);
	few.rlim_cur = 3;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
	ck_assert_int_eq(next(client, &event, LONG_MS), -EMFILE);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
	ck_assert(support_wait(can_connect, &call));
	fake_end(&fake, client);
}
END_TEST
#endif

/* The program closes what is not its own, and has something else at the number. */
START_TEST(descriptors_closed_by_the_program)
{
	struct rngclient_event event;
	struct rngclient *client;
	struct fake fake;
	int fd, other[3];

	client = fake_start(&fake);
	fd = subscribe(client);
	close(fd);
	other[0] = _i == 0 ? open("/dev/null", O_RDONLY | O_CLOEXEC) : epoll_create1(EPOLL_CLOEXEC);
	ck_assert_int_eq(other[0], fd);
	ck_assert_int_eq(next(client, &event, 0), -ENOTCONN);
	fd = subscribe(client);
	ck_assert_int_ne(fd, other[0]);
	send_event(&fake, 2, 2);
	ck_assert_uint_eq(must_come(client), 2);
	rngclient_close(client);
	ck_assert_int_ge(fcntl(other[0], F_GETFD), 0);
	fake_end(&fake, NULL);
}
END_TEST

static int socket_of(const struct fake *fake)
{
	struct sockaddr_un addr;
	socklen_t len;

	for (int fd = 3; fd < 1024; fd++) {
		len = sizeof(addr);
		if (getpeername(fd, (struct sockaddr *)&addr, &len) == 0 &&
		    len > sizeof(addr.sun_family) && strcmp(addr.sun_path, fake->path) == 0)
			return fd;
	}
	ck_abort_msg("no connection to %s", fake->path);
}

/* The connection's number is the program's: nothing is sent there. */
START_TEST(a_connection_closed_by_the_program)
{
	struct rngclient *client;
	struct fake fake;
	int pair[2], fd;
	char byte;

	client = fake_start(&fake);
	subscribe(client);
	send_event(&fake, 2, 2);
	ck_assert_uint_eq(must_come(client), 2);
	check_ack(&fake, 2, RNGD_PROTO_STAGE_TAKEN, 2);
	/* The handle's other connection goes, and with it the choice. */
	fd = socket_of(&fake);
	ck_assert_int_eq(close(fd), 0);
	fd = socket_of(&fake);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	ck_assert_int_eq(dup2(pair[0], fd), fd);
	if (_i == 0)
		ck_assert_int_eq(rngclient_event_ack(client, 2), 0);
	else if (_i == 1)
		must_not_come(client);
	else
		rngclient_close(client);
	ck_assert_int_eq(recv(pair[1], &byte, 1, MSG_DONTWAIT), -1);
	ck_assert_int_eq(errno, EAGAIN);
	if (_i < 2) {
		tend_until(client, &fake, 3);
		check_subscribe(&fake, 3, _i == 0 ? 2 : 1);
	}
	ck_assert_int_ge(fcntl(fd, F_GETFD), 0);
	close(pair[1]);
	fake_end(&fake, _i < 2 ? client : NULL);
}
END_TEST

struct subscribing {
	struct rngclient *client;
	int result;
};

static void *subscribe_in_thread(void *arg)
{
	struct subscribing *subscribing = arg;

	subscribing->result = rngclient_event_fd(subscribing->client);
	return NULL;
}

/* One of them reads the answer; the others sleep, and are not to sleep on. */
START_TEST(several_subscribe_at_once)
{
	enum { THREADS = 8, ROUNDS = 20 };
	struct subscribing subscribing[THREADS];
	pthread_t callers[THREADS];
	uint8_t out[RNGD_PROTO_REPLY_HEAD_BYTES] = {0};
	struct rngclient *client;
	struct fake fake;
	int64_t start_ms;

	client = fake_start(&fake);
	for (int round = 0; round < ROUNDS; round++) {
		fake.first = FIRST_NONE;
		start_ms = support_now_ms();
		for (int i = 0; i < THREADS; i++) {
			subscribing[i].client = client;
			ck_assert_int_eq(
			    pthread_create(&callers[i], NULL, subscribe_in_thread, &subscribing[i]),
			    0);
		}
		told(&fake, 1);
		poll(NULL, 0, 10); /* most of them sleep now; none must for the test to pass */
		put_head(out,
			 &(struct wire_request){.opcode = RNGD_PROTO_OP_SUBSCRIBE, .tag = fake.tag},
			 1);
		out[7] = RNGD_PROTO_FLAG_MORE;
		ck_assert(say(fake.fd, out, sizeof(out)));
		for (int i = 0; i < THREADS; i++) {
			ck_assert_int_eq(pthread_join(callers[i], NULL), 0);
			ck_assert_int_eq(subscribing[i].result, subscribing[0].result);
		}
		ck_assert_int_ge(subscribing[0].result, 0);
		ck_assert_int_lt(support_now_ms() - start_ms, LONG_MS);
		must_not_come(client);
		ck_assert(!is_readable(subscribing[0].result, 0));
		ck_assert_uint_eq(fake.recorded, 1);
		rngclient_close(client);
		ck_assert(support_wait(is_closed, &fake));
		fake.recorded = 0;
		ck_assert_int_eq(rngclient_open(&client, fake.path, LONG_MS), 0);
	}
	fake_end(&fake, client);
}
END_TEST

#ifndef __SANITIZE_THREAD__
static void nothing(int signal)
{
	(void)signal;
}

START_TEST(signals_do_not_end_a_wait)
{
	struct itimerspec every = {.it_value.tv_nsec = 2000000, .it_interval.tv_nsec = 2000000};
	struct sigaction action = {.sa_handler = nothing};
	struct rngclient_event event;
	struct rngclient *client;
	struct fake fake;
	int64_t start_ms;
	timer_t timer;

	client = fake_start(&fake);
	subscribe(client);
	ck_assert_int_eq(sigaction(SIGALRM, &action, NULL), 0);
	ck_assert_int_eq(timer_create(CLOCK_MONOTONIC, NULL, &timer), 0);
	ck_assert_int_eq(timer_settime(timer, 0, &every, NULL), 0);
	start_ms = support_now_ms();
	ck_assert_int_eq(next(client, &event, SHORT_MS), -EAGAIN);
	ck_assert_int_ge(support_now_ms() - start_ms, SHORT_MS);
	timer_delete(timer);
	fake_end(&fake, client);
}
END_TEST
#endif

/* ---- the page ---- */

static uint64_t boot_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

START_TEST(epoch_and_lease)
{
	struct rngclient *client;
	struct fake fake;

	client = fake_start(&fake);
	ck_assert_uint_eq(rngclient_epoch(client), 0);
	ck_assert(!rngclient_epoch_same(client, 0));
	subscribe(client);
	ck_assert_uint_eq(rngclient_epoch(client), 1);
	ck_assert(!rngclient_epoch_same(client, 1)); /* no lease */
	fake.page->lease_ns = boot_ns() + 600000000000u;
	ck_assert(rngclient_epoch_same(client, 1));
	ck_assert(!rngclient_epoch_same(client, 0));
	ck_assert(!rngclient_epoch_same(client, 2));
	__atomic_store_n(&fake.page->generation, 2, __ATOMIC_RELEASE);
	ck_assert_uint_eq(rngclient_epoch(client), 2);
	ck_assert(!rngclient_epoch_same(client, 1));
	ck_assert(rngclient_epoch_same(client, 2));
	fake.page->lease_ns = boot_ns() - 1;
	ck_assert(!rngclient_epoch_same(client, 2));
	fake_end(&fake, client);
}
END_TEST

START_TEST(no_page)
{
	struct rngclient *client;
	struct fake fake;

	client = fake_start(&fake);
	fake.no_page = true;
	subscribe(client);
	ck_assert_uint_eq(rngclient_epoch(client), 0);
	ck_assert(!rngclient_epoch_same(client, 0));
	fake_end(&fake, client);
}
END_TEST

static TCase *said_cases(void)
{
	TCase *tcase = tcase_create("said");

	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, an_event);
	tcase_add_test(tcase, each_once_in_order);
	tcase_add_test(tcase, a_generation_is_only_a_name);
	tcase_add_test(tcase, gone_and_back);
	tcase_add_loop_test(tcase, done_while_the_daemon_is_gone, 0, 2);
	tcase_add_test(tcase, done_lost_on_its_way);
	tcase_add_test(tcase, done_while_subscribing);
	tcase_add_test(tcase, done_of_another_connection);
	tcase_add_test(tcase, a_daemon_that_does_not_read);
	return tcase;
}

static TCase *frame_cases(void)
{
	TCase *tcase = tcase_create("frames");

	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, one_byte_at_a_time);
	tcase_add_test(tcase, half_a_frame);
	tcase_add_test(tcase, no_answer);
	tcase_add_loop_test(tcase, a_malformed_frame, 0, DAMAGES);
	tcase_add_loop_test(tcase, a_wrong_answer_to_an_ack, 0, 2);
	tcase_add_loop_test(tcase, a_bad_beginning, 0, FIRSTS);
	tcase_add_loop_test(tcase, a_bad_return, 0, FIRSTS);
	tcase_add_loop_test(tcase, a_daemon_that_closes_at_once, 0, 2);
	return tcase;
}

static TCase *process_cases(void)
{
	TCase *tcase = tcase_create("process");

	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, bad_arguments);
	tcase_add_test(tcase, threads);
	tcase_add_test(tcase, in_a_nested_epoll);
	tcase_add_test(tcase, nothing_is_left_behind);
	tcase_add_loop_test(tcase, descriptors_closed_by_the_program, 0, 2);
	tcase_add_loop_test(tcase, a_connection_closed_by_the_program, 0, 3);
	tcase_add_test(tcase, several_subscribe_at_once);
	tcase_add_test(tcase, epoch_and_lease);
	tcase_add_test(tcase, no_page);
#ifndef __SANITIZE_THREAD__
	tcase_add_loop_test(tcase, a_forked_child, 0, 3);
	tcase_add_test(tcase, a_copy_in_a_child);
	tcase_add_test(tcase, out_of_descriptors);
	tcase_add_test(tcase, signals_do_not_end_a_wait);
#endif
	return tcase;
}

int main(void)
{
	Suite *suite = suite_create("rngclient_events");
	SRunner *runner;
	int failed;

	suite_add_tcase(suite, said_cases());
	suite_add_tcase(suite, frame_cases());
	suite_add_tcase(suite, process_cases());
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed > 0;
}
