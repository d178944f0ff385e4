/* Starting an attendant (attend.h), and asking the kernel whether one lives. Return 0 or -errno. */
#ifndef CAPSULE_ATTENDSTART_H
#define CAPSULE_ATTENDSTART_H

#include <stddef.h>
#include <stdint.h>

#define ATTEND_SOCKETS_MAX 400

/*
 * Open a socket bound to an address and port, listening where it is TCP; the address need not be
 * there yet. `family` is AF_INET or AF_INET6 with 4 or 16 bytes of address in network order,
 * `protocol` IPPROTO_TCP or IPPROTO_UDP, `port` in host order. With `local` it hears what the host
 * itself sends and nothing that comes in by another link than lo; the port is taken all the same.
 * Returns the descriptor or -errno.
 */
int capsule_attendstart_bind(int family, int protocol, const void *address, uint16_t port,
			     int local);

/*
 * Run a program as nobody's child, in a session of its own, with /dev/null for stdio, data_fd as
 * fd 3 and the sockets behind it, with an empty environment. It holds a lock on data_fd (fcntl(2)
 * F_SETLK) when this returns 0, and for as long as it lives.
 */
int capsule_attendstart_run(int program_fd, char *const argv[], int data_fd, const int *sockets,
			    size_t count);

/* The pid of the process that holds the lock on a file; 0 where nobody does. */
int capsule_attendstart_holder(int fd);

#endif
