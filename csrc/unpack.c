/* Members of a layer become files. See unpack.h. */
#define _GNU_SOURCE
#include "unpack.h"

#include "openbeneath.h"
#include "removetree.h"
#include "tarread.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#define IMPLIED_MODE 0755 /* of a directory that no member tells about */
#define PLAIN_DIR_MODE 0700
#define PLAIN_FILE_MODE 0600
#define SPECIAL_BITS (S_ISUID | S_ISGID | S_ISVTX)
#define WHITEOUT ".wh."
#define OPAQUE ".wh..wh..opq"

struct capsule_unpack {
	struct capsule_tar *tar;
	struct capsule_unpack_times *times;
	int root_fd;
	unsigned int flags;
	struct capsule_unpack_limits limits;
	struct capsule_unpack_counts counts;
	uid_t uid; /* ours: what we make belongs to it */
	gid_t gid;
	int *lower_fds;
	size_t lower_count;

	char parent[PATH_MAX]; /* the directory of the last member */
	int parent_fd;	       /* readable; -1: none */
	bool parent_setgid;    /* what is made there gets its group */

	struct capsule_tar_entry entry;
	char path[PATH_MAX];	 /* of the present member */
	int file_fd;		 /* of its data; -1: no file, or a whiteout */
	char name[NAME_MAX + 1]; /* that a file gets when it is whole; "": it has it */
	char temporary[CAPSULE_UNPACK_TEMPORARY];
	char message[PATH_MAX + 256];
};

__attribute__((format(printf, 3, 4))) static int fail(struct capsule_unpack *u, int error,
						      const char *format, ...)
{
	va_list words;

	va_start(words, format);
	vsnprintf(u->message, sizeof(u->message), format, words);
	va_end(words);
	return error;
}

static int fail_call(struct capsule_unpack *u, const char *call, int error)
{
	return fail(u, error, "%s %s", call, u->path[0] ? u->path : "/");
}

/* ---- directories on the way --------------------------------------------------------------------- */

static void forget_parent(struct capsule_unpack *u)
{
	if (u->parent_fd >= 0)
		close(u->parent_fd);
	u->parent_fd = -1;
}

static bool is_whiteout(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == makedev(0, 0);
}

/* overlayfs then shows nothing of the directories below this one. */
static int set_opaque(struct capsule_unpack *u, int fd)
{
	const char *name = u->flags & CAPSULE_UNPACK_USERXATTR ? "user.overlay.opaque"
							       : "trusted.overlay.opaque";

	return fsetxattr(fd, name, "y", 1, 0) < 0 ? -errno : 0;
}

/* Make the directory, which hides what a whiteout there hid. */
static int replace_whiteout(struct capsule_unpack *u, int dir_fd, const char *name, mode_t mode)
{
	int fd, error;

	if (unlinkat(dir_fd, name, 0) < 0 || mkdirat(dir_fd, name, mode) < 0)
		return -errno;
	fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	error = set_opaque(u, fd);
	close(fd);
	return error;
}

/* Give a directory that no member told about what it has in the layers below. */
static int inherit(struct capsule_unpack *u, int dir_fd, const char *name, const char *path)
{
	struct stat st;
	int fd, error;

	for (size_t i = 0; i < u->lower_count; i++) {
		fd = capsule_openbeneath_open(u->lower_fds[i], path, O_PATH | O_NOFOLLOW, 0,
					      CAPSULE_RESOLVE_BENEATH |
						      CAPSULE_RESOLVE_NO_SYMLINKS);
		if (fd == -ENOENT)
			continue;
		if (fd < 0)
			return 0;
		error = fstat(fd, &st);
		close(fd);
		if (error < 0 || !S_ISDIR(st.st_mode))
			return 0;
		if (fchownat(dir_fd, name, st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW) < 0 ||
		    fchmodat(dir_fd, name, st.st_mode & 07777, 0) < 0)
			return -errno;
		return capsule_unpack_times_add(u->times, path, &st.st_mtim);
	}
	return 0;
}

static int make_implied(struct capsule_unpack *u, int dir_fd, const char *name, const char *path)
{
	mode_t mode = u->flags & CAPSULE_UNPACK_PLAIN ? PLAIN_DIR_MODE : IMPLIED_MODE;
	struct stat st;

	if (mkdirat(dir_fd, name, mode) == 0)
		return u->lower_count ? inherit(u, dir_fd, name, path) : 0;
	if (errno != EEXIST)
		return -errno;
	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return is_whiteout(&st) ? replace_whiteout(u, dir_fd, name, mode) : -ENOTDIR;
}

static int open_dir(const struct capsule_unpack *u, const char *path)
{
	return capsule_openbeneath_open(u->root_fd, path[0] ? path : ".", O_RDONLY | O_DIRECTORY, 0,
					CAPSULE_RESOLVE_BENEATH);
}

/* Open one directory on the way, by its name in the one above; a link there is the root's matter. */
static int open_step(const struct capsule_unpack *u, int up_fd, const char *name, const char *path)
{
	int fd = openat(up_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd >= 0)
		return fd;
	return errno == ELOOP || errno == ENOTDIR ? open_dir(u, path) : -errno;
}

/* Make the missing directories of a path, one after the other, and open the last. */
static int make_way(struct capsule_unpack *u, char *path)
{
	char *name = path, *end;
	int error, fd, up_fd = open_dir(u, "");

	for (; up_fd >= 0; name = end + 1) {
		end = strchrnul(name, '/');
		bool last = *end == '\0';

		*end = '\0';
		fd = open_step(u, up_fd, name, path);
		if (fd == -ENOENT || fd == -ENOTDIR) {
			error = make_implied(u, up_fd, name, path);
			fd = error < 0 ? error : open_step(u, up_fd, name, path);
		}
		close(up_fd);
		up_fd = fd;
		if (last)
			break;
		*end = '/';
	}
	return up_fd;
}

/* Have parent_fd be the directory of the path, which is cut after it; *name: the rest. */
static int enter_parent(struct capsule_unpack *u, char *path, const char **name)
{
	char *slash = strrchr(path, '/');
	struct stat st;
	int fd;

	*name = slash ? slash + 1 : path;
	if (slash)
		*slash = '\0';
	else
		path = strchr(path, '\0');
	if (u->parent_fd >= 0 && !strcmp(path, u->parent))
		return 0;
	forget_parent(u);
	fd = open_dir(u, path);
	if (fd == -ENOENT || fd == -ENOTDIR)
		fd = make_way(u, path);
	if (fd == -EXDEV || fd == -ELOOP)
		return fail(u, fd, "%s: a symbolic link on its way leads out of the layer",
			    u->path);
	if (fd < 0)
		return fail_call(u, "open directory of", fd);
	u->parent_fd = fd;
	if (fstat(fd, &st) < 0)
		return fail_call(u, "stat directory of", -errno);
	u->parent_setgid = (st.st_mode & S_ISGID) != 0;
	memcpy(u->parent, path, strlen(path) + 1);
	return 0;
}

/* ---- attributes --------------------------------------------------------------------------------- */

static bool must_chown(const struct capsule_unpack *u)
{
	if (u->flags & CAPSULE_UNPACK_PLAIN)
		return false;
	return u->entry.uid != u->uid || u->entry.gid != u->gid || u->parent_setgid;
}

static int chown_name(struct capsule_unpack *u, const char *name)
{
	if (!must_chown(u))
		return 0;
	if (fchownat(u->parent_fd, name, u->entry.uid, u->entry.gid, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	return fail(u, -errno, "give %s to %u:%u", u->path, u->entry.uid, u->entry.gid);
}

static int stamp_name(struct capsule_unpack *u, const char *name)
{
	struct timespec stamps[2] = { u->entry.mtime, u->entry.mtime };

	if (utimensat(u->parent_fd, name, stamps, AT_SYMLINK_NOFOLLOW) < 0)
		return fail_call(u, "set the time of", -errno);
	return 0;
}

/* What an image may say of a file: its capabilities, and users' own words. */
static bool is_wanted(const char *name)
{
	if (!strcmp(name, "security.capability"))
		return true;
	return !strncmp(name, "user.", 5) && strncmp(name, "user.overlay.", 13) != 0;
}

static int set_xattrs(struct capsule_unpack *u, int fd)
{
	for (size_t i = 0; i < u->entry.xattr_count; i++) {
		const struct capsule_tar_xattr *xattr = &u->entry.xattrs[i];

		if (u->flags & CAPSULE_UNPACK_PLAIN || !is_wanted(xattr->name)) {
			u->counts.skipped_xattrs++;
			continue;
		}
		if (fsetxattr(fd, xattr->name, xattr->value, xattr->size, 0) < 0)
			return fail(u, -errno, "set %.64s of %s", xattr->name, u->path);
	}
	return 0;
}

/* ---- members ------------------------------------------------------------------------------------ */

/* Take away what another member of the layer put there: the last one counts. */
static int make_room(struct capsule_unpack *u, const char *name)
{
	int error = capsule_removetree(u->parent_fd, name);

	return error < 0 ? fail_call(u, "replace", error) : 0;
}

static int make_file(struct capsule_unpack *u, const char *name)
{
	const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
	mode_t mode = u->flags & CAPSULE_UNPACK_PLAIN ? PLAIN_FILE_MODE : u->entry.mode & 0777;
	int fd;

	if (u->entry.size > 0 && (uint64_t)u->entry.size > u->limits.file_size)
		return fail(u, -EFBIG, "%s: larger than %llu bytes", u->path,
			    (unsigned long long)u->limits.file_size);
	if (u->flags & CAPSULE_UNPACK_WHOLE) {
		if (strlen(name) > NAME_MAX)
			return fail_call(u, "create", -ENAMETOOLONG);
		fd = capsule_unpack_whole_open(u->parent_fd, mode, u->temporary);
		if (fd < 0)
			return fail_call(u, "create", fd);
		memcpy(u->name, name, strlen(name) + 1);
		u->file_fd = fd;
		return 0;
	}
	fd = openat(u->parent_fd, name, flags, mode);
	if (fd < 0 && errno == EEXIST) {
		if (make_room(u, name) < 0)
			return -EEXIST;
		fd = openat(u->parent_fd, name, flags, mode);
	}
	if (fd < 0)
		return fail_call(u, "create", -errno);
	u->file_fd = fd;
	return 0;
}

/* A directory is at name, or a whiteout, or another thing: have a directory there. */
static int keep_or_replace(struct capsule_unpack *u, const char *name, mode_t mode)
{
	struct stat st;
	int error;

	if (fstatat(u->parent_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return fail_call(u, "stat", -errno);
	if (S_ISDIR(st.st_mode))
		return 0;
	if (is_whiteout(&st)) {
		error = replace_whiteout(u, u->parent_fd, name, mode);
		return error < 0 ? fail_call(u, "replace", error) : 0;
	}
	if (make_room(u, name) < 0)
		return -EEXIST;
	return mkdirat(u->parent_fd, name, mode) < 0 ? fail_call(u, "make directory", -errno) : 0;
}

static int set_dir_attributes(struct capsule_unpack *u, int fd)
{
	if (u->flags & CAPSULE_UNPACK_PLAIN)
		return 0;
	if (fchown(fd, u->entry.uid, u->entry.gid) < 0)
		return fail(u, -errno, "give %s to %u:%u", u->path, u->entry.uid, u->entry.gid);
	if (fchmod(fd, u->entry.mode) < 0)
		return fail_call(u, "set the mode of", -errno);
	return set_xattrs(u, fd);
}

static int make_dir(struct capsule_unpack *u, const char *name)
{
	bool plain = u->flags & CAPSULE_UNPACK_PLAIN;
	mode_t mode = plain ? PLAIN_DIR_MODE : u->entry.mode & 0777;
	bool careful = u->entry.mode & SPECIAL_BITS || u->entry.xattr_count || must_chown(u);
	int fd, error;

	if (mkdirat(u->parent_fd, name, mode) < 0) {
		if (errno != EEXIST)
			return fail_call(u, "make directory", -errno);
		error = keep_or_replace(u, name, mode);
		if (error < 0)
			return error;
		careful = true;
	}
	if (careful && !plain) {
		fd = openat(u->parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			return fail_call(u, "open", -errno);
		error = set_dir_attributes(u, fd);
		close(fd);
		if (error < 0)
			return error;
		/* It may be the parent of what follows, by a name that is remembered. */
		forget_parent(u);
	}
	return 0;
}

static int make_symlink(struct capsule_unpack *u, const char *name)
{
	if (!u->entry.link[0])
		return fail(u, -EINVAL, "%s: symbolic link to nothing", u->path);
	if (symlinkat(u->entry.link, u->parent_fd, name) < 0) {
		if (errno != EEXIST)
			return fail_call(u, "make symbolic link", -errno);
		if (make_room(u, name) < 0)
			return -EEXIST;
		if (symlinkat(u->entry.link, u->parent_fd, name) < 0)
			return fail_call(u, "make symbolic link", -errno);
	}
	u->counts.skipped_xattrs += u->entry.xattr_count;
	return chown_name(u, name) < 0 ? -EPERM : stamp_name(u, name);
}

/* Open the directory that holds a link's target; *name: the target in it. */
static int open_target(struct capsule_unpack *u, char *target, const char **name)
{
	char *slash;
	int fd = capsule_unpack_path(u->entry.link, target, PATH_MAX);

	if (fd == 0 && !target[0])
		fd = -EPERM;
	if (fd < 0)
		return fail(u, fd, "%s: hard link to %s, outside the layer", u->path,
			    u->entry.link);
	slash = strrchr(target, '/');
	*name = slash ? slash + 1 : target;
	if (slash)
		*slash = '\0';
	fd = open_dir(u, slash ? target : "");
	if (fd < 0)
		return fail(u, fd, "%s: hard link to %s, which the layer does not have", u->path,
			    u->entry.link);
	return fd;
}

static bool is_same(int a_fd, const char *a_name, int b_fd, const char *b_name)
{
	struct stat a, b;

	return fstatat(a_fd, a_name, &a, AT_SYMLINK_NOFOLLOW) == 0 &&
	       fstatat(b_fd, b_name, &b, AT_SYMLINK_NOFOLLOW) == 0 && a.st_dev == b.st_dev &&
	       a.st_ino == b.st_ino;
}

static int make_hard_link(struct capsule_unpack *u, const char *name)
{
	char target[PATH_MAX];
	const char *target_name = target;
	int error = 0, fd = open_target(u, target, &target_name);

	if (fd < 0)
		return fd;
	if (linkat(fd, target_name, u->parent_fd, name, 0) < 0)
		error = -errno;
	if (error == -EEXIST && is_same(fd, target_name, u->parent_fd, name)) {
		error = 0;
	} else if (error == -EEXIST) {
		error = capsule_removetree(u->parent_fd, name);
		if (error == 0 && linkat(fd, target_name, u->parent_fd, name, 0) < 0)
			error = -errno;
	}
	close(fd);
	if (error == -ENOENT)
		return fail(u, error, "%s: hard link to %s, which the layer does not have", u->path,
			    u->entry.link);
	return error < 0 ? fail_call(u, "make hard link", error) : 0;
}

static mode_t node_type(char type)
{
	if (type == '6')
		return S_IFIFO;
	return type == '3' ? S_IFCHR : S_IFBLK;
}

static int make_node(struct capsule_unpack *u, const char *name)
{
	mode_t mode = node_type(u->entry.type) | u->entry.mode;
	dev_t device = makedev(u->entry.major, u->entry.minor);

	if (u->flags & CAPSULE_UNPACK_PLAIN)
		return fail(u, -EINVAL, "%s: a device or fifo in an archive of files", u->path);
	if (S_ISCHR(mode) && device == 0)
		return fail(u, -EINVAL, "%s: a device 0:0, which is overlayfs's whiteout", u->path);
	if (make_room(u, name) < 0)
		return -EEXIST;
	if (mknodat(u->parent_fd, name, mode, S_ISFIFO(mode) ? 0 : device) < 0) {
		if (errno == EPERM && u->flags & CAPSULE_UNPACK_SKIP_DEVICES && !S_ISFIFO(mode)) {
			u->counts.skipped_devices++;
			return 0;
		}
		return fail_call(u, "make node", -errno);
	}
	u->counts.skipped_xattrs += u->entry.xattr_count;
	if (chown_name(u, name) < 0)
		return -EPERM;
	/* chown takes suid and sgid away. */
	if (mode & SPECIAL_BITS && fchmodat(u->parent_fd, name, u->entry.mode, 0) < 0)
		return fail_call(u, "set the mode of", -errno);
	return stamp_name(u, name);
}

/* ---- whiteouts ---------------------------------------------------------------------------------- */

static int hide(struct capsule_unpack *u, const char *name)
{
	struct stat st;
	int fd, error;

	if (!name[0] || !strcmp(name, ".") || !strcmp(name, ".."))
		return fail(u, -EINVAL, "%s: whiteout of no name", u->path);
	/* What the same layer has by that name stays, whichever comes first (image-spec). */
	if (mknodat(u->parent_fd, name, S_IFCHR, makedev(0, 0)) == 0)
		return 0;
	if (errno != EEXIST)
		return fail_call(u, "make whiteout", -errno);
	if (fstatat(u->parent_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return fail_call(u, "stat", -errno);
	if (!S_ISDIR(st.st_mode))
		return 0;
	fd = openat(u->parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	error = fd < 0 ? -errno : set_opaque(u, fd);
	if (fd >= 0)
		close(fd);
	return error < 0 ? fail_call(u, "make opaque", error) : 0;
}

static int apply_whiteout(struct capsule_unpack *u, const char *name)
{
	int error;

	if (!strcmp(name, OPAQUE)) {
		error = set_opaque(u, u->parent_fd);
		u->counts.opaque_root |= !u->parent[0];
		return error < 0 ? fail_call(u, "make opaque", error) : 0;
	}
	if (!strncmp(name, WHITEOUT WHITEOUT, 8))
		return 0; /* aufs's own records */
	return hide(u, name + strlen(WHITEOUT));
}

/* ---- the sink ----------------------------------------------------------------------------------- */

static int make_member(struct capsule_unpack *u, const char *name)
{
	if (!strncmp(name, WHITEOUT, strlen(WHITEOUT)) && !(u->flags & CAPSULE_UNPACK_PLAIN))
		return apply_whiteout(u, name);
	switch (u->entry.type) {
	case '0':
		return make_file(u, name);
	case '1':
		return make_hard_link(u, name);
	case '2':
		return make_symlink(u, name);
	case '5':
		return make_dir(u, name);
	default:
		return make_node(u, name);
	}
}

static int make_root(struct capsule_unpack *u)
{
	if (u->entry.type != '5')
		return fail(u, -EINVAL, "%s: the layer's root is no directory", u->entry.name);
	forget_parent(u);
	return set_dir_attributes(u, u->root_fd);
}

static int take_entry(void *context, const struct capsule_tar_entry *entry)
{
	struct capsule_unpack *u = context;
	char path[PATH_MAX];
	const char *name;
	int error;

	u->entry = *entry;
	if (++u->counts.entries > u->limits.entries)
		return fail(u, -EFBIG, "more than %llu members",
			    (unsigned long long)u->limits.entries);
	error = capsule_unpack_path(entry->name, u->path, sizeof(u->path));
	if (error == -EXDEV)
		return fail(u, error, "%s: a name outside the layer", entry->name);
	if (error < 0)
		return fail(u, error, "%.64s...: name too long", entry->name);
	if (!u->path[0])
		return make_root(u);
	memcpy(path, u->path, sizeof(path));
	error = enter_parent(u, path, &name);
	if (error < 0)
		return error;
	if (capsule_unpack_has_whiteout(u->parent) && !(u->flags & CAPSULE_UNPACK_PLAIN))
		return fail(u, -EINVAL, "%s: a member below a whiteout", u->path);
	return make_member(u, name);
}

static int take_data(void *context, int64_t offset, const void *data, size_t size)
{
	struct capsule_unpack *u = context;
	const char *at = data;

	u->counts.bytes += size;
	if (u->counts.bytes > u->limits.bytes)
		return fail(u, -EFBIG, "more than %llu bytes of files",
			    (unsigned long long)u->limits.bytes);
	while (u->file_fd >= 0 && size > 0) {
		ssize_t count = pwrite(u->file_fd, at, size, offset);

		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0)
			return fail_call(u, "write", -errno);
		at += count;
		offset += count;
		size -= (size_t)count;
	}
	return 0;
}

static int end_file(struct capsule_unpack *u)
{
	struct timespec stamps[2] = { u->entry.mtime, u->entry.mtime };

	if (u->entry.sparse && ftruncate(u->file_fd, u->entry.size) < 0)
		return fail_call(u, "set the size of", -errno);
	if (u->flags & CAPSULE_UNPACK_PLAIN)
		return 0;
	if (must_chown(u) && fchown(u->file_fd, u->entry.uid, u->entry.gid) < 0)
		return fail(u, -errno, "give %s to %u:%u", u->path, u->entry.uid, u->entry.gid);
	/* After chown, which takes both away. */
	if (u->entry.mode & SPECIAL_BITS && fchmod(u->file_fd, u->entry.mode) < 0)
		return fail_call(u, "set the mode of", -errno);
	if (set_xattrs(u, u->file_fd) < 0)
		return -EPERM;
	if (futimens(u->file_fd, stamps) < 0)
		return fail_call(u, "set the time of", -errno);
	return 0;
}

/* What has no name yet goes with its last descriptor. */
static void forget_file(struct capsule_unpack *u)
{
	if (u->file_fd >= 0)
		close(u->file_fd);
	u->file_fd = -1;
	if (u->temporary[0])
		unlinkat(u->parent_fd, u->temporary, 0);
	u->temporary[0] = u->name[0] = '\0';
}

static int name_file(struct capsule_unpack *u)
{
	int error;

	if (!u->name[0])
		return 0;
	error = capsule_unpack_whole_name(u->file_fd, u->parent_fd, u->temporary, u->name);
	u->name[0] = '\0';
	return error < 0 ? fail_call(u, "replace", error) : 0;
}

static int take_end(void *context)
{
	struct capsule_unpack *u = context;
	int error = 0;

	if (u->file_fd >= 0) {
		error = end_file(u);
		if (error == 0)
			error = name_file(u);
		/* Full disks are told of here by some file systems. */
		if (close(u->file_fd) < 0 && error == 0)
			error = fail_call(u, "write", -errno);
		u->file_fd = -1;
	} else if (u->entry.type == '5' && !(u->flags & CAPSULE_UNPACK_PLAIN)) {
		error = capsule_unpack_times_add(u->times, u->path, &u->entry.mtime);
		if (error < 0)
			return fail_call(u, "note the time of", error);
	}
	return error;
}

static const struct capsule_tar_sink sink = {
	.entry = take_entry,
	.data = take_data,
	.end = take_end,
};

/* ---- the whole ---------------------------------------------------------------------------------- */

void capsule_unpack_free(struct capsule_unpack *u)
{
	if (!u)
		return;
	forget_file(u);
	forget_parent(u);
	capsule_tar_free(u->tar);
	capsule_unpack_times_free(u->times);
	free(u->lower_fds);
	free(u);
}

struct capsule_unpack *capsule_unpack_new(int root_fd, const int *lower_fds, size_t lower_count,
					  unsigned int flags,
					  const struct capsule_unpack_limits *limits)
{
	struct capsule_unpack *u = calloc(1, sizeof(*u));

	if (!u)
		return NULL;
	u->root_fd = root_fd;
	u->flags = flags;
	u->limits = *limits;
	u->parent_fd = u->file_fd = -1;
	u->uid = geteuid();
	u->gid = getegid();
	u->tar = capsule_tar_new(&sink, u);
	u->times = capsule_unpack_times_new(root_fd);
	u->lower_fds = calloc(lower_count + 1, sizeof(*u->lower_fds));
	if (!u->tar || !u->times || !u->lower_fds) {
		capsule_unpack_free(u);
		return NULL;
	}
	if (lower_count)
		memcpy(u->lower_fds, lower_fds, lower_count * sizeof(*lower_fds));
	u->lower_count = lower_count;
	return u;
}

int capsule_unpack_feed(struct capsule_unpack *u, const void *data, size_t size)
{
	return capsule_tar_feed(u->tar, data, size);
}

int capsule_unpack_finish(struct capsule_unpack *u)
{
	int error = capsule_tar_finish(u->tar);

	if (error < 0)
		return error;
	error = capsule_unpack_times_apply(u->times);
	return error < 0 ? fail(u, error, "set the time of a directory") : 0;
}

const char *capsule_unpack_message(const struct capsule_unpack *u)
{
	return u->message[0] ? u->message : capsule_tar_message(u->tar);
}

const struct capsule_unpack_counts *capsule_unpack_counts(const struct capsule_unpack *u)
{
	return &u->counts;
}
