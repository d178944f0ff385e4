/*
 * The parser without Python: node layout, exactness, ownership on every failed allocation. Exits 0, or names
 * the failed check.
 */
#define _GNU_SOURCE
#include "json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition) do {						\
	if (!(condition)) {						\
		fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
		exit(1);						\
	}								\
} while (0)

static long allocations_left = -1;

/* Linked with --wrap: the allocator fails once the count is used up. */
void *__real_malloc(size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_reallocarray(void *old, size_t count, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_reallocarray(void *old, size_t count, size_t size);

static int refuse(void)
{
	return allocations_left >= 0 && allocations_left-- == 0;
}

void *__wrap_malloc(size_t size)
{
	return refuse() ? NULL : __real_malloc(size);
}

void *__wrap_realloc(void *old, size_t size)
{
	return refuse() ? NULL : __real_realloc(old, size);
}

void *__wrap_reallocarray(void *old, size_t count, size_t size)
{
	return refuse() ? NULL : __real_reallocarray(old, count, size);
}

static int parse(struct capsule_json *json, const char *text, struct capsule_json_error *error)
{
	return capsule_json_parse(json, text, strlen(text), 64, error);
}

static void check_layout(void)
{
	struct capsule_json_error error;
	struct capsule_json json;

	CHECK(parse(&json, "{\"a\":[1,-2,2.50],\"b\\n\":{}}", &error) == 0);
	CHECK(json.count == 8);
	CHECK(json.nodes[0].type == CAPSULE_JSON_OBJECT && json.nodes[0].length == 2);
	CHECK(json.nodes[0].value.next == 8);
	CHECK(json.nodes[2].type == CAPSULE_JSON_ARRAY && json.nodes[2].value.next == 6);
	CHECK(json.nodes[3].type == CAPSULE_JSON_NATURAL && json.nodes[3].value.natural == 1);
	CHECK(json.nodes[4].type == CAPSULE_JSON_INTEGER && json.nodes[4].value.integer == -2);
	CHECK(json.nodes[5].type == CAPSULE_JSON_REAL && json.nodes[5].length == 4);
	CHECK(memcmp(json.nodes[5].value.text, "2.50", 4) == 0);
	CHECK(json.nodes[6].length == 2 && strcmp(json.nodes[6].value.text, "b\n") == 0);
	CHECK(json.nodes[7].type == CAPSULE_JSON_OBJECT && json.nodes[7].length == 0);
	capsule_json_free(&json);
	CHECK(json.nodes == NULL && json.count == 0);
}

static void check_limits(void)
{
	struct capsule_json_error error;
	struct capsule_json json;

	CHECK(parse(&json, "18446744073709551615", &error) == 0);
	CHECK(json.nodes[0].type == CAPSULE_JSON_NATURAL && json.nodes[0].value.natural == UINT64_MAX);
	capsule_json_free(&json);
	CHECK(parse(&json, "-9223372036854775808", &error) == 0);
	CHECK(json.nodes[0].type == CAPSULE_JSON_INTEGER && json.nodes[0].value.integer == INT64_MIN);
	capsule_json_free(&json);
	CHECK(parse(&json, "18446744073709551616", &error) == 0 && json.nodes[0].type == CAPSULE_JSON_REAL);
	capsule_json_free(&json);
	CHECK(capsule_json_parse(&json, "", (size_t)INT32_MAX + 1, 64, &error) == -E2BIG);
	capsule_json_free(&json);
	CHECK(capsule_json_parse(&json, "[0]", 2, 64, &error) == -EINVAL);	/* the length is what counts */
	capsule_json_free(&json);
	CHECK(parse(&json, "[", &error) == -EINVAL && error.offset == 1 && error.column == 2);
	capsule_json_free(&json);
}

/* Fail each allocation of a parse in turn; the sanitizer finds what is not freed. */
static void check_allocations(void)
{
	static const char text[] = "[{\"a\":1,\"b\":1,\"c\":1,\"d\":1,\"e\":1,\"f\":1,\"g\":1,\"h\":1,\"i\":1,"
				   "\"j\":1,\"k\":1,\"l\":1,\"m\":1,\"n\":1,\"o\":1},0,0,0,0,0,0,0,0,0,0,0,0,0]";
	struct capsule_json_error error;
	struct capsule_json json;
	long count = 0;
	int r;

	do {
		allocations_left = count++;
		r = parse(&json, text, &error);
		allocations_left = -1;
		CHECK(r == 0 || r == -ENOMEM);
		capsule_json_free(&json);
	} while (r);
	CHECK(count > 4);	/* text, nodes, a larger node array, the key table */
}

static void check_writer(void)
{
	struct capsule_json_writer writer = { 0 };

	capsule_json_write_string(&writer, "a\"\n\x7f\xc3\xa9\xf0\x9f\x98\x80", 10);
	capsule_json_write_integer(&writer, INT64_MIN);
	capsule_json_write_natural(&writer, UINT64_MAX);
	capsule_json_write_line(&writer, 2);
	CHECK(!writer.failed);
	CHECK(writer.length == strlen("\"a\\\"\\n\\u007f\\u00e9\\ud83d\\ude00\"-922337203685477580818446744073709551615\n  "));
	CHECK(memcmp(writer.data, "\"a\\\"\\n\\u007f\\u00e9\\ud83d\\ude00\"-9223372036854775808", 50) == 0);
	capsule_json_writer_free(&writer);

	allocations_left = 0;
	capsule_json_write(&writer, "x", 1);
	allocations_left = -1;
	CHECK(writer.failed && writer.length == 0);
	capsule_json_write_string(&writer, "x", 1);
	CHECK(writer.failed && writer.length == 0);
	capsule_json_writer_free(&writer);
}

int main(void)
{
	check_layout();
	check_limits();
	check_allocations();
	check_writer();
	return 0;
}
