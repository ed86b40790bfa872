/* Interrupts between vCPUs: INIT and SIPI, fixed, NMI, broadcasts, logical destinations, both
 * modes; and INIT of a running vCPU. */
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"

#define FIXED 0x60
static volatile u64 arrived, received, nmis, other_id;
static volatile bool go_x2, is_x2;

static void received_fixed(struct frame *f)
{
    (void)f;
    received++;
    apic_eoi();
}

static void received_nmi(struct frame *f)
{
    (void)f;
    nmis++;
}

static void other(unsigned index)
{
    (void)index;
    apic_enable_x();
    other_id = apic_id();
    apic_write(APIC_DFR, ~0u);
    apic_write(APIC_LDR, 2u << 24);
    arrived++;
    for (;;) {
        sti_hlt_cli();
        if (go_x2 && !is_x2) {
            apic_enable_x2();
            is_x2 = true;
        }
    }
}

static void wait_for(volatile u64 *counter, u64 value, const char *what)
{
    u64 start = rdtsc();
    while (*counter < value) {
        pause();
        check(!guest_late(start, 1000), "%s did not arrive", what);
    }
    check_equal(*counter, value, what);
}

static void send_all_kinds(u32 logical)
{
    u64 n = received;
    apic_ipi((u32)other_id, APIC_ICR_ASSERT | FIXED);
    wait_for(&received, n + 1, "fixed IPI");
    apic_ipi(0, APIC_ICR_OTHERS | APIC_ICR_ASSERT | FIXED);
    wait_for(&received, n + 2, "IPI to all but self");
    apic_ipi(logical, APIC_ICR_LOGICAL | APIC_ICR_ASSERT | FIXED);
    wait_for(&received, n + 3, "logical IPI");
    apic_ipi(0, APIC_ICR_ALL | APIC_ICR_ASSERT | FIXED);
    sti();
    wait_for(&received, n + 5, "IPI to all");
    cli();
    u64 before = nmis;
    apic_ipi((u32)other_id, APIC_ICR_NMI | APIC_ICR_ASSERT);
    wait_for(&nmis, before + 1, "NMI");
    for (unsigned i = 0; i < 500; i++) { /* none is lost when the next waits for the last */
        apic_ipi((u32)other_id, APIC_ICR_ASSERT | FIXED);
        wait_for(&received, n + 6 + i, "fixed IPI");
    }
}

void guest_main(void)
{
    guest_handlers[FIXED] = received_fixed;
    guest_handlers[VECTOR_NMI] = received_nmi;
    apic_enable_x();
    check_equal(guest_cpu_count(), 2, "vCPUs in the MADT");
    apic_write(APIC_DFR, ~0u);
    apic_write(APIC_LDR, 1u << 24);
    guest_start_cpus(other);
    wait_for(&arrived, 1, "second vCPU");
    check_equal(other_id, guest_apic_id_of(1), "its APIC id");
    send_all_kinds(2);

    /* INIT takes it out of whatever it does, SIPI starts it anew. */
    guest_send_sipi((u32)other_id);
    wait_for(&arrived, 2, "restarted vCPU");
    delay_ms(2);
    u64 n = received;
    apic_ipi((u32)other_id, APIC_ICR_ASSERT | FIXED);
    wait_for(&received, n + 1, "fixed IPI after a restart");

    if (!(cpuid(1, 0).ecx & BIT(21)))
        return;
    go_x2 = true;
    apic_ipi((u32)other_id, APIC_ICR_ASSERT | FIXED);
    while (!is_x2)
        pause();
    apic_enable_x2();
    send_all_kinds(((u32)other_id >> 4) << 16 | 1u << (other_id & 15));
}
