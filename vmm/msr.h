/* The MSRs of a guest beyond those that the kernel virtualises itself.  Pure. */
#pragma once

#include "kernel/abi/vm_policy.h"

/* capabilities: what IA32_ARCH_CAPABILITIES reads; NULL: the guest has none. */
/* Fills p's MSR rows.  phys_bits: width of a physical address that the guest is told;
 * capabilities: IA32_ARCH_CAPABILITIES, NULL: there is none. */
void msr_policy(struct vm_policy *p, u32 phys_bits, const u64 *capabilities, bool pv_clock);
