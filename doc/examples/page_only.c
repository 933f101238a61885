/* SPDX-License-Identifier: ISC */
/*
 * page_only - learns of clones from four bytes of shared memory, with no library at all.
 *
 *	cc -o page_only page_only.c && ./page_only [PAGE]
 *
 * Prints the epoch and waits until it moves; then prints the new one and exits with 0.
 *
 * This is all that a library needs which cannot depend on anything: look whether the file is there,
 * map a u32 of it, compare. AWS-LC does just this with the path that it is built with
 * (AWSLC_SYSGENID_PATH). It costs one load, from any thread, with no system call.
 *
 * What four bytes cannot say is whether anybody still watches. When rngd is stopped or stuck they
 * stand still. rngclient_epoch_same() sees that too, by the lease elsewhere on the page.
 */
#include <err.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define WORK_NS 10000000 /* 10 ms */

/* Maps the word. Without it nobody can know of clones: this program ends then. */
static const _Atomic uint32_t *map_epoch(const char *path)
{
	struct stat st;
	void *page;
	int fd;

	if (stat(path, &st) < 0)
		err(1, "%s", path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		err(1, "%s", path);
	/* Past the end of a file there is no memory but SIGBUS. */
	if (fstat(fd, &st) < 0 || st.st_size < (off_t)sizeof(uint32_t))
		errx(1, "%s is no epoch page", path);
	/* MAP_SHARED: a private mapping may go on showing what was there when it was made. */
	page = mmap(NULL, sizeof(uint32_t), PROT_READ, MAP_SHARED, fd, 0);
	if (page == MAP_FAILED)
		err(1, "mmap of %s", path);
	close(fd); /* The mapping stays. rngd keeps the file over its restarts. */
	return page;
}

int main(int argc, char **argv)
{
	const char *path = argc > 1 ? argv[1] : "/run/rngd/epoch";
	const struct timespec work = {.tv_nsec = WORK_NS};
	const _Atomic uint32_t *epoch = map_epoch(path);

	/*
	 * Before the key is made, not after: a clone between the two then shows as a change. Only
	 * equality means anything. The word is no count to be put in order, and it comes round.
	 */
	uint32_t seen = atomic_load_explicit(epoch, memory_order_acquire);

	printf("epoch 0x%08" PRIx32 "\n", seen);
	if (fflush(stdout))
		err(1, "standard output");

	/* In a program of yours there is no such loop, but this comparison before each use. */
	while (atomic_load_explicit(epoch, memory_order_acquire) == seen)
		nanosleep(&work, NULL);

	/* Here it drops what it made before, and begins anew. */
	printf("cloned: epoch 0x%08" PRIx32 "\n",
	       atomic_load_explicit(epoch, memory_order_acquire));
	if (fflush(stdout))
		err(1, "standard output");
	return 0;
}
