/*
 * A driver for fuzz targets where no libFuzzer is installed: RUNS SEED FILE... mutates the files blindly but
 * with the words of their language, and calls the target.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIZE_MAXIMUM 4096
#define SEEDS_MAXIMUM 64

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static const char *const words[] = {
	"{", "}", "[", "]", "\"", ",", ":", "\\", "\\u", "\\u0000", "\\ud800", "\\udc00", "\\n", "null", "true", "-",
	"0", "9", "18446744073709551616", ".", "e", "+", "\"a\":", "\xc3\xa9", "\xf0\x9f\x98\x80", "\xff", "\xed\xa0", "\n",
};

static struct seed {
	unsigned char data[SIZE_MAXIMUM];
	size_t size;
} seeds[SEEDS_MAXIMUM];

static unsigned long long state;

/* xorshift64*: the same runs on every machine. */
static size_t pick(size_t limit)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return (size_t)((state * 2685821657736338717ULL) >> 33) % limit;
}

static void insert(struct seed *input, const void *bytes, size_t size)
{
	size_t at = pick(input->size + 1);

	if (input->size + size > SIZE_MAXIMUM)
		return;
	memmove(input->data + at + size, input->data + at, input->size - at);
	memcpy(input->data + at, bytes, size);
	input->size += size;
}

static void mutate(struct seed *input, size_t count)
{
	const struct seed *other = &seeds[pick(count)];
	const char *word = words[pick(sizeof(words) / sizeof(words[0]))];
	size_t from = pick(other->size + 1), at = pick(input->size + 1);
	size_t left = input->size - at;

	switch (pick(5)) {
	case 0:
		insert(input, word, strlen(word));
		break;
	case 1:
		insert(input, other->data + from, pick(other->size - from + 1));
		break;
	case 2:	/* remove a piece */
		left = pick(left + 1);
		memmove(input->data + at, input->data + at + left, input->size - at - left);
		input->size -= left;
		break;
	case 3:	/* cut the end off */
		input->size = at;
		break;
	default:
		if (left)
			input->data[at] = (unsigned char)pick(256);
	}
}

int main(int argc, char **argv)
{
	size_t count = 0;
	long runs;

	if (argc < 4)
		return 2;
	runs = strtol(argv[1], NULL, 10);
	state = strtoull(argv[2], NULL, 10) | 1;
	for (int i = 3; i < argc && count < SEEDS_MAXIMUM; i++) {
		FILE *file = fopen(argv[i], "rb");

		if (!file)
			return 2;
		seeds[count].size = fread(seeds[count].data, 1, SIZE_MAXIMUM, file);
		fclose(file);
		count++;
	}
	for (long run = 0; run < runs; run++) {
		struct seed input = seeds[pick(count)];
		/* A copy of its own size: the sanitizer then sees a read beyond the input. */
		unsigned char *exact;

		for (size_t n = pick(6); n > 0; n--)
			mutate(&input, count);
		exact = malloc(input.size + 1);
		if (!exact)
			return 2;
		memcpy(exact, input.data, input.size);
		exact = realloc(exact, input.size ? input.size : 1);
		LLVMFuzzerTestOneInput(exact, input.size);
		free(exact);
	}
	return 0;
}
