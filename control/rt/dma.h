/* Memory that devices may read and write: granted by the kernel, contiguous for the device, mapped
 * in the IOMMU where there is one.
 *
 * It lies at USER_DMA_BASE + the address that the device sees.  Allocations are handed out of
 * 2 MiB pieces that are kept; one thread, no locks.  In the host tests it is plain memory. */
#pragma once

#include "kernel/abi/layout.h"
#include "kernel/abi/types.h"

#define DMA_ALLOC_MAX (1 * MIB)

/* Zeroed memory of `len` bytes (at most DMA_ALLOC_MAX), aligned to its length rounded up to a power
 * of two, at least 64; so that up to a page never crosses one.  NULL: no memory. */
MUST_CHECK void *dma_alloc(u64 len);
/* The same with whatever was there before, for what is written at once. */
MUST_CHECK void *dma_alloc_dirty(u64 len);
void dma_free(void *p, u64 len); /* `len` as it was asked for; NULL is fine */

u64 dma_granted(void); /* bytes the kernel gave */
u64 dma_used(void);    /* bytes in allocations */

#ifdef __GLIBC__ /* the host tests: control/rt/host/ maps it there */
#define DMA_BASE 0x300000000000ull
#define DMA_END 0x10000000ull
#else
#define DMA_BASE USER_DMA_BASE
#define DMA_END (USER_END - USER_DMA_BASE)
#endif

/* What the device is told. */
static inline u64 dma_address(const void *p)
{
    return (u64)p - DMA_BASE;
}
/* True: all of [p, p + len) is in such memory. */
static inline bool dma_reaches(const void *p, u64 len)
{
    u64 at = dma_address(p);

    return (u64)p >= DMA_BASE && at + len >= at && at + len <= DMA_END;
}
/* The other way round: for addresses that a driver itself put where it reads them. */
static inline void *dma_pointer(u64 address)
{
    return (void *)(DMA_BASE + address);
}
