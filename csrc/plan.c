/*
 * Decoder of the tail's and the relay's plan. Pure: no system calls, no allocation, no libc; the
 * fuzzer (tests/c/fuzz_plan.c) runs this very file.
 */
#include "plan.h"

#include <asm/errno.h>
#include <linux/bpf_common.h>
#include <linux/seccomp.h>

#define PLAN_SECCOMP_FLAGS                                                                      \
	(SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_LOG | SECCOMP_FILTER_FLAG_SPEC_ALLOW | \
	 SECCOMP_FILTER_FLAG_NEW_LISTENER | PLAN_SECCOMP_WAIT_KILLABLE)
#define PLAN_SECCOMP_WAIT_KILLABLE (1u << 5) /* headers before Linux 5.19 lack it */

#define GROUPS_MAX 65536
#define NO_ID 0xffffffffu /* (uid_t)-1 means "leave alone" to setresuid */

static size_t padded(size_t len)
{
	return (len + 7) & ~(size_t)7;
}

static int open_plan(const void *data, size_t size, const char *magic, struct plan_cursor *cursor)
{
	struct plan_header header;

	if ((uintptr_t)data % 8 || size < sizeof(header) || size > PLAN_SIZE_MAX)
		return -EINVAL;
	__builtin_memcpy(&header, data, sizeof(header));
	for (size_t i = 0; i < sizeof(header.magic); i++)
		if (header.magic[i] != magic[i])
			return -EINVAL;
	if (header.version != PLAN_VERSION || header.size != size)
		return -EINVAL;
	cursor->at = (const char *)data + sizeof(header);
	cursor->end = (const char *)data + size;
	cursor->left = header.records;
	return 0;
}

/* Take the next record. Returns 1, 0 at a proper end, or -EINVAL. */
static int next_record(struct plan_cursor *cursor, struct plan_record *record,
		       struct plan_bytes *body)
{
	size_t room = (size_t)(cursor->end - cursor->at);

	if (!cursor->left)
		return room ? -EINVAL : 0;
	if (room < sizeof(*record))
		return -EINVAL;
	__builtin_memcpy(record, cursor->at, sizeof(*record));
	room -= sizeof(*record);
	if (record->flags || record->len > room || padded(record->len) > room)
		return -EINVAL;
	body->data = cursor->at + sizeof(*record);
	body->len = record->len;
	for (size_t i = record->len; i < padded(record->len); i++)
		if (body->data[i])
			return -EINVAL;
	cursor->at = body->data + padded(record->len);
	cursor->left--;
	return 1;
}

/* Copy a record of one fixed size. */
static int take_struct(const struct plan_bytes *body, void *out, size_t size)
{
	if (body->len != size)
		return -EINVAL;
	__builtin_memcpy(out, body->data, size);
	return 0;
}

/* Accept exactly count strings that fill data to its end. */
static int take_exact_strings(const char *data, uint32_t len, uint32_t count,
			      struct plan_strings *out)
{
	uint32_t ends = 0;

	for (uint32_t i = 0; i < len; i++)
		ends += !data[i];
	if (ends != count || (len && data[len - 1]))
		return -EINVAL;
	*out = (struct plan_strings){ data, len, count };
	return 0;
}

static int take_strings(const struct plan_bytes *body, struct plan_strings *out)
{
	uint32_t count;

	if (body->len < sizeof(count))
		return -EINVAL;
	__builtin_memcpy(&count, body->data, sizeof(count));
	return take_exact_strings(body->data + sizeof(count), body->len - (uint32_t)sizeof(count),
				  count, out);
}

/* Accept one string that is not empty. */
static int take_string(const struct plan_bytes *body, const char **out)
{
	struct plan_strings one;

	if (body->len < 2 || take_exact_strings(body->data, body->len, 1, &one))
		return -EINVAL;
	*out = one.data;
	return 0;
}

static int take_path(const struct plan_bytes *body, const char **out)
{
	if (take_string(body, out) || **out != '/')
		return -EINVAL;
	return 0;
}

static const char *after_strings(const char *at, uint32_t count)
{
	while (count--)
		at += __builtin_strlen(at) + 1;
	return at;
}

static int take_hook(const struct plan_bytes *body, struct tail_hook *hook)
{
	struct tail_hook_head head;
	struct plan_strings all;
	uint64_t count;
	const char *args, *env;

	if (body->len < sizeof(head))
		return -EINVAL;
	__builtin_memcpy(&head, body->data, sizeof(head));
	hook->timeout_ms = head.timeout_ms;
	hook->process_env = head.env == TAIL_ENV_OF_PROCESS;
	if (hook->process_env)
		head.env = 0;
	count = 1 + (uint64_t)head.args + head.env;
	if (head.reserved || head.timeout_ms > INT32_MAX || count > body->len ||
	    take_exact_strings(body->data + sizeof(head), body->len - (uint32_t)sizeof(head),
			       (uint32_t)count, &all))
		return -EINVAL;
	hook->path = all.data;
	if (*hook->path != '/')
		return -EINVAL;
	args = after_strings(all.data, 1);
	env = after_strings(args, head.args);
	hook->args = (struct plan_strings){ args, (uint32_t)(env - args), head.args };
	hook->env = (struct plan_strings){ env, (uint32_t)(all.data + all.len - env), head.env };
	return 0;
}

int capsule_plan_next_hook(struct plan_cursor *cursor, struct tail_hook *hook)
{
	struct plan_record record;
	struct plan_bytes body;

	while (next_record(cursor, &record, &body) > 0)
		if (record.type == TAIL_HOOK)
			return take_hook(&body, hook) == 0;
	return 0;
}

void capsule_plan_vector(const struct plan_strings *strings, const char **vector)
{
	const char *at = strings->data;

	for (uint32_t i = 0; i < strings->count; i++) {
		vector[i] = at;
		at += __builtin_strlen(at) + 1;
	}
	vector[strings->count] = NULL;
}

static int take_tail_record(struct tail_plan *plan, uint16_t type, const struct plan_bytes *body)
{
	struct tail_hook hook;

	switch (type) {
	case TAIL_BASE:
		return take_struct(body, &plan->base, sizeof(plan->base));
	case TAIL_CAPS:
		return take_struct(body, &plan->caps, sizeof(plan->caps));
	case TAIL_EXEC_PATH:
		return take_string(body, &plan->exec_path);
	case TAIL_CWD:
		return take_path(body, &plan->cwd);
	case TAIL_ARGS:
		return take_strings(body, &plan->args);
	case TAIL_ENV:
		return take_strings(body, &plan->env);
	case TAIL_GROUPS:
		plan->groups = (const uint32_t *)(const void *)body->data;
		plan->group_count = body->len / 4;
		return body->len % 4 || plan->group_count > GROUPS_MAX ? -EINVAL : 0;
	case TAIL_SECCOMP:
		plan->filter = (const struct sock_filter *)(const void *)body->data;
		plan->filter_len = body->len / sizeof(struct sock_filter);
		if (body->len % sizeof(struct sock_filter) || plan->filter_len > BPF_MAXINSNS)
			return -EINVAL;
		return plan->filter_len ? 0 : -EINVAL;
	case TAIL_APPARMOR:
		return take_string(body, &plan->apparmor);
	case TAIL_SELINUX:
		return take_string(body, &plan->selinux);
	case TAIL_HOOK:
		plan->hook_count++;
		return take_hook(body, &hook);
	case TAIL_HOOK_STATE:
		plan->hook_state = *body;
		return 0;
	case TAIL_AGENT_STATE:
		plan->agent_state = *body;
		return 0;
	default:
		return -EINVAL;
	}
}

/* Each fd is none or above stdio, and no two are one. */
static bool fds_valid(const int32_t *fds, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (fds[i] != -1 && (fds[i] < 3 || fds[i] >= (int32_t)PLAN_FDS_MAX))
			return false;
		for (size_t j = 0; j < i; j++)
			if (fds[i] != -1 && fds[i] == fds[j])
				return false;
	}
	return true;
}

static bool caps_valid(const struct tail_caps *caps, uint32_t last_cap)
{
	uint64_t all = caps->bounding | caps->effective | caps->permitted | caps->inheritable |
		       caps->ambient;

	return last_cap < 63 ? !(all >> (last_cap + 1)) : last_cap == 63;
}

static bool base_valid(const struct tail_base *base)
{
	const int32_t fds[] = { base->sync_fd, base->start_fd, base->proc_fd, base->agent_fd };
	bool is_init = base->kind == TAIL_INIT;

	if (!is_init && base->kind != TAIL_EXEC)
		return false;
	if (base->flags & ~TAIL_FLAGS_ALL || base->reserved || !fds_valid(fds, 4))
		return false;
	if (base->sync_fd < 0 || (base->start_fd >= 0) != is_init)
		return false;
	if (!is_init && !(base->flags & TAIL_HAS_PROCESS))
		return false;
	return base->preserve_fds < PLAN_FDS_MAX && base->pdeathsig <= 64 && base->umask <= 0777 &&
	       base->uid != NO_ID && base->gid != NO_ID &&
	       !(base->seccomp_flags & ~PLAN_SECCOMP_FLAGS);
}

/* What must hold between the records of a plan with a process. */
static bool process_valid(const struct tail_plan *plan)
{
	const struct tail_base *base = &plan->base;
	bool listens = base->seccomp_flags & SECCOMP_FILTER_FLAG_NEW_LISTENER;

	if (!plan->args.count || !plan->exec_path || !plan->cwd)
		return false;
	if (!plan->filter && base->seccomp_flags)
		return false;
	if (listens != (base->agent_fd >= 0) || listens != (plan->agent_state.len > 0))
		return false;
	if (base->kind == TAIL_EXEC && plan->hook_count)
		return false;
	if (plan->apparmor && plan->selinux)
		return false;
	if ((plan->apparmor || plan->selinux) && base->proc_fd < 0)
		return false;
	return caps_valid(&plan->caps, base->last_cap);
}

int capsule_plan_tail(const void *data, size_t size, struct tail_plan *plan)
{
	const uint32_t process = 1u << TAIL_CAPS | 1u << TAIL_EXEC_PATH | 1u << TAIL_CWD |
				 1u << TAIL_ARGS | 1u << TAIL_ENV;
	struct plan_cursor cursor;
	struct plan_record record;
	struct plan_bytes body;
	uint32_t seen = 0;
	int more;

	*plan = (struct tail_plan){ 0 };
	if (open_plan(data, size, TAIL_PLAN_MAGIC, &cursor))
		return -EINVAL;
	plan->hooks = cursor;
	while ((more = next_record(&cursor, &record, &body)) > 0) {
		if (record.type >= TAIL_RECORDS ||
		    (seen & 1u << record.type && record.type != TAIL_HOOK))
			return -EINVAL;
		seen |= 1u << record.type;
		if (take_tail_record(plan, record.type, &body))
			return -EINVAL;
	}
	if (more < 0 || !(seen & 1u << TAIL_BASE) || !base_valid(&plan->base))
		return -EINVAL;
	if (!(plan->base.flags & TAIL_HAS_PROCESS))
		return seen == 1u << TAIL_BASE ? 0 : -EINVAL;
	return (seen & process) == process && process_valid(plan) ? 0 : -EINVAL;
}

static int take_record_of_end(const struct plan_bytes *body, struct relay_plan *plan)
{
	struct plan_strings strings;

	if (take_strings(body, &strings) || strings.count != 2 || !*strings.data)
		return -EINVAL;
	plan->record_name = strings.data;
	plan->record_head = after_strings(strings.data, 1);
	return 0;
}

static int take_relay_record(struct relay_plan *plan, uint16_t type, const struct plan_bytes *body)
{
	switch (type) {
	case RELAY_BASE:
		return take_struct(body, &plan->base, sizeof(plan->base));
	case RELAY_CLEANUP_DIRS:
		return take_strings(body, &plan->dirs);
	case RELAY_CLEANUP_FILES:
		return take_strings(body, &plan->files);
	case RELAY_STATE_DIR:
		return take_path(body, &plan->state_dir);
	case RELAY_KILL_CGROUP:
		return take_path(body, &plan->kill_cgroup);
	case RELAY_FALLBACK:
		return take_strings(body, &plan->fallback);
	case RELAY_DEADLINE:
		return take_struct(body, &plan->deadline, sizeof(plan->deadline));
	case RELAY_RECORD:
		return take_record_of_end(body, plan);
	case RELAY_OOM:
		return take_path(body, &plan->oom_counters);
	case RELAY_NOTIFY:
		if (take_struct(body, &plan->notify, sizeof(plan->notify)))
			return -EINVAL;
		return plan->notify.inner_fd < 0 || plan->notify.outer_fd < 0 ? -EINVAL : 0;
	case RELAY_MONITOR:
		return take_struct(body, &plan->monitor, sizeof(plan->monitor));
	case RELAY_LOG:
		return take_string(body, &plan->log_name) || !*plan->log_name ? -EINVAL : 0;
	case RELAY_AGAIN:
		return take_strings(body, &plan->again);
	case RELAY_HEALTH:
		return take_strings(body, &plan->health);
	default:
		return -EINVAL;
	}
}

static bool absolute(const struct plan_strings *strings)
{
	const char *at = strings->data;

	for (uint32_t i = 0; i < strings->count; i++, at += __builtin_strlen(at) + 1)
		if (*at != '/')
			return false;
	return true;
}

/* What must hold of an engine's container. */
static bool monitor_valid(const struct relay_plan *plan)
{
	const struct relay_monitor *monitor = &plan->monitor;
	bool logs = monitor->log_kind != RELAY_LOG_NONE;

	if (monitor->log_kind >= RELAY_LOG_KINDS || monitor->reserved)
		return false;
	if (logs != (plan->log_name && monitor->log_dir_fd >= 0) ||
	    logs != (monitor->log_files > 0))
		return false;
	if (!monitor->health_ms != !plan->health.count)
		return false;
	return (!plan->again.count || *plan->again.data == '/') &&
	       (!plan->health.count || *plan->health.data == '/');
}

static bool relay_valid(const struct relay_plan *plan)
{
	const struct relay_base *base = &plan->base;
	const int32_t fds[] = { base->child_pidfd,	 base->master_fd,
				base->report_fd,	 base->state_fd,
				base->lock_fd,		 base->record_fd,
				plan->notify.inner_fd,	 plan->notify.outer_fd,
				plan->monitor.alive_fd,	 plan->monitor.output_fd,
				plan->monitor.error_fd,	 plan->monitor.input_fd,
				plan->monitor.listen_fd, plan->monitor.log_dir_fd };

	if (base->flags & ~RELAY_FLAGS_ALL || !fds_valid(fds, sizeof(fds) / sizeof(*fds)))
		return false;
	if (!monitor_valid(plan))
		return false;
	if (plan->record_name ? (*plan->record_name == '/') != (base->record_fd < 0)
			      : base->record_fd >= 0)
		return false;
	if (plan->deadline.kill_after_ms && !plan->deadline.timeout_ms)
		return false;
	if (!base->child_pid || base->child_pid > INT32_MAX || base->child_pidfd < 0)
		return false;
	/* A raw terminal must be restored, so no signal may end us unseen. */
	if (base->flags & RELAY_USE_TTY &&
	    (base->master_fd < 0 || !(base->flags & RELAY_FORWARD_SIGNALS)))
		return false;
	if (base->flags & RELAY_FALLBACK_ALWAYS && !plan->fallback.count)
		return false;
	if (base->state_fd >= 0 && !plan->state_dir)
		return false;
	return absolute(&plan->dirs) && absolute(&plan->files) &&
	       (!plan->fallback.count || *plan->fallback.data == '/');
}

int capsule_plan_relay(const void *data, size_t size, struct relay_plan *plan)
{
	struct plan_cursor cursor;
	struct plan_record record;
	struct plan_bytes body;
	uint32_t seen = 0;
	int more;

	*plan = (struct relay_plan){
		.notify = { -1, -1 },
		.monitor = { .alive_fd = -1,
			     .output_fd = -1,
			     .error_fd = -1,
			     .input_fd = -1,
			     .listen_fd = -1,
			     .log_dir_fd = -1 },
	};
	if (open_plan(data, size, RELAY_PLAN_MAGIC, &cursor))
		return -EINVAL;
	while ((more = next_record(&cursor, &record, &body)) > 0) {
		if (record.type >= RELAY_RECORDS || seen & 1u << record.type)
			return -EINVAL;
		seen |= 1u << record.type;
		if (take_relay_record(plan, record.type, &body))
			return -EINVAL;
	}
	if (more < 0 || !(seen & 1u << RELAY_BASE))
		return -EINVAL;
	return relay_valid(plan) ? 0 : -EINVAL;
}
