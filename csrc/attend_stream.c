/*
 * Names by TCP (RFC 7766): a message has two bytes of length before it. A query that is not ours
 * to answer goes to a server by TCP too, and its answer back.
 */
#include "attend.h"

#define STREAMS 24
#define IDLE_MS 10000
#define NAME_PORT 53
#define BUFFER (2 + DNS_MESSAGE_MAX)

struct stream {
	struct attend_claim claim;
	struct attend_slot *client;
	struct attend_slot *server;
	uint8_t *query, *answer; /* BUFFER bytes each, with the length in front */
	size_t read, taken;	 /* of the query; of the answer, from the server */
	size_t sent, asked;	 /* of the answer; of the query, to the server */
	size_t ready;		 /* size of the answer, 0 while there is none */
};

static struct stream streams[STREAMS];

static void end(struct stream *one)
{
	capsule_attend_forget(one->client);
	capsule_attend_forget(one->server);
	one->client = one->server = NULL;
	one->claim.since = 0;
}

static size_t length_of(const uint8_t *buffer)
{
	return 2 + ((size_t)buffer[0] << 8 | buffer[1]);
}

/* Read on into a buffer up to a whole message. Returns 1 when it is whole, 0 when not yet, < 0. */
static int fill(int fd, uint8_t *buffer, size_t *have)
{
	for (;;) {
		size_t want = *have < 2 ? 2 : length_of(buffer);
		long got;

		if (*have >= 2 && *have == want)
			return 1;
		got = rt3(__NR_read, fd, buffer + *have, want - *have);
		if (got == -EAGAIN || got == -EINTR)
			return 0;
		if (got <= 0)
			return -1;
		*have += (size_t)got;
	}
}

/* Write on. Returns 1 when all is written. */
static int drain(int fd, const uint8_t *buffer, size_t size, size_t *sent)
{
	while (*sent < size) {
		long got = rt3(__NR_write, fd, buffer + *sent, size - *sent);

		if (got == -EAGAIN || got == -EINTR)
			return 0;
		if (got <= 0)
			return -1;
		*sent += (size_t)got;
	}
	return 1;
}

static void reply(struct stream *one, size_t size)
{
	one->answer[0] = (uint8_t)(size >> 8);
	one->answer[1] = (uint8_t)size;
	one->ready = size + 2;
	one->sent = 0;
	one->client->events = RT_POLLOUT;
	capsule_attend_deadline(one->client, IDLE_MS);
}

static void fail(struct stream *one)
{
	capsule_attend_forget(one->server);
	one->server = NULL;
	reply(one,
	      capsule_dns_refuse(one->query + 2, one->read - 2, DNS_SERVFAIL, one->answer + 2));
}

static void on_server(struct attend_slot *slot, int revents)
{
	struct stream *one = slot->owner;
	int done = drain(slot->fd, one->query, one->read, &one->asked);

	if (done > 0) {
		slot->events = RT_POLLIN;
		done = fill(slot->fd, one->answer, &one->taken);
	}
	if (done < 0 || !revents) {
		fail(one);
		return;
	}
	if (!done || one->asked < one->read)
		return;
	capsule_attend_forget(slot);
	one->server = NULL;
	if (capsule_dns_belongs(one->query + 2, one->read - 2, one->answer + 2, one->taken - 2))
		reply(one, one->taken - 2);
	else
		fail(one);
}

static void forward(struct stream *one)
{
	struct dns_address servers[DNS_SERVERS_MAX];
	size_t count = capsule_dns_servers(capsule_attend_table(), &one->claim.address,
					   capsule_attend_resolv_conf(), servers);

	one->asked = one->taken = 0;
	for (size_t i = 0; i < count; i++) {
		int fd = capsule_attend_connect(&servers[i], NAME_PORT, NET_STREAM);

		if (fd < 0)
			continue;
		one->server = capsule_attend_watch(fd, RT_POLLOUT, on_server, one);
		if (!one->server)
			break;
		/* Nothing from the client until this one is answered. */
		one->client->events = 0;
		capsule_attend_deadline(one->client, 0);
		capsule_attend_deadline(one->server, IDLE_MS);
		return;
	}
	fail(one);
}

static void on_query(struct stream *one)
{
	size_t size;

	switch (capsule_dns_answer(capsule_attend_table(), &one->claim.address, one->query + 2,
				   one->read - 2, true, one->answer + 2, DNS_MESSAGE_MAX, &size)) {
	case DNS_ANSWER:
		reply(one, size);
		break;
	case DNS_FORWARD:
		forward(one);
		break;
	default:
		end(one);
	}
}

static void on_client(struct attend_slot *slot, int revents)
{
	struct stream *one = slot->owner;
	int done;

	if (!revents) {
		end(one);
		return;
	}
	if (one->ready) {
		done = drain(slot->fd, one->answer, one->ready, &one->sent);
		if (done > 0) {
			one->ready = one->read = 0;
			slot->events = RT_POLLIN;
		}
	} else {
		done = fill(slot->fd, one->query, &one->read);
		if (done > 0 && one->read >= 2 + DNS_HEADER)
			on_query(one);
		else if (done > 0)
			done = -1;
	}
	if (done < 0)
		end(one);
}

static void on_connection(struct attend_slot *slot, int revents)
{
	struct attend_peer peer;
	int fd = capsule_attend_accept(slot, &peer);
	struct stream *one;

	if (fd < 0)
		return;
	one = capsule_attend_place(streams, sizeof(*streams), STREAMS);
	end(one);
	if (!one->query)
		one->query = capsule_rt_map(BUFFER);
	if (!one->answer)
		one->answer = capsule_rt_map(BUFFER);
	if (!one->query || !one->answer) {
		rt_close(fd);
		return;
	}
	one->read = one->ready = 0;
	one->client = capsule_attend_watch(fd, RT_POLLIN, on_client, one);
	if (!one->client)
		return;
	one->claim = (struct attend_claim){ capsule_attend_address(&peer), capsule_rt_now_ms() };
	capsule_attend_deadline(one->client, IDLE_MS);
}

void capsule_attend_dns_stream(int fd)
{
	capsule_attend_watch(fd, RT_POLLIN, on_connection, NULL);
}
