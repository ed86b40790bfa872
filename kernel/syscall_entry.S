/* System calls and the way to ring 3.  There is one control thread, so its registers have one place,
 * control.frame; each CPU's TSS names its end as the stack for ring 0, so that the CPU itself puts
 * RIP, CS, RFLAGS, RSP and SS there, and nothing is lost when a call ends in sched_run(), which drops
 * this CPU's stack.
 *
 * INT and IRET rather than SYSCALL and SYSRET: the MSRs of those stay the guest's while ring 3
 * serves its exit.  Writing them costs more than the gate, above all nested, where each is an exit. */
#include "kernel/asm_offsets.h"

#define FRAME(reg) control + CONTROL_FRAME + FRAME_##reg

    .section .text.hot, "ax"
    .globl syscall_entry
syscall_entry:
    swapgs
    mov %gs:CPU_STACK_TOP, %rsp
    pushq $2                        /* DF, and AC, with which SMAP would not hold */
    popfq
    mov %rbx, FRAME(RBX)
    mov %rbp, FRAME(RBP)
    mov %r12, FRAME(R12)
    mov %r13, FRAME(R13)
    mov %r14, FRAME(R14)
    mov %r15, FRAME(R15)
    xor %ebp, %ebp                  /* backtraces end here */
    cmp $SYSCALL_WAIT, %rax         /* the frequent one; its arguments are where C wants them */
    jne 1f
    call control_wait
    jmp 2f
1:  .irp r, r9, r8, r10, rdx, rsi, rdi  /* args[6] */
    push %\r
    .endr
    mov %rax, %rdi
    mov %rsp, %rsi
    call syscall_main
    jmp 2f

    .globl syscall_resume
syscall_resume:                     /* rdi = result */
    mov %rdi, %rax
2:  mov FRAME(RBX), %rbx
    mov FRAME(RBP), %rbp
    mov FRAME(R12), %r12
    mov FRAME(R13), %r13
    mov FRAME(R14), %r14
    mov FRAME(R15), %r15
    .irp r, ecx, edx, esi, edi, r8d, r9d, r10d, r11d    /* nothing of the kernel's leaks */
    xor %\r, %\r
    .endr
    mov $FRAME(RIP), %rsp
    swapgs
    iretq
