/* NMI: to oneself, blocked until IRET, one kept pending, and out of HLT with interrupts off. */
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"

static volatile u64 depth, deepest, count, send_more;

static void self_nmi(void)
{
    /* The self shorthand takes fixed interrupts only, SDM 3A table 11-3: name our own id. */
    apic_ipi(apic_id(), APIC_ICR_NMI | APIC_ICR_ASSERT);
}

static void on_nmi(struct frame *f)
{
    (void)f;
    count++;
    if (++depth > deepest)
        deepest = depth;
    if (send_more) {
        send_more--;
        self_nmi();
        for (volatile unsigned i = 0; i < 1000; i++)
            pause(); /* it must wait for our IRET */
    }
    depth--;
}

static void settle(u64 value, const char *what)
{
    u64 start = rdtsc();
    while (count < value && !guest_late(start, 100))
        pause();
    check_equal(count, value, what);
}

void guest_main(void)
{
    guest_handlers[VECTOR_NMI] = on_nmi;
    for (unsigned mode = 0; mode < 2; mode++) {
        if (mode == 1 && !(cpuid(1, 0).ecx & BIT(21)))
            break;
        if (mode == 0)
            apic_enable_x();
        else
            apic_enable_x2();
        count = deepest = 0;
        self_nmi();
        settle(1, "NMIs");
        send_more = 3;
        self_nmi();
        settle(5, "NMIs that send another");
        check_equal(deepest, 1, "nesting of NMIs");
        u64 fault = fault_of("ud2", :); /* exceptions work inside and outside all the same */
        check_equal(fault, VECTOR_UD, "exception after NMIs");
    }
}
