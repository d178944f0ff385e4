/*
 * What the modules of the launcher call instead of their own code: build_support/lean.py makes
 * them.
 */
#ifndef CAPSULE_LAUNCHER_LEAN_H
#define CAPSULE_LAUNCHER_LEAN_H

#include <Python.h>

/*
 * CAPSULE_STRING(key, size, text): a str that the linker lays out, and a pointer to it for code
 * that wants to point at pointers. Declared by each module that names it, defined once in a
 * generated file. The hash is computed on first use, as it differs with each start. Nothing takes
 * the references back that such a string is born with.
 */
#ifdef CAPSULE_DEFINE_STRINGS

#if PY_VERSION_HEX >= 0x030c0000
#define CAPSULE_STRING_REFERENCES _Py_IMMORTAL_REFCNT
#define CAPSULE_STRING_STATE .state = { .kind = PyUnicode_1BYTE_KIND, .compact = 1, .ascii = 1 }
#else
#define CAPSULE_STRING_REFERENCES ((Py_ssize_t)1 << 30)
#define CAPSULE_STRING_STATE \
	.state = { .kind = PyUnicode_1BYTE_KIND, .compact = 1, .ascii = 1, .ready = 1 }
#endif

/* The compiler would align each as it does arrays, to twice as much memory as they need. */
#define CAPSULE_STRING(key, size, text_)                                              \
	struct {                                                                      \
		PyASCIIObject head;                                                   \
		char text[size + 1];                                                  \
	} capsule_s_##key __attribute__((aligned(8), section("capsule_strings"))) = { \
		.head = { .ob_base = { .ob_refcnt = CAPSULE_STRING_REFERENCES,        \
				       .ob_type = &PyUnicode_Type },                  \
			  .length = size,                                             \
			  .hash = -1,                                                 \
			  CAPSULE_STRING_STATE },                                     \
		.text = text_,                                                        \
	};                                                                            \
	PyObject *const capsule_p_##key = (PyObject *)&capsule_s_##key;

#else

#define CAPSULE_STRING(key, size, text)       \
	extern PyASCIIObject capsule_s_##key; \
	extern PyObject *const capsule_p_##key;

#endif

/* Return the hash of a str, which an ordinary module has computed when it was loaded. */
static inline Py_hash_t capsule_hash(PyObject *string)
{
	Py_hash_t hash = ((PyASCIIObject *)string)->hash;

	return hash != -1 ? hash : PyObject_Hash(string);
}

/*
 * `import name` (count 0: the top of a dotted name) or `from name import names`: a new reference to
 * the module, its submodules among `names` loaded. Absolute names only.
 */
PyObject *capsule_import(PyObject *name, PyObject *const *names, Py_ssize_t count);

/* Return a new reference to what a module has under a name, or set ImportError. */
PyObject *capsule_import_from(PyObject *module, PyObject *name);

/* Return a new reference to a module that is made empty where it is missing. `name` is a literal. */
PyObject *capsule_module_ref(const char *name);

/*
 * Return a new reference to the type that Cython's modules share by the name of its spec; `fetch`
 * finds or makes it for the first of them.
 */
PyTypeObject *capsule_common_type(PyTypeObject *(*fetch)(PyTypeObject *metaclass, PyObject *module,
							 PyType_Spec *spec, PyObject *bases),
				  PyTypeObject *metaclass, PyObject *module, PyType_Spec *spec,
				  PyObject *bases);

/* Return the new class metaclass(name, bases, namespace, **keywords); keywords may be NULL. */
PyObject *capsule_make_class(PyObject *metaclass, PyObject *name, PyObject *bases,
			     PyObject *namespace, PyObject *keywords);

#endif
