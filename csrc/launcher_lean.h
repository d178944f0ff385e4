/*
 * What the modules of the launcher call instead of their own code: build_support/lean.py makes
 * them.
 */
#ifndef CAPSULE_LAUNCHER_LEAN_H
#define CAPSULE_LAUNCHER_LEAN_H

#include <Python.h>

/*
 * Return a new reference to the string whose 64-bit name is `key` (of text, size and intern), made
 * on first use. Key 0 stands for a string that its module never uses: None.
 */
PyObject *capsule_string(unsigned long long key, const char *text, Py_ssize_t size, int intern);

/*
 * Tell whether a module has a name of its own. PyObject_HasAttr formats an AttributeError for every
 * module not yet loaded.
 */
int capsule_has_name(PyObject *module, PyObject *name);

/* Return the new class metaclass(name, bases, namespace, **keywords); keywords may be NULL. */
PyObject *capsule_make_class(PyObject *metaclass, PyObject *name, PyObject *bases,
			     PyObject *namespace, PyObject *keywords);

#endif
