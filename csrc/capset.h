/*
 * The calling thread's capability sets (man 7 capabilities), as 64-bit masks: bit n is capability
 * number n. Every function returns 0 or a value >= 0, or -errno.
 */
#ifndef CAPSULE_CAPSET_H
#define CAPSULE_CAPSET_H

#include <stdint.h>

struct capsule_capset {
	uint64_t effective, permitted, inheritable;
};

/* The highest capability number this kernel knows; asks prctl(2), so that no procfs is needed. */
int capsule_capset_last_cap(void);
int capsule_capset_get(struct capsule_capset *sets);
/* -EPERM where a set would gain what it may not. */
int capsule_capset_set(const struct capsule_capset *sets);
int capsule_capset_bounding(uint64_t *mask);
/*
 * Leave only the bits of `keep` in the bounding set. -EPERM without CAP_SETPCAP, unless nothing has
 * to go; the set may be partly cut then.
 */
int capsule_capset_bounding_drop(uint64_t keep);
int capsule_capset_ambient(uint64_t *mask);
int capsule_capset_ambient_clear(void);
/*
 * Raise each bit of `mask`; *failed has those the kernel refused (not permitted or not
 * inheritable).
 */
int capsule_capset_ambient_raise(uint64_t mask, uint64_t *failed);

#endif
