/* See dns.h. */
#include "dns.h"

#define NAME_MAX 253 /* as text: 255 with lengths and the root (RFC 1035 3.1) */
#define LABEL_MAX 63
#define UDP_ROOM 512   /* RFC 1035 4.2.1 */
#define EDNS_ROOM 1232 /* what passes any link in one piece */
#define HEX_MAX 32

enum { TYPE_A = 1, TYPE_PTR = 12, TYPE_AAAA = 28, TYPE_OPT = 41, TYPE_ANY = 255 };
enum { CLASS_IN = 1, CLASS_ANY = 255 };
enum { FLAG_QR = 0x80, FLAG_AA = 0x04, FLAG_TC = 0x02, FLAG_RD = 0x01, FLAG_RA = 0x80 };

struct word {
	const char *start;
	size_t length;
};

/* What is left of a text, and of one line of it. */
struct cursor {
	const char *at, *end;
};

struct question {
	char name[NAME_MAX + 1]; /* lower case, with dots, none at the end */
	size_t length;
	uint16_t type, class;
	size_t end; /* of the question in the message */
	bool plain; /* the name is one that a member can have */
};

struct reply {
	uint8_t *message;
	size_t size, room;
	unsigned int count;
	bool truncated;
};

static bool next_line(struct cursor *text, struct cursor *line)
{
	if (text->at >= text->end)
		return false;
	line->at = text->at;
	while (text->at < text->end && *text->at != '\n')
		text->at++;
	line->end = text->at;
	text->at++;
	return true;
}

static bool next_word(struct cursor *line, struct word *word)
{
	while (line->at < line->end && (*line->at == ' ' || *line->at == '\t'))
		line->at++;
	word->start = line->at;
	while (line->at < line->end && *line->at != ' ' && *line->at != '\t')
		line->at++;
	word->length = (size_t)(line->at - word->start);
	return word->length;
}

static bool same(const struct word *word, const char *text, size_t length)
{
	return word->length == length && !__builtin_memcmp(word->start, text, length);
}

static bool is(const struct word *word, const char *text)
{
	return same(word, text, __builtin_strlen(text));
}

static int digit_of(char digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

static bool parse_hex(const struct word *word, struct dns_address *address)
{
	if (word->length != 8 && word->length != HEX_MAX)
		return false;
	address->length = word->length / 2;
	for (size_t i = 0; i < address->length; i++) {
		int high = digit_of(word->start[2 * i]), low = digit_of(word->start[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		address->bytes[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

bool capsule_dns_hex(const char *text, struct dns_address *address)
{
	struct word word = { text, __builtin_strlen(text) };

	return parse_hex(&word, address);
}

static size_t to_hex(const struct dns_address *address, char hex[HEX_MAX])
{
	for (size_t i = 0; i < address->length; i++) {
		hex[2 * i] = "0123456789abcdef"[address->bytes[i] >> 4];
		hex[2 * i + 1] = "0123456789abcdef"[address->bytes[i] & 15];
	}
	return 2 * address->length;
}

static unsigned int decimal(const struct word *word)
{
	unsigned int value = 0;

	for (size_t i = 0; i < word->length && i < 4; i++)
		value = value * 10 + (unsigned int)(word->start[i] - '0');
	return value;
}

static bool within(const struct dns_address *address, const struct dns_address *base,
		   unsigned int prefix)
{
	if (address->length != base->length || prefix > 8 * base->length)
		return false;
	for (unsigned int bit = 0; bit < prefix; bit++) {
		unsigned int differing = address->bytes[bit / 8] ^ base->bytes[bit / 8];

		if (differing >> (7 - bit % 8) & 1)
			return false;
	}
	return true;
}

static bool may_ask(const struct dns_table *table, const struct dns_address *client)
{
	struct cursor text = { table->text, table->text + table->size }, line;
	struct dns_address base;
	struct word word;

	while (next_line(&text, &line)) {
		if (!next_word(&line, &word) || !is(&word, "subnet"))
			continue;
		if (next_word(&line, &word) && parse_hex(&word, &base) && next_word(&line, &word) &&
		    within(client, &base, decimal(&word)))
			return true;
	}
	return false;
}

static bool is_internal(const struct dns_table *table)
{
	struct cursor text = { table->text, table->text + table->size }, line;
	struct word word;

	while (next_line(&text, &line))
		if (next_word(&line, &word) && is(&word, "internal"))
			return true;
	return false;
}

/* Step to the next member that a client may know: its name and address. */
static bool next_member(struct cursor *text, const char *client, size_t client_length,
			struct word *name, struct dns_address *address)
{
	struct cursor line;
	struct word word;

	while (next_line(text, &line)) {
		if (!next_word(&line, &word))
			continue;
		if (is(&word, "view")) {
			if (!next_word(&line, &word) || !same(&word, client, client_length))
				continue;
		} else if (!is(&word, "name")) {
			continue;
		}
		if (next_word(&line, name) && next_word(&line, &word) && parse_hex(&word, address))
			return true;
	}
	return false;
}

static uint16_t get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static void put16(uint8_t *at, unsigned int value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static bool is_host_letter(char letter)
{
	return (letter >= 'a' && letter <= 'z') || (letter >= '0' && letter <= '9') ||
	       letter == '-' || letter == '_';
}

/* Read the one question of a message. A pointer has nothing to point to there. */
static bool parse_question(const uint8_t *query, size_t size, struct question *question)
{
	size_t at = DNS_HEADER;

	question->length = 0;
	question->plain = true;
	for (;;) {
		size_t label = at < size ? query[at++] : LABEL_MAX + 1;

		if (!label)
			break;
		if (label > LABEL_MAX || at + label > size ||
		    question->length + label + 1 > NAME_MAX)
			return false;
		if (question->length)
			question->name[question->length++] = '.';
		for (; label; label--, at++) {
			uint8_t byte = query[at];
			char letter = (char)(byte >= 'A' && byte <= 'Z' ? byte + 32 : byte);

			question->plain = question->plain && is_host_letter(letter);
			question->name[question->length++] = letter;
		}
	}
	if (at + 4 > size)
		return false;
	question->type = get16(query + at);
	question->class = get16(query + at + 2);
	question->end = at + 4;
	return true;
}

/* How large an answer the asker takes, and whether it speaks EDNS (RFC 6891 6.1). */
static size_t room_of(const uint8_t *query, size_t size, size_t end, bool stream, bool *edns)
{
	const uint8_t *extra = query + end;
	size_t room = UDP_ROOM;

	*edns = get16(query + 10) == 1 && !get16(query + 6) && !get16(query + 8) &&
		size >= end + 11 && !extra[0] && get16(extra + 1) == TYPE_OPT;
	if (stream)
		return DNS_MESSAGE_MAX;
	if (*edns && get16(extra + 3) > room)
		room = get16(extra + 3) < EDNS_ROOM ? get16(extra + 3) : EDNS_ROOM;
	return room;
}

static void start(struct reply *reply, const uint8_t *query, size_t end)
{
	__builtin_memcpy(reply->message, query, end);
	reply->message[2] = (uint8_t)(FLAG_QR | FLAG_AA | (query[2] & (0x78 | FLAG_RD)));
	reply->message[3] = FLAG_RA;
	__builtin_memset(reply->message + 4, 0, 8);
	put16(reply->message + 4, 1);
	reply->size = end;
}

/* Returns where the data of a record goes, NULL when it has no room. It lives for no time. */
static uint8_t *add_record(struct reply *reply, unsigned int type, size_t length)
{
	static const uint8_t to_question[] = { 0xc0, DNS_HEADER };
	uint8_t *at = reply->message + reply->size;

	if (reply->size + 12 + length > reply->room) {
		reply->truncated = true;
		return NULL;
	}
	__builtin_memcpy(at, to_question, 2);
	put16(at + 2, type);
	put16(at + 4, CLASS_IN);
	__builtin_memset(at + 6, 0, 4);
	put16(at + 10, (unsigned int)length);
	reply->size += 12 + length;
	reply->count++;
	return at + 12;
}

static void finish(struct reply *reply, bool edns, size_t *answered)
{
	static const uint8_t opt[11] = { 0, 0, TYPE_OPT, EDNS_ROOM >> 8, EDNS_ROOM & 0xff };

	if (reply->truncated)
		reply->message[2] |= FLAG_TC;
	put16(reply->message + 6, reply->count);
	if (edns) {
		__builtin_memcpy(reply->message + reply->size, opt, sizeof(opt));
		put16(reply->message + 10, 1);
		reply->size += sizeof(opt);
	}
	*answered = reply->size;
}

/* Add every address of the name; tells whether anybody has it. */
static bool add_addresses(struct reply *reply, const struct dns_table *table, const char *client,
			  size_t client_length, const struct question *question)
{
	struct cursor text = { table->text, table->text + table->size };
	struct dns_address address;
	struct word name;
	bool known = false;

	while (next_member(&text, client, client_length, &name, &address)) {
		unsigned int type = address.length == 4 ? TYPE_A : TYPE_AAAA;
		uint8_t *data;

		if (!same(&name, question->name, question->length))
			continue;
		known = true;
		if (question->type != type && question->type != TYPE_ANY)
			continue;
		data = add_record(reply, type, address.length);
		if (data)
			__builtin_memcpy(data, address.bytes, address.length);
	}
	return known;
}

/* Read 2.0.89.10.in-addr.arpa as an address (RFC 1035 3.5). */
static bool parse_reverse4(struct cursor *labels, struct dns_address *address)
{
	for (size_t i = 4; i--;) {
		unsigned int value = 0;
		const char *first = labels->at;

		for (; labels->at < labels->end && *labels->at != '.'; labels->at++) {
			if (*labels->at < '0' || *labels->at > '9' || value > 25)
				return false;
			value = value * 10 + (unsigned int)(*labels->at - '0');
		}
		if (labels->at == first || labels->at == labels->end || value > 255)
			return false;
		labels->at++;
		address->bytes[i] = (uint8_t)value;
	}
	address->length = 4;
	return true;
}

/* Read the 32 digits before .ip6.arpa as an address (RFC 3596 2.5). */
static bool parse_reverse6(struct cursor *labels, struct dns_address *address)
{
	for (size_t i = HEX_MAX; i--;) {
		int digit = labels->end - labels->at >= 2 ? digit_of(labels->at[0]) : -1;

		if (digit < 0 || labels->at[1] != '.')
			return false;
		labels->at += 2;
		if (i % 2)
			address->bytes[i / 2] = (uint8_t)digit;
		else
			address->bytes[i / 2] |= (uint8_t)(digit << 4);
	}
	address->length = 16;
	return true;
}

static bool ends_with(const struct cursor *labels, const char *zone)
{
	const struct word rest = { labels->at, (size_t)(labels->end - labels->at) };

	return is(&rest, zone);
}

static bool parse_reverse(const struct question *question, struct dns_address *address)
{
	const struct cursor whole = { question->name, question->name + question->length };
	struct cursor labels = whole;

	if (parse_reverse4(&labels, address) && ends_with(&labels, "in-addr.arpa"))
		return true;
	labels = whole;
	return parse_reverse6(&labels, address) && ends_with(&labels, "ip6.arpa");
}

static void add_name(struct reply *reply, const struct word *name)
{
	uint8_t *data = add_record(reply, TYPE_PTR, name->length + 2);
	uint8_t *length = data;

	if (!data)
		return;
	*data++ = 0;
	for (size_t i = 0; i < name->length; i++) {
		if (name->start[i] == '.') {
			length = data;
			*data++ = 0;
			continue;
		}
		*data++ = (uint8_t)name->start[i];
		(*length)++;
	}
	*data = 0;
}

/* Add the first name of an address; tells whether it is a member's. */
static bool add_pointer(struct reply *reply, const struct dns_table *table, const char *client,
			size_t client_length, const struct question *question)
{
	struct cursor text = { table->text, table->text + table->size };
	struct dns_address wanted, address;
	struct word name;

	if (question->type != TYPE_PTR || !parse_reverse(question, &wanted))
		return false;
	while (next_member(&text, client, client_length, &name, &address)) {
		if (address.length != wanted.length || name.length > NAME_MAX ||
		    __builtin_memcmp(address.bytes, wanted.bytes, wanted.length))
			continue;
		add_name(reply, &name);
		return true;
	}
	return false;
}

size_t capsule_dns_refuse(const uint8_t *query, size_t size, enum dns_rcode rcode, uint8_t *answer)
{
	struct question question;
	bool whole = get16(query + 4) == 1 && parse_question(query, size, &question);
	size_t end = whole ? question.end : DNS_HEADER;

	__builtin_memcpy(answer, query, end);
	answer[2] = (uint8_t)(FLAG_QR | (query[2] & (0x78 | FLAG_RD)));
	answer[3] = (uint8_t)(FLAG_RA | rcode);
	__builtin_memset(answer + 4, 0, 8);
	put16(answer + 4, whole);
	return end;
}

enum dns_verdict capsule_dns_answer(const struct dns_table *table, const struct dns_address *client,
				    const uint8_t *query, size_t size, bool stream, uint8_t *answer,
				    size_t room, size_t *answered)
{
	struct reply reply = { .message = answer };
	struct question question;
	enum dns_rcode rcode = DNS_OK;
	char hex[HEX_MAX];
	bool edns;

	if (size < DNS_HEADER || query[2] & FLAG_QR)
		return DNS_DROP;
	if (!may_ask(table, client))
		rcode = DNS_REFUSED;
	else if (query[2] & 0x78)
		rcode = DNS_NOTIMP;
	else if (get16(query + 4) != 1 || !parse_question(query, size, &question))
		rcode = DNS_FORMERR;
	if (!rcode) {
		bool in_class = question.class == CLASS_IN || question.class == CLASS_ANY;
		size_t length = to_hex(client, hex), taken;

		taken = room_of(query, size, question.end, stream, &edns);
		reply.room = (taken < room ? taken : room) - 11; /* for the OPT record */
		start(&reply, query, question.end);
		if (question.plain && question.length && in_class &&
		    (add_addresses(&reply, table, hex, length, &question) ||
		     add_pointer(&reply, table, hex, length, &question))) {
			finish(&reply, edns, answered);
			return DNS_ANSWER;
		}
		if (!is_internal(table))
			return DNS_FORWARD;
		rcode = DNS_NXDOMAIN;
	}
	*answered = capsule_dns_refuse(query, size, rcode, answer);
	return DNS_ANSWER;
}

bool capsule_dns_belongs(const uint8_t *query, size_t query_size, const uint8_t *answer,
			 size_t size)
{
	struct question asked, answered;

	if (size < DNS_HEADER || !(answer[2] & FLAG_QR) ||
	    !parse_question(query, query_size, &asked))
		return false;
	if (!get16(answer + 4) && (answer[3] & 15) != DNS_OK)
		return true; /* a server that could not read it says no more */
	return get16(answer + 4) == 1 && parse_question(answer, size, &answered) &&
	       asked.type == answered.type && asked.class == answered.class &&
	       asked.length == answered.length &&
	       !__builtin_memcmp(asked.name, answered.name, asked.length);
}

/* Read an address as people write it; one with a scope is no server that we could reach. */
static bool parse_text4(const struct word *word, struct dns_address *address)
{
	size_t at = 0;

	address->length = 4;
	for (size_t i = 0; i < 4; i++) {
		unsigned int value = 0;
		size_t first = at;

		for (; at < word->length && word->start[at] != '.'; at++) {
			if (word->start[at] < '0' || word->start[at] > '9' || value > 25)
				return false;
			value = value * 10 + (unsigned int)(word->start[at] - '0');
		}
		if (at == first || value > 255 || (at == word->length) != (i == 3))
			return false;
		at++;
		address->bytes[i] = (uint8_t)value;
	}
	return true;
}

static bool parse_text6(const struct word *word, struct dns_address *address)
{
	size_t count = 0, gap = 8, at = 0;
	uint16_t groups[8];

	if (word->length >= 2 && word->start[0] == ':' && word->start[1] == ':') {
		gap = 0;
		at = 2;
	}
	while (at < word->length) {
		unsigned int value = 0;
		size_t first = at;

		for (; at < word->length && word->start[at] != ':'; at++) {
			char letter = word->start[at];
			int digit = digit_of(letter >= 'A' && letter <= 'F' ? letter + 32 : letter);

			if (digit < 0 || at - first > 3)
				return false;
			value = value << 4 | (unsigned int)digit;
		}
		if (at == first || count == 8)
			return false;
		groups[count++] = (uint16_t)value;
		if (at < word->length && ++at == word->length)
			return false;
		if (at < word->length && word->start[at] == ':') {
			if (gap < 8)
				return false;
			gap = count;
			at++;
		}
	}
	if ((gap == 8) != (count == 8))
		return false;
	address->length = 16;
	__builtin_memset(address->bytes, 0, 16);
	for (size_t i = 0; i < count; i++)
		put16(address->bytes + 2 * (i < gap ? i : i + 8 - count), groups[i]);
	return true;
}

/* Add the addresses of the rest of a line. */
static size_t add_servers(struct cursor *line, struct dns_address servers[DNS_SERVERS_MAX],
			  size_t count)
{
	struct word word;

	while (count < DNS_SERVERS_MAX && next_word(line, &word))
		if (parse_hex(&word, &servers[count]))
			count++;
	return count;
}

static size_t servers_of_host(const struct dns_table *resolv_conf,
			      struct dns_address servers[DNS_SERVERS_MAX])
{
	struct cursor text = { resolv_conf->text, resolv_conf->text + resolv_conf->size }, line;
	struct word word;
	size_t count = 0;

	while (count < DNS_SERVERS_MAX && next_line(&text, &line))
		if (next_word(&line, &word) && is(&word, "nameserver") && next_word(&line, &word) &&
		    (parse_text4(&word, &servers[count]) || parse_text6(&word, &servers[count])))
			count++;
	return count;
}

size_t capsule_dns_servers(const struct dns_table *table, const struct dns_address *client,
			   const struct dns_table *resolv_conf,
			   struct dns_address servers[DNS_SERVERS_MAX])
{
	struct cursor text = { table->text, table->text + table->size }, line;
	struct cursor public = { 0 };
	char hex[HEX_MAX];
	size_t length = to_hex(client, hex), count;
	struct word word;

	if (is_internal(table))
		return 0;
	while (next_line(&text, &line)) {
		if (!next_word(&line, &word))
			continue;
		if (is(&word, "public"))
		public = line;
		else if (is(&word, "client") && next_word(&line, &word) &&
			 same(&word, hex, length)) return add_servers(&line, servers, 0);
	}
	count = servers_of_host(resolv_conf, servers);
	return count ? count : add_servers(&public, servers, 0);
}
