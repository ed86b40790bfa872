/* Real mode: down from long mode, interrupts through the vector table, segments, and up again. */
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"

/* The part below 1 MiB is copied to 7000H; what it finds is left at 6E00H. */
#define CODE 0x7000
#define RESULTS 0x6e00
struct results {
    u32 int60, divide, string, cs, unreal, flags;
};

asm(".text\n"
    ".code64\n"
    ".globl go_real\n"
    "go_real:\n\t"
    "push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n\t"
    "mov %rsp, saved_rsp\n\t"
    "sidt saved_idt\n\t"
    "pushq $0x08; pushq $1f; lretq\n" /* 32-bit code, still long mode */
    ".code32\n"
    "1: mov %cr0, %eax; and $0x7fffffff, %eax; mov %eax, %cr0\n\t" /* paging off */
    "mov $0xc0000080, %ecx; rdmsr; and $~0x100, %eax; wrmsr\n\t"   /* EFER.LME off */
    "mov $0x38, %eax; mov %eax, %ds; mov %eax, %es; mov %eax, %ss\n\t"
    "ljmp $0x30, $0x7000\n" /* 16-bit protected mode */
    ".globl real_code, real_code_end\n"
    "real_code:\n"
    ".code16\n\t"
    "mov %cr0, %eax; and $0xfe, %al; mov %eax, %cr0\n\t"
    "ljmp $0, $0x7000 + 2f - real_code\n"
    "2: xor %ax, %ax; mov %ax, %ds; mov %ax, %es; mov %ax, %ss; mov $0x6c00, %sp\n\t"
    "lidtl 0x7000 + real_idt - real_code\n\t"
    "movl $0, 0x6e00\n\t"
    "movl $0x7000 + on_int60 - real_code, 4 * 0x60\n\t"
    "movl $0x7000 + on_divide - real_code, 0\n\t"
    "int $0x60\n\t"
    "int $0x60\n\t"
    "xor %dx, %dx; mov $1, %ax; xor %bx, %bx\n\t"
    "div %bx\n\t"                                      /* its handler skips it */
    "mov $0x0690, %ax; mov %ax, %es; xor %di, %di\n\t" /* ES:DI = 6900H */
    "mov $0x4321, %ax; mov $4, %cx; rep stosw\n\t"
    "mov 0x6906, %ax; movzwl %ax, %eax; mov %eax, 0x6e08\n\t"
    "xor %eax, %eax; mov %cs, %ax; mov %eax, 0x6e0c\n\t"
    "pushfl; popl 0x6e14\n\t"
    "mov $0x2e, %al; mov $0x3f8, %dx; out %al, %dx\n\t" /* a port, a CPUID: exits from here */
    "xor %eax, %eax; cpuid\n\t"
    "sti; nop; cli\n\t"
    /* Limits of 4 GiB stay after a visit to protected mode ("unreal mode"). */
    "lgdtl 0x7000 + real_gdt - real_code\n\t"
    "mov %cr0, %eax; or $1, %al; mov %eax, %cr0\n\t"
    "mov $0x18, %bx; mov %bx, %fs\n\t"
    "and $0xfe, %al; mov %eax, %cr0\n\t"
    "mov $real_value, %ebx; addr32 mov %fs:(%ebx), %eax; mov %eax, 0x6e10\n\t"
    "mov %cr0, %eax; or $1, %al; mov %eax, %cr0\n\t"
    "ljmpl $0x08, $back32\n"
    "on_int60: incl 0x6e00; iret\n"
    "on_divide: incl 0x6e04; push %bp; mov %sp, %bp; addw $2, 2(%bp); pop %bp; iret\n"
    ".balign 4\n"
    "real_idt: .word 0x3ff; .long 0\n"
    "real_gdt: .word 0x3f; .long boot_gdt\n"
    "real_code_end:\n"
    ".code32\n"
    "back32: mov $0x18, %eax; mov %eax, %ds; mov %eax, %es; mov %eax, %ss\n\t"
    "mov saved_rsp, %esp\n\t"
    "call enter_long_mode\n\t"
    "ljmp $0x10, $back64\n"
    ".code64\n"
    "back64: lidt saved_idt\n\t"
    "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n\t"
    "ret\n"
    ".data\n"
    "saved_rsp: .quad 0\n"
    "saved_idt: .quad 0, 0\n"
    "real_value: .long 0x13572468\n"
    ".text\n");

extern char real_code[], real_code_end[];
void go_real(void);

void guest_main(void)
{
    struct results *results = (void *)RESULTS;
    u8 *to = (u8 *)CODE;
    *results = (struct results){0};
    asm volatile("" : "+r"(results), "+r"(to));
    for (char *from = real_code; from < real_code_end; from++)
        *to++ = (u8)*from;
    for (unsigned i = 0; i < 3; i++)
        go_real();
    barrier();
    check_equal(results->int60, 2, "INT 60H in real mode");
    check_equal(results->divide, 3, "#DE in real mode");
    check_equal(results->string, 0x4321, "word written by REP STOSW");
    check_equal(results->cs, 0, "CS");
    check_equal(results->unreal, 0x13572468, "dword above 1 MiB");
    check(!(results->flags & BIT(9)), "IF in real mode");
    check_fault(VECTOR_UD, "ud2", :); /* and all is as before */
}
