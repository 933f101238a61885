/*
 * Owns: a mapping of one page. May touch: it, reading; the caller's descriptor while it is mapped.
 * Never does: map what could shrink, keep the descriptor, or take a page for unmoved that is being
 * written.
 */
#include "client/local_vmclock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * A load beyond the end of a file is a SIGBUS. A device has none: what its driver mapped stays. A
 * file must be one that nobody can shorten any more, whoever it belongs to.
 */
static int check_file(int fd, size_t page_bytes)
{
	struct stat st;
	int seals;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISCHR(st.st_mode))
		return 0;
	/* The seal first: the size then is the least that it will ever be. */
	seals = S_ISREG(st.st_mode) ? fcntl(fd, F_GET_SEALS) : -1;
	if (seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(fd, &st) < 0)
		return -EINVAL;
	return st.st_size < (off_t)page_bytes ? -EINVAL : 0;
}

int local_vmclock_map(struct local_vmclock *vmclock, int fd)
{
	const size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
	void *map;
	int err;

	*vmclock = (struct local_vmclock){0};
	err = check_file(fd, page_bytes);
	if (err)
		return err;
	/* The driver maps exactly this and nothing else. */
	map = mmap(NULL, page_bytes, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return errno == ENODEV ? -EINVAL : -errno;
	*vmclock = (struct local_vmclock){.page = map, .page_bytes = page_bytes};
	if (!vmclock_refuse(map, page_bytes))
		return 0;
	local_vmclock_unmap(vmclock);
	return -EINVAL;
}

void local_vmclock_unmap(struct local_vmclock *vmclock)
{
	if (vmclock->page)
		munmap((void *)(uintptr_t)vmclock->page, vmclock->page_bytes);
	*vmclock = (struct local_vmclock){0};
}

void local_vmclock_note(struct local_vmclock *vmclock)
{
	if (vmclock->page)
		vmclock->was = vmclock_read(vmclock->page);
}

/* The marker counts too: without a clone one more seed is all it costs. */
bool local_vmclock_holds(const struct local_vmclock *vmclock)
{
	const struct vmclock_reading *was = &vmclock->was;
	struct vmclock_reading now;

	if (!vmclock->page)
		return true;
	now = vmclock_read(vmclock->page);
	return was->settled && now.settled && now.disruption == was->disruption &&
	       now.has_counter == was->has_counter &&
	       (!now.has_counter || now.counter == was->counter) &&
	       !vmclock_refuse(vmclock->page, vmclock->page_bytes);
}
