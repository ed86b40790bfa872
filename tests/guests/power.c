/* Power: tables with reset register and S5; a reset through port CF9H, one through the ACPI reset
 * register and one through the keyboard controller or triple fault are other guests' business. */
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"
#include "tests/guests/lib/platform.h"

void guest_main(void)
{
    const u8 *fadt = acpi_find("FACP");
    check(fadt, "no FADT");
    check(acpi_find("APIC"), "no MADT");
    u16 port, value;
    check(acpi_s5(&port, &value), "no way to S5 in FADT and DSDT");
    u32 flags = *(const u32 *)(fadt + 112);
    check(flags & BIT(10), "FADT offers no reset register");
    check_equal(fadt[116], 1, "address space of the reset register");
    print("S5: port %x value %x; reset: port %x value %x\n", port, value,
          *(const u32 *)(fadt + 120), fadt[128]);
    guest_pass(); /* powers off: the runner sees the machine stop */
}
