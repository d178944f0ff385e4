/*
 * The attendant: a process beside a network that answers for names (dns), or beside an endpoint
 * that carries what the host sends to its published ports (proxy). One loop over slots: a
 * descriptor, what it waits for, and what then happens. docs/networking.md, "The attendant".
 */
#ifndef CAPSULE_ATTEND_H
#define CAPSULE_ATTEND_H

#include "dns.h"
#include "rt.h"

#include <linux/in.h>
#include <linux/in6.h>

/* What linux/socket.h leaves to the libc; the numbers are the same on both machines. */
#define NET_INET 2
#define NET_INET6 10
#define NET_STREAM 1
#define NET_DGRAM 2
#define NET_NONBLOCK O_NONBLOCK
#define NET_CLOEXEC O_CLOEXEC
#define NET_TYPE 3  /* SO_TYPE */
#define NET_ERROR 4 /* SO_ERROR */
#define NET_SHUT_WR 1
#define NET_DONTWAIT 0x40
#define NET_POLLERR 8
#define NET_POLLHUP 16

#define ATTEND_DATA 3	 /* the fd of the data file, which is locked as long as we live */
#define ATTEND_SOCKETS 4 /* the first fd of the sockets we were given */

struct attend_slot {
	int fd; /* -1: the slot is free */
	int events;
	uint32_t serial;  /* another one for each use */
	int64_t deadline; /* milliseconds of the monotonic clock, 0 for none */
	/* revents is 0 when the deadline has passed */
	void (*run)(struct attend_slot *slot, int revents);
	void *owner;
};

union attend_name {
	struct sockaddr_in four;
	struct sockaddr_in6 six;
	__kernel_sa_family_t family;
};

struct attend_peer {
	union attend_name name;
	uint32_t size;
};

/* Who has one of a limited number of places, and since when; the first member of what is there. */
struct attend_claim {
	struct dns_address address;
	int64_t since; /* 0: nobody */
};

/*
 * A place for one more: a free one, or the one that is held longest by the client that holds most,
 * so that whoever asks without end takes places from itself alone. `size` is that of one place.
 */
void *capsule_attend_place(void *places, size_t size, size_t count);

/* Take a descriptor into the loop. NULL when there is no slot left; fd is closed then. */
struct attend_slot *capsule_attend_watch(int fd, int events, void (*run)(struct attend_slot *, int),
					 void *owner);
/* Close a slot's descriptor and free the slot. NULL is fine. */
void capsule_attend_forget(struct attend_slot *slot);
void capsule_attend_deadline(struct attend_slot *slot, int64_t milliseconds);

/* Whether the data file has been removed. */
bool capsule_table_is_gone(void);
/* The data file as it is now, without its first line. */
const struct dns_table *capsule_attend_table(void);

/* Open a non-blocking socket connected, or connecting, to an address. Returns -errno. */
int capsule_attend_connect(const struct dns_address *address, unsigned int port, int type);
/* Take a connection; -errno where there is none. Without room for one the slot rests a while. */
int capsule_attend_accept(struct attend_slot *slot, struct attend_peer *peer);
/* The address of a peer. */
struct dns_address capsule_attend_address(const struct attend_peer *peer);

long capsule_attend_receive(int fd, void *data, size_t size, struct attend_peer *peer);
void capsule_attend_send(int fd, const void *data, size_t size, const struct attend_peer *peer);

/* Serve a socket that we were given. */
void capsule_attend_dns(int fd);
void capsule_attend_dns_stream(int fd);
/* Carry what comes to an address (8 or 32 hexadecimal digits) and port; false for what is none. */
bool capsule_attend_proxy(int fd, int type, const char *address, const char *port);

/* Leave the cgroups of who started us, soon; call it as root. */
void capsule_attend_leave(void);

/* Start a program, in another user namespace if enters, and watch it; false where that fails. */
bool capsule_attend_child(bool enters, char **argv, char **envp);
/* End the program, if there is one, and us. */
_Noreturn void capsule_attend_end(void);

/* The host's resolv.conf, read anew where it has changed. */
const struct dns_table *capsule_attend_resolv_conf(void);

#endif
