/* Containment: characters to the UART without ever looking at its status. */
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"

void guest_main(void)
{
    print("flooding the UART\n");
    for (u32 n = 0;; n++)
        outb(0x3f8, n % 64 == 63 ? '\n' : (u8)('!' + n % 64));
}
