/* Processes and descriptors; see proc.h. */
#define _GNU_SOURCE
#include "proc.h"

#include <errno.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int result(long value)
{
	return value < 0 ? -errno : (int)value;
}

int capsule_proc_pidfd_open(pid_t pid)
{
	return result(syscall(SYS_pidfd_open, pid, 0));
}

int capsule_proc_pidfd_signal(int pidfd, int sig)
{
	return result(syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0));
}

int capsule_proc_pidfd_exited(int pidfd)
{
	struct pollfd poll_fd = { .fd = pidfd, .events = POLLIN };

	return result(poll(&poll_fd, 1, 0));
}

int capsule_proc_wait(pid_t pid, int flags, int *status)
{
	pid_t got;

	do {
		got = waitpid(pid, status, flags);
	} while (got < 0 && errno == EINTR);
	return result(got);
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int capsule_proc_poll(struct pollfd *fds, unsigned int count, int timeout_ms)
{
	int64_t deadline = timeout_ms >= 0 ? now_ms() + timeout_ms : 0;
	int ready;

	while ((ready = poll(fds, count, timeout_ms)) < 0 && errno == EINTR) {
		if (timeout_ms >= 0) {
			int64_t left = deadline - now_ms();
			timeout_ms = left > 0 ? (int)left : 0;
		}
	}
	return result(ready);
}

int capsule_proc_flock(int fd, int operation)
{
	int ret;

	do {
		ret = flock(fd, operation);
	} while (ret < 0 && errno == EINTR);
	return result(ret);
}

int capsule_proc_set_cloexec(int fd, int on)
{
	return result(fcntl(fd, F_SETFD, on ? FD_CLOEXEC : 0));
}

int capsule_proc_close_range(unsigned int first, unsigned int last, unsigned int flags)
{
	return result(syscall(SYS_close_range, first, last, flags));
}

int capsule_proc_prctl(int option, unsigned long a, unsigned long b, unsigned long c,
		       unsigned long d)
{
	return result(prctl(option, a, b, c, d));
}

int capsule_proc_prlimit(pid_t pid, int resource, uint64_t soft, uint64_t hard)
{
	struct rlimit64 limit = { .rlim_cur = soft, .rlim_max = hard };

	return result(prlimit64(pid, resource, &limit, NULL));
}

int capsule_proc_getrlimit(pid_t pid, int resource, uint64_t *soft, uint64_t *hard)
{
	struct rlimit64 limit;

	if (prlimit64(pid, resource, NULL, &limit) < 0)
		return -errno;
	*soft = limit.rlim_cur;
	*hard = limit.rlim_max;
	return 0;
}

int capsule_proc_statfs_type(int fd, long *type)
{
	struct statfs info;

	if (fstatfs(fd, &info) < 0)
		return -errno;
	*type = (long)info.f_type;
	return 0;
}

int capsule_proc_thread_count(void)
{
	struct stat info;

	/* A directory of /proc/self/task has one link for each thread beside "." and "..". */
	if (stat("/proc/self/task", &info) < 0)
		return -errno;
	return (int)info.st_nlink - 2;
}

int capsule_proc_namespace_type(int fd)
{
	return result(ioctl(fd, NS_GET_NSTYPE));
}

static void to_sigset(uint64_t mask, sigset_t *set)
{
	sigemptyset(set);
	for (int sig = 1; sig <= 64; sig++)
		if (mask & (UINT64_C(1) << (sig - 1)))
			sigaddset(set, sig);
}

int capsule_proc_block_signals(uint64_t mask, uint64_t *old)
{
	sigset_t set, before;

	to_sigset(mask, &set);
	if (sigprocmask(SIG_BLOCK, &set, &before) < 0)
		return -errno;
	if (old) {
		*old = 0;
		for (int sig = 1; sig <= 64; sig++)
			if (sigismember(&before, sig) == 1)
				*old |= UINT64_C(1) << (sig - 1);
	}
	return 0;
}

int capsule_proc_signalfd(uint64_t mask)
{
	sigset_t set;
	int ret;

	if (!mask)
		return -EINVAL;
	ret = capsule_proc_block_signals(mask, NULL);
	if (ret < 0)
		return ret;
	to_sigset(mask, &set);
	return result(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
}

int capsule_proc_read_signal(int fd)
{
	struct signalfd_siginfo info;
	ssize_t got = read(fd, &info, sizeof(info));

	if (got < 0)
		return errno == EAGAIN ? 0 : -errno;
	return (int)info.ssi_signo;
}

int capsule_proc_reset_affinity(pid_t pid)
{
	/* The kernel cuts the mask to the cpuset; 8192 is the largest CONFIG_NR_CPUS (6.x). */
	unsigned long mask[8192 / (8 * sizeof(unsigned long))];

	memset(mask, 0xff, sizeof(mask));
	return result(syscall(SYS_sched_setaffinity, pid, sizeof(mask), mask)) < 0 ? -errno : 0;
}

int capsule_proc_join_session_keyring(const char *name)
{
	return result(syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name));
}

int capsule_proc_hold(void)
{
	pid_t parent = getpid(), pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	sigset_t all;

	if (pid)
		return result(pid);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(0);
	capsule_proc_close_range(0, ~0U, 0);
	for (;;)
		pause();
}

static void default_signals(void)
{
	sigset_t none;

	for (int sig = 1; sig <= 64; sig++)
		signal(sig, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Duplicates are made above 2 first: the three sources may themselves be 0, 1 or 2 in any order. */
static int place_stdio(const struct capsule_spawn *spawn)
{
	int from[3] = { spawn->stdin_fd, spawn->stdout_fd, spawn->stderr_fd };

	for (int i = 0; i < 3; i++) {
		from[i] = fcntl(from[i], F_DUPFD_CLOEXEC, 3);
		if (from[i] < 0)
			return -errno;
	}
	for (int i = 0; i < 3; i++)
		if (dup2(from[i], i) < 0)
			return -errno;
	return 0;
}

static int run_program(const struct capsule_spawn *spawn)
{
	int ret = place_stdio(spawn);

	if (ret < 0)
		return ret;
	syscall(SYS_close_range, 3U, ~0U, 0U);
	if (spawn->cwd && chdir(spawn->cwd) < 0)
		return -errno;
	execve(spawn->path, spawn->argv, spawn->envp);
	return -errno;
}

int capsule_proc_spawn(const struct capsule_spawn *spawn)
{
	volatile int failure = 0;
	sigset_t all, before;
	pid_t pid;

	/* Blocked across vfork so that no handler of the parent runs on the shared memory. */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	pid = vfork();
	if (pid == 0) {
		default_signals();
		failure = run_program(spawn);
		_exit(127);
	}
	int fork_error = errno;
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (pid < 0)
		return -fork_error;
	if (failure < 0) {
		int status;
		capsule_proc_wait(pid, 0, &status);
		return failure;
	}
	return pid;
}

int capsule_proc_stop_wanted(const char *name)
{
#ifdef CAPSULE_STOP_POINTS
	const char *wanted = getenv("CAPSULE_STOP");

	return wanted && strcmp(wanted, name) == 0;
#else
	(void)name;
	return 0;
#endif
}

void capsule_proc_stop_point(const char *name)
{
	/* kill and not raise: raise uses the thread id that glibc cached before our raw clone. */
	if (capsule_proc_stop_wanted(name))
		kill(getpid(), SIGSTOP);
}
