/*
 * A tar archive as a stream of bytes that comes in pieces of any size: ustar, v7, PAX and GNU, with
 * long names and all four forms of sparse files (pax(1), tar(5) of libarchive, GNU tar's manual).
 * Knows no file system; unpack.c is its sink.
 *
 * What two readers of one archive could understand differently is an error: a size where the type
 * has no data, a NUL in a name, a record of a wrong length. Global PAX headers are left out, as
 * every reader of image layers does.
 *
 * Functions return 0 or -errno; capsule_tar_message() then says what is wrong. The memory that is
 * used is bounded, whatever the archive says.
 */
#ifndef CAPSULE_TARREAD_H
#define CAPSULE_TARREAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#define CAPSULE_TAR_XATTRS_MAX 128
/* Of one extended header or long name. */
#define CAPSULE_TAR_EXTENSION_MAX (1u << 20)
/* Of one sparse file: 8 MiB of memory. */
#define CAPSULE_TAR_SEGMENTS_MAX (1u << 19)

struct capsule_tar_xattr {
	const char *name;
	const char *value;
	size_t size;
};

/* One member. The pointers are valid until the member's end. */
struct capsule_tar_entry {
	char type; /* '0' file, '1' hard link, '2' symlink, '3' char, '4' block, '5' dir, '6' fifo */
	bool sparse;
	const char *name, *link; /* as the archive spells them */
	mode_t mode;		 /* permissions with suid, sgid and sticky */
	uid_t uid;
	gid_t gid;
	int64_t size; /* of the file; the archive holds less of a sparse one */
	struct timespec mtime;
	unsigned int major, minor;
	const struct capsule_tar_xattr *xattrs;
	size_t xattr_count;
};

/* Each returns 0, or -errno that ends the reading and is returned by feed. */
struct capsule_tar_sink {
	int (*entry)(void *context, const struct capsule_tar_entry *entry);
	int (*data)(void *context, int64_t offset, const void *data, size_t size);
	int (*end)(void *context); /* of each entry */
};

struct capsule_tar;

/* Returns NULL without memory. The sink must outlive the reader. */
struct capsule_tar *capsule_tar_new(const struct capsule_tar_sink *sink, void *context);
void capsule_tar_free(struct capsule_tar *tar);

int capsule_tar_feed(struct capsule_tar *tar, const void *data, size_t size);

/* The archive's bytes have ended. -EINVAL: within a member. */
int capsule_tar_finish(struct capsule_tar *tar);

const char *capsule_tar_message(const struct capsule_tar *tar);

/* ---- within the reader: tarpax.c --------------------------------------------------------------- */

/* One run of data of a sparse file; the rest is a hole. */
struct capsule_tar_segment {
	int64_t offset, size;
};

struct capsule_tar_segments {
	struct capsule_tar_segment *items;
	size_t count, room;
};

/* -ENOMEM, -EFBIG: too many, -EINVAL: before the end of the previous one, or beyond 2^62. */
int capsule_tar_segments_add(struct capsule_tar_segments *segments, int64_t offset, int64_t size);

/* What extended headers said of the next member. Pointers are into the header's own text. */
struct capsule_tar_pax {
	const char *path, *linkpath, *sparse_name;
	int64_t size, uid, gid, real_size; /* -1: not said */
	int64_t dev_major, dev_minor;
	struct timespec mtime;
	bool has_mtime, sparse_map_in_data, sparse;
	int64_t pending_offset; /* of sparse format 0.0; -1: none */
	struct capsule_tar_segments segments;
	struct capsule_tar_xattr xattrs[CAPSULE_TAR_XATTRS_MAX];
	size_t xattr_count;
};

void capsule_tar_pax_reset(struct capsule_tar_pax *pax);

/* Read the records of one header; text[size] is writable and becomes part of the last value. */
int capsule_tar_pax_parse(struct capsule_tar_pax *pax, char *text, size_t size, const char **wrong);

/* Read a decimal number that ends at the byte `end`; its address is left in *text. -EINVAL. */
int capsule_tar_decimal(const char **text, char end, int64_t *number);

#endif
