/*
 * Trying what a container needs, for `doctor`: each trial is done in a child with namespaces of its own, which ends
 * with it, so nothing of it is left. Linux only knows whether a call works when it is called.
 */
#ifndef CAPSULE_TRIAL_H
#define CAPSULE_TRIAL_H

/* Names of the trials, NULL at the end; the position is the number that capsule_trial_run takes. */
extern const char *const capsule_trial_names[];

/*
 * Run a trial and wait for it, ten seconds at most. cgroup_fd is a v2 cgroup to clone into. With own_userns it is done in
 * a new user namespace, as without privilege. Returns 0, -errno of the call that failed, -EINVAL for no such trial.
 */
int capsule_trial_run(int number, int cgroup_fd, int own_userns);

#endif
