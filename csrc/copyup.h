/*
 * tmpcopyup: fill an empty file system with a copy of a directory tree that may be hostile.
 *
 * Everything is reached by one name from a directory fd and never through a link; the number of fds
 * does not grow with the depth. Kept: modes, owners, times, the extended attributes of files and
 * directories, hard links, holes. What is mounted below the source is not copied: a directory with
 * a mount on it comes out empty, a file with one is left out. What vanishes meanwhile, and a device
 * node that may not be made, are left out too. What has an owner that the caller's user namespace
 * does not map becomes the caller's.
 */
#ifndef CAPSULE_COPYUP_H
#define CAPSULE_COPYUP_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

/* What the target keeps of its own. */
#define CAPSULE_COPYUP_KEEP_UID 0x1u
#define CAPSULE_COPYUP_KEEP_GID 0x2u
#define CAPSULE_COPYUP_KEEP_MODE 0x4u

/*
 * Copy the directory source_fd into the empty directory target_fd; both may be O_PATH. Nobody else
 * may change the target meanwhile. keep: of the target itself, whose mode is always kept.
 *
 * Returns 0 or -errno; then message names what could not be copied. -ENAMETOOLONG: a path below the
 * source exceeds PATH_MAX. -ESTALE: a directory was moved while its content was copied.
 */
int capsule_copyup_fill(int source_fd, int target_fd, unsigned int keep, char *message,
			size_t message_size);

/* ---- hard links: copyup_links.c -------------------------------------------------------------- */

/* Where files that have several names were copied to. Begins with all bytes zero. */
struct capsule_copyup_links {
	void *tree;
	unsigned int count;
};

/*
 * Give the copy of a file that is known by another name this name too. False: it is to be copied.
 * root_fd: what the paths start at.
 */
bool capsule_copyup_link(struct capsule_copyup_links *links, const struct statx *stx, int root_fd,
			 int dir_fd, const char *name);
/* Remember where a file was copied to. What finds no memory gets a copy for each of its names. */
void capsule_copyup_links_add(struct capsule_copyup_links *links, const struct statx *stx,
			      const char *path);
void capsule_copyup_links_free(struct capsule_copyup_links *links);

/* ---- one inode, by fd: copyup_inode.c -------------------------------------------------------- */

/* Room for what the kernel allows one inode: XATTR_LIST_MAX, XATTR_SIZE_MAX (man 7 xattr). */
#define CAPSULE_COPYUP_XATTR_MAX 65536

struct capsule_copyup_buffers {
	char names[CAPSULE_COPYUP_XATTR_MAX];
	char value[CAPSULE_COPYUP_XATTR_MAX];
};

/* Copy the first size bytes of a file, if it still has that many; holes stay holes. */
int capsule_copyup_data(int source_fd, int target_fd, off_t size);

/* Give an open file or directory its source's owner, extended attributes, mode and times. */
int capsule_copyup_attributes(int source_fd, int target_fd, const struct statx *stx,
			      unsigned int keep, struct capsule_copyup_buffers *buffers);

/* The same for what is not opened (link, fifo, socket, device), but for extended attributes. */
int capsule_copyup_name_attributes(int dir_fd, const char *name, const struct statx *stx);

#endif
