/* The local APIC in xAPIC mode: registers, priorities, and its timer waking a vCPU from HLT. */
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"
#include "tests/guests/lib/timer_cases.h"

void guest_main(void)
{
    apic_enable_x();
    check_equal(rdmsr(MSR_APIC_BASE) & BITS(51, 12), 0xfee00000, "address of the local APIC");
    check(rdmsr(MSR_APIC_BASE) & BIT(8), "not the boot CPU");
    u32 version = apic_read(APIC_VERSION);
    check((version & 0xff) >= 0x10 && (version & 0xff) < 0x20, "version %x", version);
    check_equal(apic_read(APIC_ID) >> 24, cpuid(1, 0).ebx >> 24, "APIC id and CPUID's");
    apic_write(APIC_LDR, 0x05000000);
    check_equal(apic_read(APIC_LDR), 0x05000000, "LDR");
    apic_write(APIC_DFR, 0xf0000000);
    check_equal(apic_read(APIC_DFR) >> 28, 0xf, "DFR");
    /* What loads and stores of other instructions do. */
    volatile u32 *tpr = (volatile u32 *)(0xfee00000ull + APIC_TPR);
    *tpr = 0x20;
    asm volatile("orl $0x10, %0" : "+m"(*tpr) : : "cc");
    check_equal(*tpr, 0x30, "TPR after OR");
    *tpr = 0;
    priority_cases();
    timer_cases();
}
