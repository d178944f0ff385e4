/* What the files of the tail share. The tail is a stage: its functions succeed or do not return. */
#ifndef CAPSULE_TAIL_H
#define CAPSULE_TAIL_H

#include "plan.h"
#include "rt.h"

struct tail {
	struct tail_plan plan;
	const char **argv; /* of the payload */
	const char **envp;
	uint32_t host_pid;	    /* ours, as R sees it; 0 where R has not said */
	int report_fd;		    /* takes ERROR messages; its end of file means "executed" */
	struct tail_error *failure; /* set in a hook's process: errors go here, for T to report */
};

extern struct tail capsule_tail;

/* Report {step, index, error} and leave. error is 0 or -errno as a system call returned it. */
_Noreturn void capsule_tail_fail(enum tail_step step, uint32_t index, long error);
_Noreturn void capsule_tail_fail_with(const struct tail_error *record);

/* Return strings as a vector for execve; an empty list gives { first, NULL }. */
const char **capsule_tail_vector(const struct plan_strings *strings, const char *first);

/*
 * Turn into the container's user: label, ids, capabilities, cwd, filter, in the order of
 * docs/tail.md. Closes all fds from first_fd on but keep_fd. What is left to do is execve.
 */
void capsule_tail_become(int first_fd, int keep_fd, uint32_t pdeathsig);

/* Load the filter; hand its listener to the agent if the plan has one. */
void capsule_tail_seccomp(void);

/*
 * Run the startContainer hooks one by one as the container's user. become says whether each hook's
 * process has still to turn into it, or T has done so.
 */
void capsule_tail_hooks(bool become);

#endif
