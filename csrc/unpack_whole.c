/* A file that gets its name when it is whole, over whatever file has it. See unpack.h. */
#define _GNU_SOURCE
#include "unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/random.h>
#include <unistd.h>

#define TRIES 16

static int choose(char *temporary)
{
	uint64_t number;

	if (getrandom(&number, sizeof(number), 0) != sizeof(number))
		return -errno;
	snprintf(temporary, CAPSULE_UNPACK_TEMPORARY, ".capsule-%016llx",
		 (unsigned long long)number);
	return 0;
}

int capsule_unpack_whole_open(int dir_fd, mode_t mode, char *temporary)
{
	int error, fd = openat(dir_fd, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, mode);

	temporary[0] = '\0';
	/* Some file systems, and kernels, have no files without a name. */
	for (int i = 0; fd < 0 && i < TRIES && errno != ENOSPC && errno != EDQUOT; i++) {
		error = choose(temporary);
		if (error < 0)
			return error;
		fd = openat(dir_fd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
			    mode);
	}
	return fd < 0 ? -errno : fd;
}

static int link_to(int fd, int dir_fd, const char *name)
{
	char path[32];

	if (linkat(fd, "", dir_fd, name, AT_EMPTY_PATH) == 0)
		return 0;
	if (errno != ENOENT) /* without CAP_DAC_READ_SEARCH */
		return -errno;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return linkat(AT_FDCWD, path, dir_fd, name, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

int capsule_unpack_whole_name(int fd, int dir_fd, char *temporary, const char *name)
{
	int error = 0;

	if (!temporary[0]) {
		error = link_to(fd, dir_fd, name);
		for (int i = 0; error == -EEXIST && i < TRIES; i++) {
			error = choose(temporary);
			if (error == 0)
				error = link_to(fd, dir_fd, temporary);
			if (error < 0)
				temporary[0] = '\0';
			else
				break;
		}
	}
	if (error < 0 || !temporary[0])
		return error;
	if (renameat(dir_fd, temporary, dir_fd, name) < 0)
		return -errno;
	temporary[0] = '\0';
	return 0;
}
