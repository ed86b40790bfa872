/* Who gets an interrupt: physical and logical destinations of every kind, broadcasts, lowest
 * priority, NMIs to several; and INIT and SIPI in odd orders.  Four vCPUs. */
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"

#define FIXED 0x60
#define CPUS 4
#define LOWEST 0x100 /* delivery mode of the ICR */
#define CLUSTER_MODEL 0x0fffffff
#define QUIET_MS 3

static volatile u32 got[CPUS], nmis[CPUS], starts[CPUS], ready;
static volatile u32 want_x2;      /* the others go to x2APIC mode */
static volatile u32 logical_word; /* ... or write their LDR and DFR anew, by their own table */
static volatile u32 ldr[CPUS], dfr;

static unsigned self(void)
{
    u64 tr;
    asm("str %0" : "=r"(tr));
    return (unsigned)((tr & 0xffff) - 0x40) / 16;
}

static void on_fixed(struct frame *f)
{
    (void)f;
    __atomic_fetch_add(&got[self()], 1, __ATOMIC_SEQ_CST);
    apic_eoi();
}

static void on_nmi(struct frame *f)
{
    (void)f;
    __atomic_fetch_add(&nmis[self()], 1, __ATOMIC_SEQ_CST);
}

static void set_logical(unsigned me)
{
    apic_write(APIC_DFR, dfr);
    apic_write(APIC_LDR, ldr[me] << 24);
}

static void other(unsigned index)
{
    u32 seen = 0;

    starts[index]++;
    apic_enable_x();
    __atomic_fetch_add(&ready, 1, __ATOMIC_SEQ_CST);
    for (;;) {
        take_interrupts();
        pause();
        if (seen != logical_word) {
            seen = logical_word;
            set_logical(index);
            __atomic_fetch_add(&ready, 1, __ATOMIC_SEQ_CST);
        }
        if (want_x2 && !apic_is_x2()) {
            apic_enable_x2();
            __atomic_fetch_add(&ready, 1, __ATOMIC_SEQ_CST);
        }
    }
}

static void wait_ready(u32 value)
{
    u64 start = rdtsc();

    while (ready != value) {
        pause();
        check(!guest_late(start, 2000), "%u of %u vCPUs", ready, value);
    }
    ready = 0;
}

/* Exactly the vCPUs in `mask` get `what` once; nobody else gets anything. */
static void expect(u32 dest, u32 icr, u32 mask, const char *what)
{
    volatile u32 *counts = (icr & 0x700) == APIC_ICR_NMI ? nmis : got;
    u32 before[CPUS], all = 0, wanted = 0;
    u64 start = rdtsc();

    for (unsigned i = 0; i < CPUS; i++) {
        before[i] = counts[i];
        wanted += mask >> i & 1;
    }
    sti();
    apic_ipi(dest, icr | APIC_ICR_ASSERT | FIXED);
    while (all != wanted && !guest_late(start, 1000)) {
        pause();
        all = 0;
        for (unsigned i = 0; i < CPUS; i++)
            all += counts[i] - before[i];
    }
    if (mask != 0xf) /* time for what must not come */
        delay_ms(QUIET_MS);
    cli();
    for (unsigned i = 0; i < CPUS; i++)
        check(counts[i] - before[i] == (mask >> i & 1), "%s: vCPU %u got %u", what, i,
              counts[i] - before[i]);
}

static void lowest(u32 dest, u32 icr, const char *what)
{
    u32 before = 0, after = 0;
    u64 start = rdtsc();

    for (unsigned i = 0; i < CPUS; i++)
        before += got[i];
    sti();
    apic_ipi(dest, icr | LOWEST | APIC_ICR_ASSERT | FIXED);
    while (after == 0 && !guest_late(start, 1000)) {
        pause();
        for (unsigned i = 0; i < CPUS; i++)
            after += got[i];
        after -= before;
    }
    delay_ms(QUIET_MS);
    cli();
    after = 0;
    for (unsigned i = 0; i < CPUS; i++)
        after += got[i];
    check_equal(after - before, 1, what);
}

static void say_logical(u32 model, u32 a, u32 b, u32 c, u32 d)
{
    ldr[0] = a;
    ldr[1] = b;
    ldr[2] = c;
    ldr[3] = d;
    dfr = model;
    set_logical(0);
    logical_word++;
    wait_ready(CPUS - 1);
}

static void everywhere(void)
{
    for (u32 i = 0; i < CPUS; i++)
        expect(i, 0, 1u << i, "physical destination");
    expect(200, 0, 0, "a destination nobody has");
    expect(0, APIC_ICR_SELF, 0x1, "self");
    expect(0, APIC_ICR_ALL, 0xf, "all");
    expect(0, APIC_ICR_OTHERS, 0xe, "all but self");
    expect(0, APIC_ICR_OTHERS | APIC_ICR_NMI, 0xe, "NMI to all but self");
    expect(2, APIC_ICR_NMI, 0x4, "NMI to one");
}

static void logical(void)
{
    say_logical(~0u, 1, 2, 4, 8); /* flat: SDM 3A 11.6.2.2 */
    expect(0x01, APIC_ICR_LOGICAL, 0x1, "flat, self");
    expect(0x06, APIC_ICR_LOGICAL, 0x6, "flat, two");
    expect(0xff, APIC_ICR_LOGICAL, 0xf, "flat, all");
    expect(0x30, APIC_ICR_LOGICAL, 0x0, "flat, nobody");
    expect(0x0a, APIC_ICR_LOGICAL | APIC_ICR_NMI, 0xa, "flat, NMI to two");
    lowest(0x0e, APIC_ICR_LOGICAL, "lowest priority of three, flat");
    expect(0xff, 0, 0xf, "physical broadcast");
    say_logical(CLUSTER_MODEL, 0x11, 0x12, 0x21, 0x22);
    expect(0x13, APIC_ICR_LOGICAL, 0x3, "cluster 1");
    expect(0x22, APIC_ICR_LOGICAL, 0x8, "one of cluster 2");
    expect(0x31, APIC_ICR_LOGICAL, 0x0, "a cluster nobody is in");
    if (!guest_on_qemu())
        expect(0xff, APIC_ICR_LOGICAL, 0xf, "all clusters");
}

static void logical_x2(void)
{
    expect(0x0001, APIC_ICR_LOGICAL, 0x1, "x2APIC cluster, self");
    expect(0x000c, APIC_ICR_LOGICAL, 0xc, "x2APIC cluster, two");
    expect(0x1000f, APIC_ICR_LOGICAL, 0x0, "x2APIC cluster, another");
    expect(~0u, APIC_ICR_LOGICAL, 0xf, "x2APIC, all clusters");
    expect(~0u, 0, 0xf, "x2APIC physical broadcast");
    lowest(0x000e, APIC_ICR_LOGICAL, "lowest priority of three, x2APIC");
}

/* SDM 3A 9.4.4: only a processor after INIT takes a SIPI, and only one. */
static void odd_starts(void)
{
    u32 before = starts[3];

    apic_ipi(3, APIC_ICR_STARTUP | APIC_ICR_ASSERT | 8); /* runs: ignored */
    delay_ms(QUIET_MS);
    expect(3, 0, 0x8, "after a SIPI without INIT");
    apic_ipi(3, APIC_ICR_INIT | APIC_ICR_ASSERT);
    delay_ms(1);
    u32 was = got[3];
    apic_ipi(3, APIC_ICR_ASSERT | FIXED); /* waits for SIPI, its local APIC is off */
    delay_ms(QUIET_MS);
    check_equal(got[3], was, "interrupts while it waits for SIPI");
    apic_ipi(3, APIC_ICR_INIT | APIC_ICR_ASSERT); /* a second INIT changes nothing */
    apic_ipi(3, APIC_ICR_INIT | 0x8000);          /* de-assert: no INIT */
    check_equal(starts[3], before, "starts without a SIPI");
    ready = 0;
    apic_ipi(3, APIC_ICR_STARTUP | APIC_ICR_ASSERT | 8);
    if (!guest_on_qemu())
        apic_ipi(3, APIC_ICR_STARTUP | APIC_ICR_ASSERT | 9); /* another page: must not be taken */
    wait_ready(1);
    delay_ms(QUIET_MS);
    /* It came up as the next in order of arrival: one more start, of an index beyond the four. */
    check_equal(got[3], was, "interrupts from before the INIT");
}

static void late_start(unsigned index)
{
    (void)index;
    __atomic_fetch_add(&ready, 1, __ATOMIC_SEQ_CST);
    for (;;)
        asm volatile("cli; hlt");
}

void guest_main(void)
{
    guest_handlers[FIXED] = on_fixed;
    guest_handlers[VECTOR_NMI] = on_nmi;
    apic_enable_x();
    check_equal(guest_cpu_count(), CPUS, "vCPUs");
    tsc_per_ms();
    guest_start_cpus(other);
    wait_ready(CPUS - 1);
    for (u32 i = 1; i < CPUS; i++)
        check_equal(starts[i], 1, "starts of a vCPU by two SIPIs");
    everywhere();
    logical();
    if (cpuid(1, 0).ecx & BIT(21)) {
        want_x2 = true;
        wait_ready(CPUS - 1);
        apic_enable_x2();
        everywhere();
        logical_x2();
    }
    guest_set_entry(late_start);
    odd_starts();
}
