/*
 * What of a directory tree others than its owner and group may not read.
 *
 * A directory is found that others may not list or enter, anything else that others may not read;
 * symbolic links are neither found nor followed, and what a found directory holds is not looked at.
 */
#ifndef CAPSULE_UNREADABLE_H
#define CAPSULE_UNREADABLE_H

#include <sys/stat.h>

/*
 * How deep: 1 is what the directory holds. Deeper than `sure` only the first `most` entries are
 * looked at, below each entry of the directory.
 */
struct capsule_unreadable_depth {
	unsigned int levels, sure, most;
};

/* Told each path that is found. Returns 0 to go on, anything else to stop. */
typedef int (*capsule_unreadable_found)(void *context, const char *path, const struct stat *stat);

/*
 * Search a directory, which may itself be a link. Nothing is found where there is no directory.
 * What is below and cannot be looked at is found: a directory that cannot be opened or read, with
 * its stat; others as a file or directory without a mode.
 *
 * Returns 0, what `found` returned to stop, or -errno: the directory itself cannot be opened,
 * or a path is longer than PATH_MAX (-ENAMETOOLONG).
 */
int capsule_unreadable_search(const char *directory, const struct capsule_unreadable_depth *depth,
			      capsule_unreadable_found found, void *context);

#endif
