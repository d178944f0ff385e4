/* build: -std=gnu11 -Os -ffreestanding -fno-builtin -fno-stack-protector -fcf-protection=none -fno-pic -fno-asynchronous-unwind-tables -ffunction-sections -nostdlib -static -s -Wl,--gc-sections -Wl,--build-id=none -Wl,-z,noexecstack -Wl,-z,noseparate-code -Wl,-z,norelro csrc/rt.c csrc/plan.c csrc/tail_become.c csrc/tail_seccomp.c csrc/tail_hooks.c */
/*
 * The tail, T: the last program before the payload, executed by S2 from a sealed memfd inside the
 * finished container. Freestanding, so that a created container holds kilobytes and what runs last,
 * with privileges dropping, can be read in one sitting. Steps, fds and records: docs/tail.md.
 */
#include "tail.h"

#include "messages.h"

#include <linux/prctl.h>
#include <linux/signal.h>

#define EXIT_NO_PLAN 127

/* A peer that connects to the start socket and then says nothing for so long is turned away. */
#define PROBE_TIMEOUT_MS 10000

struct message {
	uint32_t type;
	uint32_t length;
	struct tail_error error;
};

struct tail capsule_tail;

/*
 * write(2) first: under the payload's filter it is the call most likely to be allowed. If neither
 * is, the exit status and the pidfd have to tell.
 */
static void send_message(int fd, const struct message *message)
{
	size_t size = 2 * sizeof(uint32_t) + message->length;

	if (rt3(__NR_write, fd, message, size) < 0)
		rt6(__NR_sendto, fd, message, size, RT_MSG_NOSIGNAL, 0, 0);
}

/*
 * What was refused lies in our root, which ends with us: R looks at it before it closes its end. A filter that
 * denies read(2) costs only that explanation.
 */
static void wait_for_reader(int fd, uint32_t step)
{
	char byte;

	if (step == TAIL_STEP_EXEC || step == TAIL_STEP_CWD)
		while (rt3(__NR_read, fd, &byte, sizeof(byte)) == -EINTR)
			;
}

_Noreturn void capsule_tail_fail_with(const struct tail_error *record)
{
	struct message message = { CAPSULE_MSG_ERROR, sizeof(*record), *record };

	if (capsule_tail.failure) {
		*capsule_tail.failure = *record;
		rt_exit(1);
	}
	send_message(capsule_tail.report_fd, &message);
	wait_for_reader(capsule_tail.report_fd, record->step);
	rt_exit(1);
}

_Noreturn void capsule_tail_fail(enum tail_step step, uint32_t index, long error)
{
	struct tail_error record = { step, index, (int32_t)-error, 0 };

	capsule_tail_fail_with(&record);
}

const char **capsule_tail_vector(const struct plan_strings *strings, const char *first)
{
	const char **vector = capsule_rt_map((strings->count + 2) * sizeof(*vector));

	if (!vector)
		capsule_tail_fail(TAIL_STEP_MEMORY, 0, -ENOMEM);
	capsule_plan_vector(strings, vector);
	if (!strings->count)
		vector[0] = first;
	return vector;
}

/* Move one of our fds out of the range that the payload gets, and make it close on execve. */
static void lift_fd(int32_t *fd, int first)
{
	long lifted;

	if (*fd < 0)
		return;
	if (*fd >= first) {
		rt3(__NR_fcntl, *fd, F_SETFD, FD_CLOEXEC);
		return;
	}
	lifted = rt3(__NR_fcntl, *fd, F_DUPFD_CLOEXEC, first);
	if (lifted < 0)
		rt_exit(EXIT_NO_PLAN);
	rt_close(*fd);
	*fd = (int32_t)lifted;
}

/* Leave open: stdio, the preserved fds, and our own. */
static void settle_fds(struct tail_base *base)
{
	int first = 3 + (int)base->preserve_fds;

	lift_fd(&base->sync_fd, first);
	lift_fd(&base->start_fd, first);
	lift_fd(&base->proc_fd, first);
	lift_fd(&base->agent_fd, first);
	capsule_rt_close_except(
		first, (int[]){ base->sync_fd, base->start_fd, base->proc_fd, base->agent_fd }, 4);
}

/*
 * S2 tied its life to R's by a parent-death signal; from here only a foreground run wants one.
 * execve has made us non-dumpable unless the administrator's fs.suid_dumpable says otherwise.
 */
static void settle_process(const struct tail_base *base)
{
	capsule_rt_default_signals();
	rt2(__NR_prctl, PR_SET_PDEATHSIG, base->pdeathsig);
	rt2(__NR_prctl, PR_SET_DUMPABLE, 0);
	rt2(__NR_prctl, PR_SET_NAME, base->kind == TAIL_INIT ? "capsule:init" : "capsule:exec");
}

/*
 * Wait for a message without payload, or with one word of it where word is given. Returns its type, 0 for any
 * other message or end of file.
 */
static uint32_t receive_type(int fd, uint32_t *word)
{
	uint32_t words[3];
	long size;

	do {
		size = rt6(__NR_recvfrom, fd, words, sizeof(words), RT_MSG_TRUNC, 0, 0);
	} while (size == -EINTR);
	if (word && size == sizeof(words) && words[1] == sizeof(*word))
		*word = words[2];
	else if (size != 2 * sizeof(*words) || words[1])
		return 0;
	return words[0];
}

static void send_ready(int sync_fd)
{
	const struct message ready = { .type = CAPSULE_MSG_READY };

	send_message(sync_fd, &ready);
}

/* R sets limits between READY and ACK: without its answer nothing of the program may run. */
static void wait_for_ack(int sync_fd)
{
	send_ready(sync_fd);
	if (receive_type(sync_fd, &capsule_tail.host_pid) != CAPSULE_MSG_ACK)
		rt_exit(1); /* R has failed and says so itself, or is gone */
}

/* While we wait as pid 1, orphans of exec'd processes are ours; the payload must not find them. */
static void reap_by_kernel(bool on)
{
	const struct rt_sigaction action = { .flags = on ? SA_NOCLDWAIT : 0 };

	rt4(__NR_rt_sigaction, SIGCHLD, &action, 0, sizeof(uint64_t));
}

/* A connection that closes without a START was a status probe. */
static bool is_start(int connection)
{
	if (capsule_rt_poll_one(connection, RT_POLLIN, PROBE_TIMEOUT_MS) <= 0)
		return false;
	return receive_type(connection, NULL) == CAPSULE_MSG_START;
}

/* Be "created": answer the start socket until START. Returns its connection. */
static int wait_for_start(const struct tail_base *base)
{
	reap_by_kernel(true);
	if (base->flags & TAIL_WAIT_ACK)
		wait_for_ack(base->sync_fd);
	else
		send_ready(base->sync_fd);
	rt_close(base->sync_fd);
	for (;;) {
		long connection = rt4(__NR_accept4, base->start_fd, 0, 0, O_CLOEXEC);

		if (connection == -EBADF || connection == -EINVAL || connection == -ENOTSOCK)
			rt_exit(EXIT_NO_PLAN);
		if (connection < 0 || !is_start((int)connection)) {
			rt_close((int)connection);
			continue;
		}
		if (base->flags & TAIL_HAS_PROCESS) {
			/* From here a connect is refused: no longer created. */
			rt_close(base->start_fd);
			reap_by_kernel(false);
			return (int)connection;
		}
		send_message((int)connection,
			     &(struct message){ CAPSULE_MSG_ERROR,
						sizeof(struct tail_error),
						{ TAIL_STEP_START, 0, EINVAL, 0 } });
		rt_close((int)connection);
	}
}

/* Between START (or ACK) and execve. */
static _Noreturn void run_payload(void)
{
	const struct tail_plan *plan = &capsule_tail.plan;
	const struct tail_base *base = &plan->base;
	long error;

	capsule_tail.argv = capsule_tail_vector(&plan->args, NULL);
	capsule_tail.envp = capsule_tail_vector(&plan->env, NULL);
	/*
	 * Hooks run under the filter, and T supervises them from outside it, unless an agent
	 * listens: then there is one filter with one listener, and it has to be loaded first.
	 */
	if (base->agent_fd < 0)
		capsule_tail_hooks(true);
	capsule_tail_become(3 + (int)base->preserve_fds, capsule_tail.report_fd, base->pdeathsig);
	if (base->agent_fd >= 0)
		capsule_tail_hooks(false);
	error = rt3(__NR_execve, plan->exec_path, capsule_tail.argv, capsule_tail.envp);
	capsule_tail_fail(TAIL_STEP_EXEC, 0, error);
}

int capsule_main(int argc, char **argv, char **envp)
{
	struct tail_base *base = &capsule_tail.plan.base;
	const void *data;
	long size;
	int fd;

	(void)envp;
	if (argc != 2 || (fd = capsule_rt_number(argv[1])) < 3)
		return EXIT_NO_PLAN;
	size = capsule_rt_map_file(fd, &data);
	if (size < 0 || capsule_plan_tail(data, (size_t)size, &capsule_tail.plan))
		return EXIT_NO_PLAN;
	settle_fds(base);
	settle_process(base);
	if (base->kind == TAIL_INIT) {
		capsule_tail.report_fd = wait_for_start(base);
	} else {
		capsule_tail.report_fd = base->sync_fd;
		if (base->flags & TAIL_WAIT_ACK)
			wait_for_ack(base->sync_fd);
	}
	run_payload();
}
