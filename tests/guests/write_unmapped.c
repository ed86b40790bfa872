/* Containment: writes all over guest-physical space where nothing is, which change nothing. */
#include "tests/guests/lib/guest.h"

void guest_main(void)
{
    for (u64 at = 0xc0000000; at < 0xfec00000; at += 0x1234000)
        *(volatile u32 *)(at & ~3ull) = 0xdeadbeef;
    for (unsigned i = 0; i < 1000; i++)
        *(volatile u64 *)0xd0000000 = i;
    *(volatile u8 *)0xfffffff0 = 1;
    print("wrote where nothing is\n");
}
