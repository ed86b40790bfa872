/* cpu.cap: how much of a CPU a VM may use, in percent; enforced from ring 3 by holding all its
 * vCPUs for the rest of a period of 100 ms.  Nothing is watched for a VM without a cap. */
#pragma once

#include "kernel/abi/types.h"

#define VM_CAP_PERIODS_PER_SECOND 10

struct vm_cap {
    u64 start; /* of this period, in ticks */
    u64 base;  /* what the VM had used then */
    bool held; /* it has used this period's share */
};

/* Pure.  Now the VM has used `used` ticks of CPU time in all, by at most `vcpus` CPUs at once.
 * Sets c->held; returns when to look again.  What was used too much counts in the next period. */
u64 vm_cap_step(struct vm_cap *c, u64 now, u64 used, u64 period, u32 percent, u32 vcpus);
