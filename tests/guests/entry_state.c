/* States at an exit that make the next VM entry fail where a hypervisor only moves RIP on: the
 * ends of the address space, and blocking by STI and MOV SS while single-stepping. */
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"

#define TOP 0x00007ffffffff000ull /* last page below the hole */
static u64 table3[512] __attribute__((aligned(4096)));
static u64 table2[512] __attribute__((aligned(4096)));
static u64 table1[512] __attribute__((aligned(4096)));
static u8 code[4096] __attribute__((aligned(4096)));
extern u64 pml4[];
static volatile u64 traps;

static void on_debug(struct frame *f)
{
    (void)f;
    traps++;
    asm volatile("mov %0, %%dr6" : : "r"(0xffff0ff0ull));
}

/* An instruction that the hypervisor completes ends exactly where canonical addresses end: the
 * fetch after it is a #GP of the guest. */
static void end_of_lower_half(u8 first, u8 second)
{
    code[4094] = first;
    code[4095] = second;
    barrier();
    u64 vector = fault_of("jmp *%0",
                          :
                          : "r"(TOP + 4094), "a"(0), "c"(0xc0000080), "d"(0xe80)
                          : "rbx", "memory");
    check_equal(vector, VECTOR_GP, "exception at the end of the lower half");
    check_equal(guest_fault.error, 0, "error code at the end of the lower half");
}

static void map_top(void)
{
    pml4[255] = (u64)table3 | 7;
    table3[511] = (u64)table2 | 7;
    table2[511] = (u64)table1 | 7;
    table1[511] = (u64)code | 7;
    write_cr3(read_cr3());
}

static void blocking(void)
{
    guest_handlers[VECTOR_DB] = on_debug;
    /* With TF set, each of these leaves an exit with blocking and a trap pending. */
    asm volatile("mov %%ss, %%ecx; pushfq; orq $0x100, (%%rsp); popfq\n\t"
                 "mov %%ecx, %%ss\n\t"
                 "cpuid\n\t"
                 "sti\n\t"
                 "cpuid\n\t"
                 "cli\n\t"
                 "mov %%ss, %%ecx; mov %%ecx, %%ss\n\t"
                 "inb $0x80, %%al\n\t"
                 "sti\n\t"
                 "inb $0x80, %%al\n\t"
                 "cli\n\t"
                 "pushfq; andq $~0x100, (%%rsp); popfq"
                 :
                 :
                 : "rax", "rbx", "rcx", "rdx", "memory", "cc");
    check(traps >= 8, "%lu traps", traps);
    guest_handlers[VECTOR_DB] = NULL;

    /* A self-IPI waits over MOV SS and STI and over the exit after it, no longer. */
    apic_enable_x();
    for (unsigned i = 0; i < 100; i++) {
        u64 before = guest_count[0x55];
        apic_ipi(0, APIC_ICR_SELF | APIC_ICR_ASSERT | 0x55);
        asm volatile("sti; cpuid; nop; cli" : : "a"(0) : "rbx", "rcx", "rdx", "memory");
        check_equal(guest_count[0x55], before + 1, "interrupt after STI and an exit");
    }
}

void guest_main(void)
{
    map_top();
    end_of_lower_half(0x0f, 0xa2); /* CPUID */
    end_of_lower_half(0x0f, 0x32); /* RDMSR */
    end_of_lower_half(0x90, 0xec); /* IN AL, DX */
    blocking();
}
