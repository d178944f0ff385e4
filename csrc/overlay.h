/*
 * An overlay file system whose layers are named by descriptors, so that no path is resolved twice
 * (Documentation/filesystems/overlayfs.rst). Functions return a file descriptor (O_CLOEXEC, the
 * caller's) or -errno.
 */
#ifndef CAPSULE_OVERLAY_H
#define CAPSULE_OVERLAY_H

#include "mountapi.h"

#define CAPSULE_OVERLAY_USERXATTR \
	1 /* marks are user.overlay.*: all that a user namespace may read */
#define CAPSULE_OVERLAY_VOLATILE \
	2 /* nothing is synced: the upper layer is not to outlive a crash */

struct capsule_overlay {
	const int *lower; /* the topmost first */
	size_t lower_count;
	int upper; /* -1: none */
	int work;
	unsigned int flags;
};

/*
 * Mount an overlay on a target; returns an fd of its root. message: what the kernel's own log says
 * about a failure, or "". Descriptors as layers need Linux 6.13; before that, or where fsopen(2) is
 * refused, mount(2) is given their names in /proc/self/fd.
 */
int capsule_overlay_place(const struct capsule_mount_target *target,
			  const struct capsule_overlay *overlay, uint64_t attr, char *message,
			  size_t message_size);

/*
 * Make an overlay that is mounted nowhere: only the returned fd of its root leads into it, and it is
 * gone when that is closed. by_name: by the names of the layers in /proc/self/fd, which is also what
 * follows where the kernel takes no descriptors; the working directory is changed meanwhile.
 * -ENOSYS: no fsopen(2). -E2BIG: too many layers for names.
 */
int capsule_overlay_open(const struct capsule_overlay *overlay, uint64_t attr, bool by_name,
			 char *message, size_t message_size);

#endif
