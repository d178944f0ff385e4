/* The writer of json.h. */
#define _GNU_SOURCE
#include "json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_CAPACITY 1024

static char *reserve(struct capsule_json_writer *writer, size_t length)
{
	size_t needed, capacity = writer->capacity ? writer->capacity : FIRST_CAPACITY;
	char *data;

	if (writer->failed || __builtin_add_overflow(writer->length, length, &needed)) {
		writer->failed = 1;
		return NULL;
	}
	if (needed > writer->capacity) {
		while (capacity < needed && !__builtin_mul_overflow(capacity, 2, &capacity))
			;
		data = capacity < needed ? NULL : realloc(writer->data, capacity);
		if (!data) {
			writer->failed = 1;
			return NULL;
		}
		writer->data = data;
		writer->capacity = capacity;
	}
	return writer->data + writer->length;
}

void capsule_json_write(struct capsule_json_writer *writer, const char *bytes, size_t length)
{
	char *out = reserve(writer, length);

	if (out && length) {
		memcpy(out, bytes, length);
		writer->length += length;
	}
}

static char *put_u16(char *out, unsigned int unit)
{
	static const char digits[] = "0123456789abcdef";

	*out++ = '\\';
	*out++ = 'u';
	for (int shift = 12; shift >= 0; shift -= 4)
		*out++ = digits[unit >> shift & 0xf];
	return out;
}

/* Decode one character of valid UTF-8 of two bytes or more. */
static const unsigned char *take_utf8(const unsigned char *in, unsigned int *code)
{
	int more = *in >= 0xf0 ? 3 : *in >= 0xe0 ? 2 : 1;

	*code = *in++ & (0x3fu >> more);
	while (more-- > 0)
		*code = *code << 6 | (*in++ & 0x3f);
	return in;
}

static char *put_control(char *out, unsigned char byte)
{
	static const char controls[] = "\b\t\n\f\r";
	static const char letters[] = "btnfr";
	const char *control = byte ? strchr(controls, byte) : NULL;

	if (!control)
		return put_u16(out, byte);
	*out++ = '\\';
	*out++ = letters[control - controls];
	return out;
}

void capsule_json_write_string(struct capsule_json_writer *writer, const char *utf8, size_t length)
{
	const unsigned char *in = (const unsigned char *)utf8, *end = in + length;
	/* The longest escape is six bytes for one; a pair of surrogates is twelve for four. */
	char *out = length > (SIZE_MAX - 2) / 6 ? NULL : reserve(writer, length * 6 + 2);
	unsigned int code;

	if (!out) {
		writer->failed = 1;
		return;
	}
	*out++ = '"';
	while (in < end) {
		if (*in >= 0x80) {
			in = take_utf8(in, &code);
			if (code >= 0x10000) {
				out = put_u16(out, 0xd800 + ((code - 0x10000) >> 10));
				code = 0xdc00 + ((code - 0x10000) & 0x3ff);
			}
			out = put_u16(out, code);
		} else if (*in < 0x20 || *in == 0x7f) {
			out = put_control(out, *in++);
		} else {
			if (*in == '"' || *in == '\\')
				*out++ = '\\';
			*out++ = (char)*in++;
		}
	}
	*out++ = '"';
	writer->length = (size_t)(out - writer->data);
}

void capsule_json_write_integer(struct capsule_json_writer *writer, int64_t value)
{
	char text[24];

	capsule_json_write(writer, text,
			   (size_t)snprintf(text, sizeof(text), "%lld", (long long)value));
}

void capsule_json_write_natural(struct capsule_json_writer *writer, uint64_t value)
{
	char text[24];

	capsule_json_write(writer, text,
			   (size_t)snprintf(text, sizeof(text), "%llu", (unsigned long long)value));
}

void capsule_json_write_line(struct capsule_json_writer *writer, size_t spaces)
{
	char *out = reserve(writer, spaces + 1);

	if (out) {
		*out++ = '\n';
		memset(out, ' ', spaces);
		writer->length += spaces + 1;
	}
}

void capsule_json_writer_free(struct capsule_json_writer *writer)
{
	free(writer->data);
	memset(writer, 0, sizeof(*writer));
}
