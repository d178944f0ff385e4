/* See launcher_lean.h. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "launcher_lean.h"

/* A power of two, twice what a `run` needs; what does not fit is made anew each time. */
#define SLOTS 8192
#define FULL  (SLOTS / 4 * 3)

static struct {
	unsigned long long key;
	PyObject *string;
} slots[SLOTS];
static int used;

static PyObject *make(const char *text, Py_ssize_t size, int intern)
{
	PyObject *string = PyUnicode_DecodeUTF8(text, size, NULL);

	if (string && intern)
		PyUnicode_InternInPlace(&string);
	return string;
}

PyObject *capsule_string(unsigned long long key, const char *text, Py_ssize_t size, int intern)
{
	size_t slot = key % SLOTS;

	if (!key)
		return Py_NewRef(Py_None);
	while (slots[slot].key && slots[slot].key != key)
		slot = (slot + 1) % SLOTS;
	if (!slots[slot].key) {
		PyObject *string = make(text, size, intern);

		if (!string || used >= FULL)
			return string;
		used++;
		slots[slot].key = key;
		slots[slot].string = string;
	}
	return Py_NewRef(slots[slot].string);
}

int capsule_has_name(PyObject *module, PyObject *name)
{
	PyObject *names = PyModule_Check(module) ? PyModule_GetDict(module) : NULL;

	return names && PyDict_GetItemWithError(names, name);
}
