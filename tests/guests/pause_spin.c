/* A lock held elsewhere: two vCPUs spin with PAUSE over one counter and both get on. */
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"

#define ROUNDS 20000
static volatile u32 lock;
static volatile u64 total, finished;

static void rounds(void)
{
    for (unsigned i = 0; i < ROUNDS; i++) {
        while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE))
            pause();
        total++;
        __atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
    }
    __atomic_fetch_add(&finished, 1, __ATOMIC_RELEASE);
}

static void other(unsigned index)
{
    (void)index;
    rounds();
}

void guest_main(void)
{
    apic_enable_x();
    unsigned n = guest_cpu_count();
    guest_start_cpus(other);
    rounds();
    u64 start = rdtsc();
    while (finished < n) {
        pause();
        check(!guest_late(start, 5000), "%lu of %u vCPUs finished", finished, n);
    }
    check_equal(total, (u64)n * ROUNDS, "what they counted");
}
