/*
 * A program's READY=1 (sd_notify(3)), passed on to whoever supervises us. All else that it says is dropped, and so are
 * descriptors: recvfrom(2) has no place for them. The supervisor's main process is the relay, so no MAINPID is sent.
 * After that word the program is still listened to, and nothing passed on: its next message must not fail or block.
 */
#include "relay.h"

#include <asm/errno.h>

#define MESSAGE_MAX 4096 /* the longest that systemd reads */
#define MESSAGES_MAX 64	 /* in one go: signals and the terminal must not starve */
#define DONTWAIT 0x40

static struct {
	int inner_fd;
	int outer_fd;
	bool ready; /* heard, not yet told */
} notify;

static void finish(void)
{
	rt_close(notify.outer_fd);
	notify.outer_fd = -1;
	notify.ready = false;
}

void capsule_relay_notify_open(const struct relay_plan *plan)
{
	notify.inner_fd = plan->notify.inner_fd;
	notify.outer_fd = plan->notify.outer_fd;
}

void capsule_relay_notify_poll(struct rt_pollfd *poll)
{
	poll->fd = notify.ready ? notify.outer_fd : notify.inner_fd;
	poll->events = notify.ready ? RT_POLLOUT : RT_POLLIN;
}

/* Tell whether one line of the message is READY=1. */
static bool says_ready(const char *message, size_t size)
{
	static const char word[] = "READY=1";
	const size_t length = sizeof(word) - 1;

	for (size_t start = 0, end; start < size; start = end + 1) {
		for (end = start; end < size && message[end] != '\n'; end++)
			;
		if (end - start == length && !memcmp(message + start, word, length))
			return true;
	}
	return false;
}

static bool hear(void)
{
	static char message[MESSAGE_MAX];

	for (int i = 0; i < MESSAGES_MAX; i++) {
		long size = rt6(__NR_recvfrom, notify.inner_fd, message, sizeof(message),
				DONTWAIT | RT_MSG_TRUNC, 0, 0);

		if (size < 0)
			return false;
		if (size <= MESSAGE_MAX && says_ready(message, (size_t)size))
			return true;
	}
	return false;
}

void capsule_relay_notify_run(void)
{
	static const char word[] = "READY=1\n";

	if (notify.inner_fd < 0)
		return;
	notify.ready = notify.ready || (hear() && notify.outer_fd >= 0);
	if (notify.ready && rt6(__NR_sendto, notify.outer_fd, word, sizeof(word) - 1,
				DONTWAIT | RT_MSG_NOSIGNAL, 0, 0) != -EAGAIN)
		finish();
}
