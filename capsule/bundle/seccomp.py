"""The system calls that a program of the engine may make, unless it is run unconfined: an allow list of our own.

Left out is what changes the machine (modules, clocks, swap, mounts, kexec), what makes or enters namespaces, what looks
into other processes past ptrace's checks, kernel keys, and interfaces whose size has been the attack: bpf, io_uring,
userfaultfd, perf. A call that is not named does not exist (ENOSYS), as for a program on an older kernel: C libraries
then take their older ways, clone3's being clone, whose flags a filter can read. man 2 seccomp.
"""

from __future__ import annotations

ALLOWED = (
    "accept accept4 access alarm arch_prctl bind brk cachestat capget capset chdir chmod chown clock_getres "
    "clock_gettime clock_nanosleep close close_range connect copy_file_range creat dup dup2 dup3 epoll_create "
    "epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2 execve execveat exit exit_group "
    "faccessat faccessat2 fadvise64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync "
    "fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstatfs fsync ftruncate futex futex_requeue "
    "futex_wait futex_waitv futex_wake futimesat get_mempolicy get_robust_list getcpu getcwd getdents getdents64 "
    "getegid geteuid getgid getgroups getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom "
    "getresgid getresuid getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid getxattr "
    "getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents "
    "io_pgetevents io_setup io_submit ioctl ioprio_get ioprio_set kill landlock_add_rule landlock_create_ruleset "
    "landlock_restrict_self lchown lgetxattr link linkat listen listxattr listxattrat llistxattr lremovexattr lseek "
    "lsetxattr lstat madvise map_shadow_stack mbind membarrier memfd_create mincore mkdir mkdirat mknod mknodat mlock "
    "mlock2 mlockall mmap mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink mremap "
    "mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap nanosleep newfstatat open openat openat2 pause "
    "pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll prctl pread64 preadv "
    "preadv2 prlimit64 process_mrelease pselect6 ptrace pwrite64 pwritev pwritev2 read readahead readlink readlinkat "
    "readv recvfrom recvmmsg recvmsg remap_file_pages removexattr removexattrat rename renameat renameat2 "
    "restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend "
    "rt_sigtimedwait rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr "
    "sched_getparam sched_getscheduler sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam "
    "sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop sendfile sendmmsg sendmsg sendto "
    "set_mempolicy set_mempolicy_home_node set_robust_list set_tid_address setfsgid setfsuid setgid setgroups "
    "setitimer setpgid setpriority setregid setresgid setresuid setreuid setrlimit setsid setsockopt setuid setxattr "
    "setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 socketpair splice stat statfs statx "
    "symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun "
    "timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime times tkill truncate umask uname "
    "unlink unlinkat utime utimensat utimes vfork vmsplice wait4 waitid write writev "
)
_ENOSYS, _EPERM = 38, 1
#: CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET.
_NAMESPACES = 0x7E020000
_FAMILIES = (1, 2, 10, 16)  # AF_UNIX, AF_INET, AF_INET6, AF_NETLINK
_PERSONALITIES = (0, 8, 0x20000, 0x20008, 0xFFFFFFFF)  # Linux, 32 bits, uname26 of both, the question
#: Refused with words of their own, so that nobody takes the kernel for an old one.
_REFUSED = "mount umount2 unshare setns pivot_root chroot keyctl add_key request_key bpf perf_event_open reboot"


#: What a capability that was asked for is of no use without.
_WITH = {
    "CAP_SYS_CHROOT": "chroot", "CAP_SYS_TIME": "clock_settime settimeofday adjtimex clock_adjtime",
    "CAP_SYS_ADMIN": "mount umount2 unshare setns pivot_root sethostname setdomainname fsopen fsconfig fsmount fspick "
                     "open_tree move_mount mount_setattr clone quotactl",
}


def profile(capabilities=()) -> dict:
    """Return linux.seccomp for a 64-bit program that has these capabilities."""
    more = " ".join([_WITH[name] for name in capabilities if name in _WITH]).split()
    rules = [
        *([{"names": more, "action": "SCMP_ACT_ALLOW"}] if more else []),
        {"names": ALLOWED.split(), "action": "SCMP_ACT_ALLOW"},
        *([] if "clone" in more else [{"names": ["clone"], "action": "SCMP_ACT_ALLOW",
         "args": [{"index": 0, "value": _NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]}]),
        {"names": [name for name in _REFUSED.split() if name not in more], "action": "SCMP_ACT_ERRNO",
         "errnoRet": _EPERM},
    ]
    for call, values in (("socket", _FAMILIES), ("personality", _PERSONALITIES)):
        rules += [{"names": [call], "action": "SCMP_ACT_ALLOW",
                   "args": [{"index": 0, "value": value, "op": "SCMP_CMP_EQ"}]} for value in values]
    return {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": _ENOSYS, "syscalls": rules}
