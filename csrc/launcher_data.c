/*
 * The program's own variables on a huge page: types, strings and the interpreter's state are what nearly every page of
 * .data is written to for, so each costs a fault and a copy (4.6 us of 6 ms in a virtual machine; 230 of them in `list`).
 * build_support/launcher.ld gives them borders of huge pages. Copied here, they are moved over what the kernel has
 * mapped; where there is no huge page, or /proc to see what must be copied, they stay where they are.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "launcher.h"

#define HUGE ((size_t)2 << 20)
#define PAGE ((size_t)4096)
/* Entries of /proc/PID/pagemap (proc_pid_pagemap(5)): the page is in memory, in swap. */
#define TOUCHED ((uint64_t)3 << 62)

/* build_support/launcher.ld. What is filled begins as bytes of the file, the rest (.bss) as zeroes. */
extern char capsule_data_start[], capsule_data_end[];
extern char __bss_start[]; /* ld(1) */

static long faults(void)
{
	struct rusage usage;

	return getrusage(RUSAGE_SELF, &usage) ? 0 : usage.ru_minflt;
}

/* Tell whether the first huge page of a mapping is one: its two ends cost one fault. */
static int is_huge(volatile char *start)
{
	long before = faults();

	start[0] = 0;
	start[HUGE - 1] = 0;
	return faults() - before <= 1;
}

/* Copy those pages of .bss that somebody has written to: to look at the others would cost a fault each. */
static int copy_touched(char *target, const char *source, const char *end)
{
	uint64_t entries[HUGE / PAGE];
	size_t count = (size_t)(end - source) / PAGE;
	ssize_t size = -1;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -1;
	if (count <= HUGE / PAGE)
		size = pread(fd, entries, count * sizeof(*entries),
			     (off_t)((uintptr_t)source / PAGE * sizeof(*entries)));
	close(fd);
	if (size != (ssize_t)(count * sizeof(*entries)))
		return -1;
	for (size_t i = 0; i < count; i++)
		if (entries[i] & TOUCHED)
			memcpy(target + i * PAGE, source + i * PAGE, PAGE);
	return 0;
}

void capsule_data_move(void)
{
	size_t size = (size_t)(capsule_data_end - capsule_data_start);
	size_t filled = ((size_t)(__bss_start - capsule_data_start) + PAGE - 1) / PAGE * PAGE;
	char *area, *start;

#ifdef __SANITIZE_ADDRESS__
	return; /* It keeps count of what lies between variables, and memcpy() would be told off. */
#endif
	if (sysconf(_SC_PAGESIZE) != (long)PAGE)
		return;
	area = mmap(NULL, size + HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (area == MAP_FAILED)
		return;
	start = area + -(uintptr_t)area % HUGE;
	if (!madvise(start, size, MADV_HUGEPAGE) && is_huge(start) &&
	    !copy_touched(start + filled, capsule_data_start + filled, capsule_data_end)) {
		memcpy(start, capsule_data_start, filled);
		/* Nothing may be written to a variable from here on, before it lies in its new place. */
		if (mremap(start, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, capsule_data_start) ==
		    (void *)capsule_data_start)
			return;
	}
	munmap(area, size + HUGE);
}
