/*
 * Load the payload's filter, and pass its listener on (seccomp(2), seccomp_unotify(2)).
 *
 * Once the filter is loaded, any call of ours may be one that the agent has to answer; so a second
 * thread, which the filter does not reach, sends the agent its listener. T itself makes no call
 * while it waits, it only watches memory. A thread, because it leaves no zombie and execve ends it.
 */
#include "tail.h"

#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/uio.h>

#define SENDER_POLL_NS 50000

struct message_head { /* struct user_msghdr */
	void *name;
	int name_len;
	struct iovec *parts;
	size_t part_count;
	void *control;
	size_t control_len;
	unsigned int flags;
};

struct fd_control { /* struct cmsghdr and one fd */
	size_t len;
	int level;
	int type;
	int fd;
	int padding;
};

static struct {
	struct plan_bytes state;
	int listener; /* 0: not yet */
	long result;  /* 0: not yet; 1: sent; else -errno */
} exchange;

static char sender_stack[4096] __attribute__((aligned(16)));

/* Write number in decimal to end at end. Returns where it begins. */
static char *write_number(char *end, uint32_t number)
{
	do
		*--end = (char)('0' + number % 10);
	while (number /= 10);
	return end;
}

/*
 * Copy the state with our pid, which R alone knows, in the place of each NUL: a JSON text has none of its own.
 * Before the filter, under which even mmap may be a call for the agent.
 */
static struct plan_bytes complete_state(const struct plan_bytes *state)
{
	char digits[10];
	const char *number = write_number(digits + sizeof(digits), capsule_tail.host_pid);
	size_t length = (size_t)(digits + sizeof(digits) - number), places = 0, done = 0;
	char *copy;

	for (uint32_t i = 0; i < state->len; i++)
		places += !state->data[i];
	if (!places)
		return *state;
	copy = capsule_rt_map(state->len + places * length);
	if (!copy)
		capsule_tail_fail(TAIL_STEP_MEMORY, 0, -ENOMEM);
	for (uint32_t i = 0; i < state->len; i++) {
		if (state->data[i]) {
			copy[done++] = state->data[i];
			continue;
		}
		memcpy(copy + done, number, length);
		done += length;
	}
	return (struct plan_bytes){ copy, (uint32_t)done };
}

static long send_listener(int agent_fd, int listener, const struct plan_bytes *state)
{
	struct fd_control control = { 20, RT_SOL_SOCKET, RT_SCM_RIGHTS, listener, 0 };
	struct iovec part = { (void *)state->data, state->len };
	struct message_head head = {
		.parts = &part, .part_count = 1, .control = &control, .control_len = sizeof(control)
	};
	long sent = rt3(__NR_sendmsg, agent_fd, &head, RT_MSG_NOSIGNAL);
	uint32_t done;

	for (done = 0; sent > 0; done += (uint32_t)sent) {
		if (done + (uint32_t)sent == state->len)
			return 1;
		sent = rt6(__NR_sendto, agent_fd, state->data + done + sent,
			   state->len - done - (uint32_t)sent, RT_MSG_NOSIGNAL, 0, 0);
	}
	return sent ? sent : -EPIPE;
}

static int sender(void *unused)
{
	const struct rt_timespec pause = { 0, SENDER_POLL_NS };
	const struct tail_plan *plan = &capsule_tail.plan;
	int listener;
	long result;

	(void)unused;
	while (!(listener = __atomic_load_n(&exchange.listener, __ATOMIC_ACQUIRE)))
		rt2(__NR_nanosleep, &pause, 0);
	result = send_listener(plan->base.agent_fd, listener, &exchange.state);
	/* The table is shared: the payload gets neither. */
	rt_close(listener);
	rt_close(plan->base.agent_fd);
	__atomic_store_n(&exchange.result, result, __ATOMIC_RELEASE);
	return 0;
}

static void start_sender(void)
{
	long thread;

	exchange.state = complete_state(&capsule_tail.plan.agent_state);
	thread = capsule_rt_thread(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND |
					   CLONE_THREAD | CLONE_SYSVSEM,
				   sender_stack + sizeof(sender_stack), sender, NULL);
	if (thread < 0)
		capsule_tail_fail(TAIL_STEP_AGENT, 0, thread);
}

void capsule_tail_seccomp(void)
{
	const struct tail_plan *plan = &capsule_tail.plan;
	struct sock_fprog program = { (unsigned short)plan->filter_len,
				      (struct sock_filter *)plan->filter };
	/* One thread matters here, and the other must stay outside. */
	uint32_t flags = plan->base.seccomp_flags & ~(uint32_t)SECCOMP_FILTER_FLAG_TSYNC;
	bool listens = flags & SECCOMP_FILTER_FLAG_NEW_LISTENER;
	long result;

	if (listens)
		start_sender();
	result = rt3(__NR_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
	if (result < 0)
		capsule_tail_fail(TAIL_STEP_SECCOMP, 0, result);
	if (!listens)
		return;
	__atomic_store_n(&exchange.listener, (int)result, __ATOMIC_RELEASE);
	while (!(result = __atomic_load_n(&exchange.result, __ATOMIC_ACQUIRE)))
		rt_relax();
	if (result < 0)
		capsule_tail_fail(TAIL_STEP_AGENT, 0, result);
}
