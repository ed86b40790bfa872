/* Containment: an exception without an IDT is a shutdown; this guest must be stopped. */
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"

void guest_main(void)
{
    print("triple fault now\n");
    struct table_pointer nothing = {0, 0};
    asm volatile("mov $0x5ca1ab1e, %%ebx; lidt %0; ud2" : : "m"(nothing) : "rbx", "memory");
}
