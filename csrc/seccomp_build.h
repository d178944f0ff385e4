/*
 * What compiling a seccomp profile needs of the system: the names of system calls, which libseccomp
 * knows, and the kernel's answer about filter flags. libseccomp is loaded only while a profile is
 * compiled: nothing here needs its headers or links it. seccomp_syscall_resolve_name(3), man 2
 * seccomp.
 */
#ifndef CAPSULE_SECCOMP_BUILD_H
#define CAPSULE_SECCOMP_BUILD_H

#include <stdint.h>

/* AUDIT_ARCH_* of the calls this program itself makes. */
uint32_t capsule_seccomp_native_arch(void);
/*
 * 1 when the kernel knows these SECCOMP_FILTER_FLAG_* together, 0 when not; -ENOSYS without
 * seccomp.
 */
int capsule_seccomp_flags_known(unsigned int flags);

struct capsule_seccomp_names {
	void *library;
	int (*resolve)(uint32_t arch, const char *name);
};

/*
 * Load libseccomp; -ELIBACC when it or its function is not there. Released by
 * capsule_seccomp_close.
 */
int capsule_seccomp_open(struct capsule_seccomp_names *names);
/* Forget it; harmless when it is not open. */
void capsule_seccomp_close(struct capsule_seccomp_names *names);
/* The path libseccomp was loaded from, "" when the linker will not say; lives until close. */
const char *capsule_seccomp_library(const struct capsule_seccomp_names *names);
/*
 * The number of a call on an architecture: -1 for a name libseccomp does not know, below for a call
 * that `arch` does not have as one of its own (-100 - n: argument n of socketcall; -200 - n: of
 * ipc).
 */
int capsule_seccomp_resolve(const struct capsule_seccomp_names *names, uint32_t arch,
			    const char *name);

#endif
