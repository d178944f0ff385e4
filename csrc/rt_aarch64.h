/* aarch64: system call convention (syscall(2)), entry point, clone(2) onto another stack. */
#ifndef CAPSULE_RT_AARCH64_H
#define CAPSULE_RT_AARCH64_H

static inline long rt_syscall(long nr, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = nr;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc #0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return x0;
}

static inline void rt_relax(void)
{
	__asm__ volatile("yield" ::: "memory");
}

/* clang-format off: the assembler has a layout of its own */
#define RT_ENTRY                             \
	__asm__(".pushsection .text.start\n" \
		".globl _start\n"            \
		".type _start, %function\n"  \
		"_start:\n"                  \
		"	mov x29, #0\n"             \
		"	mov x30, #0\n"             \
		"	mov x0, sp\n"              \
		"	bl capsule_rt_start\n"     \
		"	brk #1\n"                  \
		".size _start, . - _start\n" \
		".popsection\n")

#define RT_THREAD                                                  \
	__asm__(".pushsection .text.thread\n"                      \
		".globl capsule_rt_thread\n"                       \
		".type capsule_rt_thread, %function\n"             \
		"capsule_rt_thread:\n"                             \
		"	and x1, x1, #-16\n"                              \
		"	stp x2, x3, [x1, #-16]!\n"                       \
		"	mov x2, #0\n"                                    \
		"	mov x3, #0\n"                                    \
		"	mov x4, #0\n"                                    \
		"	mov x8, #220\n" /* clone */                \
		"	svc #0\n"                                        \
		"	cbz x0, 1f\n"                                    \
		"	ret\n"                                           \
		"1:	ldp x1, x0, [sp], #16\n"                       \
		"	mov x29, #0\n"                                   \
		"	mov x30, #0\n"                                   \
		"	blr x1\n"                                        \
		"	mov x8, #93\n" /* exit */                  \
		"	svc #0\n"                                        \
		"	brk #1\n"                                        \
		".size capsule_rt_thread, . - capsule_rt_thread\n" \
		".popsection\n")
/* clang-format on */

#endif
