/*
 * Drive the in-root walker over hostile trees: an input's first lines are the texts of links, its last
 * one a path. The kernel must give the same answer, and nothing opened or made may lie outside the
 * root, which is the directory in FUZZ_ROOT.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "openbeneath.h"

#define MADE_MAX 500 /* directories in all, so that the tree stays small */

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static const char *const links[] = { "l0", "a/l1", "a/b/l2", "l3" };
static int root_fd = -1, made;
static char root[4096];

static void open_root(void)
{
	const char *path = getenv("FUZZ_ROOT");

	if (!path || !realpath(path, root))
		abort();
	root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root_fd < 0)
		abort();
	mkdirat(root_fd, "a", 0755);
	mkdirat(root_fd, "a/b", 0755);
}

static void check_inside(int fd)
{
	char name[64], path[8192];
	ssize_t length;

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	length = readlink(name, path, sizeof(path) - 1);
	if (length < 0 || strncmp(path, root, strlen(root)) != 0) {
		fprintf(stderr, "left the root: %.*s\n", (int)length, path);
		abort();
	}
}

static void compare(const char *path, int flags, unsigned long long resolve)
{
	int kernel = capsule_openbeneath_open(root_fd, path, flags, 0, resolve);
	int ours = capsule_openbeneath_walk(root_fd, path, flags, 0, resolve);
	struct stat a, b;

	if (ours >= 0 && kernel >= 0) {
		check_inside(ours);
		if (fstat(kernel, &a) < 0 || fstat(ours, &b) < 0 || a.st_ino != b.st_ino)
			abort();
	} else if (kernel != ours && ours != -ENAMETOOLONG) { /* our buffer holds all links at once */
		fprintf(stderr, "kernel %d, walker %d: %s\n", kernel, ours, path);
		abort();
	}
	if (ours >= 0)
		close(ours);
	if (kernel >= 0)
		close(kernel);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	char *text = strndup((const char *)data, size), *path = text, *end;
	bool created;
	int fd;

	if (root_fd < 0)
		open_root();
	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]) && (end = strchr(path, '\n')); i++) {
		*end = '\0';
		unlinkat(root_fd, links[i], 0);
		/* May fail: a text no link can have, or ensure_dir made a directory of that name. */
		if (symlinkat(path, root_fd, links[i]) < 0 && errno == EACCES)
			abort();
		path = end + 1;
	}
	compare(path, O_PATH, CAPSULE_RESOLVE_IN_ROOT);
	compare(path, O_PATH | O_NOFOLLOW, CAPSULE_RESOLVE_IN_ROOT);
	compare(path, O_PATH | O_DIRECTORY, CAPSULE_RESOLVE_IN_ROOT | CAPSULE_RESOLVE_NO_SYMLINKS);
	compare(path, O_PATH, CAPSULE_RESOLVE_BENEATH);
	if (made < MADE_MAX) {
		fd = capsule_openbeneath_ensure_dir(root_fd, path, 0755, 0, &created);
		made += created;
		if (fd >= 0) {
			check_inside(fd);
			close(fd);
		}
	}
	free(text);
	return 0;
}
