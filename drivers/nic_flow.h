/* Which frames belong together, for cards with several queues.  Pure; called by drivers. */
#pragma once

#include "drivers/nic.h"
#include "kernel/abi/types.h"

/* A number that is the same for all frames of a connection: of addresses and ports of TCP and UDP,
 * of addresses of other IP and of fragments, of MACs of the rest.  Headers may be in several
 * pieces. */
u32 nic_flow(const struct nic_frame *f);
