/*
 * The interpreter's memory in one huge page where the kernel has one: 150 page faults less for
 * --version, 400 for run, and one entry of the page table to copy in each clone. A kernel without
 * huge pages, or without a free one, gives the same memory page by page.
 *
 * Arenas of small objects are taken from the front, larger pieces from behind them. Tables that begin
 * as zeroes and stay nearly so are not in it, but in memory that nobody has touched yet.
 */
#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "launcher.h"

/* The size of a huge page on x86-64 and of one on AArch64 with pages of 4 KiB. */
#define HUGE ((size_t)2 << 20)
/* Pieces smaller than any arena (the interpreter's stacks) would keep one arena out of the pool. */
#define LEAST ((size_t)256 << 10)
#define UNIT ((size_t)16)
/* Tables that begin all zero and stay nearly so. */
#define SPARSE ((size_t)32 << 10)
/* Freed pieces up to this are kept by size; a greater one comes back only if it is the last. */
#define KEPT ((size_t)4096)

/* In front of each piece; keeps what follows aligned. */
union piece {
	struct {
		size_t size; /* a multiple of UNIT */
		union piece *next;
	};
	char alignment[UNIT];
};

struct pool {
	char *next, *end;
};

static char *start_of_pools; /* of `dense`; `sparse` begins where that ends */
static struct pool dense, sparse;

static union piece *kept[KEPT / UNIT + 1];

static void *map(size_t size)
{
	void *start = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return start == MAP_FAILED ? NULL : start;
}

static int is_pooled(const void *start)
{
	return start && (const char *)start >= start_of_pools && (const char *)start < sparse.end;
}

/* Return `size` bytes of a pool, NULL when it has not as many left. */
static void *cut(struct pool *pool, size_t size)
{
	char *start = pool->next;

	if (size > (size_t)(pool->end - pool->next))
		return NULL;
	pool->next += size;
	return start;
}

static void *cut_piece(struct pool *pool, size_t size)
{
	union piece *piece = cut(pool, size + sizeof(*piece));

	if (!piece)
		return NULL;
	piece->size = size;
	return piece + 1;
}

/* -- arenas: few, large and hardly ever given back ---------------------------------------------- */

#if PY_VERSION_HEX < 0x030d0000
#define PyThreadState_GetUnchecked _PyThreadState_UncheckedGet
#endif

static void *give_arena(void *context, size_t size)
{
	void *arena = size < LEAST ? NULL : cut(&dense, size);

	(void)context;
	/*
	 * The first arena is wanted for the first object: before the interpreter has made so many
	 * that it looks for cycles among them, and finds none. Nobody can ask for this earlier.
	 */
	if (PyThreadState_GetUnchecked())
		PyGC_Disable();
	return arena ? arena : map(size);
}

static void take_arena(void *context, void *arena, size_t size)
{
	(void)context;
	if (!is_pooled(arena))
		munmap(arena, size);
}

/* -- pieces: what is too large for an arena, and what the interpreter has outside of them -------- */

static void *give(void *context, size_t wanted)
{
	size_t size = (wanted + UNIT - 1) / UNIT * UNIT;
	union piece *piece;
	void *start;

	(void)context;
	if (size < wanted || size >= LEAST)
		return malloc(wanted ? wanted : 1);
	if (size <= KEPT && kept[size / UNIT]) {
		piece = kept[size / UNIT];
		kept[size / UNIT] = piece->next;
		return piece + 1;
	}
	start = cut_piece(&dense, size);
	return start ? start : malloc(wanted ? wanted : 1);
}

static void take(void *context, void *start)
{
	union piece *piece;

	(void)context;
	if (!is_pooled(start)) {
		free(start);
		return;
	}
	piece = (union piece *)start - 1;
	if ((char *)start + piece->size == dense.next) {
		dense.next = (char *)piece;
	} else if (piece->size <= KEPT) {
		piece->next = kept[piece->size / UNIT];
		kept[piece->size / UNIT] = piece;
	}
}

static void *give_zeroed(void *context, size_t count, size_t size)
{
	void *start;

	/* What nobody has had need not be cleared. calloc(3) clears what it cuts from a heap that has room: 31 faults. */
	if (size && count >= SPARSE / size) {
		start = count > SIZE_MAX / size - UNIT
				? NULL
				: cut_piece(&sparse, (count * size + UNIT - 1) / UNIT * UNIT);
		return start ? start : calloc(count, size);
	}
	start = give(context, count * size);
	return start ? memset(start, 0, count * size) : NULL;
}

static void *give_more(void *context, void *start, size_t size)
{
	size_t had;
	void *grown;

	if (!start)
		return give(context, size);
	if (!is_pooled(start))
		return realloc(start, size ? size : 1);
	had = ((union piece *)start - 1)->size;
	if (size <= had)
		return start;
	grown = give(context, size);
	if (grown) {
		memcpy(grown, start, had);
		take(context, start);
	}
	return grown;
}

void capsule_memory_prepare(void)
{
	PyObjectArenaAllocator arenas = { NULL, give_arena, take_arena };
	PyMemAllocatorEx pieces = { NULL, give, give_zeroed, give_more, take };
	char *start = map(3 * HUGE);

	if (!start)
		return;
	/* What is not used is never touched, so it is only addresses. */
	start += -(uintptr_t)start % HUGE;
	if (madvise(start, HUGE, MADV_HUGEPAGE) < 0)
		return;
	start_of_pools = dense.next = start;
	dense.end = sparse.next = start + HUGE;
	sparse.end = sparse.next + HUGE;
	PyObject_SetArenaAllocator(&arenas);
	PyMem_SetAllocator(PYMEM_DOMAIN_RAW, &pieces);
}
