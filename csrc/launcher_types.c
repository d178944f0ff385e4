/*
 * See capsule_make_class() in launcher_lean.h.
 *
 * type() looks every special method of the language up in all bases of a new class: 55 000
 * instructions for each of the seventy classes of a `run`. A class that says with __slots__ what it
 * holds, and has no special methods but __init__ and __str__, is made from a PyType_Spec instead.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include <string.h>

#include "launcher_lean.h"

#define MEMBERS_MAX 48
#define FULL_NAME_MAX 128

/* What type() puts into the slots of a class with __init__ and __str__; not exported by Python. */
static PyTypeObject *model;
/* Names that are looked up in every namespace. */
static PyObject *module_name, *qualified_name, *slots_name, *init_name, *str_name;

static int make_model(void)
{
	module_name = PyUnicode_InternFromString("__module__");
	qualified_name = PyUnicode_InternFromString("__qualname__");
	slots_name = PyUnicode_InternFromString("__slots__");
	init_name = PyUnicode_InternFromString("__init__");
	str_name = PyUnicode_InternFromString("__str__");
	if (!module_name || !qualified_name || !slots_name || !init_name || !str_name)
		return -1;
	PyObject *names = Py_BuildValue("{s(),sO,sO}", "__slots__", "__init__", Py_None, "__str__",
					Py_None);

	if (names)
		model = (PyTypeObject *)PyObject_CallFunction((PyObject *)&PyType_Type, "s()O",
							      "model", names);
	Py_XDECREF(names);
	return model ? 0 : -1;
}

static int is_special(const char *name)
{
	return name[0] == '_' && name[1] == '_';
}

/* Tell whether type() would do no more with this namespace than what is done here. */
static int is_plain(PyObject *name, PyObject *namespace)
{
	static const char *const known[] = {
		"__module__", "__qualname__", "__doc__",   "__slots__",
		"__init__",   "__str__",      "__enter__", "__exit__"
	};
	PyObject *key, *value, *qualified = PyDict_GetItem(namespace, qualified_name);
	Py_ssize_t position = 0;

	if (!qualified || !PyUnicode_Check(qualified) || PyUnicode_Compare(qualified, name) != 0)
		return 0;
	while (PyDict_Next(namespace, &position, &key, &value)) {
		const char *text = PyUnicode_Check(key) ? PyUnicode_AsUTF8(key) : NULL;
		size_t i = 0;

		if (!text)
			return 0;
		if (!is_special(text))
			continue;
		while (i < Py_ARRAY_LENGTH(known) && strcmp(text, known[i]) != 0)
			i++;
		if (i == Py_ARRAY_LENGTH(known))
			return 0;
	}
	return 1;
}

/* Write the members that __slots__ names behind what the base has; return their number, -1 if not
 * plain. */
static Py_ssize_t fill_members(PyMemberDef *members, PyObject *slots, PyTypeObject *base)
{
	Py_ssize_t count;

	members[0] = (PyMemberDef){ .name = NULL };
	if (!slots) /* instances have a __dict__: here only one that the base has made */
		return base->tp_dictoffset ? 0 : -1;
	if (!PyTuple_CheckExact(slots) || PyTuple_GET_SIZE(slots) > MEMBERS_MAX)
		return -1;
	count = PyTuple_GET_SIZE(slots);
	for (Py_ssize_t i = 0; i < count; i++) {
		PyObject *name = PyTuple_GET_ITEM(slots, i);
		const char *text = PyUnicode_Check(name) ? PyUnicode_AsUTF8(name) : NULL;

		if (!text || is_special(text))
			return -1;
		members[i] = (PyMemberDef){ .name = text, .type = T_OBJECT_EX };
		members[i].offset = base->tp_basicsize + i * (Py_ssize_t)sizeof(PyObject *);
	}
	members[count] = (PyMemberDef){ .name = NULL };
	return count;
}

static PyTypeObject *only_base(PyObject *bases)
{
	PyTypeObject *base = &PyBaseObject_Type;

	if (PyTuple_GET_SIZE(bases) > 1)
		return NULL;
	if (PyTuple_GET_SIZE(bases) == 1)
		base = (PyTypeObject *)PyTuple_GET_ITEM(bases, 0);
	/* A negative offset is a __dict__ in front of the object, which the type of the object must
	 * know. */
	if (!Py_IS_TYPE(base, &PyType_Type) || base->tp_itemsize || base->tp_dictoffset < 0 ||
	    (base != &PyBaseObject_Type && !PyType_IS_GC(base)))
		return NULL;
	return base;
}

static int enter_names(PyTypeObject *class, PyObject *namespace)
{
	PyObject *key, *value;
	Py_ssize_t position = 0;

	while (PyDict_Next(namespace, &position, &key, &value))
		if (PyUnicode_Compare(key, qualified_name) != 0 &&
		    PyDict_SetItem(class->tp_dict, key, value) < 0)
			return -1;
	if (PyDict_GetItem(namespace, init_name))
		class->tp_init = model->tp_init;
	if (PyDict_GetItem(namespace, str_name))
		class->tp_str = model->tp_str;
	PyType_Modified(class);
	return 0;
}

static PyObject *make_plain(PyObject *name, PyTypeObject *base, PyObject *namespace,
			    PyMemberDef *members, Py_ssize_t count)
{
	PyObject *module = PyDict_GetItem(namespace, module_name), *bases, *class;
	char full_name[FULL_NAME_MAX];
	PyType_Slot slots[] = {
		{ Py_tp_traverse, (void *)model->tp_traverse },
		{ Py_tp_clear, (void *)model->tp_clear },
		{ Py_tp_members, members },
		{ 0, NULL },
	};
	PyType_Spec spec = {
		.name = full_name,
		.basicsize = (int)(base->tp_basicsize + count * (Py_ssize_t)sizeof(PyObject *)),
		.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
		.slots = slots,
	};

	PyOS_snprintf(full_name, sizeof(full_name), "%s.%s", PyUnicode_AsUTF8(module),
		      PyUnicode_AsUTF8(name));
	bases = PyTuple_Pack(1, base);
	class = bases ? PyType_FromSpecWithBases(&spec, bases) : NULL;
	Py_XDECREF(bases);
	if (!class)
		return NULL;
	/* As type() has it: messages say SpecError, not capsule.errors.SpecError. */
	((PyTypeObject *)class)->tp_name = PyUnicode_AsUTF8(((PyHeapTypeObject *)class)->ht_name);
	if (enter_names((PyTypeObject *)class, namespace) < 0)
		Py_CLEAR(class);
	return class;
}

static int fits(PyObject *name, PyObject *namespace)
{
	PyObject *module = PyDict_GetItem(namespace, module_name);

	return module && PyUnicode_Check(module) && PyUnicode_AsUTF8(module) &&
	       PyUnicode_AsUTF8(name) &&
	       strlen(PyUnicode_AsUTF8(module)) + strlen(PyUnicode_AsUTF8(name)) + 2 <=
		       FULL_NAME_MAX;
}

PyObject *capsule_make_class(PyObject *metaclass, PyObject *name, PyObject *bases,
			     PyObject *namespace, PyObject *keywords)
{
	PyMemberDef members[MEMBERS_MAX + 1];
	PyTypeObject *base = only_base(bases);
	PyObject *arguments, *class;
	Py_ssize_t count = -1;

	if (!model && make_model() < 0)
		return NULL;
	if (metaclass == (PyObject *)&PyType_Type && !keywords && base &&
	    PyDict_CheckExact(namespace) && is_plain(name, namespace) && fits(name, namespace))
		count = fill_members(members, PyDict_GetItem(namespace, slots_name), base);
	if (count >= 0)
		return make_plain(name, base, namespace, members, count);
	PyErr_Clear();
	arguments = PyTuple_Pack(3, name, bases, namespace);
	class = arguments ? PyObject_Call(metaclass, arguments, keywords) : NULL;
	Py_XDECREF(arguments);
	return class;
}
