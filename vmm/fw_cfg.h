/* QEMU's firmware configuration device: how OVMF learns of memory, CPUs, ACPI tables and boot
 * order.
 *
 * On the event loop.  docs/specs/fw_cfg of QEMU, version 7.2.  Selectors and the addresses of DMA
 * are hostile; nothing can be written. */
#pragma once

#include "kernel/abi/types.h"

struct vm;

#define FW_CFG_PORT 0x510        /* selector, data */
#define FW_CFG_DMA_PORT 0x514    /* address of a descriptor, the high half first, big-endian */
#define FW_CFG_DMA_MAX (4 * MIB) /* most that one descriptor moves */

struct fw_cfg {
    u16 key;
    u32 offset; /* in the item of that key */
    u32 dma_high;
};

u32 fw_cfg_in(struct vm *vm, u16 port, u8 size); /* 510h..51bh */
void fw_cfg_out(struct vm *vm, u16 port, u8 size, u32 value);
