/* The local APIC in x2APIC mode: MSRs, what they refuse, priorities, self-IPI and the timer. */
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"
#include "tests/guests/lib/timer_cases.h"

static void refuses(void)
{
    /* SDM 3A 11.12.1.2 and table 11-6. */
    check_fault(VECTOR_GP, "wrmsr", : : "c"(0x802), "a"(0), "d"(0));     /* ID is read-only */
    check_fault(VECTOR_GP, "rdmsr", : : "c"(0x80b) : "rax", "rdx");      /* EOI is write-only */
    check_fault(VECTOR_GP, "wrmsr", : : "c"(0x80b), "a"(1), "d"(0));     /* EOI but zero */
    check_fault(VECTOR_GP, "rdmsr", : : "c"(0x80e) : "rax", "rdx");      /* no DFR here */
    check_fault(VECTOR_GP, "rdmsr", : : "c"(0x831) : "rax", "rdx");      /* no high half of ICR */
    check_fault(VECTOR_GP, "wrmsr", : : "c"(0x808), "a"(0x100), "d"(0)); /* reserved in TPR */
    check_fault(VECTOR_GP, "wrmsr", : : "c"(MSR_APIC_BASE), "a"(0xfee00000 | BIT(10)), "d"(0));
    check_fault(VECTOR_GP, "wrmsr", : : "c"(MSR_APIC_BASE), "a"(0xfee00000 | BIT(11)), "d"(0));
}

void guest_main(void)
{
    if (!(cpuid(1, 0).ecx & BIT(21))) {
        print("no x2APIC\n");
        return;
    }
    apic_enable_x2();
    check(apic_is_x2(), "x2APIC mode does not go on");
    check_equal(apic_read(APIC_ID), cpuid(0xb, 0).edx, "x2APIC id and CPUID's");
    u32 id = apic_id();
    check_equal(apic_read(APIC_LDR), (id >> 4) << 16 | 1u << (id & 15), "logical id");
    if (!guest_on_qemu())
        refuses();

    u64 before = guest_count[0x66];
    wrmsr(0x83f, 0x66);
    sti();
    for (unsigned i = 0; i < 10; i++)
        pause();
    cli();
    check_equal(guest_count[0x66] - before, 1, "self-IPIs through MSR 83FH");
    priority_cases();
    timer_cases();
    apic_enable_x();
    check(!apic_is_x2(), "no way back to xAPIC mode");
}
