/*
 * From the runtime's privileges to the container's user. Everything that can go wrong or that needs
 * a privilege comes before the filter, so that a profile need not allow what only we call: under a
 * filter with no_new_privs nothing is left but execve, without it one capset (capabilities(7),
 * seccomp(2)).
 */
#include "tail.h"

#include <linux/capability.h>
#include <linux/limits.h>
#include <linux/prctl.h>

#ifndef PR_CAP_AMBIENT
#define PR_CAP_AMBIENT 47
#define PR_CAP_AMBIENT_RAISE 2
#define PR_CAP_AMBIENT_CLEAR_ALL 4
#endif

struct cap_sets {
	uint64_t effective, permitted, inheritable;
};

static char scratch[PATH_MAX]; /* a label on its way in, the cwd on its way out */

static void check(enum tail_step step, uint32_t index, long result)
{
	if (result < 0)
		capsule_tail_fail(step, index, result);
}

static struct __user_cap_header_struct cap_header(void)
{
	return (struct __user_cap_header_struct){ _LINUX_CAPABILITY_VERSION_3, 0 };
}

static void get_caps(struct cap_sets *sets)
{
	struct __user_cap_header_struct header = cap_header();
	struct __user_cap_data_struct data[2] = { 0 };

	check(TAIL_STEP_CAPSET, 0, rt2(__NR_capget, &header, data));
	sets->effective = data[0].effective | (uint64_t)data[1].effective << 32;
	sets->permitted = data[0].permitted | (uint64_t)data[1].permitted << 32;
	sets->inheritable = data[0].inheritable | (uint64_t)data[1].inheritable << 32;
}

static void set_caps(const struct cap_sets *sets)
{
	struct __user_cap_header_struct header = cap_header();
	const struct __user_cap_data_struct data[2] = {
		{ (uint32_t)sets->effective, (uint32_t)sets->permitted,
		  (uint32_t)sets->inheritable },
		{ (uint32_t)(sets->effective >> 32), (uint32_t)(sets->permitted >> 32),
		  (uint32_t)(sets->inheritable >> 32) },
	};

	check(TAIL_STEP_CAPSET, 0, rt2(__NR_capset, &header, data));
}

/* The label waits for the execve; it must be written by the very task that calls it. */
static void write_label(const char *path, const char *verb, const char *label)
{
	size_t verb_len = strlen(verb), len = strlen(label);
	long fd, result;

	if (verb_len + len > sizeof(scratch))
		capsule_tail_fail(TAIL_STEP_LABEL, 0, -E2BIG);
	memcpy(scratch, verb, verb_len);
	memcpy(scratch + verb_len, label, len);
	fd = rt_open(capsule_tail.plan.base.proc_fd, path, O_RDWR);
	if (fd == -ENOENT && *verb) /* AppArmor before Linux 5.1 has no directory of its own */
		fd = rt_open(capsule_tail.plan.base.proc_fd, "thread-self/attr/exec", O_RDWR);
	check(TAIL_STEP_LABEL, 0, fd);
	/* One write: the kernel takes each as a whole label. */
	check(TAIL_STEP_LABEL, 0, rt3(__NR_write, fd, scratch, verb_len + len));
	/* Reading nothing back means that nothing waits, whatever the write said. */
	result = rt4(__NR_pread64, fd, scratch, sizeof(scratch), 0);
	if (result <= 0)
		capsule_tail_fail(TAIL_STEP_LABEL, 0, result ? result : -ENODATA);
	rt_close((int)fd);
}

static void set_label(const struct tail_plan *plan)
{
	if (plan->apparmor)
		write_label("thread-self/attr/apparmor/exec", "exec ", plan->apparmor);
	if (plan->selinux)
		write_label("thread-self/attr/exec", "", plan->selinux);
}

/* Needs CAP_SETPCAP, so it comes before the ids change. */
static void cut_bounding_set(const struct tail_plan *plan)
{
	for (uint32_t cap = 0; cap <= plan->base.last_cap; cap++) {
		if (plan->caps.bounding >> cap & 1)
			continue;
		if (rt2(__NR_prctl, PR_CAPBSET_READ, cap) == 1)
			check(TAIL_STEP_BOUNDING, cap, rt2(__NR_prctl, PR_CAPBSET_DROP, cap));
	}
}

/* Groups before gid before uid: each call needs what a later one takes away. */
static void set_ids(const struct tail_plan *plan)
{
	uint32_t uid = plan->base.uid, gid = plan->base.gid;

	/* Permitted survives the change of uid; execve clears the flag. */
	check(TAIL_STEP_KEEPCAPS, 0, rt2(__NR_prctl, PR_SET_KEEPCAPS, 1));
	if (plan->groups)
		check(TAIL_STEP_GROUPS, 0, rt2(__NR_setgroups, plan->group_count, plan->groups));
	check(TAIL_STEP_GID, gid, rt3(__NR_setresgid, gid, gid, gid));
	check(TAIL_STEP_UID, uid, rt3(__NR_setresuid, uid, uid, uid));
}

/* Start from nothing: S2 may have lent us capabilities through the ambient set. */
static void set_ambient(const struct tail_plan *plan, const struct cap_sets *sets)
{
	uint64_t ambient = plan->caps.ambient & sets->permitted & sets->inheritable;

	check(TAIL_STEP_AMBIENT, 0,
	      rt5(__NR_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
	/* That one cannot be raised (securebits) takes nothing from the container's isolation. */
	for (uint32_t cap = 0; cap <= plan->base.last_cap; cap++)
		if (ambient >> cap & 1)
			rt5(__NR_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0);
}

/*
 * The container's sets as far as we may have them; a capability that the machine does not grant was
 * reported by R's plan and is no reason to fail (runtime-spec config.md#linux-process).
 * Returns all that are permitted to us now.
 */
static uint64_t grantable_caps(const struct tail_plan *plan, struct cap_sets *sets)
{
	struct cap_sets now;

	get_caps(&now);
	sets->permitted = plan->caps.permitted & now.permitted;
	sets->effective = plan->caps.effective & sets->permitted;
	sets->inheritable = plan->caps.inheritable & (now.inheritable | now.permitted) &
			    (now.inheritable | plan->caps.bounding);
	return now.permitted;
}

/*
 * Some directories only the runtime may enter, others (NFS with root squash, FUSE) only the user:
 * early is what the first try returned.
 */
static void enter_cwd(const struct tail_plan *plan, long early)
{
	bool denied = early == -EACCES || early == -EPERM;

	if (early < 0 && !(denied && plan->base.flags & TAIL_CWD_ENTERED))
		check(TAIL_STEP_CWD, 0, rt1(__NR_chdir, plan->cwd));
	/* A directory outside our root reads "(unreachable)..." (getcwd(2), CVE-2024-21626). */
	check(TAIL_STEP_GETCWD, 0, rt2(__NR_getcwd, scratch, sizeof(scratch)));
	if (*scratch != '/')
		capsule_tail_fail(TAIL_STEP_GETCWD, 0, -ENOENT);
}

void capsule_tail_become(int first_fd, int keep_fd, uint32_t pdeathsig)
{
	const struct tail_plan *plan = &capsule_tail.plan;
	bool no_new_privs = plan->base.flags & TAIL_NO_NEW_PRIVS;
	/* Without no_new_privs only CAP_SYS_ADMIN may load a filter (seccomp(2)). */
	uint64_t extra = plan->filter && !no_new_privs ? 1ull << CAP_SYS_ADMIN : 0;
	struct cap_sets sets, with_extra;
	long early;

	rt1(__NR_umask, plan->base.umask);
	early = rt1(__NR_chdir, plan->cwd);
	set_label(plan);
	cut_bounding_set(plan);
	set_ids(plan);
	/* The kernel forgets it when ids change (prctl(2)). */
	check(TAIL_STEP_PDEATHSIG, 0, rt2(__NR_prctl, PR_SET_PDEATHSIG, pdeathsig));
	extra &= grantable_caps(plan, &sets);
	with_extra = sets;
	with_extra.permitted |= extra;
	with_extra.effective |= extra;
	set_caps(&with_extra);
	set_ambient(plan, &sets);
	enter_cwd(plan, early);
	if (no_new_privs)
		check(TAIL_STEP_NO_NEW_PRIVS, 0, rt5(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	capsule_rt_close_except(first_fd, (int[]){ keep_fd, plan->base.agent_fd }, 2);
	if (plan->filter)
		capsule_tail_seccomp();
	if (extra & ~sets.effective)
		set_caps(&sets);
}
