/*
 * What a network's DNS responder says to one message (RFC 1035): the members' names from a table,
 * everything else is to be forwarded. No system calls and no memory of its own, so that it can be
 * fuzzed as it is. Messages come from containers: every byte may be hostile.
 *
 * The table is text, a line each, words with one blank between; addresses in hexadecimal, 8 or 32
 * digits:
 *
 *     internal                       nothing is forwarded
 *     subnet ADDRESS PREFIX          who may ask
 *     name NAME ADDRESS              a member, in lower case
 *     view CLIENT NAME ADDRESS       what only this client may know: members of its other networks
 *     client CLIENT ADDRESS...       the servers that this client wants
 *     public ADDRESS...              the servers where the host has none
 */
#ifndef CAPSULE_DNS_H
#define CAPSULE_DNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DNS_MESSAGE_MAX 65535
#define DNS_HEADER 12
#define DNS_SERVERS_MAX 3 /* MAXNS of resolv.h */

enum dns_verdict { DNS_DROP, DNS_ANSWER, DNS_FORWARD };
enum dns_rcode { DNS_OK, DNS_FORMERR, DNS_SERVFAIL, DNS_NXDOMAIN, DNS_NOTIMP, DNS_REFUSED };

struct dns_table {
	const char *text;
	size_t size;
};

/* An address in network byte order: length 4 or 16. */
struct dns_address {
	uint8_t bytes[16];
	size_t length;
};

/*
 * Answer a query of `size` bytes into `answer`, of `room` >= 512 bytes; `stream` where it came by
 * TCP. *answered is the answer's size.
 */
enum dns_verdict capsule_dns_answer(const struct dns_table *table, const struct dns_address *client,
				    const uint8_t *query, size_t size, bool stream, uint8_t *answer,
				    size_t room, size_t *answered);

/* Write an answer that says no more than rcode; returns its size. The query has a whole header. */
size_t capsule_dns_refuse(const uint8_t *query, size_t size, enum dns_rcode rcode, uint8_t *answer);

/* Whether an answer of a server belongs to a query: it has its question, whatever its id. */
bool capsule_dns_belongs(const uint8_t *query, size_t query_size, const uint8_t *answer,
			 size_t size);

/* Read an address of 8 or 32 hexadecimal digits. */
bool capsule_dns_hex(const char *text, struct dns_address *address);

/*
 * Find whom to ask for a client: its own servers, those of the host's resolv.conf, then the table's
 * public ones. Returns how many there are; none where the network is internal.
 */
size_t capsule_dns_servers(const struct dns_table *table, const struct dns_address *client,
			   const struct dns_table *resolv_conf,
			   struct dns_address servers[DNS_SERVERS_MAX]);

#endif
