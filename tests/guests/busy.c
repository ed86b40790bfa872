/* Computes for ever, without an exit: the load of the scheduler's tests. */
#include "tests/guests/lib/guest.h"

void guest_main(void)
{
    print("busy\n");
    for (volatile u64 n = 0;; n++)
        ;
}
