/* The MSR policy of a VM; called by vm_run.c at start.  Pure.  Numbers: SDM 4, chapter 2;
 * AMD APM 2, appendix A. */
#include "vmm/msr.h"

/* Sorted.  What is missing raises #GP, which kernels probe for. */
static const struct msr_row rows[] = {
    /* P5 machine check, read by old kernels */
    {.first = 0x0, .last = 0x1, .kind = MSR_IGNORE},
    /* IA32_PLATFORM_ID: read with the microcode revision */
    {.first = 0x17, .last = 0x17, .kind = MSR_CONST},
    /* IA32_FEATURE_CONTROL: locked, VMX and SGX off */
    {.first = 0x3a, .last = 0x3a, .kind = MSR_CONST, .value = 1},
    /* IA32_BIOS_UPDT_TRIG: the guest's microcode loader finds that nothing changed */
    {.first = 0x79, .last = 0x79, .kind = MSR_IGNORE},
    /* IA32_BIOS_SIGN_ID: kernels write 0, execute CPUID and read a revision */
    {.first = 0x8b, .last = 0x8b, .kind = MSR_IGNORE, .value = 0x100000000ull},
    /* MSR_PLATFORM_INFO: no CPUID faulting */
    {.first = 0xce, .last = 0xce, .kind = MSR_CONST},
    /* MSR_MISC_FEATURE_ENABLES: no CPUID faulting, no ring-3 MWAIT; kernels write 0 */
    {.first = 0x140, .last = 0x140, .kind = MSR_STORED},
    /* IA32_PERF_STATUS, IA32_PERF_CTL: no frequency control */
    {.first = 0x198, .last = 0x198, .kind = MSR_CONST},
    {.first = 0x199, .last = 0x199, .kind = MSR_IGNORE},
    /* IA32_DEBUGCTL: no branch tracing */
    {.first = 0x1d9, .last = 0x1d9, .kind = MSR_IGNORE},
    /* AMD's, which kernels read without care for a fault.  SYSCFG: no fixed-range extensions, no
     * memory encryption */
    {.first = 0xc0010010, .last = 0xc0010010, .kind = MSR_CONST},
    /* HWCR: the TSC counts at the P0 rate; kernels set bits here for errata */
    {.first = 0xc0010015, .last = 0xc0010015, .kind = MSR_IGNORE, .value = 0x1000000},
    /* NB_CFG1; interrupt pending message: C1E is off */
    {.first = 0xc001001f, .last = 0xc001001f, .kind = MSR_IGNORE},
    {.first = 0xc0010055, .last = 0xc0010055, .kind = MSR_CONST},
};
_Static_assert(ARRAY_LEN(rows) <= POLICY_MSR_MAX, "fits the policy");

void msr_policy(struct vm_policy *p)
{
    p->msr_count = ARRAY_LEN(rows);
    for (u32 i = 0; i < ARRAY_LEN(rows); i++)
        p->msr[i] = rows[i];
}
