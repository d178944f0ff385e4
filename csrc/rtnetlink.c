/* See rtnetlink.h. */
#define _GNU_SOURCE
#include "rtnetlink.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

static int open_here(int protocol)
{
	const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	const int longest = 16 << 20;
	int on = 1, fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);

	if (fd < 0)
		return -errno;
	/* Connected, it hears nobody else: root of a joined namespace could answer for the kernel. */
	if (connect(fd, (const struct sockaddr *)&kernel, sizeof(kernel)) < 0) {
		int saved = errno;

		close(fd);
		return -saved;
	}
	/* A batch is one datagram; published ranges of ports make it long. Without the privilege it is as long as any. */
	if (protocol == NETLINK_NETFILTER)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &longest, sizeof(longest));
	/* Without these a refusal is a number only. */
	setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on));
	setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on));
	return fd;
}

int capsule_rtnetlink_open(int netns_fd, int protocol)
{
	int own, result;

	if (netns_fd < 0)
		return open_here(protocol);
	own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (own < 0)
		return -errno;
	result = setns(netns_fd, CLONE_NEWNET) < 0 ? -errno : open_here(protocol);
	if (setns(own, CLONE_NEWNET) < 0) {
		if (result >= 0)
			close(result);
		result = -errno;
	}
	close(own);
	return result;
}
