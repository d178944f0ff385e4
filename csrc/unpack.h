/*
 * Unpack a layer of an image, which may be hostile, below a directory: tarread.c's members become
 * files by in-root file descriptors (openbeneath.h). What would leave the directory is an error,
 * not bent back into it: "..", an absolute name, a symbolic link on the way that leads out.
 *
 * Whiteouts (image-spec layer.md) become overlayfs's own: a character device 0:0, an attribute of
 * an opaque directory. Kept: modes, owners, times, hard links, holes, devices, the attributes
 * security.capability and user.* (but for overlayfs's own); others are the host's and left out.
 *
 * The caller's umask must be 0 and nobody else may change the directory meanwhile. The memory used
 * does not grow with the archive: the times of directories wait in an unnamed file.
 */
#ifndef CAPSULE_UNPACK_H
#define CAPSULE_UNPACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* overlayfs is mounted with userxattr: its attributes are user.overlay.*. */
#define CAPSULE_UNPACK_USERXATTR 0x1u
/* A device node that may not be made (user namespaces) is counted and left out. */
#define CAPSULE_UNPACK_SKIP_DEVICES 0x2u
/* An archive of files, no layer: no owners, attributes, devices, whiteouts; private modes. */
#define CAPSULE_UNPACK_PLAIN 0x4u
/* A file is there under its name as a whole or as it was before; a directory is never replaced by one. */
#define CAPSULE_UNPACK_WHOLE 0x8u

struct capsule_unpack_limits {
	uint64_t entries;
	uint64_t bytes;	    /* of data in all */
	uint64_t file_size; /* of one file, its holes counted */
};

struct capsule_unpack_counts {
	uint64_t entries, bytes, skipped_devices, skipped_xattrs;
	bool opaque_root; /* nothing of the layers below shows */
};

struct capsule_unpack;

/*
 * root_fd: the directory, open for reading; it must stay open. lower_fds: the layers below, the top
 * one first; a directory that the archive does not tell about gets the attributes it has there.
 * Returns NULL without memory.
 */
struct capsule_unpack *capsule_unpack_new(int root_fd, const int *lower_fds, size_t lower_count,
					  unsigned int flags,
					  const struct capsule_unpack_limits *limits);
void capsule_unpack_free(struct capsule_unpack *unpack);

/* Returns 0 or -errno; capsule_unpack_message() then names the member. Nothing follows an error. */
int capsule_unpack_feed(struct capsule_unpack *unpack, const void *data, size_t size);
int capsule_unpack_finish(struct capsule_unpack *unpack);

const char *capsule_unpack_message(const struct capsule_unpack *unpack);
const struct capsule_unpack_counts *capsule_unpack_counts(const struct capsule_unpack *unpack);

/* ---- within: unpack_times.c, what must be said of directories at the end ------------------------ */

struct capsule_unpack_times;

struct capsule_unpack_times *capsule_unpack_times_new(int root_fd);
void capsule_unpack_times_free(struct capsule_unpack_times *times);
int capsule_unpack_times_add(struct capsule_unpack_times *times, const char *path,
			     const struct timespec *mtime);
int capsule_unpack_times_apply(struct capsule_unpack_times *times);

/* ---- within: unpack_whole.c --------------------------------------------------------------------- */

#define CAPSULE_UNPACK_TEMPORARY 32

/*
 * Open a new file in a directory: without a name, or with the temporary one that is written, which
 * the caller unlinks if the file does not come to its end. Returns its fd or -errno.
 */
int capsule_unpack_whole_open(int dir_fd, mode_t mode, char *temporary);

/* Give it its name, which a file may have. temporary is empty when nothing is to be unlinked. */
int capsule_unpack_whole_name(int fd, int dir_fd, char *temporary, const char *name);

/* ---- within: unpack_path.c ---------------------------------------------------------------------- */

/*
 * Bring a member's name to the form "a/b/c", "" for the root itself. -EXDEV: it is absolute or has
 * "..", -ENAMETOOLONG.
 */
int capsule_unpack_path(const char *name, char *path, size_t size);

/* Has a component the prefix ".wh."? */
bool capsule_unpack_has_whiteout(const char *path);

#endif
