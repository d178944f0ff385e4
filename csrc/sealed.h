/* Descriptors whose content nobody can change any more (memfd_create(2), fcntl(2) F_ADD_SEALS). */
#ifndef CAPSULE_SEALED_H
#define CAPSULE_SEALED_H

#include <stddef.h>

/* A sealed, close-on-exec memfd holding `data`. -errno on failure. */
int capsule_sealed_data(const char *name, const void *data, size_t size);
/*
 * The same for a program image, mode 0111: a process without CAP_DAC_OVERRIDE that executes it
 * starts non-dumpable, because it may not read it. Where vm.memfd_noexec = 2 forbids executable
 * memfds, an unlinked file of `fallback_dir` that nobody has open for writing.
 */
int capsule_sealed_program(const char *name, const void *image, size_t size,
			   const char *fallback_dir);

#endif
