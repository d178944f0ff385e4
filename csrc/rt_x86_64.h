/* x86-64: system call convention (syscall(2)), entry point, clone(2) onto another stack. */
#ifndef CAPSULE_RT_X86_64_H
#define CAPSULE_RT_X86_64_H

static inline long rt_syscall(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

static inline void rt_relax(void)
{
	__asm__ volatile("pause" ::: "memory");
}

/* The kernel enters with the argument block at the stack pointer, which it has aligned to 16. */
/* clang-format off: the assembler has a layout of its own */
#define RT_ENTRY                             \
	__asm__(".pushsection .text.start\n" \
		".globl _start\n"            \
		".type _start, @function\n"  \
		"_start:\n"                  \
		"	xor %ebp, %ebp\n"          \
		"	mov %rsp, %rdi\n"          \
		"	call capsule_rt_start\n"   \
		"	hlt\n"                     \
		".size _start, . - _start\n" \
		".popsection\n")

#define RT_THREAD                                                  \
	__asm__(".pushsection .text.thread\n"                      \
		".globl capsule_rt_thread\n"                       \
		".type capsule_rt_thread, @function\n"             \
		"capsule_rt_thread:\n"                             \
		"	and $-16, %rsi\n"                                \
		"	sub $16, %rsi\n"                                 \
		"	mov %rdx, 0(%rsi)\n"                             \
		"	mov %rcx, 8(%rsi)\n"                             \
		"	xor %edx, %edx\n"                                \
		"	xor %r10d, %r10d\n"                              \
		"	xor %r8d, %r8d\n"                                \
		"	mov $56, %eax\n" /* clone */               \
		"	syscall\n"                                       \
		"	test %rax, %rax\n"                               \
		"	jnz 1f\n"                                        \
		"	xor %ebp, %ebp\n"                                \
		"	pop %rax\n"                                      \
		"	pop %rdi\n"                                      \
		"	call *%rax\n"                                    \
		"	mov %eax, %edi\n"                                \
		"	mov $60, %eax\n" /* exit */                \
		"	syscall\n"                                       \
		"	hlt\n"                                           \
		"1:	ret\n"                                         \
		".size capsule_rt_thread, . - capsule_rt_thread\n" \
		".popsection\n")
/* clang-format on */

#endif
