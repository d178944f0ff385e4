/* See attendstart.h. */
#define _GNU_SOURCE
#include "attendstart.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define FIRST 3

struct order {
	int program_fd;
	char *const *argv;
	int data_fd;
	const int *sockets;
	size_t count;
};

/*
 * Put the descriptors where they belong, by way of numbers above them all: each may be in another
 * one's place. Returns the program's, or -errno.
 */
static int place(const struct order *order)
{
	int above = FIRST + 1 + (int)order->count, moved[ATTEND_SOCKETS_MAX];
	int data_fd = fcntl(order->data_fd, F_DUPFD_CLOEXEC, above);
	int program_fd = fcntl(order->program_fd, F_DUPFD_CLOEXEC, above);
	int null_fd;

	if (data_fd < 0 || program_fd < 0)
		return -errno;
	for (size_t i = 0; i < order->count; i++) {
		moved[i] = fcntl(order->sockets[i], F_DUPFD_CLOEXEC, above);
		if (moved[i] < 0)
			return -errno;
	}
	null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int fd = 0; fd < FIRST; fd++)
		if (dup2(null_fd, fd) < 0)
			return -errno;
	if (dup2(data_fd, FIRST) < 0)
		return -errno;
	for (size_t i = 0; i < order->count; i++)
		if (dup2(moved[i], FIRST + 1 + (int)i) < 0)
			return -errno;
	return program_fd;
}

/* The caller's handlers, blocked signals, directory and terminal are not ours. */
static void detach(void)
{
	struct sigaction by_default = { .sa_handler = SIG_DFL };
	sigset_t none;

	for (int number = 1; number < NSIG; number++)
		sigaction(number, &by_default, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	(void)!chdir("/");
}

static int execute(const struct order *order)
{
	struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET };
	char *const environment[] = { NULL };
	int program_fd = place(order), first = FIRST + 1 + (int)order->count;

	if (program_fd < 0)
		return program_fd;
	detach();
	if (program_fd > first)
		syscall(SYS_close_range, first, program_fd - 1, 0U);
	syscall(SYS_close_range, program_fd + 1, ~0U, 0U);
	/*
	 * It goes with the process and no child has it: whoever asks for its owner learns our pid.
	 * Taken when no other descriptor of the file is left, for closing any of them ends it.
	 */
	if (fcntl(FIRST, F_SETLK, &lock) < 0)
		return -errno;
	syscall(SYS_execveat, program_fd, "", order->argv, environment, AT_EMPTY_PATH);
	return -errno;
}

int capsule_attendstart_run(int program_fd, char *const argv[], int data_fd, const int *sockets,
			    size_t count)
{
	const struct order order = { program_fd, argv, data_fd, sockets, count };
	volatile int failure = 0;
	sigset_t all, before;
	pid_t pid;
	int error;

	if (count > ATTEND_SOCKETS_MAX)
		return -E2BIG;
	/* Blocked across vfork so that no handler of the parent runs on the shared memory. */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	pid = vfork();
	if (pid == 0) {
		pid_t attendant = vfork();

		if (attendant == 0) {
			failure = execute(&order);
			_exit(127);
		}
		if (attendant < 0)
			failure = -errno;
		else if (failure < 0)
			waitpid(attendant, NULL, 0);
		_exit(0);
	}
	error = errno;
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (pid < 0)
		return -error;
	while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
		continue;
	return failure;
}

int capsule_attendstart_holder(int fd)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	if (fcntl(fd, F_GETLK, &lock) < 0)
		return -errno;
	return lock.l_type == F_UNLCK ? 0 : lock.l_pid;
}
