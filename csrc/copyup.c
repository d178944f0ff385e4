/* The walk over the tree. See copyup.h. */
#define _GNU_SOURCE
#include "copyup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define DIR_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
#define STATX_WANTED (STATX_BASIC_STATS | STATX_MNT_ID)

/* A directory on the way from the root to the one that is being copied. */
struct level {
	struct statx stx;
	size_t begin;	    /* its subdirectories' names in copy.names, */
	size_t next;	    /* the first that is still to be copied, */
	size_t end;	    /* and the end of them */
	size_t path_length; /* of the path that leads here */
};

struct copy {
	int source, target;	      /* the directory that is being copied; ours to close */
	int source_root, target_root; /* the caller's */
	unsigned int keep;
	struct level *levels;
	size_t depth, levels_room;
	char *names; /* each ends with a NUL; a stack, as the levels are */
	size_t names_used, names_room;
	struct capsule_copyup_links links;
	size_t path_length;
	char path[PATH_MAX]; /* from the root to what is being copied, for links and for messages */
	struct capsule_copyup_buffers buffers;
};

/* ---- stacks ---------------------------------------------------------------------------------- */

/* Make room in a growing array. Returns where it is now; NULL: no memory, the old one stays. */
static void *reserve(void *items, size_t *room, size_t wanted, size_t item_size)
{
	size_t larger = *room ? *room * 2 : 64;

	if (wanted <= *room)
		return items;
	if (larger < wanted)
		larger = wanted;
	items = reallocarray(items, larger, item_size);
	if (items)
		*room = larger;
	return items;
}

static int names_push(struct copy *c, const char *name)
{
	size_t size = strlen(name) + 1;
	char *names = reserve(c->names, &c->names_room, c->names_used + size, 1);

	if (!names)
		return -ENOMEM;
	c->names = names;
	memcpy(c->names + c->names_used, name, size);
	c->names_used += size;
	return 0;
}

/* Append a name to the path. Returns where the name is in it, NULL if it does not fit. */
static const char *path_push(struct copy *c, const char *name)
{
	size_t length = strlen(name), slash = c->path_length ? 1 : 0;
	char *at = c->path + c->path_length;

	if (c->path_length + slash + length + 1 > sizeof(c->path))
		return NULL;
	if (slash)
		*at++ = '/';
	memcpy(at, name, length + 1);
	c->path_length += slash + length;
	return at;
}

static void path_cut(struct copy *c, size_t length)
{
	c->path_length = length;
	c->path[length] = '\0';
}

/* ---- what things are ------------------------------------------------------------------------- */

static int look(int dir_fd, const char *name, struct statx *stx)
{
	int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (*name ? 0 : AT_EMPTY_PATH);

	return statx(dir_fd, name, flags, STATX_WANTED, stx) < 0 ? -errno : 0;
}

static bool same_device(const struct statx *a, const struct statx *b)
{
	return a->stx_dev_major == b->stx_dev_major && a->stx_dev_minor == b->stx_dev_minor;
}

/*
 * Is this on another mount than the source? Linux before 5.8 does not say which mount: there
 * another device tells, of directories only, as an overlay's files may have the device of their
 * layer.
 */
static bool on_other_mount(const struct copy *c, const struct statx *stx)
{
	const struct statx *root = &c->levels[0].stx;

	if (stx->stx_mask & root->stx_mask & STATX_MNT_ID)
		return stx->stx_mnt_id != root->stx_mnt_id;
	return S_ISDIR(stx->stx_mode) && !same_device(stx, root);
}

/* Does the error say that a name is gone, or that something else has it by now? */
static bool vanished(int error)
{
	return error == ENOENT || error == ENOTDIR || error == ELOOP || error == ENXIO ||
	       error == ESTALE;
}

/* ---- everything but directories -------------------------------------------------------------- */

/* Make the copy of an open file, whose content and attributes are taken from the fd alone. */
static int copy_open_file(struct copy *c, int source, const char *name, const struct statx *stx)
{
	int target = openat(c->target, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int result;

	if (target < 0)
		return -errno;
	result = capsule_copyup_data(source, target, (off_t)stx->stx_size);
	if (result == 0)
		result = capsule_copyup_attributes(source, target, stx, 0, &c->buffers);
	close(target);
	return result;
}

static int copy_file(struct copy *c, const char *name)
{
	/* Whatever has the name by now, this does not block or make it our terminal. */
	int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
	int source = openat(c->source, name, flags);
	struct statx stx;
	int result;

	if (source < 0)
		return vanished(errno) ? 0 : -errno;
	result = look(source, "", &stx);
	if (result < 0 || !S_ISREG(stx.stx_mode) || on_other_mount(c, &stx))
		goto out;
	if (capsule_copyup_link(&c->links, &stx, c->target_root, c->target, name))
		goto out;
	result = copy_open_file(c, source, name, &stx);
	if (result == 0)
		capsule_copyup_links_add(&c->links, &stx, c->path);
out:
	close(source);
	return result;
}

static int copy_symlink(struct copy *c, const char *name, const struct statx *stx)
{
	char text[PATH_MAX];
	ssize_t length = readlinkat(c->source, name, text, sizeof(text));

	if (length < 0)
		return vanished(errno) || errno == EINVAL ? 0 : -errno;
	if ((size_t)length == sizeof(text))
		return -ENAMETOOLONG;
	text[length] = '\0';
	if (symlinkat(text, c->target, name) < 0)
		return -errno;
	return capsule_copyup_name_attributes(c->target, name, stx);
}

static int copy_node(struct copy *c, const char *name, const struct statx *stx)
{
	dev_t device = makedev(stx->stx_rdev_major, stx->stx_rdev_minor);

	if (mknodat(c->target, name, stx->stx_mode & S_IFMT, device) == 0)
		return capsule_copyup_name_attributes(c->target, name, stx);
	/* Without CAP_MKNOD on the host, or by the device cgroup: it could not be used either. */
	return errno == EPERM && (S_ISCHR(stx->stx_mode) || S_ISBLK(stx->stx_mode)) ? 0 : -errno;
}

/* ---- directories ----------------------------------------------------------------------------- */

/* Copy one entry; of a directory only the name, which waits until its parent has been read. */
static int copy_entry(struct copy *c, const char *name)
{
	struct statx stx;
	int result = look(c->source, name, &stx);

	if (result < 0)
		return vanished(-result) ? 0 : result;
	if (S_ISDIR(stx.stx_mode))
		return mkdirat(c->target, name, 0700) < 0 ? -errno : names_push(c, name);
	if (on_other_mount(c, &stx))
		return 0;
	switch (stx.stx_mode & S_IFMT) {
	case S_IFREG:
		return copy_file(c, name);
	case S_IFLNK:
		return copy_symlink(c, name, &stx);
	default:
		return copy_node(c, name, &stx);
	}
}

static int copy_entries(struct copy *c, DIR *dir)
{
	size_t length = c->path_length;
	struct dirent *entry;
	const char *name;
	int result;

	while (errno = 0, (entry = readdir(dir))) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		name = path_push(c, entry->d_name);
		result = name ? copy_entry(c, name) : -ENAMETOOLONG;
		/* -EEXIST: while names come and go, readdir(3) may give one twice. */
		if (result < 0 && result != -EEXIST)
			return result; /* the path stays: it names the culprit */
		path_cut(c, length);
	}
	return -errno;
}

/* Open what c->source is once more, for readdir(3), which takes its fd over. */
static int read_directory(struct copy *c)
{
	int result, fd = openat(c->source, ".", DIR_FLAGS);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir) {
		result = -errno;
		if (fd >= 0)
			close(fd);
		return result;
	}
	result = copy_entries(c, dir);
	closedir(dir);
	return result;
}

/* Take the directory in c->source onto the stack and copy all of it but its subdirectories. */
static int enter(struct copy *c, size_t path_length)
{
	struct level *levels, *level;
	int result;

	levels = reserve(c->levels, &c->levels_room, c->depth + 1, sizeof(*level));
	if (!levels)
		return -ENOMEM;
	c->levels = levels;
	level = &levels[c->depth];
	result = look(c->source, "", &level->stx);
	if (result < 0)
		return result;
	level->begin = level->next = level->end = c->names_used;
	level->path_length = path_length;
	c->depth++;
	if (!on_other_mount(c, &level->stx))
		result = read_directory(c);
	level->end = c->names_used;
	return result;
}

static void move_to(struct copy *c, int source, int target)
{
	close(c->source);
	close(c->target);
	c->source = source;
	c->target = target;
}

/* Go on in the next subdirectory of the level on top. */
static int descend(struct copy *c)
{
	struct level *level = &c->levels[c->depth - 1];
	size_t length = c->path_length;
	const char *name = path_push(c, c->names + level->next);
	int source, target, result;

	if (!name)
		return -ENAMETOOLONG;
	level->next += strlen(name) + 1;
	source = openat(c->source, name, DIR_FLAGS);
	if (source < 0) {
		result = vanished(errno) ? 0 : -errno;
		if (result == 0 && unlinkat(c->target, name, AT_REMOVEDIR) < 0)
			result = -errno;
		if (result == 0)
			path_cut(c, length);
		return result;
	}
	target = openat(c->target, name, DIR_FLAGS);
	if (target < 0) {
		result = -errno;
		close(source);
		return result;
	}
	move_to(c, source, target);
	return enter(c, length);
}

/*
 * Open the parents. The source's may be another one by now: then where we are is no part of the
 * tree. The roots are opened by what the caller gave: ".." would enter what is mounted on them.
 */
static int ascend(struct copy *c)
{
	const struct statx *expected = &c->levels[c->depth - 1].stx;
	bool to_root = c->depth == 1;
	const char *way = to_root ? "." : "..";
	int source, target, result;
	struct statx stx;

	source = openat(to_root ? c->source_root : c->source, way, DIR_FLAGS);
	if (source < 0)
		return -errno;
	result = look(source, "", &stx);
	if (result == 0 && (stx.stx_ino != expected->stx_ino || !same_device(&stx, expected)))
		result = -ESTALE;
	if (result == 0) {
		target = openat(to_root ? c->target_root : c->target, way, DIR_FLAGS);
		result = target < 0 ? -errno : 0;
	}
	if (result == 0)
		move_to(c, source, target);
	else
		close(source);
	return result;
}

/* The directory is complete: give it its attributes, which its content must not change any more. */
static int leave(struct copy *c)
{
	const struct level *level = &c->levels[c->depth - 1];
	bool is_root = c->depth == 1;
	unsigned int keep = is_root ? c->keep | CAPSULE_COPYUP_KEEP_MODE : 0;
	int result = capsule_copyup_attributes(c->source, c->target, &level->stx, keep,
					       &c->buffers);

	if (result < 0)
		return result;
	c->names_used = level->begin;
	c->depth--;
	if (is_root)
		return 0;
	result = ascend(c);
	if (result == 0)
		path_cut(c, level->path_length);
	return result;
}

static int run(struct copy *c)
{
	int result = enter(c, 0);

	while (result == 0 && c->depth) {
		const struct level *level = &c->levels[c->depth - 1];

		result = level->next < level->end ? descend(c) : leave(c);
	}
	return result;
}

/* ---- from outside ---------------------------------------------------------------------------- */

/* Name the culprit in one printable line. */
static void describe(const struct copy *c, char *message, size_t size)
{
	char *at;

	snprintf(message, size, "tmpcopyup: %s", c->path_length ? c->path : ".");
	for (at = message; *at; at++)
		if ((unsigned char)*at < ' ' || *at == 0x7f)
			*at = '?';
}

int capsule_copyup_fill(int source_fd, int target_fd, unsigned int keep, char *message,
			size_t message_size)
{
	struct copy *c = calloc(1, sizeof(*c));
	int result;

	if (!c)
		return -ENOMEM;
	c->keep = keep;
	c->source_root = source_fd;
	c->target_root = target_fd;
	/* "." of a directory is the directory itself, whatever has been mounted on it. */
	c->source = openat(source_fd, ".", DIR_FLAGS);
	result = c->source < 0 ? -errno : 0;
	c->target = openat(target_fd, ".", DIR_FLAGS);
	if (result == 0)
		result = c->target < 0 ? -errno : run(c);
	if (result < 0)
		describe(c, message, message_size);
	if (c->source >= 0)
		close(c->source);
	if (c->target >= 0)
		close(c->target);
	capsule_copyup_links_free(&c->links);
	free(c->names);
	free(c->levels);
	free(c);
	return result;
}
