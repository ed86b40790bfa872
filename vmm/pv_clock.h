/* The clock of guests on AMD-V: the rate of their TSC and the time of day, in the form that KVM has
 * for it (Linux, Documentation/virt/kvm/x86/cpuid.rst and msr.rst), so that stock kernels know it.
 *
 * Linux takes CPUID 15H from Intel's CPUs alone.  Elsewhere it measures the TSC by port reads, and
 * reads ports for the time if that fails; it also leaves the local APIC in the mode that costs an
 * emulated access each time.  CPUID 4000_0100H says what is here; 4000_0000H still says who we are.
 */
#pragma once

#include "kernel/abi/types.h"
#include "kernel/abi/vcpu_page.h"

struct vm;

#define PV_CLOCK_WALL_MSR 0x4b564d00u /* address of the time of day */
#define PV_CLOCK_TIME_MSR 0x4b564d01u /* address of a vCPU's clock, bit 0: in use */

/* CPUID 4000_0101H EAX: no delays by port 80H; these MSRs; EOI without an exit, which is the
 * kernel's (kernel/svm_event.h); the same clock on every vCPU. */
#define PV_CLOCK_FEATURES (1u << 1 | 1u << 3 | 1u << 6 | 1u << 24)

/* ns = (shift < 0 ? ticks >> -shift : ticks << shift) * mul >> 32 */
struct pv_clock_rate {
    u32 mul;
    i8 shift;
};
struct pv_clock_rate pv_clock_rate(u64 hz); /* of ticks of `hz`, not 0 */
u64 pv_clock_ns(struct pv_clock_rate r, u64 ticks);

/* EXIT_MSR: fills what the address names; one that is not memory is as good as none. */
void pv_clock_wrote(struct vm *vm, struct vcpu_page *p);
