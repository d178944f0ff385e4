/* The child whose end is waited for; shared by the relay and the monitor. */
#include "relay.h"

#include <linux/signal.h>

#define WNOHANG_FLAG 1
#define WALL_FLAG 0x40000000 /* __WALL: whatever signal the child was cloned with */

void capsule_relay_fill_stdio(void)
{
	for (int fd = 0; fd < 3; fd++)
		if (rt2(__NR_fcntl, fd, F_GETFD) == -EBADF)
			rt4(__NR_openat, AT_FDCWD, "/dev/null", O_RDWR, 0);
}

void capsule_relay_keep_status(void)
{
	const struct rt_sigaction by_default = { 0 };

	rt4(__NR_rt_sigaction, SIGCHLD, &by_default, 0, sizeof(uint64_t));
}

static void note_status(struct relay_child *child, int status)
{
	child->ended = child->status_known = true;
	child->status = status;
}

void capsule_relay_reap(struct relay_child *child)
{
	for (;;) {
		int status = 0;
		long pid = rt4(__NR_wait4, -1, &status, WNOHANG_FLAG | WALL_FLAG, 0);

		if (pid == child->pid)
			note_status(child, status);
		if (pid > 0 && pid == child->other)
			child->other = 0;
		if (pid <= 0 && pid != -EINTR)
			return;
	}
}

/*
 * A tracer, which a hostile container may have, is told of a death before the parent: then nothing
 * is to be reaped yet, and SIGCHLD comes when it lets go (ptrace(2)). An error: somebody else has
 * reaped the child.
 */
void capsule_relay_look(struct relay_child *child)
{
	int status = 0;
	long pid = rt4(__NR_wait4, child->pid, &status, WNOHANG_FLAG | WALL_FLAG, 0);

	if (pid == child->pid)
		note_status(child, status);
	child->traced = !pid;
	child->ended = pid;
}
