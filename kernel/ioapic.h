/* The physical I/O APICs. */
#ifndef BULKHEAD_KERNEL_IOAPIC_H
#define BULKHEAD_KERNEL_IOAPIC_H

#include "kernel/abi/types.h"

void ioapic_init(void); /* boot CPU, after platform_init: map them, mask every input and the PICs */
/* Unmask an input; false: no such input. */
bool ioapic_route(u32 gsi, u32 vector, u32 apic_id, bool level, bool active_low);

#endif
