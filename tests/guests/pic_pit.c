/* The PIT's interrupt: through the PIC as ExtINT, and through the I/O APIC as a plain vector. */
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"

#define PIC_BASE 0x20
#define IOAPIC_VECTOR 0x70
static volatile u64 pic_ticks;

static void from_pic(struct frame *f)
{
    (void)f;
    pic_ticks++;
    outb(0x20, 0x20); /* the PIC's end of interrupt; ExtINT sets no bit in the local APIC */
}

static void set_up_pic(u8 mask)
{
    outb(0x20, 0x11);
    outb(0x21, PIC_BASE);
    outb(0x21, 0x04);
    outb(0x21, 0x01);
    outb(0xa0, 0x11);
    outb(0xa1, PIC_BASE + 8);
    outb(0xa1, 0x02);
    outb(0xa1, 0x01);
    outb(0x21, mask);
    outb(0xa1, 0xff);
}

static void start_pit(u16 divisor)
{
    outb(0x43, 0x34);
    outb(0x40, (u8)divisor);
    outb(0x40, (u8)(divisor >> 8));
}

static void sleep_until(volatile u64 *counter, u64 value, const char *what)
{
    u64 start = rdtsc();
    while (*counter < value) {
        sti_hlt_cli();
        check(!guest_late(start, 3000), "%s: %lu of %lu", what, *counter, value);
    }
}

void guest_main(void)
{
    apic_enable_x();
    guest_handlers[PIC_BASE] = from_pic;

    apic_write(APIC_LVT_LINT0, APIC_EXTINT);
    set_up_pic(0xfe);
    start_pit(2386); /* 2 ms */
    u64 start = rdtsc();
    sleep_until(&pic_ticks, 10, "ticks through the PIC");
    u64 took = rdtsc() - start;
    check(took > 17 * tsc_per_ms(), "ten times 2 ms took %lu TSC ticks, a ms is %lu", took,
          tsc_per_ms());
    outb(0x21, 0xff);
    /* One that was raised already may still come. */
    sti();
    delay_ms(1);
    cli();
    u64 ticks = pic_ticks;
    sti();
    delay_ms(6);
    cli();
    check_equal(pic_ticks, ticks, "ticks through a masked PIC");
    apic_write(APIC_LVT_LINT0, APIC_LVT_MASKED | APIC_EXTINT);

    /* Pin 2 is where the MADT's override puts the PIT on every PC. */
    ioapic_route(2, IOAPIC_VECTOR, apic_id());
    sleep_until(&guest_count[IOAPIC_VECTOR], 10, "ticks through the I/O APIC");
    ioapic_route(2, IOAPIC_VECTOR | APIC_LVT_MASKED, apic_id());
    sti();
    delay_ms(1);
    cli();
    ticks = guest_count[IOAPIC_VECTOR];
    sti();
    delay_ms(6);
    cli();
    check_equal(guest_count[IOAPIC_VECTOR], ticks, "ticks through a masked redirection entry");

    /* One-shot: mode 0 interrupts once.  Its control word stops the periodic ticks, so it comes
     * before the pin is open. */
    outb(0x43, 0x30);
    ioapic_route(2, IOAPIC_VECTOR, apic_id());
    outb(0x40, 0);
    outb(0x40, 8);
    sleep_until(&guest_count[IOAPIC_VECTOR], ticks + 1, "one-shot of the PIT");
    sti();
    delay_ms(6);
    cli();
    check_equal(guest_count[IOAPIC_VECTOR], ticks + 1, "interrupts of a one-shot PIT");
}
