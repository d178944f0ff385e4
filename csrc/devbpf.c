/* Device programs of cgroup v2. See devbpf.h. */
#define _GNU_SOURCE
#include "devbpf.h"

#include <errno.h>
#include <linux/bpf.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char NAME[] = "capsule_device";
#define PROGRAMS_MAX 64 /* BPF_CGROUP_MAX_PROGS */

_Static_assert(sizeof(struct bpf_insn) == sizeof(uint64_t), "an instruction has 8 bytes");
_Static_assert((int)CAPSULE_DEVBPF_CHAR == (int)BPF_DEVCG_DEV_CHAR, "kinds are the kernel's");
_Static_assert((int)CAPSULE_DEVBPF_WRITE == (int)BPF_DEVCG_ACC_WRITE, "accesses are the kernel's");

/* What the program keeps where: the accesses not decided yet, and the device. */
enum { VERDICT = 0, CONTEXT = 1, ASKED = 2, KIND = 3, MAJOR = 4, MINOR = 5 };

struct code {
	uint64_t *out;
	size_t count;
};

static void emit(struct code *code, uint8_t op, int dst, int src, int16_t offset, int32_t value)
{
	struct bpf_insn insn = { .code = op, .off = offset, .imm = value };

	insn.dst_reg = (uint8_t)(dst & 0xf);
	insn.src_reg = (uint8_t)(src & 0xf);
	memcpy(&code->out[code->count++], &insn, sizeof(insn));
}

static void emit_value(struct code *code, uint8_t op, int dst, int16_t offset, uint32_t value)
{
	emit(code, op, dst, 0, offset, (int32_t)value);
}

static void emit_verdict(struct code *code, uint32_t verdict)
{
	emit_value(code, BPF_ALU | BPF_MOV | BPF_K, VERDICT, 0, verdict);
	emit_value(code, BPF_JMP | BPF_EXIT, 0, 0, 0);
}

static void emit_head(struct code *code)
{
	emit(code, BPF_LDX | BPF_MEM | BPF_W, ASKED, CONTEXT,
	     offsetof(struct bpf_cgroup_dev_ctx, access_type), 0);
	emit(code, BPF_ALU | BPF_MOV | BPF_X, KIND, ASKED, 0, 0);
	emit_value(code, BPF_ALU | BPF_AND | BPF_K, KIND, 0, 0xffff);
	emit_value(code, BPF_ALU | BPF_RSH | BPF_K, ASKED, 0, 16);
	emit(code, BPF_LDX | BPF_MEM | BPF_W, MAJOR, CONTEXT,
	     offsetof(struct bpf_cgroup_dev_ctx, major), 0);
	emit(code, BPF_LDX | BPF_MEM | BPF_W, MINOR, CONTEXT,
	     offsetof(struct bpf_cgroup_dev_ctx, minor), 0);
}

static int matches_all(const struct capsule_devbpf_rule *rule)
{
	return rule->kinds == (CAPSULE_DEVBPF_BLOCK | CAPSULE_DEVBPF_CHAR) &&
	       rule->major == CAPSULE_DEVBPF_ANY && rule->minor == CAPSULE_DEVBPF_ANY &&
	       rule->access == (CAPSULE_DEVBPF_MKNOD | CAPSULE_DEVBPF_READ | CAPSULE_DEVBPF_WRITE);
}

/* Go on behind the rule unless the register has the value. */
static size_t emit_condition(struct code *code, int reg, uint32_t value)
{
	emit_value(code, BPF_JMP32 | BPF_JNE | BPF_K, reg, 0, value);
	return code->count - 1;
}

static void emit_rule(struct code *code, const struct capsule_devbpf_rule *rule)
{
	size_t jumps[3], count = 0;

	if (rule->kinds != (CAPSULE_DEVBPF_BLOCK | CAPSULE_DEVBPF_CHAR))
		jumps[count++] = emit_condition(code, KIND, rule->kinds);
	if (rule->major != CAPSULE_DEVBPF_ANY)
		jumps[count++] = emit_condition(code, MAJOR, (uint32_t)rule->major);
	if (rule->minor != CAPSULE_DEVBPF_ANY)
		jumps[count++] = emit_condition(code, MINOR, (uint32_t)rule->minor);
	if (rule->allow) {
		/* What this rule allows is decided; what is left is for the rules before it. */
		emit_value(code, BPF_ALU | BPF_AND | BPF_K, ASKED, 0, ~rule->access);
		emit_value(code, BPF_JMP32 | BPF_JNE | BPF_K, ASKED, 2, 0);
	} else {
		/* One access that is denied is enough. */
		emit_value(code, BPF_JMP32 | BPF_JSET | BPF_K, ASKED, 1, rule->access);
		emit_value(code, BPF_JMP | BPF_JA, 0, 2, 0);
	}
	emit_verdict(code, rule->allow ? 1 : 0);
	for (size_t i = 0; i < count; i++) {
		struct bpf_insn insn;

		memcpy(&insn, &code->out[jumps[i]], sizeof(insn));
		insn.off = (int16_t)(code->count - jumps[i] - 1);
		memcpy(&code->out[jumps[i]], &insn, sizeof(insn));
	}
}

size_t capsule_devbpf_compile(const struct capsule_devbpf_rule *rules, size_t count, uint64_t *out)
{
	struct code code = { out, 0 };

	emit_head(&code);
	/* From the last: the first that matches decides then, and a rule for all ends the list. */
	while (count > 0) {
		const struct capsule_devbpf_rule *rule = &rules[--count];

		if (matches_all(rule)) {
			emit_verdict(&code, rule->allow ? 1 : 0);
			return code.count;
		}
		emit_rule(&code, rule);
	}
	emit_verdict(&code, 0);
	return code.count;
}

static int bpf(enum bpf_cmd command, union bpf_attr *attr)
{
	long result = syscall(SYS_bpf, command, attr, sizeof(*attr));

	return result < 0 ? -errno : (int)result;
}

/* Before Linux 5.11 programs count as locked memory. */
static int raise_memlock(void)
{
	const struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };

	return setrlimit(RLIMIT_MEMLOCK, &all) ? -errno : 0;
}

int capsule_devbpf_load(const uint64_t *instructions, size_t count, char *log, size_t log_size)
{
	union bpf_attr attr;
	struct rlimit before;
	int fd, again;

	log[0] = '\0';
	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
	attr.insns = (uintptr_t)instructions;
	attr.insn_cnt = (uint32_t)count;
	attr.license = (uintptr_t) "Apache-2.0";
	memcpy(attr.prog_name, NAME, sizeof(NAME));
	fd = bpf(BPF_PROG_LOAD, &attr);
	if (fd == -EPERM && getrlimit(RLIMIT_MEMLOCK, &before) == 0 && raise_memlock() == 0) {
		fd = bpf(BPF_PROG_LOAD, &attr);
		setrlimit(RLIMIT_MEMLOCK, &before);
	}
	if (fd != -EINVAL && fd != -EACCES && fd != -E2BIG)
		return fd;
	attr.log_level = 1;
	attr.log_buf = (uintptr_t)log;
	attr.log_size = (uint32_t)log_size;
	again = bpf(BPF_PROG_LOAD, &attr);
	log[log_size - 1] = '\0';
	/* The kernel says that the log is too small in the place of what is wrong with the program. */
	return again == -ENOSPC ? fd : again;
}

static int open_program(uint32_t id)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.prog_id = id;
	return bpf(BPF_PROG_GET_FD_BY_ID, &attr);
}

/* 1 when the program is one of capsule's. */
static int is_ours(int program_fd)
{
	struct bpf_prog_info info;
	union bpf_attr attr;
	int result;

	memset(&info, 0, sizeof(info));
	memset(&attr, 0, sizeof(attr));
	attr.info.bpf_fd = (uint32_t)program_fd;
	attr.info.info_len = sizeof(info);
	attr.info.info = (uintptr_t)&info;
	result = bpf(BPF_OBJ_GET_INFO_BY_FD, &attr);
	return result < 0 ? result : strcmp(info.name, NAME) == 0;
}

static int query(int cgroup_fd, uint32_t *ids, uint32_t *count, uint32_t *flags)
{
	union bpf_attr attr;
	int result;

	memset(&attr, 0, sizeof(attr));
	attr.query.target_fd = (uint32_t)cgroup_fd;
	attr.query.attach_type = BPF_CGROUP_DEVICE;
	attr.query.prog_ids = (uintptr_t)ids;
	attr.query.prog_cnt = *count;
	result = bpf(BPF_PROG_QUERY, &attr);
	*count = attr.query.prog_cnt;
	*flags = attr.query.attach_flags;
	return result;
}

static int attach(int cgroup_fd, int program_fd, int replaced_fd)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.target_fd = (uint32_t)cgroup_fd;
	attr.attach_bpf_fd = (uint32_t)program_fd;
	attr.attach_type = BPF_CGROUP_DEVICE;
	attr.attach_flags = BPF_F_ALLOW_MULTI;
	if (replaced_fd >= 0) {
		attr.attach_flags |= BPF_F_REPLACE;
		attr.replace_bpf_fd = (uint32_t)replaced_fd;
	}
	return bpf(BPF_PROG_ATTACH, &attr);
}

static int detach(int cgroup_fd, int program_fd)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.target_fd = (uint32_t)cgroup_fd;
	attr.attach_bpf_fd = (uint32_t)program_fd;
	attr.attach_type = BPF_CGROUP_DEVICE;
	return bpf(BPF_PROG_DETACH, &attr);
}

/*
 * Put the program where the first of ours is and take any other of ours away; 1 when there was one.
 * A program that is gone meanwhile was of a cgroup's owner who is at work besides us: -EBUSY.
 */
static int handle_program(int cgroup_fd, int program_fd, uint32_t id, int *placed)
{
	int result, old_fd = open_program(id);

	if (old_fd < 0)
		return old_fd == -ENOENT ? -EBUSY : old_fd;
	result = is_ours(old_fd);
	if (result == 1) {
		int error = *placed ? detach(cgroup_fd, old_fd)
				    : attach(cgroup_fd, program_fd, old_fd);

		if (error < 0)
			result = error;
		else
			*placed = 1;
	}
	close(old_fd);
	return result;
}

int capsule_devbpf_attach(int cgroup_fd, int program_fd)
{
	uint32_t ids[PROGRAMS_MAX], count = PROGRAMS_MAX, flags = 0;
	int placed = 0, others = 0, result;

	result = query(cgroup_fd, ids, &count, &flags);
	if (result < 0)
		return result;
	if (count > 0 && !(flags & BPF_F_ALLOW_MULTI))
		return -EEXIST;
	for (uint32_t i = 0; i < count; i++) {
		result = handle_program(cgroup_fd, program_fd, ids[i], &placed);
		if (result < 0)
			return result;
		others += !result;
	}
	if (!placed) {
		result = attach(cgroup_fd, program_fd, -1);
		if (result < 0)
			return result;
	}
	return others;
}
