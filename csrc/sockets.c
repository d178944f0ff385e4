/* See sockets.h. */
#define _GNU_SOURCE
#include "sockets.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 64

int capsule_sockets_bind(int family, int protocol, const void *address, uint16_t port, int how)
{
	int kind = protocol == IPPROTO_UDP ? SOCK_DGRAM : SOCK_STREAM;
	int on = 1, fd = socket(family, kind | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol), result;
	struct sockaddr_in four = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_port = htons(port) };

	if (fd < 0)
		return -errno;
	/* UDP sockets with it may share a port: there it would find nothing out. */
	if (protocol != IPPROTO_UDP)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (how & SOCKETS_ABSENT)
		setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &on, sizeof(on));
	if (how & SOCKETS_LOCAL &&
	    setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", sizeof("lo")) < 0)
		goto failed;
	if (family == AF_INET6) {
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
		memcpy(&six.sin6_addr, address, sizeof(six.sin6_addr));
		result = bind(fd, (const struct sockaddr *)&six, sizeof(six));
	} else {
		memcpy(&four.sin_addr, address, sizeof(four.sin_addr));
		result = bind(fd, (const struct sockaddr *)&four, sizeof(four));
	}
	/* Linux lets two with SO_REUSEADDR bind one port as long as neither listens. */
	if (result == 0 && protocol != IPPROTO_UDP)
		result = listen(fd, BACKLOG);
	if (result == 0)
		return fd;
failed:
	result = -errno;
	close(fd);
	return result;
}
