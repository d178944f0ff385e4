/*
 * Paths inside a root that may be hostile: every lookup starts at a directory fd and cannot leave
 * it.
 *
 * The kernel resolves (openat2, Linux 5.6); where openat2 is missing or refused, a walker opens one
 * component at a time with O_NOFOLLOW and expands symbolic links itself, in the root.
 *
 * Functions return 0, a file descriptor (O_CLOEXEC, the caller's) or -errno. The functions that
 * create set the process's umask to 0 for the one call, so that modes are exact: single-threaded
 * callers only.
 */
#ifndef CAPSULE_OPENBENEATH_H
#define CAPSULE_OPENBENEATH_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* The values of RESOLVE_* in <linux/openat2.h>. */
#define CAPSULE_RESOLVE_NO_XDEV 0x01ull
#define CAPSULE_RESOLVE_NO_MAGICLINKS 0x02ull
#define CAPSULE_RESOLVE_NO_SYMLINKS 0x04ull
#define CAPSULE_RESOLVE_BENEATH 0x08ull
#define CAPSULE_RESOLVE_IN_ROOT 0x10ull

/*
 * Open a path with the given RESOLVE_* bits; IN_ROOT or BENEATH must be among them.
 * -EAGAIN: the tree was changed under us too many times.
 */
int capsule_openbeneath_open(int root_fd, const char *path, int flags, mode_t mode,
			     unsigned long long resolve);

/* The walker alone, whatever the kernel has: the fallback, and what tests and the fuzzer call. */
int capsule_openbeneath_walk(int root_fd, const char *path, int flags, mode_t mode,
			     unsigned long long resolve);

/*
 * Return an O_PATH fd of the directory (file) at path, made with its missing parents if need be.
 * A dangling symbolic link is followed inside the root and its target made there. Parents get 0755.
 * resolve: 0 or NO_SYMLINKS. created: whether the last component was made.
 */
int capsule_openbeneath_ensure_dir(int root_fd, const char *path, mode_t mode,
				   unsigned long long resolve, bool *created);
int capsule_openbeneath_ensure_file(int root_fd, const char *path, mode_t mode,
				    unsigned long long resolve, bool *created);

/*
 * Make a node of the type and permissions in mode, owned by uid:gid, unless one of that type and
 * number is there already: that one is left as it is. name is one component.
 * Returns 1 if made, 0 if it was there, -EEXIST if something else is there.
 */
int capsule_openbeneath_mknod(int dir_fd, const char *name, mode_t mode, dev_t rdev, uid_t uid,
			      gid_t gid);

/* Make a symbolic link unless anything by that name is there. Returns 1 if made, 0 if not. */
int capsule_openbeneath_symlink(int dir_fd, const char *name, const char *target);

/* Read a link's text without following it. Returns its length, -ENAMETOOLONG if it does not fit. */
ssize_t capsule_openbeneath_readlink(int dir_fd, const char *name, char *text, size_t size);

/* Remove one name; a directory is refused by the kernel. */
int capsule_openbeneath_unlink(int dir_fd, const char *name);

/*
 * Read a regular file in the root, at most size bytes. Returns the length; -EFBIG if there is more,
 * -EINVAL if it is not a regular file. A fifo or a device cannot make this block.
 */
ssize_t capsule_openbeneath_read_file(int root_fd, const char *path, char *data, size_t size);

#endif
