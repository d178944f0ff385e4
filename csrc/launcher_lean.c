/* See launcher_lean.h. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <string.h>

#include "launcher.h"
#include "launcher_lean.h"

/* What is not loaded yet is loaded under the eyes of the audit hook, as any import is. */
static PyObject *load_audited(PyObject *name)
{
	PyObject *module = PyDict_GetItemWithError(PyImport_GetModuleDict(), name);

	if (module)
		return Py_NewRef(module);
	if (PyErr_Occurred() || PySys_Audit("import", "O", name) < 0)
		return NULL;
	return capsule_load(name);
}

/* Load package.name if that is a module; a name that is neither is missed by capsule_import_from().
 */
static int load_submodule(PyObject *package, PyObject *name)
{
	PyObject *full = PyUnicode_FromFormat("%U.%U", package, name), *module = NULL;
	int ret = full ? 0 : -1;

	if (full && capsule_is_linked(full)) {
		module = load_audited(full);
		ret = module ? 0 : -1;
	}
	Py_XDECREF(module);
	Py_XDECREF(full);
	return ret;
}

static PyObject *top_of(PyObject *name, PyObject *module)
{
	Py_ssize_t dot = PyUnicode_FindChar(name, '.', 0, PyUnicode_GET_LENGTH(name), 1);
	PyObject *top, *found = NULL;

	if (dot < 0)
		return module;
	top = PyUnicode_Substring(name, 0, dot);
	if (top)
		found = load_audited(top);
	Py_XDECREF(top);
	Py_DECREF(module);
	return found;
}

PyObject *capsule_import(PyObject *name, PyObject *const *names, Py_ssize_t count)
{
	PyObject *module = load_audited(name), *known;

	if (!module || count == 0)
		return module ? top_of(name, module) : NULL;
	known = PyModule_GetDict(module);
	for (Py_ssize_t i = 0; i < count; i++) {
		if (PyDict_GetItemWithError(known, names[i]))
			continue;
		if (PyErr_Occurred() || load_submodule(name, names[i]) < 0) {
			Py_DECREF(module);
			return NULL;
		}
	}
	return module;
}

PyObject *capsule_import_from(PyObject *module, PyObject *name)
{
	PyObject *value = PyDict_GetItemWithError(PyModule_GetDict(module), name), *full;

	if (value)
		return Py_NewRef(value);
	if (PyErr_Occurred())
		return NULL;
	/* In a circle of imports a module is known before its package has it as an attribute. */
	full = PyUnicode_FromFormat("%s.%U", PyModule_GetName(module), name);
	value = full ? PyDict_GetItemWithError(PyImport_GetModuleDict(), full) : NULL;
	Py_XDECREF(full);
	if (value)
		return Py_NewRef(value);
	if (!PyErr_Occurred())
		PyErr_Format(PyExc_ImportError, "cannot import name %R", name);
	return NULL;
}

PyObject *capsule_module_ref(const char *name)
{
	static struct {
		const char *name;
		PyObject *module;
	} known[2];
	size_t i = 0;

	while (i < Py_ARRAY_LENGTH(known) && known[i].name && strcmp(known[i].name, name) != 0)
		i++;
	if (i == Py_ARRAY_LENGTH(known))
		return Py_XNewRef(PyImport_AddModule(name));
	if (!known[i].module) {
		known[i].module = Py_XNewRef(PyImport_AddModule(name));
		known[i].name = known[i].module ? name : NULL;
	}
	return Py_XNewRef(known[i].module);
}

PyTypeObject *capsule_common_type(PyTypeObject *(*fetch)(PyTypeObject *metaclass, PyObject *module,
							 PyType_Spec *spec, PyObject *bases),
				  PyTypeObject *metaclass, PyObject *module, PyType_Spec *spec,
				  PyObject *bases)
{
	static struct {
		const char *name;
		PyTypeObject *type;
	} known[8];
	size_t i = 0;
	PyTypeObject *type;

	while (i < Py_ARRAY_LENGTH(known) && known[i].name &&
	       strcmp(known[i].name, spec->name) != 0)
		i++;
	if (i < Py_ARRAY_LENGTH(known) && known[i].name)
		return (PyTypeObject *)Py_NewRef(known[i].type);
	type = fetch(metaclass, module, spec, bases);
	if (type && i < Py_ARRAY_LENGTH(known)) {
		known[i].name = spec->name;
		known[i].type = (PyTypeObject *)Py_NewRef(type);
	}
	return type;
}
