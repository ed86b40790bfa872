/* What the firmware configuration device has to tell of a VM, item by item, made from its
 * configuration when it is asked for. */
#pragma once

#include "kernel/abi/types.h"

struct vm;

struct fw_cfg_item {
    const u8 *bytes;
    u32 len; /* 0: there is no such item */
};

/* Good until the next call. */
struct fw_cfg_item fw_cfg_items_get(struct vm *vm, u16 key);
