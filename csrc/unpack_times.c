/*
 * Times of directories: set last, since making an entry changes them. They wait in an unnamed file,
 * or a layer of millions of directories would fill the memory.
 */
#define _GNU_SOURCE
#include "openbeneath.h"
#include "unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFER_SIZE 65536
#define NAME ".capsule-times"

struct record {
	int64_t seconds;
	uint32_t nanoseconds;
	uint16_t length; /* of the path that follows */
};

struct capsule_unpack_times {
	int root_fd, fd;
	int parent_fd; /* of the last path that was applied */
	size_t parent_length;
	char parent[PATH_MAX];
	size_t used; /* of buffer, not yet written */
	char buffer[BUFFER_SIZE];
};

struct capsule_unpack_times *capsule_unpack_times_new(int root_fd)
{
	struct capsule_unpack_times *times = calloc(1, sizeof(*times));

	if (!times)
		return NULL;
	times->root_fd = root_fd;
	times->fd = times->parent_fd = -1;
	return times;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void capsule_unpack_times_free(struct capsule_unpack_times *times)
{
	if (!times)
		return;
	close_fd(&times->fd);
	close_fd(&times->parent_fd);
	free(times);
}

static int open_file(struct capsule_unpack_times *times)
{
	times->fd = openat(times->root_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (times->fd >= 0)
		return 0;
	if (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT)
		return -errno;
	times->fd = openat(times->root_fd, NAME, O_CREAT | O_EXCL | O_NOFOLLOW | O_RDWR | O_CLOEXEC,
			   0600);
	if (times->fd < 0)
		return -errno;
	unlinkat(times->root_fd, NAME, 0);
	return 0;
}

static int write_out(struct capsule_unpack_times *times)
{
	int error = times->fd < 0 ? open_file(times) : 0;
	size_t done = 0;

	while (error == 0 && done < times->used) {
		ssize_t count = write(times->fd, times->buffer + done, times->used - done);

		if (count < 0 && errno != EINTR)
			error = -errno;
		if (count > 0)
			done += (size_t)count;
	}
	times->used = 0;
	return error;
}

int capsule_unpack_times_add(struct capsule_unpack_times *times, const char *path,
			     const struct timespec *mtime)
{
	struct record record = {
		.seconds = mtime->tv_sec,
		.nanoseconds = (uint32_t)mtime->tv_nsec,
		.length = (uint16_t)strlen(path),
	};
	int error;

	if (times->used + sizeof(record) + record.length > BUFFER_SIZE) {
		error = write_out(times);
		if (error < 0)
			return error;
	}
	memcpy(times->buffer + times->used, &record, sizeof(record));
	memcpy(times->buffer + times->used + sizeof(record), path, record.length);
	times->used += sizeof(record) + record.length;
	return 0;
}

/* Open the directory of a path, unless it is the last one's; returns the name in it, NULL: gone. */
static const char *open_parent(struct capsule_unpack_times *times, char *path)
{
	char *slash = strrchr(path, '/');
	size_t length = slash ? (size_t)(slash - path) : 0;

	if (times->parent_fd < 0 || length != times->parent_length ||
	    memcmp(path, times->parent, length) != 0) {
		close_fd(&times->parent_fd);
		memcpy(times->parent, path, length);
		times->parent[length] = '\0';
		times->parent_length = length;
		times->parent_fd =
			capsule_openbeneath_open(times->root_fd, length ? times->parent : ".",
						 O_PATH | O_DIRECTORY, 0, CAPSULE_RESOLVE_BENEATH);
		if (times->parent_fd < 0)
			return NULL;
	}
	return slash ? slash + 1 : path;
}

static int apply_one(struct capsule_unpack_times *times, const struct record *record, char *path)
{
	struct timespec stamps[2] = {
		{ .tv_nsec = UTIME_OMIT },
		{ .tv_sec = record->seconds, .tv_nsec = record->nanoseconds },
	};
	const char *name;
	struct stat st;

	if (!path[0])
		return futimens(times->root_fd, stamps) < 0 ? -errno : 0;
	name = open_parent(times, path);
	/* A later member may have put something else there. */
	if (!name || fstatat(times->parent_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
	    !S_ISDIR(st.st_mode))
		return 0;
	return utimensat(times->parent_fd, name, stamps, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

/* Apply the complete records at the start of the buffer; what is left moves to its start. */
static int apply_buffer(struct capsule_unpack_times *times)
{
	size_t at = 0;
	int error = 0;

	while (error == 0 && times->used - at >= sizeof(struct record)) {
		struct record record;
		char path[PATH_MAX];

		memcpy(&record, times->buffer + at, sizeof(record));
		if (record.length >= sizeof(path))
			return -EINVAL;
		if (times->used - at < sizeof(record) + record.length)
			break;
		memcpy(path, times->buffer + at + sizeof(record), record.length);
		path[record.length] = '\0';
		at += sizeof(record) + record.length;
		error = apply_one(times, &record, path);
	}
	times->used -= at;
	memmove(times->buffer, times->buffer + at, times->used);
	return error;
}

int capsule_unpack_times_apply(struct capsule_unpack_times *times)
{
	ssize_t count;
	int error;

	if (times->fd < 0)
		return apply_buffer(times);
	error = write_out(times);
	if (error < 0)
		return error;
	if (lseek(times->fd, 0, SEEK_SET) < 0)
		return -errno;
	do {
		count = read(times->fd, times->buffer + times->used, BUFFER_SIZE - times->used);
		if (count < 0)
			return -errno;
		times->used += (size_t)count;
		error = apply_buffer(times);
	} while (error == 0 && count > 0);
	return error;
}
