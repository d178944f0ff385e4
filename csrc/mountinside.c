/* See mountinside.h. */
#define _GNU_SOURCE
#include "mountinside.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fdpass.h"
#include "proc.h"

/* What the child answers; the mount's fd travels beside it. */
struct answer {
	int32_t result;
	char message[CAPSULE_MOUNTINSIDE_MESSAGE];
};

__attribute__((noreturn)) static void mount_and_answer(const struct capsule_mount_target *target,
						       const struct capsule_mount_new *new_mount,
						       const struct capsule_mount_flags *flags,
						       int channel)
{
	struct capsule_mount_new own = *new_mount;
	struct answer answer = { .message = "" };
	int fd;

	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	own.pid_namespace = 0;
	fd = capsule_mountapi_place_new(target, &own, flags, answer.message,
					sizeof(answer.message));
	answer.result = fd < 0 ? fd : 0;
	_exit(capsule_fdpass_send(channel, &answer, sizeof(answer), &fd, fd >= 0) < 0);
}

static int receive_mount(int channel, char *message, size_t message_size)
{
	int fds[CAPSULE_FDPASS_MAX];
	struct answer answer;
	size_t count;

	if (capsule_fdpass_recv(channel, &answer, sizeof(answer), fds, &count) != sizeof(answer))
		return -ECHILD;
	for (size_t i = 0; i < message_size && i < sizeof(answer.message); i++)
		message[i] = answer.message[i];
	if (answer.result < 0)
		return answer.result;
	return count == 1 ? fds[0] : -EBADMSG;
}

int capsule_mountinside_place_new(const struct capsule_mount_target *target,
				  const struct capsule_mount_new *new_mount,
				  const struct capsule_mount_flags *flags, char *message,
				  size_t message_size)
{
	int channel[2], status, ret = capsule_fdpass_pair(channel);
	pid_t pid;

	if (ret < 0)
		return ret;
	/* Raw and with a NULL stack, a fork: glibc's would run atfork handlers. */
	pid = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
	if (pid == 0)
		mount_and_answer(target, new_mount, flags, channel[1]);
	ret = pid < 0 ? -errno : 0;
	close(channel[1]);
	if (pid > 0) {
		ret = receive_mount(channel[0], message, message_size);
		capsule_proc_wait(pid, 0, &status);
	}
	close(channel[0]);
	return ret;
}
