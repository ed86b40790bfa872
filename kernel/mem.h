/* Physical memory: 4 KiB frames, 2 MiB and 1 GiB blocks, with a quota a partition.
 *
 * All RAM is cut into 2 MiB chunks; a chunk is free, whole (in a 2 MiB or 1 GiB block) or split
 * into 512 frames under a bitmap.  Callable on any core; takes the memory lock. */
#pragma once

#include "kernel/abi/boot_info.h"
#include "kernel/abi/layout.h"

struct quota {
    u64 used;  /* bytes; changed under the memory lock */
    u64 limit; /* bytes */
};

extern struct quota quota_kernel; /* no limit */

/* len: PAGE_SIZE, PAGE_2M or PAGE_1G, naturally aligned.  Zeroed.  HPA_NONE: quota or memory is
 * used up; nothing changed. */
MUST_CHECK hpa_t mem_alloc(struct quota *q, u64 len);
/* Gives back what mem_alloc returned for the same quota and length. */
void mem_free(struct quota *q, hpa_t at, u64 len);

/* From now on the 2 MiB block is 512 frames, each to be given back by itself. */
void mem_break(hpa_t at);

void mem_init(const struct boot_info *bi);    /* boot CPU, once: takes BOOT_MEM_FREE */
void mem_reclaim(const struct boot_info *bi); /* takes BOOT_MEM_LOADER too */
u64 mem_total(void);
u64 mem_free_bytes(void);
u64 mem_free_chunks(void);

/* Where physical address 0 is seen.  Host tests map their "physical" memory in the lower half. */
#if __STDC_HOSTED__
#define MEM_WINDOW 0x200000000000ull
#else
#define MEM_WINDOW PHYSMAP_BASE
#endif

static inline void *phys_to_virt(hpa_t h)
{
    return (void *)(MEM_WINDOW + h.raw);
}
static inline hpa_t virt_to_phys(const void *v) /* physmap pointers only */
{
    return HPA((u64)v - MEM_WINDOW);
}

/* One zeroed frame by its address in the physmap; NULL: none.  Freeing NULL does nothing. */
MUST_CHECK static inline void *mem_page(struct quota *q)
{
    hpa_t at = mem_alloc(q, PAGE_SIZE);
    return hpa_valid(at) ? phys_to_virt(at) : NULL;
}
static inline void mem_page_free(struct quota *q, void *page)
{
    if (page)
        mem_free(q, virt_to_phys(page), PAGE_SIZE);
}
