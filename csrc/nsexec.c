/*
 * The bootstrap's stages; see nsexec.h and docs/bootstrap.md.
 *
 * Library regime above `stage_one`, stage regime from there on: a stage reports FAILED and leaves
 * by _exit. clone(2) is called raw with a NULL stack (a fork): glibc's fork would run atfork
 * handlers and rewrite its own view of the process, and cannot take CLONE_PARENT or
 * CLONE_INTO_CGROUP.
 */
#define _GNU_SOURCE
#include "nsexec.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/sched.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fdpass.h"
#include "messages.h"
#include "proc.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif
#ifndef CLONE_INTO_CGROUP
#define CLONE_INTO_CGROUP 0x200000000ULL
#endif

/* fork, optionally with our parent as the child's parent and straight into a cgroup (Linux 5.7). */
static pid_t clone_process(uint64_t flags, int cgroup_fd)
{
	struct clone_args args = { .flags = flags, .exit_signal = SIGCHLD };

	/*
	 * CLONE_PARENT takes the exit signal from the parent's own; clone3 wants it to be 0 (man 2
	 * clone).
	 */
	if (flags & CLONE_PARENT)
		args.exit_signal = 0;
	if (cgroup_fd >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)cgroup_fd;
	}
	pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	return pid < 0 ? -errno : pid;
}

/*
 * What clone3 answers when it cannot put the child into that cgroup, although another way may work.
 */
static int cgroup_clone_refused(int error)
{
	return error == -EAGAIN || error == -EBUSY || error == -ENOSYS || error == -EACCES ||
	       error == -EPERM || error == -EOPNOTSUPP || error == -E2BIG || error == -EINVAL;
}

static pid_t clone_into(uint64_t flags, const struct capsule_cgroup_join *cgroups, int *joined)
{
	pid_t pid;

	*joined = 1;
	if (cgroups->unified_fd >= 0) {
		pid = clone_process(flags, cgroups->unified_fd);
		if (pid >= 0 || !cgroup_clone_refused(pid))
			return pid;
		*joined = 0;
	}
	return clone_process(flags, -1);
}

static int send_word(int fd, uint32_t type, uint32_t word)
{
	uint32_t message[3] = { type, sizeof(word), word };

	return capsule_fdpass_send(fd, message, sizeof(message), NULL, 0);
}

static int send_bare(int fd, uint32_t type)
{
	uint32_t message[2] = { type, 0 };

	return capsule_fdpass_send(fd, message, sizeof(message), NULL, 0);
}

/* FAILED: i32 errno, then "class\0operation\0subject\0cause"; see capsule/protocol/messages.py. */
static void send_failed(int fd, int error, const char *operation, const char *subject)
{
	char message[512];
	uint32_t head[2] = { CAPSULE_MSG_FAILED, 0 };
	int32_t code = error;
	size_t at = sizeof(head);
	const char *fields[] = { "ChildError", operation, subject, "" };

	memcpy(message + at, &code, sizeof(code));
	at += sizeof(code);
	for (unsigned int i = 0; i < 4; i++) {
		size_t size = strnlen(fields[i], 100);
		memcpy(message + at, fields[i], size);
		at += size;
		if (i < 3)
			message[at++] = '\0';
	}
	head[1] = (uint32_t)(at - sizeof(head));
	memcpy(message, head, sizeof(head));
	capsule_fdpass_send(fd, message, at, NULL, 0);
}

__attribute__((noreturn)) static void bail(int fd, int error, const char *operation,
					   const char *subject)
{
	send_failed(fd, -error, operation, subject);
	_exit(1);
}

/* One request, one answer. R closes its end when it has failed itself. */
static void ask(int fd, uint32_t type)
{
	uint32_t answer[2] = { 0, 0 };
	int fds[CAPSULE_FDPASS_MAX];
	size_t count;

	if (send_bare(fd, type) < 0)
		_exit(1);
	if (capsule_fdpass_recv(fd, answer, sizeof(answer), fds, &count) != sizeof(answer) ||
	    answer[0] != CAPSULE_MSG_ACK)
		_exit(1);
}

static int write_zero(int fd)
{
	return write(fd, "0", 1) == 1 ? 0 : -errno;
}

static void join_cgroups(const struct capsule_cgroup_join *cgroups, int joined, int sync_fd)
{
	int ret;

	/*
	 * `tasks` moves one thread and does not wait for an RCU grace period as cgroup.procs does.
	 */
	for (unsigned int i = 0; i < cgroups->tasks_count; i++) {
		ret = write_zero(cgroups->tasks_fds[i]);
		if (ret < 0)
			bail(sync_fd, ret, "join cgroup", "tasks");
	}
	if (joined)
		return;
	int fd = openat(cgroups->unified_fd, "cgroup.procs", O_WRONLY | O_CLOEXEC);
	ret = fd < 0 ? -errno : write_zero(fd);
	if (fd >= 0)
		close(fd);
	if (ret < 0)
		bail(sync_fd, ret, "join cgroup", "cgroup.procs");
}

static const char *ns_name(int type)
{
	switch (type) {
	case CLONE_NEWUSER:
		return "user namespace";
	case CLONE_NEWCGROUP:
		return "cgroup namespace";
	case CLONE_NEWIPC:
		return "ipc namespace";
	case CLONE_NEWUTS:
		return "uts namespace";
	case CLONE_NEWNET:
		return "network namespace";
	case CLONE_NEWPID:
		return "pid namespace";
	case CLONE_NEWNS:
		return "mount namespace";
	case CLONE_NEWTIME:
		return "time namespace";
	default:
		return "namespace";
	}
}

/*
 * Join what is not a user namespace. Before the user namespace (`may_wait`) we still have the
 * caller's privilege, which is what a namespace owned by the host wants; one owned by the user
 * namespace to come answers EPERM to an unprivileged caller and is tried again with the privilege
 * inside.
 */
static unsigned int join_others(const struct capsule_nsexec *request, unsigned int done,
				int may_wait)
{
	for (unsigned int i = 0; i < request->join_count; i++) {
		const struct capsule_ns_join *join = &request->join[i];
		if (join->type == CLONE_NEWUSER || join->type == CLONE_NEWPID || (done & (1U << i)))
			continue;
		if (setns(join->fd, join->type) == 0)
			done |= 1U << i;
		else if (!may_wait || errno != EPERM)
			bail(request->sync_fd, -errno, "join", ns_name(join->type));
	}
	return done;
}

static const struct capsule_ns_join *find_join(const struct capsule_nsexec *request, int type)
{
	for (unsigned int i = 0; i < request->join_count; i++)
		if (request->join[i].type == type)
			return &request->join[i];
	return NULL;
}

/*
 * An existing pid namespace is joined by S2, for its children: S2 itself stays outside, so that no
 * interpreter is ever visible to the processes inside (CVE-2016-9962's class).
 */
static void join_pid_namespace(const struct capsule_nsexec *request)
{
	const struct capsule_ns_join *join = find_join(request, CLONE_NEWPID);

	if (join && setns(join->fd, CLONE_NEWPID) < 0)
		bail(request->sync_fd, -errno, "join", ns_name(CLONE_NEWPID));
}

/*
 * EINVAL: uid 0 has no mapping inside; the capabilities of a user namespace's maker are enough
 * then.
 */
static void become_root_inside(int sync_fd, int keep_groups)
{
	/* EPERM: the setgroups file says deny; T refuses a list of groups it cannot set. */
	if (!keep_groups && setgroups(0, NULL) < 0 && errno != EPERM && errno != EINVAL)
		bail(sync_fd, -errno, "setgroups", "in the user namespace");
	if (setresgid(0, 0, 0) < 0 && errno != EINVAL)
		bail(sync_fd, -errno, "setresgid", "in the user namespace");
	if (setresuid(0, 0, 0) < 0 && errno != EINVAL)
		bail(sync_fd, -errno, "setresuid", "in the user namespace");
}

/*
 * Without the host's privilege R may write only into the /proc directory of a process that belongs
 * to the user, a dumpable one: until the answer to USERMAP this is one. Nothing has been joined
 * yet, and who may look into it meanwhile are processes of the same user outside, which may look
 * into R as well (ptrace(2), PTRACE_MODE). What R writes in this window is all: the maps, the time
 * offsets, oom_score_adj.
 */
static void open_to_user(const struct capsule_nsexec *request)
{
	if (request->unshare & CLONE_NEWTIME && unshare(CLONE_NEWTIME) < 0)
		bail(request->sync_fd, -errno, "unshare", "time namespace");
	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

static void enter_user_namespace(const struct capsule_nsexec *request)
{
	const struct capsule_ns_join *join = find_join(request, CLONE_NEWUSER);

	if (join) {
		if (setns(join->fd, CLONE_NEWUSER) < 0)
			bail(request->sync_fd, -errno, "join", "user namespace");
	} else if (request->unshare & CLONE_NEWUSER) {
		if (unshare(CLONE_NEWUSER) < 0)
			bail(request->sync_fd, -errno, "unshare", "user namespace");
		if (request->unprivileged)
			open_to_user(request);
		ask(request->sync_fd, CAPSULE_MSG_USERMAP);
	} else {
		return;
	}
	/* A change of user namespace makes the process dumpable by its new root: take that back. */
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	/* The groups of an ordinary user lead to what it may read; T sets the container's. */
	become_root_inside(request->sync_fd, request->unprivileged);
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

static void make_namespaces(const struct capsule_nsexec *request)
{
	/*
	 * pid takes effect by the clone itself; cgroup after the join, so that its root is the
	 * container's.
	 */
	unsigned int flags = request->unshare & ~(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWTIME);

	if (flags && unshare(flags) < 0)
		bail(request->sync_fd, -errno, "unshare", "namespaces");
	/* An ordinary user's has been made with its user namespace, and R has written the offsets. */
	if (request->unshare & CLONE_NEWTIME && !request->unprivileged) {
		if (unshare(CLONE_NEWTIME) < 0)
			bail(request->sync_fd, -errno, "unshare", "time namespace");
		if (request->time_offsets)
			ask(request->sync_fd, CAPSULE_MSG_TIMENS);
	}
}

/* Leave R: into the cgroups and the namespaces. */
static void enter(const struct capsule_nsexec *request, int joined)
{
	unsigned int done;

	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	close(request->parent_fd);
	join_cgroups(&request->cgroups, joined, request->sync_fd);
	done = join_others(request, 0, 1);
	enter_user_namespace(request);
	join_others(request, done, 0);
	make_namespaces(request);
}

static void become_stage_two(const struct capsule_nsexec *request)
{
	/* Again: the kernel forgets it at a clone, and when credentials change (prctl(2)). */
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	prctl(PR_SET_NAME, "capsule:[2]", 0, 0, 0);
	join_pid_namespace(request);
}

/* Returns only in S2. */
static void stage_one(const struct capsule_nsexec *request, int joined)
{
	pid_t pid;

	prctl(PR_SET_NAME, "capsule:[1]", 0, 0, 0);
	enter(request, joined);
	pid = clone_process(CLONE_PARENT | (request->unshare & CLONE_NEWPID), -1);
	if (pid < 0)
		bail(request->sync_fd, pid, "clone", "stage 2");
	/* R learns the number from us: in a new pid namespace S2 itself knows only that it is 1. */
	if (pid > 0)
		_exit(send_word(request->sync_fd, CAPSULE_MSG_STAGE2, (uint32_t)pid) < 0);
}

int capsule_nsexec_start(const struct capsule_nsexec *request)
{
	uint64_t flags = request->one_stage ? request->unshare & CLONE_NEWPID : 0;
	int joined;
	pid_t pid = clone_into(flags, &request->cgroups, &joined);

	if (pid != 0)
		return pid;
	if (request->one_stage)
		enter(request, joined);
	else
		stage_one(request, joined);
	become_stage_two(request);
	return 0;
}

static int compare_int(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/*
 * Close every descriptor but stdio, the payload's and ours; ours survive the execve, nothing else
 * does.
 */
static int keep_only(const struct capsule_tail_exec *request)
{
	int keep[CAPSULE_KEEP_MAX + 2];
	unsigned int count = 0;
	unsigned int next = 3 + (unsigned int)request->preserve;

	for (unsigned int i = 0; i < request->keep_count; i++)
		if (request->keep[i] >= 0)
			keep[count++] = request->keep[i];
	keep[count++] = request->plan_fd;
	for (unsigned int i = 0; i < count; i++)
		if (fcntl(keep[i], F_SETFD, 0) < 0)
			return -errno;
	keep[count++] = request->program_fd;
	qsort(keep, count, sizeof(keep[0]), compare_int);
	for (unsigned int i = 0; i < count; i++) {
		if ((unsigned int)keep[i] > next &&
		    syscall(SYS_close_range, next, keep[i] - 1, 0) < 0)
			return -errno;
		if ((unsigned int)keep[i] >= next)
			next = (unsigned int)keep[i] + 1;
	}
	for (int fd = 3; fd < 3 + request->preserve; fd++)
		fcntl(fd, F_SETFD, 0);
	return syscall(SYS_close_range, next, ~0U, 0) < 0 ? -errno : 0;
}

static void format_number(int number, char text[16])
{
	char digits[16];
	unsigned int count = 0;

	do {
		digits[count++] = (char)('0' + number % 10);
		number /= 10;
	} while (number);
	for (unsigned int i = 0; i < count; i++)
		text[i] = digits[count - 1 - i];
	text[count] = '\0';
}

/*
 * The payload leads a session of its own. Done by the process that becomes T: a session leader that
 * exits, as a cloning S2 does, has its terminal's foreground processes killed by SIGHUP.
 */
static int lead_session(int tty_fd)
{
	/* EPERM: we lead a process group already, and so a session that is not the caller's. */
	if (setsid() < 0 && errno != EPERM)
		return -errno;
	if (tty_fd < 0)
		return 0;
	if (ioctl(tty_fd, TIOCSCTTY, 0) < 0)
		return -errno;
	for (int fd = 0; fd < 3; fd++)
		if (dup2(tty_fd, fd) < 0)
			return -errno;
	return 0;
}

static int become_tail(const struct capsule_tail_exec *request)
{
	char plan[16];
	char *argv[] = { "capsule", plan, NULL };
	char *envp[] = { NULL };
	int ret = lead_session(request->tty_fd);

	if (ret == 0)
		ret = keep_only(request);
	if (ret < 0)
		return ret;
	format_number(request->plan_fd, plan);
	syscall(SYS_execveat, request->program_fd, "", argv, envp, AT_EMPTY_PATH);
	return -errno;
}

int capsule_nsexec_exec_tail(const struct capsule_tail_exec *request)
{
	int ret, joined;
	pid_t pid;

	if (!request->clone_first)
		return become_tail(request);
	pid = clone_into(CLONE_PARENT, &request->cgroups, &joined);
	if (pid < 0)
		return pid;
	if (pid > 0)
		_exit(send_word(request->sync_fd, CAPSULE_MSG_TAIL, (uint32_t)pid) < 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	join_cgroups(&request->cgroups, joined, request->sync_fd);
	ret = become_tail(request);
	bail(request->sync_fd, ret, "execveat", "tail");
}

int capsule_net_loopback_up(void)
{
	struct ifreq request = { .ifr_name = "lo" };
	int ret = 0, fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	request.ifr_flags = IFF_UP | IFF_RUNNING;
	if (ioctl(fd, SIOCSIFFLAGS, &request) < 0)
		ret = -errno;
	close(fd);
	return ret;
}
