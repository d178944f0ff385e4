/*
 * The terminal that the relay was started from (termios(3), ioctl_tty(2)). It lends the container
 * its size; it is made raw only when it is also our stdin, because a raw terminal that nobody reads
 * would swallow the user's ^C.
 */
#include "relay.h"

#include <asm/ioctls.h>
#include <asm/termbits.h>
#include <linux/signal.h>

struct window_size {
	uint16_t rows, columns, x_pixels, y_pixels;
};

static struct {
	int fd; /* 0: none yet; the terminal of the window size otherwise, plus one */
	bool raw;
	struct termios saved;
} tty;

static bool is_terminal(int fd)
{
	struct window_size size;

	return rt3(__NR_ioctl, fd, TIOCGWINSZ, &size) == 0;
}

void capsule_relay_tty_raw(void)
{
	struct termios raw;

	if (!is_terminal(0))
		return;
	if (!tty.raw && rt3(__NR_ioctl, 0, TCGETS, &tty.saved))
		return;
	raw = tty.saved;
	raw.c_iflag &= ~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL |
				   IXON);
	/* Output processing stays: the container's pty sends bare newlines (ONLCR is off there). */
	raw.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
	raw.c_cflag &= ~(tcflag_t)(CSIZE | PARENB);
	raw.c_cflag |= CS8;
	raw.c_cc[VMIN] = 1;
	raw.c_cc[VTIME] = 0;
	/* From the background this stops us (SIGTTOU) until the user brings us to the front. */
	tty.raw = !rt3(__NR_ioctl, 0, TCSETS, &raw);
}

void capsule_relay_tty_resize(int master_fd)
{
	struct window_size size;

	if (!tty.fd || rt3(__NR_ioctl, tty.fd - 1, TIOCGWINSZ, &size))
		return;
	if (size.rows || size.columns)
		rt3(__NR_ioctl, master_fd, TIOCSWINSZ, &size);
}

void capsule_relay_tty_open(int master_fd)
{
	for (int fd = 0; fd < 3 && !tty.fd; fd++)
		if (is_terminal(fd))
			tty.fd = fd + 1;
	if (!tty.fd) {
		long fd = rt_open(AT_FDCWD, "/dev/tty", O_RDONLY | O_NOCTTY);

		tty.fd = fd < 0 ? 0 : (int)fd + 1;
	}
	capsule_relay_tty_raw();
	capsule_relay_tty_resize(master_fd);
}

void capsule_relay_tty_restore(void)
{
	const uint64_t ttou = RT_SIGNAL(SIGTTOU);

	if (!tty.raw)
		return;
	/* Never stop here: whoever has the terminal now gets it back usable. */
	rt4(__NR_rt_sigprocmask, SIG_BLOCK, &ttou, 0, sizeof(ttou));
	rt3(__NR_ioctl, 0, TCSETS, &tty.saved);
	tty.raw = false;
}
