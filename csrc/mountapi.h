/*
 * Mounts by file descriptor: man 2 fsopen, open_tree, move_mount, mount_setattr.
 *
 * A mount is made detached, given all its flags, and only then attached to a target fd, so that it is
 * never seen half configured. Where the kernel (or a filter around us) answers ENOSYS, the *_legacy
 * functions do the same with mount(2) on /proc/self/fd/N of a private procfs handle: proc_fd, the
 * directory fd of a procfs that no container controls, or -1 if there is none.
 *
 * Functions return 0, a file descriptor (O_CLOEXEC, the caller's) or -errno.
 */
#ifndef CAPSULE_MOUNTAPI_H
#define CAPSULE_MOUNTAPI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where a mount goes: target_fd was resolved from path in root_fd; the path is for the fallback. */
struct capsule_mount_target {
	int target_fd;
	int root_fd;
	const char *path;
	int proc_fd;
};

/* What a mount is to look like. MOUNT_ATTR_* words; propagation is MS_* | MS_REC words, in order. */
struct capsule_mount_flags {
	uint64_t set;
	uint64_t clear;	  /* explicitly: a locked flag that is to be cleared is an error */
	bool replace;	  /* flags named in neither are cleared as well */
	bool keep_atime;  /* no access-time word was given: the mount keeps what it has */
	uint64_t rec_set; /* for the whole tree */
	uint64_t rec_clear;
	const uint64_t *propagation;
	size_t propagation_count;
};

/* Attach a new instance of a file system. data: NUL-separated words, "key=value" or "flag". */
struct capsule_mount_new {
	const char *fstype;
	const char *source; /* may be NULL */
	const char *data;
	size_t data_size;
	unsigned long sb_flags; /* MS_RDONLY, MS_SYNCHRONOUS, ... of the superblock */
	bool copy_up;		/* place_new: fill it first with what the target holds (copyup.h) */
	int pid_namespace; /* procfs: fd of the namespace that it shows, our children's; 0: ours */
	int idmap; /* place_new: fd of the user namespace that maps its ids (idmap.h); 0: none */
};

/*
 * Each returns an fd of the attached mount's root. message: what the kernel's own log of the file
 * system context says about a failure, what could not be copied, or "".
 */
int capsule_mountapi_place_new(const struct capsule_mount_target *target,
			       const struct capsule_mount_new *new_mount,
			       const struct capsule_mount_flags *flags, char *message,
			       size_t message_size);
/* source_fd: O_PATH fd of what is bound; detached: it is a detached mount already (from R). */
int capsule_mountapi_place_bind(const struct capsule_mount_target *target, int source_fd,
				bool recursive, bool detached,
				const struct capsule_mount_flags *flags);

/* Detached mounts, for callers that attach later. */
int capsule_mountapi_new_detached(const struct capsule_mount_new *new_mount, uint64_t attr,
				  char *message, size_t message_size);
int capsule_mountapi_clone_detached(int dir_fd, const char *path, bool recursive);
int capsule_mountapi_attach(int mount_fd, int target_fd);

/* Change the flags of an attached or detached mount at its root fd; keeps locked flags (see .c). */
int capsule_mountapi_set_flags(int mount_fd, const struct capsule_mount_flags *flags, int proc_fd);
/* Change propagation (MS_SLAVE | MS_REC, ...) of the mount at its root fd. */
int capsule_mountapi_propagate(int mount_fd, uint64_t propagation, int proc_fd);
/* The same for the mount that the directory dir_fd lies on, wherever in it. */
int capsule_mountapi_propagate_parent(int dir_fd, uint64_t propagation, int proc_fd);

/* Change a superblock's options in place: what `mount -o remount` does for a file system. */
int capsule_mountapi_reconfigure(int mount_fd, const struct capsule_mount_new *new_mount,
				 int proc_fd);

/* Make the mount root_fd "/" and drop the old root; man 2 pivot_root, "pivot_root(".", ".")". */
int capsule_mountapi_pivot(int root_fd, int proc_fd);
/* Move the mount root_fd over "/" and chroot into it: for a root that cannot be pivoted (initramfs). */
int capsule_mountapi_move_root(int root_fd, int proc_fd);
int capsule_mountapi_chroot(int root_fd);
int capsule_mountapi_umount(const char *path, int flags);

/*
 * A procfs of the caller's pid namespace that no path leads to; subset_pid: only its processes.
 * Falls back to a verified O_PATH handle of /proc where a new instance is refused.
 */
int capsule_mountapi_private_proc(bool subset_pid);
/* An O_PATH fd of /proc, verified to be the root of a procfs. */
int capsule_mountapi_open_proc(void);

/* The statfs type of what fd is on, or -errno. */
int64_t capsule_mountapi_fs_type(int fd);
/* 1 if fd is the root of its mount, 0 if not. */
int capsule_mountapi_is_mount_root(int fd);

#endif
