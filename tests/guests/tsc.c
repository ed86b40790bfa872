/* The TSC: goes up, on every vCPU alike, and RDTSC obeys CR4.TSD. */
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"

static volatile u64 turn, stamp, stopped;

static void other(unsigned index)
{
    (void)index;
    while (!stopped) {
        if (turn & 1) {
            stamp = rdtsc();
            turn++;
        }
        pause();
    }
    stopped = 2;
}

void guest_main(void)
{
    u64 last = rdtsc();
    for (unsigned i = 0; i < 100000; i++) {
        u64 now = rdtsc();
        check(now >= last, "TSC went from %lx back to %lx", last, now);
        last = now;
    }
    u64 before = rdtsc(), took = tsc_of_delay(20);
    for (unsigned i = 0; i < 10 && took >= 60 * tsc_per_ms(); i++) /* held up, on a loaded QEMU */
        took = tsc_of_delay(20);
    check(took > 15 * tsc_per_ms() && took < 60 * tsc_per_ms(), "20 ms took %lu, a ms is %lu", took,
          tsc_per_ms());
    check(before < 3600000 * tsc_per_ms(), "TSC began at %lx", before);
    check(guest_on_qemu() || rdmsr(MSR_TSC) >= before, "MSR 10H and RDTSC do not agree");

    apic_enable_x();
    if (guest_cpu_count() < 2)
        return;
    guest_start_cpus(other);
    for (unsigned i = 0; i < 200; i++) {
        u64 mine = rdtsc();
        u64 was = turn;
        turn = was + 1;
        while (turn == was + 1)
            pause();
        u64 end = rdtsc();
        check(stamp >= mine && stamp <= end, "TSC of the other vCPU is %lx, not in %lx..%lx", stamp,
              mine, end);
    }
    stopped = 1;
}
