/* Messages with descriptors; see fdpass.h. */
#define _GNU_SOURCE
#include "fdpass.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define CONNECT_TIMEOUT_S 10

int capsule_fdpass_pair(int pair[2])
{
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0 ? -errno : 0;
}

int capsule_fdpass_send(int fd, const void *data, size_t size, const int *fds, size_t count)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int) * CAPSULE_FDPASS_MAX)];
	} control;
	struct iovec iov = { .iov_base = (void *)data, .iov_len = size };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t sent;

	if (count > CAPSULE_FDPASS_MAX)
		return -E2BIG;
	if (count) {
		memset(&control, 0, sizeof(control));
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int) * count);
		memcpy(CMSG_DATA(&control.header), fds, sizeof(int) * count);
	}
	do {
		sent = sendmsg(fd, &message, MSG_NOSIGNAL);
	} while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : 0;
}

static void take_fds(struct msghdr *message, int *fds, size_t *count)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		size_t n;
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(fds + *count, CMSG_DATA(c), n * sizeof(int));
		*count += n;
	}
}

long capsule_fdpass_recv(int fd, void *data, size_t size, int *fds, size_t *count)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int) * CAPSULE_FDPASS_MAX)];
	} control;
	struct iovec iov = { .iov_base = data, .iov_len = size };
	struct msghdr message = { .msg_iov = &iov,
				  .msg_iovlen = 1,
				  .msg_control = &control,
				  .msg_controllen = sizeof(control) };
	ssize_t got;

	*count = 0;
	do {
		got = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
	} while (got < 0 && errno == EINTR);
	if (got < 0)
		return -errno;
	take_fds(&message, fds, count);
	if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
		while (*count)
			close(fds[--*count]);
		return -EMSGSIZE;
	}
	return got;
}

static int beneath(int dir_fd, const char *name, struct sockaddr_un *address)
{
	int length;

	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	length = snprintf(address->sun_path, sizeof(address->sun_path), "/proc/self/fd/%d/%s",
			  dir_fd, name);
	return length < (int)sizeof(address->sun_path) ? 0 : -ENAMETOOLONG;
}

int capsule_fdpass_listen(int dir_fd, const char *name)
{
	struct sockaddr_un address;
	int fd, ret = beneath(dir_fd, name, &address);

	if (ret < 0)
		return ret;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	/* bind(2) takes the mode of the new file from the socket's inode (unix(7)). */
	if (fchmod(fd, 0600) < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(fd, 16) < 0) {
		ret = -errno;
		close(fd);
		return ret;
	}
	return fd;
}

/* Set how long connect(2) and writes may wait, 0 being for ever (unix(7), socket(7)). */
static void set_patience(int fd, time_t seconds)
{
	const struct timeval limit = { .tv_sec = seconds };

	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
}

int capsule_fdpass_bind_datagram(int dir_fd, const char *name)
{
	struct sockaddr_un address;
	int fd, ret = beneath(dir_fd, name, &address);

	if (ret < 0)
		return ret;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	/* By name: bind(2) would apply our umask to the mode of the socket's inode. */
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    chmod(address.sun_path, 0666) < 0) {
		ret = -errno;
		close(fd);
		return ret;
	}
	return fd;
}

static int connect_to(const struct sockaddr_un *address, socklen_t size, int type)
{
	/* A stream leads to somebody else's server, which may have stopped accepting. */
	const bool impatient = type == SOCK_STREAM;
	int ret, fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (impatient)
		set_patience(fd, CONNECT_TIMEOUT_S);
	do {
		ret = connect(fd, (const struct sockaddr *)address, size);
	} while (ret < 0 && errno == EINTR);
	ret = ret < 0 ? -errno : 0;
	if (impatient)
		set_patience(fd, 0);
	if (ret == 0)
		return fd;
	close(fd);
	return impatient && ret == -EAGAIN ? -ETIMEDOUT : ret;
}

int capsule_fdpass_connect(int dir_fd, const char *name, int type)
{
	struct sockaddr_un address;
	int ret = beneath(dir_fd, name, &address);

	return ret < 0 ? ret : connect_to(&address, sizeof(address), type);
}

static int connect_path(const char *path, int type)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const char *slash = strrchr(path, '/');
	char parent[PATH_MAX];
	int dir_fd, fd;

	if (strlen(path) < sizeof(address.sun_path)) {
		memcpy(address.sun_path, path, strlen(path) + 1);
		return connect_to(&address, sizeof(address), type);
	}
	if (!slash || (size_t)(slash - path) >= sizeof(parent))
		return -ENAMETOOLONG;
	memcpy(parent, path, (size_t)(slash - path));
	parent[slash - path] = '\0';
	dir_fd = open(*parent ? parent : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0)
		return -errno;
	fd = capsule_fdpass_connect(dir_fd, slash + 1, type);
	close(dir_fd);
	return fd;
}

int capsule_fdpass_connect_path(const char *path)
{
	return connect_path(path, SOCK_STREAM);
}

int capsule_fdpass_connect_datagram(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t length = strlen(path);

	if (*path != '@')
		return connect_path(path, SOCK_DGRAM);
	if (length > sizeof(address.sun_path))
		return -ENAMETOOLONG;
	/* unix(7): a zero byte, then the name, which is as long as the address says. */
	memcpy(address.sun_path + 1, path + 1, length - 1);
	return connect_to(&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length),
			  SOCK_DGRAM);
}
