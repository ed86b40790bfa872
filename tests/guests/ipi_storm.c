/* Interrupts between all vCPUs at once, as fast as they can be sent: each one arrives, and arrives
 * once.
 *
 * A vCPU sends each vector of its own to every other one, and sends it again only when all have
 * taken it: nothing may merge, so what was received can be counted exactly.  The command line may
 * have a number of interrupts in thousands. */
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"
#include "tests/guests/lib/platform.h"

#define FIRST 0x30 /* FIRST + 16 * sender + 0..15, and so on while there are vectors */
#define SENDERS 4
#define EACH 48
#define DEFAULT_THOUSANDS 100
#define STUCK_MS 10000

static volatile u32 received[SENDERS][256];
static volatile u32 ready, done, taken[SENDERS]; /* taken[s]: by all, of what s has sent */
static volatile bool go;
static u32 rounds, cpus;

/* The task register tells which vCPU this is (load_tables), and costs no exit. */
static unsigned self(void)
{
    u64 tr;
    asm("str %0" : "=r"(tr));
    return (unsigned)((tr & 0xffff) - 0x40) / 16;
}

static void on_ipi(struct frame *f)
{
    unsigned vector = f->vector & 0xff;
    received[self()][vector]++;
    __atomic_fetch_add(&taken[(vector - FIRST) / EACH], 1, __ATOMIC_RELEASE);
    apic_write(APIC_EOI, 0);
}

static void storm(unsigned me)
{
    u32 others = cpus - 1;

    for (u32 round = 1; round <= rounds; round++) {
        for (unsigned k = 0; k < EACH; k++)
            for (unsigned i = 1; i < cpus; i++)
                apic_ipi(guest_apic_id_of((me + i) % cpus),
                         APIC_ICR_ASSERT | (FIRST + me * EACH + k));
        u64 start = rdtsc();
        while (taken[me] != round * EACH * others) {
            pause();
            if (rdtsc() - start > STUCK_MS * tsc_per_ms())
                guest_fail("round %u: of %u interrupts by vCPU %u only %u were taken", round,
                           round * EACH * others, me, taken[me]);
        }
    }
    __atomic_fetch_add(&done, 1, __ATOMIC_RELEASE);
}

static void other(unsigned index)
{
    if (cpuid(1, 0).ecx & BIT(21))
        apic_enable_x2();
    else
        apic_enable_x();
    __atomic_fetch_add(&ready, 1, __ATOMIC_RELEASE);
    sti();
    while (!go)
        pause();
    storm(index);
    for (;;) /* the others may go on sending */
        asm volatile("sti; hlt");
}

void guest_main(void)
{
    apic_enable_x();
    cpus = MIN(guest_cpu_count(), (unsigned)SENDERS);
    check(cpus > 1, "one vCPU only");
    for (unsigned i = 0; i < cpus; i++)
        check_equal(guest_apic_id_of(i), i, "APIC id"); /* of vCPU 1 and the next in order */
    u32 a_round = cpus * (cpus - 1) * EACH;
    rounds = (platform_command_number(DEFAULT_THOUSANDS) * 1000 + a_round - 1) / a_round;
    for (unsigned v = FIRST; v < FIRST + SENDERS * EACH; v++)
        guest_handlers[v] = on_ipi;
    tsc_per_ms();
    guest_start_cpus(other);
    while (ready != cpus - 1)
        pause();
    if (cpuid(1, 0).ecx & BIT(21))
        apic_enable_x2();
    go = true;
    sti();
    u64 start = rdtsc();
    storm(0);
    while (done != cpus)
        pause();
    u64 ms = (rdtsc() - start) / tsc_per_ms();
    for (unsigned c = 0; c < cpus; c++)
        for (unsigned v = FIRST; v < FIRST + cpus * EACH; v++)
            check_equal(received[c][v], (v - FIRST) / EACH == c ? 0 : rounds, "count of a vector");
    print("%u interrupts in %lu ms\n", rounds * a_round, ms);
}
