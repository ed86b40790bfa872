/* control/rt/random.c as mbedTLS' source of entropy; called by the library. */
#include "control/entropy.h"

#include "control/rt/random.h"

int mbedtls_hardware_poll(void *owner, unsigned char *out, size_t len, size_t *given)
{
    (void)owner;
    random_bytes(out, (u32)len);
    *given = len;
    return 0;
}
