/*
 * What the host itself sends to a published port: connections and datagrams carried to the
 * container. The kernel routes no answer back to the loopback over another link than lo, so that
 * rules alone cannot do it without opening 127.0.0.0/8 to whoever is on that link.
 */
#include "attend.h"

#define TARGETS 400 /* ATTEND_SOCKETS_MAX */
#define PAIRS 500
#define FLOWS 256
#define IDLE_MS 60000 /* a connection that was silent for so long makes room where there is none */
#define FLOW_MS 30000 /* as conntrack remembers a UDP flow */
#define BUFFER 32768

struct target {
	struct dns_address address;
	unsigned int port;
};

/* Bytes on their way from one end of a pair to the other. */
struct half {
	uint8_t *buffer;
	size_t have, sent;
	bool ended;
};

struct pair {
	struct attend_slot *ends[2]; /* the client, the container; NULL: free */
	struct half halves[2];	     /* halves[i] comes from ends[i] */
	bool connecting;
	int64_t since; /* when it last did something */
};

struct flow {
	struct attend_slot *slot; /* to the container; NULL: free */
	int client_fd;
	struct attend_peer client;
	int64_t since;
};

static struct target targets[TARGETS];
static size_t target_count;
static struct pair pairs[PAIRS];
static struct flow flows[FLOWS];

static void end_pair(struct pair *pair)
{
	for (int i = 0; i < 2; i++) {
		capsule_attend_forget(pair->ends[i]);
		if (pair->halves[i].buffer)
			rt2(__NR_munmap, pair->halves[i].buffer, BUFFER);
	}
	memset(pair, 0, sizeof(*pair));
}

static bool is_empty(const struct half *half)
{
	return half->sent == half->have;
}

/* Carry what can be carried without waiting. Returns -1 where an end has failed. */
static int carry(struct pair *pair, int from)
{
	struct half *half = &pair->halves[from];

	for (;;) {
		long got;

		while (!is_empty(half)) {
			got = rt3(__NR_write, pair->ends[!from]->fd, half->buffer + half->sent,
				  half->have - half->sent);
			if (got == -EAGAIN || got == -EINTR)
				return 0;
			if (got <= 0)
				return -1;
			half->sent += (size_t)got;
		}
		half->have = half->sent = 0;
		if (half->ended)
			return 0;
		got = rt3(__NR_read, pair->ends[from]->fd, half->buffer, BUFFER);
		if (got == -EAGAIN || got == -EINTR)
			return 0;
		if (got < 0)
			return -1;
		half->have = (size_t)got;
		if (!got) {
			half->ended = true;
			rt2(__NR_shutdown, pair->ends[!from]->fd, NET_SHUT_WR);
		}
	}
}

static void expect(struct pair *pair)
{
	for (int i = 0; i < 2; i++) {
		const struct half *out = &pair->halves[i], *in = &pair->halves[!i];

		pair->ends[i]->events = (is_empty(out) && !out->ended ? RT_POLLIN : 0) |
					(is_empty(in) ? 0 : RT_POLLOUT);
	}
}

static void on_end(struct attend_slot *slot, int revents)
{
	struct pair *pair = slot->owner;

	pair->since = capsule_rt_now_ms();
	if (pair->connecting) {
		int error = 0;
		uint32_t size = sizeof(error);

		rt5(__NR_getsockopt, slot->fd, RT_SOL_SOCKET, NET_ERROR, &error, &size);
		if (error) {
			end_pair(pair);
			return;
		}
		pair->connecting = false;
	}
	if (carry(pair, 0) < 0 || carry(pair, 1) < 0 ||
	    (pair->halves[0].ended && pair->halves[1].ended && is_empty(&pair->halves[0]) &&
	     is_empty(&pair->halves[1]))) {
		end_pair(pair);
		return;
	}
	expect(pair);
}

/* A place for a new pair: a free one, or that of who has been idle longest. NULL: all are at work. */
static struct pair *free_pair(void)
{
	struct pair *oldest = pairs;

	for (size_t i = 0; i < PAIRS; i++) {
		if (!pairs[i].ends[0])
			return &pairs[i];
		if (pairs[i].since < oldest->since)
			oldest = &pairs[i];
	}
	if (capsule_rt_now_ms() - oldest->since < IDLE_MS)
		return NULL;
	end_pair(oldest);
	return oldest;
}

static bool open_pair(struct pair *pair, int client, const struct target *target)
{
	int fd = capsule_attend_connect(&target->address, target->port, NET_STREAM);

	if (fd < 0) {
		rt_close(client);
		return false;
	}
	pair->ends[0] = capsule_attend_watch(client, 0, on_end, pair);
	pair->ends[1] = capsule_attend_watch(fd, RT_POLLOUT, on_end, pair);
	pair->halves[0].buffer = capsule_rt_map(BUFFER);
	pair->halves[1].buffer = capsule_rt_map(BUFFER);
	pair->connecting = true;
	pair->since = capsule_rt_now_ms();
	return pair->ends[0] && pair->ends[1] && pair->halves[0].buffer && pair->halves[1].buffer;
}

static void on_connection(struct attend_slot *slot, int revents)
{
	struct attend_peer peer;
	int client = capsule_attend_accept(slot, &peer);
	struct pair *pair;

	if (client < 0)
		return;
	pair = free_pair();
	if (!pair)
		rt_close(client);
	else if (!open_pair(pair, client, slot->owner))
		end_pair(pair);
}

static void end_flow(struct flow *flow)
{
	capsule_attend_forget(flow->slot);
	flow->slot = NULL;
}

static void on_reply(struct attend_slot *slot, int revents)
{
	static uint8_t data[65536];
	struct flow *flow = slot->owner;
	struct attend_peer peer;
	long size;

	if (!revents) {
		end_flow(flow);
		return;
	}
	size = capsule_attend_receive(slot->fd, data, sizeof(data), &peer);
	if (size >= 0)
		capsule_attend_send(flow->client_fd, data, (size_t)size, &flow->client);
	else if (size != -EAGAIN && size != -EINTR && size != -ECONNREFUSED)
		end_flow(flow);
}

static bool same_peer(const struct attend_peer *one, const struct attend_peer *other)
{
	struct dns_address left = capsule_attend_address(one);
	struct dns_address right = capsule_attend_address(other);

	/* The port is at the same place in both families. */
	return one->name.four.sin_port == other->name.four.sin_port &&
	       left.length == right.length && !memcmp(left.bytes, right.bytes, left.length);
}

/* The flow of a client, or a new one; the longest unused goes where there are too many. */
static struct flow *flow_of(int fd, const struct attend_peer *client, const struct target *target)
{
	struct flow *oldest = flows;
	int to;

	for (size_t i = 0; i < FLOWS; i++) {
		struct flow *flow = &flows[i];

		if (flow->slot && flow->client_fd == fd && same_peer(&flow->client, client))
			return flow;
		if (!flow->slot || (oldest->slot && flow->since < oldest->since))
			oldest = flow;
	}
	end_flow(oldest);
	to = capsule_attend_connect(&target->address, target->port, NET_DGRAM);
	if (to < 0)
		return NULL;
	oldest->client_fd = fd;
	oldest->client = *client;
	oldest->slot = capsule_attend_watch(to, RT_POLLIN, on_reply, oldest);
	return oldest->slot ? oldest : NULL;
}

static void on_datagram(struct attend_slot *slot, int revents)
{
	static uint8_t data[65536];
	struct attend_peer client;
	long size = capsule_attend_receive(slot->fd, data, sizeof(data), &client);
	struct flow *flow;

	if (size < 0)
		return;
	flow = flow_of(slot->fd, &client, slot->owner);
	if (!flow)
		return;
	flow->since = capsule_rt_now_ms();
	capsule_attend_deadline(flow->slot, FLOW_MS);
	capsule_attend_send(flow->slot->fd, data, (size_t)size, NULL);
}

bool capsule_attend_proxy(int fd, int type, const char *address, const char *port)
{
	struct target *target = &targets[target_count];
	int number = capsule_rt_number(port);

	if (target_count == TARGETS || number < 1 || !capsule_dns_hex(address, &target->address))
		return false;
	target->port = (unsigned int)number;
	target_count++;
	capsule_attend_watch(fd, RT_POLLIN, type == NET_STREAM ? on_connection : on_datagram,
			     target);
	return true;
}
