/*
 * bench - how fast this is, next to a peer measured in the same run.
 *
 * Owns:       the measuring: rounds of ours and theirs in turn, medians, spread.
 * May touch:  its own memory; it runs itself once for each instruction set, because OpenSSL
 *             reads OPENSSL_ia32cap once, when it starts.
 * Never does: judge. Figures decide nothing: the exit status is 0 unless something could not
 *             be run at all, or the two sides do not compute the same.
 *
 * A row is one thing at one size. To add rows, write the two functions, and a group that
 * names them.
 */
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/rngclient_local.h"
#include "crypto/chacha20.h"
#include "host/cpu.h"
#include "host/vdso.h"

#define ROUNDS         15 /* odd, so that the median is one of them */
#define ROUND_NS       2000000.0
#define SIZE_BYTES_MAX 262144u
#define IA32CAP        "OPENSSL_ia32cap"

struct bench_group {
	const char *name; /* argument with which the program runs itself */
	const char *title;
	const char *ia32cap; /* what OpenSSL is told it may use; NULL: all there is */
	bool (*usable)(void);
	int (*begin)(const struct bench_group *group);
	void (*ours)(size_t size_bytes);
	void (*theirs)(size_t size_bytes);
	int (*same)(size_t size_bytes); /* 0 when both sides give the same bytes */
	void (*end)(void);
	const char *arg;          /* for begin */
	const size_t *size_bytes; /* ended by 0 */
	size_t target_bytes;      /* at this size ours should be target times theirs; 0: no bar */
	double target;
};

/* --------------------------------------------------------------- measuring */

static double now_ns(void)
{
	struct timespec t;

	/* Processor time: what another process takes of this core is not the cipher's. */
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static double run_ns(void (*fn)(size_t), size_t size_bytes, unsigned long calls)
{
	double start = now_ns();

	for (unsigned long i = 0; i < calls; i++)
		fn(size_bytes);
	return now_ns() - start;
}

/* Calls that take about ROUND_NS. */
static unsigned long calibrate(void (*fn)(size_t), size_t size_bytes)
{
	unsigned long calls = 1;
	double ns;

	while ((ns = run_ns(fn, size_bytes, calls)) < ROUND_NS / 4)
		calls *= 2;
	return (unsigned long)((double)calls * ROUND_NS / ns) + 1;
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Sorts values, of which there are ROUNDS. */
static double median(double *values)
{
	qsort(values, ROUNDS, sizeof(values[0]), compare_doubles);
	return values[ROUNDS / 2];
}

static void measure(const struct bench_group *group, size_t size_bytes)
{
	double ours[ROUNDS], theirs[ROUNDS], ratio[ROUNDS], mid;
	unsigned long our_calls = calibrate(group->ours, size_bytes);
	unsigned long their_calls = calibrate(group->theirs, size_bytes);

	for (int i = 0; i < ROUNDS; i++) {
		double our_ns, their_ns;

		/* Neither side is always the one that runs second. */
		if (i % 2) {
			their_ns = run_ns(group->theirs, size_bytes, their_calls);
			our_ns = run_ns(group->ours, size_bytes, our_calls);
		} else {
			our_ns = run_ns(group->ours, size_bytes, our_calls);
			their_ns = run_ns(group->theirs, size_bytes, their_calls);
		}
		/* bytes a nanosecond = GB a second */
		ours[i] = (double)size_bytes * (double)our_calls / our_ns;
		theirs[i] = (double)size_bytes * (double)their_calls / their_ns;
		ratio[i] = ours[i] / theirs[i];
	}
	mid = median(ratio);
	printf("  %7zu  %8.2f  %8.2f  %6.2f  (%.2f..%.2f)", size_bytes, median(ours),
	       median(theirs), mid, ratio[0], ratio[ROUNDS - 1]);
	if (group->target_bytes == size_bytes)
		printf("  bar %.2f: %s", group->target, mid >= group->target ? "met" : "missed");
	printf("\n");
	fflush(stdout);
}

/* ---------------------------------------------------- ChaCha20 and OpenSSL */

static struct {
	const struct chacha20_impl *impl;
	EVP_CIPHER_CTX *evp;
	uint8_t out[SIZE_BYTES_MAX] __attribute__((aligned(64)));
	uint8_t zeros[SIZE_BYTES_MAX] __attribute__((aligned(64)));
} chacha;

static const uint8_t bench_key[CHACHA20_KEY_BYTES] = "not a secret, only for measuring";

/* OpenSSL's IV is words 12 to 15: block counter 0, nonce 0. */
static int evp_restart(void)
{
	static const uint8_t iv[16];

	return EVP_EncryptInit_ex(chacha.evp, EVP_chacha20(), NULL, bench_key, iv) == 1 ? 0 : -1;
}

static int chacha_begin(const struct bench_group *group)
{
	chacha.impl = chacha20_impls();
	while (chacha.impl->name && strcmp(chacha.impl->name, group->arg) != 0)
		chacha.impl++;
	chacha.evp = EVP_CIPHER_CTX_new();
	return chacha.impl->name && chacha.evp ? evp_restart() : -1;
}

static void chacha_end(void)
{
	EVP_CIPHER_CTX_free(chacha.evp);
}

static void chacha_ours(size_t size_bytes)
{
	chacha.impl->blocks(bench_key, 0, 0, chacha.out, size_bytes / CHACHA20_BLOCK_BYTES);
}

static void chacha_theirs(size_t size_bytes)
{
	int len;

	EVP_EncryptUpdate(chacha.evp, chacha.out, &len, chacha.zeros, (int)size_bytes);
}

static int chacha_same(size_t size_bytes)
{
	static uint8_t ours[SIZE_BYTES_MAX];

	chacha_ours(size_bytes);
	memcpy(ours, chacha.out, size_bytes);
	if (evp_restart())
		return -1;
	chacha_theirs(size_bytes);
	return memcmp(ours, chacha.out, size_bytes);
}

static bool always(void)
{
	return true;
}

static const size_t chacha_sizes[] = {64, 128, 256, 512, 1024, 16384, 65536, 262144, 0};

#define CHACHA_FUNCTIONS                                                                          \
	.begin = chacha_begin, .ours = chacha_ours, .theirs = chacha_theirs, .same = chacha_same, \
	.end = chacha_end, .size_bytes = chacha_sizes

/* ---------------------------------- the local generator and the kernel's */

#define LOCAL_BYTES_MAX (1u << 20)
#define LOCAL_WAIT_MS   5000

typedef ssize_t vdso_getrandom_fn(void *buf, size_t len, unsigned int flags, void *state,
				  size_t state_bytes);

static struct {
	struct rngclient_local *local; /* NULL: the thread's own */
	struct vdso vdso;
	vdso_getrandom_fn *vdso_getrandom;
	pid_t rngd;
	char dir[32];
	int failed;
	uint8_t out[LOCAL_BYTES_MAX];
} draw;

/* The daemon of the same build, on a socket of its own. */
static int start_rngd(char *socket_path, size_t size)
{
	const char *build = getenv("BUILD");
	char rngd[256];

	snprintf(rngd, sizeof(rngd), "%s/rngd", build ? build : "build");
	strcpy(draw.dir, "/dev/shm/bench.XXXXXX"); /* an epoch page needs a tmpfs */
	if (!mkdtemp(draw.dir) || chmod(draw.dir, 0755) < 0)
		return -1;
	snprintf(socket_path, size, "%s/sock", draw.dir);
	draw.rngd = fork();
	if (draw.rngd == 0) {
		char *argv[] = {rngd, (char[]){"--socket"}, socket_path, NULL};

		if (!freopen("/dev/null", "w", stderr))
			_exit(127);
		execv(rngd, argv);
		_exit(127);
	}
	return draw.rngd < 0 ? -1 : 0;
}

static int local_begin(const struct bench_group *group)
{
	const struct timespec pause = {.tv_nsec = 10000000};
	bool own = strcmp(group->arg, "thread") == 0;
	char path[64];
	int err = -1;

	if (start_rngd(path, sizeof(path)))
		return -1;
	for (int ms = 0; err && ms < LOCAL_WAIT_MS; ms += 10) {
		err = own ? rngclient_local_open_thread(path, 0, 0)
			  : rngclient_local_open(&draw.local, path, 0, 0);
		if (err)
			nanosleep(&pause, NULL);
	}
	if (vdso_init(&draw.vdso) == 0)
		memcpy(&draw.vdso_getrandom, &draw.vdso.call, sizeof(draw.vdso_getrandom));
	return err;
}

static void local_end(void)
{
	static const char *const files[] = {"sock",      "sock.control",      "sock.epoch",
					    "sock.lock", "sock.control.lock", "sock.epoch.lock"};
	char path[64];

	rngclient_local_close(draw.local);
	if (draw.rngd > 0 && kill(draw.rngd, SIGTERM) == 0)
		waitpid(draw.rngd, NULL, 0);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", draw.dir, files[i]);
		unlink(path);
	}
	rmdir(draw.dir);
	vdso_deinit(&draw.vdso);
}

static void local_u32(size_t size_bytes)
{
	uint32_t number;

	(void)size_bytes;
	draw.failed |= rngclient_local_u32(draw.local, &number);
}

static void local_bytes(size_t size_bytes)
{
	draw.failed |= rngclient_local_bytes(draw.local, draw.out, size_bytes);
}

static void system_getrandom(size_t size_bytes)
{
	draw.failed |= getrandom(draw.out, size_bytes, 0) != (ssize_t)size_bytes;
}

static void vdso_getrandom(size_t size_bytes)
{
	draw.failed |= draw.vdso_getrandom(draw.out, size_bytes, 0, draw.vdso.state, 144) !=
		       (ssize_t)size_bytes;
}

/* No bytes to compare; but both must give some. */
static int local_works(size_t size_bytes)
{
	local_bytes(size_bytes);
	system_getrandom(size_bytes);
	return draw.failed;
}

static bool has_vdso(void)
{
	struct vdso vdso;
	int err = vdso_init(&vdso);

	vdso_deinit(&vdso);
	return err == 0;
}

static bool has_no_avx512(void)
{
	return !cpu_has_avx512();
}

static const size_t number_size[] = {4, 0};
static const size_t local_sizes[] = {16, 32, 64, 256, 1024, 4096, 65536, LOCAL_BYTES_MAX, 0};

#define LOCAL_FUNCTIONS .begin = local_begin, .same = local_works, .end = local_end

static const struct bench_group groups[] = {
#if defined(__x86_64__)
    {.name = "chacha20-avx512",
     .title = "ChaCha20 keystream: ours avx512, OpenSSL with all it finds",
     .usable = cpu_has_avx512,
     .arg = "avx512",
     .target_bytes = 16384,
     .target = 1.15,
     CHACHA_FUNCTIONS},
    /* Clears, of CPUID leaf 7, AVX-512 F, DQ, IFMA, CD, BW and VL (bits 16, 17, 21, 28, 30, 31). */
    {.name = "chacha20-avx2",
     .title = "ChaCha20 keystream: ours avx2, OpenSSL held to AVX2",
     .ia32cap = "~0x0:~0xd0230000",
     .usable = cpu_has_avx2,
     .arg = "avx2",
     .target_bytes = 16384,
     .target = 0.95,
     CHACHA_FUNCTIONS},
    /* AVX2 (bit 5) too. */
    {.name = "chacha20-sse",
     .title = "ChaCha20 keystream: ours portable (integer registers), OpenSSL held to SSE",
     .ia32cap = "~0x0:~0xd0230020",
     .usable = always,
     .arg = "portable",
     CHACHA_FUNCTIONS},
    /* And of leaf 1 SSSE3 (bit 9 of ECX, the upper half of the first word). */
    {.name = "chacha20-integer",
     .title = "ChaCha20 keystream: ours portable, OpenSSL held to integer registers",
     .ia32cap = "~0x0000020000000000:~0xd0230020",
     .usable = always,
     .arg = "portable",
     CHACHA_FUNCTIONS},
#else
    {.name = "chacha20",
     .title = "ChaCha20 keystream: ours portable, OpenSSL with all it finds",
     .usable = always,
     .arg = "portable",
     CHACHA_FUNCTIONS},
#endif
    {.name = "local-u32",
     .title = "Local generator, u32 with a handle: peer getrandom(2)",
     .usable = always,
     .arg = "handle",
     .ours = local_u32,
     .theirs = system_getrandom,
     .size_bytes = number_size,
     .target_bytes = 4,
     .target = 60,
     LOCAL_FUNCTIONS},
    {.name = "local-u32-vdso",
     .title = "Local generator, u32 with a handle: peer the vDSO's getrandom",
     .usable = has_vdso,
     .arg = "handle",
     .ours = local_u32,
     .theirs = vdso_getrandom,
     .size_bytes = number_size,
     .target_bytes = 4,
     .target = 3,
     LOCAL_FUNCTIONS},
    {.name = "local-thread-vdso",
     .title = "Local generator, u32 of the thread's own: peer the vDSO's getrandom",
     .usable = has_vdso,
     .arg = "thread",
     .ours = local_u32,
     .theirs = vdso_getrandom,
     .size_bytes = number_size,
     .target_bytes = 4,
     .target = 2,
     LOCAL_FUNCTIONS},
    {.name = "local-bytes-vdso",
     .title = "Local generator, bytes with a handle: peer the vDSO's getrandom",
     .usable = has_vdso,
     .arg = "handle",
     .ours = local_bytes,
     .theirs = vdso_getrandom,
     .size_bytes = local_sizes,
     .target_bytes = 32,
     .target = 3,
     LOCAL_FUNCTIONS},
    {.name = "local-bytes",
     .title = "Local generator, bytes with a handle, AVX2: peer getrandom(2)",
     .usable = has_no_avx512,
     .arg = "handle",
     .ours = local_bytes,
     .theirs = system_getrandom,
     .size_bytes = local_sizes,
     .target_bytes = LOCAL_BYTES_MAX,
     .target = 4,
     LOCAL_FUNCTIONS},
    {.name = "local-bytes-avx512",
     .title = "Local generator, bytes with a handle, AVX-512: peer getrandom(2)",
     .usable = cpu_has_avx512,
     .arg = "handle",
     .ours = local_bytes,
     .theirs = system_getrandom,
     .size_bytes = local_sizes,
     .target_bytes = LOCAL_BYTES_MAX,
     .target = 6,
     LOCAL_FUNCTIONS},
};

#define GROUPS (sizeof(groups) / sizeof(groups[0]))

/* ------------------------------------------------------------------- running */

static int run_group(const struct bench_group *group)
{
	int ret = 1;

	printf("\n%s\n", group->title);
	if (group->begin(group)) {
		printf("  could not be set up\n");
		return 1;
	}
	printf("    bytes   ours GB/s  peer GB/s   ratio  (min..max of %d rounds)\n", ROUNDS);
	for (const size_t *size = group->size_bytes; *size; size++) {
		if (group->same(*size)) {
			printf("  %7zu  the two sides differ\n", *size);
			goto out;
		}
		measure(group, *size);
	}
	ret = 0;
out:
	group->end();
	return ret;
}

/* In a process of its own, with the environment OpenSSL is to see. */
static int run_group_apart(const struct bench_group *group)
{
	char name[64];
	char *argv[] = {name, NULL, NULL};
	pid_t pid;
	int status;

	snprintf(name, sizeof(name), "%s", group->name);
	argv[1] = name;
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		if (group->ia32cap)
			setenv(IA32CAP, group->ia32cap, 1);
		else
			unsetenv(IA32CAP);
		execv("/proc/self/exe", argv);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return 1;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : 1;
}

static void print_cpu(void)
{
	char line[256], *colon;
	FILE *f = fopen("/proc/cpuinfo", "re");

	while (f && fgets(line, sizeof(line), f)) {
		if (strncmp(line, "model name", 10) != 0 || !(colon = strchr(line, ':')))
			continue;
		printf("processor: %s", colon + 2);
		break;
	}
	if (f)
		fclose(f);
}

int main(int argc, char **argv)
{
	int ret = 0;

	if (argc > 1) {
		for (size_t i = 0; i < GROUPS; i++)
			if (strcmp(argv[1], groups[i].name) == 0)
				return run_group(&groups[i]);
		fprintf(stderr, "bench: no group is called %s\n", argv[1]);
		return 2;
	}
	print_cpu();
	printf("peer: %s\n", OpenSSL_version(OPENSSL_VERSION));
	printf("ours: one call that sets up key and nonce and wipes what it used;\n"
	       "peer: EVP_EncryptUpdate of zeros, key and nonce already set\n");
	for (size_t i = 0; i < GROUPS; i++) {
		if (groups[i].usable())
			ret |= run_group_apart(&groups[i]);
		else
			printf("\n%s\n  SKIP: this processor cannot run it\n", groups[i].title);
	}
	return ret;
}
