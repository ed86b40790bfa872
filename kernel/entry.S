/* kernel_entry: where boot/ jumps to, on the boot CPU with IF=0 and the loader's page tables. */
    .section .text
    .globl kernel_entry
kernel_entry:                       /* rdi = physical address of struct boot_info */
    cli
    cld
    lea early_stack_top(%rip), %rsp
    lgdt early_gdtr(%rip)
    pushq $0x08
    lea 1f(%rip), %rax
    pushq %rax
    lretq
1:  mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    xor %eax, %eax
    mov %eax, %fs
    mov %eax, %gs
    mov $0xc0000101, %ecx           /* GS base = the boot CPU's struct cpu */
    lea boot_cpu(%rip), %rax
    mov %rax, %rdx
    shr $32, %rdx
    wrmsr
    xor %ebp, %ebp                  /* backtraces end here */
    push %rbp                       /* keeps the stack 16-byte aligned at the call's target */
    push %rbp
    call main_boot
    ud2

    .section .rodata
    .balign 8
early_gdt:                          /* same selectors as cpu_tables.h */
    .quad 0
    .quad 0x00af9b000000ffff
    .quad 0x00cf93000000ffff
early_gdtr:
    .word early_gdtr - early_gdt - 1
    .quad early_gdt

    .section .bss
    .balign 4096
    .skip 16384
early_stack_top:
