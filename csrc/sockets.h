/* Sockets bound to an address and port: man 2 bind. */
#ifndef CAPSULE_SOCKETS_H
#define CAPSULE_SOCKETS_H

#include <stdint.h>

enum capsule_sockets_how {
	SOCKETS_ABSENT = 1, /* the address need not be there yet */
	/*
	 * It hears what the host itself sends and nothing that comes in by another link than lo; the
	 * port is taken all the same.
	 */
	SOCKETS_LOCAL = 2,
};

/*
 * Open a non-blocking socket bound to an address and port, listening unless it is UDP. `family` is AF_INET or AF_INET6 with 4 or 16 bytes of address in network order, `protocol` an
 * IPPROTO_*, `port` in host order. A connection that lingers does not count. Returns the descriptor, -EADDRINUSE,
 * -EADDRNOTAVAIL, -EACCES or another -errno.
 */
int capsule_sockets_bind(int family, int protocol, const void *address, uint16_t port, int how);

#endif
