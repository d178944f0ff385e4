/*
 * mount(2) in place of the calls that mountapi.c prefers, for kernels and filters that answer
 * ENOSYS. Targets are fds all the same: /proc/self/fd/N, reached from proc_fd and never from a
 * path. Functions return 0, a file descriptor or -errno; -ENOSYS if proc_fd is -1.
 */
#ifndef CAPSULE_MOUNTLEGACY_H
#define CAPSULE_MOUNTLEGACY_H

#include "mountapi.h"

/* fd_source >= 0 names the source by fd; then source is ignored. */
int capsule_mountlegacy_mount(int fd_source, const char *source, int target_fd, const char *fstype,
			      unsigned long ms_flags, const char *data, int proc_fd);
/* Change a mount's own flags; attr words as for mount_setattr. */
int capsule_mountlegacy_setattr(int mount_fd, uint64_t set, uint64_t clear, int proc_fd);
/* As capsule_mountapi_place_*; flags->set and propagation are applied, rec_* gives -ENOSYS. */
int capsule_mountlegacy_place_new(const struct capsule_mount_target *target,
				  const struct capsule_mount_new *new_mount,
				  const struct capsule_mount_flags *flags);
int capsule_mountlegacy_place_bind(const struct capsule_mount_target *target, int source_fd,
				   bool recursive, const struct capsule_mount_flags *flags);

/* MOUNT_ATTR_* as they stand on the mount that fd is on; from statfs. */
int64_t capsule_mountlegacy_current(int fd);

#endif
