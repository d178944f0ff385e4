/*
 * Names that the interpreter makes while it starts.
 *
 * Every type is given wrappers for the special methods that it has, so "__lt__" is decoded, hashed
 * and thrown away sixty times; and a class of ours names its members by text that lies in a str
 * already. The linker sends calls of the functions below (--wrap) here first; what they return does
 * not differ.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <string.h>

#include "launcher_lean.h"

/* A power of two; a quarter is used. */
#define SLOTS 512
#define FULL (SLOTS / 2)

/* Bounds of the section that CAPSULE_STRING fills. */
extern const char __start_capsule_strings[], __stop_capsule_strings[];

PyObject *__real_PyUnicode_InternFromString(const char *text);
PyObject *__wrap_PyUnicode_InternFromString(const char *text);
int __real_PyObject_SetAttrString(PyObject *object, const char *name, PyObject *value);
int __wrap_PyObject_SetAttrString(PyObject *object, const char *name, PyObject *value);

static PyObject *special[SLOTS];
static unsigned int used;

/* Return a new reference to the interned form of the str whose text this is, NULL if it is none. */
static PyObject *intern_static(const char *text)
{
	PyObject *string = (PyObject *)(text - sizeof(PyASCIIObject));

	if (text < __start_capsule_strings + sizeof(PyASCIIObject) ||
	    text >= __stop_capsule_strings || (uintptr_t)text % sizeof(void *) ||
	    !Py_IS_TYPE(string, &PyUnicode_Type))
		return NULL;
	Py_INCREF(string);
	PyUnicode_InternInPlace(&string);
	return string;
}

static PyObject **find(const char *text)
{
	size_t slot = 5381;

	for (const char *at = text + 2; *at; at++)
		slot = slot * 33 + (unsigned char)*at;
	for (slot %= SLOTS; special[slot]; slot = (slot + 1) % SLOTS)
		if (strcmp(PyUnicode_DATA(special[slot]), text) == 0)
			break;
	return &special[slot];
}

PyObject *__wrap_PyUnicode_InternFromString(const char *text)
{
	PyObject **known, *string = intern_static(text);

	if (string)
		return string;
	if (text[0] != '_' || text[1] != '_')
		return __real_PyUnicode_InternFromString(text);
	known = find(text);
	if (*known)
		return Py_NewRef(*known);
	string = __real_PyUnicode_InternFromString(text);
	if (string && used < FULL && PyUnicode_IS_ASCII(string)) {
		*known = Py_NewRef(string);
		used++;
	}
	return string;
}

/* The namespace of a module is its attributes but for those with underscores. */
int __wrap_PyObject_SetAttrString(PyObject *object, const char *name, PyObject *value)
{
	PyObject *key;
	int ret;

	if (!value || !PyModule_CheckExact(object) || name[0] == '_')
		return __real_PyObject_SetAttrString(object, name, value);
	key = PyUnicode_InternFromString(name);
	ret = key ? PyDict_SetItem(PyModule_GetDict(object), key, value) : -1;
	Py_XDECREF(key);
	return ret;
}
