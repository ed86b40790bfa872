/* Looks through memory that it has not written yet: all zero, and nothing of the guest secret. */
#include "tests/guests/lib/guest.h"
#include "tests/guests/secret.h"

void guest_main(void)
{
    const volatile u64 *words = (const volatile u64 *)SECRET_FROM;
    u64 dirty = 0;

    for (u64 i = 0; i < (SECRET_TO - SECRET_FROM) / 8; i++) {
        u64 w = words[i];
        check(((w ^ SECRET) & ~SECRET_NUMBERS) != 0, "another guest's word %lx at %lx", w,
              (u64)&words[i]);
        dirty += w != 0;
    }
    check_equal(dirty, 0, "words that are not zero");
}
