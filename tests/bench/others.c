/*
 * Owns: nothing. May touch: a daemon of somebody else's that is running already. Never does: start
 * or install one.
 *
 * Both peers are daemons that hand out random bytes, as rngd is. Neither is in Debian 12, so these
 * rows are mostly skipped.
 *
 * EGD: the protocol of the Entropy Gathering Daemon and of PRNGD, at $EGD_SOCKET or where OpenSSL
 * looked for one (RAND_egd(3)). A command byte 2, "read, blocking", and a count up to 255.
 * ESDM: its RPC client, libesdm_rpc_client.so, loaded if it is there.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/rngclient.h"
#include "tests/bench/bench.h"
#include "tests/bench/launch.h"

#define SMALL_BYTES   32
#define EGD_READ      2 /* blocking */
#define EGD_TIMEOUT_S 5
#define ESDM_LIBRARY  "libesdm_rpc_client.so"

struct others {
	struct launched rngd;
	struct rngclient *ours;
	int egd_fd;
	void *esdm; /* the library */
	ssize_t (*esdm_get)(uint8_t *buf, size_t len);
};

static int run_ours(void *context, size_t size_bytes, unsigned long calls)
{
	const struct others *others = context;
	uint8_t out[SMALL_BYTES];
	int err = 0;

	for (unsigned long i = 0; i < calls && !err; i++)
		err = rngclient_get(others->ours, out, size_bytes);
	return err;
}

static int run_egd(void *context, size_t size_bytes, unsigned long calls)
{
	const struct others *others = context;
	const uint8_t request[] = {EGD_READ, (uint8_t)size_bytes};
	uint8_t out[SMALL_BYTES];

	for (unsigned long i = 0; i < calls; i++)
		if (send(others->egd_fd, request, sizeof(request), MSG_NOSIGNAL) !=
			(ssize_t)sizeof(request) ||
		    recv(others->egd_fd, out, size_bytes, MSG_WAITALL) != (ssize_t)size_bytes)
			return -1;
	return 0;
}

static int run_esdm(void *context, size_t size_bytes, unsigned long calls)
{
	const struct others *others = context;
	uint8_t out[SMALL_BYTES];

	for (unsigned long i = 0; i < calls; i++)
		if (others->esdm_get(out, size_bytes) != (ssize_t)size_bytes)
			return -1;
	return 0;
}

/* A daemon that does not answer is as good as none. */
static int find_egd(void)
{
	const char *const paths[] = {getenv("EGD_SOCKET"), "/var/run/egd-pool", "/dev/egd-pool",
				     "/etc/egd-pool", "/etc/entropy"};
	const struct timeval timeout = {.tv_sec = EGD_TIMEOUT_S};

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		int fd = paths[i] ? launch_connect(paths[i]) : -1;

		if (fd < 0)
			continue;
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
		return fd;
	}
	return -1;
}

/* A function of the library; NULL: it has none of that name. */
static void find_function(void *library, const char *name, void *function, size_t size)
{
	void *found = dlsym(library, name);

	memcpy(function, &found, size);
}

/* NULL, or why it cannot be asked. */
static const char *find_esdm(struct others *others)
{
	int (*init)(int (*interrupt)(void *)) = NULL;

	others->esdm = dlopen(ESDM_LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (!others->esdm)
		return ESDM_LIBRARY " is not here";
	find_function(others->esdm, "esdm_rpcc_init_unpriv_service", &init, sizeof(init));
	find_function(others->esdm, "esdm_rpcc_get_random_bytes_full", &others->esdm_get,
		      sizeof(others->esdm_get));
	if (!init || !others->esdm_get)
		return ESDM_LIBRARY " has not the functions that are known here";
	if (init(NULL) != 0 || run_esdm(others, SMALL_BYTES, 1))
		return "its daemon does not answer";
	return NULL;
}

static int run_peer(const struct bench *bench, struct others *others,
		    const struct measure_side *theirs)
{
	const struct measure_side ours = {.run = run_ours, .context = others};
	const struct report_row row = {
	    .name = "get mean", .size_bytes = SMALL_BYTES, .unit = "us", .peer = theirs->name};
	struct measure_rounds rounds;

	if (measure_pair(bench->scale, MEASURE_WALL, &ours, theirs, SMALL_BYTES, &rounds))
		return -1;
	measure_scale_by(&rounds, 1e-3);
	report_row(bench, &row, &rounds);
	return 0;
}

static int run(const struct bench *bench)
{
	struct others others = {.egd_fd = find_egd()};
	const struct measure_side egd = {"EGD", run_egd, &others};
	const struct measure_side esdm = {"ESDM", run_esdm, &others};
	const char *why = find_esdm(&others);
	int err = launch(bench, LAUNCH_RNGD, &others.rngd);

	if (!err)
		err = rngclient_open(&others.ours, others.rngd.socket, 0);
	if (!err && others.egd_fd < 0)
		report_skip(bench, egd.name, "none listens at $EGD_SOCKET or its usual places");
	else if (!err && run_egd(&others, SMALL_BYTES, 1))
		report_skip(bench, egd.name, "it does not answer");
	else if (!err)
		err = run_peer(bench, &others, &egd);
	if (!err && why)
		report_skip(bench, esdm.name, why);
	else if (!err)
		err = run_peer(bench, &others, &esdm);
	rngclient_close(others.ours);
	launch_end(&others.rngd);
	if (others.egd_fd >= 0)
		close(others.egd_fd);
	return err ? -1 : 0; /* what ESDM's library holds ends with the process */
}

const struct group others_groups[] = {
    {.name = "others", .title = "Small requests beside other daemons", .run = run},
    {0},
};
