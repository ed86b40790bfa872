/* One 16-byte stub a vector, all leading to idt_handle() with a struct user_frame on the stack. */
#include "kernel/asm_offsets.h"

    .section .text
    .balign 16
    .globl vectors_stubs
vectors_stubs:
    .set vector, 0
    .rept 256
    .balign 16
    /* #DF #TS #NP #SS #GP #PF #AC #CP #VC #SX push an error code (SDM 3A table 7-1) */
    .if (vector != 8) && ((vector < 10) || (vector > 14)) && (vector != 17) && (vector != 21) && (vector != 29) && (vector != 30)
    pushq $0
    .endif
    pushq $vector
    .if (vector == 2) || (vector == 8) || (vector == 18)
    jmp on_own_stack
    .else
    jmp common
    .endif
    .set vector, vector + 1
    .endr

.macro push_registers /* struct user_frame, highest member first */
    push %rax ; push %rbx ; push %rcx ; push %rdx ; push %rsi
    push %rdi ; push %rbp ; push %r8  ; push %r9  ; push %r10
    push %r11 ; push %r12 ; push %r13 ; push %r14 ; push %r15
.endm

.macro clean_flags /* DF, and AC, with which SMAP would not hold */
    pushq $2
    popfq
.endm

.macro pop_registers /* and the vector and error code */
    pop %r15 ; pop %r14 ; pop %r13 ; pop %r12 ; pop %r11
    pop %r10 ; pop %r9  ; pop %r8  ; pop %rbp ; pop %rdi
    pop %rsi ; pop %rdx ; pop %rcx ; pop %rbx ; pop %rax
    add $16, %rsp
.endm

common:
    testb $3, 24(%rsp)              /* CS: from ring 3? */
    jnz from_user
    push_registers
    mov %rsp, %rdi                  /* 176 bytes below a 16-byte boundary: aligned */
    clean_flags
    call idt_handle
    pop_registers
    iretq

from_user:                          /* the stack is control.frame, as for system calls */
    swapgs
    push_registers
    mov %rsp, %rdi
    mov %gs:CPU_STACK_TOP, %rsp
    clean_flags
    call idt_handle
    mov $control + CONTROL_FRAME, %rsp
    pop_registers
    swapgs
    iretq

/* NMI, #DF, #MC also hit between an entry and its SWAPGS, where CS does not tell which GS base is
 * loaded.  Ours is negative; ring 3 cannot make its own so (CR4.FSGSBASE is 0). */
on_own_stack:
    push_registers
    clean_flags
    mov $0xc0000101, %ecx
    rdmsr
    xor %ebx, %ebx
    test %edx, %edx
    js 3f
    swapgs
    inc %ebx
3:  mov %rsp, %rdi
    call idt_handle
    test %ebx, %ebx
    jz 4f
    swapgs
4:  pop_registers
    iretq
