/* What CPUID tells a guest: an allow-list over the host's features, a reason a bit.
 *
 * Pure: the host's CPUID comes in through a function. */
#pragma once

#include "kernel/abi/types.h"
#include "kernel/abi/vm_policy.h"

struct cpuid_regs {
    u32 eax, ebx, ecx, edx;
};

struct cpuid_host {
    struct cpuid_regs (*read)(u32 leaf, u32 subleaf);
    u64 tsc_hz;
    bool hide_rdtscp;  /* it would raise #UD in a guest */
    bool speculation;  /* guests have IA32_SPEC_CTRL and IA32_PRED_CMD */
    bool capabilities; /* ... and IA32_ARCH_CAPABILITIES */
    bool pv_clock;     /* vmm/pv_clock.h */
};

/* Fills p's CPUID rows and the CR4 and XCR0 bits that go with them. */
void cpuid_policy(struct vm_policy *p, const struct cpuid_host *host, u32 vcpus);

struct cpuid_regs cpuid_native(u32 leaf, u32 subleaf); /* the instruction */

/* The i-th row of the allow-list as text; false past the end.  For `host info` and the docs. */
bool cpuid_describe(u32 i, const char **name, const char **reason);
