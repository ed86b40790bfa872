/* Physical memory as the loader sees it: one-to-one, by the rules of UEFI (2.9 section 2.3.4). */
#pragma once

#include "kernel/abi/types.h"

/* For acpi_find: the bytes at paddr, NULL for addresses no firmware table can have. */
const void *physical_map(u64 paddr, u64 len);
