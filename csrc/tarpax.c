/* Extended headers of tar archives: `LENGTH KEY=VALUE\n` records. See tarread.h. */
#include "tarread.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_MAX ((int64_t)1 << 62)

int capsule_tar_segments_add(struct capsule_tar_segments *segments, int64_t offset, int64_t size)
{
	const struct capsule_tar_segment *last = NULL;

	if (segments->count)
		last = &segments->items[segments->count - 1];
	if (offset < 0 || size < 0 || offset > NUMBER_MAX || size > NUMBER_MAX - offset)
		return -EINVAL;
	if (last && offset < last->offset + last->size)
		return -EINVAL;
	if (segments->count == CAPSULE_TAR_SEGMENTS_MAX)
		return -EFBIG;
	if (segments->count == segments->room) {
		size_t room = segments->room ? segments->room * 2 : 64;
		void *items = reallocarray(segments->items, room, sizeof(*segments->items));

		if (!items)
			return -ENOMEM;
		segments->items = items;
		segments->room = room;
	}
	segments->items[segments->count++] = (struct capsule_tar_segment){ offset, size };
	return 0;
}

void capsule_tar_pax_reset(struct capsule_tar_pax *pax)
{
	struct capsule_tar_segments segments = pax->segments;

	memset(pax, 0, sizeof(*pax));
	pax->segments.items = segments.items;
	pax->segments.room = segments.room;
	pax->size = pax->uid = pax->gid = pax->real_size = -1;
	pax->dev_major = pax->dev_minor = pax->pending_offset = -1;
}

int capsule_tar_decimal(const char **text, char end, int64_t *number)
{
	const char *at = *text;
	int64_t value = 0;

	if (*at < '0' || *at > '9')
		return -EINVAL;
	for (; *at >= '0' && *at <= '9'; at++) {
		if (value > (NUMBER_MAX - 9) / 10)
			return -EINVAL;
		value = value * 10 + (*at - '0');
	}
	if (*at != end)
		return -EINVAL;
	*text = at;
	*number = value;
	return 0;
}

/* Seconds with an optional sign and an optional fraction, of which nine digits count. */
static int read_time(const char *text, struct timespec *time)
{
	bool negative = *text == '-';
	long scale = 100000000;
	int64_t seconds;

	text += negative;
	if (capsule_tar_decimal(&text, strchr(text, '.') ? '.' : '\0', &seconds) < 0)
		return -EINVAL;
	time->tv_nsec = 0;
	if (*text == '.') {
		for (text++; *text >= '0' && *text <= '9'; text++, scale /= 10)
			time->tv_nsec += (*text - '0') * scale;
		if (*text)
			return -EINVAL;
	}
	time->tv_sec = negative ? -seconds : seconds;
	if (negative && time->tv_nsec) {
		time->tv_sec--;
		time->tv_nsec = 1000000000 - time->tv_nsec;
	}
	return 0;
}

static int add_xattr(struct capsule_tar_pax *pax, const char *name, const char *value, size_t size)
{
	if (pax->xattr_count == CAPSULE_TAR_XATTRS_MAX)
		return -E2BIG;
	pax->xattrs[pax->xattr_count++] = (struct capsule_tar_xattr){ name, value, size };
	return 0;
}

/* Format 0.1: "offset,size,offset,size". */
static int read_map(struct capsule_tar_pax *pax, const char *text)
{
	int64_t offset, size;
	int error;

	while (*text) {
		if (capsule_tar_decimal(&text, ',', &offset) < 0)
			return -EINVAL;
		text++;
		if (capsule_tar_decimal(&text, strchr(text, ',') ? ',' : '\0', &size) < 0)
			return -EINVAL;
		error = capsule_tar_segments_add(&pax->segments, offset, size);
		if (error < 0)
			return error;
		text += *text == ',';
	}
	return 0;
}

static int read_sparse(struct capsule_tar_pax *pax, const char *key, const char *value)
{
	int64_t number;

	pax->sparse = true;
	if (!strcmp(key, "name")) {
		pax->sparse_name = value;
		return 0;
	}
	if (!strcmp(key, "map"))
		return read_map(pax, value);
	if (capsule_tar_decimal(&value, '\0', &number) < 0)
		return -EINVAL;
	if (!strcmp(key, "realsize") || !strcmp(key, "size")) {
		pax->real_size = number;
	} else if (!strcmp(key, "offset")) {
		pax->pending_offset = number;
	} else if (!strcmp(key, "numbytes")) {
		int64_t offset = pax->pending_offset;

		pax->pending_offset = -1;
		return capsule_tar_segments_add(&pax->segments, offset, number);
	} else if (!strcmp(key, "major")) {
		pax->sparse_map_in_data = number == 1;
		return number <= 1 ? 0 : -ENOTSUP;
	} else if (!strcmp(key, "minor")) {
		return number <= 1 ? 0 : -ENOTSUP;
	}
	return 0;
}

static int read_record(struct capsule_tar_pax *pax, const char *key, const char *value, size_t size)
{
	static const char xattr[] = "SCHILY.xattr.", sparse[] = "GNU.sparse.";

	if (!strncmp(key, xattr, sizeof(xattr) - 1))
		return add_xattr(pax, key + sizeof(xattr) - 1, value, size);
	if (strlen(value) != size)
		return !strcmp(key, "path") || !strcmp(key, "linkpath") ||
				       !strncmp(key, sparse, sizeof(sparse) - 1)
			       ? -EINVAL
			       : 0;
	if (size == 0)
		return 0; /* withdraws what an earlier header said, pax(1); there is none */
	if (!strcmp(key, "path"))
		pax->path = value;
	else if (!strcmp(key, "linkpath"))
		pax->linkpath = value;
	else if (!strcmp(key, "size"))
		return capsule_tar_decimal(&value, '\0', &pax->size);
	else if (!strcmp(key, "uid"))
		return capsule_tar_decimal(&value, '\0', &pax->uid);
	else if (!strcmp(key, "gid"))
		return capsule_tar_decimal(&value, '\0', &pax->gid);
	else if (!strcmp(key, "SCHILY.devmajor"))
		return capsule_tar_decimal(&value, '\0', &pax->dev_major);
	else if (!strcmp(key, "SCHILY.devminor"))
		return capsule_tar_decimal(&value, '\0', &pax->dev_minor);
	else if (!strcmp(key, "mtime"))
		return pax->has_mtime = true, read_time(value, &pax->mtime);
	else if (!strncmp(key, sparse, sizeof(sparse) - 1))
		return read_sparse(pax, key + sizeof(sparse) - 1, value);
	return 0;
}

int capsule_tar_pax_parse(struct capsule_tar_pax *pax, char *text, size_t size, const char **wrong)
{
	char *end = text + size;

	while (text < end) {
		const char *at = text;
		char *equals, *next;
		int64_t length;
		int error;

		*wrong = "record";
		*end = '\0'; /* so that numbers end: the previous record's text is done with */
		if (capsule_tar_decimal(&at, ' ', &length) < 0 || length > end - text)
			return -EINVAL;
		next = text + length;
		if (next <= at + 1 || next[-1] != '\n')
			return -EINVAL;
		next[-1] = '\0';
		at++;
		equals = memchr(at, '=', (size_t)(next - 1 - at));
		if (!equals || equals == at || memchr(at, '\0', (size_t)(equals - at)))
			return -EINVAL;
		*equals = '\0';
		*wrong = at;
		error = read_record(pax, at, equals + 1, (size_t)(next - 1 - (equals + 1)));
		if (error < 0)
			return error;
		text = next;
	}
	return 0;
}
