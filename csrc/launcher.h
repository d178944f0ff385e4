/* What the generated half of the launcher (build/launcher/modules.c) hands to launcher.c. */
#ifndef CAPSULE_LAUNCHER_H
#define CAPSULE_LAUNCHER_H

#include <Python.h>

struct capsule_module {
	const char *name; /* dotted; the table is sorted by it */
	PyObject *(*init)(void);
	int is_package;
};

extern const struct capsule_module capsule_modules[];
extern const size_t capsule_module_count;

/* What the linked modules name of the module posix; sorted. */
extern const char *const capsule_posix_names[];
extern const size_t capsule_posix_name_count;

/* The module whose main(argv: list[bytes]) -> int is the program. */
extern const char capsule_entry[];

extern const char capsule_version[];
extern const char capsule_commit[];
/* How this executable was linked: static-frozen, static or shared. */
extern const char capsule_variant[];
/* The Python it was built with, and the directory that holds the package ("" = site finds it). */
extern const char capsule_python[];
extern const char capsule_library[];

/* Tell whether a module is in the table. */
int capsule_is_linked(PyObject *name);

/* Import one module by its absolute name, from the table or built in; a new reference. */
PyObject *capsule_load(PyObject *name);

/* Choose the memory of the interpreter, which must not have started yet. */
void capsule_memory_prepare(void);
void capsule_data_move(void);

#endif
