/*
 * host/vmclock - the hypervisor's clock page (/dev/vmclock0), as far as it tells of clones.
 *
 * Little-endian, one page (include/uapi/linux/vmclock-abi.h in the kernel's tree). The hypervisor
 * changes it before the machine runs on, so a load sees a clone at its first instruction. To map it
 * is the caller's affair: page is the whole of it, readable, aligned, and stays so for the call.
 */
#ifndef HOST_VMCLOCK_H
#define HOST_VMCLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* In flags: the device wakes who polls it when the page changes. */
#define VMCLOCK_FLAG_NOTIFICATION (1u << 9)

/* The structure's size as it says itself, with the flags: what every page has. */
#define VMCLOCK_MIN_BYTES 32u

struct vmclock_reading {
	uint64_t disruption; /* moves at a clone and at a live migration */
	uint64_t counter;    /* moves at a clone; means nothing without has_counter */
	uint64_t flags;
	bool has_counter;
	bool settled; /* all of one moment; else each is whole, but they may be of different ones */
};

/*
 * NULL: this is a page that vmclock_read() understands; page_bytes are mapped, the 16 first at
 * least. Else why not, a constant in English.
 */
const char *vmclock_refuse(const void *page, size_t page_bytes);

/*
 * Reads it, 1000 times at most while it is being written. Only where vmclock_refuse() found nothing
 * when it was mapped.
 */
struct vmclock_reading vmclock_read(const void *page);

#endif
