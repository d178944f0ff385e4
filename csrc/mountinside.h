/*
 * A file system mounted by a child of ours, which is in the pid namespace that our children enter.
 *
 * Only for a procfs on kernels before Linux 6.17, which know no `pidns` option: a procfs then shows
 * the pid namespace of its maker. The child, a copy of this process, is in sight of that namespace
 * for a moment; it is not dumpable, but a process there with CAP_SYS_PTRACE over the host could
 * seize it.
 */
#ifndef CAPSULE_MOUNTINSIDE_H
#define CAPSULE_MOUNTINSIDE_H

#include "mountapi.h"

#define CAPSULE_MOUNTINSIDE_MESSAGE 256

/* As capsule_mountapi_place_new. */
int capsule_mountinside_place_new(const struct capsule_mount_target *target,
				  const struct capsule_mount_new *new_mount,
				  const struct capsule_mount_flags *flags, char *message,
				  size_t message_size);

#endif
