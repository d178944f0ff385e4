/*
 * What the freestanding programs (tail, relay) have instead of a libc: their entry point, raw
 * system calls that return the kernel's value or -errno, and the four functions that a compiler
 * calls on its own account.
 */
#ifndef CAPSULE_RT_H
#define CAPSULE_RT_H

#include <asm/errno.h>
#include <asm/unistd.h>
#include <linux/fcntl.h>
#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__)
#include "rt_x86_64.h"
#elif defined(__aarch64__)
#include "rt_aarch64.h"
#else
#error "no system call numbers and calling convention for this machine"
#endif

/* Numbers that are the same on every machine and that older kernel headers lack. */
#define RT_NR_pidfd_send_signal 424
#define RT_NR_pidfd_open 434
#define RT_NR_close_range 436

#define RT_ALL_SIGNALS (~0ull)
#define RT_SIGNAL(number) (1ull << ((number)-1))
#define RT_SIGNALS 64

/* struct sigaction as the kernel has it on both machines. */
struct rt_sigaction {
	void (*handler)(int);
	unsigned long flags;
	void (*restorer)(void);
	uint64_t mask;
};

struct rt_pollfd {
	int32_t fd;
	int16_t events;
	int16_t revents;
};

#define RT_POLLIN 1
#define RT_POLLOUT 4

/* linux/socket.h leaves these to the libc. */
#define RT_MSG_TRUNC 0x20
#define RT_MSG_NOSIGNAL 0x4000
#define RT_SOL_SOCKET 1
#define RT_SCM_RIGHTS 1

struct rt_timespec {
	int64_t tv_sec;
	int64_t tv_nsec;
};

#define rt0(nr) rt_syscall(nr, 0, 0, 0, 0, 0, 0)
#define rt1(nr, a) rt_syscall(nr, (long)(a), 0, 0, 0, 0, 0)
#define rt2(nr, a, b) rt_syscall(nr, (long)(a), (long)(b), 0, 0, 0, 0)
#define rt3(nr, a, b, c) rt_syscall(nr, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define rt4(nr, a, b, c, d) rt_syscall(nr, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define rt5(nr, a, b, c, d, e) \
	rt_syscall(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)
#define rt6(nr, a, b, c, d, e, f) \
	rt_syscall(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

/* The program. argv and envp are the kernel's own vectors. */
int capsule_main(int argc, char **argv, char **envp);

/* Run fn(arg) on its own stack in a task made by clone(2) with flags; returns its id or -errno. */
long capsule_rt_thread(unsigned long flags, void *stack_top, int (*fn)(void *), void *arg);

/* Start a child that shares nothing (clone(2) with SIGCHLD); *pidfd, if wanted, is CLOEXEC. */
long capsule_rt_fork(int *pidfd);

/* Map size zeroed bytes. Returns NULL when the kernel has none. */
void *capsule_rt_map(size_t size);

/* Read a decimal fd number with nothing around it. Returns -EINVAL when it is none. */
int capsule_rt_number(const char *text);

/* Map the whole of file fd for reading and close fd. Returns its size or -errno. */
long capsule_rt_map_file(int fd, const void **data);

/* Close all fds from first on but the count in keep (-1 entries are none; keep gets sorted). */
void capsule_rt_close_except(int first, int *keep, size_t count);

/* Give every signal its default action and block none. */
void capsule_rt_default_signals(void);

/*
 * Poll one fd, through signals; timeout_ms < 0 waits for ever. Returns 1, 0 at the deadline,
 * -errno.
 */
int capsule_rt_poll_one(int fd, int events, long timeout_ms);

/* Milliseconds of the monotonic clock. */
int64_t capsule_rt_now_ms(void);

/* A filter may deny even exit_group; a trap always ends the process, pid 1 of a namespace too. */
static inline _Noreturn void rt_exit(int status)
{
	rt1(__NR_exit_group, status);
	__builtin_trap();
}

static inline void rt_close(int fd)
{
	if (fd >= 0)
		rt1(__NR_close, fd);
}

static inline long rt_open(int dir_fd, const char *path, int flags)
{
	return rt4(__NR_openat, dir_fd, path, flags | O_CLOEXEC, 0);
}

void *memcpy(void *to, const void *from, size_t size);
void *memmove(void *to, const void *from, size_t size);
void *memset(void *to, int value, size_t size);
int memcmp(const void *left, const void *right, size_t size);
size_t strlen(const char *text);

#endif
