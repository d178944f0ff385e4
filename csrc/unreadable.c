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
	struct capsule_unreadable_depth depth;
	unsigned int looked; /* at what lies deeper than `sure`, in this entry of the directory */
	char path[PATH_MAX];
};

static int search_below(struct search *s, int fd, size_t length, unsigned int level);

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

static bool is_within(const struct search *s, unsigned int level)
{
	return level <= s->depth.sure || s->looked < s->depth.most;
}

static int search_directory(struct search *s, int parent, const char *name, const struct stat *stat,
			    size_t length, unsigned int level)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int ret;

	if (fd < 0)
		return has_gone(errno) ? 0 : s->found(s->context, s->path, stat);
	ret = search_below(s, fd, length, level);
	if (ret == -EIO) {
		s->path[length] = '\0';
		return s->found(s->context, s->path, stat);
	}
	return ret;
}

static int look_at(struct search *s, int fd, const struct dirent64 *entry, size_t length,
		   unsigned int level)
{
	struct stat stat;
	mode_t wanted;
	int ret;

	if (level == 1)
		s->looked = 0;
	if (entry->d_type == DT_LNK || !is_within(s, level))
		return 0;
	s->looked += level > s->depth.sure;
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
	if (S_ISDIR(stat.st_mode) && level < s->depth.levels && is_within(s, level + 1))
		return search_directory(s, fd, entry->d_name, &stat, (size_t)ret, level + 1);
	return 0;
}

static int look_at_each(struct search *s, int fd, const char *entries, long size, size_t length,
			unsigned int level)
{
	int ret = 0;

	for (long at = 0; at < size && ret == 0;) {
		const struct dirent64 *entry = (const struct dirent64 *)(entries + at);

		at += entry->d_reclen;
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			ret = look_at(s, fd, entry, length, level);
	}
	return ret;
}

/* Takes fd. -EIO: it cannot be read to its end. */
static int search_below(struct search *s, int fd, size_t length, unsigned int level)
{
	/* opendir(3) costs two calls and an allocation more, for each of a few hundred directories. */
	_Alignas(struct dirent64) char entries[ENTRIES_SIZE];
	long size = 0;
	int ret = 0;

	while (ret == 0 && is_within(s, level) &&
	       (size = syscall(SYS_getdents64, fd, entries, sizeof(entries))) > 0)
		ret = look_at_each(s, fd, entries, size, length, level);
	close(fd);
	return size < 0 ? -EIO : ret;
}

int capsule_unreadable_search(const char *directory, const struct capsule_unreadable_depth *depth,
			      capsule_unreadable_found found, void *context)
{
	struct search s = { .found = found, .context = context, .depth = *depth };
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
	return search_below(&s, fd, length, 1);
}
