/*
 * What a process can be given besides ids and limits: scheduling, I/O priority, execution domain, memory
 * policy. Few containers ask for any of it. Every function returns 0 or -errno.
 */
#ifndef CAPSULE_ATTRIBUTES_H
#define CAPSULE_ATTRIBUTES_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The highest NUMA node is 1023 (CONFIG_NODES_SHIFT is at most 10). */
#define CAPSULE_NODES 1024

struct capsule_nodes {
	unsigned long words[CAPSULE_NODES / (8 * sizeof(unsigned long))];
};

/* struct sched_attr of linux/sched/types.h, which older headers lack, at its size since Linux 5.3. */
struct capsule_scheduler {
	uint32_t size; /* filled in by the call */
	uint32_t policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime; /* ns, as the next two */
	uint64_t deadline;
	uint64_t period;
	uint32_t util_min;
	uint32_t util_max;
};

/* sched_setattr(2). */
int capsule_attributes_set_scheduler(pid_t pid, struct capsule_scheduler *scheduler);
/* ioprio_set(2) on one process; value is class << 13 | level. */
int capsule_attributes_set_io_priority(pid_t pid, int value);
/* personality(2) of the caller. */
int capsule_attributes_set_personality(unsigned long domain);
/* set_mempolicy(2) of the caller; mode includes its flags. */
int capsule_attributes_set_memory_policy(int mode, const struct capsule_nodes *nodes);
/* The nodes that the caller's cpuset allows (get_mempolicy(2), MPOL_F_MEMS_ALLOWED). */
int capsule_attributes_allowed_nodes(struct capsule_nodes *nodes);

#endif
