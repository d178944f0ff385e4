/* Pseudo-terminals. See pty.h. */
#define _GNU_SOURCE
#include "pty.h"

#include "openbeneath.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <unistd.h>

#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif

#define PTMX_INODE 2 /* of every devpts instance */
#define SLAVE_MAJOR_FIRST 136
#define SLAVE_MAJOR_LAST 143

static int is_devpts(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && fs.f_type == DEVPTS_SUPER_MAGIC;
}

static int is_ptmx(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == makedev(5, 2);
}

static int checked(int fd, int good)
{
	if (good)
		return fd;
	close(fd);
	return -ENOTTY;
}

/* The host's: /dev/ptmx may be a device node or a link to its devpts's. */
static int open_host_master(void)
{
	struct stat st;
	int fd = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return checked(fd, fstat(fd, &st) == 0 && is_ptmx(&st));
}

int capsule_pty_open_master(int root_fd, const char *path)
{
	const unsigned long long resolve = CAPSULE_RESOLVE_IN_ROOT | CAPSULE_RESOLVE_NO_SYMLINKS;
	struct stat st;
	int fd;

	if (root_fd < 0)
		return open_host_master();
	/* Looked at before it is opened: opening someone else's device can have effects. */
	fd = capsule_openbeneath_open(root_fd, path, O_PATH, 0, resolve);
	if (fd < 0)
		return fd;
	fd = checked(fd, fstat(fd, &st) == 0 && is_ptmx(&st) && st.st_ino == PTMX_INODE &&
				 is_devpts(fd));
	if (fd < 0)
		return fd;
	close(fd);
	fd = capsule_openbeneath_open(root_fd, path, O_RDWR | O_NOCTTY, 0, resolve);
	if (fd < 0)
		return fd;
	return checked(fd, fstat(fd, &st) == 0 && is_ptmx(&st) && st.st_ino == PTMX_INODE &&
				   is_devpts(fd));
}

int capsule_pty_open_slave(int master_fd)
{
	struct stat st;
	int fd, unlock = 0;

	if (ioctl(master_fd, TIOCSPTLCK, &unlock) < 0)
		return -errno;
	fd = ioctl(master_fd, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return checked(fd, fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && is_devpts(fd) &&
				   major(st.st_rdev) >= SLAVE_MAJOR_FIRST &&
				   major(st.st_rdev) <= SLAVE_MAJOR_LAST);
}

int capsule_pty_set_size(int fd, unsigned short rows, unsigned short columns)
{
	struct winsize size = { .ws_row = rows, .ws_col = columns };

	return ioctl(fd, TIOCSWINSZ, &size) < 0 ? -errno : 0;
}

int capsule_pty_copy_size(int from_fd, int to_fd)
{
	struct winsize size;

	if (ioctl(from_fd, TIOCGWINSZ, &size) < 0 || ioctl(to_fd, TIOCSWINSZ, &size) < 0)
		return -errno;
	return 0;
}

int capsule_pty_clear_onlcr(int fd)
{
	struct termios attributes;

	if (tcgetattr(fd, &attributes) < 0)
		return -errno;
	attributes.c_oflag &= ~(tcflag_t)ONLCR;
	return tcsetattr(fd, TCSANOW, &attributes) < 0 ? -errno : 0;
}

int capsule_pty_own(int slave_fd, uid_t uid)
{
	return fchown(slave_fd, uid, (gid_t)-1) < 0 ? -errno : 0;
}
