/* Into the guest and back, as a function.  C calls it with GIF=0, so that nothing comes between the
 * last look at cpu->attention and VMRUN; with the host's IF=1 at VMRUN and V_INTR_MASKING a physical
 * interrupt that waits, or comes, is an exit at once (APM 2, 15.21.1).  It comes back with IF=0 and
 * GIF=1: an NMI that waited is taken here, an interrupt waits on. */
#include "kernel/asm_offsets.h"

    .section .text.hot, "ax"
    .globl svm_enter
svm_enter:      /* rdi = VMCB, rdx = host's VMSAVE area (physical), rsi = regs[], rcx = vCPU */
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    push %rdx
    push %rcx
    push %rdi
    push %rsi
    mov %rdi, %rax                  /* RAX and RSP of the guest are in the VMCB */
    sti                             /* not right before VMRUN: its shadow must be over */
    vmload %rax
1:  mov 8*1(%rsi), %rcx
    mov 8*2(%rsi), %rdx
    mov 8*3(%rsi), %rbx
    mov 8*5(%rsi), %rbp
    mov 8*7(%rsi), %rdi
    mov 8*8(%rsi), %r8
    mov 8*9(%rsi), %r9
    mov 8*10(%rsi), %r10
    mov 8*11(%rsi), %r11
    mov 8*12(%rsi), %r12
    mov 8*13(%rsi), %r13
    mov 8*14(%rsi), %r14
    mov 8*15(%rsi), %r15
    mov 8*6(%rsi), %rsi
    vmrun %rax
    push %rdi
    mov 8(%rsp), %rdi
    mov %rcx, 8*1(%rdi)
    mov %rdx, 8*2(%rdi)
    mov %rbx, 8*3(%rdi)
    mov %rbp, 8*5(%rdi)
    mov %rsi, 8*6(%rdi)
    mov %r8, 8*8(%rdi)
    mov %r9, 8*9(%rdi)
    mov %r10, 8*10(%rdi)
    mov %r11, 8*11(%rdi)
    mov %r12, 8*12(%rdi)
    mov %r13, 8*13(%rdi)
    mov %r14, 8*14(%rdi)
    mov %r15, 8*15(%rdi)
    pop 8*7(%rdi)
    mov 16(%rsp), %rdi
    xor %ebp, %ebp                  /* nothing of the guest's steers us */
    xor %ecx, %ecx
    xor %edx, %edx
    xor %esi, %esi
    xor %r8d, %r8d
    xor %r9d, %r9d
    xor %r10d, %r10d
    xor %r11d, %r11d
    call svm_fast                   /* still with the guest's FS, GS, TR */
    test %al, %al
    mov (%rsp), %rsi                /* MOV changes no flags */
    mov 8(%rsp), %rax
    jnz 1b
    vmsave %rax
    add $24, %rsp
    pop %rax
    vmload %rax                     /* FS, GS, TR, LDTR, system-call MSRs: the host's again */
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    cli
    stgi
    ret

    .globl svm_run
svm_run:                            /* rdi = vCPU; drops the current stack */
    mov %gs:CPU_STACK_TOP, %rsp
    xor %ebp, %ebp                  /* backtraces end here */
    call svm_loop
    ud2
