/* How fast the time-stamp counter runs. */
#ifndef BULKHEAD_KERNEL_TSC_H
#define BULKHEAD_KERNEL_TSC_H

#include "kernel/abi/host_info.h"
#include "kernel/timer.h"

/* Boot CPU, after platform_init: sets tsc_hz, and tsc_source in hi.  Never fails. */
void tsc_init(struct host_info *hi);
void tsc_delay(u64 microseconds);

#endif
