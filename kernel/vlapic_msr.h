/* The local APIC through MSRs: x2APIC registers, IA32_APIC_BASE, IA32_TSC_DEADLINE (SDM 3A 11.12).
 * Its functions are declared in vlapic.h. */
#ifndef BULKHEAD_KERNEL_VLAPIC_MSR_H
#define BULKHEAD_KERNEL_VLAPIC_MSR_H

#include "kernel/vlapic.h"

#endif
