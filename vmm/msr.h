/* The MSRs of a guest beyond those that the kernel virtualises itself.  Pure. */
#ifndef BULKHEAD_VMM_MSR_H
#define BULKHEAD_VMM_MSR_H

#include "kernel/abi/vm_policy.h"

/* capabilities: what IA32_ARCH_CAPABILITIES reads; NULL: the guest has none. */
void msr_policy(struct vm_policy *p, const u64 *capabilities); /* fills p's MSR rows */

#endif
