/* mount(2) on fds. See mountlegacy.h. */
#define _GNU_SOURCE
#include "mountlegacy.h"

#include "openbeneath.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#ifndef MS_NOSYMFOLLOW
#define MS_NOSYMFOLLOW 256
#endif
#ifndef MOUNT_ATTR_NOSYMFOLLOW
#define MOUNT_ATTR_NOSYMFOLLOW 0x00200000
#endif

/* f_flags of statfs(2), which <sys/statvfs.h> has only in part. */
#define ST_NOATIME_FLAG 0x0400
#define ST_NODIRATIME_FLAG 0x0800
#define ST_RELATIME_FLAG 0x1000
#define ST_NOSYMFOLLOW_FLAG 0x2000

#define DATA_MAX 4096 /* the kernel copies one page */

int capsule_mountlegacy_mount(int fd_source, const char *source, int target_fd, const char *fstype,
			      unsigned long ms_flags, const char *data, int proc_fd)
{
	char from[32], to[32];
	int cwd, result;

	if (proc_fd < 0)
		return -ENOSYS;
	snprintf(from, sizeof(from), "self/fd/%d", fd_source);
	snprintf(to, sizeof(to), "self/fd/%d", target_fd);
	cwd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (cwd < 0)
		return -errno;
	/* mount(2) takes no directory fd: the working directory stands in for it. */
	if (fchdir(proc_fd) < 0) {
		result = -errno;
	} else {
		result = mount(fd_source >= 0 ? from : source, to, fstype, ms_flags, data);
		result = result < 0 ? -errno : 0;
		if (fchdir(cwd) < 0 && result == 0)
			result = -errno;
	}
	close(cwd);
	return result;
}

int64_t capsule_mountlegacy_current(int fd)
{
	struct statfs fs;
	int64_t attr;

	if (fstatfs(fd, &fs) < 0)
		return -errno;
	attr = fs.f_flags & (MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
			     MOUNT_ATTR_NOEXEC); /* the four have the same values in f_flags */
	if (fs.f_flags & ST_NOATIME_FLAG)
		attr |= MOUNT_ATTR_NOATIME;
	else if (!(fs.f_flags & ST_RELATIME_FLAG))
		attr |= MOUNT_ATTR_STRICTATIME;
	if (fs.f_flags & ST_NODIRATIME_FLAG)
		attr |= MOUNT_ATTR_NODIRATIME;
	if (fs.f_flags & ST_NOSYMFOLLOW_FLAG)
		attr |= MOUNT_ATTR_NOSYMFOLLOW;
	return attr;
}

static unsigned long attr_to_ms(uint64_t attr)
{
	unsigned long ms = attr & (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC);

	switch (attr & MOUNT_ATTR__ATIME) {
	case MOUNT_ATTR_NOATIME:
		ms |= MS_NOATIME;
		break;
	case MOUNT_ATTR_STRICTATIME:
		ms |= MS_STRICTATIME;
		break;
	default:
		ms |= MS_RELATIME;
	}
	if (attr & MOUNT_ATTR_NODIRATIME)
		ms |= MS_NODIRATIME;
	if (attr & MOUNT_ATTR_NOSYMFOLLOW)
		ms |= MS_NOSYMFOLLOW;
	return ms;
}

int capsule_mountlegacy_setattr(int mount_fd, uint64_t set, uint64_t clear, int proc_fd)
{
	int64_t now = capsule_mountlegacy_current(mount_fd);

	if (now < 0)
		return (int)now;
	return capsule_mountlegacy_mount(
		-1, NULL, mount_fd, NULL,
		MS_REMOUNT | MS_BIND | attr_to_ms(((uint64_t)now & ~clear) | set), NULL, proc_fd);
}

/*
 * Open the root of the mount that was just put on the target. The path is resolved again, so what
 * is found is checked: the root of a mount, another one than the target's, and for a bind the same
 * object.
 */
static int reopen(const struct capsule_mount_target *target, int source_fd)
{
	const unsigned int wanted = STATX_BASIC_STATS | STATX_MNT_ID;
	struct statx before, after, source;
	int fd = capsule_openbeneath_open(target->root_fd, target->path, O_PATH, 0,
					  CAPSULE_RESOLVE_IN_ROOT);
	int error = -ESTALE;

	if (fd < 0)
		return fd;
	if (statx(target->target_fd, "", AT_EMPTY_PATH, wanted, &before) < 0 ||
	    statx(fd, "", AT_EMPTY_PATH, wanted, &after) < 0)
		error = -errno;
	else if (after.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT &&
		 !(after.stx_attributes & STATX_ATTR_MOUNT_ROOT))
		error = -ESTALE;
	else if (after.stx_mask & STATX_MNT_ID && before.stx_mnt_id == after.stx_mnt_id)
		error = -ESTALE;
	else if (source_fd < 0)
		return fd;
	else if (statx(source_fd, "", AT_EMPTY_PATH, STATX_INO, &source) < 0)
		error = -errno;
	else if (source.stx_ino == after.stx_ino && source.stx_dev_major == after.stx_dev_major &&
		 source.stx_dev_minor == after.stx_dev_minor)
		return fd;
	close(fd);
	return error;
}

/* Finish a placed mount: flags and propagation, on its root. Takes over a failed step's cleanup. */
static int finish(const struct capsule_mount_target *target, int source_fd,
		  const struct capsule_mount_flags *flags)
{
	int fd = reopen(target, source_fd);
	int result;

	if (fd < 0)
		return fd;
	result = capsule_mountapi_set_flags(fd, flags, target->proc_fd);
	if (result == 0)
		return fd;
	close(fd);
	return result;
}

/*
 * Copy one word. mount(2) splits words at commas, which an SELinux context has; it takes quotes around that one,
 * fsconfig(2) does not (mount(8)). Returns what follows the copy.
 */
static char *copy_word(char *to, const char *word)
{
	static const char context[] = "context=";
	size_t key = sizeof(context) - 1;

	if (strncmp(word, context, key) != 0 || word[key] == '"')
		return stpcpy(to, word);
	to = stpcpy(stpcpy(to, context), "\"");
	return stpcpy(stpcpy(to, word + key), "\"");
}

/* NUL-separated words into a comma-separated string. NULL: too long for the kernel. */
static char *join_data(const struct capsule_mount_new *new_mount)
{
	const char *word = new_mount->data, *end = word + new_mount->data_size;
	char *joined, *to;

	if (new_mount->data_size >= DATA_MAX)
		return NULL;
	/* Two quotes for every word are more than enough. */
	joined = malloc(3 * new_mount->data_size + 1);
	if (!joined)
		return NULL;
	*joined = '\0';
	for (to = joined; word < end; word += strlen(word) + 1) {
		if (to != joined)
			*to++ = ',';
		to = copy_word(to, word);
	}
	if ((size_t)(to - joined) >= DATA_MAX) {
		free(joined);
		return NULL;
	}
	return joined;
}

int capsule_mountlegacy_place_new(const struct capsule_mount_target *target,
				  const struct capsule_mount_new *new_mount,
				  const struct capsule_mount_flags *flags)
{
	struct capsule_mount_flags rest = {
		.rec_set = flags->rec_set,
		.rec_clear = flags->rec_clear,
		.propagation = flags->propagation,
		.propagation_count = flags->propagation_count,
		.keep_atime = true,
	};
	const char *source = new_mount->source ? new_mount->source : "none";
	char *data = join_data(new_mount);
	int result;

	if (!data)
		return -E2BIG;
	result = capsule_mountlegacy_mount(-1, source, target->target_fd, new_mount->fstype,
					   new_mount->sb_flags | attr_to_ms(flags->set), data,
					   target->proc_fd);
	free(data);
	return result < 0 ? result : finish(target, -1, &rest);
}

int capsule_mountlegacy_place_bind(const struct capsule_mount_target *target, int source_fd,
				   bool recursive, const struct capsule_mount_flags *flags)
{
	int result = capsule_mountlegacy_mount(source_fd, NULL, target->target_fd, NULL,
					       MS_BIND | (recursive ? MS_REC : 0), NULL,
					       target->proc_fd);

	return result < 0 ? result : finish(target, source_fd, flags);
}
