/*
 * tests/regions - the writable memory of a process, from /proc/PID/smaps.
 */
#ifndef TESTS_REGIONS_H
#define TESTS_REGIONS_H

#include <check.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>

#define REGIONS_MAX 64u

struct region {
	uint64_t start;
	size_t bytes;
	bool secret; /* memfd_secret: cannot be copied */
	bool locked;
	char name[128];
	uint8_t *copy; /* the caller's */
};

/* Lists the writable mappings of pid, without copies. Returns how many. */
static inline size_t regions_read(pid_t pid, struct region regions[REGIONS_MAX])
{
	struct region *region = NULL;
	unsigned long start, end;
	char path[64], line[512], perms[8];
	size_t count = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/smaps", pid);
	file = fopen(path, "re");
	ck_assert_ptr_nonnull(file);
	while (fgets(line, sizeof(line), file)) {
		char name[sizeof(region->name)] = "";

		if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %127[^\n]", &start, &end, perms, name) >=
		    3) {
			region = NULL;
			if (perms[1] != 'w')
				continue;
			ck_assert_uint_lt(count, REGIONS_MAX);
			region = &regions[count++];
			*region = (struct region){.start = start, .bytes = end - start};
			memcpy(region->name, name, sizeof(name));
			region->secret = strstr(name, "secretmem") != NULL;
		} else if (region && strncmp(line, "VmFlags:", 8) == 0) {
			region->locked = strstr(line, " lo ") != NULL;
		}
	}
	fclose(file);
	return count;
}

#endif
