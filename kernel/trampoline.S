/* First instructions of every CPU but the boot CPU: copied to a page below 1 MiB, entered there in
 * real mode by the start-up IPI, with the words at the end filled in by smp.c. */
    .section .rodata
    .balign 16
    .globl trampoline_start, trampoline_end, trampoline_root, trampoline_far, trampoline_gdtr
    .globl trampoline_gdt, trampoline_long
    .code16
trampoline_start:
    cli
    cld
    mov %cs, %ax
    mov %ax, %ds
    lgdtl trampoline_gdtr - trampoline_start
    mov $0x20, %eax                 /* CR4.PAE */
    mov %eax, %cr4
    mov trampoline_root - trampoline_start, %eax
    mov %eax, %cr3
    mov $0xc0000080, %ecx           /* EFER: LME, NXE */
    rdmsr
    or $0x900, %eax
    wrmsr
    mov $0x80000011, %eax           /* CR0: PG, ET, PE; caches on.  Straight to long mode. */
    mov %eax, %cr0
    ljmpl *(trampoline_far - trampoline_start)

    .code64
trampoline_long:
    mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    xor %edi, %edi
    mov $smp_slot, %rax
    xchg %rdi, (%rax)               /* a CPU that comes when it is no longer awaited finds 0 */
    test %rdi, %rdi
    jz 1f
    mov 8(%rdi), %rsp               /* struct cpu: stack_top */
    xor %ebp, %ebp
    mov $smp_cpu_main, %rax
    call *%rax
1:  cli
    hlt
    jmp 1b

    .balign 8
trampoline_gdt:                     /* same selectors as cpu_tables.h */
    .quad 0
    .quad 0x00af9b000000ffff
    .quad 0x00cf93000000ffff
trampoline_gdtr:
    .word trampoline_gdtr - trampoline_gdt - 1
    .long 0                         /* + address */
    .balign 4
trampoline_far:
    .long 0                         /* + address */
    .word 0x08
    .balign 4
trampoline_root:
    .long 0
trampoline_end:
