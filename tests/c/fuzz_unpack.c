/*
 * Unpack mutated layers below the directory in FUZZ_ROOT; nothing beside it may change. Checksums of
 * headers are made right first, or hardly an input would be read beyond its first block.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "removetree.h"
#include "unpack.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static int outside_fd = -1;

static void sign(unsigned char *block)
{
	unsigned int sum = 0;

	memset(block + 148, ' ', 8);
	for (size_t i = 0; i < 512; i++)
		sum += block[i];
	snprintf((char *)block + 148, 8, "%06o", sum);
	block[155] = ' ';
}

/* Walk the headers as a reader would, and sign each. */
static void sign_all(unsigned char *data, size_t size)
{
	size_t at = 0;

	while (size - at >= 512) {
		char field[13] = "";
		unsigned long length;

		if (data[at] == 0) {
			at += 512;
			continue;
		}
		sign(data + at);
		memcpy(field, data + at + 124, 12);
		length = strtoul(field, NULL, 8);
		if (length > size - at)
			return;
		at += 512 + (length + 511) / 512 * 512;
		if (at > size)
			return;
	}
}

static void check_outside(void)
{
	char text[32] = "";
	struct stat st;
	int fd = openat(outside_fd, "decoy/victim", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0 || strcmp(text, "untouched") != 0)
		abort();
	if (fstat(fd, &st) < 0 || st.st_nlink != 1 || (st.st_mode & 07777) != 0600 || st.st_uid != geteuid())
		abort();
	close(fd);
	if (fstatat(outside_fd, "decoy", &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_nlink != 2 ||
	    (st.st_mode & 07777) != 0700)
		abort();
}

static void open_outside(void)
{
	const char *path = getenv("FUZZ_ROOT");
	int fd;

	outside_fd = path ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	umask(0);
	if (outside_fd < 0 || mkdirat(outside_fd, "decoy", 0700) < 0)
		abort();
	fd = openat(outside_fd, "decoy/victim", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, "untouched", 9) != 9)
		abort();
	close(fd);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	static const struct capsule_unpack_limits limits = { .entries = 100, .bytes = 1 << 20, .file_size = 1 << 20 };
	unsigned char *copy = malloc(size + 1);
	struct capsule_unpack *unpack;
	unsigned int flags;
	size_t piece;
	int root_fd;

	if (outside_fd < 0)
		open_outside();
	if (!copy)
		return 0;
	memcpy(copy, data, size);
	sign_all(copy, size);
	flags = size ? copy[size - 1] % 16 : 0;
	piece = size && copy[size - 1] & 8 ? (size_t)copy[size - 1] + 1 : size;
	if (mkdirat(outside_fd, "root", 0755) < 0)
		abort();
	root_fd = openat(outside_fd, "root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	unpack = capsule_unpack_new(root_fd, &root_fd, flags & 1, flags, &limits);
	for (size_t at = 0; unpack && at < size; at += piece) {
		if (piece > size - at)
			piece = size - at;
		if (capsule_unpack_feed(unpack, copy + at, piece) < 0)
			goto out;
	}
	if (unpack)
		capsule_unpack_finish(unpack);
out:
	capsule_unpack_free(unpack);
	close(root_fd);
	if (capsule_removetree(outside_fd, "root") < 0)
		abort();
	check_outside();
	free(copy);
	return 0;
}
