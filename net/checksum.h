/* The Internet checksum (RFC 1071), eight bytes an instruction.  Pure. */
#pragma once

#include "kernel/abi/types.h"

/* The 16-bit one's complement sum of the bytes as they stand in memory, not inverted; an odd last
 * byte counts as if a zero followed. */
u16 checksum_sum(const void *data, int len);
/* The same, and copies. */
u16 checksum_copy(void *to, const void *from, u16 len);
