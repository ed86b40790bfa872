/* Switches page tables, descriptor tables and stack, and enters the kernel with IF=0.
 * rdi boot_info, rsi cr3, rdx stack top, rcx entry, r8 whether no-execute pages are used.
 * Copied to a page of its own by main.c; runs once, on the boot CPU. */
    .text
    .globl handoff_start, handoff_end
    .balign 16
handoff_start:
    cli
    cld
    mov %rcx, %r9
    mov %rdx, %r10

    /* Shadow stacks and global pages of the firmware end here (SDM 3A 2.5). */
    mov %cr4, %rax
    and $~((1 << 23) | (1 << 7)), %rax
    mov %rax, %cr4

    test %r8, %r8
    jz 1f
    mov $0xc0000080, %ecx               /* IA32_EFER.NXE before a table uses bit 63 */
    rdmsr
    bts $11, %eax
    wrmsr
1:  mov %cr0, %rax
    bts $16, %rax                       /* WP: read-only segments are so for ring 0 too */
    mov %rax, %cr0
    mov %rsi, %cr3
    mov %r10, %rsp

    /* A GDT of our own; an empty IDT turns any fault into a reset instead of firmware code. */
    lea gdt(%rip), %rax
    sub $16, %rsp
    movw $(gdt_end - gdt - 1), 6(%rsp)
    mov %rax, 8(%rsp)
    lgdt 6(%rsp)
    movw $0, 6(%rsp)
    lidt 6(%rsp)
    add $16, %rsp
    mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    xor %eax, %eax
    mov %eax, %fs
    mov %eax, %gs
    lldt %ax
    push $0x08
    lea 2f(%rip), %rax
    push %rax
    lretq
2:  xor %ebp, %ebp
    push $0                             /* no return address: the backtrace ends here */
    jmp *%r9

    .balign 8
gdt:
    .quad 0
    .quad 0x00af9b000000ffff            /* 08: 64-bit code */
    .quad 0x00cf93000000ffff            /* 10: data */
gdt_end:
handoff_end:
    .section .note.GNU-stack, "", @progbits
