/* The lower half of the address space: what an instance of the control partition has mapped. */
#pragma once

#include "kernel/abi/boot_info.h"
#include "kernel/abi/status.h"

/* All act on control.space, on the control thread's core (or at boot). */

/* What every instance shares: read-only segments, modules, control page, host info. */
void space_map_shared(const struct boot_info *bi);
/* Fresh writable segments and stack.  HV_ENOMEM: the quota does not reach. */
MUST_CHECK enum hv_status space_build(const struct boot_info *bi);
/* Give back what space_build and the heap took. */
void space_clear(const struct boot_info *bi);
/* Zeroed, charged to control.quota, with big pages where they fit; all or nothing. */
MUST_CHECK enum hv_status space_map_private(u64 va, u64 len, u32 attr);
/* First hole of len bytes in [from, end) aligned to `align`; 0: none. */
MUST_CHECK u64 space_find_hole(u64 from, u64 end, u64 len, u64 align);
