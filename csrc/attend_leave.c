/*
 * Out of the cgroups of whoever made the first container: a unit that is stopped takes all of its
 * cgroup along, and we serve other units' containers as well. To the roots of the hierarchies, for
 * a cgroup of our own would have to be removed by somebody.
 *
 * Where v2 is, its file is opened while we are root, which is what the kernel asks of who writes to
 * it, and written a moment later: that keeps the lock of all cgroups for a grace period of RCU, and
 * the container is just being made. A thread alone, on v1, moves without one.
 */
#include "attend.h"

#include <linux/stat.h>

#define ROOT "/sys/fs/cgroup"
#define NAME_MAX_SIZE 64
#define REST_MS 500
#define ENTRY_DIRECTORY 4 /* DT_DIR */

struct entry { /* getdents64(2) */
	uint64_t inode;
	int64_t offset;
	uint16_t size;
	uint8_t type;
	char name[];
};

static void leave(struct attend_slot *slot, int revents)
{
	rt3(__NR_write, slot->fd, "0", 1);
	capsule_attend_forget(slot);
}

static int open_below(int root, const char *name, const char *file)
{
	char path[NAME_MAX_SIZE + 16];
	size_t size = 0;

	for (; name[size] && size < NAME_MAX_SIZE; size++)
		path[size] = name[size];
	path[size++] = '/';
	for (; *file; file++)
		path[size++] = *file;
	path[size] = 0;
	return (int)rt_open(root, path, O_WRONLY);
}

/* Returns whether there is such a file; the loop takes it. */
static bool leave_unified(int root, const char *name)
{
	int fd = open_below(root, name, "cgroup.procs");

	if (fd < 0)
		return false;
	capsule_attend_deadline(capsule_attend_watch(fd, 0, leave, NULL), REST_MS);
	return true;
}

static void leave_each(int root)
{
	static char buffer[4096] __attribute__((aligned(8)));
	long size;

	while ((size = rt3(__NR_getdents64, root, buffer, sizeof(buffer))) > 0) {
		for (long at = 0; at < size;) {
			const struct entry *one = (const void *)(buffer + at);
			int fd;

			at += one->size;
			if (one->name[0] == '.' || one->type != ENTRY_DIRECTORY)
				continue;
			fd = open_below(root, one->name, "tasks");
			if (fd < 0) {
				leave_unified(root, one->name); /* v2 beside v1 */
				continue;
			}
			rt3(__NR_write, fd, "0", 1);
			rt_close(fd);
		}
	}
}

void capsule_attend_leave(void)
{
	long root = rt_open(AT_FDCWD, ROOT, O_RDONLY | O_DIRECTORY);

	if (root < 0)
		return;
	if (!leave_unified((int)root, "."))
		leave_each((int)root);
	rt_close((int)root);
}
