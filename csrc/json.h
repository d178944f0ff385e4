/*
 * A small, strict JSON parser and writer (RFC 8259), for configuration and state.
 *
 * The parser turns a document into a flat array of nodes in document order; strings are unescaped
 * in place in a private copy of the text, so a parse costs two allocations and no recursion.
 * Refused, because parsers disagree about them: duplicate keys, data after the document, a byte
 * order mark, invalid UTF-8, NUL and lone surrogates in strings, nesting beyond a limit. Integers
 * are exact; every other number stays text.
 *
 * Library functions: 0 or -errno, print nothing.
 */
#ifndef CAPSULE_JSON_H
#define CAPSULE_JSON_H

#include <stddef.h>
#include <stdint.h>

#define CAPSULE_JSON_MAX_DEPTH 512
#define CAPSULE_JSON_PATH_SIZE 256
#define CAPSULE_JSON_MESSAGE_SIZE 128

enum capsule_json_type {
	CAPSULE_JSON_NULL,
	CAPSULE_JSON_FALSE,
	CAPSULE_JSON_TRUE,
	CAPSULE_JSON_INTEGER, /* value.integer: below zero, exact */
	CAPSULE_JSON_NATURAL, /* value.natural: zero or above, exact */
	CAPSULE_JSON_REAL,    /* text, length: a fraction, an exponent or more than 64 bits */
	CAPSULE_JSON_STRING,  /* text, length: UTF-8 without NUL, terminated by one */
	CAPSULE_JSON_ARRAY,   /* length elements follow */
	CAPSULE_JSON_OBJECT,  /* length pairs follow: a string node, then its value */
};

struct capsule_json_node {
	uint32_t type;
	uint32_t length;
	union {
		int64_t integer;
		uint64_t natural;
		const char *text;
		uint32_t next; /* arrays and objects: the node after the last descendant */
	} value;
};

struct capsule_json {
	struct capsule_json_node *nodes; /* nodes[0] is the document */
	uint32_t count;
	uint32_t capacity;
	char *text;
};

struct capsule_json_error {
	size_t offset;				 /* byte offset in the input */
	unsigned int line;			 /* from 1 */
	unsigned int column;			 /* in bytes, from 1 */
	char path[CAPSULE_JSON_PATH_SIZE];	 /* where: mounts[3].options; empty at the top */
	char message[CAPSULE_JSON_MESSAGE_SIZE]; /* what: one line of UTF-8 */
};

/*
 * Parse `length` bytes. max_depth counts open arrays and objects, at most CAPSULE_JSON_MAX_DEPTH.
 * -EINVAL with *error filled; -ENOMEM; -E2BIG beyond 2 GiB. Whatever it returns,
 * capsule_json_free() is due.
 */
int capsule_json_parse(struct capsule_json *json, const char *data, size_t length,
		       unsigned int max_depth, struct capsule_json_error *error);
void capsule_json_free(struct capsule_json *json);

/* A growing buffer; the first failed allocation sets `failed`, after which writing does nothing. */
struct capsule_json_writer {
	char *data;
	size_t length;
	size_t capacity;
	int failed;
};

void capsule_json_write(struct capsule_json_writer *writer, const char *bytes, size_t length);
/* A quoted string in ASCII from valid UTF-8 without surrogates. */
void capsule_json_write_string(struct capsule_json_writer *writer, const char *utf8, size_t length);
void capsule_json_write_integer(struct capsule_json_writer *writer, int64_t value);
void capsule_json_write_natural(struct capsule_json_writer *writer, uint64_t value);
/* A line end and `spaces` blanks. */
void capsule_json_write_line(struct capsule_json_writer *writer, size_t spaces);
void capsule_json_writer_free(struct capsule_json_writer *writer);

#endif
