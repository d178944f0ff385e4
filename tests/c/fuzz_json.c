/*
 * Fuzz target of the JSON parser and writer: whatever parses is written again and must parse to the same
 * number of nodes; whatever does not must name a place within the input. Built with -fsanitize=fuzzer.
 */
#include "json.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void require(int condition)
{
	if (!condition)
		abort();
}

/* Write a node and its descendants; returns the index of the node after them. The parser bounds the depth. */
static uint32_t write_node(struct capsule_json_writer *writer, const struct capsule_json *json, uint32_t index)
{
	const struct capsule_json_node *node = &json->nodes[index++];

	switch ((enum capsule_json_type)node->type) {
	case CAPSULE_JSON_NULL:
		capsule_json_write(writer, "null", 4);
		break;
	case CAPSULE_JSON_FALSE:
		capsule_json_write(writer, "false", 5);
		break;
	case CAPSULE_JSON_TRUE:
		capsule_json_write(writer, "true", 4);
		break;
	case CAPSULE_JSON_INTEGER:
		capsule_json_write_integer(writer, node->value.integer);
		break;
	case CAPSULE_JSON_NATURAL:
		capsule_json_write_natural(writer, node->value.natural);
		break;
	case CAPSULE_JSON_REAL:
		capsule_json_write(writer, node->value.text, node->length);
		break;
	case CAPSULE_JSON_STRING:
		require(memchr(node->value.text, 0, node->length) == NULL && node->value.text[node->length] == 0);
		capsule_json_write_string(writer, node->value.text, node->length);
		break;
	case CAPSULE_JSON_ARRAY:
	case CAPSULE_JSON_OBJECT:
		capsule_json_write(writer, node->type == CAPSULE_JSON_ARRAY ? "[" : "{", 1);
		for (uint32_t i = 0; i < node->length; i++) {
			if (i)
				capsule_json_write(writer, ",", 1);
			if (node->type == CAPSULE_JSON_OBJECT) {
				index = write_node(writer, json, index);
				capsule_json_write(writer, ":", 1);
			}
			index = write_node(writer, json, index);
		}
		capsule_json_write(writer, node->type == CAPSULE_JSON_ARRAY ? "]" : "}", 1);
		require(index == node->value.next);
		break;
	}
	return index;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	struct capsule_json_writer writer = { 0 };
	struct capsule_json_error error;
	struct capsule_json json, again;
	int r = capsule_json_parse(&json, (const char *)data, size, 64, &error);

	if (r) {
		require(error.offset <= size && error.line > 0 && error.column > 0 && error.message[0]);
		require(memchr(error.message, '\n', sizeof(error.message)) == NULL);
		require(memchr(error.path, 0, sizeof(error.path)) != NULL);
	} else {
		require(write_node(&writer, &json, 0) == json.count && !writer.failed);
		require(capsule_json_parse(&again, writer.data, writer.length, 64, &error) == 0);
		require(again.count == json.count);
		capsule_json_free(&again);
	}
	capsule_json_writer_free(&writer);
	capsule_json_free(&json);
	return 0;
}
