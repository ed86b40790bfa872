/* void fiber_switch(void **save_rsp, void *load_rsp): leaves one stack, enters another.
 * Keeps what the psABI says a callee keeps; nobody changes MXCSR or the x87 control word. */
    .section .text.fiber_switch, "ax", @progbits
    .globl fiber_switch
    .type fiber_switch, @function
fiber_switch:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret
    .size fiber_switch, . - fiber_switch
    .section .note.GNU-stack, "", @progbits
