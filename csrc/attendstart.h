/* Starting an attendant (attend.h), and asking the kernel whether one lives. Return 0 or -errno. */
#ifndef CAPSULE_ATTENDSTART_H
#define CAPSULE_ATTENDSTART_H

#include <stddef.h>

#define ATTEND_SOCKETS_MAX 400

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
