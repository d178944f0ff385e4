/* Sockets of the attendant. */
#include "attend.h"

#define REST_MS 200
#define PEER_SIZE(peer) \
	((peer)->name.family == NET_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6))

static uint16_t swap16(unsigned int value)
{
	return (uint16_t)(value << 8 | (value >> 8 & 0xff));
}

int capsule_attend_connect(const struct dns_address *address, unsigned int port, int type)
{
	__kernel_sa_family_t family = address->length == 4 ? NET_INET : NET_INET6;
	long fd = rt3(__NR_socket, family, type | NET_NONBLOCK | NET_CLOEXEC, 0), ret;
	struct attend_peer peer;

	if (fd < 0)
		return (int)fd;
	memset(&peer, 0, sizeof(peer));
	peer.name.family = family;
	/* The port is at the same place in both. */
	peer.name.four.sin_port = swap16(port);
	if (address->length == 4)
		memcpy(&peer.name.four.sin_addr, address->bytes, 4);
	else
		memcpy(&peer.name.six.sin6_addr, address->bytes, 16);
	ret = rt3(__NR_connect, fd, &peer.name, PEER_SIZE(&peer));
	if (ret < 0 && ret != -EINPROGRESS) {
		rt_close((int)fd);
		return (int)ret;
	}
	return (int)fd;
}

int capsule_attend_accept(struct attend_slot *slot, struct attend_peer *peer)
{
	long fd;

	peer->size = sizeof(peer->name);
	fd = rt4(__NR_accept4, slot->fd, &peer->name, &peer->size, NET_NONBLOCK | NET_CLOEXEC);
	slot->events = RT_POLLIN;
	capsule_attend_deadline(slot, 0);
	if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM || fd == -ENOBUFS) {
		slot->events = 0;
		capsule_attend_deadline(slot, REST_MS);
	}
	return (int)fd;
}

struct dns_address capsule_attend_address(const struct attend_peer *peer)
{
	struct dns_address address = { .length = peer->name.family == NET_INET ? 4 : 16 };

	if (address.length == 4)
		memcpy(address.bytes, &peer->name.four.sin_addr, 4);
	else
		memcpy(address.bytes, &peer->name.six.sin6_addr, 16);
	return address;
}

long capsule_attend_receive(int fd, void *data, size_t size, struct attend_peer *peer)
{
	peer->size = sizeof(peer->name);
	return rt6(__NR_recvfrom, fd, data, size, NET_DONTWAIT, &peer->name, &peer->size);
}

void capsule_attend_send(int fd, const void *data, size_t size, const struct attend_peer *peer)
{
	/* What finds no room is lost, as datagrams are. */
	rt6(__NR_sendto, fd, data, size, NET_DONTWAIT | RT_MSG_NOSIGNAL, peer ? &peer->name : NULL,
	    peer ? peer->size : 0);
}

static bool is_same(const struct dns_address *one, const struct dns_address *other)
{
	return one->length == other->length && !memcmp(one->bytes, other->bytes, one->length);
}

void *capsule_attend_place(void *places, size_t size, size_t count)
{
	struct attend_claim *found = NULL;
	size_t most = 0;

	for (size_t i = 0; i < count; i++) {
		struct attend_claim *one = (void *)((char *)places + i * size), *oldest = one;
		size_t held = 0;

		if (!one->since)
			return one;
		for (size_t j = 0; j < count; j++) {
			struct attend_claim *other = (void *)((char *)places + j * size);

			if (!other->since || !is_same(&one->address, &other->address))
				continue;
			held++;
			if (other->since < oldest->since)
				oldest = other;
		}
		if (held > most) {
			most = held;
			found = oldest;
		}
	}
	return found;
}
