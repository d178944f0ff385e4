/* See seal.h. With csrc/launcher.c the only C that includes Python.h. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <string.h>
#include <unistd.h>

#include "seal.h"

void (*capsule_seal_report)(const char *event);

static int sealed;

#ifndef CAPSULE_NO_SEAL

/*
 * PEP 578 event names. The hooks for unraisable and uncaught exceptions are refused as well: their
 * default implementations open source files by the names that the traceback carries.
 */
static const char *const refused_events[] = {
	"import",	  "compile",
	"exec",		  "open",
	"marshal.loads",  "code.__new__",
	"os.system",	  "os.exec",
	"os.fork",	  "os.forkpty",
	"os.posix_spawn", "os.spawn",
	"sys.excepthook", "sys.unraisablehook",
};

static const char *const refused_families[] = { "subprocess.", "socket.", "ctypes.", "pty." };

static int is_refused(const char *event)
{
	for (size_t i = 0; i < sizeof(refused_events) / sizeof(refused_events[0]); i++)
		if (strcmp(event, refused_events[i]) == 0)
			return 1;
	for (size_t i = 0; i < sizeof(refused_families) / sizeof(refused_families[0]); i++)
		if (strncmp(event, refused_families[i], strlen(refused_families[i])) == 0)
			return 1;
	return 0;
}

static void write_text(const char *text)
{
	ssize_t ignored = write(STDERR_FILENO, text, strlen(text));

	(void)ignored;
}

static void refuse(const char *event)
{
	/* Lowered first: nothing that the report does may come back here. */
	sealed = 0;
	if (capsule_seal_report)
		capsule_seal_report(event);
	write_text("capsule: sealed interpreter: refused ");
	write_text(event);
	write_text("\n");
	_exit(CAPSULE_SEAL_STATUS);
}

static int hook(const char *event, PyObject *args, void *data)
{
	(void)args;
	(void)data;
	if (__builtin_expect(sealed, 0) && is_refused(event))
		refuse(event);
	return 0;
}

int capsule_seal_install(void)
{
	static int installed;

	if (installed)
		return 0;
	if (PySys_AddAuditHook(hook, NULL) < 0)
		return -1;
	installed = 1;
	return 0;
}

/* A core-only interpreter has some of these lists and not others. */
static int empty_list(const char *name)
{
	PyObject *list = PySys_GetObject(name);

	if (!list || !PyList_Check(list))
		return 0;
	return PyList_SetSlice(list, 0, PyList_GET_SIZE(list), NULL);
}

int capsule_seal(void)
{
	PyObject *cache = PySys_GetObject("path_importer_cache");

	if (capsule_seal_install() < 0)
		return -1;
	if (empty_list("meta_path") < 0 || empty_list("path") < 0 || empty_list("path_hooks") < 0)
		return -1;
	if (cache && PyDict_Check(cache))
		PyDict_Clear(cache);
	sealed = 1;
	return 0;
}

#else /* the build that shows what the seal is good for: tests/unit/test_sealed_interpreter.py */

int capsule_seal_install(void)
{
	return 0;
}

int capsule_seal(void)
{
	return 0;
}

#endif

int capsule_is_sealed(void)
{
	return sealed;
}
