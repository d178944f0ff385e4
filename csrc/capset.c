/* Capability sets; see capset.h. */
#define _GNU_SOURCE
#include "capset.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int capsule_capset_last_cap(void)
{
	int low = CAP_CHOWN, high = 63;

	/* PR_CAPBSET_READ is EINVAL above the last capability and needs no privilege. */
	while (low < high) {
		int middle = (low + high + 1) / 2;

		if (prctl(PR_CAPBSET_READ, middle, 0, 0, 0) >= 0)
			low = middle;
		else
			high = middle - 1;
	}
	return low;
}

int capsule_capset_get(struct capsule_capset *sets)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &header, data) < 0)
		return -errno;
	sets->effective = data[0].effective | (uint64_t)data[1].effective << 32;
	sets->permitted = data[0].permitted | (uint64_t)data[1].permitted << 32;
	sets->inheritable = data[0].inheritable | (uint64_t)data[1].inheritable << 32;
	return 0;
}

int capsule_capset_set(const struct capsule_capset *sets)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {
		{ (uint32_t)sets->effective, (uint32_t)sets->permitted,
		  (uint32_t)sets->inheritable },
		{ sets->effective >> 32, sets->permitted >> 32, sets->inheritable >> 32 },
	};

	return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

int capsule_capset_bounding(uint64_t *mask)
{
	int last = capsule_capset_last_cap();

	*mask = 0;
	for (int cap = 0; cap <= last; cap++) {
		int held = prctl(PR_CAPBSET_READ, cap, 0, 0, 0);

		if (held < 0)
			return -errno;
		*mask |= (uint64_t)held << cap;
	}
	return 0;
}

int capsule_capset_bounding_drop(uint64_t keep)
{
	uint64_t held;
	int ret = capsule_capset_bounding(&held);

	if (ret < 0)
		return ret;
	for (uint64_t gone = held & ~keep; gone; gone &= gone - 1) {
		if (prctl(PR_CAPBSET_DROP, __builtin_ctzll(gone), 0, 0, 0) < 0)
			return -errno;
	}
	return 0;
}

int capsule_capset_ambient(uint64_t *mask)
{
	int last = capsule_capset_last_cap();

	*mask = 0;
	for (int cap = 0; cap <= last; cap++) {
		int held = prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, cap, 0, 0);

		if (held < 0)
			return -errno;
		*mask |= (uint64_t)held << cap;
	}
	return 0;
}

int capsule_capset_ambient_clear(void)
{
	return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 ? -errno : 0;
}

int capsule_capset_ambient_raise(uint64_t mask, uint64_t *failed)
{
	*failed = 0;
	for (uint64_t left = mask; left; left &= left - 1) {
		int cap = __builtin_ctzll(left);

		if (!prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0))
			continue;
		/* EPERM: not permitted or not inheritable; EINVAL: newer than the kernel. */
		if (errno != EPERM && errno != EINVAL)
			return -errno;
		*failed |= UINT64_C(1) << cap;
	}
	return 0;
}
