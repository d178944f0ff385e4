/* build: -std=gnu11 -Os -ffreestanding -fno-builtin -fno-stack-protector -fcf-protection=none -fno-pic -fno-asynchronous-unwind-tables -ffunction-sections -nostdlib -static -s -Wl,--gc-sections -Wl,--build-id=none -Wl,-z,noexecstack -Wl,-z,noseparate-code -Wl,-z,norelro csrc/rt.c csrc/plan.c csrc/monitor_log.c csrc/monitor_text.c csrc/monitor_clients.c csrc/relay_child.c csrc/relay_cleanup.c csrc/relay_deadline.c csrc/relay_record.c csrc/relay_notify.c */
/*
 * The monitor: what R of a detached container turns itself into, so that the container's first
 * process stays its child. It logs, serves those who attach, has the container's health looked
 * after, writes down how it ended, has it cleaned up by the launcher, and by the launcher's word
 * becomes the one who runs it again. It knows no policy. Behaviour: docs/engine.md.
 */
#include "monitor.h"

#include <asm/ioctls.h>
#include <linux/signal.h>
#include <linux/signalfd.h>

#define EXIT_NO_PLAN 127
/* The fallback's exit status when the container is to run again after 100 ms << (status - 64). */
#define AGAIN_FIRST 64
#define AGAIN_LAST 80
#define AGAIN_MS 100
#define AGAIN_MS_MAX 60000
/* After the program's end: for those who attach, altogether. */
#define DRAIN_MS 10000
/* More than a terminal takes: 64 KiB before its line discipline, and 4 KiB in it. */
#define TERMINAL_HOLDS (128 * 1024)

#define END_SIGNALS (RT_SIGNAL(SIGHUP) | RT_SIGNAL(SIGINT) | RT_SIGNAL(SIGTERM))

enum {
	POLL_SIGNALS,
	POLL_CHILD,
	POLL_NOTIFY,
	POLL_STREAMS,
	POLL_CLIENTS = POLL_STREAMS + MONITOR_STREAMS
};
#define POLL_COUNT (POLL_CLIENTS + MONITOR_CLIENT_POLLS)

/* What the container says on one descriptor. */
struct stream {
	int fd;	     /* -1: closed */
	size_t kept; /* bytes at the beginning of data that begin a character */
	char data[MONITOR_CHUNK];
};

static struct {
	struct relay_plan plan;
	struct relay_child child;
	int signal_fd;
	int64_t health_due_ms;
	struct stream streams[MONITOR_STREAMS];
} monitor;

static void settle_fds(const struct relay_plan *plan)
{
	const struct relay_base *base = &plan->base;
	const struct relay_monitor *own = &plan->monitor;
	int fds[] = { base->child_pidfd,     base->master_fd,	    base->report_fd,
		      base->state_fd,	     base->lock_fd,	    base->record_fd,
		      plan->notify.inner_fd, plan->notify.outer_fd, own->alive_fd,
		      own->output_fd,	     own->error_fd,	    own->input_fd,
		      own->listen_fd,	     own->log_dir_fd };
	const size_t count = sizeof(fds) / sizeof(*fds);
	long null;

	capsule_rt_close_except(3, fds, count);
	/* Nothing of ours is for whom we start. */
	for (size_t i = 0; i < count; i++)
		if (fds[i] >= 0)
			rt3(__NR_fcntl, fds[i], F_SETFD, FD_CLOEXEC);
	/* Whoever asked for the container must not wait for us to close what he gave us. */
	null = rt4(__NR_openat, AT_FDCWD, "/dev/null", O_RDWR, 0);
	for (int fd = 0; fd < 3; fd++)
		rt3(__NR_dup3, null, fd, 0);
	if (null > 2)
		rt_close((int)null);
}

static void open_signals(void)
{
	const uint64_t mask = RT_ALL_SIGNALS;

	rt4(__NR_rt_sigprocmask, SIG_SETMASK, &mask, 0, sizeof(mask));
	monitor.signal_fd = (int)rt4(__NR_signalfd4, -1, &mask, sizeof(mask),
				     SFD_CLOEXEC | SFD_NONBLOCK);
}

static void open_streams(const struct relay_plan *plan)
{
	const struct relay_monitor *own = &plan->monitor;
	int master = plan->base.master_fd;

	monitor.streams[MONITOR_STDOUT].fd = master >= 0 ? master : own->output_fd;
	monitor.streams[MONITOR_STDERR].fd = own->error_fd;
	for (size_t i = 0; i < MONITOR_STREAMS; i++)
		if (monitor.streams[i].fd >= 0)
			rt3(__NR_fcntl, monitor.streams[i].fd, F_SETFL, O_RDWR | O_NONBLOCK);
	if (own->input_fd >= 0)
		rt3(__NR_fcntl, own->input_fd, F_SETFL, O_WRONLY | O_NONBLOCK);
	/* A slave that stays open: the master reads no EIO while an init reopens its console. */
	if (master >= 0)
		rt3(__NR_ioctl, master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
}

/* Returns the signals that came, as a mask. */
static uint64_t read_signals(void)
{
	struct signalfd_siginfo info;
	uint64_t came = 0;

	while (rt3(__NR_read, monitor.signal_fd, &info, sizeof(info)) == sizeof(info))
		came |= RT_SIGNAL(info.ssi_signo);
	if (came & RT_SIGNAL(SIGCHLD))
		capsule_relay_reap(&monitor.child);
	return came;
}

/* Reads at most `most` bytes. Returns how many: 0 when there is nothing to read now. */
static size_t listen_to(enum monitor_stream which, size_t most)
{
	struct stream *stream = &monitor.streams[which];
	size_t room = sizeof(stream->data) - stream->kept, got;
	long size = rt3(__NR_read, stream->fd, stream->data + stream->kept,
			most < room ? most : room);

	if (size == -EAGAIN || size == -EINTR)
		return 0;
	if (size <= 0) {
		capsule_log_write(which, stream->data, stream->kept, true);
		stream->kept = 0;
		if (stream->fd != monitor.plan.base.master_fd)
			rt_close(stream->fd);
		stream->fd = -1;
		return 0;
	}
	got = (size_t)size;
	capsule_clients_give(which, stream->data + stream->kept, got);
	size += (long)stream->kept;
	stream->kept = capsule_log_write(which, stream->data, (size_t)size, false);
	memmove(stream->data, stream->data + size - stream->kept, stream->kept);
	return got;
}

/* A look that takes long is not joined by a second one. */
static int64_t run_health(char **envp)
{
	int64_t left = monitor.health_due_ms - capsule_rt_now_ms();

	if (!monitor.health_due_ms)
		return -1;
	if (left > 0)
		return left;
	if (!monitor.child.other) {
		long pid = capsule_relay_spawn(&monitor.plan.health, envp);

		monitor.child.other = pid > 0 ? (uint32_t)pid : 0;
	}
	monitor.health_due_ms = capsule_rt_now_ms() + monitor.plan.monitor.health_ms;
	return monitor.plan.monitor.health_ms;
}

/* Of two times to wait, -1 for none, the one that ends first. */
static int64_t sooner(int64_t left, int64_t right)
{
	if (left < 0 || right < 0)
		return left < 0 ? right : left;
	return left < right ? left : right;
}

static void turn(char **envp)
{
	struct rt_pollfd polls[POLL_COUNT] = {
		[POLL_SIGNALS] = { monitor.signal_fd, RT_POLLIN, 0 },
		[POLL_CHILD] = { monitor.child.traced ? -1 : monitor.plan.base.child_pidfd,
				 RT_POLLIN, 0 },
	};
	int64_t left = sooner(sooner(capsule_relay_deadline_run(&monitor.plan), run_health(envp)),
			      capsule_clients_patience());
	struct rt_timespec wait = { left / 1000, left % 1000 * 1000000 };

	capsule_relay_notify_poll(&polls[POLL_NOTIFY]);
	for (size_t i = 0; i < MONITOR_STREAMS; i++)
		polls[POLL_STREAMS + i] = (struct rt_pollfd){
			capsule_clients_busy() ? -1 : monitor.streams[i].fd, RT_POLLIN, 0
		};
	capsule_clients_poll(&polls[POLL_CLIENTS]);
	if (rt5(__NR_ppoll, polls, POLL_COUNT, left < 0 ? NULL : &wait, 0, 0) < 0)
		return;
	if (polls[POLL_SIGNALS].revents)
		read_signals();
	for (size_t i = 0; i < MONITOR_STREAMS; i++)
		if (polls[POLL_STREAMS + i].revents && !capsule_clients_busy())
			listen_to(i, MONITOR_CHUNK);
	capsule_clients_run(&polls[POLL_CLIENTS]);
	if (polls[POLL_NOTIFY].revents)
		capsule_relay_notify_run();
	if (polls[POLL_CHILD].revents)
		capsule_relay_look(&monitor.child);
}

/* Wait for a slow client, whom patience leaves behind in the end, all of them at the time that is due. */
static void wait_for_clients(int64_t due_ms)
{
	while (capsule_clients_busy()) {
		struct rt_pollfd polls[MONITOR_CLIENT_POLLS];
		int64_t all = due_ms - capsule_rt_now_ms(), one = capsule_clients_patience();
		int64_t left = all < one ? all : one;
		struct rt_timespec wait = { left / 1000, left % 1000 * 1000000 };

		if (all <= 0) {
			capsule_clients_leave_behind();
			return;
		}
		capsule_clients_poll(polls);
		if (rt5(__NR_ppoll, polls, MONITOR_CLIENT_POLLS, &wait, 0, 0) >= 0)
			capsule_clients_run(polls);
	}
}

/* How much of a stream may have been written before now. */
static size_t held_by(const struct stream *stream)
{
	int size = 0;

	if (stream->fd < 0)
		return 0;
	/* What lies before the line discipline of a terminal is not counted (drivers/tty/tty_buffer.c). */
	if (stream->fd == monitor.plan.base.master_fd)
		return TERMINAL_HOLDS;
	rt3(__NR_ioctl, stream->fd, FIONREAD, &size);
	return size > 0 ? (size_t)size : 0;
}

/*
 * What the program, which has ended, had written. Whoever else has the other end of a pipe may go
 * on writing, and what comes after that is not waited for; nor are those who attach for long.
 */
static void drain(void)
{
	const int64_t due_ms = capsule_rt_now_ms() + DRAIN_MS;
	size_t left[MONITOR_STREAMS], got;

	for (size_t i = 0; i < MONITOR_STREAMS; i++)
		left[i] = held_by(&monitor.streams[i]);
	for (size_t i = 0; i < MONITOR_STREAMS; i++) {
		struct stream *stream = &monitor.streams[i];

		for (; left[i]; left[i] -= got) {
			wait_for_clients(due_ms);
			got = listen_to(i, left[i]);
			if (!got)
				break;
		}
		if (stream->kept)
			capsule_log_write(i, stream->data, stream->kept, true);
	}
	wait_for_clients(due_ms);
}

/* Returns false when somebody does not want the container to run any more. */
static bool back_off(uint32_t step)
{
	int64_t pause = (int64_t)AGAIN_MS << step;
	int64_t due = capsule_rt_now_ms() + (pause < AGAIN_MS_MAX ? pause : AGAIN_MS_MAX);

	for (;;) {
		int64_t left = due - capsule_rt_now_ms();

		if (left <= 0)
			return true;
		if (capsule_rt_poll_one(monitor.signal_fd, RT_POLLIN, left) > 0 &&
		    read_signals() & END_SIGNALS)
			return false;
	}
}

static int run_again(char **envp)
{
	static const char *argv[64];

	if (!monitor.plan.again.count || monitor.plan.again.count > 63)
		return EXIT_NO_PLAN;
	capsule_plan_vector(&monitor.plan.again, argv);
	capsule_rt_default_signals();
	/* Still flocked: there is no moment in which nobody has it. */
	rt3(__NR_fcntl, monitor.plan.monitor.alive_fd, F_SETFD, 0);
	rt3(__NR_execve, argv[0], argv, envp);
	return EXIT_NO_PLAN;
}

static bool open_plan(int argc, char **argv)
{
	const void *data;
	long size;
	int fd;

	if (argc != 2 || (fd = capsule_rt_number(argv[1])) < 3)
		return false;
	size = capsule_rt_map_file(fd, &data);
	return size >= 0 && !capsule_plan_relay(data, (size_t)size, &monitor.plan);
}

int capsule_main(int argc, char **argv, char **envp)
{
	struct relay_plan *plan = &monitor.plan;
	int status;

	if (!open_plan(argc, argv))
		return EXIT_NO_PLAN;
	settle_fds(plan);
	open_signals();
	monitor.child.pid = plan->base.child_pid;
	capsule_relay_keep_status();
	capsule_relay_unlock(plan);
	capsule_relay_deadline_start(plan);
	capsule_relay_notify_open(plan);
	capsule_log_open(plan);
	capsule_clients_open(plan);
	open_streams(plan);
	if (plan->monitor.health_ms)
		monitor.health_due_ms = capsule_rt_now_ms() + plan->monitor.health_ms;
	capsule_relay_reap(&monitor.child);
	while (!monitor.child.ended)
		turn(envp);
	capsule_relay_notify_run();
	drain();
	capsule_relay_record(plan, monitor.child.status);
	status = capsule_relay_clean_up(plan, envp);
	capsule_clients_end(monitor.child.status);
	if (status < AGAIN_FIRST || status > AGAIN_LAST ||
	    !back_off((uint32_t)status - AGAIN_FIRST))
		return 0;
	return run_again(envp);
}
