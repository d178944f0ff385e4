/*
 * Calls about processes and descriptors that Python's posix module lacks. Every function returns 0
 * or a value >= 0, or -errno; none prints or exits.
 */
#ifndef CAPSULE_PROC_H
#define CAPSULE_PROC_H

#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

int capsule_proc_pidfd_open(pid_t pid);
int capsule_proc_pidfd_signal(int pidfd, int sig);
/* 1 when the process has exited (zombie or reaped), 0 when it lives. */
int capsule_proc_pidfd_exited(int pidfd);
/*
 * Wait for one child, EINTR retried; *status is a wait(2) status. Returns the pid, or 0 with
 * WNOHANG.
 */
int capsule_proc_wait(pid_t pid, int flags, int *status);
/* poll(2) with EINTR retried against a monotonic deadline; timeout_ms < 0 waits for ever. */
int capsule_proc_poll(struct pollfd *fds, unsigned int count, int timeout_ms);
int capsule_proc_flock(int fd, int operation);
int capsule_proc_set_cloexec(int fd, int on);
int capsule_proc_close_range(unsigned int first, unsigned int last, unsigned int flags);
int capsule_proc_prctl(int option, unsigned long a, unsigned long b, unsigned long c,
		       unsigned long d);
int capsule_proc_prlimit(pid_t pid, int resource, uint64_t soft, uint64_t hard);
int capsule_proc_getrlimit(pid_t pid, int resource, uint64_t *soft, uint64_t *hard);
int capsule_proc_statfs_type(int fd, long *type);
int capsule_proc_thread_count(void);
/* The CLONE_NEW* flag of an open namespace file (ioctl_nsfs(2)); -ENOTTY for any other file. */
int capsule_proc_namespace_type(int fd);

/*
 * Open a readable descriptor on the blocked signals of `mask` (bit n-1 is signal n); blocks them
 * first. The caller owns the descriptor. -EINVAL for an empty mask.
 */
int capsule_proc_signalfd(uint64_t mask);
int capsule_proc_block_signals(uint64_t mask, uint64_t *old);
/* Next pending signal of a signalfd, 0 when there is none. */
int capsule_proc_read_signal(int fd);

/* Let `pid` (0 = caller) run on every CPU its cpuset allows, whatever mask was inherited. */
int capsule_proc_reset_affinity(pid_t pid);
int capsule_proc_join_session_keyring(const char *name);
/*
 * Start a child that holds nothing and does nothing until it is killed; it ends with its parent.
 * Returns its pid.
 */
int capsule_proc_hold(void);

struct capsule_spawn {
	const char *path;
	char *const *argv;
	char *const *envp;
	const char *cwd; /* NULL: stay */
	int stdin_fd, stdout_fd, stderr_fd;
};

/*
 * Start a program in a child that has default signal dispositions, an empty mask and descriptors 0,
 * 1, 2 only. Returns its pid, or -errno of the step that failed (chdir or execve); no child is left
 * then.
 */
int capsule_proc_spawn(const struct capsule_spawn *spawn);

/* Whether $CAPSULE_STOP names this point; 0 without CAPSULE_STOP_POINTS. */
int capsule_proc_stop_wanted(const char *name);

/*
 * Raise SIGSTOP when $CAPSULE_STOP names this point; compiled to nothing without
 * CAPSULE_STOP_POINTS.
 */
void capsule_proc_stop_point(const char *name);

#endif
