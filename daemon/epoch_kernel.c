/*
 * Owns: a handle of host/vdso. May touch: the kernel, by way of its vDSO.
 * Never does: say cloned: the kernel reseeds for many reasons, at least once a minute.
 */
#include "daemon/epoch.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* A clone is seen by the kernel a moment after it runs; nothing wakes us then. */
#define KERNEL_POLL_MS 100

static void keep_generation(struct epoch_detector *detector, uint64_t generation)
{
	_Static_assert(sizeof(generation) <= EPOCH_VALUE_BYTES, "room");
	detector->own.kernel.generation = generation;
	memcpy(detector->value, &generation, sizeof(generation));
	detector->value_bytes = sizeof(generation);
}

static void start(struct epoch_detector *detector, int fd, const char *path)
{
	uint64_t generation = 0;
	int err;

	(void)path;
	if (fd >= 0)
		close(fd);
	detector->fd = -1;
	detector->watch = false;
	detector->notifier = EPOCH_PAGE_KERNEL;
	err = vdso_init(&detector->own.kernel.vdso);
	if (!err)
		generation = vdso_generation(&detector->own.kernel.vdso);
	if (err == -ENOSYS)
		epoch_absent(detector, "this kernel has no vDSO getrandom");
	else if (err == -EPROTO)
		epoch_absent(detector, "its state is of another form");
	else if (err)
		epoch_absent(detector, "vDSO getrandom: %s", strerror(-err));
	else if (generation == 0)
		epoch_absent(detector, "vDSO getrandom gives no generation");
	if (err || generation == 0)
		return;
	keep_generation(detector, generation);
	detector->state = EPOCH_ACTIVE;
}

static enum epoch_change look(struct epoch_detector *detector, enum epoch_depth depth)
{
	uint64_t generation = vdso_generation(&detector->own.kernel.vdso);
	bool known = detector->state == EPOCH_FAILED;

	(void)depth;
	if (generation == 0) {
		/* Its getrandom(2) failed, at a reseed of the kernel; perhaps the next will not. */
		epoch_failed(detector, "vDSO getrandom gives no generation any more");
		detector->retry = true;
		return known ? EPOCH_SAME : EPOCH_AGED;
	}
	if (generation == detector->own.kernel.generation && !known)
		return EPOCH_SAME;
	detector->state = EPOCH_ACTIVE;
	detector->retry = false;
	keep_generation(detector, generation);
	return EPOCH_AGED;
}

static void stop(struct epoch_detector *detector)
{
	vdso_deinit(&detector->own.kernel.vdso);
}

const struct epoch_ops epoch_kernel_ops = {
    .name = "kernel",
    .notifier = EPOCH_PAGE_KERNEL,
    .says_cloned = false,
    .cheap = true,
    .poll_ms = KERNEL_POLL_MS,
    .start = start,
    .look = look,
    .stop = stop,
};
