/* The neighbour: a number that goes up ten times a second as long as this guest is well. */
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"

void guest_main(void)
{
    apic_enable_x();
    apic_write(APIC_TIMER_DIVIDE, 0xb);
    apic_write(APIC_LVT_TIMER, APIC_LVT_MASKED | 0x40);
    apic_write(APIC_TIMER_INITIAL, ~0u);
    u32 first = apic_read(APIC_TIMER_CURRENT);
    delay_ms(2);
    u32 period = (first - apic_read(APIC_TIMER_CURRENT)) / 2 * 100;
    apic_write(APIC_LVT_TIMER, 0x40 | APIC_TIMER_PERIODIC);
    apic_write(APIC_TIMER_INITIAL, period);
    for (u64 n = 1;; n++) {
        while (guest_count[0x40] < n)
            sti_hlt_cli();
        print("count %lu\n", n);
    }
}
