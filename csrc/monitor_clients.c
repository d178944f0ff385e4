/*
 * Those who attach, over a SOCK_SEQPACKET socket: they get what the container says from now on, may
 * give it input, and are told how it ended. One chunk of output and one of input is in flight. Who
 * does not take the output holds the container up for PATIENCE_MS, then is left behind.
 */
#include "monitor.h"

#include <asm/ioctls.h>

#define PATIENCE_MS 10000
#define LAST_WORD_SECONDS 2
#define DONTWAIT 0x40
#define NONBLOCK O_NONBLOCK
#define SO_SNDTIMEO_NUMBER 21 /* asm-generic/socket.h, on both machines */
#define ENDED (~(RT_POLLIN | RT_POLLOUT))

struct client {
	int fd; /* -1: a free place */
	bool wants_output;
	bool owed; /* the present chunk */
};

static struct {
	struct client all[MONITOR_CLIENTS];
	int listen_fd;
	int input_fd;  /* a pipe, or the terminal */
	int master_fd; /* the terminal or -1 */
	bool ends_input;
	size_t chunk; /* size of the message that is owed; 0: none */
	int64_t since_ms;
	size_t input_start, input_end;
	char message[MONITOR_CHUNK + 1];
	char input[MONITOR_CHUNK + 1];
} state;

void capsule_clients_open(const struct relay_plan *plan)
{
	for (size_t i = 0; i < MONITOR_CLIENTS; i++)
		state.all[i].fd = -1;
	state.listen_fd = plan->monitor.listen_fd;
	state.master_fd = plan->base.master_fd;
	state.input_fd = state.master_fd >= 0 ? state.master_fd : plan->monitor.input_fd;
}

static void leave(struct client *client)
{
	rt_close(client->fd);
	*client = (struct client){ .fd = -1 };
}

static bool input_waits(void)
{
	return state.input_start < state.input_end;
}

void capsule_clients_poll(struct rt_pollfd *polls)
{
	polls[0] = (struct rt_pollfd){ state.listen_fd, RT_POLLIN, 0 };
	polls[1] = (struct rt_pollfd){ input_waits() ? state.input_fd : -1, RT_POLLOUT, 0 };
	for (size_t i = 0; i < MONITOR_CLIENTS; i++) {
		const struct client *client = &state.all[i];

		polls[2 + i] = (struct rt_pollfd){ client->fd, 0, 0 };
		if (client->owed)
			polls[2 + i].events |= RT_POLLOUT;
		/* Input that the container does not take holds up who gives it, and nobody else. */
		if (!input_waits())
			polls[2 + i].events |= RT_POLLIN;
	}
}

static void accept_client(void)
{
	long fd = rt4(__NR_accept4, state.listen_fd, 0, 0, O_CLOEXEC | NONBLOCK);

	for (size_t i = 0; fd >= 0 && i < MONITOR_CLIENTS; i++)
		if (state.all[i].fd < 0) {
			state.all[i] = (struct client){ .fd = (int)fd };
			return;
		}
	rt_close((int)fd);
}

static void give_up_input(void)
{
	state.input_start = state.input_end = 0;
	if (state.master_fd < 0)
		rt_close(state.input_fd);
	state.input_fd = -1;
}

static void write_input(void)
{
	long count = rt3(__NR_write, state.input_fd, state.input + state.input_start,
			 state.input_end - state.input_start);

	if (count == -EAGAIN || count == -EINTR)
		return;
	if (count < 0)
		give_up_input(); /* nobody reads it */
	else
		state.input_start += (size_t)count;
	if (!input_waits() && state.ends_input && state.master_fd < 0)
		give_up_input();
}

static void resize(const char *data, size_t size)
{
	uint16_t winsize[4] = { 0 };

	if (size != 5 || state.master_fd < 0)
		return;
	memcpy(winsize, data + 1, 4);
	rt3(__NR_ioctl, state.master_fd, TIOCSWINSZ, winsize);
}

static void obey(struct client *client, size_t size)
{
	switch (state.input[0]) {
	case MONITOR_ATTACH:
		client->wants_output = true;
		return;
	case MONITOR_INPUT:
		if (state.input_fd < 0 || size < 2)
			return;
		state.input_start = 1;
		state.input_end = size;
		write_input();
		return;
	case MONITOR_EOF:
		/* A terminal has its own way to say so: the client sends its ^D as input. */
		if (state.master_fd < 0)
			give_up_input();
		return;
	case MONITOR_RESIZE:
		resize(state.input, size);
		return;
	default:
		return; /* MONITOR_WATCH, and the words of a newer client */
	}
}

static void hear(struct client *client)
{
	long size = rt6(__NR_recvfrom, client->fd, state.input, sizeof(state.input), DONTWAIT, 0,
			0);

	if (size == -EAGAIN || size == -EINTR)
		return;
	if (size <= 0)
		leave(client);
	else
		obey(client, (size_t)size);
}

static void give(struct client *client)
{
	long size = rt6(__NR_sendto, client->fd, state.message, state.chunk,
			DONTWAIT | RT_MSG_NOSIGNAL, 0, 0);

	client->owed = size == -EAGAIN || size == -EINTR;
	if (size < 0 && !client->owed)
		leave(client);
}

void capsule_clients_leave_behind(void)
{
	for (size_t i = 0; i < MONITOR_CLIENTS; i++)
		if (state.all[i].owed)
			leave(&state.all[i]);
	state.chunk = 0;
}

static void settle(void)
{
	if (capsule_clients_patience() != 0)
		for (size_t i = 0; i < MONITOR_CLIENTS; i++)
			if (state.all[i].owed)
				return;
	capsule_clients_leave_behind();
}

void capsule_clients_run(const struct rt_pollfd *polls)
{
	if (polls[0].revents)
		accept_client();
	if (polls[1].revents && input_waits())
		write_input();
	for (size_t i = 0; i < MONITOR_CLIENTS; i++) {
		struct client *client = &state.all[i];
		int got = polls[2 + i].revents;

		/* A place that was free when it was asked may be a new client's by now. */
		if (client->fd < 0 || client->fd != polls[2 + i].fd)
			continue;
		if (got & RT_POLLOUT && client->owed)
			give(client);
		if (client->fd >= 0 && got & RT_POLLIN && !input_waits())
			hear(client);
		else if (client->fd >= 0 && got & ENDED)
			leave(client);
	}
	if (state.chunk)
		settle();
}

void capsule_clients_give(enum monitor_stream stream, const char *data, size_t size)
{
	state.message[0] = stream == MONITOR_STDOUT ? MONITOR_OUT : MONITOR_ERR;
	memcpy(state.message + 1, data, size);
	state.chunk = size + 1;
	state.since_ms = capsule_rt_now_ms();
	for (size_t i = 0; i < MONITOR_CLIENTS; i++)
		if (state.all[i].fd >= 0 && state.all[i].wants_output)
			give(&state.all[i]);
	settle();
}

bool capsule_clients_busy(void)
{
	return state.chunk;
}

int64_t capsule_clients_patience(void)
{
	int64_t left = state.since_ms + PATIENCE_MS - capsule_rt_now_ms();

	if (!state.chunk)
		return -1;
	return left > 0 ? left : 0;
}

void capsule_clients_end(int status)
{
	const struct rt_timespec limit = { LAST_WORD_SECONDS, 0 };
	char message[5] = { MONITOR_EXIT };

	memcpy(message + 1, &status, 4);
	rt_close(state.listen_fd);
	state.listen_fd = -1;
	for (size_t i = 0; i < MONITOR_CLIENTS; i++) {
		struct client *client = &state.all[i];

		if (client->fd < 0)
			continue;
		rt3(__NR_fcntl, client->fd, F_SETFL, O_RDWR);
		rt5(__NR_setsockopt, client->fd, RT_SOL_SOCKET, SO_SNDTIMEO_NUMBER, &limit,
		    sizeof(limit));
		rt6(__NR_sendto, client->fd, message, sizeof(message), RT_MSG_NOSIGNAL, 0, 0);
		leave(client);
	}
}
