/* memcpy() of the control partition, in place of musl's: frames and descriptors are short and their
 * ends are aligned to nothing, which that one copies byte by byte.  General registers only, since the
 * FPU's may be a guest's.
 *
 * Each path has read a word before it writes one that lies at or below it, so that it may stand for
 * the forward half of memmove(), too, which musl's enters by the second name. */
    .text
    .globl memcpy, __memcpy_fwd
    .type memcpy, @function
memcpy:
__memcpy_fwd:
    mov %rdi, %rax
    cmp $16, %rdx
    jb 2f
    cmp $32, %rdx
    ja 1f
    mov (%rsi), %rcx
    mov 8(%rsi), %r8
    mov -16(%rsi,%rdx), %r9
    mov -8(%rsi,%rdx), %r10
    mov %rcx, (%rdi)
    mov %r8, 8(%rdi)
    mov %r9, -16(%rdi,%rdx)
    mov %r10, -8(%rdi,%rdx)
    ret
1:  /* whole words, and the last one by itself */
    mov -8(%rsi,%rdx), %r8
    lea -8(%rdi,%rdx), %r9
    lea -1(%rdx), %rcx
    shr $3, %rcx
    rep movsq
    mov %r8, (%r9)
    ret
2:  cmp $8, %edx
    jb 3f
    mov (%rsi), %rcx
    mov -8(%rsi,%rdx), %r8
    mov %rcx, (%rdi)
    mov %r8, -8(%rdi,%rdx)
    ret
3:  cmp $4, %edx
    jb 4f
    mov (%rsi), %ecx
    mov -4(%rsi,%rdx), %r8d
    mov %ecx, (%rdi)
    mov %r8d, -4(%rdi,%rdx)
    ret
4:  test %edx, %edx
    jz 5f
    mov %rdx, %r9
    shr $1, %r9
    movzbl (%rsi), %ecx
    movzbl (%rsi,%r9), %r8d /* of two or three bytes the second */
    movzbl -1(%rsi,%rdx), %r10d
    mov %cl, (%rdi)
    mov %r8b, (%rdi,%r9)
    mov %r10b, -1(%rdi,%rdx)
5:  ret
    .size memcpy, . - memcpy
    .section .note.GNU-stack, "", @progbits
