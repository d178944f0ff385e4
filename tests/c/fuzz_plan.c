/*
 * Drive the plan decoder over hostile bytes and use all that it returns, so that a sanitizer sees
 * every read. With libFuzzer: clang -fsanitize=fuzzer,address,undefined. Without: `fuzz_plan FILE`
 * decodes the file, `fuzz_plan FILE all` each of its truncations and single-bit flips as well, and
 * prints how many of them are plans.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plan.h"

static volatile uint64_t sink;

static void use_bytes(const void *data, size_t size)
{
	for (size_t i = 0; i < size; i++)
		sink += ((const unsigned char *)data)[i];
}

static void use_string(const char *text)
{
	if (text)
		use_bytes(text, strlen(text));
}

static void use_strings(const struct plan_strings *strings)
{
	const char **vector = calloc(strings->count + 1, sizeof(*vector));

	if (!vector)
		abort();
	capsule_plan_vector(strings, vector);
	for (uint32_t i = 0; i < strings->count; i++)
		use_string(vector[i]);
	if (vector[strings->count])
		abort();
	free(vector);
}

static void use_tail(const struct tail_plan *plan)
{
	struct plan_cursor cursor = plan->hooks;
	struct tail_hook hook;
	uint32_t hooks = 0;

	use_string(plan->exec_path);
	use_string(plan->cwd);
	use_string(plan->apparmor);
	use_string(plan->selinux);
	use_strings(&plan->args);
	use_strings(&plan->env);
	use_bytes(plan->groups, plan->group_count * sizeof(uint32_t));
	use_bytes(plan->filter, plan->filter_len * sizeof(struct sock_filter));
	use_bytes(plan->hook_state.data, plan->hook_state.len);
	use_bytes(plan->agent_state.data, plan->agent_state.len);
	for (; capsule_plan_next_hook(&cursor, &hook); hooks++) {
		use_string(hook.path);
		use_strings(&hook.args);
		use_strings(&hook.env);
	}
	if (hooks != plan->hook_count)
		abort();
}

static void use_relay(const struct relay_plan *plan)
{
	use_strings(&plan->dirs);
	use_strings(&plan->files);
	use_strings(&plan->fallback);
	use_string(plan->state_dir);
	use_string(plan->kill_cgroup);
	use_string(plan->record_name);
	use_string(plan->record_head);
	use_string(plan->oom_counters);
	use_string(plan->log_name);
	use_strings(&plan->again);
	use_strings(&plan->health);
}

/* Returns whether the bytes are a plan of either kind. */
static int try_plan(const void *bytes, size_t size)
{
	struct relay_plan relay;
	struct tail_plan tail;
	void *data = malloc(size ? size : 1); /* exact, so that one byte too far is seen */
	int accepted = 0;

	if (!data)
		abort();
	memcpy(data, bytes, size);
	if (!capsule_plan_tail(data, size, &tail)) {
		use_tail(&tail);
		accepted = 1;
	}
	if (!capsule_plan_relay(data, size, &relay)) {
		use_relay(&relay);
		accepted = 1;
	}
	free(data);
	return accepted;
}

#ifdef PLAN_FUZZER
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	try_plan(data, size);
	return 0;
}
#else
static char bytes[1 << 20];

int main(int argc, char **argv)
{
	FILE *file = argc > 1 ? fopen(argv[1], "rb") : NULL;
	size_t size, truncated = 0, flipped = 0;
	int whole;

	if (!file)
		return 2;
	size = fread(bytes, 1, sizeof(bytes), file);
	fclose(file);
	whole = try_plan(bytes, size);
	if (argc < 3) {
		printf("%d\n", whole);
		return 0;
	}
	for (size_t i = 0; i < size; i++)
		truncated += (size_t)try_plan(bytes, i);
	for (size_t bit = 0; bit < size * 8; bit++) {
		bytes[bit / 8] ^= (char)(1 << bit % 8);
		flipped += (size_t)try_plan(bytes, size);
		bytes[bit / 8] ^= (char)(1 << bit % 8);
	}
	printf("%d %zu %zu %zu\n", whole, truncated, flipped, size * 8);
	return 0;
}
#endif
