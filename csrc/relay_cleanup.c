/*
 * Remove a container at its end: its cgroups, the files of its state directory, the directory. The
 * directory's flock is the container's lock (docs/state.md). Whatever is left goes to the launcher
 * (`delete --force`), which also has the hooks to run.
 */
#include "relay.h"

#include <linux/sched.h>
#include <linux/signal.h>
#include <linux/stat.h>

#define LOCK_EXCLUSIVE 2 /* flock(2) */
#define LOCK_RELEASE 8
#define FD_ONLY 0x1000	/* AT_EMPTY_PATH */
#define DIRECTORY 0x200 /* AT_REMOVEDIR */
#define EXIT_NO_PROGRAM 127

/* A cgroup whose last process was killed may be busy for a moment. */
#define BUSY_TRIES 20
#define BUSY_PAUSE_NS 5000000

static bool same_file(const struct statx *left, const struct statx *right)
{
	return left->stx_ino == right->stx_ino && left->stx_dev_major == right->stx_dev_major &&
	       left->stx_dev_minor == right->stx_dev_minor;
}

/* Another container may have been made at the path since: leave that alone. */
static bool still_ours(const struct relay_plan *plan)
{
	struct statx held, named;

	if (plan->base.state_fd < 0)
		return true;
	if (rt5(__NR_statx, plan->base.state_fd, "", FD_ONLY, STATX_INO, &held) ||
	    rt5(__NR_statx, AT_FDCWD, plan->state_dir, AT_SYMLINK_NOFOLLOW, STATX_INO, &named))
		return false;
	return same_file(&held, &named);
}

static int lock_of(const struct relay_plan *plan)
{
	return plan->base.lock_fd >= 0 ? plan->base.lock_fd : plan->base.state_fd;
}

/* Without a lock (-1) there is nobody to wait for. */
static void lock(int fd, int operation)
{
	while (fd >= 0 && rt2(__NR_flock, fd, operation) == -EINTR)
		;
}

static long remove_directory(const char *path)
{
	const struct rt_timespec pause = { 0, BUSY_PAUSE_NS };
	long result = rt3(__NR_unlinkat, AT_FDCWD, path, DIRECTORY);

	for (int i = 0; result == -EBUSY && i < BUSY_TRIES; i++) {
		rt2(__NR_nanosleep, &pause, 0);
		result = rt3(__NR_unlinkat, AT_FDCWD, path, DIRECTORY);
	}
	return result == -ENOENT ? 0 : result;
}

static long remove_file(const char *path)
{
	long result = rt3(__NR_unlinkat, AT_FDCWD, path, 0);

	return result == -ENOENT ? 0 : result;
}

/* Go on after a failure, so that little is left; returns the first. */
static long for_each(const struct plan_strings *strings, long (*act)(const char *))
{
	const char *at = strings->data;
	long first = 0;

	for (uint32_t i = 0; i < strings->count; i++, at += strlen(at) + 1) {
		long result = act(at);

		if (!first)
			first = result;
	}
	return first;
}

static void kill_cgroup(const char *path)
{
	long fd = path ? rt_open(AT_FDCWD, path, O_WRONLY) : -1;

	if (fd < 0)
		return; /* already gone, or left to the fallback */
	rt3(__NR_write, fd, "1", 1);
	rt_close((int)fd);
}

/* The record goes only when the cgroups have gone: without it nobody would know about them. */
static bool remove_all(const struct relay_plan *plan)
{
	kill_cgroup(plan->kill_cgroup);
	if (for_each(&plan->dirs, remove_directory) || for_each(&plan->files, remove_file))
		return false;
	return !plan->state_dir || !remove_directory(plan->state_dir);
}

/* A session of its own: ^C at the terminal must not interrupt it half-way. */
static _Noreturn void fallback_process(const char **argv, char **envp)
{
	capsule_rt_default_signals();
	rt0(__NR_setsid);
	rt3(__NR_execve, argv[0], argv, envp);
	rt_exit(EXIT_NO_PROGRAM);
}

long capsule_relay_spawn(const struct plan_strings *strings, char **envp)
{
	const char **argv = capsule_rt_map((strings->count + 1) * sizeof(*argv));
	long pid;

	if (!argv)
		return -ENOMEM;
	capsule_plan_vector(strings, argv);
	pid = capsule_rt_fork(NULL);
	if (!pid)
		fallback_process(argv, envp);
	rt2(__NR_munmap, argv, (strings->count + 1) * sizeof(*argv));
	return pid;
}

static int run_fallback(const struct plan_strings *strings, char **envp)
{
	long pid = strings->count ? capsule_relay_spawn(strings, envp) : 0;
	int status = 0;

	while (pid > 0 && rt4(__NR_wait4, pid, &status, 0, 0) == -EINTR)
		;
	return status & 0x7f ? 0 : status >> 8 & 0xff;
}

void capsule_relay_unlock(const struct relay_plan *plan)
{
	lock(lock_of(plan), LOCK_RELEASE);
}

int capsule_relay_clean_up(const struct relay_plan *plan, char **envp)
{
	bool by_fallback = plan->base.flags & RELAY_FALLBACK_ALWAYS;
	bool done;

	lock(lock_of(plan), LOCK_EXCLUSIVE);
	done = !still_ours(plan) || (!by_fallback && remove_all(plan));
	lock(lock_of(plan), LOCK_RELEASE);
	return done ? 0 : run_fallback(&plan->fallback, envp);
}
