/*
 * The seal: from capsule_seal() on, this interpreter imports, compiles and opens nothing.
 *
 * S2 runs Python inside the container's namespaces, where every path leads into the image. An audit
 * hook (PEP 578), installed before anything else runs, costs one load and one branch until the flag
 * is raised; afterwards it ends the process on any event that could load or run foreign code.
 */
#ifndef CAPSULE_SEAL_H
#define CAPSULE_SEAL_H

/* Exit status of a sealed process that tried what the seal refuses: EX_SOFTWARE of sysexits.h. */
#define CAPSULE_SEAL_STATUS 70

/*
 * Called with the name of the refused event before the process ends: the owner of the process tells
 * its parent. May be NULL. Must not call Python.
 */
extern void (*capsule_seal_report)(const char *event);

/* Install the hook, once; before Py_Initialize where possible. Returns 0, or -1 (a Python error is
 * set). */
int capsule_seal_install(void);

/* Empty the import machinery and raise the flag. Returns 0, or -1 (a Python error is set). Needs
 * the GIL. */
int capsule_seal(void);

/* Tell whether the flag is up. */
int capsule_is_sealed(void);

#endif
