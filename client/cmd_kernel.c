/*
 * Owns: the kernel-reseed command, and the bytes it gives to the kernel. May touch: /dev/random,
 * standard input if told to. Never does: credit entropy, or say that the kernel reseeded when it
 * did not see so.
 */
#include "client/rngcli.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/random.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "client/seed.h"
#include "host/vdso.h"

#define KERNEL_DEVICE "/dev/random"

/* From rngd: twice the key of the kernel's generator. */
#define KERNEL_DAEMON_BYTES 64

/* From standard input at least: the key's size. */
#define KERNEL_STDIN_MIN_BYTES 32

/*
 * The kernel moves the generation before the call returns. What looks at it may look a moment
 * later: a state that the kernel dropped meanwhile reads as unknown.
 */
#define KERNEL_LOOKS   20
#define KERNEL_LOOK_NS 1000000

#define KERNEL_WORDS (KERNEL_DAEMON_BYTES + SEED_MAX_BYTES) / sizeof(__u32)

/* struct rand_pool_info with room. */
struct pool_bytes {
	int entropy_count;
	int buf_size;
	__u32 buf[KERNEL_WORDS];
};

_Static_assert(offsetof(struct pool_bytes, buf) == offsetof(struct rand_pool_info, buf),
	       "RNDADDENTROPY takes it for a struct rand_pool_info");

struct kernel {
	struct vdso vdso;
	struct pool_bytes pool;
	struct seed seed;
	int fd;
};

/* ---------------------------------------------------------------- what it is given */

/* An exit code. */
static int take_from_daemon(struct kernel *kernel, const struct rngcli_options *options)
{
	struct rngclient *client;
	int rc = rngcli_connect(options, &client);

	if (rc)
		return rc;
	rc = rngclient_get(client, kernel->pool.buf, KERNEL_DAEMON_BYTES);
	rngclient_close(client);
	if (rc)
		return rngcli_explain(options, rc);
	kernel->pool.buf_size = KERNEL_DAEMON_BYTES;
	return RNGCLI_OK;
}

/* An exit code. */
static int gather(struct kernel *kernel, const struct rngcli_options *options)
{
	int rc = RNGCLI_OK;

	if (options->from_stdin)
		rc = seed_take(&kernel->seed, "kernel-reseed", KERNEL_STDIN_MIN_BYTES,
			       "leave out --stdin");
	if (!rc && !options->no_daemon)
		rc = take_from_daemon(kernel, options);
	if (rc)
		return rc;
	memcpy((uint8_t *)kernel->pool.buf + kernel->pool.buf_size, kernel->seed.bytes,
	       kernel->seed.len);
	kernel->pool.buf_size += (int)kernel->seed.len;
	return RNGCLI_OK;
}

/* ---------------------------------------------------------------- what it is asked */

/* An exit code. */
static int explain(const char *what, int error)
{
	switch (error) {
	case EPERM:
	case EACCES:
		rngcli_error("cannot %s: that takes root, with CAP_SYS_ADMIN", what);
		return RNGCLI_FAILURE;
	case ENODATA:
		rngcli_error("cannot %s: the kernel's generator has no seed yet; try again later",
			     what);
		return RNGCLI_TEMPFAIL;
	case EINVAL:
	case ENOTTY:
		rngcli_error("cannot %s: this kernel does not know how, or " KERNEL_DEVICE
			     " is not its generator",
			     what);
		return RNGCLI_FAILURE;
	default:
		rngcli_error("cannot %s: %s", what, strerror(error));
		return RNGCLI_FAILURE;
	}
}

/* The generation after that one; that one, or 0, when it is not seen to move. */
static uint64_t look_for_next(struct vdso *vdso, uint64_t before)
{
	const struct timespec pause = {.tv_nsec = KERNEL_LOOK_NS};
	uint64_t now = before;

	for (int i = 0; i < KERNEL_LOOKS; i++) {
		now = vdso_generation(vdso);
		if (now && now != before)
			break;
		nanosleep(&pause, NULL);
	}
	return now;
}

/* An exit code. */
static int reseed(struct kernel *kernel)
{
	uint64_t before, after;

	if (ioctl(kernel->fd, RNDADDENTROPY, &kernel->pool))
		return explain("give bytes to the kernel", errno);
	before = vdso_generation(&kernel->vdso);
	if (ioctl(kernel->fd, RNDRESEEDCRNG))
		return explain("have the kernel reseed", errno);
	after = before ? look_for_next(&kernel->vdso, before) : 0;
	if (!before || !after) {
		printf("asked the kernel to reseed, with %d bytes more; this kernel does not show "
		       "whether it did\n",
		       kernel->pool.buf_size);
		return rngcli_close_stdout();
	}
	if (after == before) {
		rngcli_error("the kernel took %d bytes, and said nothing against a reseed, but its "
			     "generator did not move: it is still at generation %" PRIu64,
			     kernel->pool.buf_size, before);
		return RNGCLI_FAILURE;
	}
	printf("the kernel's generator was reseeded, with %d bytes more (generation %" PRIu64
	       " -> %" PRIu64 ")\n",
	       kernel->pool.buf_size, before, after);
	return rngcli_close_stdout();
}

int cmd_kernel_reseed(const struct rngcli_options *options)
{
	struct kernel kernel = {.fd = -1};
	int rc;

	if (options->no_daemon && !options->from_stdin) {
		rngcli_error("--no-daemon leaves nothing to give to the kernel: add --stdin");
		return RNGCLI_USAGE;
	}
	/* Before anybody is asked for bytes; the mode does not matter to ioctl(2) there. */
	kernel.fd = open(KERNEL_DEVICE, O_RDONLY | O_NOCTTY | O_CLOEXEC);
	if (kernel.fd < 0)
		return explain("open " KERNEL_DEVICE, errno);
	/* Failure is a kernel that does not show: the generation reads as 0 then. */
	(void)vdso_init(&kernel.vdso);
	rc = gather(&kernel, options);
	if (!rc)
		rc = reseed(&kernel);
	explicit_bzero(&kernel.pool, sizeof(kernel.pool));
	seed_wipe(&kernel.seed);
	vdso_deinit(&kernel.vdso);
	close(kernel.fd);
	return rc;
}
