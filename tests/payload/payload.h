/*
 * The program that test containers run: it prints facts as JSON or does one small thing.
 * Static, so that it runs in an empty root file system; it reads /proc only where no system
 * call gives the fact.
 */
#ifndef PAYLOAD_H
#define PAYLOAD_H

#include <stddef.h>

/* A JSON writer onto stdout. Bytes above 0x7e are written as \u00XX (Latin-1), so that any
 * byte string survives. */
void json_object(const char *key);
void json_object_end(void);
void json_array(const char *key);
void json_array_end(void);
void json_string(const char *key, const char *value);
void json_bytes(const char *key, const char *value, size_t size);
void json_number(const char *key, long long value);
void json_unsigned(const char *key, unsigned long long value);
void json_bool(const char *key, int value);
void json_null(const char *key);
/* Write the text of a file or an fd to its end, or null when it cannot be read. */
void json_stream(const char *key, int fd);
void json_file(const char *key, const char *path);
void json_end(void);

int command_probe(int argc, char **argv);	/* facts about this process */
int command_try(int argc, char **argv);		/* operations on paths, with their errno */
int command_hunt(int argc, char **argv);	/* attack every process that appears */
int command_host(int argc, char **argv);	/* set a scene, then execute a program */

#endif
