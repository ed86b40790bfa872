/* What the static ACPI tables say about the machine.  Everything is optional: without tables the
 * PC's defaults hold.  Pure: the caller says how memory is reached. */
#ifndef BULKHEAD_KERNEL_PLATFORM_H
#define BULKHEAD_KERNEL_PLATFORM_H

#include "kernel/abi/types.h"
#include "kernel/lib/acpi.h"

#define PLATFORM_IOAPICS 8
#define PLATFORM_ISA_IRQS 16

struct platform {
    u32 ioapic_count;
    struct {
        u64 address;
        u32 gsi_base;
    } ioapics[PLATFORM_IOAPICS];
    struct {
        u32 gsi;
        bool level, active_low;
    } isa[PLATFORM_ISA_IRQS];
    u16 pm_timer_port; /* 0: none */
    bool pm_timer_32bit;
    u64 hpet;       /* physical address; 0: none */
    u16 reset_port; /* 0: none */
    u8 reset_value;
    u16 pm1a_control, pm1b_control; /* 0: none */
    u8 sleep_type_a, sleep_type_b;  /* of S5 */
    bool has_s5;
    bool has_acpi;
};
extern struct platform platform;

void platform_init(struct platform *p, acpi_map_fn map, u64 rsdp);

#endif
