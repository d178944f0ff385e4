/* The parser of json.h. json_write.c has the writer. */
#define _GNU_SOURCE
#include "json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Objects up to this many keys are checked for duplicates pair by pair, larger ones by sorting. */
#define FEW_KEYS 12

/* An open array or object; `items` counts the values begun, `key` is the current key's node. */
struct frame {
	uint32_t node;
	uint32_t key;
	uint32_t items;
	uint32_t inside; /* 1 while the current item is being read: it belongs to the path */
};

struct parser {
	struct capsule_json *json;
	char *begin; /* the private copy; it ends with a NUL, which no token contains */
	char *at;
	char *end;
	struct capsule_json_error *error;
	unsigned int max_depth;
	unsigned int depth;
	struct frame frames[CAPSULE_JSON_MAX_DEPTH];
};

/* Classes of bytes inside a string: plain, or something to look at. */
enum byte_class { PLAIN, QUOTE, ESCAPE, CONTROL, WIDE };

static inline enum byte_class classify(unsigned char byte)
{
	if (byte >= 0x80)
		return WIDE;
	if (byte == '"')
		return QUOTE;
	if (byte == '\\')
		return ESCAPE;
	return byte < 0x20 ? CONTROL : PLAIN;
}

/* Length of the prefix of at most `room` bytes that cuts no UTF-8 sequence. */
static size_t whole_prefix(const char *text, size_t length, size_t room)
{
	if (length <= room)
		return length;
	while (room > 0 && ((unsigned char)text[room] & 0xc0) == 0x80)
		room--;
	return room;
}

/* Copy text for a message: one line, bounded, whole characters. Returns the bytes written. */
static size_t copy_printable(char *out, size_t size, const char *text, size_t length)
{
	size_t used = whole_prefix(text, length, size - 1);

	for (size_t i = 0; i < used; i++)
		out[i] = (unsigned char)text[i] < 0x20 || text[i] == 0x7f ? '?' : text[i];
	out[used] = '\0';
	return used;
}

static int is_word(const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		char c = text[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		      c == '_' || c == '-'))
			return 0;
	}
	return length > 0;
}

/* Append ".key" or ["odd key"]; returns the new length, or 0 when it does not fit. */
static size_t path_add_key(char *path, size_t used, const struct capsule_json_node *key)
{
	size_t room = CAPSULE_JSON_PATH_SIZE - used;

	if (key->length + 6 > room)
		return 0;
	if (is_word(key->value.text, key->length)) {
		if (used)
			path[used++] = '.';
		return used + copy_printable(path + used, room - 1, key->value.text, key->length);
	}
	used += (size_t)sprintf(path + used, "[\"");
	used += copy_printable(path + used, room - 2, key->value.text, key->length);
	used += (size_t)sprintf(path + used, "\"]");
	return used;
}

/* Name the innermost open place, outermost part first; a path too long to print ends in "...". */
static void path_fill(const struct parser *p, char *path)
{
	size_t used = 0;

	path[0] = '\0';
	for (unsigned int i = 0; i < p->depth; i++) {
		const struct frame *frame = &p->frames[i];
		size_t next = used;

		if (!frame->inside)
			break;
		if (p->json->nodes[frame->node].type == CAPSULE_JSON_OBJECT)
			next = path_add_key(path, used, &p->json->nodes[frame->key]);
		else if (used + 16 < CAPSULE_JSON_PATH_SIZE)
			next += (size_t)sprintf(path + used, "[%u]", frame->items - 1);
		else
			next = 0;
		if (next == 0 || next + 4 >= CAPSULE_JSON_PATH_SIZE) {
			sprintf(path + whole_prefix(path, used, CAPSULE_JSON_PATH_SIZE - 4), "...");
			return;
		}
		used = next;
	}
}

/*
 * Fill the error for a place in the text; line and column are counted later, from the caller's
 * input.
 */
static int fail_with(struct parser *p, const char *at, const char *message, const char *detail,
		     size_t length)
{
	char shown[64] = "";

	if (detail)
		copy_printable(shown, sizeof(shown), detail, length);
	p->error->offset = (size_t)(at - p->begin);
	path_fill(p, p->error->path);
	if (detail)
		snprintf(p->error->message, sizeof(p->error->message), "%s \"%s\"", message, shown);
	else
		snprintf(p->error->message, sizeof(p->error->message), "%s", message);
	return -EINVAL;
}

static int fail(struct parser *p, const char *at, const char *message)
{
	return fail_with(p, at, message, NULL, 0);
}

/* Say what stands where something else was expected. */
static int fail_expected(struct parser *p, const char *message)
{
	return fail(p, p->at, p->at == p->end ? "unexpected end of the document" : message);
}

static void locate(struct capsule_json_error *error, const char *data)
{
	const char *line = data, *stop = data + error->offset, *newline;

	error->line = 1;
	while ((newline = memchr(line, '\n', (size_t)(stop - line)))) {
		error->line++;
		line = newline + 1;
	}
	error->column = (unsigned int)(stop - line) + 1;
}

static int add_node(struct parser *p, uint32_t type, uint32_t *index)
{
	struct capsule_json *json = p->json;

	if (json->count == json->capacity) {
		uint32_t capacity = json->capacity * 2;
		struct capsule_json_node *nodes = reallocarray(json->nodes, capacity,
							       sizeof(*nodes));

		if (!nodes)
			return -ENOMEM;
		json->nodes = nodes;
		json->capacity = capacity;
	}
	*index = json->count++;
	json->nodes[*index].type = type;
	json->nodes[*index].length = 0;
	json->nodes[*index].value.natural = 0;
	return 0;
}

static void skip_blanks(struct parser *p)
{
	while (*p->at == ' ' || *p->at == '\n' || *p->at == '\r' || *p->at == '\t')
		p->at++;
}

static int hex4(const char *text)
{
	int value = 0;

	for (int i = 0; i < 4; i++) {
		char c = text[i];

		value <<= 4;
		if (c >= '0' && c <= '9')
			value |= c - '0';
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			value |= (c | 0x20) - 'a' + 10;
		else
			return -1; /* the terminating NUL too, so nothing beyond it is read */
	}
	return value;
}

static char *put_utf8(char *out, uint32_t code)
{
	if (code < 0x80) {
		*out++ = (char)code;
	} else if (code < 0x800) {
		*out++ = (char)(0xc0 | code >> 6);
		*out++ = (char)(0x80 | (code & 0x3f));
	} else if (code < 0x10000) {
		*out++ = (char)(0xe0 | code >> 12);
		*out++ = (char)(0x80 | (code >> 6 & 0x3f));
		*out++ = (char)(0x80 | (code & 0x3f));
	} else {
		*out++ = (char)(0xf0 | code >> 18);
		*out++ = (char)(0x80 | (code >> 12 & 0x3f));
		*out++ = (char)(0x80 | (code >> 6 & 0x3f));
		*out++ = (char)(0x80 | (code & 0x3f));
	}
	return out;
}

/* Decode \uXXXX at p->at (on the backslash), pairs of surrogates joined. */
static int parse_unicode_escape(struct parser *p, char **out)
{
	const char *start = p->at;
	int high = hex4(start + 2), low;
	uint32_t code;

	if (high < 0)
		return fail(p, start, "invalid \\u escape in a string");
	if (high == 0)
		return fail(p, start, "NUL in a string");
	p->at += 6;
	code = (uint32_t)high;
	if (high >= 0xd800 && high <= 0xdfff) {
		if (high >= 0xdc00 || p->at[0] != '\\' || p->at[1] != 'u')
			return fail(p, start, "lone surrogate in a string");
		low = hex4(p->at + 2);
		if (low < 0xdc00 || low > 0xdfff)
			return fail(p, start, "lone surrogate in a string");
		p->at += 6;
		code = 0x10000 + ((code - 0xd800) << 10) + ((uint32_t)low - 0xdc00);
	}
	*out = put_utf8(*out, code);
	return 0;
}

static int parse_escape(struct parser *p, char **out)
{
	static const char letters[] = "\"\\/bfnrt";
	static const char meanings[] = "\"\\/\b\f\n\r\t";
	const char *letter;

	if (p->at[1] == 'u')
		return parse_unicode_escape(p, out);
	letter = p->at[1] ? strchr(letters, p->at[1]) : NULL;
	if (!letter)
		return fail(p, p->at, "invalid escape in a string");
	*(*out)++ = meanings[letter - letters];
	p->at += 2;
	return 0;
}

/* Length of the valid UTF-8 sequence of two bytes or more at `at`, or 0 (RFC 3629 section 4). */
static int utf8_length(const unsigned char *at)
{
	unsigned char low = 0x80, high = 0xbf;
	int length;

	if (at[0] >= 0xc2 && at[0] <= 0xdf) {
		length = 2;
	} else if ((at[0] & 0xf0) == 0xe0) {
		length = 3;
		low = at[0] == 0xe0 ? 0xa0 : 0x80;  /* no overlong forms */
		high = at[0] == 0xed ? 0x9f : 0xbf; /* no surrogates */
	} else if (at[0] >= 0xf0 && at[0] <= 0xf4) {
		length = 4;
		low = at[0] == 0xf0 ? 0x90 : 0x80;
		high = at[0] == 0xf4 ? 0x8f : 0xbf; /* nothing above U+10FFFF */
	} else {
		return 0;
	}
	if (at[1] < low || at[1] > high)
		return 0;
	for (int i = 2; i < length; i++) /* stops at the terminating NUL at the latest */
		if ((at[i] & 0xc0) != 0x80)
			return 0;
	return length;
}

/* Take the string at p->at (on its quote) into a node, unescaping it in place. */
static int parse_string(struct parser *p, struct capsule_json_node *node)
{
	char *start = ++p->at, *out = start;
	int r, length;

	for (;;) {
		switch (classify((unsigned char)*p->at)) {
		case PLAIN:
			*out++ = *p->at++;
			break;
		case QUOTE:
			p->at++;
			*out = '\0'; /* at most on the closing quote */
			node->type = CAPSULE_JSON_STRING;
			node->length = (uint32_t)(out - start);
			node->value.text = start;
			return 0;
		case ESCAPE:
			r = parse_escape(p, &out);
			if (r < 0)
				return r;
			break;
		case CONTROL:
			return fail_expected(p, *p->at ? "control character in a string"
						       : "NUL in a string");
		case WIDE:
			length = utf8_length((const unsigned char *)p->at);
			if (!length)
				return fail(p, p->at, "invalid UTF-8 in a string");
			memmove(out, p->at, (size_t)length);
			out += length;
			p->at += length;
			break;
		}
	}
}

static int is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/*
 * Check a number's grammar; p->at is left behind it. Returns 1 where it has a fraction or an
 * exponent.
 */
static int scan_number(struct parser *p)
{
	int real = 0;

	if (*p->at == '-')
		p->at++;
	if (!is_digit(*p->at))
		return fail_expected(p, "invalid number");
	if (*p->at == '0' && is_digit(p->at[1]))
		return fail(p, p->at, "invalid number: a leading zero");
	while (is_digit(*p->at))
		p->at++;
	if (*p->at == '.') {
		real = 1;
		p->at++;
		if (!is_digit(*p->at))
			return fail_expected(p, "invalid number: no digit after the point");
		while (is_digit(*p->at))
			p->at++;
	}
	if (*p->at == 'e' || *p->at == 'E') {
		real = 1;
		p->at++;
		if (*p->at == '+' || *p->at == '-')
			p->at++;
		if (!is_digit(*p->at))
			return fail_expected(p, "invalid number: no digit in the exponent");
		while (is_digit(*p->at))
			p->at++;
	}
	return real;
}

/* Compute a run of digits; 1 where it does not fit. */
static int to_natural(const char *digit, const char *end, uint64_t *value)
{
	*value = 0;
	for (; digit < end; digit++)
		if (__builtin_mul_overflow(*value, 10, value) ||
		    __builtin_add_overflow(*value, (uint64_t)(*digit - '0'), value))
			return 1;
	return 0;
}

static int parse_number(struct parser *p, struct capsule_json_node *node)
{
	const char *start = p->at;
	int negative = *start == '-';
	int real = scan_number(p);
	uint64_t value;

	if (real < 0)
		return real;
	if (!real && !to_natural(start + negative, p->at, &value) &&
	    (!negative || value <= (uint64_t)INT64_MAX + 1)) {
		node->type = negative && value ? CAPSULE_JSON_INTEGER : CAPSULE_JSON_NATURAL;
		node->value.natural = negative ? -value : value;
		return 0;
	}
	node->type = CAPSULE_JSON_REAL;
	node->length = (uint32_t)(p->at - start);
	node->value.text = start;
	return 0;
}

static int parse_word(struct parser *p, struct capsule_json_node *node)
{
	static const struct {
		const char *text;
		size_t length;
		uint32_t type;
	} words[] = {
		{ "null", 4, CAPSULE_JSON_NULL },
		{ "true", 4, CAPSULE_JSON_TRUE },
		{ "false", 5, CAPSULE_JSON_FALSE },
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strncmp(p->at, words[i].text, words[i].length) == 0) {
			p->at += words[i].length;
			node->type = words[i].type;
			return 0;
		}
	}
	return fail_expected(p, "expected a value");
}

/* A path of that many parts would say nothing. */
static int fail_depth(struct parser *p)
{
	fail(p, p->at, "");
	p->error->path[0] = '\0';
	snprintf(p->error->message, sizeof(p->error->message), "nested deeper than %u levels",
		 p->max_depth);
	return -EINVAL;
}

static int open_container(struct parser *p, uint32_t index, uint32_t type)
{
	struct frame *frame;

	if (p->depth == p->max_depth)
		return fail_depth(p);
	p->json->nodes[index].type = type;
	frame = &p->frames[p->depth++];
	frame->node = index;
	frame->key = 0;
	frame->items = 0;
	frame->inside = 0;
	p->at++;
	return 0;
}

/* Take one value; an array or object is only opened. */
static int parse_value(struct parser *p)
{
	uint32_t index;
	int r = add_node(p, CAPSULE_JSON_NULL, &index);

	if (r < 0)
		return r;
	skip_blanks(p);
	switch (*p->at) {
	case '{':
		return open_container(p, index, CAPSULE_JSON_OBJECT);
	case '[':
		return open_container(p, index, CAPSULE_JSON_ARRAY);
	case '"':
		return parse_string(p, &p->json->nodes[index]);
	case '-':
	case '0' ... '9':
		return parse_number(p, &p->json->nodes[index]);
	default:
		return parse_word(p, &p->json->nodes[index]);
	}
}

static int compare_keys(const struct capsule_json_node *a, const struct capsule_json_node *b)
{
	if (a->length != b->length)
		return a->length < b->length ? -1 : 1;
	return memcmp(a->value.text, b->value.text, a->length);
}

static int compare_key_pointers(const void *a, const void *b)
{
	const struct capsule_json_node *left = *(const struct capsule_json_node *const *)a;
	const struct capsule_json_node *right = *(const struct capsule_json_node *const *)b;
	int order = compare_keys(left, right);

	return order ? order : (left > right) - (left < right);
}

/* Report the later of two equal keys, at the path of their object. */
static int fail_duplicate(struct parser *p, const struct capsule_json_node *key)
{
	return fail_with(p, key->value.text - 1, "duplicate key", key->value.text, key->length);
}

static const struct capsule_json_node *find_duplicate(const struct capsule_json_node **keys,
						      uint32_t count)
{
	if (count > FEW_KEYS) {
		qsort(keys, count, sizeof(*keys), compare_key_pointers);
		for (uint32_t i = 1; i < count; i++)
			if (compare_keys(keys[i - 1], keys[i]) == 0)
				return keys[i];
		return NULL;
	}
	for (uint32_t i = 1; i < count; i++)
		for (uint32_t j = 0; j < i; j++)
			if (compare_keys(keys[i], keys[j]) == 0)
				return keys[i];
	return NULL;
}

static int check_keys(struct parser *p, uint32_t object, uint32_t count)
{
	const struct capsule_json_node *few[FEW_KEYS], **keys = few, *duplicate;
	const struct capsule_json_node *nodes = p->json->nodes;
	uint32_t index = object + 1;

	if (count > FEW_KEYS) {
		keys = reallocarray(NULL, count, sizeof(*keys));
		if (!keys)
			return -ENOMEM;
	}
	for (uint32_t i = 0; i < count; i++) {
		keys[i] = &nodes[index++];
		index = nodes[index].type >= CAPSULE_JSON_ARRAY ? nodes[index].value.next
								: index + 1;
	}
	duplicate = find_duplicate(keys, count);
	if (keys != few)
		free(keys);
	return duplicate ? fail_duplicate(p, duplicate) : 0;
}

static int close_container(struct parser *p)
{
	const struct frame *frame = &p->frames[p->depth - 1];
	struct capsule_json_node *node = &p->json->nodes[frame->node];

	p->at++;
	node->length = frame->items;
	node->value.next = p->json->count;
	if (node->type == CAPSULE_JSON_OBJECT && node->length > 1) {
		int r = check_keys(p, frame->node, node->length);

		if (r < 0)
			return r;
	}
	p->depth--;
	return 0;
}

/* Take `"key":` of the innermost object. */
static int parse_key(struct parser *p)
{
	struct frame *frame = &p->frames[p->depth - 1];
	uint32_t index;
	int r = add_node(p, CAPSULE_JSON_STRING, &index);

	if (r < 0)
		return r;
	skip_blanks(p);
	if (*p->at != '"')
		return fail_expected(p, "expected a key in double quotes");
	r = parse_string(p, &p->json->nodes[index]);
	if (r < 0)
		return r;
	frame->key = index;
	skip_blanks(p);
	if (*p->at != ':')
		return fail_expected(p, "expected a colon after a key");
	p->at++;
	return 0;
}

/* Take the next element of the innermost container, or its end. */
static int parse_next(struct parser *p)
{
	struct frame *frame = &p->frames[p->depth - 1];
	int is_object = p->json->nodes[frame->node].type == CAPSULE_JSON_OBJECT;
	int r;

	frame->inside = 0;
	skip_blanks(p);
	if (*p->at == (is_object ? '}' : ']'))
		return close_container(p);
	if (frame->items > 0) {
		if (*p->at != ',')
			return fail_expected(p, is_object
							? "expected a comma or a closing brace"
							: "expected a comma or a closing bracket");
		p->at++;
	}
	if (is_object) {
		r = parse_key(p);
		if (r < 0)
			return r;
	}
	frame->items++;
	frame->inside = 1;
	return parse_value(p);
}

static int parse_document(struct parser *p)
{
	int r;

	if (p->end - p->at >= 3 && memcmp(p->at, "\xef\xbb\xbf", 3) == 0)
		return fail(p, p->at,
			    "the document begins with a byte order mark; save it as plain UTF-8");
	skip_blanks(p);
	if (p->at == p->end)
		return fail(p, p->at, "the document is empty");
	r = parse_value(p);
	while (r == 0 && p->depth > 0)
		r = parse_next(p);
	if (r < 0)
		return r;
	skip_blanks(p);
	return p->at == p->end ? 0 : fail(p, p->at, "data after the end of the document");
}

int capsule_json_parse(struct capsule_json *json, const char *data, size_t length,
		       unsigned int max_depth, struct capsule_json_error *error)
{
	struct parser p;
	int r;

	memset(json, 0, sizeof(*json));
	memset(error, 0, sizeof(*error));
	if (length > INT32_MAX)
		return -E2BIG;
	json->text = malloc(length + 1);
	json->capacity = (uint32_t)(length / 8 + 16);
	json->nodes = reallocarray(NULL, json->capacity, sizeof(*json->nodes));
	if (!json->text || !json->nodes)
		return -ENOMEM;
	memcpy(json->text, data, length);
	json->text[length] = '\0';

	p.json = json;
	p.begin = p.at = json->text;
	p.end = json->text + length;
	p.error = error;
	p.max_depth = max_depth < CAPSULE_JSON_MAX_DEPTH ? max_depth : CAPSULE_JSON_MAX_DEPTH;
	p.depth = 0;
	r = parse_document(&p);
	if (r == -EINVAL)
		locate(error, data);
	return r;
}

void capsule_json_free(struct capsule_json *json)
{
	free(json->nodes);
	free(json->text);
	memset(json, 0, sizeof(*json));
}
