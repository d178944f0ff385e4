/* build: -std=gnu11 -Os -ffreestanding -fno-builtin -fno-stack-protector -fcf-protection=none -fno-pic -fno-asynchronous-unwind-tables -ffunction-sections -nostdlib -static -s -Wl,--gc-sections -Wl,--build-id=none -Wl,-z,noexecstack -Wl,-z,noseparate-code -Wl,-z,norelro csrc/rt.c csrc/dns.c csrc/attend_table.c csrc/attend_socket.c csrc/attend_dns.c csrc/attend_stream.c csrc/attend_proxy.c csrc/attend_child.c csrc/attend_leave.c */
/*
 * The attendant's loop, and its end: when its data file has no name any more. See attend.h.
 *
 *     NAME LABEL                        answers for names
 *     NAME LABEL (ADDRESS PORT)...      carries each socket to an address (8 or 32 hex digits)
 *     NAME LABEL -n|-u PROGRAM ...      watches a program (attend_child.c)
 *
 * With the data file at fd 3, locked, and sockets from fd 4 on. NAME and LABEL are for ps alone.
 */
#include "attend.h"

#include <linux/capability.h>
#include <linux/prctl.h>

#define EXIT_USAGE 127
#define SLOTS 2048
#define NOBODY 65534
#define FILES 4096   /* descriptors, where the hard limit lets us */
#define LOOK_MS 2000 /* how often the data file is looked at where inotify is not to be had */
#define IN_ATTRIB_FLAG 0x4
#define IN_DELETE_SELF_FLAG 0x400

static struct attend_slot slots[SLOTS];
static size_t top; /* slots from here on are free */
static uint32_t serial;

struct attend_slot *capsule_attend_watch(int fd, int events, void (*run)(struct attend_slot *, int),
					 void *owner)
{
	for (size_t i = 0; i < SLOTS; i++) {
		struct attend_slot *slot = &slots[i];

		if (slot->run)
			continue;
		*slot = (struct attend_slot){ fd, events, ++serial, 0, run, owner };
		if (top <= i)
			top = i + 1;
		return slot;
	}
	rt_close(fd);
	return NULL;
}

void capsule_attend_forget(struct attend_slot *slot)
{
	if (!slot)
		return;
	rt_close(slot->fd);
	*slot = (struct attend_slot){ .fd = -1 };
	while (top && !slots[top - 1].run)
		top--;
}

void capsule_attend_deadline(struct attend_slot *slot, int64_t milliseconds)
{
	slot->deadline = milliseconds ? capsule_rt_now_ms() + milliseconds : 0;
}

/* Nobody removes the file of an attendant that is wanted: who takes it away means our end. */
static void on_data_file(struct attend_slot *slot, int revents)
{
	char events[512];

	if (revents)
		rt3(__NR_read, slot->fd, events, sizeof(events));
	else
		capsule_attend_deadline(slot, LOOK_MS);
	if (capsule_table_is_gone())
		capsule_attend_end();
}

static void watch_data_file(void)
{
	int fd = (int)rt1(__NR_inotify_init1, O_CLOEXEC | O_NONBLOCK);
	struct attend_slot *slot;

	if (fd >= 0 && rt3(__NR_inotify_add_watch, fd, "/proc/self/fd/3",
			   IN_ATTRIB_FLAG | IN_DELETE_SELF_FLAG) >= 0) {
		capsule_attend_watch(fd, RT_POLLIN, on_data_file, NULL);
		return;
	}
	rt_close(fd);
	slot = capsule_attend_watch(-1, 0, on_data_file, NULL);
	capsule_attend_deadline(slot, LOOK_MS);
}

/*
 * Sockets and the data file are open: nothing more is needed of the host's root. In a user
 * namespace where nobody is not mapped the ids stay, and the capabilities go all the same.
 */
static void drop_privileges(void)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	const struct __user_cap_data_struct none[2] = { 0 };

	rt2(__NR_setgroups, 0, NULL);
	rt3(__NR_setresgid, NOBODY, NOBODY, NOBODY);
	rt3(__NR_setresuid, NOBODY, NOBODY, NOBODY);
	rt2(__NR_capset, &header, none);
	rt5(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	rt5(__NR_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
}

/* Whoever started us may have been content with few. */
static void allow_files(void)
{
	uint64_t limit[2]; /* struct rlimit64: soft, hard */

	if (rt4(__NR_prlimit64, 0, 7 /* RLIMIT_NOFILE */, NULL, limit) < 0 || limit[0] >= FILES)
		return;
	limit[0] = limit[1] < FILES ? limit[1] : FILES;
	rt4(__NR_prlimit64, 0, 7, limit, NULL);
}

/* Returns whether every socket is served. */
static bool serve(int argc, char **argv)
{
	bool is_proxy = argc > 2;

	for (int fd = ATTEND_SOCKETS, at = 2;; fd++, at += 2) {
		int type = 0;
		uint32_t size = sizeof(type);
		long ret = rt5(__NR_getsockopt, fd, RT_SOL_SOCKET, NET_TYPE, &type, &size);

		if (ret < 0)
			return fd > ATTEND_SOCKETS && (!is_proxy || at == argc);
		rt3(__NR_fcntl, fd, F_SETFL, O_RDWR | O_NONBLOCK);
		if (is_proxy) {
			if (at + 2 > argc ||
			    !capsule_attend_proxy(fd, type, argv[at], argv[at + 1]))
				return false;
		} else if (type == NET_STREAM) {
			capsule_attend_dns_stream(fd);
		} else {
			capsule_attend_dns(fd);
		}
	}
}

/* Wait until something is to be done; what a slot waits for and when it ends is looked up anew. */
static void turn(void)
{
	static struct rt_pollfd polls[SLOTS];
	static uint32_t serials[SLOTS];
	int64_t now = capsule_rt_now_ms(), first = 0;
	struct rt_timespec wait;
	size_t count = top;

	for (size_t i = 0; i < count; i++) {
		struct attend_slot *slot = &slots[i];

		/* Without events it waits for its deadline alone; a poll would tell of hangups. */
		polls[i] = (struct rt_pollfd){ slot->run && slot->events ? slot->fd : -1,
					       (int16_t)slot->events, 0 };
		serials[i] = slot->serial;
		if (slot->run && slot->deadline && (!first || slot->deadline < first))
			first = slot->deadline;
	}
	wait.tv_sec = first > now ? (first - now) / 1000 : 0;
	wait.tv_nsec = first > now ? (first - now) % 1000 * 1000000 : 0;
	rt5(__NR_ppoll, polls, count, first ? &wait : NULL, 0, 0);
	now = capsule_rt_now_ms();
	for (size_t i = 0; i < count; i++) {
		struct attend_slot *slot = &slots[i];

		/* One that was run before may have freed it, and another one taken it. */
		if (!slot->run || slot->serial != serials[i])
			continue;
		if (polls[i].revents)
			slot->run(slot, polls[i].revents);
		else if (slot->deadline && slot->deadline <= now)
			slot->run(slot, 0);
	}
}

int capsule_main(int argc, char **argv, char **envp)
{
	const struct rt_sigaction ignore = { .handler = (void (*)(int))1 };

	if (argc < 2)
		return EXIT_USAGE;
	rt4(__NR_rt_sigaction, 13 /* SIGPIPE */, &ignore, 0, sizeof(uint64_t));
	rt5(__NR_prctl, PR_SET_NAME, argv[0], 0, 0, 0);
	watch_data_file();
	capsule_attend_leave();
	if (argc > 3 && argv[2][0] == '-') {
		if (!capsule_attend_child(argv[2][1] == 'u', argv + 3, envp))
			return EXIT_USAGE;
	} else {
		allow_files();
		drop_privileges();
		if (!serve(argc, argv))
			return EXIT_USAGE;
	}
	/* It may have gone before it was watched. */
	while (!capsule_table_is_gone())
		turn();
	capsule_attend_end();
}
