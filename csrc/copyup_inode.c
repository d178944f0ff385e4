/* Content and attributes of one inode. See copyup.h. */
#define _GNU_SOURCE
#include "copyup.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define CHUNK 65536

/* ---- content --------------------------------------------------------------------------------- */

static int write_all(int fd, const char *data, size_t size)
{
	ssize_t count;

	for (; size; data += count, size -= (size_t)count) {
		count = write(fd, data, size);
		if (count < 0 && errno != EINTR)
			return -errno;
		if (count < 0)
			count = 0;
	}
	return 0;
}

/* Copy by hand, for file systems that sendfile(2) cannot read. Both fds stand at the offset. */
static ssize_t copy_chunk(int source_fd, int target_fd, size_t size)
{
	char data[CHUNK];
	ssize_t count = read(source_fd, data, size < sizeof(data) ? size : sizeof(data));
	int result;

	if (count < 0)
		return -errno;
	result = write_all(target_fd, data, (size_t)count);
	return result < 0 ? result : count;
}

/* Copy data to the same offset. Returns the offset reached, which is less than end at end of file.
 */
static off_t copy_extent(int source_fd, int target_fd, off_t start, off_t end)
{
	bool by_hand = false;
	off_t at = start;
	ssize_t count;

	if (lseek(source_fd, start, SEEK_SET) < 0 || lseek(target_fd, start, SEEK_SET) < 0)
		return -errno;
	while (at < end) {
		size_t left = (size_t)(end - at);

		if (by_hand)
			count = copy_chunk(source_fd, target_fd, left);
		else if ((count = sendfile(target_fd, source_fd, NULL, left)) < 0)
			count = -errno;
		if (count == -EINTR)
			continue;
		if (!by_hand && (count == -EINVAL || count == -ENOSYS)) {
			by_hand = true;
			continue;
		}
		if (count <= 0)
			return count < 0 ? count : at;
		at += count;
	}
	return at;
}

int capsule_copyup_data(int source_fd, int target_fd, off_t size)
{
	off_t at = 0, start, end;

	while (at < size) {
		start = lseek(source_fd, at, SEEK_DATA);
		if (start < 0 && errno == ENXIO) /* a hole to the end, or truncated meanwhile */
			return ftruncate(target_fd, size) < 0 ? -errno : 0;
		end = start < 0 ? size : lseek(source_fd, start, SEEK_HOLE);
		if (start < 0) /* the file system cannot tell */
			start = at;
		if (end < 0 || end > size)
			end = size;
		if (start >= size)
			return ftruncate(target_fd, size) < 0 ? -errno : 0;
		at = copy_extent(source_fd, target_fd, start, end);
		if (at < end)
			return at < 0 ? (int)at : 0;
	}
	return 0;
}

/* ---- attributes ------------------------------------------------------------------------------ */

/* Owners that the user namespace does not map are refused with these. */
static bool unmapped(int error)
{
	return error == EINVAL || error == EPERM || error == EOVERFLOW;
}

/* What this file system, namespace or security module does not have or allow, or is gone by now. */
static bool xattr_refused(int error)
{
	return error == EOPNOTSUPP || error == EPERM || error == EACCES || error == EINVAL ||
	       error == ENODATA || error == EOVERFLOW || error == ERANGE;
}

/*
 * Copy the extended attributes. lost: bits of the mode that must not be granted, because without an
 * access list that could not be set they mean more than they did (man 5 acl).
 */
static int copy_xattrs(int source_fd, int target_fd, struct capsule_copyup_buffers *buffers,
		       mode_t *lost)
{
	ssize_t size = flistxattr(source_fd, buffers->names, sizeof(buffers->names)), length;
	const char *name = buffers->names, *end;

	if (size < 0)
		return xattr_refused(errno) ? 0 : -errno;
	for (end = name + size; name < end; name += strlen(name) + 1) {
		length = fgetxattr(source_fd, name, buffers->value, sizeof(buffers->value));
		if (length >= 0 &&
		    fsetxattr(target_fd, name, buffers->value, (size_t)length, 0) == 0)
			continue;
		if (!xattr_refused(errno))
			return -errno;
		if (strcmp(name, "system.posix_acl_access") == 0)
			*lost |= S_IRWXG;
	}
	return 0;
}

static void times_of(const struct statx *stx, struct timespec times[2])
{
	times[0].tv_sec = stx->stx_atime.tv_sec;
	times[0].tv_nsec = stx->stx_atime.tv_nsec;
	times[1].tv_sec = stx->stx_mtime.tv_sec;
	times[1].tv_nsec = stx->stx_mtime.tv_nsec;
}

/* A set-id bit belongs to the owner: it must not be granted in the name of another one. */
static mode_t without_setid(mode_t mode)
{
	return S_ISDIR(mode) ? mode : mode & ~(mode_t)(S_ISUID | S_ISGID);
}

int capsule_copyup_attributes(int source_fd, int target_fd, const struct statx *stx,
			      unsigned int keep, struct capsule_copyup_buffers *buffers)
{
	uid_t uid = keep & CAPSULE_COPYUP_KEEP_UID ? (uid_t)-1 : stx->stx_uid;
	gid_t gid = keep & CAPSULE_COPYUP_KEEP_GID ? (gid_t)-1 : stx->stx_gid;
	mode_t mode = stx->stx_mode, lost = 0;
	struct timespec times[2];
	int result;

	if (fchown(target_fd, uid, gid) < 0) {
		if (!unmapped(errno))
			return -errno;
		mode = without_setid(mode);
	}
	/* After the owner, whose change drops file capabilities; before the mode, which has the
	 * last word. */
	result = copy_xattrs(source_fd, target_fd, buffers, &lost);
	if (result < 0)
		return result;
	if (!(keep & CAPSULE_COPYUP_KEEP_MODE) && fchmod(target_fd, mode & 07777 & ~lost) < 0)
		return -errno;
	times_of(stx, times);
	return futimens(target_fd, times) < 0 ? -errno : 0;
}

int capsule_copyup_name_attributes(int dir_fd, const char *name, const struct statx *stx)
{
	mode_t mode = stx->stx_mode;
	struct timespec times[2];

	if (fchownat(dir_fd, name, stx->stx_uid, stx->stx_gid, AT_SYMLINK_NOFOLLOW) < 0) {
		if (!unmapped(errno))
			return -errno;
		mode = without_setid(mode);
	}
	/* fchmodat(2) follows links, but what the name is was made by us a moment ago. */
	if (!S_ISLNK(mode) && fchmodat(dir_fd, name, mode & 07777, 0) < 0)
		return -errno;
	times_of(stx, times);
	return utimensat(dir_fd, name, times, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}
