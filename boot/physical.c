/* Access to physical memory while the firmware's one-to-one mapping holds. */
#include "boot/physical.h"

const void *physical_map(u64 paddr, u64 len)
{
    if (paddr == 0 || paddr >= BIT(46) || len > BIT(32))
        return NULL;
    return (const void *)paddr;
}
