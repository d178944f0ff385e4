/*
 * The scene in which a test starts the runtime: each command changes something that Python's
 * subprocess cannot change between fork and execve, then executes the rest of its arguments.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "payload.h"

static int scene(const char *name, char *argument)
{
	if (!strcmp(name, "ctty"))		/* fd 0 becomes the controlling terminal */
		return setsid() < 0 || ioctl(0, TIOCSCTTY, 0) < 0;
	if (!strcmp(name, "session"))		/* a session without a terminal */
		return setsid() < 0;
	if (!strcmp(name, "closed")) {		/* closes the fds listed: 0,1,2 */
		for (char *word = strtok(argument, ","); word; word = strtok(NULL, ","))
			close(atoi(word));
		return 0;
	}
	if (!strcmp(name, "directories")) {	/* leaves open directories in fds 3, 4, ... */
		for (int i = 0; i < atoi(argument); i++)
			if (open("/", O_RDONLY | O_DIRECTORY) < 0)
				return 1;
		return 0;
	}
	if (!strcmp(name, "ignore")) {		/* ignores and blocks a signal */
		sigset_t set;

		sigemptyset(&set);
		sigaddset(&set, atoi(argument));
		signal(atoi(argument), SIG_IGN);
		return sigprocmask(SIG_BLOCK, &set, NULL);
	}
	if (!strcmp(name, "umask"))
		return (umask((mode_t)strtol(argument, NULL, 8)), 0);
	if (!strcmp(name, "cpu")) {		/* pins to one processor */
		cpu_set_t cpus;

		CPU_ZERO(&cpus);
		CPU_SET(atoi(argument), &cpus);
		return sched_setaffinity(0, sizeof(cpus), &cpus);
	}
	if (!strcmp(name, "nofile")) {
		struct rlimit limit = { strtoul(argument, NULL, 10), strtoul(argument, NULL, 10) };

		return setrlimit(RLIMIT_NOFILE, &limit);
	}
	fprintf(stderr, "payload: no scene %s\n", name);
	return 1;
}

int command_host(int argc, char **argv)
{
	if (argc < 3 || scene(argv[0], argv[1]))
		return 125;
	execv(argv[2], argv + 2);
	return 126;
}
