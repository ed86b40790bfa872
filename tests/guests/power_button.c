/* The power button: an ACPI event through a level-triggered SCI; this guest then powers off. */
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"
#include "tests/guests/lib/platform.h"

#define SCI 0x72
#define LEVEL BIT(15)
#define ACTIVE_LOW BIT(13)
#define PM1_POWER_BUTTON BIT(8)
#define PM1_SCI_ENABLE BIT(0)

static u16 status_port;
static volatile u64 pressed, interrupts;

static void on_sci(struct frame *f)
{
    (void)f;
    interrupts++;
    u16 status = inw(status_port);
    if (status & PM1_POWER_BUTTON)
        pressed++;
    outw(status_port, status); /* ones clear */
    apic_eoi();
}

/* Polarity and trigger of an ISA line as the MADT overrides it; ACPI 6.4 table 5.26. */
static u32 redirection_flags(unsigned line)
{
    const struct acpi_header *madt = acpi_find("APIC");
    const u8 *at = (const u8 *)madt + 44, *end = (const u8 *)madt + madt->length;
    u32 flags = LEVEL;
    for (; at + 2 <= end && at[1] >= 2; at += at[1])
        if (at[0] == 2 && at[3] == line && (at[8] & 3) == 3)
            flags |= ACTIVE_LOW;
    return flags;
}

void guest_main(void)
{
    const u8 *fadt = acpi_find("FACP");
    check(fadt, "no FADT");
    unsigned line = *(const u16 *)(fadt + 46);
    status_port = (u16) * (const u32 *)(fadt + 56);
    u16 control = (u16) * (const u32 *)(fadt + 64);
    u16 enable = (u16)(status_port + fadt[88] / 2);
    check(status_port && control, "no PM1a registers");
    check(!(*(const u32 *)(fadt + 112) & BIT(4)), "the power button is not a fixed event");
    u16 command = (u16) * (const u32 *)(fadt + 48);
    if (command && !(inw(control) & PM1_SCI_ENABLE))
        outb(command, fadt[52]);
    check(inw(control) & PM1_SCI_ENABLE, "ACPI mode does not go on");

    apic_enable_x();
    guest_handlers[SCI] = on_sci;
    ioapic_route(line, SCI | redirection_flags(line), apic_id());
    outw(status_port, 0xffff);
    outw(enable, PM1_POWER_BUTTON);
    print("waiting for the power button\n");
    while (!pressed)
        sti_hlt_cli();
    check_equal(inw(status_port) & PM1_POWER_BUTTON, 0, "status after it was cleared");
    take_interrupts();
    check_equal(interrupts, 1, "SCIs");
}
