/*
 * Id-mapped mounts: man 2 mount_setattr, "ID-mapped mounts". Functions return 0, a file descriptor (O_CLOEXEC, the
 * caller's) or -errno.
 */
#ifndef CAPSULE_IDMAP_H
#define CAPSULE_IDMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/*
 * Start a child in a user namespace without maps. Returns a descriptor whose closing ends the child, which the caller
 * then reaps; its number in *pid.
 */
int capsule_idmap_hold(pid_t *pid);

/*
 * A user namespace that no process is in, with the given texts as its uid_map and gid_map. Needs a procfs of the
 * caller's pid namespace on /proc.
 */
int capsule_idmap_userns(const char *uid_map, size_t uid_size, const char *gid_map,
			 size_t gid_size);

/*
 * The uid_map and gid_map of a user namespace, as its parent reads them, into buffers of `size` bytes. Returns 0.
 */
int capsule_idmap_read(int userns_fd, char *uid_map, char *gid_map, size_t size);

/*
 * Map the ids of a detached mount (recursive: of its whole tree) as a user namespace does: an id of the file system,
 * taken as one inside, shows as the one outside. -EINVAL: the file system has no such mounts, or has its ids mapped.
 */
int capsule_idmap_apply(int mount_fd, int userns_fd, bool recursive);

#endif
