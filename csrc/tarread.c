/* A tar archive as a stream. See tarread.h. */
#include "tarread.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 512
#define NAME_AREA 100
#define PREFIX_AREA 155
#define OLD_SPARSE_FIRST 4 /* segments in the header of a GNU sparse member */
#define OLD_SPARSE_MORE 21 /* in each block that follows it */

/* Where the fields lie, tar(5). */
enum {
	AT_MODE = 100,
	AT_UID = 108,
	AT_GID = 116,
	AT_SIZE = 124,
	AT_MTIME = 136,
	AT_SUM = 148,
	AT_TYPE = 156,
	AT_LINK = 157,
	AT_MAGIC = 257,
	AT_MAJOR = 329,
	AT_MINOR = 337,
	AT_PREFIX = 345,
	AT_SPARSE = 386,
	AT_EXTENDED = 482,
	AT_REAL_SIZE = 483,
	AT_MORE_EXTENDED = 504,
};

enum state { IN_HEADER, IN_EXTENSION, IN_OLD_SPARSE, IN_MAP, IN_DATA, IN_PADDING, AT_END };

struct capsule_tar {
	const struct capsule_tar_sink *sink;
	void *context;
	enum state state;
	unsigned char block[BLOCK];
	size_t filled;	  /* of block */
	int64_t left;	  /* bytes of the present section that are still to come */
	size_t padding;	  /* bytes after it */
	unsigned int end; /* blocks of zeros seen */
	bool begun;	  /* an extended header waits for its member */

	char extension_type;
	char *extension; /* x: belongs to pax, which points into it */
	size_t extension_size;
	char *long_name, *long_link; /* of GNU headers L and K */
	struct capsule_tar_pax pax;

	struct capsule_tar_entry entry;
	char name[PREFIX_AREA + 1 + NAME_AREA + 1], link[NAME_AREA + 1];
	bool whole;	  /* not sparse: data is one run */
	size_t segment;	  /* of the next byte of data */
	int64_t position; /* in that segment, or in the file */
	int64_t map_left; /* numbers of a map in the data that are still to come; -1: their count is */
	int64_t map_offset;
	char digits[24];
	size_t digit_count;

	char message[256];
};

__attribute__((format(printf, 3, 4))) static int fail(struct capsule_tar *tar, int error,
						      const char *format, ...)
{
	va_list words;

	va_start(words, format);
	vsnprintf(tar->message, sizeof(tar->message), format, words);
	va_end(words);
	return error;
}

struct capsule_tar *capsule_tar_new(const struct capsule_tar_sink *sink, void *context)
{
	struct capsule_tar *tar = calloc(1, sizeof(*tar));

	if (!tar)
		return NULL;
	tar->sink = sink;
	tar->context = context;
	capsule_tar_pax_reset(&tar->pax);
	return tar;
}

static void forget(struct capsule_tar *tar)
{
	free(tar->extension);
	free(tar->long_name);
	free(tar->long_link);
	tar->extension = tar->long_name = tar->long_link = NULL;
	capsule_tar_pax_reset(&tar->pax);
	tar->begun = false;
}

void capsule_tar_free(struct capsule_tar *tar)
{
	if (!tar)
		return;
	forget(tar);
	free(tar->pax.segments.items);
	free(tar);
}

const char *capsule_tar_message(const struct capsule_tar *tar)
{
	return tar->message;
}

/* ---- numbers ----------------------------------------------------------------------------------- */

/* GNU's binary numbers: the first byte is 0x80, or 0xff of a negative one. */
static int read_binary(const unsigned char *field, size_t size, int64_t *number)
{
	bool negative = field[0] == 0xff;
	int64_t value = negative ? -1 : field[0] & 0x7f;

	for (size_t i = 1; i < size; i++) {
		if (value > INT64_MAX >> 9 || value < INT64_MIN >> 9)
			return -EINVAL;
		value = (int64_t)((uint64_t)value << 8 | field[i]);
	}
	*number = value;
	return 0;
}

static int read_number(const unsigned char *field, size_t size, int64_t *number)
{
	size_t i = 0;
	int64_t value = 0;

	if (field[0] == 0x80 || field[0] == 0xff)
		return read_binary(field, size, number);
	while (i < size && field[i] == ' ')
		i++;
	for (; i < size && field[i] >= '0' && field[i] <= '7'; i++)
		value = value << 3 | (field[i] - '0');
	if (i < size && field[i] != ' ' && field[i] != '\0')
		return -EINVAL;
	*number = value;
	return 0;
}

static bool sum_is_right(const unsigned char *block)
{
	int64_t said, sum = 0, old = 0; /* some tars of old added signed bytes */

	for (size_t i = 0; i < BLOCK; i++) {
		bool blank = i >= AT_SUM && i < AT_SUM + 8;

		sum += blank ? ' ' : block[i];
		old += blank ? ' ' : (signed char)block[i];
	}
	return read_number(block + AT_SUM, 8, &said) == 0 && (said == sum || said == old);
}

/* ---- sections ---------------------------------------------------------------------------------- */

static int begin_section(struct capsule_tar *tar, enum state state, int64_t size)
{
	tar->state = state;
	tar->left = size;
	tar->padding = (size_t)(-(uint64_t)size % BLOCK);
	return 0;
}

static void begin_header(struct capsule_tar *tar)
{
	tar->filled = 0;
	tar->state = IN_HEADER;
}

static int end_entry(struct capsule_tar *tar)
{
	int error = tar->sink->end(tar->context);

	forget(tar);
	tar->left = (int64_t)tar->padding;
	tar->state = IN_PADDING;
	if (tar->left == 0)
		begin_header(tar);
	return error;
}

/* Data of tar->left bytes follows. Do the runs of a sparse file say the same? */
static int begin_data(struct capsule_tar *tar)
{
	int64_t sum = 0;

	for (size_t i = 0; i < tar->pax.segments.count; i++) {
		const struct capsule_tar_segment *segment = &tar->pax.segments.items[i];

		sum += segment->size;
		if (segment->offset + segment->size > tar->entry.size || sum > tar->left)
			return fail(tar, -EINVAL, "sparse map beyond the file's end");
	}
	if (!tar->whole && sum != tar->left)
		return fail(tar, -EINVAL, "sparse map of another size than the data");
	tar->state = IN_DATA;
	return tar->left ? 0 : end_entry(tar);
}

/* The header is complete: tell the sink, then go on with what the member holds. */
static int begin_entry(struct capsule_tar *tar, int64_t stored)
{
	int error = tar->sink->entry(tar->context, &tar->entry);

	if (error < 0)
		return error;
	tar->segment = 0;
	tar->position = 0;
	begin_section(tar, IN_DATA, stored);
	if (!tar->pax.sparse_map_in_data || tar->whole)
		return begin_data(tar);
	tar->state = IN_MAP;
	tar->filled = 0;
	tar->map_left = -1;
	tar->digit_count = 0;
	return 0;
}

/* ---- sparse files ------------------------------------------------------------------------------ */

static int add_segment(struct capsule_tar *tar, int64_t offset, int64_t size)
{
	int error = capsule_tar_segments_add(&tar->pax.segments, offset, size);

	return error < 0 ? fail(tar, error, "sparse map: wrong or too long") : 0;
}

/* Segments of GNU's own format; an empty field ends them. */
static int read_old_segments(struct capsule_tar *tar, const unsigned char *at, size_t count)
{
	int64_t offset, size;
	int error;

	for (; count > 0 && at[0]; count--, at += 24) {
		if (read_number(at, 12, &offset) < 0 || read_number(at + 12, 12, &size) < 0)
			return fail(tar, -EINVAL, "sparse map: not a number");
		error = add_segment(tar, offset, size);
		if (error < 0)
			return error;
	}
	return 0;
}

static int take_old_sparse(struct capsule_tar *tar)
{
	int error = read_old_segments(tar, tar->block, OLD_SPARSE_MORE);

	tar->filled = 0;
	if (error < 0 || tar->block[AT_MORE_EXTENDED])
		return error;
	return begin_entry(tar, tar->left);
}

/* One number of a map in the data (format 1.0) is complete. */
static int take_map_number(struct capsule_tar *tar)
{
	const char *text = tar->digits;
	int64_t number;

	tar->digits[tar->digit_count] = '\0';
	tar->digit_count = 0;
	if (capsule_tar_decimal(&text, '\0', &number) < 0)
		return fail(tar, -EINVAL, "sparse map: not a number");
	if (tar->map_left < 0) {
		if (number > CAPSULE_TAR_SEGMENTS_MAX)
			return fail(tar, -EFBIG, "sparse map: too long");
		tar->map_left = number * 2;
		return 0;
	}
	if (tar->map_left-- % 2 == 0) {
		tar->map_offset = number;
		return 0;
	}
	return add_segment(tar, tar->map_offset, number);
}

/* A block of the map: numbers, each on a line; the block of the last one is filled up. */
static int take_map(struct capsule_tar *tar)
{
	int error;

	tar->filled = 0;
	if (tar->left < BLOCK)
		return fail(tar, -EINVAL, "sparse map beyond the member's end");
	tar->left -= BLOCK;
	for (size_t i = 0; i < BLOCK && tar->map_left != 0; i++) {
		if (tar->block[i] != '\n') {
			if (tar->digit_count + 1 >= sizeof(tar->digits))
				return fail(tar, -EINVAL, "sparse map: not a number");
			tar->digits[tar->digit_count++] = (char)tar->block[i];
			continue;
		}
		error = take_map_number(tar);
		if (error < 0)
			return error;
	}
	return tar->map_left ? 0 : begin_data(tar);
}

/* ---- headers ----------------------------------------------------------------------------------- */

/* A member's own name, unless an extension says another: prefix and name of ustar, or name. */
static void read_names(struct capsule_tar *tar)
{
	const char *block = (const char *)tar->block;
	bool ustar = !memcmp(block + AT_MAGIC, "ustar", 6);
	size_t prefix = ustar ? strnlen(block + AT_PREFIX, PREFIX_AREA) : 0;

	snprintf(tar->name, sizeof(tar->name), "%.*s%s%.*s", (int)prefix, block + AT_PREFIX,
		 prefix ? "/" : "", NAME_AREA, block);
	snprintf(tar->link, sizeof(tar->link), "%.*s", NAME_AREA, block + AT_LINK);
	tar->entry.name = tar->name;
	tar->entry.link = tar->link;
	if (tar->long_name)
		tar->entry.name = tar->long_name;
	if (tar->long_link)
		tar->entry.link = tar->long_link;
	if (tar->pax.path)
		tar->entry.name = tar->pax.path;
	if (tar->pax.linkpath)
		tar->entry.link = tar->pax.linkpath;
	if (tar->pax.sparse_name)
		tar->entry.name = tar->pax.sparse_name;
}

/* An id, from the extension or the header. (id)-1 means "keep" to chown: no file has it. */
static int read_id(struct capsule_tar *tar, size_t at, int64_t said, unsigned int *id)
{
	int64_t number = said;

	if (said < 0 && read_number(tar->block + at, 8, &number) < 0)
		return fail(tar, -EINVAL, "%s: owner is not a number", tar->entry.name);
	if (number < 0 || number >= UINT32_MAX)
		return fail(tar, -EINVAL, "%s: owner out of range", tar->entry.name);
	*id = (unsigned int)number;
	return 0;
}

static int read_attributes(struct capsule_tar *tar)
{
	int64_t mode, mtime, major = tar->pax.dev_major, minor = tar->pax.dev_minor;

	if (read_id(tar, AT_UID, tar->pax.uid, &tar->entry.uid) < 0 ||
	    read_id(tar, AT_GID, tar->pax.gid, &tar->entry.gid) < 0)
		return -EINVAL;
	if (read_number(tar->block + AT_MODE, 8, &mode) < 0 ||
	    read_number(tar->block + AT_MTIME, 12, &mtime) < 0)
		return fail(tar, -EINVAL, "%s: mode or time is not a number", tar->entry.name);
	tar->entry.mode = (mode_t)mode & 07777;
	tar->entry.mtime = (struct timespec){ .tv_sec = mtime };
	if (tar->pax.has_mtime)
		tar->entry.mtime = tar->pax.mtime;
	if (tar->entry.type == '3' || tar->entry.type == '4') {
		if ((major < 0 && read_number(tar->block + AT_MAJOR, 8, &major) < 0) ||
		    (minor < 0 && read_number(tar->block + AT_MINOR, 8, &minor) < 0) || major < 0 ||
		    minor < 0 || major > 0xfff || minor > 0xfffff)
			return fail(tar, -EINVAL, "%s: device number", tar->entry.name);
		tar->entry.major = (unsigned int)major;
		tar->entry.minor = (unsigned int)minor;
	}
	tar->entry.xattrs = tar->pax.xattrs;
	tar->entry.xattr_count = tar->pax.xattr_count;
	return 0;
}

/* Which of the types that we know is it? '\0' and '7' are files; v7 marks directories by a slash. */
static int read_type(struct capsule_tar *tar)
{
	char type = (char)tar->block[AT_TYPE];
	size_t length = strlen(tar->entry.name);

	tar->entry.sparse = type == 'S' || tar->pax.sparse;
	if (type == '\0' || type == '7' || type == 'S')
		type = '0';
	if (type == '0' && length && tar->entry.name[length - 1] == '/')
		type = '5';
	if (type < '0' || type > '6')
		return fail(tar, -EINVAL, "%s: member of unknown type %#x", tar->entry.name, type);
	if (tar->entry.sparse && type != '0')
		return fail(tar, -EINVAL, "%s: sparse, but no file", tar->entry.name);
	tar->entry.type = type;
	tar->whole = !tar->entry.sparse;
	return 0;
}

/* Begin a member that is no extension. stored: the bytes it holds in the archive. */
static int take_member(struct capsule_tar *tar, int64_t stored)
{
	memset(&tar->entry, 0, sizeof(tar->entry));
	read_names(tar);
	if (read_type(tar) < 0 || read_attributes(tar) < 0)
		return -EINVAL;
	if (tar->pax.size >= 0)
		stored = tar->pax.size;
	if (stored && tar->entry.type != '0')
		return fail(tar, -EINVAL, "%s: data where its type has none", tar->entry.name);
	tar->entry.size = stored;
	if (tar->entry.sparse && tar->pax.real_size >= 0)
		tar->entry.size = tar->pax.real_size;
	if (tar->block[AT_TYPE] == 'S') {
		tar->pax.segments.count = 0;
		tar->pax.sparse_map_in_data = false;
		if (read_number(tar->block + AT_REAL_SIZE, 12, &tar->entry.size) < 0 ||
		    tar->entry.size < 0)
			return fail(tar, -EINVAL, "%s: size", tar->entry.name);
		if (read_old_segments(tar, tar->block + AT_SPARSE, OLD_SPARSE_FIRST) < 0)
			return -EINVAL;
		if (tar->block[AT_EXTENDED]) {
			tar->filled = 0;
			return begin_section(tar, IN_OLD_SPARSE, stored);
		}
	}
	return begin_entry(tar, stored);
}

static bool is_extension(char type)
{
	return type == 'x' || type == 'g' || type == 'L' || type == 'K';
}

static int take_header(struct capsule_tar *tar)
{
	static const unsigned char zeros[BLOCK];
	int64_t size;

	if (!memcmp(tar->block, zeros, BLOCK)) {
		if (tar->begun)
			return fail(tar, -EINVAL, "the archive ends after an extended header");
		tar->state = ++tar->end == 2 ? AT_END : IN_HEADER;
		tar->filled = 0;
		return 0;
	}
	tar->end = 0;
	if (!sum_is_right(tar->block))
		return fail(tar, -EINVAL, "not a tar header, or a damaged one");
	if (read_number(tar->block + AT_SIZE, 12, &size) < 0 || size < 0 || size > INT64_MAX / 4)
		return fail(tar, -EINVAL, "size is not a number");
	if (!is_extension((char)tar->block[AT_TYPE]))
		return take_member(tar, size);
	if (size > CAPSULE_TAR_EXTENSION_MAX)
		return fail(tar, -EFBIG, "extended header of more than %u bytes",
			    CAPSULE_TAR_EXTENSION_MAX);
	tar->extension_type = (char)tar->block[AT_TYPE];
	if (tar->extension_type == 'x' && tar->extension)
		return fail(tar, -EINVAL, "two extended headers for one member");
	if (tar->extension_type == 'x' || tar->extension_type == 'L' || tar->extension_type == 'K')
		tar->begun = true;
	begin_section(tar, IN_EXTENSION, size);
	tar->extension_size = 0;
	return 0;
}

/* ---- extensions -------------------------------------------------------------------------------- */

static char **extension_text(struct capsule_tar *tar)
{
	switch (tar->extension_type) {
	case 'x':
		return &tar->extension;
	case 'L':
		return &tar->long_name;
	case 'K':
		return &tar->long_link;
	default:
		return NULL;
	}
}

static int end_extension(struct capsule_tar *tar)
{
	char **text = extension_text(tar);
	const char *wrong = "";
	int error = 0;

	tar->state = IN_PADDING;
	tar->left = (int64_t)tar->padding;
	if (tar->left == 0)
		begin_header(tar);
	if (!text || !*text)
		return 0;
	(*text)[tar->extension_size] = '\0';
	if (tar->extension_type == 'x') {
		error = capsule_tar_pax_parse(&tar->pax, *text, tar->extension_size, &wrong);
		if (error < 0)
			fail(tar, error, "extended header: %.100s", wrong);
	} else if (tar->extension_size &&
		   strlen(*text) + 1 < tar->extension_size) { /* it holds its own final NUL */
		return fail(tar, -EINVAL, "a NUL in a long name");
	}
	return error;
}

static int take_extension(struct capsule_tar *tar, const unsigned char *data, size_t size)
{
	char **text = extension_text(tar);

	if (text && tar->extension_size == 0) {
		free(*text);
		*text = malloc((size_t)tar->left + 1);
		if (!*text)
			return fail(tar, -ENOMEM, "no memory");
	}
	if (text) {
		memcpy(*text + tar->extension_size, data, size);
		tar->extension_size += size;
	}
	tar->left -= (int64_t)size;
	return tar->left ? 0 : end_extension(tar);
}

/* ---- data -------------------------------------------------------------------------------------- */

/* Give the sink the next bytes; *size is cut to what lies in one run. */
static int take_data(struct capsule_tar *tar, const unsigned char *data, size_t *size)
{
	int64_t offset = tar->position;
	int error;

	if (!tar->whole) {
		const struct capsule_tar_segment *run = &tar->pax.segments.items[tar->segment];

		while (tar->position == run->size) {
			run = &tar->pax.segments.items[++tar->segment];
			tar->position = 0;
		}
		offset = run->offset + tar->position;
		if ((int64_t)*size > run->size - tar->position)
			*size = (size_t)(run->size - tar->position);
	}
	error = tar->sink->data(tar->context, offset, data, *size);
	if (error < 0)
		return error;
	tar->position += (int64_t)*size;
	tar->left -= (int64_t)*size;
	return tar->left ? 0 : end_entry(tar);
}

static int take_block(struct capsule_tar *tar, const unsigned char *data, size_t *size)
{
	size_t wanted = BLOCK - tar->filled;

	if (*size > wanted)
		*size = wanted;
	memcpy(tar->block + tar->filled, data, *size);
	tar->filled += *size;
	if (tar->filled < BLOCK)
		return 0;
	if (tar->state == IN_HEADER)
		return take_header(tar);
	return tar->state == IN_MAP ? take_map(tar) : take_old_sparse(tar);
}

static int take(struct capsule_tar *tar, const unsigned char *data, size_t *size)
{
	bool section = tar->state == IN_DATA || tar->state == IN_EXTENSION ||
		       tar->state == IN_PADDING;

	if (section && (int64_t)*size > tar->left)
		*size = (size_t)tar->left;
	switch (tar->state) {
	case IN_DATA:
		return take_data(tar, data, size);
	case IN_EXTENSION:
		return take_extension(tar, data, *size);
	case IN_PADDING:
		tar->left -= (int64_t)*size;
		if (tar->left == 0)
			begin_header(tar);
		return 0;
	case AT_END:
		return 0; /* tar fills its last record up; readers take no notice */
	case IN_HEADER:
	case IN_OLD_SPARSE:
	case IN_MAP:
		break;
	}
	return take_block(tar, data, size);
}

int capsule_tar_feed(struct capsule_tar *tar, const void *data, size_t size)
{
	const unsigned char *at = data;
	int error = 0;

	while (size > 0 && error == 0) {
		size_t used = size;

		if (tar->state == IN_EXTENSION && tar->left == 0) {
			error = end_extension(tar);
			continue;
		}
		error = take(tar, at, &used);
		at += used;
		size -= used;
	}
	return error;
}

int capsule_tar_finish(struct capsule_tar *tar)
{
	if (tar->state == AT_END)
		return 0;
	/* A last member's padding is left out by some, and so are the blocks of zeros. */
	if (tar->state == IN_PADDING || (tar->state == IN_HEADER && tar->filled == 0))
		return tar->begun ? fail(tar, -EINVAL, "the archive ends after an extended header")
				  : 0;
	return fail(tar, -EINVAL, "the archive is cut off");
}
