/* Everything a runtime sets up for a process, as this process finds it. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "payload.h"

extern char **environ;

#define KEYCTL_GET_KEYRING_ID 0
#define KEYCTL_DESCRIBE 6
#define KEY_SPEC_SESSION_KEYRING (-3)

static void identity(void)
{
	uid_t r, e, s;
	gid_t rg, eg, sg;
	gid_t groups[1024];
	int count = getgroups(1024, groups);

	getresuid(&r, &e, &s);
	getresgid(&rg, &eg, &sg);
	json_array("uid");
	json_number(NULL, r), json_number(NULL, e), json_number(NULL, s);
	json_array_end();
	json_array("gid");
	json_number(NULL, rg), json_number(NULL, eg), json_number(NULL, sg);
	json_array_end();
	json_array("groups");
	for (int i = 0; i < count; i++)
		json_number(NULL, groups[i]);
	json_array_end();
}

static void capabilities(void)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2] = { { 0 } };
	uint64_t bounding = 0, ambient = 0;

	syscall(SYS_capget, &header, data);
	for (int cap = 0; cap < 64; cap++) {
		if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1)
			bounding |= 1ULL << cap;
		if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, cap, 0, 0) == 1)
			ambient |= 1ULL << cap;
	}
	json_object("caps");
	json_unsigned("effective", data[0].effective | (uint64_t)data[1].effective << 32);
	json_unsigned("permitted", data[0].permitted | (uint64_t)data[1].permitted << 32);
	json_unsigned("inheritable", data[0].inheritable | (uint64_t)data[1].inheritable << 32);
	json_unsigned("bounding", bounding);
	json_unsigned("ambient", ambient);
	json_object_end();
}

static void limits(void)
{
	static const char *const names[RLIM_NLIMITS] = {
		"RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_DATA", "RLIMIT_STACK", "RLIMIT_CORE",
		"RLIMIT_RSS", "RLIMIT_NPROC", "RLIMIT_NOFILE", "RLIMIT_MEMLOCK", "RLIMIT_AS",
		"RLIMIT_LOCKS", "RLIMIT_SIGPENDING", "RLIMIT_MSGQUEUE", "RLIMIT_NICE",
		"RLIMIT_RTPRIO", "RLIMIT_RTTIME",
	};

	json_object("rlimits");
	for (int i = 0; i < RLIM_NLIMITS; i++) {
		struct rlimit limit = { 0, 0 };

		getrlimit(i, &limit);
		json_array(names[i]);
		json_unsigned(NULL, limit.rlim_cur), json_unsigned(NULL, limit.rlim_max);
		json_array_end();
	}
	json_object_end();
}

static void signals(void)
{
	uint64_t mask = 0;

	syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &mask, sizeof(mask));
	json_unsigned("sigblk", mask);
	json_array("sigign");
	for (int sig = 1; sig < 65; sig++) {
		struct sigaction action;

		if (!sigaction(sig, NULL, &action) && action.sa_handler == SIG_IGN)
			json_number(NULL, sig);
	}
	json_array_end();
}

/* fds are found by asking for each number, so that a false /proc hides none. */
static void descriptors(void)
{
	json_array("fds");
	for (int fd = 0; fd < 4096; fd++) {
		char link[64], target[4096];
		struct statfs system = { 0 };
		struct stat info;
		ssize_t size;

		if (fstat(fd, &info))
			continue;
		fstatfs(fd, &system);
		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		size = readlink(link, target, sizeof(target) - 1);
		json_object(NULL);
		json_number("fd", fd);
		if (size >= 0)
			json_bytes("target", target, (size_t)size);
		else
			json_null("target");
		json_number("mode", info.st_mode);
		json_number("uid", info.st_uid);
		json_number("gid", info.st_gid);
		json_unsigned("ino", info.st_ino);
		json_unsigned("dev", info.st_dev);
		json_unsigned("rdev", info.st_rdev);
		json_unsigned("magic", (unsigned int)system.f_type);
		json_bool("cloexec", fcntl(fd, F_GETFD) & FD_CLOEXEC);
		json_number("flags", fcntl(fd, F_GETFL));
		json_object_end();
	}
	json_array_end();
}

static void namespaces(void)
{
	static const char *const names[] = {
		"cgroup", "ipc", "mnt", "net", "pid", "time", "time_for_children", "user", "uts",
	};

	json_object("ns");
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char path[64];
		struct stat info;

		snprintf(path, sizeof(path), "/proc/self/ns/%s", names[i]);
		if (stat(path, &info))
			json_null(names[i]);
		else
			json_unsigned(names[i], info.st_ino);
	}
	json_object_end();
}

static void terminal(void)
{
	struct winsize size = { 0 };
	struct termios mode;
	int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);

	json_object("tty");
	json_bool("stdin", isatty(0)), json_bool("stdout", isatty(1)), json_bool("stderr", isatty(2));
	json_bool("controlling", tty >= 0);
	json_number("foreground", tty >= 0 ? tcgetpgrp(tty) : -1);
	if (!ioctl(0, TIOCGWINSZ, &size)) {
		json_number("rows", size.ws_row);
		json_number("columns", size.ws_col);
	}
	if (!tcgetattr(0, &mode))
		json_bool("onlcr", mode.c_oflag & ONLCR);
	json_object_end();
	if (tty >= 0)
		close(tty);
	json_number("pid", getpid()), json_number("ppid", getppid());
	json_number("pgrp", getpgrp()), json_number("sid", getsid(0));
}

static void keyring(void)
{
	char text[512];
	long size = -1;
	long serial = syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0);

	if (serial >= 0)
		size = syscall(SYS_keyctl, KEYCTL_DESCRIBE, serial, text, sizeof(text) - 1);
	json_object("keyring");
	json_number("serial", serial);
	if (size > 0 && size < (long)sizeof(text))
		json_bytes("description", text, (size_t)size - 1);
	else
		json_null("description");
	json_object_end();
}

static void clocks(void)
{
	struct timespec monotonic, boot;

	clock_gettime(CLOCK_MONOTONIC, &monotonic);
	clock_gettime(CLOCK_BOOTTIME, &boot);
	json_number("monotonic", monotonic.tv_sec);
	json_number("boottime", boot.tv_sec);
}

/* struct sched_attr, which the C library may lack; get_mempolicy's nodes as one word: the first 64. */
static void scheduling(void)
{
	struct {
		uint32_t size, policy;
		uint64_t flags;
		int32_t nice;
		uint32_t priority;
		uint64_t runtime, deadline, period;
		uint32_t util_min, util_max;
	} attr = {0};
	unsigned long nodes[16] = {0};
	int mode = -1;

	syscall(SYS_sched_getattr, 0, &attr, sizeof(attr), 0);
	json_object("sched");
	json_number("policy", attr.policy), json_unsigned("flags", attr.flags);
	json_number("nice", attr.nice), json_number("priority", attr.priority);
	json_unsigned("runtime", attr.runtime), json_unsigned("deadline", attr.deadline);
	json_unsigned("period", attr.period);
	json_object_end();
	json_number("ioprio", syscall(SYS_ioprio_get, 1, 0));
	syscall(SYS_get_mempolicy, &mode, nodes, sizeof(nodes) * 8, 0, 0);
	json_object("mempolicy");
	json_number("mode", mode), json_unsigned("nodes", nodes[0]);
	json_object_end();
}

static void context(int argc, char **argv)
{
	struct utsname names;
	char cwd[8192];
	long size = syscall(SYS_getcwd, cwd, sizeof(cwd));
	cpu_set_t cpus;
	mode_t mask = umask(0);

	umask(mask);
	if (size > 0)
		json_bytes("cwd", cwd, (size_t)size - 1);
	else
		json_null("cwd");
	json_number("umask", mask);
	uname(&names);
	json_string("hostname", names.nodename);
	json_string("domainname", names.domainname);
	json_string("machine", names.machine);
	json_array("argv");
	for (int i = 0; i < argc; i++)
		json_string(NULL, argv[i]);
	json_array_end();
	json_array("env");
	for (char **entry = environ; *entry; entry++)
		json_string(NULL, *entry);
	json_array_end();
	CPU_ZERO(&cpus);
	sched_getaffinity(0, sizeof(cpus), &cpus);
	json_number("cpus", CPU_COUNT(&cpus));
	json_array("cpu_list");
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &cpus))
			json_number(NULL, cpu);
	json_array_end();
	json_number("nice", getpriority(PRIO_PROCESS, 0));
	json_number("personality", personality(0xffffffff));
}

int command_probe(int argc, char **argv)
{
	int signal_number = 0;

	json_object(NULL);
	descriptors();		/* first: the rest opens files */
	context(argc, argv);
	identity();
	capabilities();
	json_number("nnp", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
	json_number("seccomp", prctl(PR_GET_SECCOMP, 0, 0, 0, 0));
	json_number("dumpable", prctl(PR_GET_DUMPABLE, 0, 0, 0, 0));
	prctl(PR_GET_PDEATHSIG, &signal_number, 0, 0, 0);
	json_number("pdeathsig", signal_number);
	json_number("securebits", prctl(PR_GET_SECUREBITS, 0, 0, 0, 0));
	json_number("keepcaps", prctl(PR_GET_KEEPCAPS, 0, 0, 0, 0));
	json_number("subreaper", (prctl(PR_GET_CHILD_SUBREAPER, &signal_number, 0, 0, 0),
				  signal_number));
	limits();
	signals();
	scheduling();
	terminal();
	keyring();
	namespaces();
	clocks();
	json_file("uid_map", "/proc/self/uid_map");
	json_file("gid_map", "/proc/self/gid_map");
	json_file("setgroups", "/proc/self/setgroups");
	json_file("timens_offsets", "/proc/self/timens_offsets");
	json_file("oom_score_adj", "/proc/self/oom_score_adj");
	json_file("cgroup", "/proc/self/cgroup");
	json_file("mountinfo", "/proc/self/mountinfo");
	json_object_end();
	json_end();
	return 0;
}
