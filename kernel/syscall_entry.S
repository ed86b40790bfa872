/* SYSCALL and back.  There is one control thread, so its registers have one place, control.frame;
 * the callee-saved ones go there at once because the call may end in sched_run(), which drops this
 * stack.  SYSRET faults in ring 0 on a non-canonical RIP (SDM 2B): nothing is ever mapped in the
 * last page below USER_END, so no SYSCALL can return there. */
#include "kernel/asm_offsets.h"

#define FRAME(reg) control + CONTROL_FRAME + FRAME_##reg

    .section .text.hot, "ax"
    .globl syscall_entry
syscall_entry:                      /* rcx = rip, r11 = rflags; IF=0 by FMASK */
    swapgs
    mov %rsp, FRAME(RSP)
    mov %gs:CPU_STACK_TOP, %rsp
    mov %rcx, FRAME(RIP)
    mov %r11, FRAME(RFLAGS)
    mov %rbx, FRAME(RBX)
    mov %rbp, FRAME(RBP)
    mov %r12, FRAME(R12)
    mov %r13, FRAME(R13)
    mov %r14, FRAME(R14)
    mov %r15, FRAME(R15)
    push %r9                        /* args[6] */
    push %r8
    push %r10
    push %rdx
    push %rsi
    push %rdi
    mov %rax, %rdi
    mov %rsp, %rsi
    xor %ebp, %ebp                  /* backtraces end here */
    call syscall_main
    mov FRAME(RBP), %rbp            /* the other callee-saved ones are still as they were */
    jmp 1f

    .globl syscall_resume
syscall_resume:                     /* rdi = result */
    mov %rdi, %rax
    mov FRAME(RBX), %rbx
    mov FRAME(RBP), %rbp
    mov FRAME(R12), %r12
    mov FRAME(R13), %r13
    mov FRAME(R14), %r14
    mov FRAME(R15), %r15
1:  xor %edi, %edi                  /* nothing of the kernel's leaks */
    xor %esi, %esi
    xor %edx, %edx
    xor %r8d, %r8d
    xor %r9d, %r9d
    xor %r10d, %r10d
    mov FRAME(RIP), %rcx
    mov FRAME(RFLAGS), %r11
    mov FRAME(RSP), %rsp
    swapgs
    sysretq
