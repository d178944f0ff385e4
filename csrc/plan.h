/*
 * The plans that the tail (S2 -> T) and the relay (R -> relay) are given, and their decoder.
 *
 * A plan is a header and a run of records, native byte order, everything padded with zero bytes to
 * 8. The decoder allocates nothing: what it returns points into the plan. It is strict, so that one
 * plan has one encoding: unknown types, duplicates (hooks excepted), set flags, dirty padding,
 * wrong counts and trailing bytes are all refused with -EINVAL.
 *
 * capsule/protocol/tail_plan.py and relay_plan.py are the encoders; docs/tail.md has the tables.
 */
#ifndef CAPSULE_PLAN_H
#define CAPSULE_PLAN_H

#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PLAN_VERSION 1
#define PLAN_SIZE_MAX (16u << 20)
#define PLAN_FDS_MAX (1u << 20)
#define TAIL_PLAN_MAGIC "CAPSTAIL"
#define RELAY_PLAN_MAGIC "CAPRELAY"

struct plan_header {
	char magic[8];
	uint32_t version;
	uint32_t records;
	uint64_t size; /* of the whole plan, this header included */
};

struct plan_record {
	uint16_t type;
	uint16_t flags; /* none defined: 0 */
	uint32_t len;	/* of the payload, without its padding */
};

struct plan_bytes {
	const char *data;
	uint32_t len;
};

/* count strings, each ended by its NUL, one behind the other. */
struct plan_strings {
	const char *data;
	uint32_t len;
	uint32_t count;
};

/* A walk over the records of a plan whose header has been checked. */
struct plan_cursor {
	const char *at;
	const char *end;
	uint32_t left;
};

/* ---- the tail ---- */

enum tail_record {
	TAIL_BASE = 1,	      /* struct tail_base */
	TAIL_CAPS = 2,	      /* struct tail_caps */
	TAIL_EXEC_PATH = 3,   /* one string */
	TAIL_CWD = 4,	      /* one string */
	TAIL_ARGS = 5,	      /* strings */
	TAIL_ENV = 6,	      /* strings */
	TAIL_GROUPS = 7,      /* u32 each; no record: setgroups is not called */
	TAIL_SECCOMP = 8,     /* struct sock_filter each */
	TAIL_APPARMOR = 9,    /* one string */
	TAIL_SELINUX = 10,    /* one string */
	TAIL_HOOK = 11,	      /* struct tail_hook_head, then its strings; repeats */
	TAIL_HOOK_STATE = 12, /* bytes: stdin of the hooks */
	TAIL_AGENT_STATE =
		13, /* bytes: sent to the seccomp agent with the listener; NUL: T's pid */
	TAIL_RECORDS
};

enum tail_kind { TAIL_INIT = 1, TAIL_EXEC = 2 };

enum tail_flag {
	TAIL_HAS_PROCESS = 1, /* clear: wait, and refuse to start */
	TAIL_NO_NEW_PRIVS = 2,
	TAIL_WAIT_ACK = 4,    /* send READY, go on at ACK */
	TAIL_CWD_ENTERED = 8, /* S2 stands in cwd already, perhaps by a privilege that T lacks */
};
#define TAIL_FLAGS_ALL 15u

struct tail_base {
	uint32_t kind;
	uint32_t flags;
	int32_t sync_fd;
	int32_t start_fd;
	int32_t proc_fd;
	int32_t agent_fd;
	uint32_t preserve_fds; /* 3 .. 2 + preserve_fds stay open for the payload */
	uint32_t pdeathsig;
	uint32_t uid;
	uint32_t gid;
	uint32_t umask;
	uint32_t seccomp_flags; /* SECCOMP_FILTER_FLAG_* */
	uint32_t last_cap;
	uint32_t reserved;
};

struct tail_caps {
	uint64_t bounding, effective, permitted, inheritable, ambient;
};

#define TAIL_ENV_OF_PROCESS 0xffffffffu

struct tail_hook_head {
	uint32_t timeout_ms; /* 0: none */
	uint32_t args;
	uint32_t env; /* TAIL_ENV_OF_PROCESS: no strings here, the process's environment */
	uint32_t reserved;
	/* path, args, env: strings */
};

struct tail_hook {
	uint32_t timeout_ms;
	bool process_env;
	const char *path;
	struct plan_strings args;
	struct plan_strings env;
};

struct tail_plan {
	struct tail_base base;
	struct tail_caps caps;
	const char *exec_path;
	const char *cwd;
	struct plan_strings args;
	struct plan_strings env;
	const uint32_t *groups; /* NULL: do not call setgroups */
	uint32_t group_count;
	const struct sock_filter *filter; /* NULL: none */
	uint32_t filter_len;		  /* instructions */
	const char *apparmor;
	const char *selinux;
	uint32_t hook_count;
	struct plan_cursor hooks; /* for capsule_plan_next_hook */
	struct plan_bytes hook_state;
	struct plan_bytes agent_state;
};

/* What T was doing when it failed; the names are those of STEP_NAMES in tail_plan.py. */
#define TAIL_STEPS(X)                                                                     \
	X(MEMORY, "memory")	    /* mmap of pointer arrays */                          \
	X(SYNC, "sync")		    /* READY or its answer */                             \
	X(START, "start")	    /* accept on the start socket */                      \
	X(LABEL, "label")	    /* AppArmor or SELinux */                             \
	X(BOUNDING, "bounding set") /* index: capability */                               \
	X(KEEPCAPS, "keep capabilities")                                                  \
	X(GROUPS, "setgroups")                                                            \
	X(GID, "setgid")                                                                  \
	X(UID, "setuid")                                                                  \
	X(CAPSET, "capset")                                                               \
	X(AMBIENT, "ambient set")                                                         \
	X(PDEATHSIG, "parent death signal")                                               \
	X(CWD, "chdir")                                                                   \
	X(GETCWD, "getcwd") /* cwd is outside the root */                                 \
	X(NO_NEW_PRIVS, "no new privileges")                                              \
	X(SECCOMP, "seccomp")                                                             \
	X(AGENT, "seccomp agent")                                                         \
	X(HOOK, "startContainer hook")		    /* index; ETIMEDOUT or wait status */ \
	X(HOOK_START, "start startContainer hook")  /* index; errno of clone */           \
	X(HOOK_EXEC, "execute startContainer hook") /* index; errno of execve */          \
	X(EXEC, "execve")

#define TAIL_STEP_ENUM(symbol, name) TAIL_STEP_##symbol,
enum tail_step { TAIL_STEP_NONE, TAIL_STEPS(TAIL_STEP_ENUM) TAIL_STEP_COUNT };
#undef TAIL_STEP_ENUM

/* Payload of T's ERROR message. */
struct tail_error {
	uint32_t step;	/* enum tail_step */
	uint32_t index; /* of the hook, or the capability's number */
	int32_t error;	/* errno, 0 when wait_status tells */
	uint32_t wait_status;
};

/* ---- the relay ---- */

enum relay_record {
	RELAY_BASE = 1,		 /* struct relay_base */
	RELAY_CLEANUP_DIRS = 2,	 /* strings: rmdir in this order */
	RELAY_CLEANUP_FILES = 3, /* strings: unlink */
	RELAY_STATE_DIR = 4,	 /* one string: removed last */
	RELAY_KILL_CGROUP = 5,	 /* one string: a cgroup.kill file */
	RELAY_FALLBACK = 6,	 /* strings: argv, [0] an absolute path */
	RELAY_DEADLINE = 7,	 /* struct relay_deadline */
	RELAY_RECORD = 8,	 /* strings: name and beginning of the record of the end */
	RELAY_OOM = 9,		 /* one string: the memory cgroup's file with the line oom_kill */
	RELAY_NOTIFY = 10,	 /* struct relay_notify */
	RELAY_MONITOR = 11,	 /* struct relay_monitor */
	RELAY_LOG = 12,		 /* one string: name of the log in its directory */
	RELAY_AGAIN = 13,	 /* strings: argv of what runs the container again */
	RELAY_HEALTH = 14,	 /* strings: argv of what looks after its health */
	RELAY_RECORDS
};

enum relay_flag {
	RELAY_FORWARD_SIGNALS = 1,
	RELAY_USE_TTY = 2,	   /* our own terminal follows and feeds the container's */
	RELAY_FALLBACK_ALWAYS = 4, /* leave the whole clean-up to the fallback */
};
#define RELAY_FLAGS_ALL 7u

struct relay_base {
	uint32_t flags;
	uint32_t child_pid;
	int32_t child_pidfd;
	int32_t master_fd; /* pty master or -1 */
	int32_t report_fd; /* socket for EXITED or -1 */
	int32_t state_fd;  /* the state directory, to know it again; or -1 */
	int32_t lock_fd;   /* flock here before cleaning up; or -1 */
	int32_t record_fd; /* directory of the record of the end; -1: its name is a path */
};

struct relay_deadline {
	uint32_t timeout_ms;	/* then SIGTERM */
	uint32_t kill_after_ms; /* after that, SIGKILL */
};

struct relay_notify {
	int32_t inner_fd; /* datagram socket on which the program says READY=1 */
	int32_t outer_fd; /* where we say so */
};

enum relay_log_kind { RELAY_LOG_NONE, RELAY_LOG_K8S, RELAY_LOG_JSON, RELAY_LOG_KINDS };

/* Of the engine's containers: the relay wants alive_fd alone, the monitor the rest as well. */
struct relay_monitor {
	uint64_t log_size; /* bytes of one file; 0: no limit */
	int32_t alive_fd;  /* flocked by R: whoever locks it waits for our end */
	int32_t output_fd; /* pipes of the container's, -1 with a terminal */
	int32_t error_fd;
	int32_t input_fd;   /* -1: it reads /dev/null */
	int32_t listen_fd;  /* SOCK_SEQPACKET listener of those who attach */
	int32_t log_dir_fd; /* directory of the log or -1 */
	uint32_t log_kind;  /* enum relay_log_kind */
	uint32_t log_files; /* how many, the present one included; at least 1 */
	uint32_t health_ms; /* from one look to the next; 0: none */
	uint32_t reserved;  /* 0 */
};

struct relay_plan {
	struct relay_base base;
	struct plan_strings dirs;
	struct plan_strings files;
	struct plan_strings fallback;
	const char *state_dir;		/* NULL: none */
	const char *kill_cgroup;	/* NULL: none */
	struct relay_deadline deadline; /* timeout_ms 0: none */
	const char *record_name;	/* NULL: no record */
	const char *record_head;
	const char *oom_counters;     /* NULL: none */
	struct relay_notify notify;   /* -1, -1: none */
	struct relay_monitor monitor; /* fds of -1: none */
	const char *log_name;	      /* NULL: none */
	struct plan_strings again;
	struct plan_strings health;
};

/*
 * Check a whole plan and fill in *plan, which points into data from then on.
 * data must be 8-aligned. Returns 0 or -EINVAL.
 */
int capsule_plan_tail(const void *data, size_t size, struct tail_plan *plan);
int capsule_plan_relay(const void *data, size_t size, struct relay_plan *plan);

/*
 * Decode the next hook at *cursor (start with a copy of plan->hooks). Returns 1, or 0 at the end.
 */
int capsule_plan_next_hook(struct plan_cursor *cursor, struct tail_hook *hook);

/* Write the addresses of the strings and a NULL to vector, which has count + 1 places. */
void capsule_plan_vector(const struct plan_strings *strings, const char **vector);

#endif
