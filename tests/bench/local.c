/*
 * Owns: a generator and the state of the vDSO's. May touch: a daemon of its own, for the seed.
 * Never does: count what a draw waits for.
 *
 * Processor time of the thread, that of the kernel included: what getrandom(2) does is done there.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "client/rngclient_local.h"
#include "host/cpu.h"
#include "host/vdso.h"
#include "tests/bench/bench.h"
#include "tests/bench/launch.h"
#include "tests/bench/threads.h"

#define LARGE_BYTES      (1u << 20)
#define SIZES_MAX        8
#define VDSO_STATE_BYTES 144 /* the one size that host/vdso takes */

/* glibc 2.36; elsewhere, or in an older one, it is not there. */
extern void arc4random_buf(void *buf, size_t len) __attribute__((weak));

/* getrandom(2)'s arguments, and a state that the caller keeps. */
typedef ssize_t vdso_getrandom_fn(void *buf, size_t len, unsigned int flags, void *state,
				  size_t state_bytes);

struct draw {
	struct rngclient_local *local; /* NULL: the thread's own */
	struct vdso vdso;
	vdso_getrandom_fn *vdso_getrandom; /* NULL: the kernel has none */
	uint8_t *out;                      /* LARGE_BYTES */
};

static int run_u32(void *context, size_t size_bytes, unsigned long calls)
{
	const struct draw *draw = context;
	uint32_t number;
	int err = 0;

	(void)size_bytes;
	for (unsigned long i = 0; i < calls; i++)
		err |= rngclient_local_u32(draw->local, &number);
	return err;
}

static int run_bytes(void *context, size_t size_bytes, unsigned long calls)
{
	const struct draw *draw = context;
	int err = 0;

	for (unsigned long i = 0; i < calls; i++)
		err |= rngclient_local_bytes(draw->local, draw->out, size_bytes);
	return err;
}

static int run_getrandom(void *context, size_t size_bytes, unsigned long calls)
{
	const struct draw *draw = context;
	int failed = 0;

	for (unsigned long i = 0; i < calls; i++)
		failed |= getrandom(draw->out, size_bytes, 0) != (ssize_t)size_bytes;
	return failed;
}

static int run_vdso(void *context, size_t size_bytes, unsigned long calls)
{
	const struct draw *draw = context;
	int failed = 0;

	for (unsigned long i = 0; i < calls; i++)
		failed |= draw->vdso_getrandom(draw->out, size_bytes, 0, draw->vdso.state,
					       VDSO_STATE_BYTES) != (ssize_t)size_bytes;
	return failed;
}

static int run_arc4random(void *context, size_t size_bytes, unsigned long calls)
{
	const struct draw *draw = context;

	for (unsigned long i = 0; i < calls; i++)
		arc4random_buf(draw->out, size_bytes);
	return 0;
}

enum peer { PEER_GETRANDOM, PEER_VDSO, PEER_ARC4RANDOM, PEERS };

static const struct measure_side peers[] = {
    [PEER_GETRANDOM] = {.name = "getrandom(2)", .run = run_getrandom},
    [PEER_VDSO] = {.name = "vDSO", .run = run_vdso},
    [PEER_ARC4RANDOM] = {.name = "arc4random_buf", .run = run_arc4random},
};

/* Why there is no such peer; NULL: there is. */
static const char *lacks(const struct draw *draw, enum peer peer)
{
	if (peer == PEER_VDSO && !draw->vdso_getrandom)
		return "this kernel's vDSO has no getrandom";
	if (peer == PEER_ARC4RANDOM && !arc4random_buf)
		return "this C library has none (glibc 2.36 and newer have)";
	return NULL;
}

struct rows {
	const char *name;
	int (*run)(void *context, size_t size_bytes, unsigned long calls);
	bool own;            /* the thread's own generator */
	const size_t *sizes; /* ended by 0; SIZES_MAX at most */
	bool numbers;        /* counted in numbers, not in bytes */
	/* For each peer, the size that has a bar, and the bar: without and with AVX-512. */
	struct {
		size_t size_bytes;
		double bar, bar_avx512;
	} bars[PEERS];
};

static void report(const struct bench *bench, struct measure_task *task, enum peer peer)
{
	const struct rows *rows = bench->group->plan;
	struct report_row row = {
	    .name = rows->name,
	    .size_bytes = task->size_bytes,
	    .unit = rows->numbers ? "M/s" : "GB/s",
	    .peer = task->theirs->name,
	};

	if (rows->bars[peer].size_bytes == task->size_bytes) {
		row.bar_is = REPORT_RATIO_AT_LEAST;
		row.bar = cpu_has_avx512() ? rows->bars[peer].bar_avx512 : rows->bars[peer].bar;
	}
	measure_rates(&task->rounds, rows->numbers ? 1e3 : (double)task->size_bytes);
	report_row(bench, &row, &task->rounds);
}

/* Every size beside every peer that there is. */
static int run_peers(const struct bench *bench, struct draw *draw)
{
	const struct rows *rows = bench->group->plan;
	const struct measure_side ours = {.run = rows->run, .context = draw};
	struct measure_task tasks[PEERS * SIZES_MAX];
	struct measure_side theirs[PEERS];
	size_t count = 0;

	for (enum peer peer = 0; peer < PEERS; peer++) {
		const char *why = lacks(draw, peer);

		theirs[peer] = peers[peer];
		theirs[peer].context = draw;
		if (why)
			report_skip(bench, peers[peer].name, why);
		for (const size_t *size = rows->sizes; *size && !why; size++)
			tasks[count++] = (struct measure_task){
			    .ours = &ours, .theirs = &theirs[peer], .size_bytes = *size};
	}
	if (measure_tasks(bench->scale, MEASURE_COMPUTING, tasks, count))
		return -1;
	for (size_t i = 0; i < count; i++)
		report(bench, &tasks[i], (enum peer)(tasks[i].theirs - theirs));
	return 0;
}

static int run(const struct bench *bench)
{
	const struct rows *rows = bench->group->plan;
	struct draw draw = {.out = malloc(LARGE_BYTES)};
	struct launched rngd = {0};
	int err = -1;

	if (!draw.out || launch(bench, LAUNCH_RNGD, &rngd))
		goto out;
	/* The page says that it is watched a moment after the socket is there: the call waits. */
	err = rows->own ? rngclient_local_open_thread(rngd.socket, 0, 0)
			: rngclient_local_open(&draw.local, rngd.socket, 0, 0);
	if (err) {
		printf("  no generator: %s\n", strerror(-err));
		goto out;
	}
	if (vdso_init(&draw.vdso) == 0)
		memcpy(&draw.vdso_getrandom, &draw.vdso.call, sizeof(draw.vdso_getrandom));
	err = run_peers(bench, &draw);
out:
	vdso_deinit(&draw.vdso);
	rngclient_local_close(draw.local);
	launch_end(&rngd);
	free(draw.out);
	return err ? -1 : 0;
}

static const size_t number_size[] = {4, 0};
static const size_t sizes[] = {16, 32, 64, 256, 1024, 4096, 65536, LARGE_BYTES, 0};

_Static_assert(sizeof(sizes) / sizeof(sizes[0]) <= SIZES_MAX + 1, "room for tasks");

const struct group local_groups[] = {
    {.name = "local-u32",
     .title = "Local generator, 32-bit numbers, with a handle",
     .run = run,
     .plan =
	 &(const struct rows){.name = "u32",
			      .run = run_u32,
			      .sizes = number_size,
			      .numbers = true,
			      .bars = {[PEER_GETRANDOM] = {4, 60, 60}, [PEER_VDSO] = {4, 3, 3}}}},
    {.name = "local-thread",
     .title = "Local generator, 32-bit numbers, the thread's own",
     .run = run,
     .plan = &(const struct rows){.name = "u32",
				  .run = run_u32,
				  .own = true,
				  .sizes = number_size,
				  .numbers = true,
				  .bars = {[PEER_VDSO] = {4, 2, 2}}}},
    {.name = "local-bytes",
     .title = "Local generator, bytes, with a handle",
     .run = run,
     .plan =
	 &(const struct rows){
	     .name = "bytes",
	     .run = run_bytes,
	     .sizes = sizes,
	     .bars = {[PEER_GETRANDOM] = {LARGE_BYTES, 4, 6}, [PEER_VDSO] = {32, 3, 3}}}},
    {.name = "local-threads",
     .title = "Local generator, 16 threads beside what its processors do one at a time",
     .run = threads_run},
    {0},
};
