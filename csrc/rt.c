/* The entry point and the larger functions of rt.h. */
#include "rt.h"

#include <linux/mman.h>
#include <linux/sched.h>
#include <linux/signal.h>
#include <linux/time.h>

#define CLOSE_BY_NUMBER_MAX 65536

RT_ENTRY;
RT_THREAD;

/* Called by _start with the kernel's argument block: argc, argv, NULL, envp, NULL. */
_Noreturn void capsule_rt_start(long *block);
_Noreturn void capsule_rt_start(long *block)
{
	int argc = (int)block[0];
	char **argv = (char **)(block + 1);

	rt_exit(capsule_main(argc, argv, argv + argc + 1));
}

long capsule_rt_fork(int *pidfd)
{
	/* The third argument takes the pidfd on both machines; the two behind it are not used. */
	return rt5(__NR_clone, SIGCHLD | (pidfd ? CLONE_PIDFD : 0), 0, pidfd, 0, 0);
}

void *capsule_rt_map(size_t size)
{
	long address = rt6(__NR_mmap, 0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			   -1, 0);

	return address < 0 && address > -4096 ? NULL : (void *)address;
}

int capsule_rt_number(const char *text)
{
	int value = 0;

	if (!*text)
		return -EINVAL;
	for (; *text; text++) {
		if (*text < '0' || *text > '9' || value > 1 << 24)
			return -EINVAL;
		value = value * 10 + (*text - '0');
	}
	return value;
}

long capsule_rt_map_file(int fd, const void **data)
{
	long size = rt3(__NR_lseek, fd, 0, 2 /* SEEK_END */);
	long address;

	if (size <= 0)
		return size < 0 ? size : -EINVAL;
	address = rt6(__NR_mmap, 0, size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (address < 0 && address > -4096)
		return address;
	rt_close(fd);
	*data = (const void *)address;
	return size;
}

static void close_span(int first, int last)
{
	if (first > last || !rt3(RT_NR_close_range, first, last, 0))
		return;
	/* Before Linux 5.9, or denied by a filter around us: one by one. */
	for (int fd = first; fd <= last && fd < CLOSE_BY_NUMBER_MAX; fd++)
		rt_close(fd);
}

void capsule_rt_close_except(int first, int *keep, size_t count)
{
	for (size_t i = 1; i < count; i++)
		for (size_t j = i; j && keep[j - 1] > keep[j]; j--) {
			int swap = keep[j];

			keep[j] = keep[j - 1];
			keep[j - 1] = swap;
		}
	for (size_t i = 0; i < count; i++) {
		if (keep[i] < first)
			continue;
		close_span(first, keep[i] - 1);
		first = keep[i] + 1;
	}
	close_span(first, INT32_MAX);
}

void capsule_rt_default_signals(void)
{
	const struct rt_sigaction by_default = { 0 };
	const uint64_t none = 0;

	for (int number = 1; number <= RT_SIGNALS; number++)
		rt4(__NR_rt_sigaction, number, &by_default, 0, sizeof(none));
	rt4(__NR_rt_sigprocmask, SIG_SETMASK, &none, 0, sizeof(none));
}

int64_t capsule_rt_now_ms(void)
{
	struct rt_timespec now = { 0 };

	rt2(__NR_clock_gettime, CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int capsule_rt_poll_one(int fd, int events, long timeout_ms)
{
	int64_t deadline = capsule_rt_now_ms() + timeout_ms;

	for (;;) {
		struct rt_pollfd poll = { fd, (int16_t)events, 0 };
		int64_t left = deadline - capsule_rt_now_ms();
		struct rt_timespec wait = { 0 };
		long ready;

		if (left > 0)
			wait = (struct rt_timespec){ left / 1000, left % 1000 * 1000000 };
		ready = rt5(__NR_ppoll, &poll, 1, timeout_ms < 0 ? NULL : &wait, 0, 0);
		if (ready != -EINTR)
			return (int)ready;
	}
}

/* The barriers keep the compiler from seeing a memcpy in memcpy and calling it. */
#define KEEP_LOOP() __asm__ volatile("" ::: "memory")

void *memcpy(void *to, const void *from, size_t size)
{
	char *out = to;
	const char *in = from;

	for (; size; size--) {
		*out++ = *in++;
		KEEP_LOOP();
	}
	return to;
}

void *memmove(void *to, const void *from, size_t size)
{
	char *out = to;
	const char *in = from;

	if ((uintptr_t)to - (uintptr_t)from >= size)
		return memcpy(to, from, size);
	while (size--) {
		out[size] = in[size];
		KEEP_LOOP();
	}
	return to;
}

void *memset(void *to, int value, size_t size)
{
	char *out = to;

	for (; size; size--) {
		*out++ = (char)value;
		KEEP_LOOP();
	}
	return to;
}

int memcmp(const void *left, const void *right, size_t size)
{
	const unsigned char *a = left, *b = right;

	for (; size; size--, a++, b++)
		if (*a != *b)
			return *a - *b;
	return 0;
}

size_t strlen(const char *text)
{
	size_t length = 0;

	while (text[length]) {
		length++;
		KEEP_LOOP();
	}
	return length;
}
