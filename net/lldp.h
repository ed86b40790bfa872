/* The frame format of LLDP, IEEE 802.1AB-2016 clause 8.  Pure. */
#pragma once

#include "net/discovery.h"

#define LLDP_ADDRESS 0x0180c200000eull /* nearest bridge */

/* A frame from `source`; its length, 0 when `size` is too small. */
u32 lldp_write(const struct discovery_info *i, u64 source, u8 *frame, u32 size);
/* False: malformed. */
MUST_CHECK bool lldp_read(const u8 *frame, u32 len, struct discovery_info *i);
