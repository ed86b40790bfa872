/* What the static ACPI tables say about the machine.  Everything is optional: without tables the
 * PC's defaults hold.  Pure: the caller says how memory is reached. */
#pragma once

#include "boot/acpi.h"
#include "kernel/abi/boot_info.h"

struct platform_timers { /* what tsc.c may measure with */
    u16 pm_port;         /* 0: none */
    bool pm_32bit;
    u64 hpet; /* physical address; 0: none */
};

/* rsdp is a physical address; 0: no ACPI. */
void platform_read(struct boot_platform *p, struct platform_timers *timers, acpi_map_fn map,
                   u64 rsdp);
