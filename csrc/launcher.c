/*
 * The launcher: main(), a core-only interpreter, and an importer for the modules linked into it.
 *
 * The interpreter stops after the core phase of its start (PEP 587, _init_main = 0): no codecs, no
 * site, no path, no sys.stdout, no signal handlers. It imports from a table that the build
 * generates and from the built-in modules, nothing else: there is no path finder that a file could
 * reach.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launcher.h"
#include "launcher_lean.h"
#include "seal.h"

#define STATUS_FAILED 1

static void print(const char *text)
{
	ssize_t ignored = write(STDERR_FILENO, text, strlen(text));

	(void)ignored;
}

static _Noreturn void die(const char *text)
{
	print("capsule: ");
	print(text);
	print("\n");
	_exit(STATUS_FAILED);
}

/*
 * With a setuid or setgid bit we would do, with the owner's rights, what the caller's words, files and environment say.
 * The kernel has put the ids on the stack: no system call.
 */
static void refuse_borrowed_rights(void)
{
	if (getauxval(AT_UID) != getauxval(AT_EUID) || getauxval(AT_GID) != getauxval(AT_EGID))
		die("this program must not have a setuid or setgid bit (chmod ug-s)");
}

/* A closed stdio number would be given to the next file opened, and written to by mistake. */
static void fill_stdio(void)
{
	for (int fd = 0; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
			_exit(STATUS_FAILED);
}

/* -- imports ------------------------------------------------------------------------------------
 */

static int compare_name(const void *key, const void *entry)
{
	return strcmp(key, ((const struct capsule_module *)entry)->name);
}

static const struct capsule_module *find_module(const char *name)
{
	return bsearch(name, capsule_modules, capsule_module_count, sizeof(capsule_modules[0]),
		       compare_name);
}

static int is_built_in(const char *name)
{
	for (const struct _inittab *entry = PyImport_Inittab; entry->name; entry++)
		if (strcmp(entry->name, name) == 0)
			return 1;
	return 0;
}

/* The least object that the creation of a built-in module accepts as a spec: a namespace with a
 * name. */
static PyObject *make_spec(PyObject *name)
{
	PyObject *example = PySys_GetObject("implementation"), *spec = NULL;
	PyObject *nothing = PyTuple_New(0), *attributes;

	attributes = Py_BuildValue("{sO}", "name", name);
	if (example && nothing && attributes)
		spec = PyObject_Call((PyObject *)Py_TYPE(example), nothing, attributes);
	else if (!example)
		PyErr_SetString(PyExc_RuntimeError, "sys.implementation is missing");
	Py_XDECREF(nothing);
	Py_XDECREF(attributes);
	return spec;
}

static PyObject *call_imp(const char *function, PyObject *argument)
{
	PyObject *imp = PyImport_AddModule("_imp");

	return imp ? PyObject_CallMethod(imp, function, "O", argument) : NULL;
}

static PyObject *load_built_in(PyObject *name)
{
	PyObject *spec = make_spec(name), *module, *done;

	module = spec ? call_imp("create_builtin", spec) : NULL;
	Py_XDECREF(spec);
	if (!module)
		return NULL;
	if (PyObject_SetItem(PyImport_GetModuleDict(), name, module) < 0)
		goto fail;
	done = call_imp("exec_builtin", module);
	if (!done)
		goto fail;
	Py_DECREF(done);
	return module;
fail:
	Py_DECREF(module);
	return NULL;
}

/* Load the package that a module lies in; *parent is a new reference, or NULL at top level. */
static int load_parent(const char *name, PyObject **parent)
{
	const char *dot = strrchr(name, '.');
	PyObject *parent_name;

	*parent = NULL;
	if (!dot)
		return 0;
	parent_name = PyUnicode_FromStringAndSize(name, dot - name);
	if (parent_name)
		*parent = capsule_load(parent_name);
	Py_XDECREF(parent_name);
	return *parent ? 0 : -1;
}

/* A package without __path__ would not be asked for submodules by `from package import module`. */
static int mark_package(PyObject *module)
{
	PyObject *path = PyList_New(0);
	int ret = path ? PyDict_SetItemString(PyModule_GetDict(module), "__path__", path) : -1;

	Py_XDECREF(path);
	return ret;
}

/* Without them in its globals no frame can be made for a traceback. */
static int give_builtins(PyObject *module)
{
	static PyObject *name;

	if (!name)
		name = PyUnicode_InternFromString("__builtins__");
	return name ? PyDict_SetItem(PyModule_GetDict(module), name, PyEval_GetBuiltins()) : -1;
}

/* Run what a definition wants to be run. Its methods are the importer's to add as well. */
static int fill(PyObject *module, PyModuleDef *definition)
{
	if (definition->m_methods && PyModule_AddFunctions(module, definition->m_methods) < 0)
		return -1;
	for (PyModuleDef_Slot *slot = definition->m_slots; slot && slot->slot; slot++)
		if (slot->slot == Py_mod_exec && ((int (*)(PyObject *))slot->value)(module) < 0)
			return -1;
	return 0;
}

static int execute(PyObject *module, PyObject *name, PyModuleDef *definition)
{
	PyObject *modules = PyImport_GetModuleDict(), *type, *value, *traceback;

	if (PyObject_SetItem(modules, name, module) < 0)
		return -1;
	if (fill(module, definition) == 0)
		return 0;
	PyErr_Fetch(&type, &value, &traceback);
	if (PyObject_DelItem(modules, name) < 0)
		PyErr_Clear();
	PyErr_Restore(type, value, traceback);
	return -1;
}

/*
 * Create a module of the table, enter it into sys.modules and run it. Its creation slot would read
 * a spec only to find the name there; none of our modules has state of its own.
 */
static PyObject *create_module(const struct capsule_module *entry, PyObject *name)
{
	PyObject *definition = entry->init(), *module;

	if (!definition || !PyObject_TypeCheck(definition, &PyModuleDef_Type))
		return definition; /* an error, or single-phase: created and run already */
	if (((PyModuleDef *)definition)->m_size > 0)
		return PyErr_Format(PyExc_SystemError, "%R has state of its own", name);
	module = PyModule_NewObject(name);
	if (!module)
		return NULL;
	if (give_builtins(module) < 0 || (entry->is_package && mark_package(module) < 0) ||
	    execute(module, name, (PyModuleDef *)definition) < 0)
		Py_CLEAR(module);
	return module;
}

static PyObject *load_own(const struct capsule_module *entry, PyObject *name)
{
	PyObject *parent, *module;

	if (load_parent(entry->name, &parent) < 0)
		return NULL;
	/* A package that imports this very module has just loaded it. */
	module = PyDict_GetItemWithError(PyImport_GetModuleDict(), name);
	if (module || PyErr_Occurred()) {
		Py_XDECREF(parent);
		return Py_XNewRef(module);
	}
	module = create_module(entry, name);
	if (module && parent &&
	    PyObject_SetAttrString(parent, strrchr(entry->name, '.') + 1, module) < 0)
		Py_CLEAR(module);
	Py_XDECREF(parent);
	return module;
}

#ifdef CAPSULE_TRACE_IMPORTS /* build/capsule-imports: what each module costs, without those it    \
				imports */
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>

struct cost {
	long ns;
	long faults;
};

static struct cost now(void)
{
	struct timespec time;
	struct rusage usage;

	clock_gettime(CLOCK_MONOTONIC, &time);
	getrusage(RUSAGE_SELF, &usage);
	return (struct cost){ time.tv_sec * 1000000000L + time.tv_nsec, usage.ru_minflt };
}

static PyObject *load_traced(const struct capsule_module *entry, PyObject *name)
{
	static struct cost nested;
	struct cost before = now(), outer = nested, after;
	PyObject *module;

	nested = (struct cost){ 0, 0 };
	module = load_own(entry, name);
	after = now();
	fprintf(stderr, "%8.3f ms %4ld faults  %s\n",
		(double)(after.ns - before.ns - nested.ns) / 1e6,
		after.faults - before.faults - nested.faults, entry->name);
	nested.ns = outer.ns + after.ns - before.ns;
	nested.faults = outer.faults + after.faults - before.faults;
	return module;
}
#define load_own load_traced
#endif

int capsule_is_linked(PyObject *name)
{
	const char *text = PyUnicode_AsUTF8(name);

	return text && find_module(text);
}

PyObject *capsule_load(PyObject *name)
{
	PyObject *module = PyDict_GetItemWithError(PyImport_GetModuleDict(), name);
	const struct capsule_module *entry;
	const char *text;

	if (module || PyErr_Occurred())
		return Py_XNewRef(module);
	text = PyUnicode_AsUTF8(name);
	if (!text)
		return NULL;
	entry = find_module(text);
	if (entry)
		return load_own(entry, name);
	if (is_built_in(text))
		return load_built_in(name);
	PyErr_Format(PyExc_ModuleNotFoundError, "the launcher has no module named %R", name);
	return NULL;
}

/* importlib._bootstrap._find_and_load(name, import_) */
static PyObject *find_and_load(PyObject *self, PyObject *args)
{
	PyObject *name, *import;

	(void)self;
	if (!PyArg_ParseTuple(args, "UO", &name, &import))
		return NULL;
	return capsule_load(name);
}

/* importlib._bootstrap._handle_fromlist(module, fromlist, import_): `from package import submodule`
 */
static PyObject *handle_fromlist(PyObject *self, PyObject *args)
{
	PyObject *module, *names, *import, *sequence, *package, *result = NULL;

	(void)self;
	if (!PyArg_ParseTuple(args, "OOO", &module, &names, &import))
		return NULL;
	package = PyObject_GetAttrString(module, "__name__");
	sequence = PySequence_Fast(names, "a list of names");
	if (package && sequence)
		result = capsule_import(package, PySequence_Fast_ITEMS(sequence),
					PySequence_Fast_GET_SIZE(sequence));
	Py_XDECREF(sequence);
	Py_XDECREF(package);
	return result;
}

static PyMethodDef importer[] = {
	{ "_find_and_load", find_and_load, METH_VARARGS, NULL },
	{ "_handle_fromlist", handle_fromlist, METH_VARARGS, NULL },
	{ NULL, NULL, 0, NULL },
};

/* The import statement's C half calls these two by name, whichever importlib the build has. */
static int install_importer(void)
{
	PyObject *importlib = PyImport_AddModule("_frozen_importlib");

	return importlib ? PyModule_AddFunctions(importlib, importer) : -1;
}

/* -- capsule._launcher --------------------------------------------------------------------------
 */

/* The front reads the command line with click, which lives in the site-packages of the
 * installation. */
static const char start_front[] = "import sys\n"
				  "library = sys.argv.pop(1)\n"
				  "if library: sys.path.insert(0, library)\n"
				  "from capsule.cli.front import main\n"
				  "sys.exit(main(['capsule', *sys.argv[1:]]))\n";

/*
 * The Python beside the launcher (a virtual environment moved or copied, a distribution's /usr/bin)
 * is preferred to the one it was built with, unless the package is used from its source tree.
 */
static const char *choose_python(char *buffer, size_t size)
{
	static const char beside[] =
		"python" Py_STRINGIFY(PY_MAJOR_VERSION) "." Py_STRINGIFY(PY_MINOR_VERSION);
	ssize_t length;
	char *slash;

	if (capsule_library[0])
		return capsule_python;
	length = readlink("/proc/self/exe", buffer, size - 1);
	if (length <= 0)
		return capsule_python;
	buffer[length] = '\0';
	slash = strrchr(buffer, '/');
	if (!slash || (size_t)(slash + 1 - buffer) + sizeof(beside) > size)
		return capsule_python;
	memcpy(slash + 1, beside, sizeof(beside));
	return access(buffer, X_OK) == 0 ? buffer : capsule_python;
}

static PyObject *exec_python(PyObject *self, PyObject *argv)
{
	enum { OWN = 5 };
	char path[4096];
	const char *python = choose_python(path, sizeof(path));
	Py_ssize_t count;
	char **words;

	(void)self;
	if (!PyList_Check(argv))
		return PyErr_Format(PyExc_TypeError, "argv must be a list of bytes");
	count = PyList_GET_SIZE(argv);
	words = calloc(OWN + (size_t)count + 1, sizeof(*words));
	if (!words)
		return PyErr_NoMemory();
	words[0] = (char *)python;
	words[1] = "-I";
	words[2] = "-c";
	words[3] = (char *)start_front;
	words[4] = (char *)capsule_library;
	for (Py_ssize_t i = 1; i < count; i++) {
		words[OWN + i - 1] = PyBytes_AsString(PyList_GET_ITEM(argv, i));
		if (!words[OWN + i - 1]) {
			free(words);
			return NULL;
		}
	}
	execv(python, words);
	free(words);
	return PyErr_SetFromErrnoWithFilename(PyExc_OSError, python);
}

static PyMethodDef launcher_functions[] = {
	{ "exec_python", exec_python, METH_O, NULL },
	{ NULL, NULL, 0, NULL },
};

static int launcher_exec(PyObject *module)
{
	char path[4096];
	const char *const constants[][2] = {
		{ "variant", capsule_variant },
		{ "version", capsule_version },
		{ "commit", capsule_commit },
		{ "library", capsule_library },
		{ "python", choose_python(path, sizeof(path)) },
	};

	for (size_t i = 0; i < sizeof(constants) / sizeof(constants[0]); i++)
		if (PyModule_AddStringConstant(module, constants[i][0], constants[i][1]) < 0)
			return -1;
	return 0;
}

static PyModuleDef_Slot launcher_slots[] = {
	{ Py_mod_exec, launcher_exec },
	{ 0, NULL },
};

static PyModuleDef launcher_definition = {
	PyModuleDef_HEAD_INIT,
	.m_name = "_launcher",
	.m_methods = launcher_functions,
	.m_slots = launcher_slots,
};

/* Listed in the generated table as capsule._launcher. */
PyMODINIT_FUNC PyInit_capsule__launcher(void);

PyMODINIT_FUNC PyInit_capsule__launcher(void)
{
	return PyModuleDef_Init(&launcher_definition);
}

/* -- main ---------------------------------------------------------------------------------------
 */

static void check(PyStatus status)
{
	if (PyStatus_Exception(status))
		die(status.err_msg ? status.err_msg : "python does not start");
}

#if PY_VERSION_HEX >= 0x030d0000
/*
 * Made by the main phase of a start since 3.13, on first use before. Not exported by libpython.so.
 */
PyStatus _PyCodec_InitRegistry(PyInterpreterState *interpreter) __attribute__((weak));

static void prepare_codecs(void)
{
	if (!_PyCodec_InitRegistry)
		die("this libpython hides its codec registry");
	check(_PyCodec_InitRegistry(PyInterpreterState_Get()));
}
#else
static void prepare_codecs(void)
{
}
#endif

static void start_interpreter(void)
{
	PyPreConfig before;
	PyConfig config;

	PyPreConfig_InitIsolatedConfig(&before);
	before.utf8_mode = 1;
	/* The locale decides nothing here, and setting it reads files. */
	before.configure_locale = 0;
	check(Py_PreInitialize(&before));
	if (capsule_seal_install() < 0)
		die("the audit hook cannot be installed");

	PyConfig_InitIsolatedConfig(&config);
	config._init_main = 0;
	config.site_import = 0;
	config.write_bytecode = 0;
	config.install_signal_handlers = 0;
	config.configure_c_stdio = 0;
	config.pathconfig_warnings = 0;
	check(Py_InitializeFromConfig(&config));
	/* One command, then _exit: a collection would only dirty pages that stages share with R. */
	PyGC_Disable();
	/*
	 * The codec registry imports this on the first undecodable byte, only to have it imported.
	 * UTF-8 and its error handlers are in C; there are no other codecs here.
	 */
	if (!PyImport_AddModule("encodings"))
		die("the codec registry cannot be prepared");
	prepare_codecs();
	if (install_importer() < 0)
		die("the importer cannot be installed");
}

static PyObject *argument_list(int argc, char **argv)
{
	PyObject *list = PyList_New(argc);

	for (int i = 0; list && i < argc; i++) {
		PyObject *word = PyBytes_FromString(argv[i]);

		if (!word)
			Py_CLEAR(list);
		else
			PyList_SET_ITEM(list, i, word);
	}
	return list;
}

static int is_debug(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--debug") == 0)
			return 1;
	return 0;
}

static void print_object(PyObject *object)
{
	PyObject *text = PyObject_Str(object);
	const char *bytes = text ? PyUnicode_AsUTF8(text) : NULL;

	print(bytes ? bytes : "?");
	PyErr_Clear();
	Py_XDECREF(text);
}

static void print_attribute(PyObject *object, const char *name)
{
	PyObject *value = PyObject_GetAttrString(object, name);

	if (value)
		print_object(value);
	PyErr_Clear();
	Py_XDECREF(value);
}

/* Print file, line and function of each frame; PyErr_Print would open the files, by relative names.
 */
static void print_frames(PyObject *traceback)
{
	Py_INCREF(traceback);
	while (traceback != Py_None) {
		PyObject *frame = PyObject_GetAttrString(traceback, "tb_frame");
		PyObject *code = frame ? PyObject_GetAttrString(frame, "f_code") : NULL;
		PyObject *next = PyObject_GetAttrString(traceback, "tb_next");

		print("  ");
		if (code)
			print_attribute(code, "co_filename");
		print(":");
		print_attribute(traceback, "tb_lineno");
		print(" ");
		if (code)
			print_attribute(code, "co_name");
		print("\n");
		Py_XDECREF(frame);
		Py_XDECREF(code);
		Py_DECREF(traceback);
		if (!next)
			return;
		traceback = next;
	}
	Py_DECREF(traceback);
}

/* Report what main() let through: a defect of ours, so one line and, with --debug, where. */
static void report(int debug)
{
	PyObject *type, *value, *traceback;

	PyErr_Fetch(&type, &value, &traceback);
	PyErr_NormalizeException(&type, &value, &traceback);
	print("capsule: ");
	if (type)
		print(((PyTypeObject *)type)->tp_name);
	print(": ");
	if (value)
		print_object(value);
	print("\n");
	if (debug && traceback)
		print_frames(traceback);
}

static int run(int argc, char **argv)
{
	PyObject *name = PyUnicode_FromString(capsule_entry), *entry, *arguments, *result = NULL;
	long status = STATUS_FAILED;

	entry = name ? capsule_load(name) : NULL;
	arguments = argument_list(argc, argv);
	if (entry && arguments)
		result = PyObject_CallMethod(entry, "main", "O", arguments);
	if (result)
		status = PyLong_AsLong(result);
	if (PyErr_Occurred()) {
		report(is_debug(argc, argv));
		return STATUS_FAILED;
	}
	return (int)status;
}

int main(int argc, char **argv)
{
	capsule_data_move();
	fill_stdio();
	refuse_borrowed_rights();
	capsule_memory_prepare();
	start_interpreter();
	/* Without Py_Finalize: unwinding costs a millisecond and serves nobody. */
	_exit(run(argc, argv));
}
