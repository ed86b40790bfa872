/* Devices granted to the control partition: configuration space, registers, memory for DMA.
 *
 * The system calls run on the control thread's core, one at a time. */
#pragma once

#include "kernel/abi/boot_info.h"

#define DEVICE_UNCLAIMED 0x10000u

void device_init(const struct boot_info *bi); /* boot CPU; bi stays valid */
/* The control partition failed: no claimed function writes memory any more when this returns, and
 * none is claimed.  What it could reach is still mapped for ring 3. */
void device_release_all(void);
/* Does that interrupt line belong to a claimed function?  *edge: not shareable, as on ISA. */
MUST_CHECK bool device_has_line(u32 gsi, bool *edge);
/* What an IOMMU takes a claimed function for: SYS_DEV_CLAIM. */
MUST_CHECK u32 device_source(u64 function);

i64 device_config(const u64 args[6]); /* SYS_PCI_CONFIG */
i64 device_claim(const u64 args[6]);  /* SYS_DEV_CLAIM */
i64 device_bar(const u64 args[6]);    /* SYS_DEV_BAR */
i64 device_dma(const u64 args[6]);    /* SYS_DMA_MAP */
