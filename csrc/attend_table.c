/* The attendant's data file, and the host's resolv.conf: read anew when they have changed. */
#include "attend.h"

#include <linux/stat.h>

#define TABLE_MAX (1 << 20)
#define RESOLV_CONF_MAX 65536
#define HEAD 17 /* sixteen digits and a line break: odd while the file is being written */

static char copies[2][TABLE_MAX];
static char head[HEAD];
static struct dns_table table;
static unsigned int current;

static char resolv_text[RESOLV_CONF_MAX];
static struct dns_table resolv_conf;
static struct statx resolv_seen;

/* A link count of zero is the kernel's word for it. The calls of a removed file system count too. */
bool capsule_table_is_gone(void)
{
	struct statx found;

	return rt5(__NR_statx, ATTEND_DATA, "", AT_EMPTY_PATH, STATX_NLINK, &found) < 0 ||
	       !found.stx_nlink;
}

static bool is_odd(char digit)
{
	return (digit >= 'a' ? digit - 'a' + 10 : digit - '0') & 1;
}

/* The writer may be at it, or have died at it: then the last whole one stays. */
const struct dns_table *capsule_attend_table(void)
{
	char before[HEAD], after[HEAD];
	char *copy = copies[!current];
	long size;

	if (rt4(__NR_pread64, ATTEND_DATA, before, HEAD, 0) != HEAD || is_odd(before[HEAD - 2]) ||
	    !memcmp(before, head, HEAD))
		return &table;
	size = rt4(__NR_pread64, ATTEND_DATA, copy, TABLE_MAX, HEAD);
	if (size < 0 || rt4(__NR_pread64, ATTEND_DATA, after, HEAD, 0) != HEAD ||
	    memcmp(before, after, HEAD))
		return &table;
	memcpy(head, before, HEAD);
	current = !current;
	table = (struct dns_table){ copy, (size_t)size };
	return &table;
}

const struct dns_table *capsule_attend_resolv_conf(void)
{
	struct statx found;
	long fd, size;

	if (rt5(__NR_statx, AT_FDCWD, "/etc/resolv.conf", 0, STATX_BASIC_STATS, &found) < 0) {
		resolv_conf.size = 0;
		return &resolv_conf;
	}
	if (resolv_conf.text && found.stx_ino == resolv_seen.stx_ino &&
	    found.stx_size == resolv_seen.stx_size &&
	    found.stx_mtime.tv_sec == resolv_seen.stx_mtime.tv_sec &&
	    found.stx_mtime.tv_nsec == resolv_seen.stx_mtime.tv_nsec)
		return &resolv_conf;
	fd = rt_open(AT_FDCWD, "/etc/resolv.conf", O_RDONLY | O_NONBLOCK);
	if (fd < 0)
		return &resolv_conf;
	size = rt3(__NR_read, fd, resolv_text, RESOLV_CONF_MAX);
	rt_close((int)fd);
	resolv_conf = (struct dns_table){ resolv_text, size > 0 ? (size_t)size : 0 };
	resolv_seen = found;
	return &resolv_conf;
}
