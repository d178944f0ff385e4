/*
 * A program that somebody must watch: user-mode networking of one container. It ends with us,
 * whatever ends us; and we with it, with its container, or with the data file.
 *
 *     NAME LABEL -n|-u PROGRAM ARGUMENT...
 *
 * fd 4 is a pidfd of the container's first process, fd 5 where the program says that it is ready,
 * fd 6 becomes its standard error, fd 7 is the container's network namespace, and with -u fd 8 is
 * the user namespace that has the right over it, whose root we are: we enter it, and the program is
 * born inside.
 * An argument @N becomes a path of our fd N, for programs that close what they inherit: within one
 * user namespace they may open it.
 */
#include "attend.h"

#include <linux/capability.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/signal.h>

enum { CONTAINER = ATTEND_SOCKETS, READY, ERRORS, NETNS, USERNS };

#define PATHS 4
#define PATH_SIZE 32 /* "/proc/", a pid, "/fd/", a digit */

static int child = -1; /* its pidfd */

/* Whoever waits for our end may count on the program's. */
_Noreturn void capsule_attend_end(void)
{
	if (child >= 0) {
		rt4(RT_NR_pidfd_send_signal, child, SIGKILL, 0, 0);
		rt4(__NR_wait4, -1, NULL, 0, NULL);
	}
	rt_exit(0);
}

static void on_end(struct attend_slot *slot, int revents)
{
	capsule_attend_end();
}

static char *path_of_ours(char digit, char *end)
{
	long pid = rt0(__NR_getpid);

	*--end = 0;
	*--end = digit;
	end -= 4;
	memcpy(end, "/fd/", 4);
	for (; pid; pid /= 10)
		*--end = (char)('0' + pid % 10);
	end -= 6;
	memcpy(end, "/proc/", 6);
	return end;
}

static void name_ours(char **argv)
{
	static char paths[PATHS][PATH_SIZE];

	for (size_t used = 0; *argv && used < PATHS; argv++)
		if (argv[0][0] == '@') {
			*argv = path_of_ours(argv[0][1], paths[used] + PATH_SIZE);
			used++;
		}
}

static _Noreturn void become(long parent, int gate, char **argv, char **envp)
{
	char nothing;

	rt5(__NR_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	rt3(__NR_read, gate, &nothing, 1);
	rt_close(gate);
	/* It may have died before that. */
	if (rt0(__NR_getppid) == parent) {
		capsule_rt_default_signals();
		rt3(__NR_dup3, ERRORS, 2, 0);
		rt_close(ERRORS);
		rt_close(CONTAINER);
		rt_close(ATTEND_DATA);
		rt_close(NETNS);
		rt3(__NR_execve, argv[0], argv, envp);
	}
	rt_exit(127);
}

/* The program may look into us when we can do nothing that it cannot (ptrace(2), access modes). */
static void drop_capabilities(void)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	const struct __user_cap_data_struct none[2] = { 0 };

	rt2(__NR_capset, &header, none);
	rt5(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

bool capsule_attend_child(bool enters, char **argv, char **envp)
{
	long self = rt0(__NR_getpid), pid;
	int gate[2];

	if (enters) {
		if (rt2(__NR_setns, USERNS, CLONE_NEWUSER) < 0)
			return false;
		rt_close(USERNS);
	}
	if (rt2(__NR_pipe2, gate, O_CLOEXEC) < 0)
		return false;
	name_ours(argv);
	/* We may not be read by anybody, so nobody else may look into us unless we say so. */
	rt5(__NR_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
	pid = capsule_rt_fork(&child);
	if (!pid) {
		rt_close(gate[1]);
		become(self, gate[0], argv, envp);
	}
	drop_capabilities();
	rt_close(gate[0]);
	rt_close(gate[1]);
	if (pid < 0)
		return false;
	rt_close(ERRORS);
	capsule_attend_watch(CONTAINER, RT_POLLIN, on_end, NULL);
	capsule_attend_watch(child, RT_POLLIN, on_end, NULL);
	return true;
}
