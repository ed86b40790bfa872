/* The UART's interrupt through the I/O APIC: transmitter empty, seen again after each EOI while
 * its cause lasts when level-triggered. */
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"

#define VECTOR 0x71
#define COM1 0x3f8
#define LEVEL BIT(15)
static volatile u64 causes[8], count, give_up_at;

static void served(struct frame *f)
{
    (void)f;
    count++;
    causes[inb(COM1 + 2) & 7]++; /* reading the cause ends "transmitter empty" */
    apic_eoi();
}

static void unserved(struct frame *f)
{
    (void)f;
    if (++count == give_up_at)
        outb(COM1 + 1, 0);
    apic_eoi();
}

static void until(u64 value, const char *what)
{
    u64 start = rdtsc();
    while (count < value) {
        take_interrupts();
        check(!guest_late(start, 1000), "%s: %lu of %lu", what, count, value);
    }
}

void guest_main(void)
{
    apic_enable_x();
    outb(COM1 + 4, 0x0b); /* OUT2 lets the interrupt out */
    guest_handlers[VECTOR] = served;
    ioapic_route(4, VECTOR, apic_id());
    while (!(inb(COM1 + 5) & 0x40))
        pause();
    outb(COM1 + 1, 2); /* the transmitter is empty: interrupts at once */
    until(1, "edge of an empty transmitter");
    check_equal(causes[2], 1, "interrupts for an empty transmitter");
    outb(COM1, '.');
    until(2, "edge after a character");
    outb(COM1 + 1, 0);

    count = 0;
    give_up_at = 5;
    guest_handlers[VECTOR] = unserved;
    while (!(inb(COM1 + 5) & 0x40))
        pause();
    ioapic_route(4, VECTOR | LEVEL, apic_id());
    outb(COM1 + 1, 2);
    until(5, "level that lasts");
    sti();
    delay_ms(2);
    cli();
    check_equal(count, 5, "interrupts of a level that has gone");
    check(!(ioapic_read(0x10 + 2 * 4) & BIT(14)), "remote IRR is left over");
    print("\n");
}
