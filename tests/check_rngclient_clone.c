/*
 * The library's half of clone detection, against a server that clones the machine at will, and
 * against servers that hand out something else than an epoch page.
 */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/random.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/rngclient.h"
#include "host/vdso.h"
#include "proto/epoch_page.h"
#include "proto/wire.h"
#include "tests/support.h"

#define PEERS      16
#define TIMEOUT_MS 300   /* of calls that shall reach their deadline */
#define LONG_MS    20000 /* of those that shall not */

static bool all_zero(const void *buf, size_t len)
{
	const uint8_t *at = buf;

	for (size_t i = 0; i < len; i++)
		if (at[i] != 0)
			return false;
	return true;
}

/* ---- the server ---- */

enum page_answer {
	PAGE_GOOD,
	PAGE_ABSENT, /* NO_PAGE */
	PAGE_OLD,    /* OPCODE: an older daemon */
	PAGE_SILENT,
	PAGE_NO_FD,
	PAGE_TWO,
	PAGE_TWO_APART, /* one with each half of the head */
	PAGE_ABSENT_BUT_FD,
	PAGE_MANY, /* 253 */
	PAGE_BODY,
	PAGE_PIPE,
	PAGE_DIRECTORY,
	PAGE_SHORT,
	PAGE_EMPTY,
	PAGE_MAGIC,
	PAGE_VERSION,
	PAGE_WRITE_ONLY,
	PAGE_ON_DISK,
	PAGE_LINGER,
	PAGE_LINGER_THIRD,
	PAGE_LINGER_LATE, /* after the answer */
};

struct fake {
	int listen_fd;
	char dir[32];
	char path[64];
	char page_path[80];
	pthread_t thread;
	atomic_bool stop;
	int page_fd;
	int disk_fd;             /* a page on no tmpfs */
	struct epoch_page *page; /* writable */
	_Atomic uint64_t generation;
	_Atomic enum page_answer page_answer;
	atomic_bool look_moves; /* a LOOK ages the state, as far as the page shows */
	/* What happens while the bytes of the nth GET are on their way; NULL: nothing. */
	void (*meanwhile)(struct fake *fake, int nth);
	atomic_int status;        /* of the answer to whatever is no PAGE */
	atomic_int status_count;  /* to so many of them; -1: all */
	atomic_int error_bytes;   /* body of an answer that is an error */
	atomic_bool cannot;       /* the test lacks a right */
	atomic_bool look_unknown; /* answers OPCODE to LOOK */
	atomic_bool body_instead; /* answers what shall be empty with a body */
	atomic_int lost;          /* closes instead of answering, so many times */
	atomic_int gets, looks, pages, bumps, reseeds;
	atomic_int accepted;
	char log[4096]; /* a letter for each request */
	atomic_size_t logged;
	uint8_t seed[RNGD_PROTO_REQUEST_MAX_BYTES]; /* of the last bump */
	size_t seed_bytes;
};

static uint64_t boot_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void make_page(struct fake *fake, uint64_t generation)
{
	struct epoch_page page = {
	    .version = EPOCH_PAGE_VERSION,
	    .generation = generation,
	    .look_again = 1,
	    .state = EPOCH_PAGE_SERVING,
	};
	char path[96];

	memcpy(page.magic, EPOCH_PAGE_MAGIC, EPOCH_PAGE_MAGIC_BYTES);
	if (fake->page) {
		munmap(fake->page, sizeof(page));
		close(fake->page_fd);
	}
	/* A new file takes the place of the old one, as a new daemon's would. */
	snprintf(path, sizeof(path), "%s.new", fake->page_path);
	fake->page_fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	ck_assert_int_ge(fake->page_fd, 0);
	ck_assert_int_eq(write(fake->page_fd, &page, sizeof(page)), sizeof(page));
	ck_assert_int_eq(rename(path, fake->page_path), 0);
	fake->page = mmap(NULL, sizeof(page), PROT_READ | PROT_WRITE, MAP_SHARED, fake->page_fd, 0);
	ck_assert_ptr_ne(fake->page, MAP_FAILED);
}

static void move_page(struct fake *fake)
{
	__atomic_fetch_add(&fake->page->look_again, 1, __ATOMIC_RELEASE);
}

static void clone_machine(struct fake *fake)
{
	fake->generation++;
	move_page(fake);
}

static size_t head(uint8_t *out, const struct wire_request *req, uint8_t status,
		   uint64_t generation, uint32_t body_bytes)
{
	wire_encode_reply(&(struct wire_reply){.opcode = req->opcode,
					       .version = 1,
					       .status = status,
					       .tag = req->tag,
					       .generation = generation,
					       .body_bytes = body_bytes},
			  out);
	return RNGD_PROTO_REPLY_HEAD_BYTES;
}

static bool send_fds(int to, const void *data, size_t len, const int *fds, size_t count)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(253 * sizeof(int))];
	} control = {.bytes = {0}};
	struct iovec iov = {(void *)(uintptr_t)data, len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	struct cmsghdr *header;

	if (count > 0) {
		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(count * sizeof(int));
		header = CMSG_FIRSTHDR(&msg);
		*header = (struct cmsghdr){.cmsg_len = CMSG_LEN(count * sizeof(int)),
					   .cmsg_level = SOL_SOCKET,
					   .cmsg_type = SCM_RIGHTS};
		memcpy(CMSG_DATA(header), fds, count * sizeof(int));
	}
	return sendmsg(to, &msg, MSG_NOSIGNAL) == (ssize_t)len;
}

/* A TCP socket whose last close() waits for half a minute: its peer does not read. */
static int lingering_socket(void)
{
	struct sockaddr_in addr = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const struct linger linger = {.l_onoff = 1, .l_linger = 30};
	socklen_t len = sizeof(addr);
	static uint8_t data[65536];
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int peer;

	ck_assert_int_eq(bind(listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
	ck_assert_int_eq(listen(listener, 1), 0);
	ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&addr, &len), 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	ck_assert_int_ge(peer, 0);
	close(listener);
	while (send(fd, data, sizeof(data), MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
		;
	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
	return fd; /* peer stays open and full until the test's process ends */
}

static int other_file(const void *data, size_t len)
{
	int fd = memfd_create("other", MFD_CLOEXEC);

	ck_assert_int_eq(write(fd, data, len), (ssize_t)len);
	return fd;
}

static bool send_one(int to, const uint8_t *out, size_t len, int fd)
{
	bool sent = send_fds(to, out, len, &fd, 1);
	const struct linger off = {.l_onoff = 0};

	if (!sent)
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &off, sizeof(off));
	close(fd);
	return sent;
}

static bool answer_page(struct fake *fake, int to, const struct wire_request *req)
{
	enum page_answer how = fake->page_answer;
	struct epoch_page copy = {0};
	uint8_t out[64] = {0};
	size_t n = head(out, req, RNGD_PROTO_OK, 1, how == PAGE_BODY ? 5 : 0);
	int fds[253], pipes[2];

	for (int i = 0; i < 253; i++)
		fds[i] = fake->page_fd;
	if (how >= PAGE_SHORT && how <= PAGE_VERSION)
		copy = *fake->page;
	switch (how) {
	case PAGE_GOOD:
		break;
	case PAGE_ABSENT:
	case PAGE_ABSENT_BUT_FD:
		n = head(out, req, RNGD_PROTO_E_NO_PAGE, 1, 0);
		return send_fds(to, out, n, fds, how == PAGE_ABSENT ? 0 : 1);
	case PAGE_OLD:
		n = head(out, req, RNGD_PROTO_E_OPCODE, 1, 0);
		return send_fds(to, out, n, NULL, 0);
	case PAGE_SILENT:
		return true;
	case PAGE_NO_FD:
		return send_fds(to, out, n, NULL, 0);
	case PAGE_TWO:
		return send_fds(to, out, n, fds, 2);
	case PAGE_TWO_APART:
		return send_fds(to, out, 7, fds, 1) && send_fds(to, out + 7, n - 7, fds, 1);
	case PAGE_MANY:
		return send_fds(to, out, n, fds, 253);
	case PAGE_BODY:
		return send_fds(to, out, n + 5, fds, 1);
	case PAGE_PIPE:
		ck_assert_int_eq(pipe2(pipes, O_CLOEXEC), 0);
		close(pipes[1]);
		return send_one(to, out, n, pipes[0]);
	case PAGE_DIRECTORY:
		return send_one(to, out, n, open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	case PAGE_SHORT:
		return send_one(to, out, n, other_file(&copy, sizeof(copy) - 1));
	case PAGE_EMPTY:
		return send_one(to, out, n, other_file(&copy, 0));
	case PAGE_MAGIC:
		copy.magic[7] ^= 1;
		return send_one(to, out, n, other_file(&copy, sizeof(copy)));
	case PAGE_VERSION:
		copy.version++;
		return send_one(to, out, n, other_file(&copy, sizeof(copy)));
	case PAGE_WRITE_ONLY:
		return send_one(to, out, n, open(fake->page_path, O_WRONLY | O_CLOEXEC));
	case PAGE_ON_DISK:
		return send_one(to, out, n, dup(fake->disk_fd));
	case PAGE_LINGER:
		return send_one(to, out, n, lingering_socket());
	case PAGE_LINGER_THIRD:
		fds[2] = lingering_socket();
		send_fds(to, out, n, fds, 3);
		close(fds[2]);
		return true;
	case PAGE_LINGER_LATE:
		fds[1] = lingering_socket();
		return send_fds(to, out, n, fds, 1) && send_one(to, out, 1, fds[1]);
	}
	return send_fds(to, out, n, fds, 1);
}

static bool answer_get(struct fake *fake, int to, const struct wire_request *req)
{
	static uint8_t out[RNGD_PROTO_REPLY_HEAD_BYTES + RNGD_PROTO_FRAME_DATA_BYTES];
	uint32_t len = wire_get_u32(req->body);
	uint64_t generation = fake->generation;
	int nth = fake->gets++;
	bool told = false;

	memset(out + RNGD_PROTO_REPLY_HEAD_BYTES, 'a' + (nth < 25 ? nth : 25),
	       RNGD_PROTO_FRAME_DATA_BYTES);
	do {
		uint32_t part =
		    len < RNGD_PROTO_FRAME_DATA_BYTES ? len : RNGD_PROTO_FRAME_DATA_BYTES;

		len -= part;
		head(out, req, RNGD_PROTO_OK, generation, part);
		out[7] = len > 0 ? RNGD_PROTO_FLAG_MORE : 0;
		if (fake->meanwhile && !told)
			fake->meanwhile(fake, nth);
		told = true;
		part += RNGD_PROTO_REPLY_HEAD_BYTES;
		if (send(to, out, part, MSG_NOSIGNAL) != (ssize_t)part)
			return false;
	} while (len > 0);
	return true;
}

static void note_request(struct fake *fake, const struct wire_request *req)
{
	static const char letters[] = "?GSLPBR";

	if (fake->logged < sizeof(fake->log) - 1) {
		fake->log[fake->logged] = letters[req->opcode < 7 ? req->opcode : 0];
		fake->logged++;
	}
	fake->looks += req->opcode == RNGD_PROTO_OP_LOOK;
	fake->pages += req->opcode == RNGD_PROTO_OP_PAGE;
	fake->bumps += req->opcode == RNGD_PROTO_OP_BUMP;
	fake->reseeds += req->opcode == RNGD_PROTO_OP_RESEED;
}

/* One request; false: the connection is over. */
static bool serve(struct fake *fake, int fd)
{
	static uint8_t in[RNGD_PROTO_REQUEST_MAX_BYTES];
	uint8_t out[RNGD_PROTO_REPLY_HEAD_BYTES + 300] = {0};
	ssize_t got = recv(fd, in, sizeof(in), 0);
	struct wire_request req;
	size_t used, n;

	if (got <= 0 || wire_decode_request(in, (size_t)got, &req, &used) != WIRE_OK)
		return false;
	note_request(fake, &req);
	if (req.opcode == RNGD_PROTO_OP_PAGE)
		return answer_page(fake, fd, &req);
	if (fake->lost > 0) {
		fake->lost--;
		return false;
	}
	if (req.opcode == RNGD_PROTO_OP_LOOK && fake->look_unknown) {
		n = head(out, &req, RNGD_PROTO_E_OPCODE, 1, 0);
		return send(fd, out, n, MSG_NOSIGNAL) == (ssize_t)n;
	}
	if (fake->status && fake->status_count != 0 &&
	    (req.opcode != RNGD_PROTO_OP_LOOK || fake->status_count < 0)) {
		fake->status_count--;
		n = head(out, &req, (uint8_t)fake->status, 1, (uint32_t)fake->error_bytes);
		n += (size_t)fake->error_bytes;
		return send(fd, out, n, MSG_NOSIGNAL) == (ssize_t)n;
	}
	if (req.opcode == RNGD_PROTO_OP_GET)
		return answer_get(fake, fd, &req);
	if (req.opcode == RNGD_PROTO_OP_LOOK && fake->look_moves)
		move_page(fake);
	if (req.opcode == RNGD_PROTO_OP_BUMP) {
		memcpy(fake->seed, req.body, req.body_bytes);
		fake->seed_bytes = req.body_bytes;
		clone_machine(fake);
	}
	n = head(out, &req, RNGD_PROTO_OK, fake->generation, fake->body_instead ? 1 : 0);
	n += fake->body_instead ? 1 : 0;
	return send(fd, out, n, MSG_NOSIGNAL) == (ssize_t)n;
}

static void *fake_main(void *arg)
{
	struct pollfd fds[1 + PEERS];
	struct fake *fake = arg;

	for (int i = 0; i <= PEERS; i++)
		fds[i] = (struct pollfd){.fd = -1, .events = POLLIN};
	fds[0].fd = fake->listen_fd;
	while (!fake->stop && poll(fds, 1 + PEERS, -1) > 0) {
		for (int i = 1; i <= PEERS; i++) {
			if (fds[i].fd >= 0 && fds[i].revents && !serve(fake, fds[i].fd)) {
				close(fds[i].fd);
				fds[i].fd = -1;
			}
		}
		for (int i = 1; fds[0].revents && i <= PEERS; i++) {
			if (fds[i].fd >= 0)
				continue;
			fds[i].fd = accept4(fake->listen_fd, NULL, NULL, SOCK_CLOEXEC);
			fake->stop = fake->stop || fds[i].fd < 0;
			fake->accepted++;
			break;
		}
	}
	for (int i = 1; i <= PEERS; i++)
		if (fds[i].fd >= 0)
			close(fds[i].fd);
	return NULL;
}

static struct rngclient *fake_start(struct fake *fake)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct rngclient *client;

	memset(fake, 0, sizeof(*fake));
	fake->generation = 1;
	strcpy(fake->dir, "/dev/shm/rngd-check.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(fake->dir));
	snprintf(fake->path, sizeof(fake->path), "%s/sock", fake->dir);
	snprintf(fake->page_path, sizeof(fake->page_path), "%s.epoch", fake->path);
	make_page(fake, 1);
	strcpy(addr.sun_path, fake->path);
	fake->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(fake->listen_fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	ck_assert_int_eq(listen(fake->listen_fd, 16), 0);
	ck_assert_int_eq(pthread_create(&fake->thread, NULL, fake_main, fake), 0);
	ck_assert_int_eq(rngclient_open(&client, fake->path, LONG_MS), 0);
	return client;
}

static void fake_end(struct fake *fake, struct rngclient *client)
{
	rngclient_close(client);
	fake->stop = true;
	shutdown(fake->listen_fd, SHUT_RDWR);
	pthread_join(fake->thread, NULL);
	close(fake->listen_fd);
	munmap(fake->page, sizeof(*fake->page));
	close(fake->page_fd);
	unlink(fake->page_path);
	unlink(fake->path);
	rmdir(fake->dir);
}

static void forget_log(struct fake *fake)
{
	fake->logged = 0;
}

static const char *request_log(struct fake *fake)
{
	fake->log[fake->logged] = '\0';
	return fake->log;
}

/* ---- clones around a GET ---- */

static void age_once(struct fake *fake, int nth)
{
	if (nth == 0)
		move_page(fake);
}

static void clone_once(struct fake *fake, int nth)
{
	if (nth == 0)
		clone_machine(fake);
}

static void clone_always(struct fake *fake, int nth)
{
	(void)nth;
	clone_machine(fake);
}

/* One frame, and three of them. */
static const size_t lengths[] = {32, 2 * RNGD_PROTO_FRAME_DATA_BYTES + 10};
#define LENGTHS 2

START_TEST(ageing_keeps_the_bytes)
{
	struct rngclient *client;
	struct fake fake;
	uint8_t *buf = malloc(lengths[_i]);

	ck_assert_ptr_nonnull(buf);
	client = fake_start(&fake);
	fake.meanwhile = age_once;
	ck_assert_int_eq(rngclient_get(client, buf, lengths[_i]), 0);
	ck_assert_int_eq(fake.gets, 1);
	ck_assert_uint_eq(buf[0], 'a');
	ck_assert_uint_eq(buf[lengths[_i] - 1], 'a');
	/* One before, since nothing was agreed yet, and one afterwards. */
	ck_assert_int_ge(fake.looks, 2);
	ck_assert_int_eq(request_log(&fake)[fake.logged - 1], 'L');
	fake_end(&fake, client);
	free(buf);
}
END_TEST

START_TEST(a_clone_discards_the_bytes)
{
	struct rngclient *client;
	struct fake fake;
	uint8_t *buf = malloc(lengths[_i]);

	ck_assert_ptr_nonnull(buf);
	client = fake_start(&fake);
	fake.meanwhile = clone_once;
	ck_assert_int_eq(rngclient_get(client, buf, lengths[_i]), 0);
	ck_assert_int_eq(fake.gets, 2);
	for (size_t i = 0; i < lengths[_i]; i++)
		ck_assert_uint_eq(buf[i], 'b');
	/* Over the connections there were: nothing was wrong with them. */
	ck_assert_int_eq(fake.pages, 1);
	ck_assert_int_eq(fake.accepted, 2);
	fake_end(&fake, client);
	free(buf);
}
END_TEST

/* No end of clones: no bytes, and zeroes in their place. */
START_TEST(a_storm_of_clones)
{
	struct rngclient *client;
	struct fake fake;
	int64_t start_ms;
	uint8_t buf[32];

	client = fake_start(&fake);
	ck_assert_int_eq(rngclient_set_timeout(client, TIMEOUT_MS), 0);
	fake.meanwhile = clone_always;
	memset(buf, 1, sizeof(buf));
	start_ms = support_now_ms();
	ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), -ETIMEDOUT);
	ck_assert_int_ge(support_now_ms() - start_ms, TIMEOUT_MS - 5);
	ck_assert_int_le(support_now_ms() - start_ms, 10000);
	ck_assert(all_zero(buf, sizeof(buf)));
	ck_assert_int_gt(fake.gets, 2);
	ck_assert_int_lt(fake.gets, 60); /* pauses */
	ck_assert_int_eq(rngclient_set_timeout(client, LONG_MS), 0);
	fake.meanwhile = NULL;
	ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), 0);
	fake_end(&fake, client);
}
END_TEST

/* Nothing moved: nothing is asked but the GET. Something did: LOOK, and only then GET. */
START_TEST(a_look_before_only_when_moved)
{
	struct rngclient *client;
	struct fake fake;
	uint8_t buf[32];
	int quiet = 0;

	client = fake_start(&fake);
	ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), 0);
	ck_assert_int_eq(strncmp(request_log(&fake), "PLG", 3), 0);
	for (int i = 0; i < 50; i++) {
		forget_log(&fake);
		ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), 0);
		quiet += strcmp(request_log(&fake), "G") == 0;
	}
	ck_assert_int_ge(quiet, 45); /* the kernel's generator may be reseeded at any time */
	for (int i = 0; i < 20; i++) {
		forget_log(&fake);
		move_page(&fake);
		ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), 0);
		ck_assert_int_eq(strncmp(request_log(&fake), "LG", 2), 0);
	}
	ck_assert_int_eq(fake.pages, 1);
	fake_end(&fake, client);
}
END_TEST

/* What moves while the daemon looks was not seen by who asked: the next GET asks again. */
START_TEST(a_move_during_a_look)
{
	struct rngclient *client;
	struct fake fake;
	uint8_t buf[32];

	client = fake_start(&fake);
	ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), 0);
	for (int i = 0; i < 20; i++) {
		fake.gets = 0;
		fake.meanwhile = age_once;
		fake.look_moves = true;
		ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), 0);
		ck_assert_int_eq(fake.gets, 1);
		fake.meanwhile = NULL;
		fake.look_moves = false;
		forget_log(&fake);
		ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), 0);
		ck_assert_int_eq(strncmp(request_log(&fake), "LG", 2), 0);
	}
	fake_end(&fake, client);
}
END_TEST

/* The kernel's generator is reseeded, as it is when the kernel learns of a clone. */
static void reseed_kernel(struct fake *fake, int nth)
{
	int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);

	if (nth == 0 && ioctl(fd, RNDRESEEDCRNG) != 0)
		fake->cannot = true;
	close(fd);
}

START_TEST(the_kernel_moves)
{
	struct rngclient *client;
	struct vdso vdso;
	struct fake fake;
	uint8_t buf[32];

	if (vdso_init(&vdso) != 0) {
		printf("SKIP: the_kernel_moves needs the vDSO's generation (Linux 6.11)\n");
		return;
	}
	vdso_deinit(&vdso);
	client = fake_start(&fake);
	fake.page_answer = _i == 0 ? PAGE_GOOD : PAGE_ABSENT; /* it is enough alone */
	ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), 0);
	forget_log(&fake);
	fake.gets = 0;
	fake.meanwhile = reseed_kernel;
	ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), 0);
	if (fake.cannot)
		printf("SKIP: the_kernel_moves needs root, to have the kernel reseed\n");
	else
		ck_assert_str_eq(request_log(&fake), "GL");
	fake_end(&fake, client);
}
END_TEST

/* A move between the two that the daemon has no LOOK for: what it gives is taken as it was before.
 */
START_TEST(a_daemon_without_look)
{
	struct rngclient *client;
	struct fake fake;
	uint8_t buf[32];

	client = fake_start(&fake);
	fake.look_unknown = true;
	fake.meanwhile = age_once;
	ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), 0);
	ck_assert_int_eq(fake.gets, 1);
	ck_assert_int_eq(fake.accepted, 2);
	fake_end(&fake, client);
}
END_TEST

/* ---- AGAIN ---- */

START_TEST(again_is_tried_again)
{
	struct rngclient *client;
	struct fake fake;
	int64_t start_ms;
	uint8_t buf[5000]; /* too long for anything to be read ahead */

	client = fake_start(&fake);
	fake.status = RNGD_PROTO_E_AGAIN;
	fake.error_bytes = _i;
	fake.status_count = 3;
	ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), 0);
	ck_assert_int_eq(fake.gets, 1);
	ck_assert_int_eq(fake.accepted, 2); /* the connection was kept */
	ck_assert_int_eq(rngclient_set_timeout(client, TIMEOUT_MS), 0);
	fake.status_count = 1 << 30;
	memset(buf, 1, sizeof(buf));
	start_ms = support_now_ms();
	ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), -EAGAIN);
	ck_assert_int_ge(support_now_ms() - start_ms, TIMEOUT_MS - 5);
	ck_assert_int_le(support_now_ms() - start_ms, 10000);
	ck_assert(all_zero(buf, sizeof(buf)));
	ck_assert_int_lt((1 << 30) - fake.status_count, 60); /* pauses */
	ck_assert_int_eq(rngclient_set_timeout(client, LONG_MS), 0);
	fake.status_count = 0;
	ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), 0);
	fake_end(&fake, client);
}
END_TEST
/* Bodies of such an error frame: a later daemon may say more. */
#define AGAIN_FROM 0
#define AGAIN_TO   3

/* ---- the page ---- */

static size_t count_maps(const char *what)
{
	FILE *file = fopen("/proc/self/maps", "re");
	char line[512];
	size_t n = 0;

	ck_assert_ptr_nonnull(file);
	while (fgets(line, sizeof(line), file))
		n += strstr(line, what) != NULL;
	fclose(file);
	return n;
}

struct fd_goal {
	size_t count;
};

static bool fds_are(void *arg)
{
	const struct fd_goal *goal = arg;

	return support_fd_count(getpid()) == goal->count;
}

/* An unnamed copy of the page elsewhere; false: /var/tmp is no better. */
static bool make_page_on_disk(struct fake *fake)
{
	char path[] = "/var/tmp/rngd-check.XXXXXX";
	struct statfs fs;

	fake->disk_fd = mkstemp(path);
	ck_assert_int_ge(fake->disk_fd, 0);
	unlink(path);
	ck_assert_int_eq(write(fake->disk_fd, fake->page, EPOCH_PAGE_BYTES), EPOCH_PAGE_BYTES);
	return fstatfs(fake->disk_fd, &fs) == 0 && fs.f_type != TMPFS_MAGIC;
}

START_TEST(hostile_pages)
{
	static const struct {
		enum page_answer answer;
		int err;
	} cases[] = {
	    {PAGE_SILENT, -ETIMEDOUT},  {PAGE_NO_FD, -EPROTO},     {PAGE_TWO, -EPROTO},
	    {PAGE_TWO_APART, -EPROTO},  {PAGE_MANY, -EPROTO},      {PAGE_BODY, -EPROTO},
	    {PAGE_PIPE, -EPROTO},       {PAGE_DIRECTORY, -EPROTO}, {PAGE_SHORT, -EPROTO},
	    {PAGE_EMPTY, -EPROTO},      {PAGE_MAGIC, -EPROTO},     {PAGE_VERSION, -EPROTO},
	    {PAGE_WRITE_ONLY, -EPROTO}, {PAGE_LINGER, -EPROTO},    {PAGE_LINGER_THIRD, -EPROTO},
	    {PAGE_ON_DISK, -EPROTO},
	};
	struct fd_goal goal;
	struct rngclient *client;
	struct fake fake;
	int64_t start_ms;
	uint8_t buf[32];
	size_t maps;

	client = fake_start(&fake);
	if (cases[_i].answer == PAGE_ON_DISK && !make_page_on_disk(&fake)) {
		printf("SKIP: hostile_pages: everything here is a tmpfs\n");
		fake_end(&fake, client);
		return;
	}
	ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), 0);
	maps = count_maps("sock.epoch");
	ck_assert_uint_eq(maps, 2);                  /* the server's, and the library's */
	goal.count = support_fd_count(getpid()) - 2; /* the data connection ends */
	if (cases[_i].answer == PAGE_SILENT)
		ck_assert_int_eq(rngclient_set_timeout(client, TIMEOUT_MS), 0);
	fake.page_answer = cases[_i].answer;
	fake.lost = 1;
	memset(buf, 1, sizeof(buf));
	start_ms = support_now_ms();
	ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), cases[_i].err);
	ck_assert_int_le(support_now_ms() - start_ms, 10000);
	ck_assert(all_zero(buf, sizeof(buf)));
	ck_assert_uint_eq(count_maps("sock.epoch"), maps); /* what was shown is kept */
	if (cases[_i].answer == PAGE_LINGER || cases[_i].answer == PAGE_LINGER_THIRD)
		goal.count++; /* the other end of what lingers */
	ck_assert_msg(support_wait(fds_are, &goal), "%zu descriptors, not %zu",
		      support_fd_count(getpid()), goal.count);
	/* And with a good one the handle is good again. */
	ck_assert_int_eq(rngclient_set_timeout(client, LONG_MS), 0);
	fake.page_answer = PAGE_GOOD;
	ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), 0);
	fake_end(&fake, client);
}
END_TEST
#define HOSTILE_PAGES 16

/* What comes after a good answer is not waited for either, nor left open. */
START_TEST(a_late_descriptor)
{
	struct rngclient *client, *other;
	int64_t start_ms;
	struct fake fake;
	uint8_t buf[32];
	int err;

	client = fake_start(&fake);
	fake.page_answer = PAGE_LINGER_LATE;
	for (int i = 0; i < 20; i++) {
		ck_assert_int_eq(rngclient_open(&other, fake.path, LONG_MS), 0);
		start_ms = support_now_ms();
		err = rngclient_get(other, buf, sizeof(buf));
		ck_assert(err == 0 || err == -EPROTO); /* it was in time to be seen, or not */
		ck_assert_int_le(support_now_ms() - start_ms, 10000);
		rngclient_close(other);
	}
	fake_end(&fake, client);
}
END_TEST

START_TEST(no_page_is_no_error)
{
	static const enum page_answer answers[] = {PAGE_ABSENT, PAGE_OLD, PAGE_ABSENT_BUT_FD};
	struct rngclient_epoch epoch = {.size = sizeof(epoch)};
	struct rngclient *client;
	struct fake fake;
	uint8_t buf[32];

	client = fake_start(&fake);
	fake.page_answer = answers[_i];
	for (int i = 0; i < 10; i++)
		ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), 0);
	ck_assert_int_eq(fake.pages, 1);
	ck_assert_uint_eq(count_maps("sock.epoch"), 1);
	ck_assert_int_eq(rngclient_epoch_info(client, &epoch), -ENODATA);
	ck_assert(all_zero(&epoch.generation, sizeof(epoch) - sizeof(epoch.size)));
	fake_end(&fake, client);
}
END_TEST
#define ABSENCES 3

/* Without a page nothing would move: the daemon is asked after each get. */
START_TEST(without_a_page_a_clone_is_seen)
{
	static const enum page_answer answers[] = {PAGE_ABSENT, PAGE_OLD, PAGE_ABSENT_BUT_FD};
	struct rngclient *client;
	struct fake fake;
	uint8_t buf[32];

	client = fake_start(&fake);
	fake.page_answer = answers[_i];
	fake.meanwhile = clone_once;
	ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), 0);
	ck_assert_int_eq(fake.gets, 2);
	ck_assert_uint_eq(buf[0], 'b');
	fake_end(&fake, client);
}
END_TEST

/* Only what needs the page asks for it. */
START_TEST(the_page_can_wait)
{
	char text[RNGCLIENT_STATUS_BYTES];
	struct rngclient *client;
	struct fake fake;

	client = fake_start(&fake);
	ck_assert_int_eq(rngclient_look(client, NULL), 0);
	ck_assert_int_eq(rngclient_reseed(client), 0);
	ck_assert_int_eq(rngclient_status(client, text, sizeof(text)), 0);
	ck_assert_int_eq(fake.pages, 0);
	ck_assert_int_eq(fake.accepted, 1);
	fake_end(&fake, client);
}
END_TEST

/* A new daemon, a new page: that is the one that counts from then on. */
START_TEST(a_new_page_after_a_restart)
{
	struct rngclient *client;
	struct fake fake;
	uint64_t token, last;
	uint8_t buf[32];

	client = fake_start(&fake);
	ck_assert_uint_eq(rngclient_epoch(client), 0);
	ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), 0);
	last = rngclient_epoch(client);
	ck_assert_uint_eq(last, 1);
	ck_assert(!rngclient_epoch_same(client, last)); /* nobody watches */
	fake.page->lease_ns = boot_ns() + 600000000000u;
	ck_assert(rngclient_epoch_same(client, last));
	for (int i = 1; i <= 20; i++) {
		make_page(&fake, 1);
		fake.page->lease_ns = boot_ns() + 600000000000u;
		fake.lost = 1;
		ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), 0);
		ck_assert_int_eq(fake.pages, 1 + i);
		/* Those that were shown are kept, to a bound; with more of them nothing is said. */
		ck_assert_uint_eq(count_maps("sock.epoch"), i < 16 ? (unsigned)i + 2u : 18u);
		token = rngclient_epoch(client);
		ck_assert_uint_eq(token & 0xffff, i < 16 ? 1u : 0u);
		ck_assert(i < 16 ? token != last : token == 0);
		ck_assert_int_eq(rngclient_epoch_same(client, token), i < 16);
		ck_assert(!rngclient_epoch_same(client, last));
		last = token;
		/* It has the look_again that the old one had, but nothing was agreed with it. */
		forget_log(&fake);
		fake.gets = 0;
		fake.meanwhile = clone_once;
		ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), 0);
		ck_assert_int_eq(fake.gets, 2);
		ck_assert_uint_eq(buf[0], 'b');
	}
	fake_end(&fake, client);
}
END_TEST

/* A restart inside a call: bytes of the new daemon, asked for after its page was. */
START_TEST(a_restart_asks_for_the_page_first)
{
	struct rngclient *client;
	struct fake fake;
	uint8_t buf[32];

	client = fake_start(&fake);
	ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), 0);
	forget_log(&fake);
	fake.lost = 1;
	ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), 0);
	ck_assert_msg(strstr(request_log(&fake), "PLG") != NULL, "%s", request_log(&fake));
	fake_end(&fake, client);
}
END_TEST

/* A program may close what it does not know. The new connection is to a daemon that may be new. */
START_TEST(a_connection_closed_by_the_program)
{
	struct sockaddr_un addr;
	struct rngclient *client;
	struct fake fake;
	uint8_t buf[32];
	socklen_t len;
	int fd;

	client = fake_start(&fake);
	ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), 0);
	for (fd = 3; fd < 64; fd++) {
		len = sizeof(addr);
		if (getpeername(fd, (struct sockaddr *)&addr, &len) == 0 &&
		    len > sizeof(addr.sun_family) && strcmp(addr.sun_path, fake.path) == 0)
			break;
	}
	ck_assert_int_lt(fd, 64);
	close(fd);
	forget_log(&fake);
	ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), 0);
	ck_assert_int_eq(strncmp(request_log(&fake), "PLG", 3), 0);
	fake_end(&fake, client);
}
END_TEST

#define OPENS 1000

START_TEST(nothing_is_left_behind)
{
	struct rngclient *client, *other;
	struct fd_goal goal;
	struct fake fake;
	uint8_t buf[32];
	size_t maps = 0;

	client = fake_start(&fake);
	ck_assert_int_eq(rngclient_look(client, NULL), 0); /* it is accepted */
	goal.count = support_fd_count(getpid());
	for (int i = 0; i < OPENS; i++) {
		ck_assert_int_eq(rngclient_open(&other, fake.path, LONG_MS), 0);
		ck_assert_int_eq(rngclient_get(other, buf, sizeof(buf)), 0);
		ck_assert_uint_eq(count_maps("sock.epoch"), 2);
		rngclient_close(other);
		if (i == 10)
			maps = count_maps("");
	}
	/* One leaked at each of a thousand would show; a sanitizer's allocator takes a few. */
	ck_assert_uint_le(count_maps(""), maps + 16);
	ck_assert_uint_eq(count_maps("sock.epoch"), 1);
	ck_assert_msg(support_wait(fds_are, &goal), "%zu descriptors, not %zu",
		      support_fd_count(getpid()), goal.count);
	fake_end(&fake, client);
}
END_TEST

#ifndef __SANITIZE_THREAD__ /* ThreadSanitizer does not follow fork() with threads */
/* No room for the one descriptor that comes: not the server's fault. */
START_TEST(out_of_descriptors)
{
	struct rngclient *client;
	struct fake fake;
	uint8_t buf[32];
	int status;
	pid_t pid;

	client = fake_start(&fake);
	pid = fork();
	if (pid == 0) {
		struct rlimit limit;
		int fd;

		/* The child connects anew, then asks: two descriptors. */
		rngclient_close(client);
		if (rngclient_open(&client, fake.path, 5000) != 0)
			_exit(1);
		fd = dup(0);
		close(fd);
		limit = (struct rlimit){(rlim_t)fd + 1, (rlim_t)fd + 1};
		if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
			_exit(2);
		_exit(rngclient_get(client, buf, sizeof(buf)) == -EMFILE ? 0 : 3);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	fake_end(&fake, client);
}
END_TEST

/* The page and the daemon's answers are as good in a child; it is asked for again all the same. */
START_TEST(a_forked_child_watches_too)
{
	struct rngclient *client;
	struct fake fake;
	uint8_t buf[32];
	int status;
	pid_t pid;

	client = fake_start(&fake);
	ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), 0);
	forget_log(&fake);
	fake.gets = 0;
	fake.meanwhile = clone_once;
	pid = fork();
	if (pid == 0)
		_exit(rngclient_get(client, buf, sizeof(buf)) == 0 && buf[0] == 'b' ? 0 : 1);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(fake.gets, 2);
	ck_assert_int_eq(request_log(&fake)[0], 'P');
	ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), 0);
	ck_assert_int_eq(fake.pages, 2);
	fake_end(&fake, client);
}
END_TEST
#endif

struct loop {
	struct rngclient *client;
	atomic_bool stop;
	atomic_int failed;
	atomic_int calls;
};

static void *get_loop(void *arg)
{
	struct rngclient_epoch epoch = {.size = sizeof(epoch)};
	struct loop *loop = arg;
	uint8_t buf[100];

	while (!loop->stop) {
		loop->failed += rngclient_get(loop->client, buf, sizeof(buf)) != 0;
		loop->failed += rngclient_epoch_info(loop->client, &epoch) != 0;
		loop->calls++;
	}
	return NULL;
}

static bool has_called(void *arg)
{
	struct loop *loop = arg;

	return loop->calls >= 50;
}

#define THREADS 4

START_TEST(threads_share_the_page)
{
	struct loop loop = {.stop = false};
	pthread_t threads[THREADS];
	struct fake fake;

	loop.client = fake_start(&fake);
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, get_loop, &loop), 0);
	for (int i = 0; i < 20; i++) {
		clone_machine(&fake);
		fake.lost = 1; /* connections and mappings are replaced meanwhile */
		loop.calls = 0;
		ck_assert(support_wait(has_called, &loop));
	}
	loop.stop = true;
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_int_eq(loop.failed, 0);
	ck_assert_uint_eq(count_maps("sock.epoch"), 2);
	fake_end(&fake, loop.client);
}
END_TEST

/* ---- what the host and the administrator ask ---- */

START_TEST(a_bump)
{
	uint8_t seed[RNGCLIENT_BUMP_MAX_BYTES + 1];
	static const size_t good[] = {0, 32, 33, 1023, 1024};
	static const size_t bad[] = {1, 31, 1025};
	uint64_t generation, before = 1;
	struct rngclient *client;
	struct fake fake;

	client = fake_start(&fake);
	for (size_t i = 0; i < sizeof(seed); i++)
		seed[i] = (uint8_t)(i * 7);
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		ck_assert_int_eq(rngclient_bump(client, seed, good[i], &generation), 0);
		ck_assert_uint_eq(generation, ++before);
		ck_assert_uint_eq(fake.seed_bytes, good[i]);
		ck_assert_mem_eq(fake.seed, seed, good[i]);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		generation = 7;
		ck_assert_int_eq(rngclient_bump(client, seed, bad[i], &generation), -EINVAL);
		ck_assert_uint_eq(generation, 0);
	}
	ck_assert_int_eq(rngclient_bump(client, NULL, 32, NULL), -EINVAL);
	ck_assert_int_eq(rngclient_bump(NULL, seed, 32, NULL), -EINVAL);
	ck_assert_int_eq(fake.bumps, 5);
	ck_assert_int_eq(rngclient_bump(client, NULL, 0, NULL), 0);
	/* The connection is lost before the answer: asked once more. */
	fake.lost = 1;
	ck_assert_int_eq(rngclient_bump(client, seed, 32, &generation), 0);
	ck_assert_uint_eq(generation, before + 2);
	ck_assert_int_eq(fake.bumps, 8);
	fake_end(&fake, client);
}
END_TEST

START_TEST(look_and_reseed)
{
	struct rngclient *client;
	uint64_t generation = 7;
	struct fake fake;

	client = fake_start(&fake);
	fake.generation = UINT64_MAX;
	ck_assert_int_eq(rngclient_look(client, &generation), 0);
	ck_assert_uint_eq(generation, UINT64_MAX);
	ck_assert_int_eq(rngclient_look(client, NULL), 0);
	ck_assert_int_eq(rngclient_reseed(client), 0);
	ck_assert_int_eq(fake.looks, 2);
	ck_assert_int_eq(fake.reseeds, 1);
	ck_assert_int_eq(rngclient_look(NULL, &generation), -EINVAL);
	ck_assert_uint_eq(generation, 0);
	ck_assert_int_eq(rngclient_reseed(NULL), -EINVAL);
	fake.body_instead = true;
	generation = 7;
	ck_assert_int_eq(rngclient_look(client, &generation), -EPROTO);
	ck_assert_uint_eq(generation, 0);
	ck_assert_int_eq(rngclient_reseed(client), -EPROTO);
	ck_assert_int_eq(rngclient_bump(client, NULL, 0, NULL), -EPROTO);
	fake_end(&fake, client);
}
END_TEST

START_TEST(refusals)
{
	static const struct {
		uint8_t status;
		int bump, look, reseed; /* what is said of another operation is no answer */
	} cases[] = {
	    {RNGD_PROTO_E_PERMISSION, -EPERM, -EPROTO, -EPERM},
	    {RNGD_PROTO_E_IDENTICAL, -ENOTUNIQ, -EPROTO, -EPROTO},
	    {RNGD_PROTO_E_UNAVAILABLE, -EAGAIN, -EAGAIN, -EAGAIN},
	    {RNGD_PROTO_E_AGAIN, -EAGAIN, -EAGAIN, -EAGAIN},
	    {RNGD_PROTO_E_OPCODE, -EOPNOTSUPP, -EOPNOTSUPP, -EOPNOTSUPP},
	    {RNGD_PROTO_E_NO_PAGE, -EPROTO, -EPROTO, -EPROTO},
	    {RNGD_PROTO_E_BODY, -EPROTO, -EPROTO, -EPROTO},
	    {99, -EPROTO, -EPROTO, -EPROTO},
	};
	struct rngclient *client;
	uint64_t generation = 7;
	struct fake fake;

	client = fake_start(&fake);
	if (cases[_i].status == RNGD_PROTO_E_AGAIN) /* asked anew until the deadline */
		ck_assert_int_eq(rngclient_set_timeout(client, TIMEOUT_MS), 0);
	fake.status = cases[_i].status;
	fake.status_count = -1;
	ck_assert_int_eq(rngclient_bump(client, NULL, 0, &generation), cases[_i].bump);
	ck_assert_uint_eq(generation, 0);
	generation = 7;
	fake.status_count = -1;
	ck_assert_int_eq(rngclient_look(client, &generation), cases[_i].look);
	ck_assert_uint_eq(generation, 0);
	fake.status_count = -1;
	ck_assert_int_eq(rngclient_reseed(client), cases[_i].reseed);
	fake_end(&fake, client);
}
END_TEST
#define REFUSALS 8

/* ---- what the page shows ---- */

static void fill_page(struct epoch_page *page)
{
	struct epoch_page_event *event = &page->events[3 % 2];

	page->counter_base = 0x10;
	*event = (struct epoch_page_event){.generation = 3,
					   .realtime_ns = 1700000000123456789u,
					   .boottime_ns = 55,
					   .notifier = EPOCH_PAGE_VMGENID};
	memset(event->id, 0xab, sizeof(event->id));
	page->lease_ns = UINT64_MAX / 4;
	page->state = EPOCH_PAGE_REFUSING;
	page->look_again = 9;
	page->generation = 3;
	page->epoch = epoch_page_word(EPOCH_PAGE_VMGENID, 0x10, 3);
}

static void check_epoch(const struct rngclient_epoch *epoch)
{
	ck_assert_uint_eq(epoch->size, sizeof(*epoch));
	ck_assert_uint_eq(epoch->epoch, 0x01000013);
	ck_assert_uint_eq(epoch->generation, 3);
	ck_assert_uint_eq(epoch->look_again, 9);
	ck_assert_uint_eq(epoch->state, RNGCLIENT_EPOCH_REFUSING);
	ck_assert_int_gt(epoch->lease_ms, 1000000000);
	ck_assert_uint_eq(epoch->event_generation, 3);
	ck_assert_uint_eq(epoch->event_realtime_ns, 1700000000123456789u);
	ck_assert_uint_eq(epoch->event_boottime_ns, 55);
	ck_assert_uint_eq(epoch->event_notifier, EPOCH_PAGE_VMGENID);
	ck_assert_str_eq(epoch->event_notifier_name, "vmgenid");
	for (int i = 0; i < 16; i++)
		ck_assert_uint_eq(epoch->event_id[i], 0xab);
}

START_TEST(epoch_info)
{
	struct rngclient_epoch epoch = {.size = sizeof(epoch)};
	struct {
		struct rngclient_epoch known;
		uint8_t later[16];
	} newer;
	struct rngclient *client;
	struct fake fake;

	client = fake_start(&fake);
	ck_assert_int_eq(rngclient_epoch_info(client, &epoch), 0);
	ck_assert_uint_eq(epoch.generation, 1);
	ck_assert_int_eq(epoch.lease_ms, 0);
	ck_assert(all_zero(&epoch.event_generation,
			   sizeof(epoch) - offsetof(struct rngclient_epoch, event_generation)));
	fill_page(fake.page);
	ck_assert_int_eq(rngclient_epoch_info(client, &epoch), 0);
	check_epoch(&epoch);
	memset(&epoch, 1, sizeof(epoch));
	epoch.size = sizeof(epoch);
	ck_assert_int_eq(rngclient_epoch_file(fake.page_path, &epoch), 0);
	check_epoch(&epoch);
	/* A program of a later version: what is not known here is zero. */
	memset(&newer, 1, sizeof(newer));
	newer.known.size = sizeof(newer);
	ck_assert_int_eq(rngclient_epoch_file(fake.page_path, &newer.known), 0);
	ck_assert_uint_eq(newer.known.size, sizeof(newer));
	ck_assert_uint_eq(newer.known.look_again, 9);
	ck_assert(all_zero(newer.later, sizeof(newer.later)));
	fake_end(&fake, client);
}
END_TEST

START_TEST(epoch_info_refuses)
{
	static const size_t sizes[] = {0, sizeof(struct rngclient_epoch) - 1, 4097, SIZE_MAX};
	struct rngclient_epoch epoch = {.size = sizeof(epoch)};
	struct rngclient *client;
	struct fake fake;
	char fifo[96];

	client = fake_start(&fake);
	ck_assert_int_eq(rngclient_epoch_info(NULL, &epoch), -EINVAL);
	ck_assert_int_eq(rngclient_epoch_info(client, NULL), -EINVAL);
	ck_assert_int_eq(rngclient_epoch_file("", &epoch), -EINVAL);
	ck_assert_int_eq(rngclient_epoch_file(fake.page_path, NULL), -EINVAL);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		epoch.size = sizes[i];
		ck_assert_int_eq(rngclient_epoch_info(client, &epoch), -EINVAL);
		ck_assert_int_eq(rngclient_epoch_file(fake.page_path, &epoch), -EINVAL);
	}
	epoch.size = sizeof(epoch);
	ck_assert_int_eq(rngclient_epoch_file("/nonexistent", &epoch), -ENOENT);
	ck_assert_int_eq(rngclient_epoch_file("/dev/null", &epoch), -EPROTO);
	ck_assert_int_eq(rngclient_epoch_file("/", &epoch), -EPROTO);
	ck_assert_int_eq(rngclient_epoch_file("/proc/self/exe", &epoch), -EPROTO);
	snprintf(fifo, sizeof(fifo), "%s/fifo", fake.dir);
	ck_assert_int_eq(mkfifo(fifo, 0600), 0);
	ck_assert_int_eq(rngclient_epoch_file(fifo, &epoch), -EPROTO);
	unlink(fifo);
	memset(&epoch, 1, sizeof(epoch));
	epoch.size = sizeof(epoch);
	ck_assert_int_eq(ftruncate(fake.page_fd, EPOCH_PAGE_BYTES - 1), 0);
	ck_assert_int_eq(rngclient_epoch_file(fake.page_path, &epoch), -EPROTO);
	ck_assert(all_zero(&epoch.generation, sizeof(epoch) - sizeof(epoch.size)));
	ck_assert_uint_eq(count_maps("sock.epoch"), 1);
	fake_end(&fake, client);
}
END_TEST

/* ---- a real daemon ---- */

static uint64_t generation_shown(struct rngclient *client)
{
	struct rngclient_epoch epoch = {.size = sizeof(epoch)};

	ck_assert_int_eq(rngclient_epoch_info(client, &epoch), 0);
	ck_assert_int_gt(epoch.lease_ms, 0);
	return epoch.generation;
}

/* What the control socket is told, the page shows, and every other handle sees; a killed daemon's
 * page is the next one's too. */
START_TEST(a_real_daemon)
{
	char page[] = "/dev/shm/rngd-check.XXXXXX", path[128], control_path[128];
	const char *options[] = {"--epoch", path, NULL};
	struct rngclient *client, *control;
	struct support_rngd rngd;
	uint64_t before, after;
	uint8_t buf[64], seed[32];

	ck_assert_ptr_nonnull(mkdtemp(page));
	ck_assert_int_eq(chmod(page, 0755), 0);
	snprintf(path, sizeof(path), "%s/epoch", page);
	support_start(&rngd, options);
	snprintf(control_path, sizeof(control_path), "%s" RNGCLIENT_CONTROL_SUFFIX, rngd.socket);
	ck_assert_int_eq(rngclient_open(&client, rngd.socket, 0), 0);
	ck_assert_int_eq(rngclient_open(&control, control_path, 0), 0);
	for (int i = 0; i < 5; i++) {
		before = generation_shown(client);
		ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), 0);
		ck_assert_int_eq(rngclient_get(client, seed, sizeof(seed)), 0);
		ck_assert_int_eq(rngclient_bump(control, seed, sizeof(seed), &after), 0);
		ck_assert_uint_eq(after, before + 1);
		ck_assert_uint_eq(generation_shown(client), after);
		ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), 0);
		ck_assert_int_eq(rngclient_bump(client, seed, sizeof(seed), NULL), -EPERM);
		ck_assert_int_eq(rngclient_reseed(client), -EPERM);
		ck_assert_int_eq(rngclient_reseed(control), 0);
		ck_assert_int_eq(rngclient_look(client, &before), 0);
		ck_assert_uint_eq(before, after);
	}
	support_kill(&rngd);
	support_restart(&rngd, options);
	ck_assert_int_eq(rngclient_get(client, buf, sizeof(buf)), 0);
	ck_assert_uint_ge(generation_shown(client), after);
	rngclient_close(client);
	rngclient_close(control);
	support_stop(&rngd);
	support_end(&rngd);
	unlink(path);
	strcat(path, ".lock");
	unlink(path);
	ck_assert_int_eq(rmdir(page), 0);
}
END_TEST

static TCase *get_cases(void)
{
	TCase *tcase = tcase_create("get");

	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, ageing_keeps_the_bytes, 0, LENGTHS);
	tcase_add_loop_test(tcase, a_clone_discards_the_bytes, 0, LENGTHS);
	tcase_add_test(tcase, a_storm_of_clones);
	tcase_add_test(tcase, a_look_before_only_when_moved);
	tcase_add_test(tcase, a_move_during_a_look);
	tcase_add_loop_test(tcase, the_kernel_moves, 0, 2);
	tcase_add_test(tcase, a_daemon_without_look);
	tcase_add_loop_test(tcase, again_is_tried_again, AGAIN_FROM, AGAIN_TO);
	tcase_add_test(tcase, threads_share_the_page);
#ifndef __SANITIZE_THREAD__
	tcase_add_test(tcase, a_forked_child_watches_too);
	tcase_add_test(tcase, out_of_descriptors);
#endif
	return tcase;
}

static TCase *page_cases(void)
{
	TCase *tcase = tcase_create("page");

	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, hostile_pages, 0, HOSTILE_PAGES);
	tcase_add_test(tcase, a_late_descriptor);
	tcase_add_loop_test(tcase, no_page_is_no_error, 0, ABSENCES);
	tcase_add_loop_test(tcase, without_a_page_a_clone_is_seen, 0, ABSENCES);
	tcase_add_test(tcase, the_page_can_wait);
	tcase_add_test(tcase, a_new_page_after_a_restart);
	tcase_add_test(tcase, a_restart_asks_for_the_page_first);
	tcase_add_test(tcase, a_connection_closed_by_the_program);
	tcase_add_test(tcase, nothing_is_left_behind);
	tcase_add_test(tcase, epoch_info);
	tcase_add_test(tcase, epoch_info_refuses);
	return tcase;
}

static TCase *word_cases(void)
{
	TCase *tcase = tcase_create("words");

	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, a_real_daemon);
	tcase_add_test(tcase, a_bump);
	tcase_add_test(tcase, look_and_reseed);
	tcase_add_loop_test(tcase, refusals, 0, REFUSALS);
	return tcase;
}

int main(void)
{
	Suite *suite = suite_create("rngclient_clone");
	SRunner *runner;
	int failed;

	suite_add_tcase(suite, get_cases());
	suite_add_tcase(suite, page_cases());
	suite_add_tcase(suite, word_cases());
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed > 0;
}
