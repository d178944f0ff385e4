/* Sealed descriptors; see sealed.h. */
#define _GNU_SOURCE
#include "sealed.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

/* MFD_EXEC and MFD_NOEXEC_SEAL came with Linux 6.3; older kernels answer EINVAL. */
static int make_memfd(const char *name, unsigned int mode_flag)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | mode_flag);

	if (fd < 0 && errno == EINVAL)
		fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return fd < 0 ? -errno : fd;
}

static int write_all(int fd, const char *data, size_t size)
{
	while (size) {
		ssize_t done = write(fd, data, size);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return -errno;
		data += done;
		size -= (size_t)done;
	}
	return 0;
}

static int close_with(int fd, int ret)
{
	close(fd);
	return ret;
}

static int seal(int fd)
{
	const int seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;

	return fcntl(fd, F_ADD_SEALS, seals) < 0 ? -errno : 0;
}

int capsule_sealed_data(const char *name, const void *data, size_t size)
{
	int ret, fd = make_memfd(name, MFD_NOEXEC_SEAL);

	if (fd < 0)
		return fd;
	ret = write_all(fd, data, size);
	if (ret == 0)
		ret = seal(fd);
	return ret < 0 ? close_with(fd, ret) : fd;
}

static int unlinked_program(const void *image, size_t size, const char *dir)
{
	char self[64];
	int ret, reader, fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0700);

	if (fd < 0)
		return -errno;
	ret = write_all(fd, image, size);
	if (ret < 0)
		return close_with(fd, ret);
	/*
	 * execve refuses a file that is open for writing (ETXTBSY): go on with a read-only
	 * descriptor.
	 */
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	reader = open(self, O_RDONLY | O_CLOEXEC);
	ret = reader < 0 || fchmod(reader, 0111) < 0 ? -errno : reader;
	return close_with(fd, ret);
}

int capsule_sealed_program(const char *name, const void *image, size_t size,
			   const char *fallback_dir)
{
	int ret, fd = make_memfd(name, MFD_EXEC);

	if (fd == -EACCES)
		return unlinked_program(image, size, fallback_dir);
	if (fd < 0)
		return fd;
	ret = write_all(fd, image, size);
	if (ret == 0 && fchmod(fd, 0111) < 0)
		ret = -errno;
	if (ret == 0)
		ret = seal(fd);
	return ret < 0 ? close_with(fd, ret) : fd;
}
