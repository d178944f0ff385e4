/*
 * Which devices the processes of a v2 cgroup may use: a program of type BPF_PROG_TYPE_CGROUP_DEVICE
 * (admin-guide/cgroup-v2 "Device controller", man 2 bpf). All functions return -errno.
 */
#ifndef CAPSULE_DEVBPF_H
#define CAPSULE_DEVBPF_H

#include <stddef.h>
#include <stdint.h>

/* Bits of capsule_devbpf_rule.kinds and .access; the kernel's own, BPF_DEVCG_*. */
enum { CAPSULE_DEVBPF_BLOCK = 1, CAPSULE_DEVBPF_CHAR = 2 };
enum { CAPSULE_DEVBPF_MKNOD = 1, CAPSULE_DEVBPF_READ = 2, CAPSULE_DEVBPF_WRITE = 4 };

#define CAPSULE_DEVBPF_ANY (-1)
/* Instructions of one rule, and of all that surrounds the rules, at most. */
#define CAPSULE_DEVBPF_PER_RULE 7
#define CAPSULE_DEVBPF_AROUND 7

struct capsule_devbpf_rule {
	uint32_t allow;
	uint32_t kinds;
	uint32_t access;
	int64_t major; /* CAPSULE_DEVBPF_ANY, or a number of 32 bits */
	int64_t minor;
};

/*
 * Compile rules, of which the last that matches decides for each kind of access asked for; without
 * one it is denied. `out` has room for count * CAPSULE_DEVBPF_PER_RULE + CAPSULE_DEVBPF_AROUND
 * instructions of 8 bytes. Returns how many were written.
 */
size_t capsule_devbpf_compile(const struct capsule_devbpf_rule *rules, size_t count, uint64_t *out);

/*
 * Load a program and return its fd. Where the kernel's verifier refuses it, `log` has what it says
 * (NUL-terminated, cut to `log_size`), else "".
 */
int capsule_devbpf_load(const uint64_t *instructions, size_t count, char *log, size_t log_size);

/*
 * Attach a program to a cgroup, in place of an earlier one of capsule's if there is any; programs of
 * others stay and may deny more. Returns how many of others there are; -EEXIST when one of them
 * suffers no second.
 */
int capsule_devbpf_attach(int cgroup_fd, int program_fd);

#endif
