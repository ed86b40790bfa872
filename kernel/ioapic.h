/* The physical I/O APICs. */
#pragma once

#include "kernel/abi/types.h"

void ioapic_init(void); /* boot CPU, after platform_init: map them, mask every input */
/* Program and unmask an input; `target` is the entry's high half.  False: no such input. */
MUST_CHECK bool ioapic_route(u32 gsi, u32 vector, u32 target, bool level, bool active_low);
void ioapic_mask(u32 gsi, bool masked); /* keeps the rest */
