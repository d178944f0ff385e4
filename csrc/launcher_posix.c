/*
 * The built-in module posix without the functions and numbers that no linked module names: of 480
 * it makes 100. The linker sends the calls of its initialiser (--wrap) here first.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdlib.h>
#include <string.h>

#include "launcher.h"

PyObject *__real_PyInit_posix(void);
PyObject *__wrap_PyInit_posix(void);
int __real_PyModule_AddIntConstant(PyObject *module, const char *name, long value);
int __wrap_PyModule_AddIntConstant(PyObject *module, const char *name, long value);

static PyModuleDef *definition;

static int compare_name(const void *key, const void *entry)
{
	return strcmp(key, *(const char *const *)entry);
}

static int is_named(const char *name)
{
	return bsearch(name, capsule_posix_names, capsule_posix_name_count,
		       sizeof(capsule_posix_names[0]), compare_name) != NULL;
}

PyObject *__wrap_PyInit_posix(void)
{
	PyObject *object = __real_PyInit_posix();
	PyMethodDef *kept, *next;

	if (!object || !PyObject_TypeCheck(object, &PyModuleDef_Type) || definition)
		return object;
	definition = (PyModuleDef *)object;
	kept = definition->m_methods;
	for (next = kept; next && next->ml_name; next++)
		if (is_named(next->ml_name))
			*kept++ = *next;
	if (next)
		*kept = *next;
	return object;
}

int __wrap_PyModule_AddIntConstant(PyObject *module, const char *name, long value)
{
	if (definition && PyModule_GetDef(module) == definition && !is_named(name))
		return 0;
	return __real_PyModule_AddIntConstant(module, name, value);
}
