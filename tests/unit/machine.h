/* The hardware that kernel code reaches while it serves the control partition, for programs that
 * run that code on Linux: instructions that fault there are done here.  One PCI function with one
 * base address, one IOMMU unit with queued invalidation; MSR and CR3 writes have no effect. */
#pragma once

#include "kernel/abi/types.h"

#define MACHINE_FUNCTION 0x08       /* 00:01.0 */
#define MACHINE_BAR_BASE 0xc0000000 /* its base address 0: memory */
#define MACHINE_BAR_BYTES 0x8000

/* From now on; as after a reset. */
void machine_start(void);
/* The page of the IOMMU's registers; only mmio_read32() and mmio_write32() reach it. */
volatile void *machine_iommu(void);
