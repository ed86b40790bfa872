/* How fast the time-stamp counter runs. */
#pragma once

#include "boot/platform.h"
#include "kernel/abi/boot_info.h"

u64 tsc_read(void);
/* After ExitBootServices, IF=0: fills tsc_hz and tsc_source.  Never fails. */
void tsc_measure(struct boot_info *bi, const struct platform_timers *timers);
