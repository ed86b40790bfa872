/* Binary search in an image's own symbol table.  Called by panic.c for the kernel and by
 * control/rt/fault.c for the control partition. */
#include "kernel/lib/ksym.h"

const char *ksym_name(const struct image_symbols *t, u64 address, u64 *offset)
{
    u32 low = 0, high = address < t->base ? 0 : t->count;

    while (low < high) { /* the first symbol behind the address */
        u32 middle = low + (high - low) / 2;
        if (t->offsets[middle] <= address - t->base)
            low = middle + 1;
        else
            high = middle;
    }
    *offset = low ? address - t->base - t->offsets[low - 1] : 0;
    return low ? (const char *)(t->offsets + 2ull * t->count) + t->offsets[t->count + low - 1]
               : "?";
}
