/* CRC-32C (Castagnoli), as VHDX and iSCSI use it.  Pure. */
#pragma once

#include "kernel/abi/types.h"

/* crc: 0, or what an earlier call returned for the bytes before. */
u32 crc32c(u32 crc, const void *data, u64 len);
