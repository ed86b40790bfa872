/* The I/O APIC: its registers, edges, a level that is sent again after each EOI, masking, and every
 * delivery mode and kind of destination.  The level is COM1's: its line stays up while the
 * transmitter is empty and its interrupt enabled. */
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"

#define COM1 0x3f8
#define UART_PIN 4
#define PIT_PIN 2
#define VECTOR 0x71
#define OTHER_VECTOR 0x82
#define LEVEL BIT(15)
#define REMOTE_IRR BIT(14)
#define LOGICAL BIT(11)
#define MODE_LOWEST 0x100u
#define MODE_SMI 0x200u
#define MODE_NMI 0x400u
#define LIMIT_MS 2000

static volatile u64 count, nmis, stop_at;
static volatile bool in_service, remote_irr;

static u32 low_word(unsigned pin)
{
    return ioapic_read(0x10 + 2 * pin);
}

static void line(bool up)
{
    outb(COM1 + 1, up ? 2 : 0);
}

static void on_level(struct frame *f)
{
    in_service = apic_bit(APIC_ISR, f->vector & 0xff) && apic_bit(APIC_TMR, f->vector & 0xff);
    remote_irr = low_word(UART_PIN) & REMOTE_IRR;
    if (++count == stop_at)
        line(false);
    apic_eoi();
}

static void on_edge(struct frame *f)
{
    in_service = apic_bit(APIC_ISR, f->vector & 0xff) && !apic_bit(APIC_TMR, f->vector & 0xff);
    count++;
    apic_eoi();
}

static void on_nmi(struct frame *f)
{
    (void)f;
    nmis++;
}

static void until(volatile u64 *counter, u64 value, const char *what)
{
    u64 start = rdtsc();
    while (*counter < value) {
        take_interrupts();
        pause();
        check(!guest_late(start, LIMIT_MS), "%s: %lu of %lu", what, *counter, value);
    }
}

/* Time for what must not come. */
static void quiet(u64 value, const char *what)
{
    sti();
    delay_ms(3);
    cli();
    check_equal(count, value, what);
}

static void transmitter_empty(void)
{
    while (!(inb(COM1 + 5) & 0x40))
        pause();
}

static void registers(void)
{
    u32 version = ioapic_read(1), pins = (version >> 16 & 0xff) + 1;
    check(pins >= 16 && pins <= 120, "%u pins", pins);
    check((version & 0xff) >= 0x11 && (version & 0xff) < 0x30, "version %x", version & 0xff);
    u32 id = ioapic_read(0);
    ioapic_write(0, 0x05000000);
    check_equal(ioapic_read(0) >> 24 & 0xf, 5, "ID");
    ioapic_write(0, id);
    ioapic_write(1, ~version);
    check_equal(ioapic_read(1), version, "version after a write");
    for (unsigned pin = 5; pin < 8; pin++) {
        ioapic_write(0x10 + 2 * pin, APIC_LVT_MASKED | 0xffff);
        check_equal(low_word(pin), APIC_LVT_MASKED | 0xafff,
                    "low word: delivery status, remote IRR");
        ioapic_write(0x11 + 2 * pin, 0xa5000000);
        check_equal(ioapic_read(0x11 + 2 * pin) >> 24, 0xa5, "destination");
        ioapic_write(0x10 + 2 * pin, APIC_LVT_MASKED);
        ioapic_write(0x11 + 2 * pin, 0);
    }
}

static void edges(void)
{
    guest_handlers[VECTOR] = on_edge;
    count = 0;
    ioapic_route(UART_PIN, VECTOR, apic_id());
    line(true);
    until(&count, 1, "an edge");
    check(in_service, "an edge is in service with its TMR bit set, or not at all");
    quiet(1, "interrupts of one edge");
    check(!(low_word(UART_PIN) & REMOTE_IRR), "remote IRR of an edge");
    line(false);
    quiet(1, "interrupts after the line fell");
    /* While masked it is lost (82093AA 3.2.4). */
    ioapic_write(0x10 + 2 * UART_PIN, VECTOR | APIC_LVT_MASKED);
    line(true);
    ioapic_write(0x10 + 2 * UART_PIN, VECTOR);
    quiet(1, "an edge of a masked pin");
    line(false);
    line(true);
    until(&count, 2, "the next edge");
    line(false);
}

static void levels(const char *mode)
{
    guest_handlers[VECTOR] = on_level;
    for (unsigned round = 0; round < 3; round++) {
        count = 0;
        stop_at = 6;
        ioapic_route(UART_PIN, VECTOR | LEVEL, apic_id());
        line(true);
        until(&count, 6, mode);
        check(in_service, "%s: not in service, or its TMR bit is clear", mode);
        check(remote_irr, "%s: no remote IRR while it is served", mode);
        quiet(6, "interrupts of a level that has gone");
        check(!(low_word(UART_PIN) & REMOTE_IRR), "%s: remote IRR is left over", mode);
    }
    /* Masked while it is up: nothing; unmasked: it comes. */
    count = 0;
    stop_at = 2;
    ioapic_write(0x10 + 2 * UART_PIN, VECTOR | LEVEL | APIC_LVT_MASKED);
    line(true);
    quiet(0, "interrupts of a masked level");
    ioapic_write(0x10 + 2 * UART_PIN, VECTOR | LEVEL);
    until(&count, 2, "a level that was up when it was unmasked");
    /* Masked before the EOI: not sent again until unmasked. */
    count = 0;
    stop_at = 3;
    cli();
    line(true);
    ioapic_write(0x10 + 2 * UART_PIN, VECTOR | LEVEL | APIC_LVT_MASKED);
    take_interrupts();
    quiet(1, "interrupts of a level masked before its EOI");
    ioapic_write(0x10 + 2 * UART_PIN, VECTOR | LEVEL);
    until(&count, 3, "the rest of them");
    quiet(3, "all of them");
}

/* The other vector, another destination while it is in service. */
static void moved(void)
{
    guest_handlers[OTHER_VECTOR] = on_level;
    count = 0;
    stop_at = 4;
    ioapic_route(UART_PIN, OTHER_VECTOR | LEVEL, apic_id());
    line(true);
    until(&count, 4, "another vector");
    quiet(4, "interrupts by another vector");
}

static void destinations(void)
{
    guest_handlers[VECTOR] = on_edge;
    static const struct {
        u32 low, dest, comes;
        const char *what;
    } rows[] = {
        {VECTOR | LOGICAL, 0x04, 1, "logical destination"},
        {VECTOR | LOGICAL, 0x0c, 1, "one of two logical destinations"},
        {VECTOR | LOGICAL, 0x08, 0, "somebody else's logical destination"},
        {VECTOR | MODE_LOWEST, 0, 1, "lowest priority"},
        {VECTOR | MODE_LOWEST | LOGICAL, 0xff, 1, "lowest priority of all"},
        {VECTOR, 0xff, 1, "broadcast"},
        {VECTOR, 0x6, 0, "a destination that nobody has"},
        {VECTOR | MODE_SMI, 0, 0, "SMI"},
    };
    apic_write(APIC_DFR, ~0u);
    apic_write(APIC_LDR, 4u << 24);
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        if ((rows[i].low & 0x700) == MODE_SMI && guest_on_qemu())
            continue; /* the firmware's own */
        count = 0;
        line(false);
        ioapic_route(UART_PIN, rows[i].low, rows[i].dest);
        line(true);
        if (rows[i].comes)
            until(&count, 1, rows[i].what);
        quiet(rows[i].comes, rows[i].what);
    }
    line(false);
    guest_handlers[VECTOR_NMI] = on_nmi;
    nmis = 0;
    ioapic_route(UART_PIN, MODE_NMI, apic_id());
    line(true);
    until(&nmis, 1, "NMI by a pin");
    line(false);
}

/* An NMI ends HLT with interrupts off (SDM 2A HLT). */
static void nmi_wakes(void)
{
    nmis = 0;
    outb(0x43, 0x34); /* the PIT every two milliseconds */
    outb(0x40, 0x52);
    outb(0x40, 0x09);
    ioapic_route(PIT_PIN, MODE_NMI, apic_id());
    for (u64 round = 1; round <= 4; round++) {
        asm volatile("cli; hlt" : : : "memory");
        check(nmis >= round, "HLT ended without an NMI");
    }
    ioapic_route(PIT_PIN, APIC_LVT_MASKED, 0);
    outb(0x43, 0x30); /* and no more */
}

void guest_main(void)
{
    apic_enable_x();
    tsc_per_ms();
    registers();
    outb(COM1 + 4, 0x0b); /* OUT2 lets the interrupt out */
    transmitter_empty();
    edges();
    levels("xAPIC");
    moved();
    destinations();
    nmi_wakes();
    if (cpuid(1, 0).ecx & BIT(21)) {
        apic_enable_x2();
        levels("x2APIC");
    }
    line(false);
    ioapic_route(UART_PIN, APIC_LVT_MASKED, 0);
}
