/*
 * Copy bytes between our stdio and the container's pty, with one chunk in flight for each
 * direction: a slow reader slows the container down, it does not make us grow. Stdio is shared with
 * whoever started us, so it stays in blocking mode; only the master is ours to set non-blocking.
 */
#include "relay.h"

bool capsule_relay_pump_empty(const struct relay_pump *pump)
{
	return pump->start == pump->end;
}

void capsule_relay_pump_poll(const struct relay_pump *pump, struct rt_pollfd *poll)
{
	poll->revents = 0;
	if (capsule_relay_pump_empty(pump)) {
		poll->fd = pump->closed ? -1 : pump->from;
		poll->events = RT_POLLIN;
	} else {
		poll->fd = pump->to;
		poll->events = RT_POLLOUT;
	}
}

bool capsule_relay_pump_fill(struct relay_pump *pump)
{
	long size = rt3(__NR_read, pump->from, pump->data, sizeof(pump->data));

	if (size == -EAGAIN || size == -EINTR)
		return false;
	/* End of file, or EIO: a terminal that hung up, a pty whose slave is closed. */
	if (size <= 0) {
		pump->closed = true;
		return false;
	}
	pump->start = 0;
	pump->end = pump->discards ? 0 : (uint32_t)size;
	return true;
}

static void flush(struct relay_pump *pump)
{
	long size = rt3(__NR_write, pump->to, pump->data + pump->start, pump->end - pump->start);

	if (size == -EAGAIN || size == -EINTR)
		return;
	if (size < 0) {
		pump->discards = pump->must_read;
		pump->closed |= !pump->must_read;
		pump->start = pump->end;
		return;
	}
	pump->start += (uint32_t)size;
}

void capsule_relay_pump_run(struct relay_pump *pump, const struct rt_pollfd *poll)
{
	if (!poll->revents)
		return;
	if (capsule_relay_pump_empty(pump))
		capsule_relay_pump_fill(pump);
	else
		flush(pump);
}
