/* The frame format of Cisco Discovery Protocol, version 2.  Pure. */
#pragma once

#include "net/discovery.h"

#define CDP_ADDRESS 0x01000cccccccull

/* A frame from `source`; its length, 0 when `size` is too small. */
u32 cdp_write(const struct discovery_info *i, u64 source, u8 *frame, u32 size);
/* False: not CDP, malformed, or the checksum is wrong. */
MUST_CHECK bool cdp_read(const u8 *frame, u32 len, struct discovery_info *i);
