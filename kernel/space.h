/* The lower half of the address space: what an instance of the control partition has mapped. */
#pragma once

#include "kernel/abi/boot_info.h"
#include "kernel/abi/status.h"

/* All act on control.space, on the control thread's core (or at boot). */

/* Once: what every instance uses in its turn, so that a restart needs no memory: segments, stack,
 * modules, control page, host info. */
void space_create(const struct boot_info *bi);
/* Writable segments and stack as a new instance finds them. */
void space_fill(const struct boot_info *bi);
/* Give back what the last instance took: heap and memory for devices. */
void space_clear(void);
/* Zeroed, charged to control.quota, with big pages where they fit; all or nothing. */
MUST_CHECK enum hv_status space_map_private(u64 va, u64 len, u32 attr);
/* First hole of len bytes in [from, end) aligned to `align`; 0: none. */
MUST_CHECK u64 space_find_hole(u64 from, u64 end, u64 len, u64 align);
