/*
 * Pseudo-terminals that were checked to be ones: man 4 pts, man 2 TIOCGPTPEER.
 * Functions return 0, a file descriptor (O_CLOEXEC, the caller's) or -errno.
 */
#ifndef CAPSULE_PTY_H
#define CAPSULE_PTY_H

#include <sys/types.h>

/*
 * Open a new pair's master: path (of a ptmx of devpts) in root_fd, no link followed. root_fd -1:
 * the host's /dev/ptmx. -ENOTTY: what is there is no ptmx of a devpts.
 */
int capsule_pty_open_master(int root_fd, const char *path);
/* Unlock the pair and open its other side without a path. */
int capsule_pty_open_slave(int master_fd);
int capsule_pty_set_size(int fd, unsigned short rows, unsigned short columns);
/* Give a pair the size of another terminal; -ENOTTY where that is none. */
int capsule_pty_copy_size(int from_fd, int to_fd);
/* Stop the terminal from writing "\r\n" for "\n". */
int capsule_pty_clear_onlcr(int fd);
/* Give the slave's node to uid; its group stays. */
int capsule_pty_own(int slave_fd, uid_t uid);

#endif
