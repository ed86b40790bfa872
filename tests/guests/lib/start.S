/* From the PVH entry (32-bit, no paging, EBX = start info; multiboot enters alike) or a SIPI (real mode) to C in long
 * mode with the first 4 GiB mapped one-to-one; and the 256 interrupt entries. */

    .section .note.pvh, "a", @note
    .balign 4
    .long 4, 8, 18                  /* name size, size of the entry, XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz "Xen"
    .quad pvh_start

#define CR0_PE 1
#define CR0_MP 2
#define CR0_PG 0x80000000
#define CR0_WP 0x10000
#define CR0_NE 0x20
#define CR4_PAE 0x20
#define EFER 0xc0000080
#define EFER_LME 0x100
#define EFER_NXE 0x800
#define CODE32 8
#define CODE64 16
#define DATA 24

    .text
    .code32
    .globl pvh_start
pvh_start:
    cld
    mov $DATA, %ecx
    lgdt boot_gdt_pointer
    mov %ecx, %ds
    mov %ecx, %es
    mov %ecx, %ss
    mov $stack_top, %esp
    mov %ebx, start_info
    mov %eax, boot_magic            /* of a multiboot loader */

    /* PML4[0] -> PDPT; PDPT[0..3] -> four directories; 2048 pages of 2 MiB. */
    mov $pdpt + 7, %eax
    mov %eax, pml4
    mov $directories + 7, %eax
    xor %edi, %edi
1:  mov %eax, pdpt(, %edi, 8)
    add $4096, %eax
    inc %edi
    cmp $4, %edi
    jb 1b
    mov $0xe7, %eax                 /* present, writable, user, accessed, dirty, 2 MiB */
    xor %edi, %edi
2:  mov %eax, directories(, %edi, 8)
    add $0x200000, %eax
    inc %edi
    cmp $2048, %edi
    jb 2b

    call enter_long_mode
    ljmp $CODE64, $start64

/* Clobbers eax, ecx, edx; returns in compatibility mode. */
    .globl enter_long_mode
enter_long_mode:
    mov $pml4, %eax
    mov %eax, %cr3
    mov %cr4, %eax
    or $CR4_PAE, %eax
    mov %eax, %cr4
    mov $EFER, %ecx
    rdmsr
    or $EFER_LME | EFER_NXE, %eax
    wrmsr
    mov %cr0, %eax
    and $~0x60000000, %eax          /* CD, NW: the caches are on */
    or $CR0_PG | CR0_WP | CR0_NE | CR0_MP | CR0_PE, %eax
    mov %eax, %cr0
    ret

    .code64
start64:
    xor %ebp, %ebp
    call guest_start
1:  cli
    hlt
    jmp 1b

/* Where a SIPI with vector 8 begins: copied to 0x8000. */
    .code16
    .globl sipi_start, sipi_end
sipi_start:
    cli
    xor %ax, %ax
    mov %ax, %ds
    lgdtl 0x8000 + sipi_gdt_pointer - sipi_start
    mov %cr0, %eax
    or $CR0_PE, %al
    mov %eax, %cr0
    ljmpl $CODE32, $sipi32
    .balign 4
sipi_gdt_pointer:
    .word boot_gdt_end - boot_gdt - 1
    .long boot_gdt
sipi_end:

    .code32
sipi32:
    mov $DATA, %ecx
    mov %ecx, %ds
    mov %ecx, %es
    mov %ecx, %ss
    mov $1, %ebx
    lock xadd %ebx, sipi_count      /* our index less one, in order of arrival */
    inc %ebx
    mov %ebx, %esp
    shl $14, %esp
    add $ap_stacks, %esp            /* stack of index n ends at ap_stacks + n * 16 KiB */
    call enter_long_mode
    ljmp $CODE64, $sipi64
    .code64
sipi64:
    mov %ebx, %edi
    xor %ebp, %ebp
    call guest_start_ap
1:  cli
    hlt
    jmp 1b

/* ---- interrupts: each entry pushes an error code where the CPU does not, then its number ------ */
    .altmacro
    .macro entry vector
    .balign 16
    .if !(\vector == 8 || (\vector >= 10 && \vector <= 14) || \vector == 17 || \vector == 21)
    push $0
    .endif
    push $\vector
    jmp common
    .endm
    .balign 16
    .globl interrupt_entries
interrupt_entries:
    .set n, 0
    .rept 256
    entry %n
    .set n, n + 1
    .endr

common:                             /* fills struct frame of guest.h */
    push %rax
    push %rcx
    push %rdx
    push %rbx
    push %rbp
    push %rsi
    push %rdi
    push %r8
    push %r9
    push %r10
    push %r11
    push %r12
    push %r13
    push %r14
    push %r15
    cld
    mov %rsp, %rdi
    mov %rsp, %rbp
    and $-16, %rsp
    call guest_interrupt
    mov %rbp, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %r11
    pop %r10
    pop %r9
    pop %r8
    pop %rdi
    pop %rsi
    pop %rbp
    pop %rbx
    pop %rdx
    pop %rcx
    pop %rax
    add $16, %rsp
    iretq

    .data
    .balign 8
    .globl boot_gdt
boot_gdt:
    .quad 0
    .quad 0x00cf9b000000ffff        /* 32-bit code */
    .quad 0x00af9b000000ffff        /* 64-bit code */
    .quad 0x00cf93000000ffff        /* data */
    .quad 0x00affb000000ffff        /* 64-bit code, ring 3 */
    .quad 0x00cff3000000ffff        /* data, ring 3 */
    .quad 0x00009b000000ffff        /* 16-bit code, base 0 */
    .quad 0x000093000000ffff        /* 16-bit data */
    .globl boot_gdt_tss
boot_gdt_tss:
    .fill 2 * 9, 8, 0               /* a TSS descriptor a CPU */
boot_gdt_end:
boot_gdt_pointer:
    .word boot_gdt_end - boot_gdt - 1
    .long boot_gdt
    .globl start_info, boot_magic, sipi_count
start_info:
    .quad 0
boot_magic:
    .quad 0
sipi_count:
    .long 0

    .bss
    .balign 4096
    .globl pml4, pdpt, directories
pml4:
    .skip 4096
pdpt:
    .skip 4096
directories:
    .skip 4 * 4096
    .skip 16384
stack_top:
ap_stacks:
    .skip 8 * 16384
    .section .note.GNU-stack, "", @progbits
