/* In-root path work. See openbeneath.h. */
#define _GNU_SOURCE
#include "openbeneath.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LINKS_MAX 40 /* as the kernel's own limit, man 7 path_resolution */
/* Of one walk: a hostile tree of "a/../a/.." must not keep us for minutes. */
#define OPENS_MAX 65536
/* Of openat2's EAGAIN: a rename or mount anywhere while ".." was resolved. */
#define RETRIES_MAX 128
#define PARENT_MODE 0755

static void close_keep(int fd)
{
	int saved = errno;

	if (fd >= 0)
		close(fd);
	errno = saved;
}

/* ---- the walker ------------------------------------------------------------------------------ */

enum make { MAKE_NOTHING, MAKE_DIR, MAKE_FILE };

struct walk {
	int root_fd;
	int fd;		    /* O_PATH of the directory reached; root_fd is never closed */
	unsigned int links; /* expanded so far */
	unsigned int opens; /* components opened so far */
	unsigned long long resolve;
	enum make make;
	mode_t mode;  /* of the last component, if made */
	bool created; /* the last component was made */
	struct stat root;
	char done[PATH_MAX]; /* real names from the root to fd, without a leading slash */
	char rest[PATH_MAX]; /* what is still to be walked */
};

static void walk_set_fd(struct walk *w, int fd)
{
	if (w->fd != w->root_fd)
		close_keep(w->fd);
	w->fd = fd;
}

/* Cut the next component off rest into name. Returns its length, 0 at the end. */
static int walk_next(struct walk *w, char name[NAME_MAX + 1])
{
	size_t start = strspn(w->rest, "/");
	size_t length = strcspn(w->rest + start, "/");

	if (length > NAME_MAX)
		return -ENAMETOOLONG;
	memcpy(name, w->rest + start, length);
	name[length] = '\0';
	memmove(w->rest, w->rest + start + length, strlen(w->rest + start + length) + 1);
	return (int)length;
}

/* Is name the last component? A trailing slash leaves it last, but then it must be a directory. */
static bool walk_at_end(const struct walk *w)
{
	return w->rest[strspn(w->rest, "/")] == '\0';
}

static int walk_push_done(struct walk *w, const char *name)
{
	size_t used = strlen(w->done), length = strlen(name);

	if (used + length + 2 > sizeof(w->done))
		return -ENAMETOOLONG;
	if (used)
		w->done[used++] = '/';
	memcpy(w->done + used, name, length + 1);
	return 0;
}

/*
 * "..": go back to the root and walk the real names again, without the last. openat(fd, "..") would
 * follow a directory that was moved out of the root meanwhile.
 */
static int walk_up(struct walk *w)
{
	char *last = strrchr(w->done, '/');
	char names[PATH_MAX], *name, *more;
	int fd;

	if (w->resolve & CAPSULE_RESOLVE_BENEATH && w->done[0] == '\0')
		return -EXDEV;
	if (last)
		*last = '\0';
	else
		w->done[0] = '\0';
	memcpy(names, w->done, sizeof(names)); /* both are PATH_MAX long */
	walk_set_fd(w, w->root_fd);
	for (name = names; *name; name = more) {
		more = strchrnul(name, '/');
		if (*more)
			*more++ = '\0';
		if (++w->opens > OPENS_MAX)
			return -ELOOP;
		fd = openat(w->fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			return errno == ELOOP || errno == ENOTDIR || errno == ENOENT ? -EAGAIN
										     : -errno;
		walk_set_fd(w, fd);
	}
	return 0;
}

/*
 * Is this one of procfs's links to an object? The ordinary ones there are relative ("self/mounts").
 */
static bool is_magic_link(int link_fd, const char *text)
{
	struct statfs fs;

	if (text[0] != '/' && !strchr(text, ':'))
		return false;
	return fstatfs(link_fd, &fs) < 0 || fs.f_type == PROC_SUPER_MAGIC;
}

/* Put a link's text before rest. An absolute text starts again at the root. */
static int walk_expand(struct walk *w, int link_fd)
{
	char text[PATH_MAX];
	size_t rest = strlen(w->rest);
	ssize_t length;

	if (w->resolve & CAPSULE_RESOLVE_NO_SYMLINKS || ++w->links > LINKS_MAX)
		return -ELOOP;
	length = readlinkat(link_fd, "", text, sizeof(text));
	if (length < 0)
		return -errno;
	if (length == 0)
		return -ENOENT;
	if ((size_t)length + 1 + rest + 1 > sizeof(w->rest))
		return -ENAMETOOLONG;
	text[length] = '\0'; /* length < PATH_MAX by the line above */
	if (is_magic_link(link_fd, text))
		return -ELOOP;
	memmove(w->rest + length + 1, w->rest, rest + 1);
	memcpy(w->rest, text, length);
	/* A link at the very end must not gain a slash: that would mean "must be a directory". */
	w->rest[length] = rest ? '/' : '\0';
	if (text[0] != '/')
		return 0;
	if (w->resolve & CAPSULE_RESOLVE_BENEATH)
		return -EXDEV;
	walk_set_fd(w, w->root_fd);
	w->done[0] = '\0';
	return 0;
}

/* Make one missing component. Someone else making it first is as good. */
static int walk_make(struct walk *w, const char *name, bool last)
{
	bool file = last && w->make == MAKE_FILE;
	mode_t old = umask(0);
	int fd, result = 0;

	if (file) {
		fd = openat(w->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
			    w->mode);
		result = fd < 0 ? -errno : 0;
		close_keep(fd);
	} else if (mkdirat(w->fd, name, last ? w->mode : PARENT_MODE) < 0) {
		result = -errno;
	}
	umask(old);
	if (result == 0 && last)
		w->created = true;
	return result == -EEXIST ? 0 : result;
}

/* Open one component as it is: a link is opened, not followed. Makes it if that is wanted. */
static int walk_component(struct walk *w, const char *name, bool last)
{
	int error, fd;

	if (++w->opens > OPENS_MAX)
		return -ELOOP;
	fd = openat(w->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0 || errno != ENOENT || w->make == MAKE_NOTHING)
		return fd < 0 ? -errno : fd;
	error = walk_make(w, name, last);
	if (error < 0)
		return error;
	fd = openat(w->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* The last component, which is at fd and no link to follow: open it as the caller wants it. */
static int walk_open_last(const struct walk *w, const char *name, int fd, const struct stat *st,
			  int flags, mode_t mode)
{
	if (w->make == MAKE_DIR && !S_ISDIR(st->st_mode))
		return -ENOTDIR;
	if (w->make == MAKE_FILE && S_ISDIR(st->st_mode))
		return -EISDIR;
	if (flags & O_DIRECTORY && !S_ISDIR(st->st_mode))
		return -ENOTDIR;
	if (flags & O_PATH)
		return fd;
	fd = openat(w->fd, name, flags | O_NOFOLLOW | O_CLOEXEC, mode);
	return fd < 0 ? -errno : fd;
}

/* A component is at fd: check it against the restrictions that openat2 would have kept. */
static int walk_check(const struct walk *w, const struct stat *st)
{
	if (w->resolve & CAPSULE_RESOLVE_NO_XDEV && st->st_dev != w->root.st_dev)
		return -EXDEV;
	return 0;
}

/* The end is a directory that was reached already: "/", "a/..", "." */
static int walk_here(const struct walk *w, int flags)
{
	int fd;

	if (w->make == MAKE_FILE)
		return -EISDIR;
	fd = openat(w->fd, ".", flags & ~(O_CREAT | O_EXCL | O_NOFOLLOW));
	return fd < 0 ? -errno : fd;
}

/* Deal with one component that is not "..". Returns 1 to go on, or what the walk returns. */
static int walk_step(struct walk *w, const char *name, int flags, mode_t mode, int *found)
{
	bool slash = w->rest[0] == '/', last = walk_at_end(w);
	struct stat st;
	int error, fd = walk_component(w, name, last);

	if (fd == -ENOENT && last && flags & O_CREAT && w->make == MAKE_NOTHING) {
		*found = openat(w->fd, name, flags | O_NOFOLLOW | O_CLOEXEC, mode);
		return *found < 0 ? -errno : 0;
	}
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		error = -errno;
	else
		error = walk_check(w, &st);
	if (error < 0)
		goto out;
	if (S_ISLNK(st.st_mode) && !(last && !slash && flags & O_NOFOLLOW)) {
		error = walk_expand(w, fd);
		close_keep(fd);
		return error < 0 ? error : 1;
	}
	if (!last || slash) {
		error = -ENOTDIR;
		if (!S_ISDIR(st.st_mode))
			goto out;
	}
	if (last) {
		*found = walk_open_last(w, name, fd, &st, flags, mode);
		if (*found == fd)
			return 0;
		error = *found < 0 ? *found : 0;
		goto out;
	}
	error = walk_push_done(w, name);
	if (error < 0)
		goto out;
	walk_set_fd(w, fd);
	return 1;
out:
	close_keep(fd);
	return error;
}

static int walk_run(struct walk *w, int flags, mode_t mode)
{
	char name[NAME_MAX + 1];
	int length, result, found = -1;

	for (;;) {
		length = walk_next(w, name);
		if (length <= 0)
			return length < 0 ? length : walk_here(w, flags);
		if (strcmp(name, ".") == 0)
			continue;
		if (strcmp(name, "..") == 0)
			result = walk_up(w);
		else
			result = walk_step(w, name, flags, mode, &found);
		if (result < 0)
			return result;
		if (result == 0 && found >= 0)
			return found;
	}
}

static int walk_begin(struct walk *w, int root_fd, const char *path, unsigned long long resolve)
{
	size_t length = strlen(path);

	if (length == 0)
		return -ENOENT;
	if (length >= sizeof(w->rest))
		return -ENAMETOOLONG;
	if (resolve & CAPSULE_RESOLVE_BENEATH && path[0] == '/')
		return -EXDEV;
	if (fstat(root_fd, &w->root) < 0)
		return -errno;
	w->root_fd = root_fd;
	w->fd = root_fd;
	w->links = 0;
	w->opens = 0;
	w->resolve = resolve;
	w->make = MAKE_NOTHING;
	w->mode = 0;
	w->created = false;
	w->done[0] = '\0';
	memcpy(w->rest, path, length + 1);
	return 0;
}

static void walk_end(struct walk *w)
{
	walk_set_fd(w, w->root_fd);
}

int capsule_openbeneath_walk(int root_fd, const char *path, int flags, mode_t mode,
			     unsigned long long resolve)
{
	struct walk w;
	int result = walk_begin(&w, root_fd, path, resolve);

	if (result < 0)
		return result;
	result = walk_run(&w, flags | O_CLOEXEC, mode);
	walk_end(&w);
	return result;
}

/* ---- the kernel's resolver ------------------------------------------------------------------- */

int capsule_openbeneath_open(int root_fd, const char *path, int flags, mode_t mode,
			     unsigned long long resolve)
{
	static bool missing; /* openat2 is: asked once */
	struct open_how how = {
		.flags = (unsigned int)(flags | O_CLOEXEC),
		.mode = flags & (O_CREAT | O_TMPFILE) ? mode : 0,
		.resolve = resolve | CAPSULE_RESOLVE_NO_MAGICLINKS,
	};
	int fd = -1, tries;

	if (!(resolve & (CAPSULE_RESOLVE_IN_ROOT | CAPSULE_RESOLVE_BENEATH)))
		return -EINVAL;
	for (tries = 0; !missing && tries < RETRIES_MAX; tries++) {
		fd = (int)syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
		if (fd >= 0)
			return fd;
		if (errno == ENOSYS)
			missing = true;
		else if (errno != EAGAIN && errno != EINTR)
			return -errno;
	}
	if (!missing)
		return -EAGAIN;
	return capsule_openbeneath_walk(root_fd, path, flags, mode, resolve);
}

/* ---- creation -------------------------------------------------------------------------------- */

static int ensure(int root_fd, const char *path, enum make make, mode_t mode,
		  unsigned long long resolve, bool *created)
{
	struct walk w;
	int flags = O_PATH | (make == MAKE_DIR ? O_DIRECTORY : 0);
	int result;

	*created = false;
	result = capsule_openbeneath_open(root_fd, path, flags, 0,
					  resolve | CAPSULE_RESOLVE_IN_ROOT);
	if (result != -ENOENT) {
		struct stat st;

		if (result < 0 || make == MAKE_DIR)
			return result;
		if (fstat(result, &st) == 0 && !S_ISDIR(st.st_mode))
			return result;
		close_keep(result);
		return -EISDIR;
	}
	result = walk_begin(&w, root_fd, path, resolve);
	if (result < 0)
		return result;
	w.make = make;
	w.mode = mode;
	result = walk_run(&w, flags | O_CLOEXEC, 0);
	walk_end(&w);
	*created = w.created;
	return result;
}

int capsule_openbeneath_ensure_dir(int root_fd, const char *path, mode_t mode,
				   unsigned long long resolve, bool *created)
{
	return ensure(root_fd, path, MAKE_DIR, mode, resolve, created);
}

int capsule_openbeneath_ensure_file(int root_fd, const char *path, mode_t mode,
				    unsigned long long resolve, bool *created)
{
	return ensure(root_fd, path, MAKE_FILE, mode, resolve, created);
}

/* ---- single components ----------------------------------------------------------------------- */

static int is_component(const char *name)
{
	if (!name[0] || strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, ".."))
		return -EINVAL;
	return 0;
}

static bool node_matches(const struct stat *st, mode_t mode, dev_t rdev)
{
	if ((st->st_mode & S_IFMT) != (mode & S_IFMT))
		return false;
	return S_ISFIFO(mode) || st->st_rdev == rdev;
}

int capsule_openbeneath_mknod(int dir_fd, const char *name, mode_t mode, dev_t rdev, uid_t uid,
			      gid_t gid)
{
	struct stat st;
	mode_t old;
	int result = is_component(name);

	if (result < 0)
		return result;
	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return node_matches(&st, mode, rdev) ? 0 : -EEXIST;
	if (errno != ENOENT)
		return -errno;
	old = umask(0);
	result = mknodat(dir_fd, name, mode, rdev) < 0 ? -errno : 0;
	umask(old);
	if (result == 0 && (uid || gid) &&
	    fchownat(dir_fd, name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0)
		result = -errno;
	return result < 0 ? result : 1;
}

int capsule_openbeneath_symlink(int dir_fd, const char *name, const char *target)
{
	int result = is_component(name);

	if (result < 0)
		return result;
	if (symlinkat(target, dir_fd, name) == 0)
		return 1;
	return errno == EEXIST ? 0 : -errno;
}

ssize_t capsule_openbeneath_readlink(int dir_fd, const char *name, char *text, size_t size)
{
	ssize_t length = is_component(name);

	if (length < 0)
		return length;
	length = readlinkat(dir_fd, name, text, size);
	if (length < 0)
		return -errno;
	return (size_t)length == size ? -ENAMETOOLONG : length;
}

int capsule_openbeneath_unlink(int dir_fd, const char *name)
{
	int result = is_component(name);

	if (result < 0)
		return result;
	return unlinkat(dir_fd, name, 0) < 0 ? -errno : 0;
}

static ssize_t read_all(int fd, char *data, size_t size)
{
	size_t length = 0;
	ssize_t count;
	char more;

	while (length < size) {
		count = read(fd, data + length, size - length);
		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0)
			return -errno;
		if (count == 0)
			return (ssize_t)length;
		length += (size_t)count;
	}
	return read(fd, &more, 1) == 0 ? (ssize_t)length : -EFBIG;
}

/* Open what is a regular file at this moment; flags: O_PATH, or what reading takes. */
static int open_regular(int root_fd, const char *path, int flags)
{
	struct stat st;
	int error, fd = capsule_openbeneath_open(root_fd, path, flags, 0, CAPSULE_RESOLVE_IN_ROOT);

	if (fd < 0)
		return fd;
	error = fstat(fd, &st) < 0 ? -errno : 0;
	if (error == 0 && S_ISREG(st.st_mode))
		return fd;
	close_keep(fd);
	return error < 0 ? error : -EINVAL;
}

ssize_t capsule_openbeneath_read_file(int root_fd, const char *path, char *data, size_t size)
{
	ssize_t result;
	int fd = open_regular(root_fd, path, O_PATH);

	/* Looked at before it is opened: opening a device, a watchdog's for one, is an act. */
	if (fd < 0)
		return fd;
	close_keep(fd);
	fd = open_regular(root_fd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return fd;
	result = read_all(fd, data, size);
	close_keep(fd);
	return result;
}
