/*
 * check_clone - LOOK, PAGE, BUMP and RESEED against the real daemon in its sandbox, and what a
 * clone does to replies under way. Owns: a daemon, and two files that stand for a generation ID and
 * another epoch page. May touch: /dev/shm. Never does: need root; what only root can try says SKIP.
 */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/magic.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host/cpu.h"
#include "proto/epoch_page.h"
#include "tests/support.h"

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* Linux 6.16 */
#endif

#define NOBODY     65534
#define SIGN_BYTES 64u

static struct support_rngd rngd;
static char vmgenid_path[64], source_path[64];
static int vmgenid_fd, source_fd;
static const char *options[] = {"--vmgenid", vmgenid_path, "--epoch-source", source_path, NULL};
static const struct epoch_page *page;

static int make_sign(char path[64])
{
	uint8_t bytes[SIGN_BYTES] = {1};
	int fd;

	strcpy(path, "/dev/shm/rngd-sign.XXXXXX");
	fd = mkostemp(path, O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, bytes, sizeof(bytes)), sizeof(bytes));
	return fd;
}

/* What the host does to the file: other contents, in one step. */
static void move_sign(int fd)
{
	uint64_t value;

	ck_assert_int_eq(pread(fd, &value, sizeof(value), 0), sizeof(value));
	value++;
	ck_assert_int_eq(pwrite(fd, &value, sizeof(value), 0), sizeof(value));
}

static void page_path(char path[128])
{
	snprintf(path, 128, "%s.epoch", rngd.socket);
}

static void map_page(void)
{
	char path[128];
	int fd;

	page_path(path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	page = mmap(NULL, EPOCH_PAGE_BYTES, PROT_READ, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(page, MAP_FAILED);
	close(fd);
}

static void setup(void)
{
	vmgenid_fd = make_sign(vmgenid_path);
	source_fd = make_sign(source_path);
	support_start(&rngd, options);
	map_page();
}

static void remove_contents(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;

	ck_assert_ptr_nonnull(dir);
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			unlinkat(dirfd(dir), entry->d_name, 0);
	closedir(dir);
}

/* Whatever the test did to it, the daemon still serves and still stops cleanly. */
static void teardown(void)
{
	uint8_t buf[32];
	int fd = support_connect(&rngd);

	support_get_all(fd, 1, buf, sizeof(buf));
	close(fd);
	support_stop(&rngd);
	remove_contents(rngd.dir);
	support_end(&rngd);
	close(vmgenid_fd);
	close(source_fd);
	unlink(vmgenid_path);
	unlink(source_path);
}

static int connect_control(void)
{
	struct support_rngd control = rngd;

	ck_assert_int_lt(
	    snprintf(control.socket, sizeof(control.socket), "%.80s.control", rngd.socket),
	    (int)sizeof(control.socket));
	return support_connect(&control);
}

/* Asks for what has a reply without a body, and gives its status; *generation may be NULL. */
static unsigned ask(int fd, uint8_t opcode, const void *body, uint32_t body_bytes,
		    uint64_t *generation)
{
	static uint32_t tag;
	struct wire_reply reply;
	uint8_t none;

	support_request(fd, opcode, ++tag, body, body_bytes);
	support_reply(fd, &reply, &none, 0);
	ck_assert_uint_eq(reply.opcode, opcode);
	ck_assert_uint_eq(reply.tag, tag);
	ck_assert_uint_eq(reply.flags, 0);
	if (generation)
		*generation = reply.generation;
	return reply.status;
}

static uint64_t look(void)
{
	int fd = support_connect(&rngd);
	uint64_t generation;

	ck_assert_uint_eq(ask(fd, RNGD_PROTO_OP_LOOK, NULL, 0, &generation), RNGD_PROTO_OK);
	close(fd);
	return generation;
}

/* Reads len bytes; how many descriptors came with them, and the last of them, is in *passed. */
static void read_with_fds(int fd, void *data, size_t len, int *passed, int *count)
{
	union {
		char bytes[CMSG_SPACE(8 * sizeof(int))];
		struct cmsghdr align;
	} control;
	char *at = data;

	while (len > 0) {
		struct iovec iov = {at, len};
		struct msghdr msg = {.msg_iov = &iov,
				     .msg_iovlen = 1,
				     .msg_control = control.bytes,
				     .msg_controllen = sizeof(control.bytes)};
		ssize_t n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
		struct cmsghdr *cmsg;

		ck_assert_msg(n > 0, "recvmsg: %s", n == 0 ? "end of file" : strerror(errno));
		ck_assert_int_eq(msg.msg_flags & MSG_CTRUNC, 0);
		for (cmsg = CMSG_FIRSTHDR(&msg); cmsg; cmsg = CMSG_NXTHDR(&msg, cmsg)) {
			ck_assert_int_eq(cmsg->cmsg_type, SCM_RIGHTS);
			for (size_t i = 0; CMSG_LEN((i + 1) * sizeof(int)) <= cmsg->cmsg_len; i++) {
				memcpy(passed, CMSG_DATA(cmsg) + i * sizeof(int), sizeof(int));
				++*count;
			}
		}
		at += n;
		len -= (size_t)n;
	}
}

/*
 * One frame. A descriptor may come with the first byte of a good PAGE reply, and nowhere else:
 * what came is returned, or -1.
 */
static int reply_with_fd(int fd, struct wire_reply *reply)
{
	static uint8_t body[RNGD_PROTO_FRAME_DATA_BYTES];
	uint8_t head[RNGD_PROTO_REPLY_HEAD_BYTES];
	int passed = -1, with_first = 0, later = 0;

	read_with_fds(fd, head, 1, &passed, &with_first);
	read_with_fds(fd, head + 1, sizeof(head) - 1, &passed, &later);
	ck_assert_int_eq(wire_decode_reply(head, reply), WIRE_OK);
	read_with_fds(fd, body, reply->body_bytes, &passed, &later);
	ck_assert_int_eq(later, 0);
	if (reply->opcode == RNGD_PROTO_OP_PAGE && reply->status == RNGD_PROTO_OK)
		ck_assert_int_eq(with_first, 1);
	else
		ck_assert_int_eq(with_first, 0);
	return passed;
}

static int ask_page(int fd)
{
	struct wire_reply reply;
	int got;

	support_request(fd, RNGD_PROTO_OP_PAGE, 7, NULL, 0);
	got = reply_with_fd(fd, &reply);
	ck_assert_uint_eq(reply.status, RNGD_PROTO_OK);
	ck_assert_uint_eq(reply.tag, 7);
	ck_assert_uint_eq(reply.body_bytes, 0);
	return got;
}

/* ---- LOOK */

START_TEST(look_asks_the_detectors)
{
	uint64_t generation = look();
	struct wire_reply reply;
	uint8_t byte;
	int fd = support_connect(&rngd);

	ck_assert_uint_eq(generation, 1);
	for (int i = 0; i < 50; i++) {
		ck_assert_uint_eq(look(), generation); /* nothing happened */
		move_sign(i % 2 ? vmgenid_fd : source_fd);
		ck_assert_uint_eq(look(), ++generation);
		ck_assert_uint_eq(epoch_page_generation(page), generation);
		ck_assert_uint_eq(epoch_page_epoch(page),
				  epoch_page_word(i % 2 ? EPOCH_PAGE_VMGENID : EPOCH_PAGE_SOURCE,
						  page->counter_base, generation));
		support_get(fd, 1, 1);
		support_reply(fd, &reply, &byte, 1);
		ck_assert_uint_eq(reply.generation, generation);
	}
	close(fd);
}
END_TEST

/* A GET behind a LOOK in one write has the generation the LOOK found. */
START_TEST(look_in_front_of_get)
{
	int fd = support_connect(&rngd);
	uint8_t buf[64], body[4], out[100];
	struct wire_reply look_reply, get_reply;
	size_t n;

	wire_put_u32(body, sizeof(out));
	for (int i = 0; i < 200; i++) {
		n = wire_encode_request(
		    &(struct wire_request){.opcode = RNGD_PROTO_OP_LOOK, .version = 1}, buf);
		n += wire_encode_request(&(struct wire_request){.opcode = RNGD_PROTO_OP_GET,
								.version = 1,
								.body = body,
								.body_bytes = sizeof(body)},
					 buf + n);
		if (i % 3 == 0)
			move_sign(vmgenid_fd);
		support_write(fd, buf, n);
		support_reply(fd, &look_reply, out, 0);
		support_reply(fd, &get_reply, out, sizeof(out));
		ck_assert_uint_eq(look_reply.opcode, RNGD_PROTO_OP_LOOK);
		ck_assert_uint_eq(look_reply.generation, 2 + (uint64_t)i / 3);
		ck_assert_uint_eq(get_reply.generation, look_reply.generation);
	}
	close(fd);
}
END_TEST

/* ---- PAGE */

/* What a process that is not its owner can make of the descriptor: reading, and nothing else. */
static int misuse(int fd)
{
	char self[32];

	if (getuid() == 0 && (setgroups(0, NULL) != 0 || setresgid(NOBODY, NOBODY, NOBODY) != 0 ||
			      setresuid(NOBODY, NOBODY, NOBODY) != 0))
		return 1;
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	if (open(self, O_RDWR | O_CLOEXEC) >= 0 || open(self, O_WRONLY | O_CLOEXEC) >= 0)
		return 2;
	if (truncate(self, 0) == 0 || fchmod(fd, 0666) == 0 || fchown(fd, NOBODY, NOBODY) == 0)
		return 3;
	return open(self, O_RDONLY | O_CLOEXEC) >= 0 ? 0 : 4;
}

START_TEST(page_is_the_published_one_and_read_only)
{
	int fd = support_connect(&rngd), got = ask_page(fd), status;
	struct stat st, published;
	uint64_t generation;
	char path[128];
	void *map;
	pid_t child;

	page_path(path);
	ck_assert_int_eq(fstat(got, &st), 0);
	ck_assert_int_eq(stat(path, &published), 0);
	ck_assert_uint_eq(st.st_ino, published.st_ino);
	ck_assert_uint_eq(st.st_dev, published.st_dev);
	ck_assert_int_eq(st.st_mode, S_IFREG | 0644);
	ck_assert_int_eq(st.st_size, EPOCH_PAGE_BYTES);
	ck_assert_int_eq(fcntl(got, F_GETFL) & (O_ACCMODE | O_PATH), O_RDONLY);
	ck_assert_int_eq(write(got, "", 1), -1);
	ck_assert_int_eq(pwrite(got, "", 1, 0), -1);
	ck_assert_int_eq(ftruncate(got, 0), -1);
	ck_assert_int_eq(fallocate(got, 0, 0, 8192), -1);
	map = mmap(NULL, EPOCH_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, got, 0);
	ck_assert_ptr_eq(map, MAP_FAILED);
	map = mmap(NULL, EPOCH_PAGE_BYTES, PROT_READ, MAP_SHARED, got, 0);
	ck_assert_ptr_ne(map, MAP_FAILED);
	ck_assert_int_eq(mprotect(map, EPOCH_PAGE_BYTES, PROT_READ | PROT_WRITE), -1);
	move_sign(vmgenid_fd);
	generation = look();
	ck_assert_uint_eq(epoch_page_generation(map), generation);
	if (getuid() != 0) {
		printf("SKIP: not root: another user is not tried\n");
	} else {
		child = fork();
		if (child == 0)
			_exit(misuse(got));
		ck_assert_int_eq(waitpid(child, &status, 0), child);
		ck_assert_int_eq(status, 0);
	}
	ck_assert_int_eq(munmap(map, EPOCH_PAGE_BYTES), 0);
	close(got);
	close(fd);
}
END_TEST

START_TEST(page_is_given_once)
{
	int fd = support_connect(&rngd), control = connect_control(), got;
	struct wire_reply reply;
	uint8_t buf[16];

	got = ask_page(fd);
	for (int i = 0; i < 3; i++) {
		support_request(fd, RNGD_PROTO_OP_PAGE, 8, NULL, 0);
		ck_assert_int_eq(reply_with_fd(fd, &reply), -1);
		ck_assert_uint_eq(reply.status, RNGD_PROTO_E_PERMISSION);
	}
	support_get_all(fd, 9, buf, sizeof(buf));
	close(got);
	got = ask_page(control); /* what is public is answered there too */
	close(got);
	close(control);
	close(fd);
}
END_TEST

/* A request and its replies, in one write: the descriptor is with its frame and no other. */
START_TEST(page_in_a_pipeline)
{
	static const uint8_t opcodes[] = {1, 2, 3, 4, 1, 2, 4, 4, 3, 1};
	uint8_t buf[512], body[4];
	struct wire_reply reply;
	int fd, got, pages;
	size_t n;

	for (size_t rotate = 0; rotate < sizeof(opcodes); rotate++) {
		fd = support_connect(&rngd);
		wire_put_u32(body, rotate % 2 ? 10 : 200000);
		n = 0;
		pages = 0;
		for (uint32_t i = 0; i < sizeof(opcodes); i++) {
			uint8_t opcode = opcodes[(i + rotate) % sizeof(opcodes)];

			n += wire_encode_request(
			    &(struct wire_request){.opcode = opcode,
						   .version = 1,
						   .tag = i,
						   .body = body,
						   .body_bytes = opcode == 1 ? 4 : 0},
			    buf + n);
		}
		support_write(fd, buf, n);
		for (uint32_t i = 0; i < sizeof(opcodes); i++) {
			do {
				got = reply_with_fd(fd, &reply);
				ck_assert_uint_eq(reply.tag, i);
				ck_assert_uint_eq(reply.opcode,
						  opcodes[(i + rotate) % sizeof(opcodes)]);
			} while (reply.flags & RNGD_PROTO_FLAG_MORE);
			if (reply.opcode == RNGD_PROTO_OP_PAGE)
				ck_assert_uint_eq(reply.status, pages++ == 0
								    ? RNGD_PROTO_OK
								    : RNGD_PROTO_E_PERMISSION);
			else
				ck_assert_uint_eq(reply.status, RNGD_PROTO_OK);
			if (got >= 0)
				close(got);
		}
		close(fd);
	}
}
END_TEST

/* The daemon has had its turns for everything written before: it is asked behind it, by others. */
static void settle(void)
{
	for (int i = 0; i < 3; i++) {
		int other = support_connect(&rngd);
		uint8_t byte;

		support_get_all(other, 1, &byte, 1);
		close(other);
	}
}

static bool is_quiet(void *arg)
{
	int *fd = arg, before, after;

	ioctl(*fd, FIONREAD, &before);
	settle();
	ioctl(*fd, FIONREAD, &after);
	return after > 0 && after == before;
}

/* Asks for STATUS, one after the other, until one is not answered for want of room. How many were.
 */
static uint32_t fill(int fd, uint32_t most)
{
	int before = 0, after;

	for (uint32_t i = 0; i < most; i++) {
		support_request(fd, RNGD_PROTO_OP_STATUS, i, NULL, 0);
		settle();
		ioctl(fd, FIONREAD, &after);
		if (after == before)
			return i;
		before = after;
	}
	return most;
}

/* Nobody reads, and it is the reply with the descriptor that finds no room. */
START_TEST(page_into_a_full_socket)
{
	int fd = support_connect(&rngd), before, after, got;
	uint32_t room = fill(fd, 10000);
	struct wire_reply reply;

	close(fd);
	ck_assert_uint_gt(room, 1);
	fd = support_connect(&rngd);
	ck_assert_uint_eq(fill(fd, room), room);
	ioctl(fd, FIONREAD, &before);
	support_request(fd, RNGD_PROTO_OP_PAGE, room, NULL, 0);
	support_get(fd, room + 1, 500);
	settle();
	ioctl(fd, FIONREAD, &after);
	ck_assert_int_eq(before, after);
	for (uint32_t i = 0; i < room + 2; i++) {
		got = reply_with_fd(fd, &reply);
		ck_assert_uint_eq(reply.tag, i);
		ck_assert_uint_eq(reply.status, RNGD_PROTO_OK);
		if (got >= 0)
			close(got);
	}
	close(fd);
}
END_TEST

/* Who refuses descriptors and asks for one all the same is let go; nobody else notices. */
START_TEST(page_for_who_refuses_it)
{
	int fd = support_connect(&rngd), other = support_connect(&rngd), off = 0;
	uint8_t buf[64];

	support_get_all(fd, 1, buf, sizeof(buf));
	if (setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof(off)) < 0) {
		printf("SKIP: this kernel has no SO_PASSRIGHTS to refuse descriptors with\n");
	} else {
		support_request(fd, RNGD_PROTO_OP_PAGE, 2, NULL, 0);
		ck_assert(support_closed(fd));
	}
	support_get_all(other, 3, buf, sizeof(buf));
	close(ask_page(other));
	close(other);
	close(fd);
}
END_TEST

static bool no_more_fds(void *arg)
{
	return support_fd_count(rngd.pid) <= *(size_t *)arg;
}

START_TEST(page_leaves_no_descriptor_behind)
{
	size_t quiet = support_fd_count(rngd.pid);
	uint64_t served = support_status_number(&rngd, "server.accepted");
	struct linger reset = {1, 0};

	for (int i = 0; i < 1000; i++) {
		int fd = support_connect(&rngd);

		switch (i % 4) {
		case 0:
			close(ask_page(fd));
			break;
		case 1: /* gone before it was read */
			support_request(fd, RNGD_PROTO_OP_PAGE, 1, NULL, 0);
			break;
		case 2: /* asked for too often */
			for (int j = 0; j < 10; j++)
				support_request(fd, RNGD_PROTO_OP_PAGE, 1, NULL, 0);
			break;
		default:
			support_get(fd, 1, 1000000);
			support_request(fd, RNGD_PROTO_OP_PAGE, 1, NULL, 0);
			setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		}
		close(fd);
	}
	ck_assert(support_wait(no_more_fds, &quiet));
	ck_assert_uint_ge(support_status_number(&rngd, "server.accepted"), served + 1000);
	if (getuid() != 0 && quiet == 0)
		printf("SKIP: not root: the daemon hides its descriptors\n");
}
END_TEST

/* Where there is no tmpfs there is no page; all the rest works. */
START_TEST(no_page_to_give)
{
	uint64_t first;
	char dir[] = "/var/tmp/rngd-check.XXXXXX", socket_path[96];
	const char *const none[] = {NULL};
	struct wire_reply reply;
	struct statfs fs;
	int fd;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_int_eq(statfs(dir, &fs), 0);
	if (fs.f_type == TMPFS_MAGIC) {
		printf("SKIP: /var/tmp is a tmpfs\n");
		rmdir(dir);
		return;
	}
	support_stop(&rngd);
	strcpy(socket_path, rngd.socket);
	snprintf(rngd.socket, sizeof(rngd.socket), "%s/sock", dir);
	support_restart(&rngd, none);
	fd = support_connect(&rngd);
	for (int i = 0; i < 2; i++) {
		support_request(fd, RNGD_PROTO_OP_PAGE, 1, NULL, 0);
		ck_assert_int_eq(reply_with_fd(fd, &reply), -1);
		ck_assert_uint_eq(reply.status, RNGD_PROTO_E_NO_PAGE);
	}
	close(fd);
	ck_assert_str_eq(support_status(&rngd, "epoch.published"), "false");
	first = look();
	ck_assert_uint_gt(first, 1000000000000000000); /* the time: no number comes twice */
	fd = connect_control();
	ck_assert_uint_eq(ask(fd, RNGD_PROTO_OP_BUMP, socket_path, 32, NULL), RNGD_PROTO_OK);
	close(fd);
	ck_assert_uint_eq(look(), first + 1);
	support_stop(&rngd);
	remove_contents(dir);
	rmdir(dir);
	strcpy(rngd.socket, socket_path);
	support_restart(&rngd, options);
}
END_TEST

/* ---- BUMP and RESEED */

START_TEST(acting_is_not_for_the_public)
{
	uint8_t body[RNGD_PROTO_BUMP_MAX_BYTES] = {1};
	uint64_t count = support_status_number(&rngd, "reseed.count");
	uint32_t word = epoch_page_epoch(page);
	int fd = support_connect(&rngd);
	uint64_t generation;

	if (getuid() != 0)
		printf("SKIP: not root: uid 0 is not tried on the public socket\n");
	for (int i = 0; i < 10; i++) {
		ck_assert_uint_eq(ask(fd, RNGD_PROTO_OP_BUMP, body, 32, &generation),
				  RNGD_PROTO_E_PERMISSION);
		ck_assert_uint_eq(generation, 1);
		ck_assert_uint_eq(ask(fd, RNGD_PROTO_OP_BUMP, body, 0, NULL),
				  RNGD_PROTO_E_PERMISSION);
		ck_assert_uint_eq(ask(fd, RNGD_PROTO_OP_BUMP, body, sizeof(body), NULL),
				  RNGD_PROTO_E_PERMISSION);
		ck_assert_uint_eq(ask(fd, RNGD_PROTO_OP_RESEED, NULL, 0, NULL),
				  RNGD_PROTO_E_PERMISSION);
	}
	/* The body is judged before the right to send it. */
	ck_assert_uint_eq(ask(fd, RNGD_PROTO_OP_BUMP, body, 31, NULL), RNGD_PROTO_E_BODY);
	close(fd);
	ck_assert_uint_eq(look(), 1);
	ck_assert_uint_eq(epoch_page_epoch(page), word);
	ck_assert_uint_eq(support_status_number(&rngd, "epoch.bumps"), 0);
	/* The kernel may have reseeded itself meanwhile, but not once for each. */
	ck_assert_uint_le(support_status_number(&rngd, "reseed.count"), count + 3);
}
END_TEST

START_TEST(bump_moves_everything)
{
	static const struct {
		uint32_t bytes;
		enum rngd_proto_status status;
	} rows[] = {
	    {0, RNGD_PROTO_OK},        {1, RNGD_PROTO_E_BODY},    {31, RNGD_PROTO_E_BODY},
	    {32, RNGD_PROTO_OK},       {1024, RNGD_PROTO_OK},     {1025, RNGD_PROTO_E_BODY},
	    {4084, RNGD_PROTO_E_BODY}, {4083, RNGD_PROTO_E_BODY}, {33, RNGD_PROTO_OK},
	};
	uint8_t body[4084] = {9}, none[EPOCH_PAGE_ID_BYTES] = {0};
	struct epoch_page_event event, last = {0};
	uint64_t generation = 1, look_again, told, bumps = 0, aged;
	char reason[32], awaited[32];
	int fd = connect_control(), undisturbed = 0;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		enum rngd_proto_status want = rows[i].status;

		if (rows[i].bytes == 0 && !cpu_has_rdrand())
			want = RNGD_PROTO_E_IDENTICAL;
		aged = support_status_number(&rngd, "detector.kernel.aged");
		look_again = epoch_page_look_again(page);
		ck_assert_uint_eq(ask(fd, RNGD_PROTO_OP_BUMP, body, rows[i].bytes, &told), want);
		generation += want == RNGD_PROTO_OK;
		ck_assert_uint_eq(told, generation);
		ck_assert_uint_eq(epoch_page_generation(page), generation);
		if (want != RNGD_PROTO_OK)
			continue;
		ck_assert_uint_gt(epoch_page_look_again(page), look_again);
		ck_assert_uint_eq(epoch_page_epoch(page),
				  epoch_page_word(EPOCH_PAGE_HOST, page->counter_base, generation));
		ck_assert(epoch_page_last_event(page, &event));
		ck_assert_uint_eq(event.generation, generation);
		ck_assert_uint_eq(event.notifier, EPOCH_PAGE_HOST);
		ck_assert_mem_ne(event.id, none, sizeof(none));
		ck_assert_mem_ne(event.id, last.id, sizeof(none));
		ck_assert_uint_ge(event.boottime_ns, last.boottime_ns);
		last = event;
		ck_assert_uint_eq(support_status_number(&rngd, "epoch.bumps"), ++bumps);
		snprintf(reason, sizeof(reason), "%s", support_status(&rngd, "reseed.last_reason"));
		snprintf(awaited, sizeof(awaited), "%s",
			 support_status(&rngd, "epoch.kernel_reseeded"));
		if (support_status_number(&rngd, "detector.kernel.aged") != aged)
			continue; /* the kernel reseeded as well, as it does once a minute */
		ck_assert_str_eq(reason, "\"host\"");
		ck_assert_str_eq(awaited, "false");
		undisturbed++;
	}
	ck_assert_uint_ge(bumps, 3);
	ck_assert_int_ge(undisturbed, 1);
	close(fd);
}
END_TEST

START_TEST(reseed_is_no_clone)
{
	uint64_t count = support_status_number(&rngd, "reseed.count");
	uint32_t word = epoch_page_epoch(page);
	uint8_t body[32] = {0};
	int fd = connect_control(), undisturbed = 0;
	uint64_t generation, aged;
	char reason[32];

	for (uint64_t i = 1; i <= 5; i++) {
		aged = support_status_number(&rngd, "detector.kernel.aged");
		ck_assert_uint_eq(ask(fd, RNGD_PROTO_OP_RESEED, NULL, 0, &generation),
				  RNGD_PROTO_OK);
		ck_assert_uint_eq(generation, 1);
		ck_assert_uint_ge(support_status_number(&rngd, "reseed.count"), count + i);
		snprintf(reason, sizeof(reason), "%s", support_status(&rngd, "reseed.last_reason"));
		if (support_status_number(&rngd, "detector.kernel.aged") != aged)
			continue; /* the kernel reseeded as well */
		ck_assert_str_eq(reason, "\"request\"");
		undisturbed++;
	}
	ck_assert_int_ge(undisturbed, 1);
	ck_assert_uint_eq(ask(fd, RNGD_PROTO_OP_RESEED, body, sizeof(body), NULL),
			  RNGD_PROTO_E_BODY);
	ck_assert_uint_eq(epoch_page_epoch(page), word);
	ck_assert_uint_eq(look(), 1);
	close(fd);
}
END_TEST

/* Bytes that a client kept were made before it: it must hear of it. */
START_TEST(reseed_moves_look_again)
{
	int fd = connect_control();
	uint64_t before = epoch_page_look_again(page);

	ck_assert_uint_eq(ask(fd, RNGD_PROTO_OP_RESEED, NULL, 0, NULL), RNGD_PROTO_OK);
	ck_assert_uint_gt(epoch_page_look_again(page), before);
	close(fd);
}
END_TEST

/* IN_MODIFY of the page: for who waits without reading. */
START_TEST(bump_wakes_inotify)
{
	struct pollfd ready = {.fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK), .events = POLLIN};
	char path[128], events[4096];
	int fd = connect_control();
	uint8_t body[32] = {0};

	page_path(path);
	ck_assert_int_ge(inotify_add_watch(ready.fd, path, IN_MODIFY), 0);
	for (int i = 0; i < 3; i++) {
		while (read(ready.fd, events, sizeof(events)) > 0)
			;
		ck_assert_uint_eq(ask(fd, RNGD_PROTO_OP_BUMP, body, 32, NULL), RNGD_PROTO_OK);
		ck_assert_int_eq(poll(&ready, 1, SUPPORT_TIMEOUT_S * 1000), 1);
	}
	close(fd);
	close(ready.fd);
}
END_TEST

#define BUMPS    300u
#define GETS_MAX 2000u

/* Requests in one row, BUMP and GET in turn; count bytes for each GET. */
static void write_bumps_and_gets(int fd, uint32_t count)
{
	static uint8_t buf[BUMPS * 128];
	uint8_t host[32] = {3}, body[4];
	size_t n = 0;

	wire_put_u32(body, count);
	for (uint32_t i = 0; i < BUMPS; i++) {
		struct wire_request bump = {.opcode = RNGD_PROTO_OP_BUMP,
					    .version = 1,
					    .tag = i,
					    .body = host,
					    .body_bytes = sizeof(host)};
		struct wire_request get = {.opcode = RNGD_PROTO_OP_GET,
					   .version = 1,
					   .tag = i,
					   .body = body,
					   .body_bytes = sizeof(body)};

		wire_put_u32(host, i);
		n += wire_encode_request(&bump, buf + n);
		n += wire_encode_request(&get, buf + n);
	}
	support_write(fd, buf, n);
}

/* The frames behind a BUMP are of its generation, and each was done once. */
START_TEST(bumps_in_a_pipeline)
{
	static uint8_t out[5000];
	int fd = connect_control();
	struct wire_reply reply;

	write_bumps_and_gets(fd, sizeof(out));
	for (uint32_t i = 0; i < BUMPS; i++) {
		support_reply(fd, &reply, out, 0);
		ck_assert_uint_eq(reply.opcode, RNGD_PROTO_OP_BUMP);
		ck_assert_uint_eq(reply.tag, i);
		ck_assert_uint_eq(reply.status, RNGD_PROTO_OK);
		ck_assert_uint_eq(reply.generation, i + 2);
		support_reply(fd, &reply, out, sizeof(out));
		ck_assert_uint_eq(reply.opcode, RNGD_PROTO_OP_GET);
		ck_assert_uint_eq(reply.status, RNGD_PROTO_OK);
		ck_assert_uint_eq(reply.generation, i + 2);
	}
	ck_assert_uint_eq(support_status_number(&rngd, "epoch.bumps"), BUMPS);
	ck_assert_uint_eq(look(), BUMPS + 1);
	close(fd);
}
END_TEST

/* Refused in every way there is without a failing source: for its body, and with AGAIN. */
START_TEST(bumps_are_done_once_before_refused_gets)
{
	static uint8_t out[60000];
	int fd = connect_control();
	struct wire_reply reply;
	unsigned again = 0;
	pid_t child;

	write_bumps_and_gets(fd, 0);
	for (uint32_t i = 0; i < 2 * BUMPS; i++) {
		support_reply(fd, &reply, out, 0);
		ck_assert_uint_eq(reply.status, i % 2 ? RNGD_PROTO_E_BODY : RNGD_PROTO_OK);
		ck_assert_uint_eq(reply.tag, i / 2);
	}
	ck_assert_uint_eq(support_status_number(&rngd, "epoch.bumps"), BUMPS);
	ck_assert_uint_eq(look(), BUMPS + 1);

	child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			move_sign(source_fd);
	}
	for (int round = 0; round < 20 && again == 0; round++) {
		uint64_t bumps = support_status_number(&rngd, "epoch.bumps");

		write_bumps_and_gets(fd, sizeof(out));
		for (uint32_t i = 0; i < 2 * BUMPS; i++) {
			support_reply(fd, &reply, out, sizeof(out));
			ck_assert_uint_eq(reply.tag, i / 2);
			if (i % 2 && reply.status == RNGD_PROTO_E_AGAIN)
				again++;
			else
				ck_assert_uint_eq(reply.status, RNGD_PROTO_OK);
		}
		ck_assert_uint_eq(support_status_number(&rngd, "epoch.bumps"), bumps + BUMPS);
	}
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		printf("SKIP: one processor: no GET can be made to be refused with AGAIN\n");
	else
		ck_assert_msg(again > 0, "no GET was refused with AGAIN: this proves nothing");
	close(fd);
}
END_TEST

/* ---- what a clone does to a reply under way */

/* In one write: one by one they would take more of the socket's room than the daemon reads. */
static void write_gets(int fd, uint32_t gets, uint32_t count)
{
	static uint8_t buf[GETS_MAX * 16];
	uint8_t body[4];
	size_t n = 0;

	ck_assert_uint_le(gets, GETS_MAX);
	wire_put_u32(body, count);
	for (uint32_t i = 0; i < gets; i++)
		n += wire_encode_request(&(struct wire_request){.opcode = RNGD_PROTO_OP_GET,
								.version = 1,
								.tag = i,
								.body = body,
								.body_bytes = sizeof(body)},
					 buf + n);
	support_write(fd, buf, n);
}

/*
 * One peer's GETs fill its socket and stop in the middle. Then comes a clone. What was sent before
 * it stays; the next byte after it is the first of a frame of the new generation, or there is none.
 */
static bool cut_by_clone(uint32_t count, uint32_t gets, bool bump)
{
	static uint8_t body[RNGD_PROTO_FRAME_DATA_BYTES];
	uint8_t head[RNGD_PROTO_REPLY_HEAD_BYTES], host[32] = {0};
	int fd = support_connect(&rngd), control = connect_control(), sent, total = 0;
	uint64_t generation = look();
	struct wire_reply reply;
	bool inside = false;
	ssize_t n;

	write_gets(fd, gets, count);
	ck_assert(support_wait(is_quiet, &fd));
	if (bump) {
		ck_assert_uint_eq(ask(control, RNGD_PROTO_OP_BUMP, host, 32, NULL), RNGD_PROTO_OK);
	} else {
		move_sign(vmgenid_fd);
		ck_assert_uint_eq(look(), generation + 1);
	}
	ck_assert_int_eq(ioctl(fd, FIONREAD, &sent), 0);
	while (total < sent) {
		n = recv(fd, head, sizeof(head), MSG_WAITALL);
		total += (int)n;
		if (n < (ssize_t)sizeof(head)) {
			inside = true;
			break;
		}
		ck_assert_int_eq(wire_decode_reply(head, &reply), WIRE_OK);
		ck_assert_uint_eq(reply.generation, generation);
		n = reply.body_bytes > 0 ? recv(fd, body, reply.body_bytes, MSG_WAITALL) : 0;
		ck_assert_int_ge(n, 0);
		total += (int)n;
		if ((size_t)n < reply.body_bytes) {
			inside = true;
			break;
		}
	}
	/* Whole frames may not reach beyond what was there when the clone came. */
	ck_assert_int_eq(total, sent);
	if (inside) {
		ck_assert(support_closed(fd));
	} else {
		support_reply(fd, &reply, body, sizeof(body));
		ck_assert_uint_eq(reply.generation, generation + 1);
	}
	close(fd);
	close(control);
	return inside;
}

/*
 * With the kernel's usual buffers a frame is taken whole or not at all, so it is the second half of
 * the rule that is seen here; check_batch has the first.
 */
START_TEST(clone_while_nobody_reads)
{
	int inside = 0;

	inside += cut_by_clone(50u << 20, 1, true);
	inside += cut_by_clone(50u << 20, 1, false);
	for (uint32_t count = 1000; count < 100000; count = count * 2 + 1)
		inside += cut_by_clone(count, 2000000 / count, count % 4 == 0);
	printf("%d connections were cut inside a frame\n", inside);
}
END_TEST

/* A peer that reads on: whole frames of one generation each, and none older than the one before. */
START_TEST(clones_while_one_reads)
{
	static uint8_t body[RNGD_PROTO_FRAME_DATA_BYTES];
	int fd = support_connect(&rngd), control = connect_control();
	uint64_t last = 1, cut = 0, named = 1;
	uint8_t head[RNGD_PROTO_REPLY_HEAD_BYTES], host[32] = {0};
	struct wire_reply reply;

	support_get(fd, 1, UINT32_MAX);
	for (int i = 0; i < 600; i++) {
		if (recv(fd, head, sizeof(head), MSG_WAITALL) != (ssize_t)sizeof(head) ||
		    wire_decode_reply(head, &reply) != WIRE_OK ||
		    recv(fd, body, reply.body_bytes, MSG_WAITALL) != (ssize_t)reply.body_bytes) {
			cut++;
			close(fd);
			fd = support_connect(&rngd);
			support_get(fd, 1, UINT32_MAX);
			continue;
		}
		ck_assert_uint_eq(reply.status, RNGD_PROTO_OK);
		ck_assert_uint_ge(reply.generation, last);
		ck_assert_uint_le(reply.generation, named);
		last = reply.generation;
		if (i % 5 == 0)
			ck_assert_uint_eq(ask(control, RNGD_PROTO_OP_BUMP, host, 32, &named),
					  RNGD_PROTO_OK);
	}
	ck_assert_uint_lt(cut, 300);
	ck_assert_uint_gt(last, 10);
	close(fd);
	close(control);
}
END_TEST

/* ---- the control socket's file */

static void expect_mode(const char *suffix, mode_t mode)
{
	struct stat st;
	char path[128];

	snprintf(path, sizeof(path), "%s%s", rngd.socket, suffix);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode, S_IFSOCK | mode);
	ck_assert_uint_eq(st.st_uid, geteuid());
}

START_TEST(control_is_for_its_owner)
{
	const char *const wider[] = {"--control-mode", "0660", NULL};

	expect_mode("", 0666);
	expect_mode(".control", 0600);
	support_stop(&rngd);
	support_restart(&rngd, wider);
	expect_mode(".control", 0660);
	expect_mode("", 0666);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("clone");
	TCase *tcase = tcase_create("clone");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tcase);
	tcase_set_timeout(tcase, 120);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, look_asks_the_detectors);
	tcase_add_test(tcase, look_in_front_of_get);
	tcase_add_test(tcase, page_is_the_published_one_and_read_only);
	tcase_add_test(tcase, page_is_given_once);
	tcase_add_test(tcase, page_in_a_pipeline);
	tcase_add_test(tcase, page_into_a_full_socket);
	tcase_add_test(tcase, page_for_who_refuses_it);
	tcase_add_test(tcase, page_leaves_no_descriptor_behind);
	tcase_add_test(tcase, no_page_to_give);
	tcase_add_test(tcase, acting_is_not_for_the_public);
	tcase_add_test(tcase, bump_moves_everything);
	tcase_add_test(tcase, reseed_is_no_clone);
	tcase_add_test(tcase, reseed_moves_look_again);
	tcase_add_test(tcase, bump_wakes_inotify);
	tcase_add_test(tcase, bumps_in_a_pipeline);
	tcase_add_test(tcase, bumps_are_done_once_before_refused_gets);
	tcase_add_test(tcase, clone_while_nobody_reads);
	tcase_add_test(tcase, clones_while_one_reads);
	tcase_add_test(tcase, control_is_for_its_owner);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed > 0;
}
