/* Sockets that are made to find something out, and go at once: man 2 bind. Returns 0 or -errno. */
#ifndef CAPSULE_SOCKETS_H
#define CAPSULE_SOCKETS_H

#include <stdint.h>

/*
 * Tell whether a socket could be bound to an address and port: 0, -EADDRINUSE, -EADDRNOTAVAIL, -EACCES. `family` is
 * AF_INET or AF_INET6 with 4 or 16 bytes of address in network order, `protocol` an IPPROTO_*, `port` in host order.
 * SO_REUSEADDR is set: a connection that lingers does not count.
 */
int capsule_sockets_try_bind(int family, int protocol, const void *address, uint16_t port);

#endif
