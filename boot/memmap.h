/* The memory map as the kernel wants it: sorted, without overlap, merged.  Pure. */
#pragma once

#include "kernel/abi/boot_info.h"

/* UEFI memory type (UEFI 2.9 table 7-5) as enum boot_mem_type, as it is after ExitBootServices. */
u32 memmap_type(u32 efi_type);

/* Turn `in` (any order, overlapping; where spans overlap the larger type wins) into `out`: free
 * memory loses partial pages, every other type gains them.  False: more than out_max regions. */
MUST_CHECK bool memmap_normalise(const struct boot_region *in, u32 in_count,
                                 struct boot_region *out, u32 out_max, u32 *out_count);
