/* Names of members. See unpack.h. */
#include "unpack.h"

#include <errno.h>
#include <string.h>

int capsule_unpack_path(const char *name, char *path, size_t size)
{
	size_t used = 0;

	if (name[0] == '/')
		return name[strspn(name, "/")] ? -EXDEV : (path[0] = '\0', 0);
	while (*name) {
		size_t length = strcspn(name, "/");

		if (length == 2 && !memcmp(name, "..", 2))
			return -EXDEV;
		if (length && !(length == 1 && *name == '.')) {
			if (used + length + 2 > size)
				return -ENAMETOOLONG;
			if (used)
				path[used++] = '/';
			memcpy(path + used, name, length);
			used += length;
		}
		name += length;
		name += strspn(name, "/");
	}
	path[used] = '\0';
	return 0;
}

bool capsule_unpack_has_whiteout(const char *path)
{
	return !strncmp(path, ".wh.", 4) || strstr(path, "/.wh.");
}
