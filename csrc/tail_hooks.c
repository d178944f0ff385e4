/*
 * The startContainer hooks (runtime-spec config.md#startcontainer): as the container's user, under
 * its filter, in its cwd, with stdin from the plan and no fd but stdio. The first that fails ends
 * T.
 */
#include "tail.h"

#include <linux/memfd.h>
#include <linux/mman.h>
#include <linux/signal.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8u
#endif

/* A file, not a pipe: it holds a state of any size without a writer that has to be scheduled. */
static int make_stdin(const struct plan_bytes *state)
{
	long fd = rt2(__NR_memfd_create, "state", MFD_CLOEXEC | MFD_NOEXEC_SEAL);
	uint32_t done = 0;

	if (fd == -EINVAL) /* before Linux 6.3 */
		fd = rt2(__NR_memfd_create, "state", MFD_CLOEXEC);
	if (fd < 0)
		capsule_tail_fail(TAIL_STEP_HOOK_START, 0, fd);
	while (done < state->len) {
		long size = rt3(__NR_write, fd, state->data + done, state->len - done);

		if (size < 0)
			capsule_tail_fail(TAIL_STEP_HOOK_START, 0, size);
		done += (uint32_t)size;
	}
	return (int)fd;
}

/* One page that a hook's process shares with us: how it failed before its execve. */
static struct tail_error *make_failure(void)
{
	long address = rt6(__NR_mmap, 0, sizeof(struct tail_error), PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (address < 0 && address > -4096)
		capsule_tail_fail(TAIL_STEP_MEMORY, 0, address);
	return (struct tail_error *)address;
}

static _Noreturn void hook_process(const struct tail_hook *hook, uint32_t index, int stdin_fd,
				   bool become)
{
	const char **argv = capsule_tail_vector(&hook->args, hook->path);
	const char **envp = hook->process_env ? capsule_tail.envp
					      : capsule_tail_vector(&hook->env, NULL);
	long error = rt3(__NR_lseek, stdin_fd, 0, 0 /* SEEK_SET */);

	if (error >= 0)
		error = rt3(__NR_dup3, stdin_fd, 0, 0);
	if (error < 0)
		capsule_tail_fail(TAIL_STEP_HOOK_START, index, error);
	if (become)
		capsule_tail_become(3, -1, SIGKILL);
	else
		capsule_rt_close_except(3, NULL, 0);
	error = rt3(__NR_execve, hook->path, argv, envp);
	capsule_tail_fail(TAIL_STEP_HOOK_EXEC, index, error);
}

/*
 * Wait for a hook, killing it at its deadline. Returns 0 or -ETIMEDOUT; *status as wait4(2) has it.
 */
static int await_hook(long pid, int pidfd, uint32_t timeout_ms, int *status)
{
	int ended = 1;

	if (timeout_ms)
		ended = capsule_rt_poll_one(pidfd, RT_POLLIN, timeout_ms);
	if (!ended)
		rt4(RT_NR_pidfd_send_signal, pidfd, SIGKILL, 0, 0);
	while (rt4(__NR_wait4, pid, status, 0, 0) == -EINTR)
		;
	rt_close(pidfd);
	return ended ? 0 : -ETIMEDOUT;
}

static void run_hook(const struct tail_hook *hook, uint32_t index, int stdin_fd, bool become,
		     struct tail_error *failure)
{
	struct tail_error record = { TAIL_STEP_HOOK, index, 0, 0 };
	int pidfd = -1, status = 0;
	long pid = capsule_rt_fork(&pidfd);

	if (pid < 0)
		capsule_tail_fail(TAIL_STEP_HOOK_START, index, pid);
	if (!pid) {
		capsule_tail.failure = failure;
		hook_process(hook, index, stdin_fd, become);
	}
	record.error = -await_hook(pid, pidfd, hook->timeout_ms, &status);
	record.wait_status = (uint32_t)status;
	if (failure->step)
		capsule_tail_fail_with(failure);
	if (record.error || status)
		capsule_tail_fail_with(&record);
}

void capsule_tail_hooks(bool become)
{
	const struct tail_plan *plan = &capsule_tail.plan;
	struct plan_cursor cursor = plan->hooks;
	struct tail_error *failure;
	struct tail_hook hook;
	int stdin_fd;

	if (!plan->hook_count)
		return;
	stdin_fd = make_stdin(&plan->hook_state);
	failure = make_failure();
	for (uint32_t index = 0; capsule_plan_next_hook(&cursor, &hook); index++)
		run_hook(&hook, index, stdin_fd, become, failure);
	rt_close(stdin_fd);
}
