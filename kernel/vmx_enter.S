/* In and out of a guest: the only assembly of the exit path.  IF=0 throughout.
 *
 * HOST_RSP is the CPU's stack top: an exit always starts on an empty stack, so that handlers may end
 * in the scheduler.  cpu->guest_regs is regs[] of the vCPU's page in the order of enum vcpu_reg;
 * RSP is not in it while the guest runs, the VMCS has it. */
#include "kernel/asm_offsets.h"

    .macro LOAD_GUEST
    mov %gs:CPU_GUEST_REGS, %rax
    mov 8(%rax), %rcx
    mov 16(%rax), %rdx
    mov 24(%rax), %rbx
    mov 40(%rax), %rbp
    mov 48(%rax), %rsi
    mov 56(%rax), %rdi
    mov 64(%rax), %r8
    mov 72(%rax), %r9
    mov 80(%rax), %r10
    mov 88(%rax), %r11
    mov 96(%rax), %r12
    mov 104(%rax), %r13
    mov 112(%rax), %r14
    mov 120(%rax), %r15
    mov (%rax), %rax
    .endm

    .section .text
    .globl vmx_launch
vmx_launch:
    mov %gs:CPU_STACK_TOP, %rsp
    LOAD_GUEST
    vmlaunch
    jmp refused

    .globl vmx_resume
vmx_resume:
    mov %gs:CPU_STACK_TOP, %rsp
    jmp resume

    .balign 64
    .globl vmx_exit_entry
vmx_exit_entry:
    push %rax
    mov %gs:CPU_GUEST_REGS, %rax
    mov %rcx, 8(%rax)
    mov %rdx, 16(%rax)
    mov %rbx, 24(%rax)
    mov %rbp, 40(%rax)
    mov %rsi, 48(%rax)
    mov %rdi, 56(%rax)
    mov %r8, 64(%rax)
    mov %r9, 72(%rax)
    mov %r10, 80(%rax)
    mov %r11, 88(%rax)
    mov %r12, 96(%rax)
    mov %r13, 104(%rax)
    mov %r14, 112(%rax)
    mov %r15, 120(%rax)
    pop (%rax)
    xor %ebx, %ebx                  /* nothing of the guest's reaches C, not even speculatively */
    xor %ebp, %ebp                  /* backtraces end here */
    xor %r8d, %r8d
    xor %r9d, %r9d
    xor %r10d, %r10d
    xor %r11d, %r11d
    xor %r12d, %r12d
    xor %r13d, %r13d
    xor %r14d, %r14d
    xor %r15d, %r15d
    mov %gs:0, %rdi                 /* struct cpu */
    mov %gs:CPU_RUNNING, %rsi       /* struct vcpu */
    call vmx_exit
resume:
    LOAD_GUEST
    vmresume

refused:                            /* VMfail: the guest did not start */
    xor %ebp, %ebp
    mov %gs:CPU_STACK_TOP, %rsp
    mov %gs:0, %rdi
    mov %gs:CPU_RUNNING, %rsi
    call vmx_entry_refused
    ud2
