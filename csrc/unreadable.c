/* What others may not read. See unreadable.h. */
#define _GNU_SOURCE
#include "unreadable.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ENTRIES_SIZE 16384 /* on the stack of each level */

struct search {
	capsule_unreadable_found found;
	void *context;
	char path[PATH_MAX];
};

static int search_below(struct search *s, int fd, size_t length, unsigned int depth);

static bool has_gone(int error)
{
	return error == ENOENT || error == ENOTDIR || error == ELOOP;
}

/* Put a name behind the first `length` bytes of the path. Returns the new length. */
static int append(struct search *s, size_t length, const char *name)
{
	size_t size = strlen(name);

	if (length + size + 2 > sizeof(s->path))
		return -ENAMETOOLONG;
	s->path[length++] = '/';
	memcpy(s->path + length, name, size + 1);
	return (int)(length + size);
}

static int search_directory(struct search *s, int parent, const char *name, const struct stat *stat,
			    size_t length, unsigned int depth)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int ret;

	if (fd < 0)
		return has_gone(errno) ? 0 : s->found(s->context, s->path, stat);
	ret = search_below(s, fd, length, depth);
	if (ret == -EIO) {
		s->path[length] = '\0';
		return s->found(s->context, s->path, stat);
	}
	return ret;
}

static int look_at(struct search *s, int fd, const struct dirent64 *entry, size_t length,
		   unsigned int depth)
{
	struct stat stat;
	mode_t wanted;
	int ret;

	if (entry->d_type == DT_LNK)
		return 0;
	if (fstatat(fd, entry->d_name, &stat, AT_SYMLINK_NOFOLLOW) < 0) {
		if (has_gone(errno))
			return 0;
		/* Such as the root of another user's FUSE. */
		stat = (struct stat){ .st_mode = entry->d_type == DT_DIR ? S_IFDIR : S_IFREG };
	}
	if (S_ISLNK(stat.st_mode))
		return 0;
	ret = append(s, length, entry->d_name);
	if (ret < 0)
		return ret;
	wanted = S_ISDIR(stat.st_mode) ? S_IROTH | S_IXOTH : S_IROTH;
	if ((stat.st_mode & wanted) != wanted)
		return s->found(s->context, s->path, &stat);
	if (S_ISDIR(stat.st_mode) && depth > 1)
		return search_directory(s, fd, entry->d_name, &stat, (size_t)ret, depth - 1);
	return 0;
}

static int look_at_each(struct search *s, int fd, const char *entries, long size, size_t length,
			unsigned int depth)
{
	int ret = 0;

	for (long at = 0; at < size && ret == 0;) {
		const struct dirent64 *entry = (const struct dirent64 *)(entries + at);

		at += entry->d_reclen;
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			ret = look_at(s, fd, entry, length, depth);
	}
	return ret;
}

/* Takes fd. -EIO: it cannot be read to its end. */
static int search_below(struct search *s, int fd, size_t length, unsigned int depth)
{
	/* opendir(3) costs two calls and an allocation more, for each of a few hundred directories. */
	_Alignas(struct dirent64) char entries[ENTRIES_SIZE];
	long size = 0;
	int ret = 0;

	while (ret == 0 && (size = syscall(SYS_getdents64, fd, entries, sizeof(entries))) > 0)
		ret = look_at_each(s, fd, entries, size, length, depth);
	close(fd);
	return size < 0 ? -EIO : ret;
}

int capsule_unreadable_search(const char *directory, unsigned int depth,
			      capsule_unreadable_found found, void *context)
{
	struct search s = { .found = found, .context = context };
	size_t length = strlen(directory);
	int fd;

	if (length >= sizeof(s.path))
		return -ENAMETOOLONG;
	memcpy(s.path, directory, length);
	while (length > 0 && s.path[length - 1] == '/')
		length--;
	fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return has_gone(errno) ? 0 : -errno;
	return search_below(&s, fd, length, depth);
}
