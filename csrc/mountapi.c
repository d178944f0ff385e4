/* Mounts by file descriptor. See mountapi.h. */
#define _GNU_SOURCE
#include "mountapi.h"

#include "copyup.h"
#include "idmap.h"
#include "mountinside.h"
#include "mountlegacy.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MOUNT_ATTR_NOSYMFOLLOW
#define MOUNT_ATTR_NOSYMFOLLOW 0x00200000
#endif

#define FLAGS_ALL                                                                       \
	(MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | \
	 MOUNT_ATTR_NOSYMFOLLOW)
/* What a less privileged mount namespace may not take away (man 7 mount_namespaces). */
#define FLAGS_LOCKABLE \
	(MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)
#define FLAGS_ATIME (MOUNT_ATTR__ATIME | MOUNT_ATTR_NODIRATIME)

#define FSCONFIG_VALUE_MAX \
	255 /* fsconfig(2) takes 256 bytes with the NUL; mount(2) a page in all */
#define PROC_ROOT_INO 1

/* ---- raw calls: glibc has them since 2.36, other libcs do not -------------------------------- */

static int sys_fsopen(const char *fstype)
{
	int fd = (int)syscall(SYS_fsopen, fstype, FSOPEN_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static int sys_fsconfig(int fd, unsigned int cmd, const char *key, const char *value)
{
	return syscall(SYS_fsconfig, fd, cmd, key, value, 0) < 0 ? -errno : 0;
}

/* Linux 6.17; -EOPNOTSUPP before. Whose processes a procfs shows is otherwise its maker's business. */
static int config_pid_namespace(int fs_fd, int pid_namespace)
{
	if (!pid_namespace ||
	    syscall(SYS_fsconfig, fs_fd, FSCONFIG_SET_FD, "pidns", NULL, pid_namespace) == 0)
		return 0;
	return errno == EINVAL ? -EOPNOTSUPP : -errno;
}

static int sys_fsmount(int fd, uint64_t attr)
{
	int mount_fd = (int)syscall(SYS_fsmount, fd, FSMOUNT_CLOEXEC, (unsigned int)attr);

	return mount_fd < 0 ? -errno : mount_fd;
}

static int sys_open_tree(int dir_fd, const char *path, unsigned int flags)
{
	int fd = (int)syscall(SYS_open_tree, dir_fd, path, flags | OPEN_TREE_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static int sys_setattr(int fd, bool recursive, uint64_t set, uint64_t clear, uint64_t propagation)
{
	struct mount_attr attr = { .attr_set = set, .attr_clr = clear, .propagation = propagation };
	unsigned int flags = AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0);

	return syscall(SYS_mount_setattr, fd, "", flags, &attr, sizeof(attr)) < 0 ? -errno : 0;
}

/* ---- new file systems ------------------------------------------------------------------------- */

static int config_word(int fs_fd, const char *word)
{
	char key[FSCONFIG_VALUE_MAX + 1];
	const char *value = strchr(word, '=');
	size_t length = value ? (size_t)(value - word) : strlen(word);

	if (length > FSCONFIG_VALUE_MAX || (value && strlen(value + 1) > FSCONFIG_VALUE_MAX))
		return -E2BIG;
	memcpy(key, word, length);
	key[length] = '\0';
	return value ? sys_fsconfig(fs_fd, FSCONFIG_SET_STRING, key, value + 1)
		     : sys_fsconfig(fs_fd, FSCONFIG_SET_FLAG, key, NULL);
}

static int config_sb_flags(int fs_fd, unsigned long sb_flags)
{
	static const struct {
		unsigned long flag;
		const char *word;
	} words[] = {
		{ MS_RDONLY, "ro" },	 { MS_SYNCHRONOUS, "sync" },  { MS_DIRSYNC, "dirsync" },
		{ MS_MANDLOCK, "mand" }, { MS_LAZYTIME, "lazytime" },
	};
	int error = 0;
	size_t i;

	for (i = 0; i < sizeof(words) / sizeof(words[0]) && error == 0; i++)
		if (sb_flags & words[i].flag)
			error = sys_fsconfig(fs_fd, FSCONFIG_SET_FLAG, words[i].word, NULL);
	return error;
}

static int config_all(int fs_fd, const struct capsule_mount_new *new_mount)
{
	const char *word = new_mount->data, *end = word + new_mount->data_size;
	int error = 0;

	if (new_mount->source && strlen(new_mount->source) > FSCONFIG_VALUE_MAX)
		return -E2BIG;
	if (new_mount->source)
		error = sys_fsconfig(fs_fd, FSCONFIG_SET_STRING, "source", new_mount->source);
	if (error == 0)
		error = config_sb_flags(fs_fd, new_mount->sb_flags);
	for (; error == 0 && word < end; word += strlen(word) + 1)
		if (*word)
			error = config_word(fs_fd, word);
	return error;
}

/* What the context's log says went wrong: "e tmpfs: Bad value for 'size'" less its first two bytes. */
static void read_message(int fs_fd, char *message, size_t size)
{
	ssize_t length;

	message[0] = '\0';
	length = read(fs_fd, message, size - 1);
	if (length <= 0)
		return;
	if (message[length - 1] == '\n')
		length--;
	message[length] = '\0';
	if (length > 2 && message[1] == ' ')
		memmove(message, message + 2, (size_t)length - 1);
}

int capsule_mountapi_new_detached(const struct capsule_mount_new *new_mount, uint64_t attr,
				  char *message, size_t message_size)
{
	int fs_fd, result;

	message[0] = '\0';
	if (new_mount->sb_flags & MS_I_VERSION)
		return -E2BIG; /* fsconfig has no word for it that all file systems know */
	fs_fd = sys_fsopen(new_mount->fstype);
	if (fs_fd < 0)
		return fs_fd;
	result = config_pid_namespace(fs_fd, new_mount->pid_namespace);
	if (result == 0)
		result = config_all(fs_fd, new_mount);
	if (result == 0)
		result = sys_fsconfig(fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL);
	if (result == 0)
		result = sys_fsmount(fs_fd, attr);
	if (result < 0)
		read_message(fs_fd, message, message_size);
	close(fs_fd);
	return result;
}

/* ---- flags ------------------------------------------------------------------------------------ */

static int setattr_or_remount(int mount_fd, uint64_t set, uint64_t clear, int proc_fd)
{
	int result = sys_setattr(mount_fd, false, set, clear, 0);

	if (result == -ENOSYS)
		result = capsule_mountlegacy_setattr(mount_fd, set, clear, proc_fd);
	return result;
}

/*
 * EPERM from a change of flags: some of what the mount has is locked, as it came from a more privileged
 * mount namespace. Keep what was not named; what was named and cannot be is the caller's error.
 */
static int set_keeping_locked(int mount_fd, const struct capsule_mount_flags *flags, int proc_fd)
{
	int64_t current = capsule_mountlegacy_current(mount_fd);
	uint64_t now, locked, set, clear;

	if (current < 0)
		return (int)current;
	now = (uint64_t)current;
	locked = now & FLAGS_LOCKABLE;
	if (locked & flags->clear)
		return -EPERM;
	if (!flags->keep_atime && (now ^ flags->set) & FLAGS_ATIME)
		return -EPERM;
	set = (flags->set & ~FLAGS_ATIME) | locked;
	clear = (flags->replace ? FLAGS_ALL : flags->clear) & ~set & ~FLAGS_ATIME;
	return setattr_or_remount(mount_fd, set, clear, proc_fd);
}

static int set_own_flags(int mount_fd, const struct capsule_mount_flags *flags, int proc_fd)
{
	uint64_t clear = (flags->replace ? FLAGS_ALL & ~flags->set : flags->clear) & FLAGS_ALL;
	int result;

	if (!flags->keep_atime)
		clear |= MOUNT_ATTR__ATIME | (MOUNT_ATTR_NODIRATIME & ~flags->set);
	if (!flags->set && !clear)
		return 0;
	result = setattr_or_remount(mount_fd, flags->set, clear, proc_fd);
	return result == -EPERM ? set_keeping_locked(mount_fd, flags, proc_fd) : result;
}

int capsule_mountapi_propagate(int mount_fd, uint64_t propagation, int proc_fd)
{
	uint64_t kind = propagation & ~(uint64_t)MS_REC;
	int result = sys_setattr(mount_fd, propagation & MS_REC, 0, 0, kind);

	if (result == -ENOSYS)
		result = capsule_mountlegacy_mount(-1, NULL, mount_fd, NULL, propagation, NULL,
						   proc_fd);
	return result;
}

int capsule_mountapi_set_flags(int mount_fd, const struct capsule_mount_flags *flags, int proc_fd)
{
	int result = set_own_flags(mount_fd, flags, proc_fd);
	size_t i;

	/* Not to be had from mount(2), and half of it would be worse than an error. */
	if (result == 0 && (flags->rec_set || flags->rec_clear))
		result = sys_setattr(mount_fd, true, flags->rec_set, flags->rec_clear, 0);
	for (i = 0; result == 0 && i < flags->propagation_count; i++)
		result = capsule_mountapi_propagate(mount_fd, flags->propagation[i], proc_fd);
	return result;
}

static int parent_of(int fd)
{
	int parent = openat(fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);

	return parent < 0 ? -errno : parent;
}

int capsule_mountapi_propagate_parent(int dir_fd, uint64_t propagation, int proc_fd)
{
	int fd = openat(dir_fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int parent, result;

	if (fd < 0)
		return -errno;
	while ((result = capsule_mountapi_is_mount_root(fd)) == 0) {
		parent = parent_of(fd);
		close(fd);
		if (parent < 0)
			return parent;
		fd = parent;
	}
	if (result > 0)
		result = capsule_mountapi_propagate(fd, propagation, proc_fd);
	close(fd);
	return result;
}

/* ---- placing ---------------------------------------------------------------------------------- */

int capsule_mountapi_attach(int mount_fd, int target_fd)
{
	unsigned int flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;

	return syscall(SYS_move_mount, mount_fd, "", target_fd, "", flags) < 0 ? -errno : 0;
}

/*
 * Configure a detached mount and attach it. Linux before 5.12 has no mount_setattr and mount(2) knows
 * attached mounts only: there the order turns round.
 */
static int configure_and_attach(const struct capsule_mount_target *target, int mount_fd,
				const struct capsule_mount_flags *flags)
{
	int result = capsule_mountapi_set_flags(mount_fd, flags, -1);

	if (result == 0)
		return capsule_mountapi_attach(mount_fd, target->target_fd);
	if (result != -ENOSYS || flags->rec_set || flags->rec_clear)
		return result;
	result = capsule_mountapi_attach(mount_fd, target->target_fd);
	return result < 0 ? result : capsule_mountapi_set_flags(mount_fd, flags, target->proc_fd);
}

static int attached_or_closed(int mount_fd, int result)
{
	if (result == 0)
		return mount_fd;
	close(mount_fd);
	return result;
}

static bool has_key(const struct capsule_mount_new *new_mount, const char *key)
{
	const char *word = new_mount->data, *end = word + new_mount->data_size;

	for (; word < end; word += strlen(word) + 1)
		if (strncmp(word, key, strlen(key)) == 0)
			return true;
	return false;
}

/* Fill a new file system, if wanted, with what the target holds; its options outrank the copy. */
static int fill(const struct capsule_mount_target *target, int mount_fd,
		const struct capsule_mount_new *new_mount, char *message, size_t message_size)
{
	unsigned int keep = (has_key(new_mount, "uid=") ? CAPSULE_COPYUP_KEEP_UID : 0) |
			    (has_key(new_mount, "gid=") ? CAPSULE_COPYUP_KEEP_GID : 0);

	if (!new_mount->copy_up)
		return 0;
	return capsule_copyup_fill(target->target_fd, mount_fd, keep, message, message_size);
}

int capsule_mountapi_place_new(const struct capsule_mount_target *target,
			       const struct capsule_mount_new *new_mount,
			       const struct capsule_mount_flags *flags, char *message,
			       size_t message_size)
{
	struct capsule_mount_flags rest = *flags;
	int result,
		fd = capsule_mountapi_new_detached(new_mount, flags->set, message, message_size);

	if (new_mount->pid_namespace && (fd == -EOPNOTSUPP || fd == -ENOSYS))
		return capsule_mountinside_place_new(target, new_mount, flags, message,
						     message_size);
	if ((fd == -ENOSYS || fd == -E2BIG) && !new_mount->idmap) {
		fd = capsule_mountlegacy_place_new(target, new_mount, flags);
		if (fd < 0)
			return fd;
		return attached_or_closed(fd, fill(target, fd, new_mount, message, message_size));
	}
	if (fd < 0)
		return fd;
	rest.set = rest.clear = 0; /* fsmount has done them */
	rest.replace = false;
	rest.keep_atime = true;
	result = fill(target, fd, new_mount, message, message_size);
	if (result == 0 && new_mount->idmap)
		result = capsule_idmap_apply(fd, new_mount->idmap, false);
	if (result == 0)
		result = configure_and_attach(target, fd, &rest);
	return attached_or_closed(fd, result);
}

int capsule_mountapi_clone_detached(int dir_fd, const char *path, bool recursive)
{
	return sys_open_tree(dir_fd, path,
			     OPEN_TREE_CLONE | AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0));
}

int capsule_mountapi_place_bind(const struct capsule_mount_target *target, int source_fd,
				bool recursive, bool detached,
				const struct capsule_mount_flags *flags)
{
	int fd = detached ? fcntl(source_fd, F_DUPFD_CLOEXEC, 3)
			  : capsule_mountapi_clone_detached(source_fd, "", recursive);

	if (fd < 0 && detached)
		return -errno;
	if (fd == -ENOSYS)
		return capsule_mountlegacy_place_bind(target, source_fd, recursive, flags);
	if (fd < 0)
		return fd;
	return attached_or_closed(fd, configure_and_attach(target, fd, flags));
}

int capsule_mountapi_reconfigure(int mount_fd, const struct capsule_mount_new *new_mount,
				 int proc_fd)
{
	int result,
		fs_fd = (int)syscall(SYS_fspick, mount_fd, "", FSPICK_EMPTY_PATH | FSPICK_CLOEXEC);

	if (fs_fd < 0 && errno != ENOSYS)
		return -errno;
	if (fs_fd < 0)
		return capsule_mountlegacy_mount(-1, "none", mount_fd, NULL,
						 MS_REMOUNT | new_mount->sb_flags, new_mount->data,
						 proc_fd);
	result = config_all(fs_fd, new_mount);
	if (result == 0)
		result = sys_fsconfig(fs_fd, FSCONFIG_CMD_RECONFIGURE, NULL, NULL);
	close(fs_fd);
	return result;
}

/* ---- the root --------------------------------------------------------------------------------- */

/*
 * What still lay on the old root would now lie on the new one: "/.." leads there, and so to the host.
 * Linux before 5.8 cannot tell mounts apart.
 */
static int check_nothing_above_root(void)
{
	struct statx root, above;

	if (statx(AT_FDCWD, "/", 0, STATX_MNT_ID, &root) < 0 ||
	    statx(AT_FDCWD, "/..", 0, STATX_MNT_ID, &above) < 0)
		return -errno;
	if (root.stx_mask & above.stx_mask & STATX_MNT_ID && root.stx_mnt_id != above.stx_mnt_id)
		return -EBUSY;
	return 0;
}

int capsule_mountapi_pivot(int root_fd, int proc_fd)
{
	int result = 0, old = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (old < 0)
		return -errno;
	/* The old root ends up mounted over the new one at "/", so no put_old directory is needed. */
	if (fchdir(root_fd) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || fchdir(old) < 0)
		result = -errno;
	/* Only the old tree: its unmounting must not travel to the host, and the new root's
	 * propagation is the config's. */
	if (result == 0)
		result = capsule_mountapi_propagate(old, MS_SLAVE | MS_REC, proc_fd);
	if (result == 0 && (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0))
		result = -errno;
	close(old);
	return result < 0 ? result : check_nothing_above_root();
}

int capsule_mountapi_chroot(int root_fd)
{
	if (fchdir(root_fd) < 0 || chroot(".") < 0 || chdir("/") < 0)
		return -errno;
	return 0;
}

int capsule_mountapi_move_root(int root_fd, int proc_fd)
{
	int result, old = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (old < 0)
		return -errno;
	result = capsule_mountapi_attach(root_fd, old);
	if (result == -ENOSYS)
		result = capsule_mountlegacy_mount(root_fd, NULL, old, NULL, MS_MOVE, NULL,
						   proc_fd);
	close(old);
	return result < 0 ? result : capsule_mountapi_chroot(root_fd);
}

int capsule_mountapi_umount(const char *path, int flags)
{
	return umount2(path, flags) < 0 ? -errno : 0;
}

/* ---- questions and procfs --------------------------------------------------------------------- */

int64_t capsule_mountapi_fs_type(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) < 0 ? -errno : (int64_t)fs.f_type;
}

int capsule_mountapi_is_mount_root(int fd)
{
	struct statx stx;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_INO, &stx) < 0)
		return -errno;
	if (!(stx.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT))
		return -EOPNOTSUPP; /* Linux before 5.8 */
	return !!(stx.stx_attributes & STATX_ATTR_MOUNT_ROOT);
}

/* Return fd if it is the root of a procfs, or close it. */
static int verified_proc(int fd)
{
	struct stat st;
	int64_t type;

	if (fd < 0)
		return fd;
	type = capsule_mountapi_fs_type(fd);
	if (type == PROC_SUPER_MAGIC && fstat(fd, &st) == 0 && st.st_ino == PROC_ROOT_INO)
		return fd;
	close(fd);
	return type < 0 ? (int)type : -ENOTSUP;
}

int capsule_mountapi_open_proc(void)
{
	int fd = open("/proc", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return verified_proc(fd < 0 ? -errno : fd);
}

int capsule_mountapi_private_proc(bool subset_pid)
{
	static const char subset[] = "subset=pid";
	const struct capsule_mount_new proc = {
		.fstype = "proc",
		.source = "proc",
		.data = subset,
		.data_size = subset_pid ? sizeof(subset) : 0,
	};
	char message[64];
	int fd = capsule_mountapi_new_detached(
		&proc, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, message,
		sizeof(message));

	if (fd >= 0)
		return verified_proc(fd);
	/* Refused, or not known: a copy of /proc's own mount, without what is mounted over its parts. */
	fd = verified_proc(capsule_mountapi_clone_detached(AT_FDCWD, "/proc", false));
	return fd >= 0 ? fd : capsule_mountapi_open_proc();
}
