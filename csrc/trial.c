/* Trials of the kernel; see trial.h. A trial is a stage: it runs in its own child and its result is the exit status. */
#define _GNU_SOURCE
#include "trial.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif
#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

#define PATIENCE_MS 10000
#define MAP "0 100000 65536"
#define PLACE "/tmp" /* covered by a tmpfs of the trial's own */

static int result(long value)
{
	return value < 0 ? -errno : 0;
}

/* A mount namespace whose mounts nobody else sees. */
static int own_mounts(void)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -errno;
	return 0;
}

static int new_mount(const char *type)
{
	int mount_fd, fs_fd = (int)syscall(SYS_fsopen, type, FSOPEN_CLOEXEC);

	if (fs_fd < 0 || syscall(SYS_fsconfig, fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	mount_fd = (int)syscall(SYS_fsmount, fs_fd, FSMOUNT_CLOEXEC, 0);
	return mount_fd < 0 ? -errno : mount_fd;
}

static int mounts_type(const char *type)
{
	int mount_fd = own_mounts();

	if (!mount_fd)
		mount_fd = new_mount(type);
	return mount_fd < 0 ? mount_fd : 0;
}

static int try_user(int fd)
{
	(void)fd;
	return result(unshare(CLONE_NEWUSER));
}

static int try_mount(int fd)
{
	(void)fd;
	return own_mounts();
}

/* Wait for a child; its exit status is an errno. */
static int join(pid_t pid)
{
	int status;

	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return -errno;
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -EINTR;
}

/* procfs shows the pid namespace that the mounting process is in. */
static int try_pid(int fd)
{
	pid_t pid;

	(void)fd;
	if (unshare(CLONE_NEWPID) < 0)
		return -errno;
	pid = fork();
	if (!pid)
		_exit(-mounts_type("proc"));
	return join(pid);
}

static int try_network(int fd)
{
	(void)fd;
	return unshare(CLONE_NEWNET) < 0 ? -errno : mounts_type("sysfs");
}

static int try_ipc(int fd)
{
	(void)fd;
	return unshare(CLONE_NEWIPC) < 0 ? -errno : mounts_type("mqueue");
}

static int try_uts(int fd)
{
	(void)fd;
	return unshare(CLONE_NEWUTS) < 0 ? -errno : result(sethostname("trial", 5));
}

static int try_cgroup(int fd)
{
	(void)fd;
	return result(unshare(CLONE_NEWCGROUP));
}

static int try_time(int fd)
{
	(void)fd;
	return result(unshare(CLONE_NEWTIME));
}

static int try_clone_into_cgroup(int cgroup_fd)
{
	struct clone_args args = {
		.flags = CLONE_INTO_CGROUP,
		.exit_signal = SIGCHLD,
		.cgroup = (uint64_t)cgroup_fd,
	};
	pid_t pid;

	if (cgroup_fd < 0)
		return -ENOENT;
	pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	if (!pid)
		_exit(0);
	return join(pid);
}

static int try_pidfd(int fd)
{
	(void)fd;
	fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	return fd < 0 ? -errno : result(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0));
}

static int try_openat2(int fd)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT };

	(void)fd;
	return result(syscall(SYS_openat2, AT_FDCWD, "/", &how, sizeof(how)));
}

static int try_open_tree(int fd)
{
	int ret = own_mounts();

	(void)fd;
	return ret ? ret
		   : result(syscall(SYS_open_tree, AT_FDCWD, "/",
				    OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE));
}

static int try_fsopen(int fd)
{
	(void)fd;
	return mounts_type("tmpfs");
}

static int try_mount_setattr(int fd)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };

	if ((fd = own_mounts()) || (fd = new_mount("tmpfs")) < 0)
		return fd;
	return result(syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr,
			      sizeof(attr)));
}

static int write_proc(pid_t pid, const char *name, const char *text)
{
	char path[64];
	int ret, fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret = result(write(fd, text, strlen(text)));
	close(fd);
	return ret;
}

/* Start a process in a user namespace with maps; it waits until its pipe ends, with us at the latest. */
static int mapped_userns(void)
{
	int ret, ends[2];
	char path[64];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	pid = (pid_t)syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL);
	if (!pid) {
		close(ends[1]);
		_exit(read(ends[0], path, 1) < 0);
	}
	if (pid < 0 || (ret = write_proc(pid, "uid_map", MAP)) ||
	    (ret = write_proc(pid, "gid_map", MAP)))
		return pid < 0 ? -errno : ret;
	snprintf(path, sizeof(path), "/proc/%d/ns/user", pid);
	ret = open(path, O_RDONLY | O_CLOEXEC);
	return ret < 0 ? -errno : ret;
}

static int try_idmapped_mount(int fd)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_IDMAP };
	int userns_fd = mapped_userns();

	if (userns_fd < 0)
		return userns_fd;
	attr.userns_fd = (uint64_t)userns_fd;
	if ((fd = own_mounts()) || (fd = new_mount("tmpfs")) < 0)
		return fd;
	return result(syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)));
}

static int try_overlay(int fd)
{
	(void)fd;
	if ((fd = own_mounts()))
		return fd;
	if (mount("tmpfs", PLACE, "tmpfs", 0, NULL) < 0 || chdir(PLACE) < 0 ||
	    mkdir("l", 0700) < 0 || mkdir("u", 0700) < 0 || mkdir("w", 0700) < 0 ||
	    mkdir("m", 0700) < 0)
		return -errno;
	return result(mount("overlay", "m", "overlay", 0, "lowerdir=l,upperdir=u,workdir=w"));
}

static int try_devpts(int fd)
{
	(void)fd;
	if ((fd = own_mounts()) || (fd = new_mount("devpts")) < 0)
		return fd;
	return result(openat(fd, "ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC));
}

static int try_memfd_exec(int fd)
{
	static const char program[] = "no program";
	char *argv[] = { (char *)"memfd", NULL }, *envp[] = { NULL };

	fd = (int)syscall(SYS_memfd_create, "trial", MFD_ALLOW_SEALING | MFD_EXEC);
	if (fd < 0 && errno == EINVAL)
		fd = (int)syscall(SYS_memfd_create, "trial", MFD_ALLOW_SEALING);
	if (fd < 0 || write(fd, program, sizeof(program) - 1) < 0)
		return -errno;
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	syscall(SYS_execveat, fd, "", argv, envp, AT_EMPTY_PATH);
	/* The kernel was willing, and then saw that it is none. */
	return errno == ENOEXEC ? 0 : -errno;
}

static const struct {
	int (*run)(int cgroup_fd);
} trials[] = {
	{ try_user },
	{ try_mount },
	{ try_pid },
	{ try_network },
	{ try_ipc },
	{ try_uts },
	{ try_cgroup },
	{ try_time },
	{ try_pidfd },
	{ try_openat2 },
	{ try_open_tree },
	{ try_fsopen },
	{ try_mount_setattr },
	{ try_devpts },
	{ try_memfd_exec },
	{ try_overlay },
	{ try_idmapped_mount },
	{ try_clone_into_cgroup },
};
const char *const capsule_trial_names[] = {
	"user",
	"mount",
	"pid",
	"network",
	"ipc",
	"uts",
	"cgroup",
	"time",
	"pidfd",
	"openat2",
	"open_tree",
	"fsopen",
	"mount_setattr",
	"devpts",
	"memfd_exec",
	"overlay",
	"idmapped_mount",
	"clone_into_cgroup",
	NULL,
};

_Static_assert(sizeof(trials) / sizeof(*trials) + 1 ==
		       sizeof(capsule_trial_names) / sizeof(*capsule_trial_names),
	       "a name for each trial");

/* A user namespace in which we are root and nobody else is anything: what no privilege is needed for. */
static int become_root_inside(void)
{
	char uid_map[32], gid_map[32];
	int ret;

	snprintf(uid_map, sizeof(uid_map), "0 %u 1", geteuid());
	snprintf(gid_map, sizeof(gid_map), "0 %u 1", getegid());
	if (unshare(CLONE_NEWUSER) < 0)
		return -errno;
	if ((ret = write_proc(getpid(), "setgroups", "deny")) ||
	    (ret = write_proc(getpid(), "uid_map", uid_map)))
		return ret;
	return write_proc(getpid(), "gid_map", gid_map);
}

static _Noreturn void child(int number, int cgroup_fd, int own_userns)
{
	int ret = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (own_userns && number)
		ret = become_root_inside();
	if (!ret)
		ret = trials[number].run(cgroup_fd);
	_exit(-ret);
}

int capsule_trial_run(int number, int cgroup_fd, int own_userns)
{
	struct pollfd wait = { .fd = -1, .events = POLLIN };
	int patience = PATIENCE_MS;
	pid_t pid;

	if (number < 0 || (size_t)number >= sizeof(trials) / sizeof(*trials))
		return -EINVAL;
	pid = fork();
	if (!pid)
		child(number, cgroup_fd, own_userns);
	if (pid < 0)
		return -errno;
	wait.fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (wait.fd >= 0 && !poll(&wait, 1, patience))
		kill(pid, SIGKILL);
	if (wait.fd >= 0)
		close(wait.fd);
	return join(pid);
}
