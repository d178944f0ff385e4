#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "payload.h"

static volatile sig_atomic_t caught[65];

static void catch(int sig)
{
	caught[sig] = 1;
}

static _Noreturn void sleep_for_ever(void)
{
	for (;;)
		pause();
}

static int command_pause(int argc, char **argv)
{
	(void)argc, (void)argv;
	sleep_for_ever();
}

static int command_exit(int argc, char **argv)
{
	return argc > 0 ? atoi(argv[0]) : 0;
}

/* Die by a signal: pid 1 is immune to its own default actions, so a child does it for it. */
static int command_signal(int argc, char **argv)
{
	int sig = argc > 0 ? atoi(argv[0]) : SIGKILL;
	int status;
	pid_t child = fork();

	if (!child) {
		signal(sig, SIG_DFL);
		kill(getpid(), sig);
		pause();
	}
	if (waitpid(child, &status, 0) != child || !WIFSIGNALED(status))
		return 2;
	return 128 + WTERMSIG(status);
}

static int command_cat(int argc, char **argv)
{
	char buffer[65536];
	ssize_t size;

	(void)argc, (void)argv;
	while ((size = read(0, buffer, sizeof(buffer))) > 0)
		for (ssize_t done = 0, put; done < size; done += put)
			if ((put = write(1, buffer + done, (size_t)(size - done))) < 0)
				return 1;
	return size < 0;
}

/* Announce "ready", then print each signal caught; SIGTERM ends with status 42. */
static int command_trap(int argc, char **argv)
{
	static const int signals[] = {
		SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGTERM, SIGWINCH, SIGCONT,
	};
	struct sigaction action = { .sa_handler = catch };
	sigset_t blocked, before;

	(void)argc, (void)argv;
	sigfillset(&blocked);
	sigprocmask(SIG_BLOCK, &blocked, &before);
	sigemptyset(&before);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaction(signals[i], &action, NULL);
	puts("ready");
	fflush(stdout);
	for (;;) {
		struct winsize size = { 0 };

		sigsuspend(&before);
		ioctl(0, TIOCGWINSZ, &size);
		for (int sig = 1; sig < 65; sig++) {
			if (!caught[sig])
				continue;
			caught[sig] = 0;
			printf("signal %d %dx%d\n", sig, size.ws_col, size.ws_row);
			fflush(stdout);
			if (sig == SIGTERM)
				return 42;
		}
	}
}

/* Start N children that sleep, say so, and sleep as well. */
static int command_children(int argc, char **argv)
{
	int count = argc > 0 ? atoi(argv[0]) : 1;

	for (int i = 0; i < count; i++)
		if (!fork())
			sleep_for_ever();
	puts("ready");
	fflush(stdout);
	sleep_for_ever();
}

/* Fork until the kernel refuses or N children exist; print the number; pid 1's end ends them. */
static int command_forkbomb(int argc, char **argv)
{
	int limit = argc > 0 ? atoi(argv[0]) : 100;
	int made = 0;
	pid_t child = 1;

	while (made < limit && (child = fork()) > 0)
		made++;
	if (!child)
		sleep_for_ever();
	printf("{\"made\":%d,\"errno\":%d}\n", made, made < limit ? errno : 0);
	fflush(stdout);
	return 0;
}

/* Make the system call with the number and up to five integers given; print its errno. */
static int command_syscall(int argc, char **argv)
{
	long words[6] = { 0 };

	for (int i = 0; i < 6 && i < argc; i++)
		words[i] = strtol(argv[i], NULL, 0);
	errno = 0;
	syscall(words[0], words[1], words[2], words[3], words[4], words[5]);
	printf("{\"errno\":%d}\n", errno);
	return 0;
}

/* Write one line to a file and to stdout at once: what hooks do. */
static int command_append(int argc, char **argv)
{
	FILE *file = argc > 1 ? fopen(argv[0], "ae") : NULL;

	if (!file)
		return 3;
	fprintf(file, "%s\n", argv[1]);
	return fclose(file) ? 4 : argc > 2 ? atoi(argv[2]) : 0;
}

/* Put the probe's facts, and the text on stdin under "stdin", into a file. */
static int command_record(int argc, char **argv)
{
	int fd = argc > 0 ? open(argv[0], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644) : -1;

	if (fd < 0)
		return 3;
	if (dup2(fd, 1) < 0)
		return 4;
	close(fd);
	json_array(NULL);
	json_stream(NULL, 0);
	command_probe(0, NULL);
	json_array_end();
	json_end();
	return 0;
}

/* Send one datagram, a descriptor beside it; returns an errno, 0 for none. */
static int send_word(int fd, const char *word, size_t size)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { (void *)word, size };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1,
				  .msg_control = control, .msg_controllen = sizeof(control) };
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &(int){ 0 }, sizeof(int));
	return sendmsg(fd, &message, 0) < 0 ? errno : 0;
}

/*
 * Send each word to $NOTIFY_SOCKET, stdin beside it. "flood" is a message too long to be read, "pause" sleeps for ever,
 * "wait" waits for a line on stdin, "write" tries to make a file beside the socket and must fail.
 */
static int command_notify(int argc, char **argv)
{
	static char flood[5000] = "READY=1\n";
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const char *path = getenv("NOTIFY_SOCKET");
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	int failed = 0;
	char byte;

	if (!path || strlen(path) >= sizeof(address.sun_path))
		return 3;
	strcpy(address.sun_path, path);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)))
		return 4;
	for (int i = 0; i < argc && !failed; i++) {
		if (!strcmp(argv[i], "pause"))
			sleep_for_ever();
		else if (!strcmp(argv[i], "wait"))
			failed = read(0, &byte, 1) != 1;
		else if (!strcmp(argv[i], "write"))
			failed = !unlink(path) || errno != EROFS;
		else if (!strcmp(argv[i], "flood"))
			failed = send_word(fd, flood, sizeof(flood));
		else
			failed = send_word(fd, argv[i], strlen(argv[i]));
	}
	return failed ? 5 : 0;
}

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} commands[] = {
	{ "probe", command_probe },	{ "try", command_try },
	{ "hunt", command_hunt },	{ "host", command_host },
	{ "pause", command_pause },	{ "exit", command_exit },
	{ "signal", command_signal },	{ "cat", command_cat },
	{ "trap", command_trap },	{ "children", command_children },
	{ "forkbomb", command_forkbomb }, { "syscall", command_syscall },
	{ "append", command_append },	{ "record", command_record },
	{ "notify", command_notify },
};

int main(int argc, char **argv)
{
	for (size_t i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++)
		if (!strcmp(argv[1], commands[i].name))
			return commands[i].run(argc - 2, argv + 2);
	fprintf(stderr, "usage: payload COMMAND [ARGUMENT]...\n");
	return 2;
}
