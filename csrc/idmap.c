/* Id-mapped mounts. See idmap.h. */
#define _GNU_SOURCE
#include "idmap.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proc.h"

#ifndef MOUNT_ATTR_IDMAP
#define MOUNT_ATTR_IDMAP 0x00100000
#endif

static int write_map(pid_t pid, const char *name, const char *map, size_t size)
{
	char path[64];
	ssize_t written;
	int fd, result = 0;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	written = write(fd, map, size); /* one write sets the map; a second is refused */
	if (written < 0)
		result = -errno;
	else if ((size_t)written != size)
		result = -EIO;
	close(fd);
	return result;
}

static int open_userns(pid_t pid)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Keep the namespace alive until its opener holds it: end of file on the pipe, also by its death. */
__attribute__((noreturn)) static void hold(int channel[2])
{
	char byte;

	close(channel[1]);
	while (read(channel[0], &byte, 1) < 0 && errno == EINTR)
		;
	_exit(0);
}

int capsule_idmap_hold(pid_t *pid)
{
	int channel[2], error;

	if (pipe2(channel, O_CLOEXEC) < 0)
		return -errno;
	/* Raw and with a NULL stack, a fork: glibc's would run atfork handlers. */
	*pid = (pid_t)syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL);
	if (*pid == 0)
		hold(channel);
	error = errno;
	close(channel[0]);
	if (*pid > 0)
		return channel[1];
	close(channel[1]);
	return -error;
}

int capsule_idmap_userns(const char *uid_map, size_t uid_size, const char *gid_map, size_t gid_size)
{
	int status, result, channel_fd;
	pid_t pid;

	channel_fd = capsule_idmap_hold(&pid);
	if (channel_fd < 0)
		return channel_fd;
	result = write_map(pid, "uid_map", uid_map, uid_size);
	if (result == 0)
		result = write_map(pid, "gid_map", gid_map, gid_size);
	if (result == 0)
		result = open_userns(pid);
	close(channel_fd);
	capsule_proc_wait(pid, 0, &status);
	return result;
}

static int read_map(pid_t pid, const char *name, char *map, size_t size)
{
	char path[64];
	size_t length = 0;
	ssize_t part;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	while ((part = read(fd, map + length, size - 1 - length)) > 0)
		length += (size_t)part;
	part = part < 0 ? -errno : 0;
	close(fd);
	map[length] = '\0';
	return (int)part;
}

int capsule_idmap_read(int userns_fd, char *uid_map, char *gid_map, size_t size)
{
	int channel[2], told[2], status, entered = -ESRCH, result;
	pid_t pid;

	if (pipe2(channel, O_CLOEXEC) < 0)
		return -errno;
	if (pipe2(told, O_CLOEXEC) < 0) {
		result = -errno;
		close(channel[0]);
		close(channel[1]);
		return result;
	}
	pid = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
	if (pid == 0) {
		/* A copy of us with all that we have open, and root of that namespace may be hostile. */
		prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
		entered = setns(userns_fd, CLONE_NEWUSER) < 0 ? -errno : 0;
		if (write(told[1], &entered, sizeof(entered)) != sizeof(entered))
			_exit(1);
		hold(channel);
	}
	result = pid < 0 ? -errno : 0;
	close(channel[0]);
	close(told[1]);
	if (result == 0 && read(told[0], &entered, sizeof(entered)) != sizeof(entered))
		entered = -ESRCH;
	if (result == 0)
		result = entered;
	if (result == 0)
		result = read_map(pid, "uid_map", uid_map, size);
	if (result == 0)
		result = read_map(pid, "gid_map", gid_map, size);
	close(told[0]);
	close(channel[1]);
	if (pid > 0)
		capsule_proc_wait(pid, 0, &status);
	return result;
}

int capsule_idmap_apply(int mount_fd, int userns_fd, bool recursive)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)userns_fd };
	unsigned int flags = AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0);

	return syscall(SYS_mount_setattr, mount_fd, "", flags, &attr, sizeof(attr)) < 0 ? -errno
											: 0;
}
