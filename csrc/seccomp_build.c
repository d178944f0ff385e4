/* Names of system calls and flags of filters; see seccomp_build.h. */
#define _GNU_SOURCE
#include "seccomp_build.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

uint32_t capsule_seccomp_native_arch(void)
{
#if defined(__x86_64__) && !defined(__ILP32__)
	return AUDIT_ARCH_X86_64;
#elif defined(__aarch64__) && !defined(__ILP32__) && !defined(__AARCH64EB__)
	return AUDIT_ARCH_AARCH64;
#else
#error "no seccomp architecture for this machine"
#endif
}

int capsule_seccomp_flags_known(unsigned int flags)
{
	/*
	 * The kernel looks at the flags before it reads the program, of which there is none:
	 * EFAULT.
	 */
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, NULL) == 0)
		return -EPROTO;
	if (errno == EFAULT)
		return 1;
	return errno == EINVAL ? 0 : -errno;
}

int capsule_seccomp_open(struct capsule_seccomp_names *names)
{
	names->resolve = NULL;
	names->library = dlopen("libseccomp.so.2", RTLD_NOW | RTLD_LOCAL);
	if (!names->library)
		return -ELIBACC;
	*(void **)&names->resolve = dlsym(names->library, "seccomp_syscall_resolve_name_arch");
	if (!names->resolve) {
		capsule_seccomp_close(names);
		return -ELIBACC;
	}
	return 0;
}

void capsule_seccomp_close(struct capsule_seccomp_names *names)
{
	if (names->library)
		dlclose(names->library);
	names->library = NULL;
	names->resolve = NULL;
}

const char *capsule_seccomp_library(const struct capsule_seccomp_names *names)
{
	struct link_map *map;

	return dlinfo(names->library, RTLD_DI_LINKMAP, &map) ? "" : map->l_name;
}

int capsule_seccomp_resolve(const struct capsule_seccomp_names *names, uint32_t arch,
			    const char *name)
{
	return names->resolve(arch, name);
}
