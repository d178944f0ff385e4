/* See rtnetlink.h. */
#define _GNU_SOURCE
#include "rtnetlink.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

static int open_here(void)
{
	int on = 1, fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	if (fd < 0)
		return -errno;
	/* Without these a refusal is a number only. */
	setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on));
	setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on));
	return fd;
}

int capsule_rtnetlink_open(int netns_fd)
{
	int own, result;

	if (netns_fd < 0)
		return open_here();
	own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (own < 0)
		return -errno;
	result = setns(netns_fd, CLONE_NEWNET) < 0 ? -errno : open_here();
	if (setns(own, CLONE_NEWNET) < 0) {
		if (result >= 0)
			close(result);
		result = -errno;
	}
	close(own);
	return result;
}
