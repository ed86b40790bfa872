/* What a vCPU is after INIT and SIPI: real mode at the page that the SIPI names, registers as after
 * INIT (SDM 3A table 10-1), whatever it did before: run, sleep, sleep for good; by any page; and
 * INIT and SIPI in odd orders. */
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"

/* The code at each page stores what it finds here, in 16-bit mode. */
#define RESULTS 0x6e00
struct results {
    u32 count, cs, ip, flags, cr0, cr2, cr3, cr4, dr6, dr7, edx, eax;
    u16 idt_limit, gdt_limit;
    u32 what_next; /* 0: HLT with interrupts off; 1: HLT with interrupts on; 2: runs in a circle */
};
_Static_assert(offsetof(struct results, idt_limit) == 48, "the code below");

asm(".text\n"
    ".globl start_state_code, start_state_end\n"
    "start_state_code:\n"
    ".code16\n\t"
    "mov %eax, %cs:start_eax - start_state_code\n\t"
    "xor %ax, %ax; mov %ax, %ds; mov %ax, %ss; mov $0x6c00, %sp\n\t"
    "pushfl; popl 0x6e0c\n\t"
    "mov %edx, 0x6e28\n\t"
    "mov %cs:start_eax - start_state_code, %eax; mov %eax, 0x6e2c\n\t"
    "xor %eax, %eax; mov %cs, %ax; mov %eax, 0x6e04\n\t"
    "call 1f\n"
    "1: pop %ax; movzwl %ax, %eax; sub $1b - start_state_code, %eax; mov %eax, 0x6e08\n\t"
    "mov %cr0, %eax; mov %eax, 0x6e10\n\t"
    "mov %cr2, %eax; mov %eax, 0x6e14\n\t"
    "mov %cr3, %eax; mov %eax, 0x6e18\n\t"
    "mov %cr4, %eax; mov %eax, 0x6e1c\n\t"
    "mov %dr6, %eax; mov %eax, 0x6e20\n\t"
    "mov %dr7, %eax; mov %eax, 0x6e24\n\t"
    "sidtl 0x6e40; mov 0x6e40, %ax; mov %ax, 0x6e30\n\t"
    "sgdtl 0x6e40; mov 0x6e40, %ax; mov %ax, 0x6e32\n\t"
    "mov $0x12345678, %eax; mov %eax, %cr2; mov %eax, %dr0\n\t" /* for the next INIT to clear */
    "lock incl 0x6e00\n\t"
    "cmpl $1, 0x6e34; je 2f; ja 3f\n"
    "4: cli; hlt; jmp 4b\n"
    "2: sti; hlt; jmp 2b\n"
    "3: jmp 3b\n"
    ".balign 4\nstart_eax: .long 0\n"
    "start_state_end:\n"
    ".code64\n");
extern char start_state_code[], start_state_end[];

static volatile struct results *const results = (void *)RESULTS;
static u32 other_id;

static void copy_to(u32 page)
{
    u8 *to = (u8 *)((u64)page << 12);
    for (char *from = start_state_code; from < start_state_end; from++)
        *to++ = (u8)*from;
}

static void init(void)
{
    apic_ipi(other_id, APIC_ICR_INIT | APIC_ICR_ASSERT);
}

static void sipi(u32 page)
{
    apic_ipi(other_id, APIC_ICR_STARTUP | APIC_ICR_ASSERT | page);
}

static void wait_count(u32 value, const char *what)
{
    for (unsigned ms = 0; results->count < value; ms++) {
        check(ms < 5000, "%s: %u starts, not %u", what, results->count, value);
        delay_ms(1);
    }
    check_equal(results->count, value, what);
}

static void check_state(u32 page)
{
    check_equal(results->cs, page << 8, "CS");
    check_equal(results->ip, 0, "IP");
    check_equal(results->flags & ~0x44u, 2, "EFLAGS"); /* XOR has set ZF and PF */
    check_equal(results->cr0, 0x60000010, "CR0");
    check_equal(results->cr2, 0, "CR2");
    check_equal(results->cr3, 0, "CR3");
    check_equal(results->cr4, 0, "CR4");
    check_equal(results->dr6, 0xffff0ff0, "DR6");
    check_equal(results->dr7, 0x400, "DR7");
    check_equal(results->idt_limit, 0xffff, "limit of the IDT");
    check_equal(results->gdt_limit, 0xffff, "limit of the GDT");
    check_equal(results->eax, 0, "EAX");
    if (!guest_is_tcg())
        check_equal(results->edx & 0xf00, cpuid(1, 0).eax & 0xf00, "family in EDX");
}

void guest_main(void)
{
    static const u32 pages[] = {0x08, 0x07, 0x10, 0x55, 0x9c};
    static const char *const before[] = {"after HLT, interrupts off", "after HLT, interrupts on",
                                         "after running"};
    u32 count = 0;
    apic_enable_x();
    check(guest_cpu_count() >= 2, "one vCPU");
    other_id = guest_apic_id_of(1);
    for (unsigned i = 0; i < ARRAY_LEN(pages); i++)
        copy_to(pages[i]);
    results->count = 0;
    for (unsigned i = 0; i < 3 * ARRAY_LEN(pages); i++) {
        u32 page = pages[i % ARRAY_LEN(pages)];
        results->what_next = i % 3;
        init();
        if (i % 4 == 1) /* a second INIT, and a third after a while */
            init();
        delay_ms(1);
        if (i % 4 == 2)
            init();
        check_equal(results->count, count, "starts by INIT alone");
        sipi(page);
        wait_count(++count, i ? before[(i - 1) % 3] : "the first start");
        check_state(page);
        sipi(page == 0x55 ? 0x10 : 0x55); /* a second one is not taken */
        delay_ms(2);
        check_equal(results->count, count, "starts by a second SIPI");
    }
}
