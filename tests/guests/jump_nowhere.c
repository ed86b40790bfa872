/* Containment: the next instruction lies where there is neither memory nor a device. */
#include "tests/guests/lib/guest.h"

void guest_main(void)
{
    print("jump to d0000000 now\n");
    asm volatile("mov $0x5ca1ab1e, %%ebx; jmp *%0" : : "r"(0xd0000000ull) : "rbx", "memory");
}
