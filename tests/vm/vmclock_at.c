/*
 * Lets rngd map QEMU's vmclock page by --vmclock=/dev/mem in a guest whose kernel has no driver for
 * it (before Linux 6.14), to be preloaded: its page is at a fixed place of physical memory. Owns
 * nothing. May touch: mmap() of that one device. Never does: change any other call.
 */
#include <dlfcn.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define VMCLOCK_AT 0xfeffb000L /* QEMU 10, include/hw/acpi/vmclock.h */

void *mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	void *(*real)(void *, size_t, int, int, int, off_t) =
	    (void *(*)(void *, size_t, int, int, int, off_t))dlsym(RTLD_NEXT, "mmap");
	struct stat st;

	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 1))
		offset += VMCLOCK_AT;
	return real(addr, len, prot, flags, fd, offset);
}
