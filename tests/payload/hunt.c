/*
 * A hostile container process: until a file appears, attack every process of the pid namespace
 * but itself, and count by target. A process whose executable is this program is the container's
 * own and is left alone, once that is certain; anything else that opens is a way out.
 *
 * A seized target is interrupted at once and looked at when it has stopped. Where the first stop is
 * an exec event nothing is proved: the kernel lets a tracer in once execve has installed the new
 * program, and reports the event after that (fs/exec.c, setup_new_exec before ptrace_event).
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "payload.h"

struct tally {
	unsigned long rounds;		/* passes over /proc */
	unsigned long seen;		/* processes that were not ours when looked at */
	unsigned long refused;		/* attacks the kernel refused */
	unsigned long own;		/* successes against the container's own program */
	unsigned long late;		/* seized as its execve was ending */
	unsigned long caught;		/* successes against anything else */
	char what[256];			/* the first of them */
};

static struct stat self_exe;

/* Whether the target runs this very program; -1 when the kernel does not let us look. */
static int is_own(int pid)
{
	char path[64];
	struct stat info;

	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	if (stat(path, &info))
		return -1;
	return info.st_dev == self_exe.st_dev && info.st_ino == self_exe.st_ino;
}

static void note(struct tally *tally, int pid, const char *attack)
{
	char path[64], target[128] = "";

	tally->caught++;
	if (tally->what[0])
		return;
	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	if (readlink(path, target, sizeof(target) - 1) < 0)
		strcpy(target, "what cannot be read");
	snprintf(tally->what, sizeof(tally->what), "%s of pid %d running %s", attack, pid, target);
}

static void seize(struct tally *tally, int pid)
{
	int status;

	if (ptrace(PTRACE_SEIZE, pid, NULL, (void *)(long)PTRACE_O_TRACEEXEC)) {
		tally->refused++;
		return;
	}
	ptrace(PTRACE_INTERRUPT, pid, NULL, NULL);
	if (waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status))
		return;
	if (status >> 8 == (SIGTRAP | PTRACE_EVENT_EXEC << 8))
		tally->late++;
	else if (is_own(pid) == 0)
		note(tally, pid, "seize");
	else
		tally->own++;
	ptrace(PTRACE_DETACH, pid, NULL, NULL);
}

/* Count the opening of a file of the target as a success only while the target is not ours:
 * looked at before and after, because it may become ours in between. */
static void open_part(struct tally *tally, int pid, const char *part, int flags)
{
	char path[64];
	int fd;

	if (is_own(pid) == 1)
		return;
	snprintf(path, sizeof(path), "/proc/%d/%s", pid, part);
	fd = open(path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0) {
		tally->refused += errno == EACCES || errno == EPERM;
		return;
	}
	if (is_own(pid) == 0)
		note(tally, pid, part);
	close(fd);
}

static void steal_fds(struct tally *tally, int pid)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	char part[32];

	for (int fd = 0; fd < 16; fd++) {
		int stolen = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);

		if (stolen >= 0) {
			if (is_own(pid) == 0)
				note(tally, pid, "pidfd_getfd");
			close(stolen);
		} else {
			tally->refused += errno == EPERM;
		}
		snprintf(part, sizeof(part), "fd/%d", fd);
		open_part(tally, pid, part, O_PATH);
	}
	if (pidfd >= 0)
		close(pidfd);
}

static void attack(struct tally *tally, int pid)
{
	if (is_own(pid) == 1)
		return;
	tally->seen++;
	open_part(tally, pid, "mem", O_RDWR);
	seize(tally, pid);
	open_part(tally, pid, "root", O_PATH | O_DIRECTORY);
	open_part(tally, pid, "cwd", O_PATH | O_DIRECTORY);
	open_part(tally, pid, "exe", O_RDONLY);
	steal_fds(tally, pid);
}

static void sweep(struct tally *tally, DIR *proc)
{
	struct dirent *entry;

	rewinddir(proc);
	tally->rounds++;
	while ((entry = readdir(proc))) {
		int pid = atoi(entry->d_name);

		if (pid > 0 && pid != getpid())
			attack(tally, pid);
	}
}

int command_hunt(int argc, char **argv)
{
	struct tally tally = { 0 };
	DIR *proc = opendir("/proc");

	if (argc < 1 || !proc || stat("/proc/self/exe", &self_exe))
		return 2;
	puts("hunting");
	fflush(stdout);
	while (access(argv[0], F_OK))
		sweep(&tally, proc);
	json_object(NULL);
	json_unsigned("rounds", tally.rounds);
	json_unsigned("seen", tally.seen);
	json_unsigned("refused", tally.refused);
	json_unsigned("own", tally.own);
	json_unsigned("late", tally.late);
	json_unsigned("caught", tally.caught);
	json_string("what", tally.what);
	json_object_end();
	json_end();
	return 0;
}
