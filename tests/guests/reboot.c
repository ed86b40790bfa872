/* Resets the machine, in the way that the command line names: cf9, acpi or keyboard. */
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"
#include "tests/guests/lib/platform.h"

void guest_main(void)
{
    const char *how = platform_command_line();
    print("start, then reset by %s\n", how);
    delay_ms(20);
    if (*how == 'a') {
        const u8 *fadt = acpi_find("FACP");
        check(fadt && fadt[116] == 1, "no reset register in I/O space");
        outb((u16) * (const u32 *)(fadt + 120), fadt[128]);
    } else if (*how == 'k') {
        outb(0x64, 0xfe);
    } else {
        outb(0xcf9, 0x02);
        outb(0xcf9, 0x06);
    }
    delay_ms(100);
    guest_fail("still here after a reset by %s", how);
}
