/*
 * `try OP PATH [OP PATH]...` does each operation and prints [{op, path, errno, ...}]: errno 0 is
 * success. What an operation made stays, so that the host can look at it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "payload.h"

static char text[4096];
static ssize_t text_size;

static int try_open(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0644);

	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

static int try_read(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	int error = 0;

	if (fd < 0)
		return errno;
	text_size = read(fd, text, sizeof(text));
	if (text_size < 0)
		error = errno;
	close(fd);
	return error;
}

static int try_write(const char *path)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	int error = 0;

	if (fd < 0)
		return errno;
	if (write(fd, "x", 1) < 0)
		error = errno;
	close(fd);
	return error;
}

static int attempt(const char *op, const char *path)
{
	text_size = -1;
	errno = 0;
	if (!strcmp(op, "read"))
		return try_read(path);
	if (!strcmp(op, "write"))
		return try_write(path);
	if (!strcmp(op, "open"))
		return try_open(path, O_RDONLY);
	if (!strcmp(op, "open-rw"))
		return try_open(path, O_RDWR);
	if (!strcmp(op, "create"))
		return try_open(path, O_WRONLY | O_CREAT | O_EXCL);
	if (!strcmp(op, "mkdir"))
		return mkdir(path, 0755) ? errno : 0;
	if (!strcmp(op, "unlink"))
		return unlink(path) ? errno : 0;
	if (!strcmp(op, "chdir"))
		return chdir(path) ? errno : 0;
	if (!strcmp(op, "chroot"))
		return chroot(path) ? errno : 0;
	if (!strcmp(op, "chmod"))
		return chmod(path, 0777) ? errno : 0;
	if (!strcmp(op, "mknod-null"))
		return mknod(path, S_IFCHR | 0666, makedev(1, 3)) ? errno : 0;
	if (!strcmp(op, "mknod-disk"))
		return mknod(path, S_IFBLK | 0600, makedev(8, 0)) ? errno : 0;
	if (!strcmp(op, "mount"))
		return mount("tmpfs", path, "tmpfs", 0, NULL) ? errno : 0;
	if (!strcmp(op, "umount"))
		return umount2(path, MNT_DETACH) ? errno : 0;
	if (!strcmp(op, "remount-rw"))
		return mount(NULL, path, NULL, MS_REMOUNT | MS_BIND, NULL) ? errno : 0;
	if (!strcmp(op, "readlink"))
		return (text_size = readlink(path, text, sizeof(text))) < 0 ? errno : 0;
	if (!strcmp(op, "exec"))
		return access(path, X_OK) ? errno : 0;
	if (!strcmp(op, "stat"))
		return access(path, F_OK) ? errno : 0;
	if (!strcmp(op, "sethostname"))
		return sethostname(path, strlen(path)) ? errno : 0;
	return ENOSYS;
}

static void describe(const char *path)
{
	struct stat info;

	if (lstat(path, &info))
		return;
	json_number("mode", info.st_mode);
	json_number("uid", info.st_uid);
	json_number("gid", info.st_gid);
	json_number("major", major(info.st_rdev));
	json_number("minor", minor(info.st_rdev));
	json_unsigned("dev", info.st_dev);
	json_unsigned("ino", info.st_ino);
}

int command_try(int argc, char **argv)
{
	json_array(NULL);
	for (int i = 0; i + 1 < argc; i += 2) {
		int error = attempt(argv[i], argv[i + 1]);

		json_object(NULL);
		json_string("op", argv[i]);
		json_string("path", argv[i + 1]);
		json_number("errno", error);
		if (text_size >= 0)
			json_bytes("text", text, (size_t)text_size);
		describe(argv[i + 1]);
		json_object_end();
	}
	json_array_end();
	json_end();
	return 0;
}
