/*
 * check_unread - replies that peers leave unread: with connections of the test's own over socket
 * pairs, and against the real daemon. Owns: both ends of each pair. May touch: the daemon's socket,
 * as another user where it can. Never does: wait longer than it must.
 */
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/conn.h"
#include "daemon/unread.h"
#include "tests/support.h"

#define TEST_TIMEOUT_S 120
#define MANY           600
#define REPLY_BYTES    1000
#define OTHER_UID      54321

/* ---------------------------------------------------------------- the module, over socket pairs */

static struct ev_loop *loop;
static struct epoch epoch = {.generation = 1};
static struct reseed reseed = {.epoch = &epoch};
static struct peers peers;
static struct conn_shared shared;
static uint8_t in[CONN_IN_BYTES], scratch[CONN_SCRATCH_BYTES];
static int ended;

static void count_ended(void *owner, struct conn *conn)
{
	(void)owner;
	(void)conn;
	ended++;
}

static void setup(void)
{
	const struct limits limits = {
	    .connections = 2000,
	    .connections_per_uid = 1000,
	    .idle_s = 1000,
	    .reply_s = 1000,
	};
	struct rlimit files = {.rlim_cur = 4096, .rlim_max = 4096};

	setrlimit(RLIMIT_NOFILE, &files);
	loop = ev_loop_new(EVBACKEND_EPOLL);
	ck_assert_ptr_nonnull(loop);
	ck_assert_int_eq(peers_init(&peers, loop, &limits), 0);
	shared = (struct conn_shared){
	    .loop = loop,
	    .reseed = &reseed,
	    .peers = &peers,
	    .in = in,
	    .scratch = scratch,
	    .page_fd = -1,
	    .ended = count_ended,
	};
	ended = 0;
}

static void teardown(void)
{
	ck_assert_uint_eq(peers.unread.count, 0);
	ck_assert_uint_eq(peers.unread.lingering, 0);
	ck_assert_uint_eq(peers.unread.wide, 0);
	ck_assert_uint_eq(peers.quota.connections, 0);
	peers_deinit(&peers);
	ev_loop_destroy(loop);
}

/* A connection of user uid; *peer is the other end. */
static struct conn *make(uid_t uid, int *peer)
{
	struct conn_peer who = {0};
	struct conn *conn;
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair),
			 0);
	ck_assert_int_eq(peers_enter(&peers, uid, false, &who.user), 0);
	conn = conn_new(&shared, pair[0], &who);
	ck_assert_ptr_nonnull(conn);
	*peer = pair[1];
	return conn;
}

static void reply(struct conn *conn, size_t len)
{
	static const uint8_t zeros[1 << 16];

	ck_assert_int_eq(send(conn->fd, zeros, len, MSG_DONTWAIT), (ssize_t)len);
	unread_sent(conn, len);
}

static void take(int peer, size_t len)
{
	static uint8_t data[1 << 16];

	ck_assert_int_eq(recv(peer, data, len, 0), (ssize_t)len);
}

static void passes(void)
{
	for (int i = 0; i < 20; i++)
		ev_run(loop, EVRUN_NOWAIT);
}

START_TEST(wide_first_then_narrow)
{
	static struct conn *conns[MANY];
	static int others[MANY];
	size_t n = 0;

	for (; n < UNREAD_WIDE_PER_UID; n++) {
		conns[n] = make(1, &others[n]);
		ck_assert(!conns[n]->unread.narrow);
	}
	conns[n] = make(1, &others[n]);
	ck_assert(conns[n++]->unread.narrow);
	for (; n < UNREAD_WIDE + 1; n++) {
		conns[n] = make((uid_t)n, &others[n]);
		ck_assert(!conns[n]->unread.narrow);
	}
	conns[n] = make(2000, &others[n]);
	ck_assert(conns[n++]->unread.narrow);
	/* A place that is free again is given again. */
	conn_free(conns[n - 2]);
	close(others[n - 2]);
	conns[n - 2] = make(3000, &others[n - 2]);
	ck_assert(!conns[n - 2]->unread.narrow);
	ck_assert_uint_eq(peers.unread.wide, UNREAD_WIDE);
	while (n-- > 0) {
		conn_free(conns[n]);
		close(others[n]);
	}
}
END_TEST

/* However the peer says that it wants no more, while it keeps its descriptor. */
static const int shutdowns[] = {SHUT_WR, SHUT_RDWR};

START_TEST(lingers_until_all_is_read)
{
	struct conn *conn;
	int peer;

	conn = make(1, &peer);
	reply(conn, REPLY_BYTES);
	reply(conn, 1);
	ck_assert_int_eq(shutdown(peer, shutdowns[_i]), 0);
	passes();
	ck_assert_int_eq(ended, 0);
	ck_assert_uint_eq(peers.unread.lingering, 1);
	ck_assert_uint_eq(peers.quota.connections, 1);
	ck_assert(list_empty(&conn->deadline.link));
	ck_assert(!ev_is_active(&conn->watcher));
	take(peer, REPLY_BYTES - 1);
	passes();
	take(peer, 1);
	passes();
	ck_assert_int_eq(ended, 0);
	take(peer, 1);
	passes();
	ck_assert_int_eq(ended, 1);
	close(peer);
}
END_TEST

START_TEST(ends_when_the_peer_closes)
{
	struct conn *conn;
	int peer;

	conn = make(1, &peer);
	reply(conn, REPLY_BYTES);
	shutdown(peer, SHUT_WR);
	passes();
	ck_assert_uint_eq(peers.unread.lingering, 1);
	close(peer);
	passes();
	ck_assert_int_eq(ended, 1);
	ck_assert_uint_eq(peers.unread.lingering, 0);
}
END_TEST

START_TEST(ends_at_once_if_nothing_is_unread)
{
	struct conn *conn;
	int peer;

	conn = make(1, &peer);
	reply(conn, REPLY_BYTES);
	take(peer, REPLY_BYTES);
	shutdown(peer, SHUT_WR);
	passes();
	ck_assert_int_eq(ended, 1);
	close(peer);
	conn = make(1, &peer);
	reply(conn, REPLY_BYTES);
	close(peer); /* unread, but with it gone */
	passes();
	ck_assert_int_eq(ended, 2);
}
END_TEST

START_TEST(lingers_after_its_time)
{
	struct conn *conn;
	int peer;

	conn = make(1, &peer);
	reply(conn, REPLY_BYTES);
	conn_expire(conn);
	ck_assert_uint_eq(peers.unread.lingering, 1);
	passes();
	ck_assert_uint_eq(peers.unread.lingering, 1);
	take(peer, REPLY_BYTES);
	passes();
	ck_assert_int_eq(ended, 1);
	close(peer);
}
END_TEST

/* A stop waits for nobody's reading. */
START_TEST(no_lingering_at_the_stop)
{
	struct conn *conn;
	int peer, other;

	conn = make(1, &peer);
	reply(conn, REPLY_BYTES);
	shutdown(peer, SHUT_WR);
	passes();
	ck_assert_uint_eq(peers.unread.lingering, 1);
	ck_assert(conn_stop(conn));
	conn_free(conn);
	conn = make(1, &other);
	reply(conn, REPLY_BYTES);
	shared.stopping = true;
	shutdown(other, SHUT_WR);
	passes();
	ck_assert_int_eq(ended, 1);
	close(peer);
	close(other);
}
END_TEST

/* The first 65 connections are there, the last of them narrow. */
static struct conn *make_narrow(struct conn **wide, int *others, int *peer)
{
	struct conn *conn;

	for (size_t i = 0; i < UNREAD_WIDE_PER_UID; i++)
		wide[i] = make(1, &others[i]);
	conn = make(1, peer);
	ck_assert(conn->unread.narrow);
	return conn;
}

static void free_wide(struct conn **wide, int *others)
{
	for (size_t i = 0; i < UNREAD_WIDE_PER_UID; i++) {
		conn_free(wide[i]);
		close(others[i]);
	}
}

START_TEST(held_until_the_peer_reads)
{
	struct conn *wide[UNREAD_WIDE_PER_UID], *conn;
	int others[UNREAD_WIDE_PER_UID], peer;

	conn = make_narrow(wide, others, &peer);
	reply(conn, UNREAD_TURN_BYTES);
	conn_resume(conn);
	ck_assert(!conn->unread.held); /* one turn may be unread */
	reply(conn, UNREAD_TURN_BYTES);
	conn_resume(conn);
	ck_assert(conn->unread.held);
	ck_assert(!ev_is_active(&conn->watcher));
	ck_assert_int_eq(conn->deadline.state, DEADLINE_REPLY);
	passes();
	ck_assert(conn->unread.held);
	take(peer, UNREAD_TURN_BYTES);
	passes();
	ck_assert(!conn->unread.held);
	ck_assert(ev_is_active(&conn->watcher));
	ck_assert_uint_eq(peers.unread.count, 0);
	/* Its time runs out while it is held: then it lingers. */
	reply(conn, UNREAD_TURN_BYTES);
	conn_resume(conn);
	ck_assert(conn->unread.held);
	conn_expire(conn);
	ck_assert_uint_eq(peers.unread.lingering, 1);
	ck_assert_uint_eq(peers.unread.count, 1);
	close(peer);
	passes();
	ck_assert_int_eq(ended, 1);
	/* A wide one is never held. */
	for (int i = 0; i < 3; i++)
		reply(wide[0], UNREAD_TURN_BYTES);
	conn_resume(wide[0]);
	ck_assert(!wide[0]->unread.held);
	free_wide(wide, others);
}
END_TEST

/* What it is told fits in one call, whatever is there already; and nothing, where little would. */
START_TEST(room_is_what_the_kernel_takes)
{
	static const uint8_t zeros[1 << 20];
	struct conn *conn, *narrow, *wide[UNREAD_WIDE_PER_UID];
	int peer, others[UNREAD_WIDE_PER_UID];
	unsigned none = 0, some = 0;

	for (size_t unread = 0; unread <= 200000; unread += 4000) {
		struct pollfd pollfd = {.events = POLLOUT};
		size_t room;

		conn = make(1, &peer);
		for (size_t left = unread, part; left > 0; left -= part) {
			part = left < 30000 ? left : 30000;
			reply(conn, part);
		}
		room = unread_room(conn);
		pollfd.fd = conn->fd;
		ck_assert_int_ge(poll(&pollfd, 1, 0), 0);
		/* Or nobody would tell when to go on. */
		ck_assert(room > 0 || pollfd.revents == 0);
		if (room > 0)
			ck_assert_int_eq(send(conn->fd, zeros, room, MSG_DONTWAIT), (ssize_t)room);
		none += room == 0;
		some += room > 0 && pollfd.revents == 0;
		conn_free(conn);
		close(peer);
	}
	ck_assert_uint_gt(none, 0);
	ck_assert_uint_gt(some, 0); /* more than the loop would have said */
	narrow = make_narrow(wide, others, &peer);
	ck_assert_uint_eq(unread_room(narrow), UNREAD_TURN_BYTES);
	conn_free(narrow);
	close(peer);
	free_wide(wide, others);
}
END_TEST

/* Where wmem_default is small: either the loop tells when to go on, or a frame can be begun. */
START_TEST(room_of_the_smallest_sockets)
{
	const size_t least = RNGD_PROTO_REPLY_HEAD_BYTES + RNGD_PROTO_ONE_FRAME_BYTES;
	static const uint8_t zeros[1 << 16];
	struct conn *conn;
	int peer;

	for (int size = 2304; size <= 20000; size += 1000) {
		for (size_t unread = 0; unread < 2 * (size_t)size; unread += 300) {
			struct pollfd pollfd = {.events = POLLOUT};
			size_t room;

			conn = make(1, &peer);
			pollfd.fd = conn->fd;
			ck_assert_int_eq(
			    setsockopt(conn->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
			if (unread > 0)
				ck_assert_int_gt(send(conn->fd, zeros, unread, MSG_DONTWAIT), 0);
			room = unread_room(conn);
			ck_assert_int_ge(poll(&pollfd, 1, 0), 0);
			ck_assert(room > 0 || pollfd.revents == 0);
			ck_assert(room == 0 || room >= least);
			if (room > 0)
				ck_assert_int_gt(send(conn->fd, zeros, room, MSG_DONTWAIT), 0);
			conn_free(conn);
			close(peer);
		}
	}
}
END_TEST

/* Without an event: the tick finds them, so many in a pass. */
START_TEST(tick_looks_at_all)
{
	static int others[MANY];

	for (size_t i = 0; i < MANY; i++) {
		struct conn *conn = make((uid_t)i, &others[i]);
		struct epoll_event unused;

		reply(conn, REPLY_BYTES);
		conn_expire(conn);
		ck_assert_int_eq(epoll_ctl(peers.unread.epoll_fd, EPOLL_CTL_DEL, conn->fd, &unused),
				 0);
	}
	ck_assert_uint_eq(peers.unread.lingering, MANY);
	for (size_t i = 0; i < MANY; i++)
		if (i % 2 == 0)
			take(others[i], REPLY_BYTES);
	passes();
	ck_assert_int_eq(ended, 0);
	unread_tick(&peers.unread);
	ck_assert_int_le(ended, 64);
	for (int i = 0; i < 50 && ended < MANY / 2; i++)
		ev_run(loop, EVRUN_ONCE);
	ck_assert_int_eq(ended, MANY / 2);
	for (size_t i = 0; i < MANY; i++)
		close(others[i]);
	unread_tick(&peers.unread);
	for (int i = 0; i < 50 && ended < MANY; i++)
		ev_run(loop, EVRUN_ONCE);
	ck_assert_int_eq(ended, MANY);
}
END_TEST

START_TEST(told_at_most_so_often)
{
	for (unsigned i = 0; i < PEERS_TOLD_MAX; i++)
		ck_assert(peers_may_tell(&peers));
	ck_assert(!peers_may_tell(&peers));
	peers.told_since_ms -= PEERS_TOLD_MS;
	ck_assert(peers_may_tell(&peers));
}
END_TEST

/* ---------------------------------------------------------------- the real daemon */

static struct support_rngd rngd;
static bool as_other; /* the crowd can be somebody else */

#define LIMIT     "100"
#define PLACES    100
#define CROWD     300
#define UNREAD_KB 33 /* of a narrow one: two turns and a head */

static void start_real(void)
{
	const char *const options[] = {"--max-connections-per-uid", LIMIT, "--reply-timeout", "1",
				       NULL};
	struct rlimit files = {.rlim_cur = 4096, .rlim_max = 4096};

	setrlimit(RLIMIT_NOFILE, &files);
	support_start(&rngd, options);
	as_other = geteuid() == 0;
	if (as_other)
		ck_assert_int_eq(chmod(rngd.dir, 0755), 0);
}

static void end_real(void)
{
	support_stop(&rngd);
	support_end(&rngd);
}

/* Whose connection it is the kernel notes at connect(). */
static int connect_other(void)
{
	int fd;

	if (as_other)
		ck_assert_int_eq(seteuid(OTHER_UID), 0);
	fd = support_connect(&rngd);
	if (as_other)
		ck_assert_int_eq(seteuid(0), 0);
	return fd;
}

struct awaited {
	const char *name;
	uint64_t value;
};

static bool is_value(void *arg)
{
	const struct awaited *awaited = arg;

	return support_status_number(&rngd, awaited->name) == awaited->value;
}

static void await(const char *name, uint64_t value)
{
	struct awaited awaited = {name, value};

	ck_assert_msg(support_wait(is_value, &awaited), "%s is %llu and not %llu", name,
		      (unsigned long long)support_status_number(&rngd, name),
		      (unsigned long long)value);
}

static int unread_at(int fd)
{
	int bytes = -1;

	ck_assert_int_eq(ioctl(fd, FIONREAD, &bytes), 0);
	return bytes;
}

/* Asks for what it does not read, and says that this was all; or goes on asking. */
static bool attack(int fd, bool end)
{
	uint8_t buf[RNGD_PROTO_REPLY_HEAD_BYTES];
	struct wire_reply head;

	support_get(fd, 1, end ? 131072 : UINT32_MAX);
	support_get(fd, 2, 16000);
	if (end)
		shutdown(fd, SHUT_WR);
	ck_assert_int_eq(recv(fd, buf, sizeof(buf), MSG_PEEK | MSG_WAITALL), sizeof(buf));
	ck_assert_int_eq(wire_decode_reply(buf, &head), WIRE_OK);
	return head.status == RNGD_PROTO_OK;
}

/* With SHUT_WR, and by the reply timeout: the places are gone, and the memory has a bound. */
START_TEST(unread_replies_keep_their_places)
{
	const bool end = _i == 0;
	int fds[CROWD];
	long long unread = 0;
	int served = 0;
	uint8_t buf[32];
	int good;

	if (!as_other) {
		puts("SKIP: unread replies of another user: needs root");
		return;
	}
	for (int i = 0; i < CROWD; i++) {
		fds[i] = connect_other();
		if (i < PLACES) {
			ck_assert(attack(fds[i], end));
			served++;
		} else { /* BUSY, before or after it wrote */
			ck_assert_int_eq(
			    recv(fds[i], buf, RNGD_PROTO_REPLY_HEAD_BYTES, MSG_WAITALL),
			    RNGD_PROTO_REPLY_HEAD_BYTES);
			ck_assert_int_eq(buf[6], RNGD_PROTO_E_BUSY);
		}
	}
	await("server.lingering", PLACES);
	ck_assert_uint_ge(support_status_number(&rngd, "peers.reply_timeouts"), end ? 0 : PLACES);
	await("server.connections", PLACES + 1);
	for (int i = 0; i < PLACES; i++) {
		unread += unread_at(fds[i]);
		if (i >= (int)UNREAD_WIDE_PER_UID)
			ck_assert_int_le(unread_at(fds[i]), UNREAD_KB * 1000);
	}
	printf("%d of %d places hold %lld bytes unread\n", served, CROWD, unread);
	/* Another user has all it is due. */
	good = support_connect(&rngd);
	support_get_all(good, 1, buf, sizeof(buf));
	close(good);
	/* One reads, one closes: both are free again, and nobody else. */
	for (int left = unread_at(fds[0]); left > 0; left = unread_at(fds[0])) {
		static uint8_t data[1 << 18];

		ck_assert_int_gt(recv(fds[0], data, sizeof(data), 0), 0);
	}
	ck_assert(support_closed(fds[0]));
	close(fds[PLACES - 1]);
	await("server.lingering", PLACES - 2);
	ck_assert_uint_eq(support_status_number(&rngd, "user.uid54321.connections"), PLACES - 2);
	for (int i = 0; i < CROWD; i++)
		if (i != PLACES - 1)
			close(fds[i]);
	await("server.connections", 1);
	await("server.lingering", 0);
}
END_TEST

/* Half closed at once, read much later: all of it, and then the end. */
START_TEST(late_reader_gets_everything)
{
	static uint8_t buf[200000];
	struct wire_reply head;
	int fd = support_connect(&rngd);
	int64_t begin_ms;

	support_get(fd, 1, 131072);
	support_get(fd, 2, 16);
	shutdown(fd, SHUT_WR);
	await("server.lingering", 1);
	support_reply(fd, &head, buf, sizeof(buf));
	ck_assert_uint_eq(head.body_bytes, 131072);
	support_reply(fd, &head, buf, sizeof(buf));
	ck_assert_uint_eq(head.body_bytes, 16);
	begin_ms = support_now_ms();
	ck_assert(support_closed(fd));
	printf("the end came %lld ms after the last byte was read\n",
	       (long long)(support_now_ms() - begin_ms));
	close(fd);
	await("server.lingering", 0);
}
END_TEST

/* A GET's answer: as many bytes as were asked for, in frames that are no crumbs. */
static void reads_whole_frames(int fd, size_t want, uint32_t tag)
{
	static uint8_t body[RNGD_PROTO_FRAME_DATA_BYTES];
	struct wire_reply head;

	for (; want > 0; want -= head.body_bytes) {
		support_reply(fd, &head, body, sizeof(body));
		ck_assert_uint_eq(head.tag, tag);
		ck_assert_uint_eq(head.status, RNGD_PROTO_OK);
		ck_assert_uint_le(head.body_bytes, want);
		ck_assert_int_eq(head.flags & RNGD_PROTO_FLAG_MORE, head.body_bytes < want);
		ck_assert(head.body_bytes == want || head.body_bytes >= RNGD_PROTO_ONE_FRAME_BYTES);
	}
}

/* What waits at fd ends with a frame: none is half sent. */
static void holds_whole_frames(int fd)
{
	static uint8_t out[1 << 20];
	size_t waits = (size_t)unread_at(fd), at = 0;
	struct wire_reply head;

	ck_assert_int_eq(recv(fd, out, waits, MSG_PEEK | MSG_DONTWAIT), (ssize_t)waits);
	while (at < waits) {
		ck_assert_uint_ge(waits - at, RNGD_PROTO_REPLY_HEAD_BYTES);
		ck_assert_int_eq(wire_decode_reply(out + at, &head), WIRE_OK);
		at += RNGD_PROTO_REPLY_HEAD_BYTES + head.body_bytes;
	}
	ck_assert_uint_eq(at, waits);
}

static bool more_than_a_turn(void *fd)
{
	return unread_at(*(const int *)fd) > (int)CONN_SCRATCH_BYTES;
}

/*
 * A large GET does not stop after its first turn while there is room for more; where there is none,
 * it waits for its reader, with no frame half sent, and costs nothing meanwhile.
 */
START_TEST(large_get_goes_on_while_there_is_room)
{
	uint8_t out[32];
	int fd = support_connect(&rngd);

	support_get(fd, 1, 1 << 20);
	ck_assert(support_wait(more_than_a_turn, &fd));
	ck_assert(support_is_idle(rngd.pid, 200));
	holds_whole_frames(fd);
	reads_whole_frames(fd, 1 << 20, 1);
	support_get_all(fd, 2, out, sizeof(out));
	close(fd);
	await("server.connections", 1);
}
END_TEST

/*
 * In the middle of a large GET the peer hangs up and keeps its descriptor: epoll reports that again
 * and again, and without room nothing is sent that could fail. Its replies are unread still: it
 * lingers, and costs nothing.
 */
START_TEST(hanging_up_unread_costs_nothing)
{
	int fd = support_connect(&rngd);

	support_get(fd, 1, 1 << 20);
	ck_assert(support_wait(more_than_a_turn, &fd));
	ck_assert_int_eq(shutdown(fd, SHUT_RDWR), 0);
	ck_assert(support_is_idle(rngd.pid, 200)); /* and not only when it lingers */
	await("server.lingering", 1);
	close(fd);
	await("server.lingering", 0);
}
END_TEST

/* The narrow ones get every frame as well, whole and in order, in small pieces. */
START_TEST(narrow_ones_are_served)
{
	static uint8_t buf[RNGD_PROTO_STATUS_MAX_BYTES];
	int fds[PLACES];

	for (int i = 0; i < PLACES; i++)
		fds[i] = connect_other();
	for (int i = 0; i < PLACES; i++) {
		support_get(fds[i], 7, 300000);
		support_request(fds[i], RNGD_PROTO_OP_STATUS, 8, NULL, 0);
		for (uint32_t n = 0; n < 30; n++)
			support_get(fds[i], 100 + n, 4000);
	}
	for (int i = 0; i < PLACES; i++) {
		struct wire_reply head;

		holds_whole_frames(fds[i]);
		reads_whole_frames(fds[i], 300000, 7);
		support_reply(fds[i], &head, buf, sizeof(buf));
		ck_assert_uint_eq(head.tag, 8);
		for (uint32_t n = 0; n < 30; n++) {
			support_reply(fds[i], &head, buf, sizeof(buf));
			ck_assert_uint_eq(head.tag, 100 + n);
			ck_assert_uint_eq(head.body_bytes, 4000);
		}
	}
	ck_assert_uint_eq(support_status_number(&rngd, "server.lingering"), 0);
	for (int i = 0; i < PLACES; i++)
		close(fds[i]);
	await("server.connections", 1);
}
END_TEST

START_TEST(refusals_are_told_so_often)
{
	int fds[PLACES];
	unsigned told = 0, silent = 0;
	uint8_t buf[RNGD_PROTO_REPLY_HEAD_BYTES];

	for (int i = 0; i < PLACES; i++)
		fds[i] = connect_other();
	if (!as_other)
		puts("SKIP: refusals of another user: needs root");
	for (unsigned i = 0; as_other && i < PEERS_TOLD_MAX + 200; i++) {
		int fd = connect_other();
		ssize_t n = recv(fd, buf, sizeof(buf), MSG_WAITALL);

		ck_assert(n == 0 || n == (ssize_t)sizeof(buf));
		told += n > 0;
		silent += n == 0;
		close(fd);
	}
	ck_assert(!as_other || told == PEERS_TOLD_MAX);
	ck_assert(!as_other || silent == 200);
	for (int i = 0; i < PLACES; i++)
		close(fds[i]);
	await("server.connections", 1);
}
END_TEST

static Suite *unread_suite(void)
{
	Suite *suite = suite_create("unread");
	TCase *module = tcase_create("module"), *real = tcase_create("daemon");

	tcase_set_timeout(module, TEST_TIMEOUT_S);
	tcase_add_checked_fixture(module, setup, teardown);
	tcase_add_test(module, wide_first_then_narrow);
	tcase_add_loop_test(module, lingers_until_all_is_read, 0, 2);
	tcase_add_test(module, ends_when_the_peer_closes);
	tcase_add_test(module, ends_at_once_if_nothing_is_unread);
	tcase_add_test(module, lingers_after_its_time);
	tcase_add_test(module, no_lingering_at_the_stop);
	tcase_add_test(module, held_until_the_peer_reads);
	tcase_add_test(module, room_is_what_the_kernel_takes);
	tcase_add_test(module, room_of_the_smallest_sockets);
	tcase_add_test(module, tick_looks_at_all);
	tcase_add_test(module, told_at_most_so_often);
	suite_add_tcase(suite, module);
	tcase_set_timeout(real, TEST_TIMEOUT_S);
	tcase_add_checked_fixture(real, start_real, end_real);
	tcase_add_loop_test(real, unread_replies_keep_their_places, 0, 2);
	tcase_add_test(real, late_reader_gets_everything);
	tcase_add_test(real, large_get_goes_on_while_there_is_room);
	tcase_add_test(real, hanging_up_unread_costs_nothing);
	tcase_add_test(real, narrow_ones_are_served);
	tcase_add_test(real, refusals_are_told_so_often);
	suite_add_tcase(suite, real);
	return suite;
}

int main(void)
{
	SRunner *runner = srunner_create(unread_suite());
	int failed;

	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
