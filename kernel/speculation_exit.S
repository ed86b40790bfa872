/* Where HOST_RIP points when something must be done before anything of the host's is predicted. */
#include "kernel/abi/speculation.h"
#include "kernel/asm_offsets.h"

#define FILLS 16                        /* twice two calls: the 32 entries of any return stack */

    .section .text
    .balign 64
    .globl speculation_fill_stack
speculation_fill_stack:             /* the CPU's stack of return addresses; changes EAX */
    mov $FILLS, %eax
2:  call 3f
    int3
3:  call 4f
    int3
4:  dec %eax
    jnz 2b
    add $(FILLS * 16), %rsp
    lfence
    ret

    .globl speculation_exit_guarded
speculation_exit_guarded:
    push %rax
    push %rcx
    push %rdx
    testl $(SPECULATION_GUEST_CTRL | SPECULATION_IBRS), speculation_used(%rip)
    jz 1f
    mov $0x48, %ecx                 /* IA32_SPEC_CTRL */
    push %rdi
    mov %gs:CPU_RUNNING, %rdi
    cmpb $0, VCPU_SPEC_LIVE(%rdi)   /* may it have written without an exit? */
    je 6f
    rdmsr
    mov %eax, VCPU_SPEC_CTRL(%rdi)
6:  pop %rdi
    mov speculation_host_ctrl(%rip), %eax
    xor %edx, %edx
    wrmsr
1:  testl $SPECULATION_RSB, speculation_used(%rip)
    jz 5f
    call speculation_fill_stack
5:  pop %rdx
    pop %rcx
    pop %rax
    jmp vmx_exit_entry
