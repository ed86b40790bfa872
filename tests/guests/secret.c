/* Fills its memory with a pattern and powers off: what the next owner of the frames must not see.
 */
#include "tests/guests/secret.h"
#include "tests/guests/lib/guest.h"

void guest_main(void)
{
    volatile u64 *words = (volatile u64 *)SECRET_FROM;

    for (u64 i = 0; i < (SECRET_TO - SECRET_FROM) / 8; i++)
        words[i] = SECRET ^ i;
    print("hidden\n");
}
