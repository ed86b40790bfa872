/* The last step: from the firmware's world into the kernel's. */
#pragma once

#include "kernel/abi/types.h"

/* Position-independent code between these is copied to a page that is mapped one-to-one and
 * executable in the new tables, and called there as handoff_fn. */
extern const u8 handoff_start[], handoff_end[];

/* boot_info and cr3 are physical addresses; does not return. */
typedef void (*handoff_fn)(u64 boot_info, u64 cr3, u64 stack_top, u64 entry, u64 nx);
