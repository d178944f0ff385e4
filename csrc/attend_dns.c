/*
 * Names by UDP: answers from the table, and what is not in it from the host's servers. Each
 * forwarded query has a socket of its own, so that a forger must guess its port and its id.
 */
#include "attend.h"

#define PENDING 128
#define QUERY_MAX 1500
#define TRY_MS 2000
#define ROUNDS 2 /* how often every server is asked */
#define BATCH 32 /* datagrams that are read in a turn */
#define NAME_PORT 53

struct pending {
	struct attend_claim claim;
	struct attend_slot *slot;
	int client_fd;
	struct attend_peer client;
	uint8_t query[QUERY_MAX];
	size_t size;
	uint16_t id; /* ours */
	struct dns_address servers[DNS_SERVERS_MAX];
	size_t server_count;
	unsigned int tries;
};

static struct pending pending[PENDING];
static uint8_t message[DNS_MESSAGE_MAX];

static void end(struct pending *one)
{
	capsule_attend_forget(one->slot);
	one->slot = NULL;
	one->claim.since = 0;
}

static void give_up(struct pending *one)
{
	size_t size = capsule_dns_refuse(one->query, one->size, DNS_SERVFAIL, message);

	capsule_attend_send(one->client_fd, message, size, &one->client);
	end(one);
}

static void on_answer(struct attend_slot *slot, int revents);

/* Ask the next server; when all have been asked often enough, say so. */
static void ask(struct pending *one)
{
	capsule_attend_forget(one->slot);
	one->slot = NULL;
	while (one->tries < ROUNDS * one->server_count) {
		const struct dns_address *server = &one->servers[one->tries++ % one->server_count];
		int fd = capsule_attend_connect(server, NAME_PORT, NET_DGRAM);
		uint16_t ours;

		if (fd < 0)
			continue;
		rt3(__NR_getrandom, &one->id, sizeof(one->id), 0);
		memcpy(&ours, one->query, 2);
		memcpy(one->query, &one->id, 2);
		capsule_attend_send(fd, one->query, one->size, NULL);
		memcpy(one->query, &ours, 2);
		one->slot = capsule_attend_watch(fd, RT_POLLIN, on_answer, one);
		if (!one->slot)
			break;
		capsule_attend_deadline(one->slot, TRY_MS);
		return;
	}
	give_up(one);
}

static void on_answer(struct attend_slot *slot, int revents)
{
	struct pending *one = slot->owner;
	struct attend_peer server;
	long size;

	if (!revents) {
		ask(one);
		return;
	}
	size = capsule_attend_receive(slot->fd, message, sizeof(message), &server);
	if (size == -EAGAIN || size == -EINTR)
		return;
	if (size < 0) {
		ask(one); /* nobody listens there */
		return;
	}
	if (size < DNS_HEADER || memcmp(message, &one->id, 2) ||
	    !capsule_dns_belongs(one->query, one->size, message, (size_t)size))
		return;
	memcpy(message, one->query, 2);
	capsule_attend_send(one->client_fd, message, (size_t)size, &one->client);
	end(one);
}

static void forward(int client_fd, const struct attend_peer *client, const uint8_t *query,
		    size_t size)
{
	struct pending *one;

	if (size > QUERY_MAX)
		return;
	one = capsule_attend_place(pending, sizeof(*pending), PENDING);
	end(one);
	one->claim = (struct attend_claim){ capsule_attend_address(client), capsule_rt_now_ms() };
	one->client_fd = client_fd;
	one->client = *client;
	memcpy(one->query, query, size);
	one->size = size;
	one->tries = 0;
	one->server_count = capsule_dns_servers(capsule_attend_table(), &one->claim.address,
						capsule_attend_resolv_conf(), one->servers);
	ask(one);
}

static void on_query(struct attend_slot *slot, int revents)
{
	static uint8_t query[QUERY_MAX], answer[2048];

	for (int i = 0; i < BATCH; i++) {
		struct attend_peer client;
		struct dns_address address;
		size_t answered;
		long size = capsule_attend_receive(slot->fd, query, sizeof(query), &client);
		enum dns_verdict verdict;

		if (size < 0)
			return;
		address = capsule_attend_address(&client);
		verdict = capsule_dns_answer(capsule_attend_table(), &address, query, (size_t)size,
					     false, answer, sizeof(answer), &answered);
		if (verdict == DNS_ANSWER)
			capsule_attend_send(slot->fd, answer, answered, &client);
		else if (verdict == DNS_FORWARD)
			forward(slot->fd, &client, query, (size_t)size);
	}
}

void capsule_attend_dns(int fd)
{
	capsule_attend_watch(fd, RT_POLLIN, on_query, NULL);
}
