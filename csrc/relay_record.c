/*
 * How the container ended, for `state --detail` and `why`: one JSON object, whose beginning R has written. Only where
 * the container is kept, or its end was not exit 0; nothing here may fail the run.
 */
#include "relay.h"

#include <linux/signal.h>

#define TEXT_MAX 8192
#define COUNTERS_MAX 1024

struct text {
	char data[TEXT_MAX];
	size_t size;
};

static void add(struct text *text, const char *word)
{
	size_t len = strlen(word);

	if (len > sizeof(text->data) - text->size)
		len = sizeof(text->data) - text->size;
	memcpy(text->data + text->size, word, len);
	text->size += len;
}

static void add_number(struct text *text, uint64_t value)
{
	char digits[21];
	size_t at = sizeof(digits) - 1;

	digits[at] = 0;
	do
		digits[--at] = (char)('0' + value % 10);
	while (value /= 10);
	add(text, digits + at);
}

/* Find the line "oom_kill N" of memory.oom_control (v1) or memory.events (v2). */
static bool counts_oom_kill(const char *data, size_t size)
{
	static const char name[] = "oom_kill ";
	const size_t len = sizeof(name) - 1;

	for (size_t at = 0; at + len < size; at++)
		if ((!at || data[at - 1] == '\n') && !memcmp(data + at, name, len))
			return data[at + len] != '0';
	return false;
}

static bool was_oom_killed(const char *path)
{
	char data[COUNTERS_MAX];
	long fd = path ? rt_open(AT_FDCWD, path, O_RDONLY) : -1;
	long size;

	if (fd < 0)
		return false;
	size = rt3(__NR_read, fd, data, sizeof(data));
	rt_close((int)fd);
	return size > 0 && counts_oom_kill(data, (size_t)size);
}

static const char *reason(const struct relay_plan *plan, int status)
{
	if (capsule_relay_deadline_passed())
		return "timeout";
	if (status && was_oom_killed(plan->oom_counters))
		return "oom";
	return status & 0x7f ? "signal" : "exit";
}

/* The directory of failures may still be missing; its parent is the runtime root. */
static long open_new(const struct relay_plan *plan, const char *path, char *directory, size_t size)
{
	const int flags = O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC;
	long fd = rt4(__NR_openat, plan->base.record_fd, path, flags, 0600);
	size_t len = strlen(path);

	if (fd != -ENOENT || *path != '/' || len >= size)
		return fd;
	memcpy(directory, path, len);
	while (len && directory[len - 1] != '/')
		len--;
	directory[len] = 0;
	rt3(__NR_mkdirat, AT_FDCWD, directory, 0700);
	return rt4(__NR_openat, plan->base.record_fd, path, flags, 0600);
}

/* A reader finds the whole record or the one before. */
static bool temporary_name(const char *name, char *temporary)
{
	static const char suffix[] = ".new";
	size_t len = strlen(name);

	if (len + sizeof(suffix) > TEXT_MAX)
		return false;
	memcpy(temporary, name, len);
	memcpy(temporary + len, suffix, sizeof(suffix));
	return true;
}

void capsule_relay_record(const struct relay_plan *plan, int status)
{
	static struct text text;
	static char directory[TEXT_MAX], temporary[TEXT_MAX];
	const int dir_fd = plan->base.record_fd; /* of no account where the name is a path */
	struct rt_timespec now = { 0 };
	long fd, written;

	if (!plan->record_name ||
	    (plan->base.record_fd < 0 && !status && !capsule_relay_deadline_passed()))
		return;
	rt2(__NR_clock_gettime, 0, &now);
	add(&text, plan->record_head);
	add(&text, "\"reason\":\"");
	add(&text, reason(plan, status));
	add(&text, "\",\"wait_status\":");
	add_number(&text, (uint32_t)status);
	add(&text, ",\"time_ns\":");
	add_number(&text, (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
	add(&text, "}\n");
	if (!temporary_name(plan->record_name, temporary))
		return;
	fd = open_new(plan, temporary, directory, sizeof(directory));
	if (fd < 0)
		return;
	written = rt3(__NR_write, fd, text.data, text.size);
	rt_close((int)fd);
	if (written == (long)text.size)
		rt5(__NR_renameat2, dir_fd, temporary, dir_fd, plan->record_name, 0);
	else
		rt3(__NR_unlinkat, dir_fd, temporary, 0);
}
