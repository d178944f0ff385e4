/* What the files of the relay share. */
#ifndef CAPSULE_RELAY_H
#define CAPSULE_RELAY_H

#include "plan.h"
#include "rt.h"

#define RELAY_CHUNK 4096 /* a pipe that polls writable takes so much without blocking (pipe(7)) */

/* One direction of the terminal. It reads only when all that it read has been written. */
struct relay_pump {
	int from;
	int to;
	uint32_t start;
	uint32_t end;
	bool closed;	/* nothing more comes, or nobody takes it */
	bool must_read; /* when nobody takes it, read on all the same: the writer must not block */
	bool discards;
	char data[RELAY_CHUNK];
};

/* The container's first process, and what is known of its end. */
struct relay_child {
	uint32_t pid;
	uint32_t other; /* a further child to look out for; zeroed when reaped */
	bool ended;
	bool traced; /* it is dead, and a tracer keeps its status */
	bool status_known;
	int status; /* as wait4(2) has it */
};

/* Started with stdio closed, none of our own fds may be taken for it. */
void capsule_relay_fill_stdio(void);

/* Inherited as ignored, SIGCHLD would have the kernel throw the child's status away. */
void capsule_relay_keep_status(void);

/* Reap all that has ended; as a subreaper we may have inherited strangers. */
void capsule_relay_reap(struct relay_child *child);

/* The child's pidfd says that it is dead: find out how. */
void capsule_relay_look(struct relay_child *child);

/* Say in *poll what the pump waits for. */
void capsule_relay_pump_poll(const struct relay_pump *pump, struct rt_pollfd *poll);

/* Read or write once, as *poll allows. */
void capsule_relay_pump_run(struct relay_pump *pump, const struct rt_pollfd *poll);

bool capsule_relay_pump_empty(const struct relay_pump *pump);

/* Read once. Returns false when there is nothing to read now. */
bool capsule_relay_pump_fill(struct relay_pump *pump);

/* Our own terminal: find it, make it raw if it feeds the container, give the container its size. */
void capsule_relay_tty_open(int master_fd);
void capsule_relay_tty_raw(void);
void capsule_relay_tty_resize(int master_fd);
void capsule_relay_tty_restore(void);

/* The time limit of the plan, if it has one, begins now. */
void capsule_relay_deadline_start(const struct relay_plan *plan);

/* Send what is due. Returns the milliseconds until the next signal is, -1 if none will be. */
int64_t capsule_relay_deadline_run(const struct relay_plan *plan);

/* Tell whether the child was ended by its time limit. */
bool capsule_relay_deadline_passed(void);

/* Pass on, once, that the program is ready; nothing here blocks. */
void capsule_relay_notify_open(const struct relay_plan *plan);
void capsule_relay_notify_poll(struct rt_pollfd *poll);
void capsule_relay_notify_run(void);

/* Write down how the child ended (a status of wait4(2)); before the cgroups go, whose counters tell of an OOM kill. */
void capsule_relay_record(const struct relay_plan *plan, int status);

/* R may have held the container's lock through an fd that is now ours. */
void capsule_relay_unlock(const struct relay_plan *plan);

/* Remove what the plan names, or have the fallback do it. Returns the fallback's exit status, 0 without one. */
int capsule_relay_clean_up(const struct relay_plan *plan, char **envp);

/* Start a program in a session of its own. Returns its pid or -errno. */
long capsule_relay_spawn(const struct plan_strings *strings, char **envp);

#endif
