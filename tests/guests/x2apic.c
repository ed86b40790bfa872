/* The local APIC in x2APIC mode: MSRs, what they refuse, priorities, self-IPI, the timer, and EOI
 * without an exit. */
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

#define PV_EOI_VECTOR 0x67
static volatile u32 pv_eoi; /* bit 0: the hypervisor takes its clearing for an EOI */
static u64 ended, in_service;

static void pv_eoi_handler(struct frame *f)
{
    bool offered;

    (void)f;
    in_service += apic_bit(APIC_ISR, PV_EOI_VECTOR); /* an exit, after which it is offered again */
    asm volatile("btrl $0, %0" : "+m"(pv_eoi), "=@ccc"(offered) : : "memory");
    ended += offered;
    if (!offered)
        apic_eoi();
}

/* EOI without an exit, in KVM's form, where it is offered: on AMD-V. */
static void pv_eoi_cases(void)
{
    if (cpuid(0x40000100, 0).ebx != 0x4b4d564b || !(cpuid(0x40000101, 0).eax & BIT(6))) {
        if (!guest_on_qemu())
            check_fault(VECTOR_GP, "rdmsr", : : "c"(MSR_PV_EOI) : "rax", "rdx");
        return;
    }
    guest_handlers[PV_EOI_VECTOR] = pv_eoi_handler;
    check_fault(VECTOR_GP, "wrmsr", : : "c"(MSR_PV_EOI), "a"(0x1003), "d"(0)); /* not aligned */
    u64 places[] = {(u64)&pv_eoi | 1, 0xfffffffffffffffdull, (u64)&pv_eoi};
    for (unsigned i = 0; i < ARRAY_LEN(places); i++) {
        ended = in_service = 0;
        wrmsr(MSR_PV_EOI, places[i]);
        check_equal(rdmsr(MSR_PV_EOI), places[i], "the MSR of the word");
        for (unsigned n = 0; n < 50; n++) {
            wrmsr(0x83f, PV_EOI_VECTOR);
            sti();
            for (unsigned p = 0; p < 10; p++)
                pause();
            cli();
            check(!apic_bit(APIC_ISR, PV_EOI_VECTOR), "an interrupt stays in service");
            check_equal(pv_eoi, 0, "the word outside of a handler");
        }
        check_equal(in_service, 50, "interrupts in service");
        check_equal(ended, i ? 0 : 50, "interrupts that ended without an exit");
    }
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
    pv_eoi_cases();
    priority_cases();
    timer_cases();
    apic_enable_x();
    check(!apic_is_x2(), "no way back to xAPIC mode");
}
