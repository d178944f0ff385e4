/* Removal of a directory tree that may be hostile: of any depth, with two file descriptors. */
#ifndef CAPSULE_REMOVETREE_H
#define CAPSULE_REMOVETREE_H

/*
 * Remove what has a name in dir_fd, whatever it is; fine when nothing has. No link is followed.
 * Directories below it are moved up before they are emptied, so that depth costs nothing; a
 * removal that was cut short is simply done again. Returns 0 or -errno.
 */
int capsule_removetree(int dir_fd, const char *name);

#endif
