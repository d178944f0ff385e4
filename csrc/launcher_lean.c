/* See launcher_lean.h. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>

#include "launcher_lean.h"

/* A power of two, twice what a `run` needs; what does not fit is made anew each time. */
#define SLOTS 8192
#define ENTRIES (SLOTS / 4 * 3)

/* Entries lie densely and slots are small: a sparse table would touch a page for each string. */
static struct {
	uint64_t key;
	PyObject *string;
} entries[ENTRIES];
static uint16_t slots[SLOTS]; /* number of the entry, from 1; 0 = free */
static unsigned int used;

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
	PyObject *string;

	if (!key)
		return Py_NewRef(Py_None);
	for (; slots[slot]; slot = (slot + 1) % SLOTS)
		if (entries[slots[slot] - 1].key == key)
			return Py_NewRef(entries[slots[slot] - 1].string);
	string = make(text, size, intern);
	if (!string || used == ENTRIES)
		return string;
	entries[used].key = key;
	entries[used].string = Py_NewRef(string);
	slots[slot] = (uint16_t)++used;
	return string;
}

int capsule_has_name(PyObject *module, PyObject *name)
{
	PyObject *names = PyModule_Check(module) ? PyModule_GetDict(module) : NULL;

	return names && PyDict_GetItemWithError(names, name);
}
