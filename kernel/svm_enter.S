/* Into the guest and back, as a function.  C calls it with GIF=0, so that nothing comes between the
 * last look at cpu->attention and VMRUN; with the host's IF=1 at VMRUN and V_INTR_MASKING a physical
 * interrupt that waits, or comes, is an exit at once (APM 2, 15.21.1).  It comes back with IF=0 and
 * GIF=1: an NMI that waited is taken here, an interrupt waits on. */
#include "kernel/abi/speculation.h"
#include "kernel/asm_offsets.h"

    .section .text.hot, "ax"
    .globl svm_enter
svm_enter:      /* rdi = VMCB, rdx = host's VMSAVE area (physical), rsi = regs[], rcx = vCPU */
    .irp r, rbp, rbx, r12, r13, r14, r15, rdx, rcx, rdi, rsi
    push %\r
    .endr
    mov %rdi, %rax                  /* RAX and RSP of the guest are in the VMCB */
    sti                             /* not right before VMRUN: its shadow must be over */
    vmload %rax
1:  mov 8*1(%rsi), %rcx ; mov 8*2(%rsi), %rdx ; mov 8*3(%rsi), %rbx
    mov 8*5(%rsi), %rbp ; mov 8*7(%rsi), %rdi
    .irp n, 8, 9, 10, 11, 12, 13, 14, 15
    mov 8*\n(%rsi), %r\n
    .endr
    mov 8*6(%rsi), %rsi
    vmrun %rax
    push %rdi
    mov 8(%rsp), %rdi
    mov %rcx, 8*1(%rdi) ; mov %rdx, 8*2(%rdi) ; mov %rbx, 8*3(%rdi)
    mov %rbp, 8*5(%rdi) ; mov %rsi, 8*6(%rdi)
    .irp n, 8, 9, 10, 11, 12, 13, 14, 15
    mov %r\n, 8*\n(%rdi)
    .endr
    pop 8*7(%rdi)
    mov 16(%rsp), %rdi
    /* Nothing of the guest's steers us. */
    .irp r, ebp, ebx, ecx, edx, esi, r8d, r9d, r10d, r11d, r12d, r13d, r14d, r15d
    xor %\r, %\r
    .endr
    testl $SPECULATION_RSB, speculation_used(%rip)
    jz 2f
    call speculation_fill_stack
2:  call svm_fast                   /* still with the guest's FS, GS, TR */
    test %al, %al
    mov (%rsp), %rsi                /* MOV changes no flags */
    mov 8(%rsp), %rax
    jnz 1b
    vmsave %rax
    add $24, %rsp
    pop %rax
    vmload %rax                     /* FS, GS, TR, LDTR, system-call MSRs: the host's again */
    .irp r, r15, r14, r13, r12, rbx, rbp
    pop %\r
    .endr
    cli
    stgi
    ret

    .globl svm_run
svm_run:                            /* rdi = vCPU; drops the current stack */
    mov %gs:CPU_STACK_TOP, %rsp
    xor %ebp, %ebp                  /* backtraces end here */
    call svm_loop
    ud2
