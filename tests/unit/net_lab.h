/* What the runtime gives the network stack, for its unit tests and fuzzers. */
#pragma once

#include "kernel/abi/types.h"

extern u64 net_lab_now;      /* what clock_ns() tells, in ns */
extern u64 net_lab_dma_used; /* bytes in allocations */
u64 random_u64(void);        /* the runtime's, as test programs give it */
