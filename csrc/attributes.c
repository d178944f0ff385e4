/* Scheduling, I/O priority, execution domain and memory policy; see attributes.h. */
#define _GNU_SOURCE
#include "attributes.h"

#include <errno.h>
#include <sys/personality.h>
#include <sys/syscall.h>
#include <unistd.h>

#define IOPRIO_WHO_PROCESS 1
#define MEMS_ALLOWED 4 /* MPOL_F_MEMS_ALLOWED of linux/mempolicy.h */

static int result(long ret)
{
	return ret < 0 ? -errno : 0;
}

int capsule_attributes_set_scheduler(pid_t pid, struct capsule_scheduler *scheduler)
{
	scheduler->size = sizeof(*scheduler);
	return result(syscall(SYS_sched_setattr, pid, scheduler, 0));
}

int capsule_attributes_set_io_priority(pid_t pid, int value)
{
	return result(syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, pid, value));
}

int capsule_attributes_set_personality(unsigned long domain)
{
	return result(personality(domain));
}

int capsule_attributes_set_memory_policy(int mode, const struct capsule_nodes *nodes)
{
	/* The kernel takes one bit less than it is told (set_mempolicy(2), BUGS of get_nodes()). */
	return result(syscall(SYS_set_mempolicy, mode, nodes->words, CAPSULE_NODES + 1));
}

int capsule_attributes_allowed_nodes(struct capsule_nodes *nodes)
{
	return result(
		syscall(SYS_get_mempolicy, NULL, nodes->words, CAPSULE_NODES, 0, MEMS_ALLOWED));
}
