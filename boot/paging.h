/* The page tables that the kernel is entered with; SDM 3A 4.5. */
#pragma once

#include "kernel/abi/boot_info.h"

struct paging {
    u64 *root;
    bool nx;       /* the CPU has no-execute pages */
    bool gigabyte; /* the CPU has 1 GiB pages */
    u8 *pool;      /* zeroed pages for tables */
    u64 pool_left; /* bytes */
};

/* False: no memory. */
MUST_CHECK bool paging_init(struct paging *p, bool nx, bool gigabyte);
/* Map [va, va + len) to pa with BOOT_SEG_* rights, all page aligned, with the largest pages that
 * fit; what is mapped already stays as it is.  False: no memory. */
MUST_CHECK bool paging_map(struct paging *p, u64 va, u64 pa, u64 len, u32 prot);
/* One-to-one, writable and not executable: every region that is memory, and the first megabyte. */
MUST_CHECK bool paging_map_memory(struct paging *p, const struct boot_region *regions, u32 count);
/* The kernel's segments at their link addresses. */
MUST_CHECK bool paging_map_image(struct paging *p, const struct boot_image *image);
