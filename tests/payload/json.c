#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "payload.h"

static int first = 1;

static void quoted(const char *value, size_t size)
{
	putchar('"');
	for (size_t i = 0; i < size; i++) {
		unsigned char byte = (unsigned char)value[i];

		if (byte == '"' || byte == '\\')
			printf("\\%c", byte);
		else if (byte < 0x20 || byte > 0x7e)
			printf("\\u%04x", byte);
		else
			putchar(byte);
	}
	putchar('"');
}

static void name(const char *key)
{
	if (!first)
		putchar(',');
	first = 0;
	if (key) {
		quoted(key, strlen(key));
		putchar(':');
	}
}

void json_object(const char *key)
{
	name(key);
	putchar('{');
	first = 1;
}

void json_object_end(void)
{
	putchar('}');
	first = 0;
}

void json_array(const char *key)
{
	name(key);
	putchar('[');
	first = 1;
}

void json_array_end(void)
{
	putchar(']');
	first = 0;
}

void json_bytes(const char *key, const char *value, size_t size)
{
	name(key);
	quoted(value, size);
}

void json_string(const char *key, const char *value)
{
	if (value)
		json_bytes(key, value, strlen(value));
	else
		json_null(key);
}

void json_number(const char *key, long long value)
{
	name(key);
	printf("%lld", value);
}

void json_unsigned(const char *key, unsigned long long value)
{
	name(key);
	printf("%llu", value);
}

void json_bool(const char *key, int value)
{
	name(key);
	fputs(value ? "true" : "false", stdout);
}

void json_null(const char *key)
{
	name(key);
	fputs("null", stdout);
}

void json_stream(const char *key, int fd)
{
	static char text[1 << 18];
	size_t size = 0;
	ssize_t got = -1;

	while (fd >= 0 && size < sizeof(text) &&
	       (got = read(fd, text + size, sizeof(text) - size)) > 0)
		size += (size_t)got;
	if (got < 0)
		json_null(key);
	else
		json_bytes(key, text, size);
}

void json_file(const char *key, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	json_stream(key, fd);
	if (fd >= 0)
		close(fd);
}

void json_end(void)
{
	putchar('\n');
	fflush(stdout);
}
