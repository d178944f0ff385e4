/* Removal of trees. See removetree.h. */
#define _GNU_SOURCE
#include "removetree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define NAMES_TRIED 100000 /* that a hostile tree may have taken before us */

struct removal {
	int top_fd;	     /* what directories are moved up into */
	unsigned int number; /* of the next name there */
};

static bool is_dot(const char *name)
{
	return !strcmp(name, ".") || !strcmp(name, "..");
}

/* Returns 0 if the name has gone, 1 if it is a directory that is not empty. */
static int remove_name(int dir_fd, const char *name)
{
	if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	if (unlinkat(dir_fd, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
		return 0;
	return errno == ENOTEMPTY || errno == EEXIST ? 1 : -errno;
}

static int move_up(struct removal *r, int dir_fd, const char *name)
{
	char target[32];

	for (int tries = 0; tries < NAMES_TRIED; tries++) {
		snprintf(target, sizeof(target), ".removed-%u", r->number++);
		if (renameat2(dir_fd, name, r->top_fd, target, RENAME_NOREPLACE) == 0)
			return 0;
		if (errno != EEXIST)
			return -errno;
	}
	return -EEXIST;
}

/* Empty a directory, moving up the directories in it that are not empty. */
static int empty(struct removal *r, int fd)
{
	DIR *dir = fdopendir(fd);
	struct dirent *entry;
	int result = 0;

	if (!dir) {
		result = -errno;
		close(fd);
		return result;
	}
	while (result == 0 && (entry = readdir(dir))) {
		if (is_dot(entry->d_name))
			continue;
		result = remove_name(dirfd(dir), entry->d_name);
		if (result == 1)
			result = move_up(r, dirfd(dir), entry->d_name);
	}
	closedir(dir);
	return result;
}

static int open_dir(int dir_fd, const char *name)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* Remove what is in the top directory; *again: something was moved up into it meanwhile. */
static int pass(struct removal *r, DIR *top, bool *again)
{
	struct dirent *entry;
	int result = 0;

	*again = false;
	rewinddir(top);
	while (result == 0 && (entry = readdir(top))) {
		if (is_dot(entry->d_name))
			continue;
		result = remove_name(r->top_fd, entry->d_name);
		if (result != 1)
			continue;
		*again = true;
		result = open_dir(r->top_fd, entry->d_name);
		if (result < 0)
			break;
		result = empty(r, result);
		if (result == 0 && unlinkat(r->top_fd, entry->d_name, AT_REMOVEDIR) < 0)
			result = -errno;
	}
	return result;
}

int capsule_removetree(int dir_fd, const char *name)
{
	struct removal r = { .top_fd = -1, .number = 0 };
	int result = remove_name(dir_fd, name);
	bool again = true;
	DIR *top;

	if (result != 1)
		return result;
	r.top_fd = open_dir(dir_fd, name);
	if (r.top_fd < 0)
		return r.top_fd;
	top = fdopendir(r.top_fd);
	if (!top) {
		result = -errno;
		close(r.top_fd);
		return result;
	}
	for (result = 0; result == 0 && again;)
		result = pass(&r, top, &again);
	closedir(top);
	if (result == 0 && unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		result = -errno;
	return result;
}
