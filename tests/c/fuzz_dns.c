/*
 * Drive the DNS responder's answers over hostile bytes: what it reads, an answer that is too long,
 * and what it takes from a server and from a resolv.conf, so that a sanitizer sees every access.
 *
 *     fuzz_dns TABLE RESOLV_CONF CLIENT udp|tcp < query
 *
 * prints the verdict, the servers as hexadecimal and the answer as it is.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dns.h"

#ifdef DNS_FUZZER
/* Memory of exactly the size that is promised: one byte too far is seen. */
static void *exact(const void *bytes, size_t size)
{
	void *copy = malloc(size ? size : 1);

	if (!copy)
		abort();
	if (bytes)
		memcpy(copy, bytes, size);
	return copy;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char names[] = "subnet 0a050000 24\npublic 08080808\nname db 0a050002\n"
				    "name a.b-c_d fd050000000000000000000000000002\nview 0a050002 x 0a060002\n";
	struct dns_table table = { exact(names, sizeof(names) - 1), sizeof(names) - 1 };
	struct dns_table hostile = { exact(data, size), size };
	struct dns_address client = { { 10, 5, 0, 2 }, 4 }, servers[DNS_SERVERS_MAX];
	uint8_t *message = exact(data, size), *answer = exact(NULL, 512);
	size_t answered = 0, asked = size / 2;

	for (int stream = 0; stream < 2; stream++)
		if (capsule_dns_answer(&table, &client, message, size, stream, answer, 512, &answered) ==
			    DNS_ANSWER &&
		    answered > 512)
			abort();
	if (asked >= DNS_HEADER)
		capsule_dns_belongs(message, asked, message + asked, size - asked);
	if (capsule_dns_servers(&table, &client, &hostile, servers) > DNS_SERVERS_MAX)
		abort();
	free((void *)table.text);
	free((void *)hostile.text);
	free(message);
	free(answer);
	return 0;
}
#else
static uint8_t query[DNS_MESSAGE_MAX + 1];
static char texts[2][1 << 16];

static struct dns_table load(const char *path, int which)
{
	FILE *file = fopen(path, "rb");
	size_t size;

	if (!file)
		exit(2);
	size = fread(texts[which], 1, sizeof(texts[which]), file);
	fclose(file);
	return (struct dns_table){ texts[which], size };
}

int main(int argc, char **argv)
{
	static uint8_t answer[DNS_MESSAGE_MAX];
	struct dns_address client, servers[DNS_SERVERS_MAX];
	struct dns_table table, resolv_conf;
	size_t size, count, answered = 0;
	enum dns_verdict verdict;

	if (argc != 5 || !capsule_dns_hex(argv[3], &client))
		return 2;
	table = load(argv[1], 0);
	resolv_conf = load(argv[2], 1);
	size = fread(query, 1, sizeof(query), stdin);
	verdict = capsule_dns_answer(&table, &client, query, size, argv[4][0] == 't', answer,
				     sizeof(answer), &answered);
	count = capsule_dns_servers(&table, &client, &resolv_conf, servers);
	printf("%s", (const char *[]){ "drop", "answer", "forward" }[verdict]);
	for (size_t i = 0; i < count; i++) {
		putchar(' ');
		for (size_t byte = 0; byte < servers[i].length; byte++)
			printf("%02x", servers[i].bytes[byte]);
	}
	putchar('\n');
	fwrite(answer, 1, verdict == DNS_ANSWER ? answered : 0, stdout);
	return 0;
}
#endif
