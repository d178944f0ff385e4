/* What the files of the monitor share. */
#ifndef CAPSULE_MONITOR_H
#define CAPSULE_MONITOR_H

#include "relay.h"

#define MONITOR_CHUNK 8192
#define MONITOR_CLIENTS 16

enum monitor_stream { MONITOR_STDOUT, MONITOR_STDERR, MONITOR_STREAMS };

/* First byte of each message between the monitor and those who attach (docs/engine.md). */
enum monitor_message {
	MONITOR_WATCH = 'W',  /* from a client, first: wants the end */
	MONITOR_ATTACH = 'A', /* from a client, first: wants the output and the end */
	MONITOR_INPUT = 'I',  /* from a client: bytes for standard input */
	MONITOR_EOF = 'E',    /* from a client: no more of them */
	MONITOR_RESIZE = 'R', /* from a client: u16 rows, u16 columns of its terminal */
	MONITOR_OUT = 'O',    /* to a client: bytes of standard output, or of the terminal */
	MONITOR_ERR = 'F',    /* to a client: bytes of standard error */
	MONITOR_EXIT = 'X',   /* to a client, last: u32 wait status */
};

/* The log of the plan; without one all that follows does nothing. */
void capsule_log_open(const struct relay_plan *plan);

/*
 * Write down what a stream said. Returns how many bytes at the end were left for later, because
 * they begin a character: never more than 3, none if `last`.
 */
size_t capsule_log_write(enum monitor_stream stream, const char *data, size_t size, bool last);

/* "2026-11-30T00:47:16.123456789Z", without a NUL. Returns its length. */
#define MONITOR_STAMP 30
void capsule_text_stamp(char *out);

/* Length of the character at data: 0 if it is none, -1 if it may become one with more bytes. */
int capsule_text_utf8(const char *data, size_t size);

/* Write a JSON string's inside; out has 6 bytes for each of data. Returns the length. */
size_t capsule_text_json(char *out, const char *data, size_t size);

/* Those who attach. `input_fd` and `master_fd` as in the plan. */
void capsule_clients_open(const struct relay_plan *plan);

/* Fill MONITOR_CLIENTS + 2 places with what is waited for; then act on what came. */
#define MONITOR_CLIENT_POLLS (MONITOR_CLIENTS + 2)
void capsule_clients_poll(struct rt_pollfd *polls);
void capsule_clients_run(const struct rt_pollfd *polls);

/* Give all that want output a chunk, which stays where it is until capsule_clients_busy is false. */
void capsule_clients_give(enum monitor_stream stream, const char *data, size_t size);
bool capsule_clients_busy(void);

/* Cut off all that have not taken the present chunk. */
void capsule_clients_leave_behind(void);

/* Milliseconds until a client that takes nothing is given up; -1: none is waited for. */
int64_t capsule_clients_patience(void);

/* Tell all how it ended and close. */
void capsule_clients_end(int status);

#endif
