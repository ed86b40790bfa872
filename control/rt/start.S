/* First instruction of the control partition: the kernel enters here in ring 3 with rsp at the top
 * of an empty stack and nothing else said. */
    .section .text._start, "ax", @progbits
    .globl _start
_start:
    xor %ebp, %ebp              /* ends every backtrace */
    and $-16, %rsp
    call start_c
    ud2
    .section .note.GNU-stack, "", @progbits
