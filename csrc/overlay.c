/* Overlays by file descriptor. See overlay.h. */
#define _GNU_SOURCE
#include "overlay.h"

#include "mountlegacy.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DATA_MAX 4096 /* mount(2) takes one page */

static int config_fd(int fs_fd, const char *key, int fd)
{
	return syscall(SYS_fsconfig, fs_fd, FSCONFIG_SET_FD, key, NULL, fd) < 0 ? -errno : 0;
}

static int config_flag(int fs_fd, const char *key)
{
	return syscall(SYS_fsconfig, fs_fd, FSCONFIG_SET_FLAG, key, NULL, 0) < 0 ? -errno : 0;
}

static int config_word(int fs_fd, const char *key, const char *value)
{
	return syscall(SYS_fsconfig, fs_fd, FSCONFIG_SET_STRING, key, value, 0) < 0 ? -errno : 0;
}

static int config_flags(int fs_fd, unsigned int flags)
{
	int result = 0;

	/* A kernel's own choice: with either, the upper layer alone does not tell what changed. A
	 * user namespace gets neither. */
	if (!(flags & CAPSULE_OVERLAY_USERXATTR)) {
		result = config_word(fs_fd, "redirect_dir", "off");
		if (result == 0)
			result = config_word(fs_fd, "metacopy", "off");
	}
	if (result == 0 && flags & CAPSULE_OVERLAY_USERXATTR)
		result = config_flag(fs_fd, "userxattr");
	if (result == 0 && flags & CAPSULE_OVERLAY_VOLATILE)
		result = config_flag(fs_fd, "volatile");
	return result;
}

static int config_layers(int fs_fd, const struct capsule_overlay *overlay)
{
	int result = 0;

	for (size_t i = 0; result == 0 && i < overlay->lower_count; i++)
		result = config_fd(fs_fd, "lowerdir+", overlay->lower[i]);
	if (result == 0 && overlay->upper >= 0)
		result = config_fd(fs_fd, "upperdir", overlay->upper);
	if (result == 0 && overlay->upper >= 0)
		result = config_fd(fs_fd, "workdir", overlay->work);
	return result;
}

/* "e overlay: ..." less its first two bytes; only the first line. */
static void read_message(int fs_fd, char *message, size_t size)
{
	ssize_t length = read(fs_fd, message, size - 1);

	if (length <= 2) {
		message[0] = '\0';
		return;
	}
	message[length] = '\0';
	memmove(message, message + 2, (size_t)length - 1);
	message[strcspn(message, "\n")] = '\0';
}

/* The layers by their names in /proc/self/fd, where the caller stands: fsconfig(2) takes 255 bytes. */
static int config_names(int fs_fd, const struct capsule_overlay *overlay)
{
	char names[256] = "";
	size_t size = 0;
	int result;

	for (size_t i = 0; i < overlay->lower_count; i++) {
		if (size + 12 > sizeof(names))
			return -E2BIG;
		size += (size_t)sprintf(names + size, "%s%d", i ? ":" : "", overlay->lower[i]);
	}
	result = config_word(fs_fd, "lowerdir", names);
	if (result < 0 || overlay->upper < 0)
		return result;
	sprintf(names, "%d", overlay->upper);
	result = config_word(fs_fd, "upperdir", names);
	if (result < 0)
		return result;
	sprintf(names, "%d", overlay->work);
	return config_word(fs_fd, "workdir", names);
}

static int new_detached(const struct capsule_overlay *overlay, uint64_t attr, bool by_name,
			bool *takes_fds, char *message, size_t size)
{
	int fs_fd = (int)syscall(SYS_fsopen, "overlay", FSOPEN_CLOEXEC);
	int result;

	*takes_fds = false;
	if (fs_fd < 0)
		return -errno;
	result = by_name ? config_names(fs_fd, overlay) : config_layers(fs_fd, overlay);
	*takes_fds = result == 0;
	if (result == 0)
		result = config_flags(fs_fd, overlay->flags);
	if (result == 0 && syscall(SYS_fsconfig, fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		result = -errno;
	if (result == 0) {
		result = (int)syscall(SYS_fsmount, fs_fd, FSMOUNT_CLOEXEC, (unsigned int)attr);
		result = result < 0 ? -errno : result;
	}
	if (result < 0)
		read_message(fs_fd, message, size);
	close(fs_fd);
	return result;
}

/* The options as NUL-separated words. Returns their size, 0 where they do not fit. */
static size_t name_layers(const struct capsule_overlay *overlay, char *data)
{
	size_t size = 0;

	for (size_t i = 0; i < overlay->lower_count; i++) {
		if (size + 64 > DATA_MAX)
			return 0;
		size += (size_t)sprintf(data + size, "%s/proc/self/fd/%d",
					i ? ":" : "lowerdir=", overlay->lower[i]);
	}
	if (size + 160 > DATA_MAX)
		return 0;
	size++;
	if (overlay->upper >= 0) {
		size += (size_t)sprintf(data + size, "upperdir=/proc/self/fd/%d", overlay->upper) +
			1;
		size += (size_t)sprintf(data + size, "workdir=/proc/self/fd/%d", overlay->work) + 1;
	}
	size += (size_t)sprintf(data + size, overlay->flags & CAPSULE_OVERLAY_USERXATTR
						     ? "userxattr"
						     : "redirect_dir=off") +
		1;
	if (overlay->flags & CAPSULE_OVERLAY_VOLATILE)
		size += (size_t)sprintf(data + size, "volatile") + 1;
	return size;
}

static int place_named(const struct capsule_mount_target *target,
		       const struct capsule_overlay *overlay, uint64_t attr)
{
	const struct capsule_mount_flags flags = { .set = attr, .keep_atime = true };
	char data[DATA_MAX] = "";
	const struct capsule_mount_new named = {
		.fstype = "overlay",
		.source = "overlay",
		.data = data,
		.data_size = name_layers(overlay, data),
	};

	if (!named.data_size)
		return -E2BIG;
	return capsule_mountlegacy_place_new(target, &named, &flags);
}

int capsule_overlay_place(const struct capsule_mount_target *target,
			  const struct capsule_overlay *overlay, uint64_t attr, char *message,
			  size_t message_size)
{
	bool takes_fds;
	int result, fd;

	message[0] = '\0';
	fd = new_detached(overlay, attr, false, &takes_fds, message, message_size);
	if ((fd == -EINVAL && !takes_fds) || fd == -ENOSYS) {
		message[0] = '\0';
		return place_named(target, overlay, attr);
	}
	if (fd < 0)
		return fd;
	result = capsule_mountapi_attach(fd, target->target_fd);
	if (result == 0)
		return fd;
	close(fd);
	return result;
}

static int open_named(const struct capsule_overlay *overlay, uint64_t attr, char *message,
		      size_t message_size)
{
	int here = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	bool takes_names;
	int fd;

	if (here < 0)
		return -errno;
	fd = chdir("/proc/self/fd") < 0
		     ? -errno
		     : new_detached(overlay, attr, true, &takes_names, message, message_size);
	if (fchdir(here) < 0 && fd >= 0) {
		close(fd);
		fd = -errno;
	}
	close(here);
	return fd;
}

int capsule_overlay_open(const struct capsule_overlay *overlay, uint64_t attr, bool by_name,
			 char *message, size_t message_size)
{
	bool takes_fds;
	int fd;

	message[0] = '\0';
	if (by_name)
		return open_named(overlay, attr, message, message_size);
	fd = new_detached(overlay, attr, false, &takes_fds, message, message_size);
	if (fd != -EINVAL || takes_fds)
		return fd;
	message[0] = '\0';
	return open_named(overlay, attr, message, message_size);
}
