/* Where the kernel's indirect branches go.  C has none of its own (-mindirect-branch=thunk-extern):
 * it calls one of the first below, which speculation.c may make plain jumps; and backend functions
 * that are part of most exits are jumps that hvm.c points at the backend of this machine. */

/* Retpolines, by number of the register: what is predicted is the loop, never the target. */
    .section .text.hot, "ax"
    .balign 32
    .globl branches_indirect
branches_indirect:
    .irp r, rax, rcx, rdx, rbx, none, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15
    .balign 32
    .ifc \r, none                   /* RSP */
    ud2
    .else
    .globl __x86_indirect_thunk_\r
__x86_indirect_thunk_\r:
    call 2f
1:  pause
    lfence
    jmp 1b
2:  mov %\r, (%rsp)
    ret
    .endif
    .endr

    .globl branches_hvm
branches_hvm:
    .irp op, run, to_user, fill_page, take_page, take_events
    .globl hvm_\op
hvm_\op:
    .byte 0xe9 ; .long 0            /* JMP */
    .endr
