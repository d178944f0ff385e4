/*
 * The bootstrap: from one process of one thread (R) to a process in a container's namespaces (S2).
 * docs/bootstrap.md follows it step by step.
 */
#ifndef CAPSULE_NSEXEC_H
#define CAPSULE_NSEXEC_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define CAPSULE_NS_MAX 8       /* the eight kinds of namespaces(7) */
#define CAPSULE_CGROUPS_MAX 32 /* v1 hierarchies */
#define CAPSULE_KEEP_MAX 8     /* descriptors of T's own */

struct capsule_ns_join {
	int fd;	  /* an open /proc/PID/ns/TYPE file, owned by the caller */
	int type; /* its CLONE_NEW* flag */
};

struct capsule_cgroup_join {
	int unified_fd;			    /* cgroup v2 directory for CLONE_INTO_CGROUP, or -1 */
	int tasks_fds[CAPSULE_CGROUPS_MAX]; /* v1 `tasks` files, open for writing */
	unsigned int tasks_count;
};

struct capsule_nsexec {
	int sync_fd;	      /* the child's end of the sync channel */
	int parent_fd;	      /* R's end: S1 and S2 close it */
	int one_stage;	      /* S2 is the clone itself; see capsule_nsexec_start */
	unsigned int unshare; /* CLONE_NEW* flags of the namespaces to make */
	unsigned int join_count;
	struct capsule_ns_join join[CAPSULE_NS_MAX];
	struct capsule_cgroup_join cgroups;
	int time_offsets; /* the new time namespace has offsets: R writes them */
	int unprivileged; /* R is no root: USERMAP asks for the offsets and oom_score_adj as well */
};

/*
 * Clone S1. Returns S1's pid in R, 0 in S2 (a copy of R in the new namespaces), -errno in R when no
 * process was made. S1 itself never returns. The caller has one thread and holds the GIL, if there
 * is one, on both sides. Failures of S1 arrive in R as CAPSULE_MSG_FAILED.
 *
 * With one_stage there is no S1: R's clone does its work and is S2, its pid is what R gets, and no
 * STAGE2 comes. Not for a new user or time namespace, nor for a new pid namespace inside a joined
 * user namespace: these begin with a child of whoever has entered.
 */
int capsule_nsexec_start(const struct capsule_nsexec *request);

struct capsule_tail_exec {
	int program_fd; /* sealed tail program */
	int plan_fd;
	int preserve;		    /* descriptors 3 .. 2+preserve stay open for the payload */
	int keep[CAPSULE_KEEP_MAX]; /* T's own besides plan_fd; -1 is skipped */
	unsigned int keep_count;
	int tty_fd; /* pty slave for stdio and as the controlling terminal, or -1 */
	/* Set when an existing pid namespace was joined: T is a new process, S2 only its maker. */
	int clone_first;
	int sync_fd;			    /* for TAIL and FAILED; one of keep */
	struct capsule_cgroup_join cgroups; /* joined by the clone_first child */
};

/*
 * Become T, or make T and exit. Returns -errno only when nothing has happened yet; else does not
 * return.
 */
int capsule_nsexec_exec_tail(const struct capsule_tail_exec *request);

/* Bring up "lo" of this network namespace. */
int capsule_net_loopback_up(void);

#endif
