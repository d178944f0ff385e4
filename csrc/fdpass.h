/*
 * SOCK_SEQPACKET messages with descriptors beside them (unix(7)). Functions return a value >= 0 or
 * -errno.
 */
#ifndef CAPSULE_FDPASS_H
#define CAPSULE_FDPASS_H

#include <stddef.h>

#define CAPSULE_FDPASS_MAX 16 /* descriptors in one message */

int capsule_fdpass_pair(int pair[2]);
/* Send one message; SIGPIPE is never raised. */
int capsule_fdpass_send(int fd, const void *data, size_t size, const int *fds, size_t count);
/*
 * Receive one message of at most `size` bytes; 0 is end of file. Descriptors arrive close-on-exec
 * and are the caller's; *count is their number. A message or control block that was cut is
 * -EMSGSIZE.
 */
long capsule_fdpass_recv(int fd, void *data, size_t size, int *fds, size_t *count);
/* Sockets named beneath a directory fd, so that no path is longer than sun_path. */
int capsule_fdpass_listen(int dir_fd, const char *name);
/*
 * type: SOCK_SEQPACKET or SOCK_STREAM; with SOCK_NONBLOCK -EAGAIN where the queue of the listener
 * is full.
 */
int capsule_fdpass_connect(int dir_fd, const char *name, int type);
/* Bind a SOCK_DGRAM that everybody may write to; it does not exist for anybody before that. */
int capsule_fdpass_bind_datagram(int dir_fd, const char *name);
/* Connect a SOCK_DGRAM to a path, or to an abstract name where it begins with @. */
int capsule_fdpass_connect_datagram(const char *path);
/* Connect a SOCK_STREAM to an absolute or relative path, long ones through their directory. */
int capsule_fdpass_connect_path(const char *path);

#endif
