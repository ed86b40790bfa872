/* Memory for what the kernel inherits, and the end of the firmware's memory management. */
#pragma once

#include "kernel/abi/boot_info.h"

/* Zeroed, at least len bytes in whole pages, at a multiple of PAGE_2M where that can be had and
 * `align_2m` asks for it.  Claimed as `type` in the final map.  NULL: none left. */
void *memory_alloc(u64 len, u32 type, bool align_2m);
/* These whole pages, contents and all; false: they are not free. */
MUST_CHECK bool memory_keep(u64 base, u64 len, u32 type);
/* One zeroed page below 1 MiB (BOOT_MEM_LOADER) for starting CPUs; 0: none. */
u64 memory_low_page(void);

/* The map as it is now.  False: it cannot be had or has too many regions. */
MUST_CHECK bool memory_read_map(struct boot_region *out, u32 max, u32 *count);
/* ExitBootServices, retried as the firmware's map changes.  On success there is no firmware any
 * more, and bi->regions is filled.  NULL, or what failed. */
MUST_CHECK const char *memory_exit_boot_services(void *image, struct boot_info *bi);
