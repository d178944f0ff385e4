/*
 * The words of the sync channel (docs/bootstrap.md): R on one end; S1, S2 and T in turn on the
 * other.
 */
#ifndef CAPSULE_MESSAGES_H
#define CAPSULE_MESSAGES_H

enum capsule_message {
	CAPSULE_MSG_USERMAP = 1, /* S1: write my uid_map and gid_map */
	CAPSULE_MSG_TIMENS = 2,	 /* S1: write my timens_offsets */
	CAPSULE_MSG_STAGE2 = 3,	 /* S1: u32 pid of S2 in R's pid namespace */
	CAPSULE_MSG_HOOKS = 4,	 /* S2: save the record, run prestart and createRuntime */
	CAPSULE_MSG_SOURCE = 5,	 /* S2: u32 flags, path: give me a detached mount of that path */
	CAPSULE_MSG_CONSOLE = 6, /* S2: with the pty master's fd */
	CAPSULE_MSG_READY = 7,	 /* T: waiting for start */
	CAPSULE_MSG_ERROR = 8,	 /* T: step, index, errno, wait status (plan.h) */
	CAPSULE_MSG_ACK = 9,	 /* R: done */
	CAPSULE_MSG_TAIL = 10,	 /* S2: u32 pid in R's pid namespace of the tail, its clone */
	CAPSULE_MSG_START = 11,	 /* start verb to T, over the start socket */
	CAPSULE_MSG_EXITED = 12, /* relay to the library: i32 pid, u32 wait status */
	CAPSULE_MSG_FAILED = 13, /* S1, S2: i32 errno, "class\\0operation\\0subject\\0cause" */
	CAPSULE_MSG_STOP = 14,	 /* S2 of a build with stop points: send me SIGSTOP */
};

#define CAPSULE_MSG_MAX 65536 /* bytes of one message, header included */

#endif
