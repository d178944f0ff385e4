/*
 * A time limit on the child, as timeout(1) has it: SIGTERM when it is over, SIGKILL after a pause. Both by pidfd: the
 * pause is needed because the first process of a pid namespace ignores what it has no handler for (pid_namespaces(7)).
 */
#include "relay.h"

#include <linux/signal.h>

static struct {
	int64_t due_ms;	  /* of the next signal */
	uint32_t signals; /* how many were sent */
} deadline;

void capsule_relay_deadline_start(const struct relay_plan *plan)
{
	if (plan->deadline.timeout_ms)
		deadline.due_ms = capsule_rt_now_ms() + plan->deadline.timeout_ms;
}

static void signal_child(const struct relay_plan *plan, int number)
{
	deadline.signals++;
	rt4(RT_NR_pidfd_send_signal, plan->base.child_pidfd, number, 0, 0);
	/* A stopped child takes the signal only when it goes on. */
	rt4(RT_NR_pidfd_send_signal, plan->base.child_pidfd, SIGCONT, 0, 0);
}

int64_t capsule_relay_deadline_run(const struct relay_plan *plan)
{
	int64_t left;

	if (!deadline.due_ms)
		return -1;
	left = deadline.due_ms - capsule_rt_now_ms();
	if (left > 0)
		return left;
	if (deadline.signals) {
		deadline.due_ms = 0;
		signal_child(plan, SIGKILL);
		return -1;
	}
	deadline.due_ms = capsule_rt_now_ms() + plan->deadline.kill_after_ms;
	signal_child(plan, SIGTERM);
	return plan->deadline.kill_after_ms;
}

bool capsule_relay_deadline_passed(void)
{
	return deadline.signals;
}
