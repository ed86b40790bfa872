/* Checks the policy tables that the control partition hands over for a new VM.  Pure. */
#pragma once

#include "kernel/abi/status.h"
#include "kernel/abi/vm_policy.h"

#define POLICY_GROUPS 5  /* CPUID leaves from 0, 4000_0000H, 8000_0000H, none, 4000_0100H */
#define POLICY_LEAVES 64 /* of each group */
#define POLICY_FAR 4     /* the last group: an interface beside the hypervisor's own */
static inline bool policy_is_far(u32 leaf)
{
    return leaf - 0x40000100u < POLICY_LEAVES;
}

/* On the kernel's own copy: HV_EINVAL when a count is too large, rows are unsorted or overlap, a
 * leaf is outside the groups, or more than VM_STORED_MSRS MSRs are stored.  index[group][leaf]: 1 +
 * the first row of that leaf, 0: none. */
MUST_CHECK enum hv_status policy_check(const struct vm_policy *p,
                                       u8 index[POLICY_GROUPS][POLICY_LEAVES]);
