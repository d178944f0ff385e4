/* build: -std=gnu11 -Os -ffreestanding -fno-builtin -fno-stack-protector -fcf-protection=none -fno-pic -fno-asynchronous-unwind-tables -ffunction-sections -nostdlib -static -s -Wl,--gc-sections -Wl,--build-id=none -Wl,-z,noexecstack -Wl,-z,noseparate-code -Wl,-z,norelro csrc/rt.c csrc/plan.c csrc/relay_pump.c csrc/relay_tty.c csrc/relay_cleanup.c csrc/relay_deadline.c csrc/relay_record.c csrc/relay_notify.c csrc/relay_child.c */
/*
 * The relay: what R of a foreground run or exec turns itself into, with the same pid, so that the
 * container's process stays its child. It copies the terminal, forwards signals, reaps, cleans up,
 * reports, and leaves with the child's status: kilobytes instead of an idle interpreter.
 * Records and behaviour: docs/tail.md.
 */
#include "relay.h"

#include "messages.h"

#include <asm/ioctls.h>
#include <linux/signal.h>
#include <linux/signalfd.h>

#define EXIT_NO_PLAN 127
#define EXIT_TIMEOUT 124 /* timeout(1) */
#define EXIT_UNKNOWN 255 /* somebody else reaped the child */

/*
 * Not for the child: what only we can act on, what stops us under job control, and what a pipe of
 * ours raised.
 */
#define OWN_SIGNALS (RT_SIGNAL(SIGCHLD) | RT_SIGNAL(SIGPIPE) | RT_SIGNAL(SIGURG))
#define END_SIGNALS \
	(RT_SIGNAL(SIGHUP) | RT_SIGNAL(SIGINT) | RT_SIGNAL(SIGQUIT) | RT_SIGNAL(SIGTERM))
#define JOB_SIGNALS (RT_SIGNAL(SIGTSTP) | RT_SIGNAL(SIGTTIN) | RT_SIGNAL(SIGTTOU))

enum { POLL_SIGNALS, POLL_CHILD, POLL_OUTPUT, POLL_INPUT, POLL_NOTIFY, POLL_COUNT };

static struct {
	struct relay_plan plan;
	int signal_fd;
	struct relay_child child;
	bool interrupted;	  /* told to leave after the child's end */
	struct relay_pump output; /* container -> stdout */
	struct relay_pump input;  /* stdin -> container */
} relay;

static void settle_fds(const struct relay_plan *plan)
{
	const struct relay_base *base = &plan->base;

	capsule_relay_fill_stdio();
	capsule_rt_close_except(3,
				(int[]){ base->child_pidfd, base->master_fd, base->report_fd,
					 base->state_fd, base->lock_fd, base->record_fd,
					 plan->notify.inner_fd, plan->notify.outer_fd,
					 plan->monitor.alive_fd },
				9);
}

/* Read signals as data; those that R blocked for us and that are pending are the first. */
static int open_signals(bool forward)
{
	uint64_t mask = forward ? RT_ALL_SIGNALS & ~JOB_SIGNALS : OWN_SIGNALS | RT_SIGNAL(SIGWINCH);

	rt4(__NR_rt_sigprocmask, SIG_SETMASK, &mask, 0, sizeof(mask));
	return (int)rt4(__NR_signalfd4, -1, &mask, sizeof(mask), SFD_CLOEXEC | SFD_NONBLOCK);
}

static void on_signal(uint32_t number)
{
	const struct relay_base *base = &relay.plan.base;
	bool has_tty = base->flags & RELAY_USE_TTY;

	if (number == SIGCHLD) {
		capsule_relay_reap(&relay.child);
		return;
	}
	if (number == SIGWINCH && base->master_fd >= 0) {
		if (has_tty)
			capsule_relay_tty_resize(base->master_fd);
		return;
	}
	if (RT_SIGNAL(number) & OWN_SIGNALS || !(base->flags & RELAY_FORWARD_SIGNALS))
		return;
	if (relay.child.ended && RT_SIGNAL(number) & END_SIGNALS)
		relay.interrupted = true;
	/* Back from a stop: the shell has put the terminal into its own mode. */
	if (number == SIGCONT && has_tty) {
		capsule_relay_tty_raw();
		capsule_relay_tty_resize(base->master_fd);
	}
	rt4(RT_NR_pidfd_send_signal, base->child_pidfd, number, 0, 0);
}

static void read_signals(void)
{
	struct signalfd_siginfo info;

	while (rt3(__NR_read, relay.signal_fd, &info, sizeof(info)) == sizeof(info))
		on_signal(info.ssi_signo);
}

static void open_pumps(int master_fd)
{
	bool none = master_fd < 0;

	relay.output.from = relay.input.to = master_fd;
	relay.output.to = 1;
	relay.output.must_read = true;
	relay.output.closed = relay.input.closed = none;
	if (none)
		return;
	rt3(__NR_fcntl, master_fd, F_SETFL, O_RDWR | O_NONBLOCK);
	/* A slave that stays open: the master reads no EIO while an init reopens its console. */
	rt3(__NR_ioctl, master_fd, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
}

/* Returns the time limit's next moment as ppoll(2) takes it, NULL for none. */
static const struct rt_timespec *until_deadline(struct rt_timespec *wait)
{
	int64_t left = capsule_relay_deadline_run(&relay.plan);

	wait->tv_sec = left / 1000;
	wait->tv_nsec = left % 1000 * 1000000;
	return left < 0 ? NULL : wait;
}

/* One turn: wait for anything, then do it. */
static void turn(void)
{
	struct rt_pollfd polls[POLL_COUNT] = {
		[POLL_SIGNALS] = { relay.signal_fd, RT_POLLIN, 0 },
		[POLL_CHILD] = { relay.child.traced ? -1 : relay.plan.base.child_pidfd, RT_POLLIN,
				 0 },
	};
	struct rt_timespec wait;

	capsule_relay_pump_poll(&relay.output, &polls[POLL_OUTPUT]);
	capsule_relay_pump_poll(&relay.input, &polls[POLL_INPUT]);
	capsule_relay_notify_poll(&polls[POLL_NOTIFY]);
	if (rt5(__NR_ppoll, polls, POLL_COUNT, until_deadline(&wait), 0, 0) <= 0)
		return;
	if (polls[POLL_SIGNALS].revents)
		read_signals();
	capsule_relay_pump_run(&relay.output, &polls[POLL_OUTPUT]);
	capsule_relay_pump_run(&relay.input, &polls[POLL_INPUT]);
	if (polls[POLL_NOTIFY].revents)
		capsule_relay_notify_run();
	if (polls[POLL_CHILD].revents)
		capsule_relay_look(&relay.child);
}

/*
 * Carry over what the pty still holds, however slow the reader, unless we are told to leave. The
 * kernel delivers all that was written to the slave before a read of the master says EAGAIN.
 */
static void drain(struct relay_pump *output)
{
	while (!relay.interrupted) {
		struct rt_pollfd polls[] = { { relay.signal_fd, RT_POLLIN, 0 }, { 0 } };

		if (capsule_relay_pump_empty(output)) {
			if (output->closed || !capsule_relay_pump_fill(output))
				return;
			continue;
		}
		capsule_relay_pump_poll(output, &polls[1]);
		if (rt5(__NR_ppoll, polls, 2, 0, 0, 0) <= 0)
			continue;
		if (polls[0].revents)
			read_signals();
		capsule_relay_pump_run(output, &polls[1]);
	}
}

static void report(int report_fd)
{
	const struct {
		uint32_t type, length;
		int32_t pid;
		uint32_t status;
	} message = { CAPSULE_MSG_EXITED, 8, (int32_t)relay.plan.base.child_pid,
		      (uint32_t)relay.child.status };

	if (report_fd >= 0)
		rt6(__NR_sendto, report_fd, &message, sizeof(message), RT_MSG_NOSIGNAL, 0, 0);
}

static int exit_status(void)
{
	int signal = relay.child.status & 0x7f;

	if (capsule_relay_deadline_passed())
		return EXIT_TIMEOUT;
	if (!relay.child.status_known)
		return EXIT_UNKNOWN;
	return signal ? 128 + signal : relay.child.status >> 8 & 0xff;
}

int capsule_main(int argc, char **argv, char **envp)
{
	struct relay_base *base = &relay.plan.base;
	const void *data;
	long size;
	int fd;

	if (argc != 2 || (fd = capsule_rt_number(argv[1])) < 3)
		return EXIT_NO_PLAN;
	size = capsule_rt_map_file(fd, &data);
	if (size < 0 || capsule_plan_relay(data, (size_t)size, &relay.plan))
		return EXIT_NO_PLAN;
	settle_fds(&relay.plan);
	relay.signal_fd = open_signals(base->flags & RELAY_FORWARD_SIGNALS);
	relay.child.pid = base->child_pid;
	capsule_relay_keep_status();
	capsule_relay_unlock(&relay.plan);
	capsule_relay_deadline_start(&relay.plan);
	capsule_relay_notify_open(&relay.plan);
	open_pumps(base->master_fd);
	if (base->flags & RELAY_USE_TTY)
		capsule_relay_tty_open(base->master_fd);
	capsule_relay_reap(&relay.child);
	while (!relay.child.ended)
		turn();
	capsule_relay_notify_run(); /* what it said last */
	drain(&relay.output);
	capsule_relay_tty_restore();
	capsule_relay_record(&relay.plan, relay.child.status);
	capsule_relay_clean_up(&relay.plan, envp);
	report(base->report_fd);
	return exit_status();
}
