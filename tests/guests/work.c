/* Counts how often it can go round in a second of its own clock, for tests of CPU shares. */
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"

void guest_main(void)
{
    u64 window = 1000 * tsc_per_ms();
    for (u64 number = 1;; number++) {
        u64 loops = 0, start = rdtsc(), now;
        while ((now = rdtsc()) - start < window)
            loops++;
        print("work %lu of %lu in window %lu\n", loops, now - start, number);
    }
}
