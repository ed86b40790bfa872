/* Containment: spins with interrupts off for good; others run all the same, and it can be stopped.
 */
#include "tests/guests/lib/guest.h"

void guest_main(void)
{
    print("spinning with interrupts off\n");
    asm volatile("cli\n1: jmp 1b");
}
