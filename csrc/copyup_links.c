/* Files with several names. See copyup.h. */
#define _GNU_SOURCE
#include "copyup.h"

#include <search.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINKS_MAX 65536 /* a hostile tree of links must not fill the memory */

struct identity {
	uint64_t ino;
	uint32_t dev_major, dev_minor;
};

struct linked {
	struct identity id; /* first: a key is an identity alone */
	char path[];	    /* of the copy, from the root */
};

static int compare(const void *left, const void *right)
{
	const struct identity *a = left, *b = right;

	if (a->ino != b->ino)
		return a->ino < b->ino ? -1 : 1;
	if (a->dev_major != b->dev_major)
		return a->dev_major < b->dev_major ? -1 : 1;
	if (a->dev_minor != b->dev_minor)
		return a->dev_minor < b->dev_minor ? -1 : 1;
	return 0;
}

static struct identity identity_of(const struct statx *stx)
{
	return (struct identity){ stx->stx_ino, stx->stx_dev_major, stx->stx_dev_minor };
}

bool capsule_copyup_link(struct capsule_copyup_links *links, const struct statx *stx, int root_fd,
			 int dir_fd, const char *name)
{
	const struct identity key = identity_of(stx);
	struct linked **found;

	if (stx->stx_nlink < 2)
		return false;
	found = tfind(&key, &links->tree, compare);
	return found && linkat(root_fd, (*found)->path, dir_fd, name, 0) == 0;
}

void capsule_copyup_links_add(struct capsule_copyup_links *links, const struct statx *stx,
			      const char *path)
{
	size_t size = strlen(path) + 1;
	struct linked *item, **found;

	if (stx->stx_nlink < 2 || links->count >= LINKS_MAX)
		return;
	item = malloc(sizeof(*item) + size);
	if (!item)
		return;
	item->id = identity_of(stx);
	memcpy(item->path, path, size);
	found = tsearch(item, &links->tree, compare);
	if (found && *found == item)
		links->count++;
	else
		free(item);
}

void capsule_copyup_links_free(struct capsule_copyup_links *links)
{
	tdestroy(links->tree, free);
	links->tree = NULL;
}
