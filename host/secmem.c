/*
 * Owns: the mappings it hands out. May touch: mmap, mlock, madvise, memfd_secret.
 * Never does: keep a list of allocations, or fall back to memory that can be swapped.
 */
#include "host/secmem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef RNGD_TEST_FALLBACK
/* The test build marks its allocations, so that a scan of the process proves it can see them. */
#define SECMEM_TEST_MARKER "rngd-secmem-mark"
#endif

static size_t page_bytes(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

/*
 * Maps memfd_secret memory over `at`. The descriptor is not needed afterwards.
 * MAP_FIXED is safe: the range is our own reservation.
 */
static int map_secret(void *at, size_t bytes)
{
#if defined(__NR_memfd_secret) && !defined(RNGD_TEST_FALLBACK)
	int fd = (int)syscall(__NR_memfd_secret, O_CLOEXEC);
	int err = 0;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)bytes) < 0 ||
	    mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
		err = -errno;
	close(fd);
	return err;
#else
	(void)at;
	(void)bytes;
	return -ENOSYS;
#endif
}

int secmem_alloc(struct secmem *mem, size_t bytes, bool use_memfd_secret)
{
	size_t page = page_bytes();
	int err;

	memset(mem, 0, sizeof(*mem));
	if (bytes == 0 || bytes > SIZE_MAX / 2)
		return -EINVAL;
	mem->data_bytes = (bytes + page - 1) / page * page;
	mem->map_bytes = mem->data_bytes + 2 * page;

	/* Reserve it all without access: what is not opened below stays as guard pages. */
	mem->map = mmap(NULL, mem->map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem->map == MAP_FAILED) {
		memset(mem, 0, sizeof(*mem));
		return -ENOMEM;
	}
	mem->data = (uint8_t *)mem->map + page;

	if (use_memfd_secret && map_secret(mem->data, mem->data_bytes) == 0)
		mem->secret = true;
	else if (mprotect(mem->data, mem->data_bytes, PROT_READ | PROT_WRITE) < 0)
		goto fail;

	/* memfd_secret memory is locked by the kernel itself and refuses a second mlock(). */
	mem->locked = mem->secret || mlock(mem->data, mem->data_bytes) == 0;
	if (!mem->locked)
		goto fail;
	mem->dontdump = madvise(mem->data, mem->data_bytes, MADV_DONTDUMP) == 0;
	mem->dontfork = madvise(mem->data, mem->data_bytes, MADV_DONTFORK) == 0;
	if (!mem->dontdump || !mem->dontfork)
		goto fail;

	/* Touch every page now: a failure to back one shall come here, not in a request. */
	memset(mem->data, 0, mem->data_bytes);
#ifdef RNGD_TEST_FALLBACK
	memcpy((uint8_t *)mem->data + mem->data_bytes - strlen(SECMEM_TEST_MARKER),
	       SECMEM_TEST_MARKER, strlen(SECMEM_TEST_MARKER));
#endif
	return 0;

fail:
	err = -errno;
	munmap(mem->map, mem->map_bytes);
	memset(mem, 0, sizeof(*mem));
	return err;
}

void secmem_free(struct secmem *mem)
{
	if (mem->map) {
		wipe(mem->data, mem->data_bytes);
		munmap(mem->map, mem->map_bytes);
	}
	memset(mem, 0, sizeof(*mem));
}

void wipe(void *data, size_t len)
{
	explicit_bzero(data, len);
}

__attribute__((noinline)) void wipe_stack(void)
{
	uint8_t dead[SECMEM_STACK_BYTES];

	explicit_bzero(dead, sizeof(dead));
}

__attribute__((noinline)) int secmem_lock_stack(void)
{
	volatile uint8_t below[SECMEM_LOCKED_STACK_BYTES];
	size_t page = page_bytes();
	uintptr_t start = (uintptr_t)below / page * page;
	uintptr_t end = ((uintptr_t)below + sizeof(below)) / page * page;

	/* The stack grows when it is touched, and only what is there can be locked. */
	for (size_t i = 0; i < sizeof(below); i += page)
		below[i] = 0;
	below[0] = below[sizeof(below) - 1] = 0;
	if (mlock((void *)start, end - start) < 0 ||
	    madvise((void *)start, end - start, MADV_DONTDUMP) < 0)
		return -errno;
	return 0;
}
